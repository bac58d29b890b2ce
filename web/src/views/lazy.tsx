// A part of the page that is fetched when it is first shown, with its loading and its failed state.
import { useSignal } from '@preact/signals';
import type { ComponentChildren, ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';
import { t } from '../strings/en';

type Loaded<P> = { kind: 'loading' } | { kind: 'failed' } | { kind: 'ready'; part: ComponentType<P> };

export function lazyPart<P extends object>(
  load: () => Promise<ComponentType<P>>,
  waiting: ComponentChildren = null,
) {
  let known: ComponentType<P> | null = null;
  return function Lazy(props: P) {
    const state = useSignal<Loaded<P>>(known ? { kind: 'ready', part: known } : { kind: 'loading' });
    async function start(): Promise<void> {
      if (state.value.kind === 'ready') return;
      state.value = { kind: 'loading' };
      try {
        known = await load();
        state.value = { kind: 'ready', part: known };
      } catch {
        state.value = { kind: 'failed' };
      }
    }
    useEffect(() => void start(), []);
    if (state.value.kind === 'ready') {
      const Part = state.value.part;
      return <Part {...props} />;
    }
    if (state.value.kind === 'loading') return <>{waiting}</>;
    return (
      <div class="banner failed" role="alert">
        <div>
          <strong>{t.problem.network}</strong>
        </div>
        <button type="button" class="button small" onClick={() => void start()}>
          {t.problem.retry}
        </button>
      </div>
    );
  };
}
