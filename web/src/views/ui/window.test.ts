import { expect, test } from 'vitest';
import { rowsBetween } from './window';

test('test_window__draws_what_is_seen_and_a_few_more', () => {
  expect(rowsBetween(10_000, 50, 0, 900)).toEqual({ from: 0, to: 26, above: 0, below: 498_700 });
  expect(rowsBetween(10_000, 50, 100_000, 100_900)).toEqual({
    from: 1992,
    to: 2026,
    above: 99_600,
    below: 398_700,
  });
});

test('test_window__the_whole_is_always_as_high', () => {
  for (const top of [-500, 0, 333, 9_000, 99_999_999]) {
    const { from, to, above, below } = rowsBetween(777, 41, top, top + 700);
    expect(above + below + (to - from) * 41).toBe(777 * 41);
  }
});
