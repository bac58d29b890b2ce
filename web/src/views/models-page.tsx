import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { modelUrl } from '../api/client';
import type { Model } from '../api/types';
import { models, moreModels } from '../state/lists';
import { t } from '../strings/en';
import { formatAgo, formatBytes, formatDateTime, formatLoss, formatPercent, shortHash } from './format';
import { Page } from './page';
import { Icon } from './ui/icons';
import { Link } from './ui/link';
import { useNow } from './ui/now';
import { CopyButton, Empty, Loading, ProblemNote } from './ui/parts';

function ModelRow({ model, now }: { model: Model; now: number }) {
  const columns = t.models.columns;
  return (
    <tr>
      <td class="cell-name">
        <Link to={`/jobs/${model.job_id}`} class="row-link">
          {model.name}
        </Link>
        <span class="tag num">{t.models.version(model.version)}</span>
      </td>
      <td class="right num" data-label={columns.accuracy}>
        <strong>{formatPercent(model.metrics?.test_accuracy, 2)}</strong>
      </td>
      <td class="right num" data-label={columns.loss}>
        {formatLoss(model.metrics?.test_loss)}
      </td>
      <td data-label={columns.dataset}>{model.dataset ?? '–'}</td>
      <td class="right num" data-label={columns.size}>
        {formatBytes(model.bytes)}
      </td>
      <td class="wide" data-label={columns.sha256}>
        <span class="copyable">
          <span class="mono" title={model.sha256}>
            {shortHash(model.sha256)}
          </span>
          <CopyButton text={model.sha256} label={t.job.copyHash} />
        </span>
      </td>
      <td class="right" data-label={columns.created}>
        <time dateTime={model.created_at} title={formatDateTime(model.created_at)}>
          {formatAgo(model.created_at, now)}
        </time>
      </td>
      <td class="right cell-action">
        <a
          class="button small"
          href={modelUrl(model.id)}
          download
          aria-label={t.models.downloadNamed(model.name, model.version)}
        >
          <Icon name="download" size={16} />
          {t.models.download}
        </a>
      </td>
    </tr>
  );
}

function ModelTable({ items }: { items: Model[] }) {
  const now = useNow();
  const columns = t.models.columns;
  return (
    <div class="table-wrap">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">{columns.name}</th>
            <th scope="col" class="right">
              {columns.accuracy}
            </th>
            <th scope="col" class="right">
              {columns.loss}
            </th>
            <th scope="col">{columns.dataset}</th>
            <th scope="col" class="right">
              {columns.size}
            </th>
            <th scope="col" class="wide">
              {columns.sha256}
            </th>
            <th scope="col" class="right">
              {columns.created}
            </th>
            <th scope="col">
              <span class="hidden-text">{columns.actions}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {items.map((model) => (
            <ModelRow key={model.id} model={model} now={now} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function ModelsPage({ wanted: first }: { wanted: string }) {
  const search = useSignal(first);
  useEffect(() => void models.load(), []);
  const { data, problem } = models.state.value;
  const wanted = search.value.trim().toLowerCase();
  const shown = data?.items.filter(
    (model) => model.name.toLowerCase().includes(wanted) || (model.dataset ?? '').includes(wanted),
  );
  return (
    <Page title={t.models.title} lead={t.models.lead}>
      <div class="toolbar">
        <div class="search">
          <Icon name="search" size={16} />
          <input
            class="input compact"
            type="search"
            aria-label={t.models.search}
            placeholder={t.models.search}
            value={search.value}
            onInput={(event) => {
              search.value = event.currentTarget.value;
            }}
          />
        </div>
      </div>
      {problem && <ProblemNote problem={problem} stale={data !== null} onRetry={() => void models.load()} />}
      {(data || !problem) && (
        <div class="card">
          {!data && <Loading />}
          {data?.items.length === 0 && (
            <Empty icon="models" title={t.models.emptyTitle} text={t.models.emptyText}>
              <Link to="/submit" class="button">
                {t.nav.submit}
              </Link>
            </Empty>
          )}
          {data && data.items.length > 0 && shown?.length === 0 && (
            <Empty icon="search" title={t.jobs.noneTitle} text={t.models.noneText} />
          )}
          {shown && shown.length > 0 && <ModelTable items={shown} />}
        </div>
      )}
      {data?.next && (
        <footer class="page-foot">
          <button type="button" class="button" onClick={() => void moreModels()}>
            {t.models.more}
          </button>
        </footer>
      )}
    </Page>
  );
}
