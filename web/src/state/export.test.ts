import { expect, test } from 'vitest';
import { logText, metricsCsv } from './export';
import { RunSeries } from './series';

test('test_export__metrics_have_a_line_a_step_and_empty_cells_for_what_is_not_there', () => {
  const series = new RunSeries();
  const at = '2026-01-01T00:00:00Z';
  const step = { kind: 'step' as const, total_steps: 2, epochs: 1, epoch: 1, accuracy: null, at };
  series.push({ ...step, step: 1, loss: 2.5, lr: 0.1, images_per_second: 100 });
  series.push({ ...step, step: 2, loss: 2, lr: 0.1, images_per_second: null });
  series.push({
    kind: 'epoch',
    step: 2,
    epoch: 1,
    epochs: 1,
    loss: 2.2,
    accuracy: null,
    eval_loss: 1.9,
    eval_accuracy: 0.5,
    images_per_second: 99,
    at,
  });
  expect(metricsCsv(series).split('\n')).toEqual([
    'step,epoch,loss,accuracy,lr,images_per_second,eval_loss,eval_accuracy',
    '1,1,2.5,,0.1,100,,',
    '2,1,2,,0.1,,1.9,0.5',
    '',
  ]);
});

test('test_export__a_log_is_a_line_each', () => {
  expect(logText([{ level: 'info', message: 'a', at: 't' }])).toBe('t info a\n');
});
