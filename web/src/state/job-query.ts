// The job list's filter and order. A query is words that the name must hold, and comparisons as `accuracy>0.9`,
// `lr<=0.01` or `optimizer:AdamW`. Pure.
import type { Job, Json, Spec } from '../api/types';

/** What of a spec the list and the comparison use: plain settings by a short name. */
export type Settings = { [key: string]: string | number | boolean };

export type ListedJob = Omit<Job, 'spec'> & { settings: Settings };

const depthLimit = 4;
const shortNames: Record<string, string> = {
  'data.dataset': 'dataset',
  'data.batch_size': 'batch',
  'data.split.validation': 'validation',
  'optimizer.type': 'optimizer',
  'optimizer.lr': 'lr',
  'optimizer.momentum': 'momentum',
  'optimizer.weight_decay': 'weight_decay',
  'loss.type': 'loss_type',
  'scheduler.type': 'scheduler',
  'resources.backend': 'backend',
};

/** Every plain value of a spec but the layers, which become their count; lists of things become their count too. */
export function settingsOf(spec: Spec): Settings {
  const settings: Settings = {};
  const layers = (spec.model as { layers?: Json } | null | undefined)?.layers;
  if (Array.isArray(layers)) settings.layers = layers.length;
  walk(spec, '', 0);
  return settings;

  function walk(value: Json | undefined, path: string, depth: number): void {
    if (value === null || value === undefined || path === 'name' || path === 'model' || path === '$schema')
      return;
    const name = shortNames[path] ?? path;
    if (Array.isArray(value)) settings[name] = value.length;
    else if (typeof value !== 'object') settings[name] = value;
    else if (depth < depthLimit)
      for (const [key, each] of Object.entries(value)) walk(each, path ? `${path}.${key}` : key, depth + 1);
  }
}

/** The list holds thousands of jobs: their specs, by far the largest part, are left out of it. */
export function listed(job: Job): ListedJob {
  const { spec, ...rest } = job;
  return { ...rest, settings: settingsOf(spec) };
}

export function durationMs(job: Pick<Job, 'started_at' | 'ended_at'>, nowMs: number): number | null {
  if (!job.started_at) return null;
  const end = job.ended_at ? Date.parse(job.ended_at) : nowMs;
  return Math.max(0, end - Date.parse(job.started_at));
}

type Value = string | number | boolean | null | undefined;

function costOf(job: ListedJob): number | null {
  const cost = Number.parseFloat(job.cost ?? '');
  return Number.isFinite(cost) ? cost : null;
}

/** A job's value by the name that queries and columns use. */
export function jobValue(job: ListedJob, key: string, nowMs: number): Value {
  switch (key) {
    case 'name':
      return job.name;
    case 'id':
    case 'created':
      return job.id;
    case 'state':
      return job.state;
    case 'accuracy':
      return job.result?.test_accuracy ?? job.progress?.accuracy;
    case 'loss':
      return job.result?.test_loss ?? job.progress?.loss;
    case 'speed':
      return job.result?.images_per_second ?? job.progress?.images_per_second;
    case 'progress':
      return job.state === 'completed' ? 1 : partDone(job);
    case 'duration': {
      const ms = durationMs(job, nowMs);
      return ms === null ? null : ms / 1000;
    }
    case 'cost':
      return costOf(job);
    case 'priority':
      return job.priority;
    case 'node':
      return job.node_id;
    case 'parameters':
      return job.parameters;
    default:
      return job.settings[key];
  }
}

function partDone(job: ListedJob): number | null {
  const progress = job.progress;
  return progress && progress.total_steps > 0 ? progress.step / progress.total_steps : null;
}

export interface Comparison {
  key: string;
  operator: ':' | '<' | '<=' | '>' | '>=' | '=';
  text: string;
}

export interface Query {
  words: string[];
  comparisons: Comparison[];
}

export function parseQuery(text: string): Query {
  const query: Query = { words: [], comparisons: [] };
  for (const [, quoted, plain] of text.matchAll(/"([^"]*)"|(\S+)/g)) {
    const found = quoted === undefined ? /^([\w.]+)(:|<=|>=|<|>|=)(.+)$/.exec(plain ?? '') : null;
    if (found) {
      const [, key = '', operator = ':', value = ''] = found;
      query.comparisons.push({
        key: key.toLowerCase(),
        operator: operator as Comparison['operator'],
        text: value.toLowerCase(),
      });
    } else {
      query.words.push((quoted ?? plain ?? '').toLowerCase());
    }
  }
  return query;
}

/** "90%" is 0.9; "3m" and "2h" are seconds, as durations are told. */
function numberOf(text: string): number {
  const found = /^(-?[\d.]+(?:e[+-]?\d+)?)(%|s|m|min|h|k)?$/.exec(text);
  if (!found) return Number.NaN;
  const factors: Record<string, number> = { '%': 0.01, s: 1, m: 60, min: 60, h: 3600, k: 1000 };
  return Number(found[1]) * (factors[found[2] ?? ''] ?? 1);
}

function holds(value: Value, comparison: Comparison): boolean {
  if (value === null || value === undefined) return false;
  const { operator, text } = comparison;
  const number = numberOf(text);
  if (operator === ':' && typeof value !== 'number') return String(value).toLowerCase().includes(text);
  if (operator === ':' || operator === '=')
    return typeof value === 'number' ? value === number : String(value).toLowerCase() === text;
  if (typeof value !== 'number' || Number.isNaN(number)) return false;
  if (operator === '<') return value < number;
  if (operator === '<=') return value <= number;
  return operator === '>' ? value > number : value >= number;
}

export function matches(job: ListedJob, query: Query, nowMs: number): boolean {
  return (
    query.words.every(
      (word) => job.name.toLowerCase().includes(word) || job.id.startsWith(word) || job.id.endsWith(word),
    ) && query.comparisons.every((each) => holds(jobValue(job, each.key, nowMs), each))
  );
}

export interface Order {
  key: string;
  down: boolean;
}

/** Newest first: as the gateway gives them. */
export const usualOrder: Order = { key: 'created', down: true };

/** A sorted copy; jobs without the value come last, whichever way. */
export function sorted(jobs: readonly ListedJob[], order: Order, nowMs: number): ListedJob[] {
  const sign = order.down ? -1 : 1;
  return jobs
    .map((job) => ({ job, value: jobValue(job, order.key, nowMs) }))
    .sort((a, b) => {
      if (a.value === b.value) return 0;
      if (a.value === null || a.value === undefined) return 1;
      if (b.value === null || b.value === undefined) return -1;
      if (typeof a.value === 'string' && typeof b.value === 'string' && order.key !== 'created')
        return sign * a.value.localeCompare(b.value, 'en', { numeric: true, sensitivity: 'base' });
      return a.value < b.value ? -sign : sign;
    })
    .map(({ job }) => job);
}
