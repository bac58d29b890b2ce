import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Example, Json } from '../../api/types';
import { examples } from '../../state/lists';
import { navigate } from '../../state/router';
import {
  check,
  copySpecOfJob,
  draft,
  type Fault,
  formatSpec,
  recheck,
  send,
  sendProblem,
  setDraftFromSpec,
  watchDraft,
} from '../../state/submit';
import { t } from '../../strings/en';
import { lazyPart } from '../lazy';
import { Page } from '../page';
import { Icon } from '../ui/icons';
import { Confirm, ProblemNote, Skeleton } from '../ui/parts';
import { Checks } from './checks';
import type { EditorHandle } from './editor-part';

const Editor = lazyPart<{ onReady(handle: EditorHandle | null): void; onSubmit(): void }>(
  async () => (await import('./editor-part')).EditorPart,
  <div class="editor-waiting" role="status">
    <span class="hidden-text">{t.submit.loadingEditor}</span>
    {[62, 38, 45, 71, 64, 30, 58, 66, 42].map((width) => (
      <Skeleton key={width} width={`${width}%`} height="14px" />
    ))}
  </div>,
);

function read(spec: Json, ...path: string[]): Json | undefined {
  let value: Json | undefined = spec;
  for (const key of path) {
    if (value === null || value === undefined || typeof value !== 'object' || Array.isArray(value))
      return undefined;
    value = value[key];
  }
  return value;
}

function exampleFacts(example: Example): string {
  const layers = read(example.spec, 'model', 'layers');
  const epochs = read(example.spec, 'epochs');
  const dataset = read(example.spec, 'data', 'dataset');
  return [
    typeof dataset === 'string' ? dataset : '',
    Array.isArray(layers) ? t.submit.layers(layers.length) : '',
    typeof epochs === 'number' ? t.submit.epochs(epochs) : '',
  ]
    .filter(Boolean)
    .join(' · ');
}

function Examples({ onPick }: { onPick(example: Example): void }) {
  const { data, problem } = examples.state.value;
  if (problem && !data) return <ProblemNote problem={problem} onRetry={() => void examples.load()} />;
  if (data?.length === 0) return <p class="muted">{t.submit.examplesNone}</p>;
  return (
    <ul class="examples" aria-label={t.submit.examples}>
      {(data ?? []).map((example) => (
        <li key={example.name}>
          <button
            type="button"
            class="example"
            aria-pressed={draft.value === formatSpec(example.spec)}
            onClick={() => onPick(example)}
          >
            <strong>{example.name}</strong>
            <small>{exampleFacts(example)}</small>
          </button>
        </li>
      ))}
      {!data &&
        [0, 1, 2].map((key) => (
          <li key={key}>
            <Skeleton height="58px" />
          </li>
        ))}
    </ul>
  );
}

function isUnchanged(text: string): boolean {
  return (
    text.trim() === '' ||
    (examples.state.peek().data ?? []).some((example) => formatSpec(example.spec) === text)
  );
}

export function SubmitPage({ from, example }: { from: string | null; example: string | null }) {
  const editor = useRef<EditorHandle | null>(null);
  const replacing = useSignal<Example | null>(null);
  useEffect(() => watchDraft(), []);
  useEffect(() => {
    void prepare();
    async function prepare(): Promise<void> {
      if (from) {
        await copySpecOfJob(from);
        return;
      }
      if (!examples.state.peek().data) await examples.load();
      const wanted = (examples.state.peek().data ?? []).find((each) => each.name === example);
      if (wanted) setDraftFromSpec(wanted.spec);
    }
  }, [from, example]);

  function pick(wanted: Example): void {
    if (isUnchanged(draft.peek())) setDraftFromSpec(wanted.spec);
    else replacing.value = wanted;
  }
  function goTo(fault: Fault): void {
    editor.current?.goTo(fault.span.from);
  }
  async function onSend(): Promise<void> {
    const id = await send();
    if (id) {
      draft.value = '';
      navigate(`/jobs/${id}`);
      return;
    }
    const now = check.peek();
    if (now.kind === 'faulty') goTo(now.fault);
  }

  return (
    <Page title={t.submit.title} lead={t.submit.lead}>
      <Examples onPick={pick} />
      <div class="submit-grid">
        <section class="card editor-card" aria-labelledby="spec">
          <header class="card-head">
            <h2 id="spec">{t.submit.spec}</h2>
            <button type="button" class="button small quiet" onClick={reformat}>
              <Icon name="braces" size={15} />
              {t.submit.format}
            </button>
          </header>
          <Editor
            onReady={(handle) => {
              editor.current = handle;
            }}
            onSubmit={() => void onSend()}
          />
          <p class="editor-help muted">{t.submit.editorHelp}</p>
        </section>
        <Checks onGo={goTo} onSend={() => void onSend()} />
      </div>
      {replacing.value && (
        <Confirm
          title={t.submit.replaceQuestion}
          text={t.submit.replaceText}
          confirm={t.submit.replace}
          keep={t.submit.keep}
          onAnswer={(yes) => {
            if (yes && replacing.value) setDraftFromSpec(replacing.value.spec);
            replacing.value = null;
          }}
        />
      )}
    </Page>
  );
}

function reformat(): void {
  try {
    setDraftFromSpec(JSON.parse(draft.peek()) as Json);
    sendProblem.value = null;
  } catch {
    recheck(); // broken: say where
  }
}
