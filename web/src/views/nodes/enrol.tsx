// A new node: a one-time token, shown once, inside the command that starts a worker with it.
import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import * as api from '../../api/client';
import type { Problem } from '../../api/http';
import { asProblem } from '../../state/session';
import { t } from '../../strings/en';
import { formatDateTime } from '../format';
import { CopyButton, ProblemNote } from '../ui/parts';

export function enrolCommand(origin: string, host: string, token: string): string {
  return [
    `CYXWIZ_ENROL_TOKEN=${token}`,
    `CYXWIZ_GATEWAY_URL=${origin}`,
    `CYXWIZ_NATS_URL=nats://${host}:4222`,
    'CYXWIZ_IDENTITY_DIR="$HOME/.cyxwiz/node"',
    'CYXWIZ_WORK_DIR="$HOME/.cyxwiz/work"',
    'CYXWIZ_NODE_NAME="$(hostname)"',
    'cyxwiz-worker',
  ].join(' \\\n  ');
}

export function Enrol({ onClose }: { onClose(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const made = useSignal<{ token: string; expires_at: string } | null>(null);
  const problem = useSignal<Problem | null>(null);
  const busy = useSignal(false);
  useEffect(() => dialog.current?.showModal(), []);
  async function make(): Promise<void> {
    busy.value = true;
    problem.value = null;
    try {
      made.value = await api.createNodeToken();
    } catch (error) {
      problem.value = asProblem(error);
    } finally {
      busy.value = false;
    }
  }
  const words = t.nodes.enrol;
  const command = made.value ? enrolCommand(location.origin, location.hostname, made.value.token) : '';
  return (
    <dialog ref={dialog} class="sheet enrol" aria-labelledby="enrol-title" onClose={onClose}>
      <h2 id="enrol-title">{words.title}</h2>
      <p>{words.text}</p>
      {problem.value && <ProblemNote problem={problem.value} />}
      {made.value && (
        <>
          <div class="command">
            {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
            <pre class="mono" tabIndex={0}>
              {command}
            </pre>
            <CopyButton text={command} label={words.copy} />
          </div>
          <p class="muted">{words.once(formatDateTime(made.value.expires_at))}</p>
        </>
      )}
      <footer>
        <button type="button" class="button" onClick={() => dialog.current?.close()}>
          {t.common.close}
        </button>
        {!made.value && (
          <button type="button" class="button primary" disabled={busy.value} onClick={() => void make()}>
            {words.make}
          </button>
        )}
      </footer>
    </dialog>
  );
}
