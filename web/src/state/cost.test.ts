import { expect, test } from 'vitest';
import type { JobDetail } from '../api/types';
import { costSoFar } from './cost';

const at = '2026-01-01T00:00:00Z';
const job = (parts: Partial<JobDetail> = {}) =>
  ({
    state: 'running',
    device_ms: 0,
    price_per_hour: '3.6 CYX',
    budget: '1 CYX',
    transitions: [{ from: 'assigned', to: 'running', cause: 'accepted', at }],
    ...parts,
  }) as JobDetail;
const after = (seconds: number) => Date.parse(at) + seconds * 1000;

test('test_cost__runs_with_the_time_and_stops_at_the_budget', () => {
  expect(costSoFar(job(), after(0))).toBe('0.000000000 CYX');
  expect(costSoFar(job(), after(1))).toBe('0.001000000 CYX');
  expect(costSoFar(job({ device_ms: 1000 }), after(1))).toBe('0.002000000 CYX');
  expect(costSoFar(job(), after(1e6))).toBe('1.000000000 CYX');
});

test('test_cost__is_not_told_when_nobody_can_say', () => {
  expect(costSoFar(job({ state: 'completed' }), after(1))).toBeNull();
  expect(costSoFar(job({ price_per_hour: null }), after(1))).toBeNull();
  expect(costSoFar(job({ transitions: [] }), after(1))).toBeNull();
});
