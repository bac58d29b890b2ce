// biome-ignore-all lint/a11y: what scrolls must be reachable by keyboard and say what it is; the pointer's ways have the table as their twin
// Parallel coordinates: an upright axis for each setting in which the runs differ and for each result, a line for each
// run. Dragging along an axis keeps the runs that pass there. The table below says the same in words.
import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { type Dimension, type Scale, scaleOf } from '../../state/compare';
import { t } from '../../strings/en';

export type Brushes = ReadonlyMap<string, { from: number; to: number }>;

interface ParallelProps {
  dimensions: Dimension[];
  colours: string[];
  names: string[];
  active: number | null;
  brushes: Brushes;
  format(key: string, value: number): string;
  label(key: string): string;
  onActive(index: number | null): void;
  onBrushes(next: Brushes): void;
}

const height = 300;
const top = 40;
const bottom = 24;
const side = 56;
const leastBrush = 0.015;
const leastTickPx = 14;

export function passes(
  scales: readonly Scale[],
  dimensions: readonly Dimension[],
  brushes: Brushes,
  run: number,
): boolean {
  return dimensions.every((dimension, at) => {
    const brush = brushes.get(dimension.key);
    if (!brush) return true;
    const place = scales[at]?.place(dimension.values[run] ?? null) ?? null;
    return place !== null && place >= brush.from - 1e-9 && place <= brush.to + 1e-9;
  });
}

export function scalesOf(
  dimensions: readonly Dimension[],
  format: (key: string, value: number) => string,
): Scale[] {
  return dimensions.map((dimension) => scaleOf(dimension.values, (value) => format(dimension.key, value)));
}

/** Marks that do not cover one another, from the bottom up. */
export function spread(ticks: Scale['ticks'], pixels: number): Scale['ticks'] {
  const kept: Scale['ticks'] = [];
  for (const tick of [...ticks].sort((a, b) => a.at - b.at)) {
    const before = kept.at(-1);
    if (!before || (tick.at - before.at) * pixels >= leastTickPx) kept.push(tick);
  }
  return kept;
}

export function Parallel(props: ParallelProps) {
  const { dimensions, colours, names, active, brushes } = props;
  const host = useRef<HTMLDivElement>(null);
  const width = useSignal(900);
  const drag = useRef<{ key: string; start: number } | null>(null);
  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) width.value = Math.max(320, dimensions.length * 96, entry.contentRect.width);
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [dimensions.length]);

  const scales = scalesOf(dimensions, props.format);
  const gap = dimensions.length > 1 ? (width.value - 2 * side) / (dimensions.length - 1) : 0;
  const xOf = (at: number) => (dimensions.length > 1 ? side + at * gap : width.value / 2);
  const yOf = (place: number) => height - bottom - place * (height - top - bottom);
  const placeOf = (y: number) => Math.max(0, Math.min(1, (height - bottom - y) / (height - top - bottom)));

  function pathOf(run: number): string {
    let path = '';
    let pen = 'M';
    scales.forEach((scale, at) => {
      const place = scale.place(dimensions[at]?.values[run] ?? null);
      if (place === null) {
        pen = 'M';
        return;
      }
      path += `${pen}${xOf(at).toFixed(1)} ${yOf(place).toFixed(1)}`;
      pen = 'L';
    });
    return path;
  }
  function pointerPlace(event: PointerEvent): number {
    const box = host.current?.querySelector('svg')?.getBoundingClientRect();
    return placeOf(box ? event.clientY - box.top : 0);
  }
  function setBrush(key: string, from: number, to: number): void {
    const next = new Map(brushes);
    if (Math.abs(to - from) < leastBrush) next.delete(key);
    else next.set(key, { from: Math.min(from, to), to: Math.max(from, to) });
    props.onBrushes(next);
  }

  const order = names.map((_, run) => run).sort((a, b) => Number(a === active) - Number(b === active));
  return (
    <div class="parallel" ref={host} tabIndex={0} role="region" aria-label={t.compare.parallel}>
      <svg width={width.value} height={height} role="img" aria-label={t.compare.parallelHelp}>
        <g fill="none">
          {order.map((run) => {
            const kept = passes(scales, dimensions, brushes, run);
            return (
              <path
                key={run}
                d={pathOf(run)}
                class={`run-line ${kept ? '' : 'out'} ${active === run ? 'active' : ''}`}
                style={{ stroke: colours[run] }}
                onMouseEnter={() => props.onActive(run)}
                onMouseLeave={() => props.onActive(null)}
              >
                <title>{names[run]}</title>
              </path>
            );
          })}
        </g>
        {dimensions.map((dimension, at) => {
          const brush = brushes.get(dimension.key);
          return (
            <g key={dimension.key} transform={`translate(${xOf(at)} 0)`}>
              <text
                class={`axis-name ${dimension.isResult ? 'result' : ''}`}
                x="0"
                y="18"
                text-anchor="middle"
              >
                {props.label(dimension.key)}
              </text>
              <line class="axis" x1="0" x2="0" y1={top} y2={height - bottom} />
              {spread(scales[at]?.ticks ?? [], height - top - bottom).map((tick) => (
                <text
                  key={`${tick.text}/${tick.at}`}
                  class="axis-tick"
                  x={at === dimensions.length - 1 ? -7 : 7}
                  y={yOf(tick.at) + 4}
                  text-anchor={at === dimensions.length - 1 ? 'end' : 'start'}
                >
                  {tick.text.length > 14 ? `${tick.text.slice(0, 13)}…` : tick.text}
                </text>
              ))}
              {brush && (
                <rect
                  class="axis-brush"
                  x="-8"
                  width="16"
                  y={yOf(brush.to)}
                  height={Math.max(2, yOf(brush.from) - yOf(brush.to))}
                />
              )}
              <rect
                class="axis-grip"
                x="-14"
                width="28"
                y={top - 6}
                height={height - top - bottom + 12}
                onPointerDown={(event) => {
                  event.currentTarget.setPointerCapture(event.pointerId);
                  drag.current = { key: dimension.key, start: pointerPlace(event) };
                }}
                onPointerMove={(event) => {
                  if (drag.current) setBrush(drag.current.key, drag.current.start, pointerPlace(event));
                }}
                onPointerUp={(event) => {
                  if (drag.current) setBrush(drag.current.key, drag.current.start, pointerPlace(event));
                  drag.current = null;
                }}
              />
            </g>
          );
        })}
      </svg>
    </div>
  );
}
