// uPlot with this page's rules: a steady x axis over the whole run, a y axis that only grows while live, epochs marked,
// colours from the theme. Knows uPlot and numbers; nothing of jobs or Preact.
import uPlot from 'uplot';
import { niceRange, type RangeRules, type Zoom } from '../../state/chart';

export interface CurveLine {
  /** Custom property that holds the colour. */
  colour: string;
  width: number;
  /** A sparse line: its values are marked, and joined across the gaps. */
  marked?: boolean;
}

export interface CurveOptions {
  lines: CurveLine[];
  rules: RangeRules;
  formatY(value: number): string;
  /** All of an axis at once, so that they are written alike. */
  formatX(values: number[]): string[];
  onHover(index: number | null): void;
  onZoom(zoom: Zoom | null): void;
}

export type Values = Float64Array | (number | null)[];

export interface CurveFrame {
  x: Float64Array;
  values: Values[];
  totalSteps: number;
  epochs: number;
  /** Mark the head of this line, while it is being written. */
  headOf: number | null;
}

const axisWidth = 56;
const axisHeight = 28;
const mostEpochLines = 40;
const mostMarks = 60;

export class Curve {
  readonly #plot: uPlot;
  readonly #options: CurveOptions;
  readonly #host: HTMLElement;
  #frame: CurveFrame | null = null;
  #zoom: Zoom | null = null;
  #yRange: [number, number] | null = null;

  constructor(host: HTMLElement, options: CurveOptions, sync: string) {
    this.#host = host;
    this.#options = options;
    this.#plot = new uPlot(this.#uplotOptions(sync), [[], ...options.lines.map(() => [])], host);
  }

  destroy(): void {
    this.#plot.destroy();
  }

  resize(width: number, height: number): void {
    if (width > 0 && height > 0) this.#plot.setSize({ width, height });
  }

  setZoom(zoom: Zoom | null): void {
    if (zoom?.min === this.#zoom?.min && zoom?.max === this.#zoom?.max) return;
    this.#zoom = zoom;
    this.#yRange = null;
    if (this.#frame) this.#show(this.#frame);
  }

  show(frame: CurveFrame): void {
    this.#frame = frame;
    this.#show(frame);
  }

  /** Moves the reading line to a step, as the pointer would. */
  pointAt(step: number | null): void {
    const left = step === null ? -10 : this.#plot.valToPos(step, 'x');
    this.#plot.setCursor({ left, top: step === null ? -10 : 10 });
  }

  #show(frame: CurveFrame): void {
    this.#plot.setData([frame.x, ...frame.values] as uPlot.AlignedData, true);
  }

  #colour(name: string): string {
    return getComputedStyle(this.#host).getPropertyValue(name).trim();
  }

  #xRange(): [number, number] {
    if (this.#zoom) return [this.#zoom.min, this.#zoom.max];
    const last = this.#frame?.x.at(-1) ?? 1;
    return [0, Math.max(this.#frame?.totalSteps ?? 0, last, 1)];
  }

  #yRangeOf(low: number | null, high: number | null): [number, number] {
    if (low === null || high === null) return this.#yRange ?? (this.#options.rules.log ? [0.01, 1] : [0, 1]);
    const range = niceRange(low, high, this.#options.rules, this.#zoom ? null : this.#yRange);
    if (!this.#zoom) this.#yRange = range;
    return range;
  }

  #series(line: CurveLine): uPlot.Series {
    const stroke = () => this.#colour(line.colour);
    if (!line.marked) return { stroke, width: line.width, points: { show: false } };
    return {
      stroke,
      width: line.width,
      spanGaps: true,
      points: {
        show: () => (this.#frame?.epochs ?? 0) <= mostMarks,
        size: 7,
        width: 2,
        stroke,
        fill: () => this.#colour('--surface'),
      },
    };
  }

  #axes(): uPlot.Axis[] {
    const stroke = () => this.#colour('--ink-3');
    const font = '11px Geist, sans-serif';
    const grid = { stroke: () => this.#colour('--grid'), width: 1 };
    const plain = { stroke, font, ticks: { show: false } };
    return [
      {
        ...plain,
        size: axisHeight,
        gap: 8,
        space: 72,
        grid: { show: false },
        values: (_, at) => this.#options.formatX(at),
      },
      {
        ...plain,
        size: axisWidth,
        gap: 8,
        space: 34,
        grid,
        values: (_, at) => at.map((value) => (value === null ? '' : this.#options.formatY(value))),
      },
    ];
  }

  #uplotOptions(sync: string): uPlot.Options {
    const { width, height } = this.#host.getBoundingClientRect();
    return {
      width: Math.max(120, width),
      height: Math.max(120, height),
      padding: [12, 14, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: false, range: () => this.#xRange() },
        y: {
          ...(this.#options.rules.log ? { distr: 3 as const, log: 10 as const } : {}),
          range: (_, low, high) => this.#yRangeOf(low, high),
        },
      },
      series: [{}, ...this.#options.lines.map((line) => this.#series(line))],
      axes: this.#axes(),
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        sync: { key: sync, scales: ['x', null] },
        points: { size: 7, width: 2, fill: () => this.#colour('--surface') },
        bind: { dblclick: () => () => this.#unzoom() },
      },
      hooks: {
        drawClear: [(plot) => this.#drawEpochs(plot)],
        draw: [(plot) => this.#drawHead(plot)],
        setCursor: [(plot) => this.#options.onHover(plot.cursor.idx ?? null)],
        setSelect: [(plot) => this.#onSelect(plot)],
      },
    };
  }

  #unzoom(): null {
    this.#options.onZoom(null);
    return null;
  }

  #onSelect(plot: uPlot): void {
    const { left, width } = plot.select;
    if (width < 6) return;
    const zoom = { min: plot.posToVal(left, 'x'), max: plot.posToVal(left + width, 'x') };
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (zoom.max - zoom.min >= 2) this.#options.onZoom(zoom);
  }

  #drawEpochs(plot: uPlot): void {
    const { epochs = 0, totalSteps = 0 } = this.#frame ?? {};
    if (epochs < 2 || epochs > mostEpochLines || totalSteps <= 0) return;
    const { ctx, bbox } = plot;
    const [from, to] = this.#xRange();
    ctx.save();
    ctx.strokeStyle = this.#colour('--line');
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    for (let epoch = 1; epoch < epochs; epoch++) {
      const step = (totalSteps / epochs) * epoch;
      if (step <= from || step >= to) continue;
      const x = Math.round(plot.valToPos(step, 'x', true));
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
    }
    ctx.stroke();
    ctx.restore();
  }

  #drawHead(plot: uPlot): void {
    const frame = this.#frame;
    if (!frame || frame.headOf === null) return;
    const values = frame.values[frame.headOf];
    const line = this.#options.lines[frame.headOf];
    const step = frame.x.at(-1);
    const value = values?.[values.length - 1];
    const [from, to] = this.#xRange();
    if (!line || step === undefined || value === null || value === undefined || step < from || step > to)
      return;
    const x = plot.valToPos(step, 'x', true);
    const y = plot.valToPos(value, 'y', true);
    if (!Number.isFinite(y)) return;
    const { ctx } = plot;
    ctx.save();
    ctx.fillStyle = this.#colour(line.colour);
    ctx.beginPath();
    ctx.arc(x, y, 4 * devicePixelRatio, 0, Math.PI * 2);
    ctx.fill();
    ctx.restore();
  }
}
