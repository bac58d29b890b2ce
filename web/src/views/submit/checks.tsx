// What stands beside the editor: whether the spec is right, what it would take, and the button.
import { useEffect } from 'preact/hooks';
import type { Dataset, Validation } from '../../api/types';
import { balance, datasets, nodes, runningOn } from '../../state/lists';
import { poll } from '../../state/resource';
import {
  check,
  type DraftFacts,
  type Fault,
  facts,
  quote,
  recheck,
  sending,
  sendProblem,
} from '../../state/submit';
import { t } from '../../strings/en';
import {
  baseUnits,
  formatAmount,
  formatAmountShort,
  formatBytes,
  formatCount,
  formatDuration,
  formatFlops,
  formatInteger,
} from '../format';
import { Icon } from '../ui/icons';
import { ProblemNote, Skeleton } from '../ui/parts';
import { faultSentence } from './words';

const nodesEveryMs = 5_000;
const hourMs = 3_600_000;
const usualBudget = '10 CYX';

interface Estimate {
  images: number;
  steps: number;
  flops: number;
}

export function estimate(
  validation: Validation,
  spec: DraftFacts,
  dataset: Dataset | undefined,
): Estimate | null {
  if (!dataset || !spec.epochs || !spec.batchSize) return null;
  const each = Math.round(dataset.n_train * (1 - spec.validationPart));
  const images = each * spec.epochs;
  return {
    images,
    steps: Math.ceil(each / spec.batchSize) * spec.epochs,
    flops: images * validation.training_flops_per_sample,
  };
}

function Verdict({ onGo }: { onGo(fault: Fault): void }) {
  const now = check.value;
  if (now.kind === 'empty') return <p class="verdict muted">{t.submit.empty}</p>;
  if (now.kind === 'unreachable') return <ProblemNote problem={now.problem} onRetry={recheck} />;
  if (now.kind === 'faulty') {
    return (
      <div class="banner failed fault" role="alert">
        <Icon name="alert" />
        <div>
          <strong>{t.submit.faulty}</strong>
          <p>{faultSentence(now.fault)}</p>
          <small>
            <span class="num">{t.submit.place(now.fault.line, now.fault.column)}</span>
            {now.fault.pointer && <span class="mono pointer">{now.fault.pointer}</span>}
          </small>
        </div>
        <button type="button" class="button small" onClick={() => onGo(now.fault)}>
          {t.submit.go}
        </button>
      </div>
    );
  }
  const ready = now.kind === 'valid';
  return (
    <p class={`verdict ${ready ? 'ready' : ''}`} role="status">
      {ready && <Icon name="check" size={16} />}
      {ready ? t.submit.valid : t.submit.checking}
    </p>
  );
}

function Fact({
  label,
  value,
  note,
  tone,
}: {
  label: string;
  value: string;
  note?: string | null;
  tone?: string;
}) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>
        <strong class="num">{value}</strong>
        {note && <small class={`num ${tone ?? 'muted'}`}>{note}</small>}
      </dd>
    </div>
  );
}

function nodesLine(): string {
  const online = (nodes.state.value.data ?? []).filter((node) => node.status === 'online');
  const free = online.filter((node) => runningOn(node) === 0).length;
  if (online.length === 0) return t.submit.nodesNone;
  return free > 0 ? t.submit.nodesFree(free, online.length) : t.submit.nodesBusy(online.length);
}

/** How long the budget lasts on the cheapest node that is online. */
function lasting(budget: string): string | null {
  const prices = (nodes.state.value.data ?? [])
    .filter((node) => node.status === 'online')
    .map((node) => ({ text: node.price_per_hour, units: baseUnits(node.price_per_hour) ?? 0n }))
    .filter((price) => price.units > 0n)
    .sort((a, b) => (a.units < b.units ? -1 : 1));
  const cheapest = prices[0];
  const units = baseUnits(budget);
  if (!cheapest || units === null) return null;
  const ms = Number((units * BigInt(hourMs)) / cheapest.units);
  return t.submit.lasts(formatDuration(ms), formatAmount(cheapest.text));
}

function CostFact({ spec }: { spec: DraftFacts }) {
  const budget = spec.budget ?? usualBudget;
  const available = balance.state.value.data?.available ?? null;
  const units = baseUnits(budget);
  const have = baseUnits(available);
  const short = units !== null && have !== null && have < units;
  return (
    <Fact
      label={t.submit.cost}
      value={t.submit.holds(formatAmount(budget))}
      note={
        short && available
          ? t.submit.tooLittle(formatAmount(available))
          : [lasting(budget), t.submit.holdsDetail].filter(Boolean).join(' ')
      }
      {...(short ? { tone: 'warn' } : {})}
    />
  );
}

/** Two ends of a range, or one when they look the same. */
function range(low: string, high: string): string {
  return low === high ? low : `${low} – ${high}`;
}

function QuoteFacts() {
  const made = quote.value;
  if (!made) return null;
  const { run_seconds: run, price, start_in_seconds: start, nodes: fleet } = made;
  return (
    <>
      <Fact
        label={t.submit.runTime}
        value={
          run
            ? range(formatDuration(run.low * 1000), formatDuration(run.high * 1000))
            : t.submit.runTimeUnknown
        }
        note={run ? t.submit.knownBy(fleet.measured, fleet.benchmarked, fleet.fit) : null}
      />
      {price && (
        <Fact
          label={t.submit.price}
          value={range(formatAmountShort(price.low), formatAmountShort(price.high))}
          note={made.within_budget ? null : t.submit.overBudget(formatAmount(made.budget))}
          tone="warn"
        />
      )}
      <Fact
        label={t.submit.start}
        value={
          start === 0
            ? t.submit.startNow
            : start === null
              ? t.submit.startUnknown
              : t.submit.startIn(formatDuration(start * 1000))
        }
        note={made.pending ? `${made.pending.message}. ${t.job.helps(made.pending.remedy)}` : null}
      />
    </>
  );
}

function Preview({ validation, spec }: { validation: Validation; spec: DraftFacts }) {
  const dataset = datasets.state.value.data?.find((each) => each.name === spec.dataset);
  const guess = estimate(validation, spec, dataset);
  return (
    <dl class="preview">
      <Fact label={t.submit.parameters} value={formatCount(validation.parameters)} />
      <Fact label={t.submit.memory} value={formatBytes(validation.training_bytes)} />
      {guess && (
        <>
          <Fact
            label={t.submit.work}
            value={formatFlops(guess.flops)}
            note={t.submit.workDetail(
              formatFlops(validation.training_flops_per_sample),
              formatInteger(guess.images),
            )}
          />
          <Fact
            label={t.submit.steps}
            value={formatInteger(guess.steps)}
            note={t.submit.stepsDetail(spec.epochs ?? 0, spec.batchSize ?? 0)}
          />
        </>
      )}
      <QuoteFacts />
      <CostFact spec={spec} />
      <Fact
        label={t.submit.nodes}
        value={nodesLine()}
        note={dataset && !dataset.available ? t.submit.datasetMissing(dataset.title) : null}
        tone="warn"
      />
    </dl>
  );
}

function Shapes({ validation }: { validation: Validation }) {
  const columns = t.submit.columns;
  return (
    <details class="shapes" open>
      <summary>{t.submit.table}</summary>
      <table class="table dense num">
        <thead>
          <tr>
            <th scope="col">{columns.layer}</th>
            <th scope="col" class="right">
              {columns.shape}
            </th>
            <th scope="col" class="right">
              {columns.parameters}
            </th>
          </tr>
        </thead>
        <tbody>
          {validation.layers.map((layer) => (
            <tr key={layer.name}>
              <td>
                {layer.type} {layer.name !== layer.type && <small class="muted mono">{layer.name}</small>}
              </td>
              <td class="right mono">{layer.output_shape.join(' × ')}</td>
              <td class="right">{layer.parameters > 0 ? formatInteger(layer.parameters) : '–'}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

export function Checks({ onGo, onSend }: { onGo(fault: Fault): void; onSend(): void }) {
  useEffect(() => poll(() => nodes.load(), nodesEveryMs), []);
  useEffect(() => {
    if (!datasets.state.peek().data) void datasets.load();
  }, []);
  const now = check.value;
  const validation = now.kind === 'valid' ? now.validation : now.kind === 'checking' ? now.last : null;
  const spec = facts.value;
  return (
    <section class="card checks" aria-labelledby="checks">
      <header class="card-head">
        <h2 id="checks">{t.submit.checks}</h2>
      </header>
      <div class="card-body">
        <Verdict onGo={onGo} />
        {sendProblem.value && <ProblemNote problem={sendProblem.value} onRetry={onSend} />}
        {validation && spec && <Preview validation={validation} spec={spec} />}
        {now.kind === 'checking' && !validation && <Skeleton height="160px" />}
        <button
          type="button"
          class="button primary large send"
          disabled={sending.value || now.kind === 'empty'}
          onClick={onSend}
        >
          {sending.value ? t.submit.sending : t.submit.send}
        </button>
      </div>
      {validation && <Shapes validation={validation} />}
    </section>
  );
}
