import { signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Example, Json } from '../../api/types';
import { examples } from '../../state/lists';
import { navigate } from '../../state/router';
import {
  check,
  copySpecOfJob,
  draft,
  draftSpec,
  type Fault,
  facts,
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
import { saveFile } from '../ui/files';
import { Icon } from '../ui/icons';
import { Confirm, Loading, ProblemNote, Segments, Skeleton } from '../ui/parts';
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

const FormLazy = lazyPart(async () => (await import('./form-part')).FormPart, <Loading rows={10} />);
const NetLazy = lazyPart(async () => (await import('../net/net-editor')).NetEditor, <Loading rows={10} />);

type Way = 'form' | 'net' | 'json';
const ways: Way[] = ['form', 'net', 'json'];
const way = signal<Way>('json');
const fileLimitBytes = 4 * 1024 * 1024;

/** The spec from a file and into one. */
function Files() {
  const input = useRef<HTMLInputElement>(null);
  const wrong = useSignal(false);
  async function open(file: File | undefined): Promise<void> {
    if (!file) return;
    wrong.value = file.size > fileLimitBytes;
    if (wrong.value) return;
    try {
      const spec = JSON.parse(await file.text()) as Json;
      wrong.value = spec === null || typeof spec !== 'object' || Array.isArray(spec);
      if (!wrong.value) setDraftFromSpec(spec);
    } catch {
      wrong.value = true;
    }
  }
  function save(): void {
    const name = facts.peek()?.name?.replace(/[^\w.-]+/g, '-') || 'job';
    saveFile(`${name}.json`, 'application/json', `${draft.peek()}\n`);
  }
  return (
    <div class="file-buttons">
      {way.value === 'json' && (
        <button
          type="button"
          class="icon-button"
          aria-label={t.submit.format}
          title={t.submit.format}
          onClick={reformat}
        >
          <Icon name="braces" size={16} />
        </button>
      )}
      <button
        type="button"
        class="icon-button"
        aria-label={t.submit.open}
        title={t.submit.open}
        onClick={() => input.current?.click()}
      >
        <Icon name="upload" size={16} />
      </button>
      <button
        type="button"
        class="icon-button"
        aria-label={t.submit.save}
        title={t.submit.save}
        disabled={draft.value.trim() === ''}
        onClick={save}
      >
        <Icon name="download" size={16} />
      </button>
      <input
        ref={input}
        type="file"
        hidden
        accept="application/json,.json"
        aria-label={t.submit.open}
        onChange={(event) => {
          void open(event.currentTarget.files?.[0]);
          event.currentTarget.value = '';
        }}
      />
      {wrong.value && (
        <span class="warn" role="alert">
          {t.submit.notJson}
        </span>
      )}
    </div>
  );
}

function BrokenNote() {
  return (
    <div class="banner queued broken-note" role="status">
      <Icon name="alert" />
      <div>
        <p>{t.submit.brokenForm}</p>
      </div>
      <button
        type="button"
        class="button small"
        onClick={() => {
          way.value = 'json';
        }}
      >
        {t.submit.showJson}
      </button>
    </div>
  );
}

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
  /** Where to go in the JSON once it is shown. */
  const goal = useRef<number | null>(null);
  const broken = draft.value.trim() !== '' && draftSpec.value === null;
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
    if (editor.current) {
      editor.current.goTo(fault.span.from);
      return;
    }
    goal.current = fault.span.from;
    way.value = 'json';
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
      <div class={`submit-grid ${way.value === 'net' ? 'drawing' : ''}`}>
        <section class="card editor-card" aria-labelledby="spec">
          <header class="card-head editor-head">
            <h2 id="spec">{t.submit.spec}</h2>
            <Segments<Way>
              label={t.submit.ways.label}
              name="submit-way"
              options={ways.map((value) => ({ value, text: t.submit.ways[value] }))}
              value={way.value}
              onChange={(value) => {
                way.value = value;
              }}
            />
            <Files />
          </header>
          {way.value === 'json' && (
            <>
              <Editor
                onReady={(handle) => {
                  editor.current = handle;
                  if (handle && goal.current !== null) handle.goTo(goal.current);
                  goal.current = null;
                }}
                onSubmit={() => void onSend()}
              />
              <p class="editor-help muted">{t.submit.editorHelp}</p>
            </>
          )}
          {way.value !== 'json' && broken && <BrokenNote />}
          {way.value === 'form' && !broken && <FormLazy />}
          {way.value === 'net' && !broken && <NetLazy />}
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
