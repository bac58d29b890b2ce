// One job's page: the job itself, its metrics and logs, live. Kept telemetry is fetched first, then the subscription goes
// on from the last sequence that was in it, so nothing is missed and nothing comes twice.
import { batch, signal } from '@preact/signals';
import * as api from '../api/client';
import type { Problem } from '../api/http';
import type { LiveEvent } from '../api/live';
import type { JobDetail, LogLine } from '../api/types';
import { isTerminal, withProgress } from './jobs';
import { subscribe } from './live';
import { poll, type Resource, resource } from './resource';
import { RunSeries } from './series';
import { asProblem } from './session';

const logLimit = 5_000;
const waitingPollMs = 2_500;
const settlingPollMs = 1_500;
const settlingTries = 8;
const runningRefreshMs = 10_000;

export class Run {
  readonly id: string;
  readonly job: Resource<JobDetail>;
  readonly series = new RunSeries();
  /** Rises, at most once a frame, when the series have changed. */
  readonly seriesVersion = signal(0);
  readonly logs = signal<LogLine[]>([]);
  readonly logsDropped = signal(0);
  readonly telemetryProblem = signal<Problem | null>(null);
  readonly telemetryReady = signal(false);
  readonly cancelling = signal(false);
  readonly cancelProblem = signal<Problem | null>(null);

  #unsubscribe: (() => void) | null = null;
  #stopPoll: (() => void) | null = null;
  #abort = new AbortController();
  #pendingLogs: LogLine[] = [];
  #frame = 0;
  #newestStep: LiveEvent | null = null;
  #settlingLeft = settlingTries;
  #stopped = false;

  constructor(id: string) {
    this.id = id;
    this.job = resource(async (signal) => this.#keepNewerProgress(await api.getJob(id, signal)));
  }

  start(): void {
    this.#stopPoll = poll(() => this.#refreshWhileMoving(), waitingPollMs);
    void this.#loadTelemetry();
  }

  stop(): void {
    this.#stopped = true;
    this.#abort.abort();
    this.#unsubscribe?.();
    this.#stopPoll?.();
    cancelAnimationFrame(this.#frame);
    this.job.forget();
  }

  async cancel(): Promise<void> {
    this.cancelling.value = true;
    this.cancelProblem.value = null;
    try {
      await api.cancelJob(this.id);
      await this.job.load();
    } catch (error) {
      this.cancelProblem.value = asProblem(error);
    } finally {
      this.cancelling.value = false;
    }
  }

  async retryTelemetry(): Promise<void> {
    this.telemetryProblem.value = null;
    await this.#loadTelemetry();
  }

  /** A waiting job's reason and a finished job's money change without a telemetry event. */
  async #refreshWhileMoving(): Promise<void> {
    const { data: job, at } = this.job.state.peek();
    if (job?.state === 'running' && Date.now() - at < runningRefreshMs) return; // events tell all but the cost
    const settled =
      job !== null && isTerminal(job.state) && (job.escrow?.state !== 'held' || this.#settlingLeft <= 0);
    if (settled) return;
    if (job && isTerminal(job.state)) this.#settlingLeft -= 1;
    await this.job.load();
  }

  /** The stored progress lags behind the live one by up to two seconds: never step back. */
  #keepNewerProgress(fresh: JobDetail): JobDetail {
    const shown = this.job.state.peek().data;
    const newer = shown?.progress && fresh.state === 'running' && shown.attempt === fresh.attempt;
    if (!newer || (shown.progress?.step ?? 0) <= (fresh.progress?.step ?? 0)) return fresh;
    return { ...fresh, progress: shown.progress };
  }

  async #loadTelemetry(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const lines: LogLine[] = [];
    let metricsUpTo = 0;
    let isFirstPage = true;
    try {
      await api.eachMetric(
        this.id,
        (page) => {
          // What was shown before (after a gap) stays until there is something to take its place.
          if (isFirstPage) this.series.clear();
          isFirstPage = false;
          for (const point of page) this.series.push(point);
          metricsUpTo = page.at(-1)?.sequence ?? metricsUpTo;
          this.seriesVersion.value += 1;
        },
        signal,
      );
      // After the metrics, so that every line older than the newest point is in: the subscription goes on from there.
      await api.eachLog(this.id, (page) => lines.push(...page), signal);
    } catch (error) {
      if (!signal.aborted) this.telemetryProblem.value = asProblem(error);
      return;
    }
    if (this.#stopped || signal.aborted) return;
    const logsUpTo = lines.at(-1)?.sequence ?? 0;
    batch(() => {
      this.logs.value = lines.slice(-logLimit);
      this.logsDropped.value = Math.max(0, lines.length - logLimit);
      this.telemetryReady.value = true;
    });
    this.#unsubscribe = subscribe(
      { job_id: this.id, cursor: metricsUpTo },
      {
        onEvent: (event) => {
          if (event.event === 'log' && event.cursor <= logsUpTo) return; // came with the kept ones
          this.#onEvent(event);
        },
        onGap: () => void this.#loadTelemetry(),
        onProblem: (problem) => {
          if (problem.status !== 503) this.telemetryProblem.value = asProblem(problem.detail);
        },
      },
    );
  }

  #onEvent(event: LiveEvent): void {
    if (event.event === 'metrics') {
      this.series.push(event.data);
      if (event.data.kind === 'step') this.#newestStep = event;
    } else if (event.event === 'log') {
      this.#pendingLogs.push(event.data);
    } else {
      this.#settlingLeft = settlingTries;
      void this.job.load();
      setTimeout(() => this.#stopped || void this.job.load(), settlingPollMs);
    }
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #flush(): void {
    this.#frame = 0;
    batch(() => {
      this.seriesVersion.value += 1;
      if (this.#pendingLogs.length > 0) {
        const all = [...this.logs.peek(), ...this.#pendingLogs];
        this.#pendingLogs = [];
        this.logsDropped.value += Math.max(0, all.length - logLimit);
        this.logs.value = all.slice(-logLimit);
      }
      const job = this.job.state.peek();
      if (this.#newestStep && job.data) {
        const next = withProgress(job.data, this.#newestStep);
        this.job.state.value = { ...job, data: { ...job.data, progress: next.progress } };
      }
      this.#newestStep = null;
    });
  }
}
