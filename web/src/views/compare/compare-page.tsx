// biome-ignore-all lint/a11y: what scrolls must be reachable by keyboard and say what it is; the pointer's ways have the table as their twin
// Many runs side by side: their curves in one chart, the settings in which they differ as parallel coordinates and as a
// table that says the same.
import { useComputed, useSignal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { logScale, smoothing, type Zoom } from '../../state/chart';
import {
  type AxisName,
  type ComparedRun,
  Comparison,
  type Dimension,
  dimensionsOf,
  gridOf,
  type MetricName,
  type Value,
  valueAt,
} from '../../state/compare';
import { navigate } from '../../state/router';
import { shownTheme } from '../../state/theme';
import { t } from '../../strings/en';
import {
  formatCount,
  formatDuration,
  formatInteger,
  formatLoss,
  formatPercent,
  formatRate,
  formatSteps,
  shortId,
} from '../format';
import { Page } from '../page';
import { Icon } from '../ui/icons';
import { Link } from '../ui/link';
import { Empty, Loading, ProblemNote, Segments, StateBadge } from '../ui/parts';
import { type Brushes, Parallel, passes, scalesOf } from './parallel';
import { ComparePlot } from './plot';

const metrics: MetricName[] = ['loss', 'evalLoss', 'accuracy', 'evalAccuracy', 'imagesPerSecond', 'lr'];
const axes: AxisName[] = ['step', 'epoch', 'time'];

/** Colours as far apart as their number allows, equally light, so that none stands out by chance. */
export function coloursOf(count: number, theme: 'light' | 'dark'): string[] {
  const golden = 137.508;
  return Array.from({ length: count }, (_, at) => {
    const hue = (262 + at * golden) % 360;
    const deep = at % 2 === 1 ? 0.08 : 0;
    return theme === 'dark'
      ? `oklch(${0.78 - deep} 0.14 ${hue.toFixed(1)})`
      : `oklch(${0.55 - deep} 0.17 ${hue.toFixed(1)})`;
  });
}

function formatMetric(metric: MetricName, value: number | null): string {
  if (value === null) return '–';
  if (metric === 'accuracy' || metric === 'evalAccuracy') return formatPercent(value, 2);
  if (metric === 'imagesPerSecond') return formatRate(value);
  return formatLoss(value);
}

function formatAxisY(metric: MetricName, value: number): string {
  if (metric === 'accuracy' || metric === 'evalAccuracy') return `${Number((value * 100).toFixed(2))} %`;
  if (metric === 'imagesPerSecond') return formatRate(value);
  return String(Number(value.toPrecision(3)));
}

function formatAxisX(axis: AxisName, values: number[]): string[] {
  if (axis === 'time') return values.map((value) => formatDuration(value * 1000));
  if (axis === 'epoch') return values.map((value) => String(Number(value.toPrecision(4))));
  return formatSteps(values);
}

function formatDimension(key: string, value: Value): string {
  if (value === null) return '–';
  if (typeof value !== 'number') return String(value);
  if (key === 'test_accuracy') return formatPercent(value, 1);
  if (key === 'test_loss') return formatLoss(value);
  if (key === 'images_per_second') return formatRate(value);
  if (key === 'seconds') return formatDuration(value * 1000);
  if (key === 'parameters') return formatCount(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

function labelOf(key: string): string {
  return t.compare.dimensions[key] ?? key.replaceAll('_', ' ').replace(/^.*\./, '');
}

interface TableProps {
  runs: readonly ComparedRun[];
  dimensions: Dimension[];
  colours: string[];
  reading: (number | null)[];
  metric: MetricName;
  active: number | null;
  dimmed: ReadonlySet<number>;
  onActive(index: number | null): void;
  onDrop(id: string): void;
}

function RunsTable(props: TableProps) {
  const { runs, dimensions, colours } = props;
  return (
    <div class="table-wrap" tabIndex={0} role="region" aria-label={t.compare.table}>
      <table class="table dense compare-table">
        <thead>
          <tr>
            <th scope="col">{t.jobs.columns.name}</th>
            <th scope="col" class="right">
              {t.compare.metrics[props.metric]}
            </th>
            {dimensions.map((dimension) => (
              <th key={dimension.key} scope="col" class="right">
                {labelOf(dimension.key)}
              </th>
            ))}
            <th scope="col">
              <span class="hidden-text">{t.models.columns.actions}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run, at) => (
            <tr
              key={run.id}
              class={`${props.active === at ? 'chosen' : ''} ${props.dimmed.has(at) ? 'dimmed' : ''}`}
              onMouseEnter={() => props.onActive(at)}
              onMouseLeave={() => props.onActive(null)}
            >
              <th scope="row" class="run-name">
                <i class="run-swatch" style={{ background: colours[at] }} />
                <Link to={`/jobs/${run.id}`}>{run.job?.name ?? shortId(run.id)}</Link>
                {run.job && run.job.state !== 'completed' && <StateBadge state={run.job.state} />}
                {run.problem && <span class="warn">{run.problem.message || t.problem.unknown}</span>}
              </th>
              <td class="right num">
                <strong>{formatMetric(props.metric, props.reading[at] ?? null)}</strong>
              </td>
              {dimensions.map((dimension) => (
                <td key={dimension.key} class="right num">
                  {run.job && !dimension.isResult && (dimension.values[at] ?? null) === null
                    ? t.compare.byDefault
                    : formatDimension(dimension.key, dimension.values[at] ?? null)}
                </td>
              ))}
              <td class="right">
                <button
                  type="button"
                  class="icon-button small"
                  aria-label={t.compare.drop(run.job?.name ?? shortId(run.id))}
                  onClick={() => props.onDrop(run.id)}
                >
                  <Icon name="close" size={14} />
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function ComparePage({ ids }: { ids: string[] }) {
  const key = ids.join();
  const comparison = useMemo(() => new Comparison(ids), [key]);
  const metric = useSignal<MetricName>('loss');
  const axis = useSignal<AxisName>('step');
  const zoom = useSignal<Zoom | null>(null);
  const hovered = useSignal<number | null>(null);
  const active = useSignal<number | null>(null);
  const brushes = useSignal<Brushes>(new Map());
  useEffect(() => {
    void comparison.start();
    return () => comparison.stop();
  }, [comparison]);

  const runs = comparison.runs.value;
  const colours = useMemo(() => coloursOf(runs.length, shownTheme.value), [runs.length, shownTheme.value]);
  const grid = useComputed(() => {
    void comparison.version.value;
    return gridOf(
      comparison.runs.value.map((run) => run.series),
      metric.value,
      axis.value,
      smoothing.value,
      zoom.value,
    );
  });
  const dimensions = useMemo(
    () =>
      dimensionsOf(
        runs.map((run) => run.job),
        Date.now(),
      ),
    [runs],
  );
  const scales = useMemo(() => scalesOf(dimensions, formatDimension), [dimensions]);
  const dimmed = useMemo(
    () =>
      new Set(
        runs
          .map((_, at) => at)
          .filter((at) => brushes.value.size > 0 && !passes(scales, dimensions, brushes.value, at)),
      ),
    [scales, brushes.value],
  );

  function drop(id: string): void {
    const rest = ids.filter((each) => each !== id);
    navigate(`/compare?jobs=${rest.join(',')}`, { replace: true });
  }

  if (ids.length === 0) {
    return (
      <Page title={t.compare.title}>
        <div class="card">
          <Empty icon="jobs" title={t.compare.emptyTitle} text={t.compare.emptyText}>
            <Link to="/jobs" class="button primary">
              {t.job.back}
            </Link>
          </Empty>
        </div>
      </Page>
    );
  }
  const loading = runs.some((run) => run.loading);
  const failed = runs.find((run) => run.problem);
  const index = hovered.value ?? grid.value.x.length - 1;
  const reading = grid.value.lines.map((line) => valueAt(line, index));
  const at = formatAxisX(axis.value, [grid.value.x[index] ?? 0])[0] ?? '';
  const sparse = metric.value === 'evalLoss' || metric.value === 'evalAccuracy';
  const drawn = grid.value.lines.some((line) => line.some((value) => value !== null));
  const spoken = [
    `${t.compare.axes[axis.value]} ${at}`,
    ...runs
      .slice(0, 8)
      .map(
        (run, each) =>
          `${run.job?.name ?? shortId(run.id)} ${formatMetric(metric.value, reading[each] ?? null)}`,
      ),
  ].join(', ');
  return (
    <Page title={t.compare.title} lead={t.compare.lead(runs.length)}>
      {failed?.problem && <ProblemNote problem={failed.problem} onRetry={() => comparison.retry()} />}
      <section class="card charts" aria-labelledby="compare-curves">
        <header class="card-head">
          <h2 id="compare-curves">{t.job.charts.title}</h2>
          <div class="chart-controls">
            {zoom.value && (
              <button
                type="button"
                class="button small"
                onClick={() => {
                  zoom.value = null;
                }}
              >
                <Icon name="reset" size={14} />
                {t.job.charts.reset}
              </button>
            )}
            <label class="slider">
              <span>{t.job.charts.smoothing}</span>
              <input
                type="range"
                min="0"
                max="0.99"
                step="0.01"
                value={smoothing.value}
                onInput={(event) => {
                  smoothing.value = Number(event.currentTarget.value);
                }}
              />
              <output class="num">{smoothing.value.toFixed(2)}</output>
            </label>
            <label class="switch">
              <input
                type="checkbox"
                role="switch"
                checked={logScale.value}
                aria-checked={logScale.value}
                onChange={(event) => {
                  logScale.value = event.currentTarget.checked;
                }}
              />
              {t.job.charts.log}
            </label>
          </div>
        </header>
        <div class="compare-choice">
          <Segments<MetricName>
            label={t.compare.metric}
            name="compare-metric"
            options={metrics.map((value) => ({ value, text: t.compare.metrics[value] }))}
            value={metric.value}
            onChange={(value) => {
              metric.value = value;
            }}
          />
          <Segments<AxisName>
            label={t.compare.axis}
            name="compare-axis"
            options={axes.map((value) => ({ value, text: t.compare.axes[value] }))}
            value={axis.value}
            onChange={(value) => {
              axis.value = value;
              zoom.value = null;
            }}
          />
          <span class="muted num compare-at">
            {hovered.value === null ? '' : `${t.compare.axes[axis.value]} ${at}`}
          </span>
        </div>
        {loading && !drawn ? (
          <Loading rows={8} />
        ) : drawn ? (
          <ComparePlot
            grid={grid.value}
            colours={colours}
            active={active.value}
            dimmed={dimmed}
            log={logScale.value && metric.value !== 'accuracy' && metric.value !== 'evalAccuracy'}
            sparse={sparse}
            label={t.compare.metrics[metric.value]}
            reading={spoken}
            formatX={(values) => formatAxisX(axis.value, values)}
            formatY={(value) => formatAxisY(metric.value, value)}
            onHover={(value) => {
              hovered.value = value;
            }}
            onZoom={(value) => {
              zoom.value = value;
            }}
          />
        ) : (
          <p class="chart-none muted">{t.compare.none}</p>
        )}
        <p class="chart-hint muted">{t.job.charts.hint}</p>
      </section>
      <section class="card" aria-labelledby="compare-settings">
        <header class="card-head">
          <h2 id="compare-settings">{t.compare.settings}</h2>
          {brushes.value.size > 0 && (
            <button
              type="button"
              class="button small"
              onClick={() => {
                brushes.value = new Map();
              }}
            >
              <Icon name="reset" size={14} />
              {t.compare.all(formatInteger(runs.length - dimmed.size), formatInteger(runs.length))}
            </button>
          )}
        </header>
        {dimensions.length > 1 && (
          <Parallel
            dimensions={dimensions}
            colours={colours}
            names={runs.map((run) => run.job?.name ?? shortId(run.id))}
            active={active.value}
            brushes={brushes.value}
            format={formatDimension}
            label={labelOf}
            onActive={(value) => {
              active.value = value;
            }}
            onBrushes={(next) => {
              brushes.value = next;
            }}
          />
        )}
        <RunsTable
          runs={runs}
          dimensions={dimensions}
          colours={colours}
          reading={reading}
          metric={metric.value}
          active={active.value}
          dimmed={dimmed}
          onActive={(value) => {
            active.value = value;
          }}
          onDrop={drop}
        />
      </section>
    </Page>
  );
}
