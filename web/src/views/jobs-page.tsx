import { useEffect } from 'preact/hooks';
import type { Job } from '../api/types';
import {
  hasMoreJobs,
  isTerminal,
  type JobFilter,
  jobFilter,
  jobList,
  jobProblem,
  jobSearch,
  jobsLoadingMore,
  loadJobs,
  loadMoreJobs,
  setJobFilter,
  shownJobs,
  watchJobs,
} from '../state/jobs';
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

const filters: JobFilter[] = ['all', 'queued', 'running', 'completed', 'failed', 'cancelled'];

export function progressPart(job: Job): number {
  if (job.state === 'completed') return 1;
  const progress = job.progress;
  return progress && progress.total_steps > 0 ? progress.step / progress.total_steps : 0;
}

export function elapsedMs(job: Job, nowMs: number): number | null {
  if (!job.started_at) return null;
  const end = job.ended_at ? Date.parse(job.ended_at) : nowMs;
  return Math.max(0, end - Date.parse(job.started_at));
}

function ProgressCell({ job }: { job: Job }) {
  const progress = job.progress;
  const part = progressPart(job);
  const text = progress ? t.jobs.epoch(progress.epoch, progress.epochs) : null;
  if (job.state === 'queued' || (!progress && job.state !== 'completed')) {
    const why = job.pending ? (t.job.pending[job.pending.code] ?? job.pending.message) : null;
    return <span class="why">{isTerminal(job.state) ? '–' : (why ?? t.states[job.state])}</span>;
  }
  return (
    <span class="progress-cell">
      <Meter part={part} tone={job.state} label={`${job.name}: ${t.jobs.columns.progress}`} />
      <small class="num">{text ?? '100 %'}</small>
    </span>
  );
}

function AccuracyCell({ job }: { job: Job }) {
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

function CostCell({ job }: { job: Job }) {
  if (job.cost !== null && isTerminal(job.state))
    return (
      <span class="num" title={formatAmount(job.cost)}>
        {formatAmountShort(job.cost)}
      </span>
    );
  return <span class="num muted">{job.budget ? t.jobs.maxCost(formatAmountShort(job.budget)) : '–'}</span>;
}

function JobRow({ job, now }: { job: Job; now: number }) {
  const columns = t.jobs.columns;
  const elapsed = elapsedMs(job, now);
  return (
    <tr>
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

function JobTable({ jobs }: { jobs: Job[] }) {
  const now = useNow();
  const columns = t.jobs.columns;
  return (
    <div class="table-wrap">
      <table class="table jobs-table">
        <thead>
          <tr>
            <th scope="col">{columns.state}</th>
            <th scope="col">{columns.name}</th>
            <th scope="col">{columns.progress}</th>
            <th scope="col" class="right">
              {columns.accuracy}
            </th>
            <th scope="col" class="right">
              {columns.loss}
            </th>
            <th scope="col" class="right wide">
              {columns.speed}
            </th>
            <th scope="col" class="right">
              {columns.duration}
            </th>
            <th scope="col" class="right wide">
              {columns.cost}
            </th>
            <th scope="col" class="right">
              {columns.created}
            </th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <JobRow key={job.id} job={job} now={now} />
          ))}
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
      <div class="search">
        <Icon name="search" size={16} />
        <input
          class="input compact"
          type="search"
          aria-label={t.jobs.search}
          placeholder={t.jobs.search}
          value={jobSearch.value}
          onInput={(event) => {
            jobSearch.value = event.currentTarget.value;
          }}
        />
      </div>
    </div>
  );
}

export function JobsPage() {
  useEffect(() => watchJobs(), []);
  const jobs = shownJobs.value;
  const problem = jobProblem.value;
  const filtered = jobFilter.value !== 'all' || jobSearch.value.trim() !== '';
  return (
    <Page title={t.jobs.title} lead={t.jobs.lead}>
      <Toolbar />
      {problem && (
        <ProblemNote problem={problem} stale={jobList.value !== null} onRetry={() => void loadJobs()} />
      )}
      {(jobs || !problem) && (
        <div class="card">
          {!jobs && <Loading />}
          {jobs?.length === 0 && <NoJobs filtered={filtered} />}
          {jobs && jobs.length > 0 && <JobTable jobs={jobs} />}
        </div>
      )}
      {jobs && jobs.length > 0 && (
        <footer class="page-foot list-foot">
          <span class="muted">{t.jobs.count(jobs.length, hasMoreJobs.value)}</span>
          {hasMoreJobs.value && (
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
      )}
    </Page>
  );
}
