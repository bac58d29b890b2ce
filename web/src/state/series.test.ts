import { describe, expect, test } from 'vitest';
import type { EpochPoint, StepPoint } from '../api/types';
import { RunSeries, Smoother } from './series';

const at = '2026-01-01T00:00:00.000Z';
const stepPoint = (step: number, loss: number | null = 1 / step): StepPoint => ({
  kind: 'step',
  step,
  total_steps: 5000,
  epoch: 1,
  epochs: 3,
  loss,
  accuracy: 0.5,
  lr: 0.001,
  images_per_second: 900,
  at,
});
const epochPoint = (epoch: number, step: number): EpochPoint => ({
  kind: 'epoch',
  epoch,
  epochs: 3,
  step,
  loss: 0.4,
  accuracy: 0.8,
  eval_loss: 0.35,
  eval_accuracy: 0.88,
  images_per_second: 900,
  at,
});

describe('RunSeries', () => {
  test('test_series__keeps_every_step_in_order_past_its_first_capacity', () => {
    const series = new RunSeries();
    for (let step = 1; step <= 5000; step++) series.push(stepPoint(step));
    expect(series.length).toBe(5000);
    expect(series.column('step')[4999]).toBe(5000);
    expect(series.column('loss')[2499]).toBeCloseTo(1 / 2500, 12);
    expect(series.totalSteps).toBe(5000);
  });

  test('test_series__puts_an_epochs_evaluation_into_the_row_of_its_last_step', () => {
    const series = new RunSeries();
    for (let step = 1; step <= 10; step++) series.push(stepPoint(step));
    series.push(epochPoint(1, 10));
    expect(series.length).toBe(10);
    expect(series.evalLoss).toEqual([...Array(9).fill(null), 0.35]);
    expect(series.epochs.map((row) => row.evalAccuracy)).toEqual([0.88]);
  });

  test('test_series__makes_a_row_for_an_epoch_whose_last_step_was_dropped', () => {
    const series = new RunSeries();
    series.push(stepPoint(8));
    series.push(epochPoint(1, 10));
    expect([...series.column('step')]).toEqual([8, 10]);
    expect(series.column('loss')[1]).toBeNaN();
    expect(series.evalAccuracy[1]).toBe(0.88);
  });

  test('test_series__goes_back_when_a_job_resumes_from_its_checkpoint', () => {
    const series = new RunSeries();
    for (let step = 1; step <= 300; step++) series.push(stepPoint(step, 9));
    series.push(epochPoint(1, 250));
    const before = series.rewinds;
    series.push(stepPoint(201, 1));
    expect(series.length).toBe(201);
    expect(series.column('loss')[200]).toBe(1);
    expect(series.epochs).toEqual([]);
    expect(series.evalLoss.every((value) => value === null)).toBe(true);
    expect(series.rewinds).toBeGreaterThan(before);
  });

  test('test_series__keeps_earlier_epochs_when_it_goes_back_into_a_later_one', () => {
    const series = new RunSeries();
    for (let step = 1; step <= 10; step++) series.push(stepPoint(step));
    series.push(epochPoint(1, 10));
    for (let step = 11; step <= 15; step++) series.push(stepPoint(step));
    series.push(stepPoint(13));
    expect(series.epochs.map((row) => row.epoch)).toEqual([1]);
    expect(series.evalLoss[9]).toBe(0.35);
  });

  test('test_series__leaves_a_gap_for_a_null_and_ignores_a_step_that_is_none', () => {
    const series = new RunSeries();
    series.push(stepPoint(1, null));
    series.push({ ...stepPoint(2), step: Number.NaN });
    expect(series.length).toBe(1);
    expect(series.column('loss')[0]).toBeNaN();
  });

  test('test_series__finds_the_row_that_shows_a_step', () => {
    const series = new RunSeries();
    for (const step of [1, 5, 10]) series.push(stepPoint(step));
    expect([0, 1, 4, 5, 9, 10, 99].map((step) => series.indexOfStep(step))).toEqual([0, 0, 0, 1, 1, 2, 2]);
  });
});

describe('Smoother', () => {
  const column = (...values: number[]) => Float64Array.from(values);

  test('test_smoother__weight_zero_changes_nothing', () => {
    expect([...new Smoother(0).apply(column(3, 1, 2), 0)]).toEqual([3, 1, 2]);
  });

  test('test_smoother__a_constant_stays_itself_from_the_first_row', () => {
    for (const value of new Smoother(0.97).apply(column(4, 4, 4, 4), 0)) expect(value).toBeCloseTo(4, 12);
  });

  test('test_smoother__is_the_debiased_moving_average', () => {
    const out = new Smoother(0.5).apply(column(1, 3), 0);
    expect(out[0]).toBeCloseTo(1, 12);
    expect(out[1]).toBeCloseTo((0.25 * 1 + 0.5 * 3) / 0.75, 12);
  });

  test('test_smoother__row_by_row_equals_all_at_once_and_skips_gaps', () => {
    const values = Float64Array.from({ length: 3000 }, (_, i) => (i % 7 === 3 ? Number.NaN : Math.sin(i)));
    const whole = Float64Array.from(new Smoother(0.9).apply(values, 0));
    const stepwise = new Smoother(0.9);
    for (let n = 1; n <= values.length; n += 13) stepwise.apply(values.subarray(0, n), 0);
    expect(Float64Array.from(stepwise.apply(values, 0))).toEqual(whole);
    expect(whole[3]).toBeNaN();
  });

  test('test_smoother__starts_anew_after_a_rewind', () => {
    const smoother = new Smoother(0.5);
    smoother.apply(column(10, 10, 10), 0);
    expect([...smoother.apply(column(1, 1, 1), 1)]).toEqual([1, 1, 1]);
  });
});
