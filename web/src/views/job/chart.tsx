// One chart of a run: its heading with the values that the pointer (or the newest step) reads, and the curve. The curve is
// a slider over steps to the keyboard and to screen readers; the epochs' table beside it says the same in words.
import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import 'uplot/dist/uPlot.min.css';
import { logScale, smoothing, zoom } from '../../state/chart';
import type { Run } from '../../state/run';
import { type DenseName, Smoother } from '../../state/series';
import { shownTheme } from '../../state/theme';
import { thinRows } from '../../state/thin';
import { t } from '../../strings/en';
import { formatInteger, formatSteps } from '../format';
import { Curve, type CurveLine, type Values } from './curve';

export interface ChartProps {
  run: Run;
  title: string;
  column: DenseName;
  evaluation?: 'evalLoss' | 'evalAccuracy';
  colour?: string;
  soft?: string;
  ceiling?: number;
  /** Learning rate and speed are exact; smoothing them would tell a lie. */
  exact?: boolean;
  live: boolean;
  formatY(value: number): string;
  formatValue(value: number | null): string;
}

const syncKey = 'run';
const pageSteps = 10;
const chartColumns = 1000;
const mostMarked = 400;

/** uPlot knows gaps as null; a column without gaps goes in as it is. */
function plotValue(value: number | null | undefined): number | null {
  return value === undefined || value === null || Number.isNaN(value) ? null : value;
}

function plottable(column: Values): Values {
  if (!(column instanceof Float64Array)) return column;
  for (const value of column) {
    if (Number.isNaN(value)) return Array.from(column, (each) => (Number.isNaN(each) ? null : each));
  }
  return column;
}

function lastBefore(values: (number | null)[], index: number): number | null {
  for (let i = Math.min(index, values.length - 1); i >= 0; i--) {
    const value = values[i];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}

function linesOf(props: ChartProps, smooth: boolean): CurveLine[] {
  const colour = props.colour ?? '--data-1';
  const soft: CurveLine[] = smooth ? [{ colour: props.soft ?? '--data-1-soft', width: 1 }] : [];
  const evaluation: CurveLine[] = props.evaluation ? [{ colour: '--data-2', width: 1.75, marked: true }] : [];
  return [...soft, { colour, width: smooth ? 2.25 : 1.5 }, ...evaluation];
}

interface Reading {
  step: number | null;
  epoch: number | null;
  value: number | null;
  evaluation: number | null;
}

function readingAt(props: ChartProps, hovered: number | null): Reading {
  const { series } = props.run;
  const index = hovered !== null && hovered < series.length ? hovered : series.length - 1;
  const step = finite(series.column('step')[index]);
  const evaluation = props.evaluation ? lastBefore(series[props.evaluation], index) : null;
  let value = finite(series.column(props.column)[index]);
  if (value === null && index > 0) value = finite(series.column(props.column)[index - 1]);
  return { step, epoch: finite(series.column('epoch')[index]), value, evaluation };
}

function Readout({ props, hovered }: { props: ChartProps; hovered: number | null }) {
  const reading = readingAt(props, hovered);
  if (reading.step === null) return null;
  return (
    <span class="readout num">
      {hovered !== null && (
        <span class="muted">{t.job.charts.at(formatInteger(reading.step), reading.epoch)}</span>
      )}
      <span class="key">
        <i class={`swatch ${props.evaluation ? 'one' : (props.colour ?? '').slice(2)}`} />
        {props.evaluation ? t.job.charts.train : ''} <b>{props.formatValue(reading.value)}</b>
      </span>
      {props.evaluation && (
        <span class="key">
          <i class="swatch two" />
          {t.job.charts.evaluation} <b>{props.formatValue(reading.evaluation)}</b>
        </span>
      )}
    </span>
  );
}

export function Chart(props: ChartProps) {
  const { run } = props;
  const host = useRef<HTMLDivElement>(null);
  const curve = useRef<Curve | null>(null);
  const smoother = useRef(new Smoother(0));
  const hovered = useSignal<number | null>(null);
  /** The run's row of each drawn point, where not all are drawn. */
  const rows = useRef<Int32Array | null>(null);
  const live = useRef(props.live);
  live.current = props.live;

  function draw(): void {
    const { series } = run;
    const raw = series.column(props.column);
    const smooth = !props.exact && smoothing.peek() > 0;
    smoother.current.setWeight(smooth ? smoothing.peek() : 0);
    const values: Values[] = [];
    if (smooth) values.push(raw);
    values.push(smooth ? smoother.current.apply(raw, series.rewinds) : raw);
    if (props.evaluation) values.push(series[props.evaluation]);
    const epochs = run.job.state.peek().data?.progress?.epochs ?? 0;
    const headOf = live.current ? (smooth ? 1 : 0) : null;
    const x = series.column('step');
    const shown = zoom.peek();
    const to = shown?.max ?? Math.max(series.totalSteps, x.at(-1) ?? 1);
    const marked = props.evaluation ? series.epochs.map((row) => series.indexOfStep(row.step)) : [];
    const kept = thinRows(x, raw, shown?.min ?? 0, to, chartColumns, marked.slice(-mostMarked));
    rows.current = kept;
    const take = (column: Values): Values =>
      kept ? Array.from(kept, (row) => plotValue(column[row])) : plottable(column);
    curve.current?.show({
      x: kept ? Float64Array.from(kept, (row) => x[row] ?? 0) : x,
      values: values.map(take),
      totalSteps: series.totalSteps,
      epochs,
      headOf,
    });
  }

  useSignalEffect(() => {
    const element = host.current;
    const log = logScale.value && !props.ceiling;
    void shownTheme.value;
    const smooth = !props.exact && smoothing.value > 0;
    if (!element) return undefined;
    const made = new Curve(
      element,
      {
        lines: linesOf(props, smooth),
        rules: { log, fromZero: true, ...(props.ceiling ? { ceiling: props.ceiling } : {}) },
        formatY: props.formatY,
        formatX: formatSteps,
        onHover: (index) => {
          hovered.value = index === null ? null : (rows.current?.[index] ?? index);
        },
        onZoom: (value) => {
          zoom.value = value;
        },
      },
      syncKey,
    );
    curve.current = made;
    made.setZoom(zoom.peek());
    draw();
    return () => {
      made.destroy();
      curve.current = null;
    };
  });
  useSignalEffect(() => {
    void run.seriesVersion.value;
    draw();
  });
  useSignalEffect(() => {
    curve.current?.setZoom(zoom.value);
    draw();
  });
  useEffect(draw, [props.live]);
  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) curve.current?.resize(entry.contentRect.width, entry.contentRect.height);
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  function onKeyDown(event: KeyboardEvent): void {
    const last = run.series.length - 1;
    if (last < 0) return;
    const now = hovered.peek() ?? last;
    const moves: Record<string, number> = {
      ArrowLeft: now - 1,
      ArrowRight: now + 1,
      PageDown: now - pageSteps,
      PageUp: now + pageSteps,
      Home: 0,
      End: last,
    };
    if (event.key === 'Escape') curve.current?.pointAt(null);
    const next = moves[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const row = Math.max(0, Math.min(last, next));
    curve.current?.pointAt(run.series.column('step')[row] ?? null);
    hovered.value = row;
  }

  void run.seriesVersion.value; // the readout follows the newest step
  const reading = readingAt(props, hovered.value);
  const spoken = [
    reading.step === null
      ? t.job.charts.waiting
      : t.job.charts.at(formatInteger(reading.step), reading.epoch),
    t.job.charts.latest(
      props.evaluation ? t.job.charts.train : t.job.charts.value,
      props.formatValue(reading.value),
    ),
    props.evaluation
      ? t.job.charts.latest(t.job.charts.evaluation, props.formatValue(reading.evaluation))
      : '',
  ];
  return (
    <figure class="chart">
      <figcaption>
        <h3>{props.title}</h3>
        <Readout props={props} hovered={hovered.value} />
      </figcaption>
      <div
        ref={host}
        class="plot"
        data-points={run.series.length}
        role="slider"
        tabIndex={0}
        aria-label={t.job.charts.aria(props.title, '')}
        aria-valuemin={0}
        aria-valuemax={Math.max(run.series.totalSteps, reading.step ?? 0)}
        aria-valuenow={reading.step ?? 0}
        aria-valuetext={spoken.filter(Boolean).join(', ')}
        onKeyDown={onKeyDown}
      />
    </figure>
  );
}
