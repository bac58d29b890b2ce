// Data sets: those that every job may name, and what the account has brought, with the way to bring more.
import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Problem } from '../../api/http';
import type { Dataset, Upload } from '../../api/types';
import { datasets } from '../../state/lists';
import {
  dropUpload,
  forgetSending,
  type Sending,
  send,
  sending,
  stopSending,
  uploads,
} from '../../state/uploads';
import { t } from '../../strings/en';
import { formatAgo, formatBytes, formatDateTime, formatInteger, formatPercent, shortHash } from '../format';
import { Page } from '../page';
import { Icon } from '../ui/icons';
import { useNow } from '../ui/now';
import { Confirm, CopyButton, Empty, Loading, Meter, ProblemNote } from '../ui/parts';

function CatalogueRow({ dataset }: { dataset: Dataset }) {
  const words = t.data;
  return (
    <tr>
      <td class="cell-name">
        <strong>{dataset.title}</strong>
        <small class="mono muted">{dataset.name}</small>
      </td>
      <td data-label={words.columns.shape} class="num">
        {dataset.shape.join(' × ')}
      </td>
      <td data-label={words.columns.images} class="right num">
        {formatInteger(dataset.n_train)} + {formatInteger(dataset.n_test)}
      </td>
      <td data-label={words.columns.classes}>
        {dataset.classes.length > 0 ? (
          <details class="classes">
            <summary class="num">{words.classes(dataset.classes.length)}</summary>
            <small>{dataset.classes.join(', ')}</small>
          </details>
        ) : (
          '–'
        )}
      </td>
      <td data-label={words.columns.licence}>{dataset.licence}</td>
      <td class="right" data-label={words.columns.state}>
        <span class={`badge ${dataset.available ? 'online' : 'offline'}`}>
          {dataset.available ? words.there : words.away}
        </span>
        {dataset.remedy && <small class="muted remedy">{dataset.remedy}</small>}
      </td>
    </tr>
  );
}

function Catalogue() {
  const { data, problem } = datasets.state.value;
  const columns = t.data.columns;
  return (
    <section class="card" aria-labelledby="catalogue">
      <header class="card-head">
        <h2 id="catalogue">{t.data.catalogue}</h2>
      </header>
      {problem && (
        <div class="card-body">
          <ProblemNote problem={problem} stale={data !== null} onRetry={() => void datasets.load()} />
        </div>
      )}
      {!data && !problem && <Loading rows={3} />}
      {data && (
        <div class="table-wrap">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">{columns.name}</th>
                <th scope="col">{columns.shape}</th>
                <th scope="col" class="right">
                  {columns.images}
                </th>
                <th scope="col">{columns.classes}</th>
                <th scope="col">{columns.licence}</th>
                <th scope="col" class="right">
                  {columns.state}
                </th>
              </tr>
            </thead>
            <tbody>
              {data.map((dataset) => (
                <CatalogueRow key={dataset.name} dataset={dataset} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Progress({ now }: { now: Sending }) {
  const part = now.bytes > 0 ? now.done / now.bytes : 0;
  const words = t.data.phases;
  const over = now.phase === 'stopped' || now.phase === 'failed';
  return (
    <div class="sending">
      {now.problem && <ProblemNote problem={now.problem} />}
      <div>
        <strong>{now.name}</strong>
        <span class="muted num">
          {words[now.phase]} {formatPercent(part, 0)}, {formatBytes(now.done)} / {formatBytes(now.bytes)}
        </span>
      </div>
      <Meter part={part} label={now.name} tone={over ? 'cancelled' : ''} />
      <footer>
        {over && <span class="muted">{t.data.again}</span>}
        <button type="button" class="button small" onClick={over ? forgetSending : stopSending}>
          {over ? t.common.close : t.data.stop}
        </button>
      </footer>
    </div>
  );
}

function Bring() {
  const input = useRef<HTMLInputElement>(null);
  const file = useSignal<File | null>(null);
  const name = useSignal('');
  const over = useSignal(false);
  function choose(chosen: File | undefined): void {
    if (!chosen) return;
    file.value = chosen;
    if (name.peek() === '') name.value = chosen.name.replace(/\.(tar\.gz|tgz|[a-z0-9]+)$/i, '').slice(0, 100);
  }
  const now = sending.value;
  if (now) return <Progress now={now} />;
  return (
    <form
      class={`bring ${over.value ? 'over' : ''}`}
      onSubmit={(event) => {
        event.preventDefault();
        if (!file.value) return;
        void send(file.value, name.value.trim());
        file.value = null;
        name.value = '';
      }}
      onDragOver={(event) => {
        event.preventDefault();
        over.value = true;
      }}
      onDragLeave={() => {
        over.value = false;
      }}
      onDrop={(event) => {
        event.preventDefault();
        over.value = false;
        choose(event.dataTransfer?.files[0]);
      }}
    >
      <p class="muted">{t.data.bring}</p>
      <div class="bring-fields">
        <button type="button" class="button" onClick={() => input.current?.click()}>
          <Icon name="upload" size={16} />
          {file.value ? `${file.value.name}, ${formatBytes(file.value.size)}` : t.data.choose}
        </button>
        <input
          ref={input}
          type="file"
          hidden
          aria-label={t.data.choose}
          onChange={(event) => {
            choose(event.currentTarget.files?.[0]);
            event.currentTarget.value = '';
          }}
        />
        <input
          class="input compact"
          aria-label={t.data.name}
          placeholder={t.data.name}
          maxLength={100}
          value={name.value}
          onInput={(event) => {
            name.value = event.currentTarget.value;
          }}
        />
        <button type="submit" class="button primary" disabled={!file.value || name.value.trim() === ''}>
          {t.data.upload}
        </button>
      </div>
    </form>
  );
}

function UploadRow({ upload, now, onDrop }: { upload: Upload; now: number; onDrop(upload: Upload): void }) {
  const columns = t.data.columns;
  const part = upload.bytes > 0 ? upload.received / upload.bytes : 0;
  return (
    <tr>
      <td class="cell-name">
        <strong>{upload.name}</strong>
        <span class="tag">{t.data.kinds[upload.kind]}</span>
      </td>
      <td class="right num" data-label={columns.size}>
        {formatBytes(upload.bytes)}
      </td>
      <td data-label={columns.state} class="cell-meter">
        {upload.complete ? (
          <span class="badge online">{t.data.whole}</span>
        ) : (
          <span class="progress-cell">
            <Meter part={part} label={upload.name} />
            <small class="num">{formatPercent(part, 0)}</small>
          </span>
        )}
      </td>
      <td data-label={columns.sha256}>
        <span class="copyable">
          <span class="mono" title={upload.sha256}>
            {shortHash(upload.sha256)}
          </span>
          <CopyButton text={upload.sha256} label={`${t.job.copyHash}: ${upload.name}`} />
        </span>
      </td>
      <td class="right" data-label={columns.made}>
        <time dateTime={upload.created_at} title={formatDateTime(upload.created_at)}>
          {formatAgo(upload.created_at, now)}
        </time>
      </td>
      <td class="right cell-action">
        <button
          type="button"
          class="button small danger"
          aria-label={t.data.dropNamed(upload.name)}
          onClick={() => onDrop(upload)}
        >
          {t.data.drop}
        </button>
      </td>
    </tr>
  );
}

function Uploads() {
  const now = useNow();
  const dropping = useSignal<Upload | null>(null);
  const refused = useSignal<Problem | null>(null);
  const { data, problem } = uploads.state.value;
  const columns = t.data.columns;
  return (
    <section class="card" aria-labelledby="uploads">
      <header class="card-head">
        <h2 id="uploads">{t.data.own}</h2>
      </header>
      <Bring />
      {(problem || refused.value) && (
        <div class="card-body">
          {problem && (
            <ProblemNote problem={problem} stale={data !== null} onRetry={() => void uploads.load()} />
          )}
          {refused.value && <ProblemNote problem={refused.value} />}
        </div>
      )}
      {!data && !problem && <Loading rows={3} />}
      {data?.length === 0 && <Empty icon="data" title={t.data.emptyTitle} text={t.data.emptyText} />}
      {data && data.length > 0 && (
        <div class="table-wrap">
          <table class="table uploads-table">
            <thead>
              <tr>
                <th scope="col">{columns.name}</th>
                <th scope="col" class="right">
                  {columns.size}
                </th>
                <th scope="col">{columns.state}</th>
                <th scope="col">{columns.sha256}</th>
                <th scope="col" class="right">
                  {columns.made}
                </th>
                <th scope="col">
                  <span class="hidden-text">{t.models.columns.actions}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {data.map((upload) => (
                <UploadRow
                  key={upload.id}
                  upload={upload}
                  now={now}
                  onDrop={(chosen) => {
                    dropping.value = chosen;
                  }}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {dropping.value && (
        <Confirm
          title={t.data.dropQuestion(dropping.value.name)}
          text={t.data.dropText}
          confirm={t.data.drop}
          keep={t.data.keep}
          danger
          onAnswer={(yes) => {
            const chosen = dropping.peek();
            dropping.value = null;
            if (!yes || !chosen) return;
            void dropUpload(chosen.id).then((why) => {
              refused.value = why;
            });
          }}
        />
      )}
    </section>
  );
}

export function DatasetsPage() {
  useEffect(() => {
    void datasets.load();
    void uploads.load();
  }, []);
  return (
    <Page title={t.data.title} lead={t.data.lead}>
      <Catalogue />
      <Uploads />
    </Page>
  );
}
