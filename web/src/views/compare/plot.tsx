// The runs' curves in one chart: uPlot over one row of x values. Knows lines and numbers, nothing of jobs.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { niceRange, type Zoom } from '../../state/chart';
import type { Grid } from '../../state/compare';
import { t } from '../../strings/en';

export interface PlotProps {
  grid: Grid;
  colours: string[];
  active: number | null;
  /** Runs that the parallel coordinates leave out. */
  dimmed: ReadonlySet<number>;
  log: boolean;
  sparse: boolean;
  label: string;
  reading: string;
  formatX(values: number[]): string[];
  formatY(value: number): string;
  onHover(index: number | null): void;
  onZoom(zoom: Zoom | null): void;
}

const dimmedAlpha = 0.12;

export function ComparePlot(props: PlotProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const now = useRef(props);
  now.current = props;

  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const colour = (name: string) => getComputedStyle(element).getPropertyValue(name).trim();
    const { width, height } = element.getBoundingClientRect();
    const axis = { stroke: () => colour('--ink-3'), font: '11px Geist, sans-serif', ticks: { show: false } };
    const made = new uPlot(
      {
        width: Math.max(120, width),
        height: Math.max(120, height),
        padding: [12, 14, 0, 0],
        legend: { show: false },
        scales: {
          x: { time: false },
          y: {
            ...(props.log ? { distr: 3 as const, log: 10 as const } : {}),
            range: (_, low, high) =>
              low === null || high === null
                ? props.log
                  ? [0.01, 1]
                  : [0, 1]
                : niceRange(low, high, { log: props.log }, null),
          },
        },
        series: [
          {},
          ...props.colours.map((stroke, at) => ({
            stroke: () => now.current.colours[at] ?? stroke,
            width: 1.75,
            spanGaps: true,
            points: { show: props.sparse, size: 5 },
          })),
        ],
        axes: [
          {
            ...axis,
            size: 28,
            gap: 8,
            space: 72,
            grid: { show: false },
            values: (_, at) => now.current.formatX(at),
          },
          {
            ...axis,
            size: 60,
            gap: 8,
            space: 34,
            grid: { stroke: () => colour('--grid'), width: 1 },
            values: (_, at) => at.map((value) => (value === null ? '' : now.current.formatY(value))),
          },
        ],
        cursor: {
          y: false,
          drag: { x: true, y: false, setScale: false },
          points: { show: false },
          bind: {
            dblclick: () => () => {
              now.current.onZoom(null);
              return null;
            },
          },
        },
        hooks: {
          setCursor: [(each) => now.current.onHover(each.cursor.idx ?? null)],
          setSelect: [
            (each) => {
              const { left, width: wide } = each.select;
              if (wide < 6) return;
              const zoom = { min: each.posToVal(left, 'x'), max: each.posToVal(left + wide, 'x') };
              each.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              now.current.onZoom(zoom);
            },
          ],
        },
      },
      [props.grid.x, ...props.grid.lines] as uPlot.AlignedData,
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(([entry]) => {
      if (entry && entry.contentRect.width > 0)
        made.setSize({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [props.log, props.sparse, props.colours.join()]);

  useEffect(() => {
    plot.current?.setData([props.grid.x, ...props.grid.lines] as uPlot.AlignedData, true);
  }, [props.grid]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    made.series.forEach((series, at) => {
      if (at === 0) return;
      const isOut = props.dimmed.has(at - 1);
      const behind = props.active !== null && props.active !== at - 1;
      series.alpha = isOut ? dimmedAlpha : behind ? 0.3 : 1;
      series.width = (props.active === at - 1 ? 3 : 1.75) * devicePixelRatio;
    });
    made.redraw(false);
  }, [props.active, props.dimmed, props.grid]);

  function onKeyDown(event: KeyboardEvent): void {
    const made = plot.current;
    if (!made) return;
    const last = props.grid.x.length - 1;
    const here = made.cursor.idx ?? last;
    const step = Math.max(1, Math.round(last / 100));
    const moves: Record<string, number> = {
      ArrowLeft: here - step,
      ArrowRight: here + step,
      PageDown: here - step * 10,
      PageUp: here + step * 10,
      Home: 0,
      End: last,
    };
    const next = moves[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const at = Math.max(0, Math.min(last, next));
    made.setCursor({ left: made.valToPos(props.grid.x[at] ?? 0, 'x'), top: 10 });
  }

  return (
    <div
      ref={host}
      class="plot compare-plot"
      data-runs={props.grid.lines.length}
      role="slider"
      tabIndex={0}
      aria-label={t.compare.aria(props.label)}
      aria-valuemin={0}
      aria-valuemax={props.grid.x.at(-1) ?? 0}
      aria-valuenow={plot.current?.cursor.idx ?? 0}
      aria-valuetext={props.reading}
      onKeyDown={onKeyDown}
    />
  );
}
