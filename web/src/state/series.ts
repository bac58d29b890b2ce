// A run's metrics as columns, ready for the chart: one row a step, evaluation values in the rows where epochs end.
// Rows rise by step. When a job resumes from a checkpoint its steps go back: the rows that are trained anew are dropped.
import type { EpochPoint, MetricPoint, StepPoint } from '../api/types';

const firstCapacity = 1024;

class Column {
  #data = new Float64Array(firstCapacity);
  set(index: number, value: number): void {
    if (index >= this.#data.length) {
      const bigger = new Float64Array(this.#data.length * 2);
      bigger.set(this.#data);
      this.#data = bigger;
    }
    this.#data[index] = value;
  }
  at(index: number): number {
    return this.#data[index] ?? Number.NaN;
  }
  view(length: number): Float64Array {
    return this.#data.subarray(0, length);
  }
}

export type DenseName = 'step' | 'epoch' | 'loss' | 'accuracy' | 'lr' | 'imagesPerSecond' | 'atMs';

export interface EpochRow {
  epoch: number;
  step: number;
  loss: number | null;
  accuracy: number | null;
  evalLoss: number | null;
  evalAccuracy: number | null;
  imagesPerSecond: number | null;
}

const gap = Number.NaN;
const orGap = (value: number | null | undefined): number => (typeof value === 'number' ? value : gap);
const orNull = (value: number | null | undefined): number | null =>
  typeof value === 'number' ? value : null;

export class RunSeries {
  readonly #dense: Record<DenseName, Column> = {
    step: new Column(),
    epoch: new Column(),
    loss: new Column(),
    accuracy: new Column(),
    lr: new Column(),
    imagesPerSecond: new Column(),
    atMs: new Column(),
  };
  #evalLoss: (number | null)[] = [];
  #evalAccuracy: (number | null)[] = [];
  #epochs: EpochRow[] = [];
  #length = 0;
  #rewinds = 0;
  totalSteps = 0;

  get length(): number {
    return this.#length;
  }
  /** Grows each time rows were dropped, so that whoever caches a prefix knows to start anew. */
  get rewinds(): number {
    return this.#rewinds;
  }
  get epochs(): readonly EpochRow[] {
    return this.#epochs;
  }
  column(name: DenseName): Float64Array {
    return this.#dense[name].view(this.#length);
  }
  get evalLoss(): (number | null)[] {
    return this.#evalLoss;
  }
  get evalAccuracy(): (number | null)[] {
    return this.#evalAccuracy;
  }

  clear(): void {
    this.#truncate(0);
    this.#epochs = [];
    this.totalSteps = 0;
  }

  push(point: MetricPoint): void {
    if (!Number.isFinite(point.step)) return;
    if (point.kind === 'step') this.#pushStep(point);
    else if (point.kind === 'epoch') this.#pushEpoch(point);
  }

  #pushStep(point: StepPoint): void {
    if (point.total_steps > 0) this.totalSteps = point.total_steps;
    const last = this.#length === 0 ? -1 : this.#dense.step.at(this.#length - 1);
    if (point.step <= last) this.#rewindTo(point.step);
    this.#append(point.step, {
      epoch: orGap(point.epoch),
      loss: orGap(point.loss),
      accuracy: orGap(point.accuracy),
      lr: orGap(point.lr),
      imagesPerSecond: orGap(point.images_per_second),
      atMs: Date.parse(point.at),
    });
  }

  #pushEpoch(point: EpochPoint): void {
    const row: EpochRow = {
      epoch: point.epoch,
      step: point.step,
      loss: orNull(point.loss),
      accuracy: orNull(point.accuracy),
      evalLoss: orNull(point.eval_loss),
      evalAccuracy: orNull(point.eval_accuracy),
      imagesPerSecond: orNull(point.images_per_second),
    };
    this.#epochs = [...this.#epochs.filter((have) => have.epoch < point.epoch), row];
    const last = this.#length === 0 ? -1 : this.#dense.step.at(this.#length - 1);
    if (point.step > last) {
      const gaps = { epoch: point.epoch, loss: gap, accuracy: gap, lr: gap, imagesPerSecond: gap };
      this.#append(point.step, { ...gaps, atMs: Date.parse(point.at) });
    }
    const index = this.indexOfStep(point.step);
    this.#evalLoss[index] = row.evalLoss;
    this.#evalAccuracy[index] = row.evalAccuracy;
  }

  #append(step: number, values: Record<Exclude<DenseName, 'step'>, number>): void {
    const index = this.#length++;
    this.#dense.step.set(index, step);
    for (const [name, value] of Object.entries(values)) this.#dense[name as DenseName].set(index, value);
    this.#evalLoss[index] = null;
    this.#evalAccuracy[index] = null;
  }

  #rewindTo(step: number): void {
    this.#truncate(this.lowerBound(step));
    this.#epochs = this.#epochs.filter((row) => row.step < step);
  }

  #truncate(length: number): void {
    this.#length = length;
    this.#evalLoss.length = length;
    this.#evalAccuracy.length = length;
    this.#rewinds += 1;
  }

  /** Index of the first row whose step is at least `step`. */
  lowerBound(step: number): number {
    const steps = this.#dense.step;
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps.at(middle) < step) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Index of the row that shows `step`: its own, or the nearest one before it. */
  indexOfStep(step: number): number {
    const index = this.lowerBound(step);
    if (index < this.#length && this.#dense.step.at(index) === step) return index;
    return Math.max(0, index - 1);
  }
}

/**
 * Exponential moving average with the start's bias removed (as TensorBoard does): weight 0 changes nothing, 0.99
 * is very smooth. Keeps what it has computed and only does the new rows.
 */
export class Smoother {
  #weight: number;
  #out = new Float64Array(firstCapacity);
  #done = 0;
  #rewinds = -1;
  #average = 0;
  #mass = 0;

  constructor(weight: number) {
    this.#weight = weight;
  }

  setWeight(weight: number): void {
    if (weight === this.#weight) return;
    this.#weight = weight;
    this.#restart();
  }

  apply(values: Float64Array, rewinds: number): Float64Array {
    if (rewinds !== this.#rewinds || values.length < this.#done) this.#restart();
    this.#rewinds = rewinds;
    if (values.length > this.#out.length) {
      const bigger = new Float64Array(Math.max(values.length, this.#out.length * 2));
      bigger.set(this.#out.subarray(0, this.#done));
      this.#out = bigger;
    }
    for (let i = this.#done; i < values.length; i++) {
      const value = values[i] ?? gap;
      if (Number.isFinite(value)) {
        this.#average = this.#average * this.#weight + value * (1 - this.#weight);
        this.#mass = this.#mass * this.#weight + (1 - this.#weight);
      }
      this.#out[i] = Number.isFinite(value) ? this.#average / this.#mass : gap;
    }
    this.#done = values.length;
    return this.#out.subarray(0, values.length);
  }

  #restart(): void {
    this.#done = 0;
    this.#average = 0;
    this.#mass = 0;
  }
}
