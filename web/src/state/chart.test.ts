import { describe, expect, test } from 'vitest';
import { niceRange, stepRate } from './chart';

const linear = { log: false, fromZero: true };

describe('niceRange', () => {
  test.each([
    [0.24, 2.35, 0, 2.5],
    [0.9, 0.93, 0.9, 0.93],
    [0, 0, 0, 0.2],
    [0.001, 0.001, 0, 0.0012],
    [2.3, 2.3, 0, 2.5],
    [1800, 2450, 1800, 2600],
    [-0.4, 1.1, -0.5, 1.5],
  ])('test_range__values_from_%d_to_%d', (low, high, from, to) => {
    const range = niceRange(low, high, linear, null);
    expect(range[0]).toBeCloseTo(from, 9);
    expect(range[1]).toBeCloseTo(to, 9);
  });
  test('test_range__always_holds_its_values_and_is_never_empty', () => {
    for (const low of [-3, 0, 1e-9, 0.37, 12, 4e6]) {
      for (const size of [0, 1e-6, 0.02, 3, 5e5]) {
        const [from, to] = niceRange(low, low + size, linear, null);
        expect(from).toBeLessThanOrEqual(low);
        expect(to).toBeGreaterThanOrEqual(low + size - 1e-9);
        expect(to).toBeGreaterThan(from);
      }
    }
  });
  test('test_range__accuracy_does_not_go_past_its_ceiling', () => {
    expect(niceRange(0.1, 0.97, { ...linear, ceiling: 1 }, null)).toEqual([0, 1]);
  });
  test('test_range__only_grows_while_live', () => {
    const first = niceRange(0.5, 2.3, linear, null);
    expect(niceRange(0.5, 1.1, linear, first)).toEqual(first);
    expect(niceRange(0.1, 4.2, linear, first)[1]).toBeGreaterThan(first[1]);
  });
  test('test_range__log_takes_whole_decades', () => {
    expect(niceRange(0.03, 2.3, { log: true }, null)).toEqual([0.01, 10]);
    expect(niceRange(0.1, 1, { log: true }, null)).toEqual([0.1, 1]);
    expect(niceRange(0, 2, { log: true }, null)[0]).toBeGreaterThan(0);
    expect(niceRange(-1, -0.5, { log: true }, null)).toEqual([0.001, 1]);
  });
});

describe('stepRate', () => {
  const steps = (...values: number[]) => Float64Array.from(values);
  test('test_rate__counts_steps_of_the_newest_time_only', () => {
    // slow at first (compiling), then ten steps a second
    expect(stepRate(steps(0, 1, 11, 21), steps(0, 60_000, 61_000, 62_000), 5_000)).toBeCloseTo(0.01, 12);
  });
  test('test_rate__says_nothing_without_two_rows_or_time_between_them', () => {
    expect(stepRate(steps(), steps())).toBeNull();
    expect(stepRate(steps(5), steps(1000))).toBeNull();
    expect(stepRate(steps(5, 6), steps(1000, 1000))).toBeNull();
  });
});
