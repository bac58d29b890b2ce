// What every page has: its title in the tab and as a heading that receives focus when one arrives by a link.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { navigations } from '../state/router';
import { t } from '../strings/en';

interface PageProps {
  title: string;
  lead?: string;
  actions?: ComponentChildren;
  /** In place of the plain heading. */
  head?: ComponentChildren;
  children: ComponentChildren;
}

export function Page({ title, lead, actions, head, children }: PageProps) {
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    document.title = t.titled(title);
  }, [title]);
  useEffect(() => {
    if (navigations.peek() === 0) return;
    scrollTo(0, 0);
    root.current?.querySelector('h1')?.focus({ preventScroll: true });
  }, []);
  return (
    <div class="page" ref={root}>
      {head ?? (
        <header class="page-head">
          <div>
            <h1 tabIndex={-1}>{title}</h1>
            {lead && <p>{lead}</p>}
          </div>
          {actions}
        </header>
      )}
      {children}
    </div>
  );
}
