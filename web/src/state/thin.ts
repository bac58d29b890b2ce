// Fewer points for the same picture: a chart a thousand pixels wide shows of a million points no more than the least and
// the greatest of each column of pixels. Pure.

/**
 * Rows of a run to draw between `from` and `to`: all when there are few, else of each of `columns` equal parts the first
 * row and those of its least and greatest value, together with the rows in `keep`. Rising, the ends included.
 */
export function thinRows(
  x: Float64Array,
  y: Float64Array,
  from: number,
  to: number,
  columns: number,
  keep: readonly number[] = [],
): Int32Array | null {
  const start = Math.max(0, firstAtLeast(x, from) - 1);
  const end = Math.min(x.length, firstAtLeast(x, to) + 1);
  if (end - start <= columns * 4) return null;
  const kept: number[] = [];
  const width = (to - from) / columns;
  let at = start;
  for (let column = 0; column < columns && at < end; column++) {
    const edge = column === columns - 1 ? Number.POSITIVE_INFINITY : from + (column + 1) * width;
    const first = at;
    let low = -1;
    let high = -1;
    while (at < end && (x[at] ?? 0) < edge) {
      const value = y[at] ?? Number.NaN;
      if (!Number.isNaN(value)) {
        if (low === -1 || value < (y[low] ?? 0)) low = at;
        if (high === -1 || value > (y[high] ?? 0)) high = at;
      }
      at += 1;
    }
    if (at === first) continue;
    const [one, other] = low < high ? [low, high] : [high, low];
    kept.push(first);
    if (one > first) kept.push(one);
    if (other > first && other !== one) kept.push(other);
  }
  if (kept.at(-1) !== end - 1) kept.push(end - 1);
  const wanted = keep.filter((row) => row >= start && row < end);
  if (wanted.length === 0) return Int32Array.from(kept);
  return Int32Array.from([...new Set([...kept, ...wanted])].sort((a, b) => a - b));
}

/** Index of the first value that is at least `wanted`, in rising values. */
export function firstAtLeast(values: Float64Array, wanted: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] ?? 0) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The mean of what lies in each of `count` equal parts of [from, to]; null where nothing does. */
export function resample(
  x: Float64Array,
  y: ArrayLike<number | null>,
  from: number,
  to: number,
  count: number,
): (number | null)[] {
  const sums = new Float64Array(count);
  const counts = new Uint32Array(count);
  const scale = count / (to - from || 1);
  for (let row = firstAtLeast(x, from); row < x.length; row++) {
    const at = x[row] ?? 0;
    if (at > to) break;
    const value = y[row];
    if (typeof value !== 'number' || Number.isNaN(value)) continue;
    const part = Math.min(count - 1, Math.floor((at - from) * scale));
    sums[part] = (sums[part] ?? 0) + value;
    counts[part] = (counts[part] ?? 0) + 1;
  }
  return Array.from(counts, (seen, part) => (seen > 0 ? (sums[part] ?? 0) / seen : null));
}
