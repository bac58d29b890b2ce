// How curves are shown: one choice for all charts of the page, remembered. The zoom is the same for all charts of a run.
import { effect, signal } from '@preact/signals';

export interface Zoom {
  min: number;
  max: number;
}

const key = 'cyxwiz.charts';

function remembered(): { smoothing: number; log: boolean } {
  const usual = { smoothing: 0.8, log: false };
  try {
    const kept = JSON.parse(localStorage.getItem(key) ?? '{}') as Partial<typeof usual>;
    const smoothing =
      typeof kept.smoothing === 'number' && kept.smoothing >= 0 && kept.smoothing < 1
        ? kept.smoothing
        : usual.smoothing;
    return { smoothing, log: kept.log === true };
  } catch {
    return usual;
  }
}

const first = remembered();
export const smoothing = signal(first.smoothing);
export const logScale = signal(first.log);
export const zoom = signal<Zoom | null>(null);

effect(() => {
  const value = JSON.stringify({ smoothing: smoothing.value, log: logScale.value });
  try {
    localStorage.setItem(key, value);
  } catch {
    // Storage is denied: the choice lasts as long as the page.
  }
});

/** A round number at least as large: 1, 2, 2.5 or 5 times a power of ten. */
function roundStep(size: number): number {
  const power = 10 ** Math.floor(Math.log10(size));
  const part = size / power;
  const round = [1, 2, 2.5, 5, 10].find((candidate) => part <= candidate + 1e-9) ?? 10;
  return round * power;
}

export interface RangeRules {
  log: boolean;
  /** Start at zero whenever the values come near it. */
  fromZero?: boolean;
  /** Values cannot be larger than this (accuracy: 1). */
  ceiling?: number;
}

/**
 * The y range for values from `low` to `high`: round, and never smaller than `before`, so that a live curve does not make
 * its axis jump with each point. Pass null for `before` to start anew (after a zoom).
 */
export function niceRange(
  low: number,
  high: number,
  rules: RangeRules,
  before: [number, number] | null,
): [number, number] {
  const fresh = rules.log ? logRange(low, high) : linearRange(low, high, rules);
  if (!before) return fresh;
  return [Math.min(before[0], fresh[0]), Math.max(before[1], fresh[1])];
}

function logRange(low: number, high: number): [number, number] {
  if (!(high > 0)) return [0.001, 1];
  const least = low > 0 ? low : high / 1000;
  const from = 10 ** Math.floor(Math.log10(least) + 1e-9);
  const to = 10 ** Math.ceil(Math.log10(high) - 1e-9);
  return from === to ? [from, to * 10] : [from, to];
}

function linearRange(low: number, high: number, rules: RangeRules): [number, number] {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const isNear = low >= 0 && (low < high * 0.4 || low === high);
  const bottom = rules.fromZero && isNear ? 0 : low;
  const size = high - bottom || Math.abs(high) || 1;
  const step = roundStep(size / 5);
  const from = Math.floor(bottom / step + 1e-9) * step;
  let to = Math.ceil(high / step - 1e-9) * step;
  // A value that never changes would lie on the frame and not be seen.
  if (high === low && to - high < step / 10) to += step;
  if (to <= from) to = from + step;
  if (rules.ceiling !== undefined && to > rules.ceiling) to = rules.ceiling;
  return from < to ? [from, to] : [from - step, to];
}

/** Steps per millisecond over the newest rows that lie within `windowMs`; null when they do not tell. */
export function stepRate(steps: Float64Array, atMs: Float64Array, windowMs = 20_000): number | null {
  const last = steps.length - 1;
  if (last < 1) return null;
  const newest = atMs[last] ?? Number.NaN;
  let first = last;
  while (first > 0 && newest - (atMs[first - 1] ?? 0) <= windowMs) first -= 1;
  const time = newest - (atMs[first] ?? Number.NaN);
  const done = (steps[last] ?? 0) - (steps[first] ?? 0);
  return time > 0 && done > 0 ? done / time : null;
}
