// The curves of a run and what steers them. Loaded when a job is first opened, since it brings uPlot.
import { logScale, smoothing, zoom } from '../../state/chart';
import { isTerminal } from '../../state/jobs';
import type { Run } from '../../state/run';
import { t } from '../../strings/en';
import { formatLoss, formatPercent, formatRate } from '../format';
import { Icon } from '../ui/icons';
import { Chart } from './chart';

const axisLoss = (value: number) => String(Number(value.toPrecision(3)));
const axisPercent = (value: number) => `${Number((value * 100).toFixed(2))} %`;
const axisRate = (value: number) => formatRate(value);
const axisExponent = (value: number) => {
  if (value === 0) return '0';
  return value < 0.0001 ? value.toExponential(1).replace('.0e', 'e') : String(Number(value.toPrecision(3)));
};

function Controls() {
  return (
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
  );
}

interface ChartsProps {
  run: Run;
  live: boolean;
}

function Charts({ run, live }: ChartsProps) {
  void run.seriesVersion.value;
  if (run.series.length === 0) {
    const job = run.job.state.value.data;
    const none = job !== null && isTerminal(job.state) && run.telemetryReady.value;
    return <p class="chart-none muted">{none ? t.job.charts.none : t.job.charts.waiting}</p>;
  }
  const common = { run, live };
  return (
    <>
      <div class="chart-grid">
        <Chart
          {...common}
          title={t.job.charts.loss}
          column="loss"
          evaluation="evalLoss"
          formatY={axisLoss}
          formatValue={formatLoss}
        />
        <Chart
          {...common}
          title={t.job.charts.accuracy}
          column="accuracy"
          evaluation="evalAccuracy"
          ceiling={1}
          formatY={axisPercent}
          formatValue={(value) => formatPercent(value, 2)}
        />
        <Chart
          {...common}
          title={t.job.charts.speed}
          column="imagesPerSecond"
          colour="--data-3"
          exact
          formatY={axisRate}
          formatValue={formatRate}
        />
        <Chart
          {...common}
          title={t.job.charts.lr}
          column="lr"
          colour="--data-4"
          exact
          formatY={axisExponent}
          formatValue={formatLoss}
        />
      </div>
      <p class="chart-hint muted">{t.job.charts.hint}</p>
    </>
  );
}

export function ChartsCard({ run, live }: ChartsProps) {
  return (
    <section class="card charts" aria-labelledby="charts">
      <header class="card-head">
        <h2 id="charts">{t.job.charts.title}</h2>
        <Controls />
      </header>
      <Charts run={run} live={live} />
    </section>
  );
}
