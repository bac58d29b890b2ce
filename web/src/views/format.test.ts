import { expect, test } from 'vitest';
import * as f from './format';

test('test_format__counts_and_sizes', () => {
  expect(f.formatCount(413546)).toBe('413,546');
  expect(f.formatCount(12_345_678)).toBe('12.3M');
  expect(f.formatBytes(0)).toBe('0 B');
  expect(f.formatBytes(1023)).toBe('1,023 B');
  expect(f.formatBytes(1536)).toBe('1.5 KiB');
  expect(f.formatBytes(1_690_000)).toBe('1.61 MiB');
  expect(f.formatFlops(2_500_000)).toBe('2.5 MFLOP');
  expect(f.formatFlops(3.21e15)).toBe('3.21 PFLOP');
});

test('test_format__numbers_that_are_missing_are_a_dash', () => {
  for (const format of [
    f.formatInteger,
    f.formatCount,
    f.formatPercent,
    f.formatLoss,
    f.formatRate,
    f.formatBytes,
    f.formatFlops,
    f.formatDuration,
  ]) {
    expect(format(null)).toBe('–');
    expect(format(undefined)).toBe('–');
    expect(format(Number.NaN)).toBe('–');
  }
  expect(f.formatAmount(null)).toBe('–');
  expect(f.formatAgo(null, 0)).toBe('–');
  expect(f.formatClock('not a time')).toBe('–');
});

test('test_format__loss_and_percent', () => {
  expect(f.formatLoss(Math.log(10))).toBe('2.303');
  expect(f.formatLoss(0.0000123)).toBe('1.23e-5');
  expect(f.formatLoss(1234567)).toBe('1.23e6');
  expect(f.formatPercent(0.9123)).toBe('91.2 %');
  expect(f.formatPercent(0.9123, 2)).toBe('91.23 %');
});

test.each([
  [840, '840 ms'],
  [4_200, '4.2 s'],
  [41_600, '42 s'],
  [59_700, '1 min 00 s'],
  [185_000, '3 min 05 s'],
  [7_620_000, '2 h 07 min'],
  [273_600_000, '3 d 4 h'],
  [-5, '–'],
])('test_format__duration_of_%d_ms', (ms, expected) => {
  expect(f.formatDuration(ms)).toBe(expected);
});

test('test_format__ago', () => {
  const now = Date.parse('2026-03-01T12:00:00Z');
  const before = (seconds: number) => f.formatAgo(new Date(now - seconds * 1000).toISOString(), now);
  expect(before(2)).toBe('now');
  expect(before(45)).toBe('45 seconds ago');
  expect(before(130)).toBe('2 minutes ago');
  expect(before(3600 * 5)).toBe('5 hours ago');
  expect(before(86400 * 3)).toBe('3 days ago');
  expect(before(86400 * 800)).toBe('2 years ago');
});

test('test_format__amounts_never_pass_through_a_float', () => {
  expect(f.formatAmount('1000 CYX')).toBe('1,000.00 CYX');
  expect(f.formatAmount('9007199254740993.123456789 CYX')).toBe('9,007,199,254,740,993.123456789 CYX');
  expect(f.formatAmount('-2.5 CYX')).toBe('−2.50 CYX');
  expect(f.formatAmount('nonsense')).toBe('–');
  expect(f.baseUnits('2.5 CYX')).toBe(2_500_000_000n);
  expect(f.baseUnits('-0.000000001 CYX')).toBe(-1n);
  expect(f.baseUnits('x')).toBeNull();
});

test('test_format__short_amounts_round_to_four_decimals', () => {
  expect(f.formatAmountShort('0.020833333 CYX')).toBe('0.0208 CYX');
  expect(f.formatAmountShort('992.958373334 CYX')).toBe('992.9584 CYX');
  expect(f.formatAmountShort('2.5 CYX')).toBe('2.50 CYX');
  expect(f.formatAmountShort('-0.99996 CYX')).toBe('−1.00 CYX');
  expect(f.formatAmountShort('0.000000001 CYX')).toBe('<0.0001 CYX');
  expect(f.formatAmountShort('0 CYX')).toBe('0.00 CYX');
  expect(f.formatAmountShort(null)).toBe('–');
});

test('test_format__short_ids_keep_what_tells_them_apart', () => {
  expect(f.shortId('01990000-0000-7000-8000-0000deadbeef')).toBe('deadbeef');
  expect(f.shortHash('a'.repeat(58) + 'b'.repeat(6))).toBe('aaaaaaaa…bbbbbb');
});

test('test_format__steps_along_an_axis_are_written_alike', () => {
  expect(f.formatSteps([0, 500, 1000])).toEqual(['0', '500', '1,000']);
  expect(f.formatSteps([0, 5000, 10_000, 15_000])).toEqual(['0', '5k', '10k', '15k']);
  expect(f.formatSteps([12_340, 12_345])).toEqual(['12.34k', '12.35k']);
});
