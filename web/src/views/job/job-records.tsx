// What a run leaves behind in words and numbers: the epochs' table, the log, the spec.
import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { LogLine, Spec } from '../../api/types';
import type { Run } from '../../state/run';
import { formatSpec } from '../../state/submit';
import { t } from '../../strings/en';
import { formatClock, formatLoss, formatPercent, formatRate } from '../format';
import { CopyButton } from '../ui/parts';

export function EpochsCard({ run }: { run: Run }) {
  void run.seriesVersion.value;
  const rows = run.series.epochs;
  if (rows.length === 0) return null;
  const columns = t.job.epochColumns;
  const best = Math.max(...rows.map((row) => row.evalAccuracy ?? Number.NEGATIVE_INFINITY));
  return (
    <section class="card" aria-labelledby="epochs">
      <header class="card-head">
        <h2 id="epochs">{t.job.epochs}</h2>
      </header>
      {/* biome-ignore lint/a11y: a table that scrolls must be reachable by keyboard and say what it is */}
      <div class="epochs-wrap" role="region" aria-labelledby="epochs" tabIndex={0}>
        <table class="table dense num epochs-table">
          <thead>
            <tr>
              <th scope="col">{columns.epoch}</th>
              <th scope="col" class="right">
                {columns.loss}
              </th>
              <th scope="col" class="right">
                {columns.evalLoss}
              </th>
              <th scope="col" class="right">
                {columns.accuracy}
              </th>
              <th scope="col" class="right">
                {columns.evalAccuracy}
              </th>
              <th scope="col" class="right">
                {columns.speed}
              </th>
            </tr>
          </thead>
          <tbody>
            {[...rows].reverse().map((row) => (
              <tr key={row.epoch}>
                <td>{row.epoch}</td>
                <td class="right">{formatLoss(row.loss)}</td>
                <td class="right">{formatLoss(row.evalLoss)}</td>
                <td class="right">{formatPercent(row.accuracy, 2)}</td>
                <td class={`right ${row.evalAccuracy === best ? 'best' : ''}`}>
                  {formatPercent(row.evalAccuracy, 2)}
                </td>
                <td class="right">{formatRate(row.imagesPerSecond)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function LogRow({ line }: { line: LogLine }) {
  return (
    <li class={`log-${line.level}`}>
      <time class="muted" dateTime={line.at}>
        {formatClock(line.at)}
      </time>
      <span class="level">{line.level}</span>
      <span class="message">{line.message}</span>
    </li>
  );
}

export function LogsCard({ run }: { run: Run }) {
  const box = useRef<HTMLDivElement>(null);
  const follow = useSignal(true);
  const wanted = useSignal('');
  const needle = wanted.value.trim().toLowerCase();
  const lines = needle
    ? run.logs.value.filter((line) => line.message.toLowerCase().includes(needle))
    : run.logs.value;
  useEffect(() => {
    if (follow.value && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines.length, follow.value]);

  function onScroll(): void {
    const element = box.current;
    if (element) follow.value = element.scrollHeight - element.scrollTop - element.clientHeight < 24;
  }
  const dropped = run.logsDropped.value;
  return (
    <section class="card" aria-labelledby="logs">
      <header class="card-head">
        <h2 id="logs">{t.job.logs}</h2>
        <input
          class="input compact log-search"
          type="search"
          aria-label={t.job.searchLogsLabel}
          placeholder={t.job.searchLogs}
          value={wanted.value}
          onInput={(event) => {
            wanted.value = event.currentTarget.value;
          }}
        />
        <label class="switch">
          <input
            type="checkbox"
            role="switch"
            checked={follow.value}
            aria-checked={follow.value}
            onChange={(event) => {
              follow.value = event.currentTarget.checked;
            }}
          />
          {t.job.follow}
        </label>
      </header>
      <div
        ref={box}
        class="log mono"
        role="log"
        aria-label={t.job.logs}
        aria-live="off"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        tabIndex={0}
        onScroll={onScroll}
      >
        {dropped > 0 && <p class="muted">{t.job.logDropped(dropped)}</p>}
        {lines.length === 0 && <p class="muted">{t.job.noLogs}</p>}
        <ol>
          {lines.map((line, index) => (
            <LogRow key={line.sequence ?? `${line.at}/${index}`} line={line} />
          ))}
        </ol>
      </div>
    </section>
  );
}

const token = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|true|false|null/g;

/** The spec with its names, texts and numbers told apart; built as elements, never as HTML text. */
function coloured(text: string) {
  const out = [];
  let last = 0;
  for (const match of text.matchAll(token)) {
    const [whole, quoted, colon] = match;
    out.push(text.slice(last, match.index));
    const kind = quoted ? (colon ? 'name' : 'text') : 'number';
    out.push(
      <span key={match.index} class={`json-${kind}`}>
        {quoted ?? whole}
      </span>,
      colon ?? '',
    );
    last = match.index + whole.length;
  }
  out.push(text.slice(last));
  return out;
}

export function SpecCard({ spec }: { spec: Spec }) {
  const text = formatSpec(spec);
  return (
    <details class="card spec">
      <summary class="card-head">
        <h2>{t.job.spec}</h2>
      </summary>
      <div class="spec-copy">
        <CopyButton text={text} label={t.job.copySpec} />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
      <pre class="mono" tabIndex={0}>
        {coloured(text)}
      </pre>
    </details>
  );
}
