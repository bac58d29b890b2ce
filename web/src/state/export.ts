// A run as files that other tools read: its metrics as CSV, its log as text. Made in the page from what it holds.
import type { LogLine } from '../api/types';
import type { RunSeries } from './series';

const columns = ['step', 'epoch', 'loss', 'accuracy', 'lr', 'imagesPerSecond'] as const;

export function metricsCsv(series: RunSeries): string {
  const views = columns.map((name) => series.column(name));
  const lines = ['step,epoch,loss,accuracy,lr,images_per_second,eval_loss,eval_accuracy'];
  const cell = (value: number | null | undefined) =>
    value === null || value === undefined || Number.isNaN(value) ? '' : String(value);
  for (let row = 0; row < series.length; row++) {
    const values = views.map((view) => cell(view[row]));
    lines.push([...values, cell(series.evalLoss[row]), cell(series.evalAccuracy[row])].join(','));
  }
  return `${lines.join('\n')}\n`;
}

export function logText(lines: readonly LogLine[]): string {
  return lines.map((line) => `${line.at} ${line.level} ${line.message}\n`).join('');
}
