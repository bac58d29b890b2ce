import { expect, test } from 'vitest';
import type { JobDetail } from '../api/types';
import { dimensionsOf, gridOf, gridPoints, scaleOf, valueAt } from './compare';
import { RunSeries } from './series';

function series(steps: number, loss: (step: number) => number): RunSeries {
  const made = new RunSeries();
  for (let step = 1; step <= steps; step++) {
    made.push({
      kind: 'step',
      step,
      total_steps: steps,
      epoch: 1,
      epochs: 1,
      loss: loss(step),
      accuracy: null,
      lr: 0.1,
      images_per_second: 1,
      at: new Date(step * 1000).toISOString(),
    });
  }
  return made;
}

const job = (spec: object, parts: object = {}) =>
  ({ spec, parameters: 5, result: null, progress: null, started_at: null, ...parts }) as unknown as JobDetail;
const text = String;

test('test_compare__runs_of_other_lengths_lie_over_one_row_of_steps', () => {
  const { x, lines } = gridOf([series(9000, () => 1), series(4500, () => 2)], 'loss', 'step', 0, null);
  expect(x).toHaveLength(gridPoints);
  expect(lines[0]?.[0]).toBe(1);
  expect(lines[0]?.at(-1)).toBe(1);
  expect(lines[1]?.[440]).toBe(2);
  expect(lines[1]?.at(-1)).toBeNull();
  expect(valueAt(lines[1], gridPoints - 1)).toBe(2);
});

test('test_compare__a_zoom_gets_all_points_of_its_part', () => {
  const { x, lines } = gridOf([series(9000, (step) => step)], 'loss', 'step', 0, { min: 100, max: 1000 });
  expect(x[0]).toBeCloseTo(100.5);
  expect(lines[0]?.[0]).toBe(100);
  expect(lines[0]?.[899]).toBeCloseTo(999.5);
});

test('test_compare__seconds_since_the_start_are_an_axis_too', () => {
  const { x } = gridOf([series(11, () => 1)], 'loss', 'time', 0, null);
  expect(x.at(-1)).toBeCloseTo(10, 1);
});

test('test_compare__only_settings_that_differ_become_axes_results_last', () => {
  const jobs = [
    job(
      { optimizer: { lr: 0.1, type: 'SGD' }, epochs: 3, budget: '1 CYX' },
      { result: { test_accuracy: 0.8 } },
    ),
    job({ optimizer: { lr: 0.01, type: 'SGD' }, epochs: 3, budget: '2 CYX' }),
    null,
  ];
  expect(dimensionsOf(jobs, 0)).toEqual([
    { key: 'lr', isResult: false, values: [0.1, 0.01, null] },
    { key: 'test_accuracy', isResult: true, values: [0.8, null, null] },
  ]);
});

test('test_compare__axes_are_ruled_as_their_values_ask', () => {
  const log = scaleOf([0.0001, 0.01, 1], text);
  expect([log.kind, log.place(0.01)]).toEqual(['log', 0.5]);
  const linear = scaleOf([0, 5, 10], text);
  expect([linear.kind, linear.place(5), linear.ticks.length]).toEqual(['linear', 0.5, 3]);
  const names = scaleOf(['b', 'a', null], text);
  expect([names.kind, names.place('a'), names.place('b'), names.place(null)]).toEqual(['names', 0, 1, null]);
  expect(scaleOf([4, 4], text).place(4)).toBe(0.5);
});
