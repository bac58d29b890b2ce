import { expect, test } from 'vitest';
import { firstAtLeast, resample, thinRows } from './thin';

const x = Float64Array.from({ length: 100_000 }, (_, i) => i);

test('test_thin__few_rows_stay_as_they_are', () => {
  const few = x.subarray(0, 300);
  expect(thinRows(few, few, 0, 300, 100)).toBeNull();
  expect(thinRows(x, x, 50_000, 50_300, 100)).toBeNull();
});

test('test_thin__a_spike_of_one_point_is_kept', () => {
  const y = new Float64Array(100_000).fill(1);
  y[54_321] = 99;
  y[54_400] = -99;
  const rows = [...(thinRows(x, y, 0, 100_000, 500) ?? [])];
  expect(rows).toContain(54_321);
  expect(rows).toContain(54_400);
  expect(rows.length).toBeLessThanOrEqual(1501);
  expect(rows[0]).toBe(0);
  expect(rows.at(-1)).toBe(99_999);
  expect(rows.every((row, at) => at === 0 || row > (rows[at - 1] ?? 0))).toBe(true);
});

test('test_thin__rows_that_must_stay_do_and_gaps_do_no_harm', () => {
  const y = new Float64Array(100_000).fill(Number.NaN);
  const rows = [...(thinRows(x, y, 0, 100_000, 100, [7, 77_777, 100_500]) ?? [])];
  expect(rows).toContain(7);
  expect(rows).toContain(77_777);
  expect(rows).not.toContain(100_500);
});

test('test_thin__a_million_points_take_milliseconds', () => {
  const many = Float64Array.from({ length: 1_000_000 }, (_, i) => i);
  const wave = many.map((value) => Math.sin(value / 1000));
  thinRows(many, wave, 0, 1_000_000, 1200);
  const started = performance.now();
  for (let i = 0; i < 5; i++) thinRows(many, wave, 0, 1_000_000, 1200);
  expect((performance.now() - started) / 5).toBeLessThan(500);
});

test('test_thin__resampling_takes_means_and_leaves_gaps', () => {
  expect(resample(Float64Array.from([0, 1, 2, 3, 8]), [1, 3, null, 5, 7], 0, 10, 5)).toEqual([
    2,
    5,
    null,
    null,
    7,
  ]);
  expect(firstAtLeast(Float64Array.from([1, 3, 5]), 4)).toBe(2);
});
