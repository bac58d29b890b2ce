// biome-ignore-all lint/a11y/noAriaHiddenOnFocusable: the gaps of a windowed table hold nothing
// biome-ignore-all lint/a11y/useSemanticElements: a group of buttons is no fieldset, a bar that floats no section
import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Job, Progress } from '../api/types';
import { durationMs, type ListedJob } from '../state/job-query';
import {
  applyView,
  dropView,
  followAddress,
  loadViews,
  namedViews,
  presentView,
  saveView,
  searchOfView,
} from '../state/job-views';
import {
  hasMoreJobs,
  isTerminal,
  isUsualOrder,
  type JobFilter,
  jobFilter,
  jobList,
  jobOrder,
  jobProblem,
  jobSearch,
  jobsLoadingMore,
  jobsReading,
  liveProgress,
  loadAllJobs,
  loadJobs,
  loadMoreJobs,
  nextOrder,
  setJobFilter,
  shownJobs,
  watchJobs,
} from '../state/jobs';
import { addShortcuts } from '../state/keys';
import { navigate } from '../state/router';
import { t } from '../strings/en';
import {
  formatAgo,
  formatAmount,
  formatAmountShort,
  formatDateTime,
  formatDuration,
  formatLoss,
  formatPercent,
  formatRate,
  shortId,
} from './format';
import { Page } from './page';
import { Icon } from './ui/icons';
import { Link } from './ui/link';
import { useNow } from './ui/now';
import { Empty, Loading, Meter, ProblemNote, Segments, StateBadge } from './ui/parts';
import { useWindow } from './ui/window';

const filters: JobFilter[] = ['all', 'queued', 'running', 'completed', 'failed', 'cancelled'];
/** So near to the end of what is read, the next page is fetched. */
const rowsBeforeEnd = 30;
const searchDelayMs = 150;
const compareLimit = 50;

export function progressPart(job: Pick<Job, 'state' | 'progress'>): number {
  if (job.state === 'completed') return 1;
  const progress = job.progress;
  return progress && progress.total_steps > 0 ? progress.step / progress.total_steps : 0;
}

function ProgressCell({ job }: { job: ListedJob }) {
  const progress = job.progress;
  const part = progressPart(job);
  const text = progress ? t.jobs.epoch(progress.epoch, progress.epochs) : null;
  if (job.state === 'queued' || (!progress && job.state !== 'completed')) {
    const why = job.pending ? (t.job.pending[job.pending.code] ?? job.pending.message) : null;
    return (
      <span class="why" title={why ?? undefined}>
        {isTerminal(job.state) ? '–' : (why ?? t.states[job.state])}
      </span>
    );
  }
  return (
    <span class="progress-cell">
      <Meter part={part} tone={job.state} label={`${job.name}: ${t.jobs.columns.progress}`} />
      <small class="num">{text ?? '100 %'}</small>
    </span>
  );
}

function AccuracyCell({ job }: { job: ListedJob }) {
  const test = job.result?.test_accuracy;
  if (typeof test === 'number') {
    return (
      <span class="num">
        <strong>{formatPercent(test, 2)}</strong> <small class="muted">{t.jobs.testAccuracy}</small>
      </span>
    );
  }
  const train = job.progress?.accuracy;
  if (typeof train !== 'number') return <span class="muted">–</span>;
  return (
    <span class="num">
      {formatPercent(train)} <small class="muted">{t.jobs.trainAccuracy}</small>
    </span>
  );
}

function CostCell({ job }: { job: ListedJob }) {
  if (job.cost !== null && isTerminal(job.state))
    return (
      <span class="num" title={formatAmount(job.cost)}>
        {formatAmountShort(job.cost)}
      </span>
    );
  return <span class="num muted">{job.budget ? t.jobs.maxCost(formatAmountShort(job.budget)) : '–'}</span>;
}

interface RowProps {
  job: ListedJob;
  progress: Progress | undefined;
  now: number;
  index: number;
  chosen: boolean;
  onChoose(id: string, chosen: boolean, range: boolean): void;
}

function JobRow({ job: kept, progress, now, index, chosen, onChoose }: RowProps) {
  const columns = t.jobs.columns;
  const job = progress && !isTerminal(kept.state) ? { ...kept, progress } : kept;
  const elapsed = durationMs(job, now);
  return (
    <tr aria-rowindex={index + 2} class={chosen ? 'chosen' : ''}>
      <td class="cell-choose">
        <input
          type="checkbox"
          aria-label={t.jobs.choose(job.name)}
          checked={chosen}
          onClick={(event) => onChoose(job.id, event.currentTarget.checked, event.shiftKey)}
        />
      </td>
      <td class="cell-state">
        <StateBadge state={job.state} />
      </td>
      <td class="cell-name">
        <Link to={`/jobs/${job.id}`} class="row-link">
          {job.name}
        </Link>
        <small class="mono muted">{shortId(job.id)}</small>
      </td>
      <td class="cell-progress" data-label={columns.progress}>
        <ProgressCell job={job} />
      </td>
      <td class="right" data-label={columns.accuracy}>
        <AccuracyCell job={job} />
      </td>
      <td class="right num" data-label={columns.loss}>
        {formatLoss(job.result?.test_loss ?? job.progress?.loss)}
      </td>
      <td class="right num wide spare" data-label={columns.speed}>
        {formatRate(job.result?.images_per_second ?? job.progress?.images_per_second)}
      </td>
      <td class="right num" data-label={columns.duration}>
        {elapsed === null ? '–' : formatDuration(elapsed)}
      </td>
      <td class="right wide spare" data-label={columns.cost}>
        <CostCell job={job} />
      </td>
      <td class="right cell-created" data-label={columns.created}>
        <time dateTime={job.created_at} title={formatDateTime(job.created_at)}>
          {formatAgo(job.created_at, now)}
        </time>
      </td>
    </tr>
  );
}

interface HeadProps {
  name: string;
  text: string;
  class?: string;
  /** What is wanted first: the best accuracy, the least loss. */
  downFirst?: boolean;
}

function Head({ name, text, class: className = '', downFirst = false }: HeadProps) {
  const order = jobOrder.value;
  const mine = order.key === name;
  return (
    <th
      scope="col"
      class={className}
      aria-sort={mine ? (order.down ? 'descending' : 'ascending') : undefined}
    >
      <button
        type="button"
        class="sort"
        onClick={() => {
          jobOrder.value = nextOrder(jobOrder.peek(), name, downFirst);
        }}
      >
        {text}
        <span class={`sort-mark ${mine ? (order.down ? 'down' : 'up') : ''}`} aria-hidden="true" />
      </button>
    </th>
  );
}

interface TableProps {
  jobs: ListedJob[];
  chosen: ReadonlySet<string>;
  onChoose(id: string, chosen: boolean, range: boolean): void;
}

function JobTable({ jobs, chosen, onChoose }: TableProps) {
  const now = useNow();
  const columns = t.jobs.columns;
  const body = useRef<HTMLTableSectionElement>(null);
  const { from, to, above, below } = useWindow(jobs.length, body, 'tr[aria-rowindex]');
  const progress = liveProgress.value;
  const nearEnd = to > jobs.length - rowsBeforeEnd;
  useEffect(() => {
    if (nearEnd && jobs.length > 0) void loadMoreJobs();
  }, [nearEnd, jobs.length]);
  return (
    <div class="table-wrap">
      <table class="table jobs-table" aria-rowcount={hasMoreJobs.value ? -1 : jobs.length + 1}>
        <thead>
          <tr aria-rowindex={1}>
            <th scope="col" class="cell-choose">
              <span class="hidden-text">{columns.choose}</span>
            </th>
            <Head name="state" text={columns.state} class="cell-state" />
            <Head name="name" text={columns.name} class="cell-name" />
            <Head name="progress" text={columns.progress} class="cell-progress" downFirst />
            <Head name="accuracy" text={columns.accuracy} class="right" downFirst />
            <Head name="loss" text={columns.loss} class="right" />
            <Head name="speed" text={columns.speed} class="right wide" downFirst />
            <Head name="duration" text={columns.duration} class="right" downFirst />
            <Head name="cost" text={columns.cost} class="right wide" downFirst />
            <Head name="created" text={columns.created} class="right" downFirst />
          </tr>
        </thead>
        <tbody ref={body}>
          {above > 0 && (
            <tr class="gap" aria-hidden="true">
              <td colSpan={10} style={{ height: `${above}px` }} />
            </tr>
          )}
          {jobs.slice(from, to).map((job, offset) => (
            <JobRow
              key={job.id}
              job={job}
              progress={progress.get(job.id)}
              now={now}
              index={from + offset}
              chosen={chosen.has(job.id)}
              onChoose={onChoose}
            />
          ))}
          {below > 0 && (
            <tr class="gap" aria-hidden="true">
              <td colSpan={10} style={{ height: `${below}px` }} />
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}

function NoJobs({ filtered }: { filtered: boolean }) {
  if (!filtered) {
    return (
      <Empty icon="jobs" title={t.jobs.emptyTitle} text={t.jobs.emptyText}>
        <Link to="/submit" class="button primary">
          {t.jobs.emptyAction}
        </Link>
      </Empty>
    );
  }
  return (
    <Empty icon="search" title={t.jobs.noneTitle} text={t.jobs.noneText}>
      <button
        type="button"
        class="button"
        onClick={() => {
          jobSearch.value = '';
          setJobFilter('all');
        }}
      >
        {t.jobs.clear}
      </button>
    </Empty>
  );
}

function Search() {
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => addShortcuts([{ keys: '/', label: t.keys.search, run: () => input.current?.focus() }]), []);
  return (
    <div class="search">
      <Icon name="search" size={16} />
      <input
        ref={input}
        class="input compact"
        type="search"
        aria-label={t.jobs.search}
        aria-describedby="job-search-help"
        placeholder={t.jobs.search}
        value={jobSearch.value}
        onInput={(event) => {
          const text = event.currentTarget.value;
          clearTimeout(timer.current);
          timer.current = setTimeout(() => {
            jobSearch.value = text;
          }, searchDelayMs);
        }}
      />
      <span id="job-search-help" class="hidden-text">
        {t.jobs.searchHelp}
      </span>
    </div>
  );
}

function SaveView({ onDone }: { onDone(): void }) {
  const name = useSignal('');
  return (
    <form
      class="save-view"
      onSubmit={(event) => {
        event.preventDefault();
        saveView(name.value);
        onDone();
      }}
      onKeyDown={(event) => {
        if (event.key === 'Escape') onDone();
      }}
    >
      <input
        class="input compact"
        aria-label={t.jobs.views.name}
        placeholder={t.jobs.views.name}
        maxLength={40}
        // The user has just asked for it.
        ref={(element) => element?.focus()}
        value={name.value}
        onInput={(event) => {
          name.value = event.currentTarget.value;
        }}
      />
      <button type="submit" class="button small primary" disabled={name.value.trim() === ''}>
        {t.jobs.views.save}
      </button>
      <button type="button" class="button small quiet" onClick={onDone}>
        {t.jobs.views.cancel}
      </button>
    </form>
  );
}

function Views() {
  const naming = useSignal(false);
  useEffect(loadViews, []);
  const present = searchOfView(presentView.value);
  const views = namedViews.value;
  const worthKeeping = present !== '' && !views.some((view) => searchOfView(view) === present);
  if (views.length === 0 && !worthKeeping) return null;
  return (
    <div class="views" role="group" aria-label={t.jobs.views.title}>
      {views.map((view) => {
        const shown = searchOfView(view) === present;
        return (
          <span key={view.name} class={`chip ${shown ? 'on' : ''}`}>
            <button type="button" aria-pressed={shown} onClick={() => applyView(view)}>
              {view.name}
            </button>
            <button
              type="button"
              class="chip-drop"
              aria-label={t.jobs.views.drop(view.name)}
              onClick={() => dropView(view.name)}
            >
              <Icon name="close" size={12} />
            </button>
          </span>
        );
      })}
      {worthKeeping && !naming.value && (
        <button
          type="button"
          class="button small quiet"
          onClick={() => {
            naming.value = true;
          }}
        >
          <Icon name="plus" size={14} />
          {t.jobs.views.add}
        </button>
      )}
      {naming.value && (
        <SaveView
          onDone={() => {
            naming.value = false;
          }}
        />
      )}
    </div>
  );
}

/** On a phone the table has no heads to press. */
function PhoneOrder() {
  const columns = t.jobs.columns;
  const keys = ['created', 'name', 'state', 'accuracy', 'loss', 'speed', 'duration', 'cost'] as const;
  const present = `${jobOrder.value.key}.${jobOrder.value.down ? 'down' : 'up'}`;
  return (
    <select
      class="input compact phone-order"
      aria-label={t.jobs.order}
      value={present}
      onChange={(event) => {
        const [key = 'created', way] = event.currentTarget.value.split('.');
        jobOrder.value = { key, down: way === 'down' };
      }}
    >
      {keys.flatMap((key) =>
        (['down', 'up'] as const).map((way) => (
          <option key={`${key}.${way}`} value={`${key}.${way}`}>
            {t.jobs.orderBy(columns[key], way === 'down')}
          </option>
        )),
      )}
    </select>
  );
}

function Toolbar() {
  return (
    <div class="toolbar">
      <Segments<JobFilter>
        label={t.jobs.filter}
        name="job-filter"
        options={filters.map((value) => ({ value, text: value === 'all' ? t.jobs.all : t.states[value] }))}
        value={jobFilter.value}
        onChange={setJobFilter}
      />
      <Search />
      <PhoneOrder />
      <Views />
    </div>
  );
}

function Chosen({ ids, onClear }: { ids: ReadonlySet<string>; onClear(): void }) {
  if (ids.size === 0) return null;
  const many = ids.size >= 2;
  return (
    <div class="chosen-bar" role="region" aria-label={t.jobs.chosenLabel}>
      <span class="num" role="status">
        {t.jobs.chosen(ids.size)}
      </span>
      <button
        type="button"
        class="button small primary"
        disabled={!many}
        onClick={() => navigate(`/compare?jobs=${[...ids].slice(0, compareLimit).join(',')}`)}
      >
        {t.jobs.compare}
      </button>
      <button type="button" class="button small quiet" onClick={onClear}>
        {t.jobs.clearChosen}
      </button>
    </div>
  );
}

function Foot({ count }: { count: number }) {
  const reading = jobsReading.value;
  return (
    <footer class="page-foot list-foot">
      <span class="muted" role="status">
        {reading === null ? t.jobs.count(count, hasMoreJobs.value) : t.jobs.reading(reading)}
      </span>
      {hasMoreJobs.value && reading === null && (
        <button
          type="button"
          class="button"
          disabled={jobsLoadingMore.value}
          onClick={() => void loadMoreJobs()}
        >
          {jobsLoadingMore.value ? t.jobs.loadingMore : t.jobs.more}
        </button>
      )}
    </footer>
  );
}

export function JobsPage() {
  const chosen = useSignal<ReadonlySet<string>>(new Set());
  const lastChosen = useRef<string | null>(null);
  useEffect(() => {
    const stopFollowing = followAddress();
    const stopWatching = watchJobs();
    return () => {
      stopFollowing();
      stopWatching();
    };
  }, []);
  const jobs = shownJobs.value;
  const problem = jobProblem.value;
  const searched = jobSearch.value.trim() !== '';
  const whole = searched || !isUsualOrder(jobOrder.value);
  const known = jobs !== null;
  useEffect(() => {
    if (whole && known) void loadAllJobs();
  }, [whole, known, jobFilter.value]);

  function choose(id: string, on: boolean, range: boolean): void {
    const next = new Set(chosen.peek());
    const all = shownJobs.peek() ?? [];
    const here = all.findIndex((job) => job.id === id);
    const there = range ? all.findIndex((job) => job.id === lastChosen.current) : -1;
    const ids =
      there === -1 ? [id] : all.slice(Math.min(here, there), Math.max(here, there) + 1).map((job) => job.id);
    for (const each of ids) {
      if (on) next.add(each);
      else next.delete(each);
    }
    lastChosen.current = id;
    chosen.value = next;
  }

  return (
    <Page title={t.jobs.title} lead={t.jobs.lead}>
      <Toolbar />
      {problem && (
        <ProblemNote problem={problem} stale={jobList.value !== null} onRetry={() => void loadJobs()} />
      )}
      {(jobs || !problem) && (
        <div class="card">
          {!jobs && <Loading />}
          {jobs?.length === 0 && jobsReading.value === null && (
            <NoJobs filtered={jobFilter.value !== 'all' || searched} />
          )}
          {jobs?.length === 0 && jobsReading.value !== null && <Loading />}
          {jobs && jobs.length > 0 && <JobTable jobs={jobs} chosen={chosen.value} onChoose={choose} />}
        </div>
      )}
      {jobs && (jobs.length > 0 || jobsReading.value !== null) && <Foot count={jobs.length} />}
      <Chosen
        ids={chosen.value}
        onClear={() => {
          chosen.value = new Set();
        }}
      />
    </Page>
  );
}
