// Many runs side by side: their jobs, their metrics (live while they run), and the settings in which they differ.
import { signal } from '@preact/signals';
import * as api from '../api/client';
import type { Problem } from '../api/http';
import type { JobDetail, Json, Spec } from '../api/types';
import { durationMs, settingsOf } from './job-query';
import { isTerminal } from './jobs';
import { subscribe } from './live';
import { withDefaults } from './schema';
import { RunSeries, Smoother } from './series';
import { asProblem } from './session';
import { resample } from './thin';

export const runsLimit = 50;
const atOnce = 4;
/** Points of each line: about one for each pixel of a wide chart. */
export const gridPoints = 900;

export type MetricName = 'loss' | 'accuracy' | 'evalLoss' | 'evalAccuracy' | 'imagesPerSecond' | 'lr';
export type AxisName = 'step' | 'epoch' | 'time';

export interface ComparedRun {
  id: string;
  job: JobDetail | null;
  problem: Problem | null;
  loading: boolean;
  series: RunSeries;
}

export class Comparison {
  readonly runs = signal<readonly ComparedRun[]>([]);
  /** Rises, at most once a frame, when some series has changed. */
  readonly version = signal(0);
  #abort = new AbortController();
  #stops: (() => void)[] = [];
  #frame = 0;

  constructor(ids: readonly string[]) {
    this.runs.value = [...new Set(ids)].slice(0, runsLimit).map((id) => ({
      id,
      job: null,
      problem: null,
      loading: true,
      series: new RunSeries(),
    }));
  }

  async start(): Promise<void> {
    const waiting = this.runs.peek().map((run) => run.id);
    const work = async () => {
      for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) await this.#load(id);
    };
    await Promise.all(Array.from({ length: atOnce }, work));
  }

  stop(): void {
    this.#abort.abort();
    for (const stop of this.#stops) stop();
    cancelAnimationFrame(this.#frame);
  }

  retry(): void {
    for (const run of this.runs.peek()) if (run.problem) void this.#load(run.id);
  }

  #set(id: string, parts: Partial<ComparedRun>): void {
    this.runs.value = this.runs.peek().map((run) => (run.id === id ? { ...run, ...parts } : run));
  }

  async #load(id: string): Promise<void> {
    const { signal: abort } = this.#abort;
    const series = this.runs.peek().find((run) => run.id === id)?.series;
    if (!series) return;
    let upTo = 0;
    try {
      const job = await api.getJob(id, abort);
      series.clear();
      await api.eachMetric(
        id,
        (page) => {
          for (const point of page) series.push(point);
          upTo = page.at(-1)?.sequence ?? upTo;
        },
        abort,
      );
      this.#set(id, { job, problem: null, loading: false });
      this.#later();
      if (!isTerminal(job.state)) this.#follow(id, series, upTo);
    } catch (error) {
      if (!abort.aborted) this.#set(id, { problem: asProblem(error), loading: false });
    }
  }

  #follow(id: string, series: RunSeries, cursor: number): void {
    if (this.#abort.signal.aborted) return;
    const stop = subscribe(
      { job_id: id, cursor },
      {
        onEvent: (event) => {
          if (event.event === 'metrics') {
            series.push(event.data);
            this.#later();
          } else if (event.event === 'state') {
            void api.getJob(id, this.#abort.signal).then(
              (job) => this.#set(id, { job }),
              () => undefined, // the next state says it again
            );
          }
        },
        onGap: () => {
          stop();
          void this.#load(id);
        },
      },
    );
    this.#stops.push(stop);
  }

  #later(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.version.value += 1;
    });
  }
}

/** The x values of a run: steps, epochs with their fraction, or seconds since its first point. */
export function axisOf(series: RunSeries, axis: AxisName): Float64Array {
  const steps = series.column('step');
  if (axis === 'step') return steps;
  if (axis === 'time') {
    const at = series.column('atMs');
    const first = at[0] ?? 0;
    return at.map((value) => (value - first) / 1000);
  }
  const epochs = series.epochs;
  const last = epochs.at(-1);
  const perEpoch = last && last.epoch > 0 ? last.step / last.epoch : null;
  if (perEpoch) return steps.map((step) => step / perEpoch);
  return series.column('epoch');
}

export interface Grid {
  x: Float64Array;
  lines: (number | null)[][];
}

/** All runs over one row of x values, so that a chart can put them side by side. */
export function gridOf(
  runs: readonly RunSeries[],
  metric: MetricName,
  axis: AxisName,
  smoothing: number,
  zoom: { min: number; max: number } | null,
): Grid {
  const axes = runs.map((series) => axisOf(series, axis));
  const to = zoom?.max ?? Math.max(1e-9, ...axes.map((x) => x.at(-1) ?? 0));
  const from = zoom?.min ?? 0;
  const width = (to - from) / gridPoints;
  const x = Float64Array.from({ length: gridPoints }, (_, at) => from + (at + 0.5) * width);
  const sparse = metric === 'evalLoss' || metric === 'evalAccuracy';
  const lines = runs.map((series, at) => {
    const own = axes[at] ?? new Float64Array();
    if (sparse) return resample(own, series[metric], from, to, gridPoints);
    const raw = series.column(metric);
    const values = smoothing > 0 ? new Smoother(smoothing).apply(raw, series.rewinds) : raw;
    return resample(own, values, from, to, gridPoints);
  });
  return { x, lines };
}

/** A line's value at a point of the grid, or the nearest before it. */
export function valueAt(line: readonly (number | null)[] | undefined, index: number): number | null {
  for (let at = Math.min(index, (line?.length ?? 0) - 1); at >= 0; at--) {
    const value = line?.[at];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

export type Value = number | string | boolean | null;

export interface Dimension {
  key: string;
  /** A result and not a setting. */
  isResult: boolean;
  /** By run, in their order. */
  values: Value[];
}

/** Of no weight for what is learned. */
const leftOut = new Set(['budget', 'priority', 'resources.threads']);
const resultKeys = ['test_accuracy', 'test_loss', 'images_per_second', 'seconds'] as const;

function layersText(job: JobDetail): string {
  const layers = (job.spec.model as { layers?: Json } | undefined)?.layers;
  return JSON.stringify(layers ?? null);
}

/** The settings in which the runs differ, then what came out of them. */
export function dimensionsOf(jobs: readonly (JobDetail | null)[], nowMs: number): Dimension[] {
  const settings = jobs.map((job) => (job ? settingsOf(withDefaults(job.spec) as Spec) : {}));
  const keys = [...new Set(settings.flatMap((each) => Object.keys(each)))];
  const found = jobs.flatMap((job) => job ?? []);
  const dimensions: Dimension[] = [];
  if (new Set(found.map((job) => job.parameters)).size > 1)
    dimensions.push({
      key: 'parameters',
      isResult: false,
      values: jobs.map((job) => job?.parameters ?? null),
    });
  else if (new Set(found.map(layersText)).size > 1 && !keys.includes('model'))
    dimensions.push({
      key: 'model',
      isResult: false,
      values: jobs.map((job) => job && layersText(job).length),
    });
  for (const key of keys.sort()) {
    const values = settings.map((each) => each[key] ?? null);
    const real = values.filter((_, at) => jobs[at]);
    if (new Set(real).size > 1 && !leftOut.has(key)) dimensions.push({ key, isResult: false, values });
  }
  for (const key of resultKeys) {
    const values = jobs.map((job) => {
      if (!job) return null;
      if (key === 'seconds') {
        const ms = durationMs(job, nowMs);
        return ms === null ? null : ms / 1000;
      }
      if (key === 'test_accuracy') return job.result?.test_accuracy ?? job.progress?.accuracy ?? null;
      if (key === 'test_loss') return job.result?.test_loss ?? job.progress?.loss ?? null;
      return job.result?.images_per_second ?? job.progress?.images_per_second ?? null;
    });
    if (values.some((value) => value !== null)) dimensions.push({ key, isResult: true, values });
  }
  return dimensions;
}

export interface Scale {
  kind: 'linear' | 'log' | 'names';
  /** Where a value lies, 0 at the bottom and 1 at the top; null for none. */
  place(value: Value): number | null;
  ticks: { text: string; at: number }[];
}

const logFrom = 50;

/** How a parallel axis is ruled: in powers when it spans decades, by names when it holds words. */
export function scaleOf(values: readonly Value[], format: (value: number) => string): Scale {
  const there = values.filter((value) => value !== null);
  const numbers = there.filter(
    (value): value is number => typeof value === 'number' && Number.isFinite(value),
  );
  if (numbers.length < there.length || numbers.length === 0) {
    const names = [...new Set(there.map(String))].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
    const place = (value: Value) => {
      const at = value === null ? -1 : names.indexOf(String(value));
      if (at === -1) return null;
      return names.length === 1 ? 0.5 : at / (names.length - 1);
    };
    return { kind: 'names', place, ticks: names.map((name) => ({ text: name, at: place(name) ?? 0 })) };
  }
  const low = Math.min(...numbers);
  const high = Math.max(...numbers);
  const log = low > 0 && high / low >= logFrom;
  const map = (value: number) => (log ? Math.log10(value) : value);
  const size = map(high) - map(low) || 1;
  const place = (value: Value) =>
    typeof value !== 'number' ? null : high === low ? 0.5 : (map(value) - map(low)) / size;
  const distinct = [...new Set(numbers)].sort((a, b) => a - b);
  const marks =
    distinct.length <= 6
      ? distinct
      : [0, 0.25, 0.5, 0.75, 1].map((part) => (log ? 10 ** (map(low) + part * size) : low + part * size));
  return {
    kind: log ? 'log' : 'linear',
    place,
    ticks: marks.map((value) => ({ text: format(value), at: place(value) ?? 0 })),
  };
}
