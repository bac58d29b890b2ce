import { useSignal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { jobModelUrl } from '../../api/client';
import type { JobDetail } from '../../api/types';
import { stepRate, zoom } from '../../state/chart';
import { costSoFar } from '../../state/cost';
import { durationMs } from '../../state/job-query';
import { isTerminal } from '../../state/jobs';
import { addShortcuts } from '../../state/keys';
import { addCommands } from '../../state/palette';
import { navigate } from '../../state/router';
import { Run } from '../../state/run';
import { t } from '../../strings/en';
import {
  baseUnits,
  formatAmountShort,
  formatDuration,
  formatInteger,
  formatLoss,
  formatPercent,
  formatRate,
  shortId,
} from '../format';
import { progressPart } from '../jobs-page';
import { lazyPart } from '../lazy';
import { Page } from '../page';
import { Icon } from '../ui/icons';
import { Link } from '../ui/link';
import { useNow } from '../ui/now';
import { Confirm, CopyButton, Empty, Loading, Meter, ProblemNote, StateBadge } from '../ui/parts';
import { ArtifactsCard } from './job-artifacts';
import { EpochsCard, LogsCard, SpecCard } from './job-records';
import { DetailsCard, HistoryCard, MachineCard, MoneyCard } from './job-side';

const ChartsPart = lazyPart<{ run: Run; live: boolean }>(
  async () => (await import('./charts')).ChartsCard,
  <section class="card charts">
    <Loading rows={8} />
  </section>,
);

function Head({ job, run }: { job: JobDetail; run: Run }) {
  const asking = useSignal(false);
  const moving = !isTerminal(job.state);
  useEffect(() => {
    const clone = () => navigate(`/submit?from=${job.id}`);
    const cancel = () => {
      asking.value = true;
    };
    const group = t.palette.groups.page;
    const dropCommands = addCommands([
      { id: 'clone', group, text: t.job.clone, keys: 'c', run: clone },
      ...(moving ? [{ id: 'cancel', group, text: t.job.cancel, run: cancel }] : []),
    ]);
    const dropKeys = addShortcuts([{ keys: 'c', label: t.job.clone, run: clone }]);
    return () => {
      dropCommands();
      dropKeys();
    };
  }, [job.id, moving]);
  return (
    <header class="page-head job-head">
      <div>
        <nav class="crumbs" aria-label={t.job.crumbs}>
          <Link to="/jobs">{t.jobs.title}</Link>
          <Icon name="chevron" size={14} />
          <span class="mono">{shortId(job.id)}</span>
          <CopyButton text={job.id} label={t.job.copyId} />
        </nav>
        <div class="job-title">
          <h1 tabIndex={-1}>{job.name}</h1>
          <StateBadge state={job.state} />
        </div>
      </div>
      <div class="actions">
        <Link to={`/submit?from=${job.id}`} class="button">
          <Icon name="clone" size={16} />
          {t.job.clone}
        </Link>
        {moving && (
          <button
            type="button"
            class="button danger"
            disabled={run.cancelling.value}
            onClick={() => {
              asking.value = true;
            }}
          >
            <Icon name="stop" size={16} />
            {run.cancelling.value ? t.job.cancelling : t.job.cancel}
          </button>
        )}
        {job.state === 'completed' && job.model && (
          <a class="button primary" href={jobModelUrl(job.id)} download>
            <Icon name="download" size={16} />
            {t.job.download}
          </a>
        )}
      </div>
      {asking.value && (
        <Confirm
          title={t.job.cancelQuestion}
          text={t.job.cancelText}
          confirm={t.job.cancel}
          keep={t.job.cancelKeep}
          danger
          onAnswer={(yes) => {
            asking.value = false;
            if (yes) void run.cancel();
          }}
        />
      )}
    </header>
  );
}

function Notice({ job }: { job: JobDetail }) {
  if (job.state === 'queued') {
    const known = job.pending ? t.job.pending[job.pending.code] : undefined;
    const said = job.pending?.message;
    return (
      <div class="banner queued" role="status">
        <Icon name="clock" />
        <div>
          <strong>{t.job.waiting}</strong>
          <p>{known ?? said ?? t.job.pending['awaiting-escrow']}</p>
          {known && said && said !== known && <small>{said}</small>}
          {job.pending?.remedy && <small>{t.job.helps(job.pending.remedy)}</small>}
        </div>
      </div>
    );
  }
  if (job.state === 'assigned') {
    return (
      <div class="banner assigned" role="status">
        <Icon name="nodes" />
        <div>
          <p>{t.job.assigned}</p>
        </div>
      </div>
    );
  }
  if (job.state === 'failed') {
    return (
      <div class="banner failed" role="alert">
        <Icon name="alert" />
        <div>
          <strong>{t.job.failedTitle}</strong>
          <p>{job.error?.message ?? t.problem.unknown}</p>
          <small class="mono">
            {[job.error?.status, job.error?.pointer ? t.job.failedAt(job.error.pointer) : '']
              .filter(Boolean)
              .join(' ')}
          </small>
        </div>
      </div>
    );
  }
  if (job.state === 'cancelled') {
    const charged = (baseUnits(job.cost) ?? 0n) > 0n;
    return (
      <div class="banner" role="status">
        <Icon name="stop" />
        <div>
          <p>{charged ? t.job.cancelledCharged(formatAmountShort(job.cost)) : t.job.cancelledText}</p>
        </div>
      </div>
    );
  }
  return null;
}

interface StatProps {
  label: string;
  value: string;
  note?: string | null;
}

function Stat({ label, value, note }: StatProps) {
  return (
    <div class="stat">
      <dt>{label}</dt>
      <dd>
        <strong class="num">{value}</strong>
        <small class="muted num">{note ?? ''}</small>
      </dd>
    </div>
  );
}

function timeLeft(run: Run, job: JobDetail): string | null {
  const progress = job.progress;
  if (job.state !== 'running' || !progress) return null;
  const rate = stepRate(run.series.column('step'), run.series.column('atMs'));
  return rate ? t.job.left(formatDuration((progress.total_steps - progress.step) / rate)) : null;
}

function ProgressStat({ job, run }: { job: JobDetail; run: Run }) {
  const progress = job.progress;
  const part = progressPart(job);
  const steps = progress
    ? t.job.step(formatInteger(progress.step), formatInteger(progress.total_steps))
    : t.states[job.state];
  return (
    <div class="stat wide-stat">
      <dt>{t.job.stats.progress}</dt>
      <dd>
        <strong class="num">
          {Math.floor(part * 100)} %
          {progress && <small> {t.job.epoch(progress.epoch, progress.epochs)}</small>}
        </strong>
        <Meter part={part} tone={job.state} label={t.job.stats.progress} />
        <small class="muted num">{[steps, timeLeft(run, job)].filter(Boolean).join(' · ')}</small>
      </dd>
    </div>
  );
}

function Stats({ job, run }: { job: JobDetail; run: Run }) {
  const now = useNow();
  void run.seriesVersion.value;
  const evaluated = run.series.epochs.at(-1);
  const result = job.result;
  const accuracy = result?.test_accuracy ?? evaluated?.evalAccuracy ?? null;
  const waited = job.started_at ? Date.parse(job.started_at) - Date.parse(job.created_at) : null;
  const running = costSoFar(job, now);
  const cost = running ?? job.cost ?? (isTerminal(job.state) ? '0 CYX' : null);
  return (
    <dl class="card stats">
      <ProgressStat job={job} run={run} />
      <Stat
        label={t.job.stats.testAccuracy}
        value={formatPercent(accuracy, 2)}
        note={evaluated ? t.job.evalAfterEpoch(evaluated.epoch) : null}
      />
      <Stat
        label={t.job.stats.loss}
        value={formatLoss(job.progress?.loss ?? result?.train_loss)}
        note={`${t.job.charts.evaluation} ${formatLoss(result?.test_loss ?? evaluated?.evalLoss)}`}
      />
      <Stat
        label={t.job.stats.speed}
        value={formatRate(
          isTerminal(job.state)
            ? (result?.images_per_second ?? job.progress?.images_per_second)
            : job.progress?.images_per_second,
        )}
        note={result?.backend ?? null}
      />
      <Stat
        label={t.job.stats.elapsed}
        value={formatDuration(durationMs(job, now))}
        note={waited === null ? null : t.job.waited(formatDuration(waited))}
      />
      <Stat
        label={t.job.stats.cost}
        value={formatAmountShort(cost)}
        note={[running ? t.job.soFar : '', job.budget ? t.job.ofBudget(formatAmountShort(job.budget)) : '']
          .filter(Boolean)
          .join(', ')}
      />
    </dl>
  );
}

function Loaded({ job, run }: { job: JobDetail; run: Run }) {
  const problem = run.telemetryProblem.value;
  const stale = run.job.state.value.problem;
  return (
    <Page title={job.name} head={<Head job={job} run={run} />}>
      {stale && <ProblemNote problem={stale} stale onRetry={() => void run.job.load()} />}
      {run.cancelProblem.value && <ProblemNote problem={run.cancelProblem.value} />}
      <Notice job={job} />
      <Stats job={job} run={run} />
      {problem && <ProblemNote problem={problem} onRetry={() => void run.retryTelemetry()} />}
      <div class="job-grid">
        <div class="job-main">
          <ChartsPart run={run} live={job.state === 'running'} />
          <EpochsCard run={run} />
          <LogsCard run={run} />
          <SpecCard spec={job.spec} />
        </div>
        <div class="job-side">
          {job.state === 'running' && job.node_id && <MachineCard key={job.node_id} id={job.node_id} />}
          <ArtifactsCard job={job} run={run} />
          <HistoryCard job={job} />
          <MoneyCard job={job} />
          <DetailsCard job={job} />
        </div>
      </div>
    </Page>
  );
}

function Missing() {
  return (
    <Page title={t.job.notFoundTitle} head={<h1 class="hidden-text">{t.job.notFoundTitle}</h1>}>
      <div class="card">
        <Empty icon="search" title={t.job.notFoundTitle} text={t.job.notFoundText}>
          <Link to="/jobs" class="button primary">
            {t.job.back}
          </Link>
        </Empty>
      </div>
    </Page>
  );
}

export function JobPage({ id }: { id: string }) {
  const run = useMemo(() => new Run(id), [id]);
  useEffect(() => {
    zoom.value = null;
    run.start();
    return () => run.stop();
  }, [run]);
  const { data, problem } = run.job.state.value;
  if (data) return <Loaded job={data} run={run} />;
  if (problem && (problem.status === 404 || problem.status === 422 || problem.status === 400))
    return <Missing />;
  return (
    <Page title={t.job.title}>
      {problem ? (
        <ProblemNote problem={problem} onRetry={() => void run.job.load()} />
      ) : (
        <div class="card">
          <Loading rows={10} />
        </div>
      )}
    </Page>
  );
}
