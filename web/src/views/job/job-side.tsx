// What stands beside the curves: the history of states, money, the node and the settings, the model.
import { useEffect, useMemo } from 'preact/hooks';
import type { Escrow, JobDetail, Json, Placement, Transition } from '../../api/types';
import { nodes } from '../../state/lists';
import { NodeWatch } from '../../state/node-watch';
import { t } from '../../strings/en';
import {
  baseUnits,
  formatAmount,
  formatClock,
  formatCount,
  formatDateTime,
  formatDuration,
  formatFlops,
  shortId,
} from '../format';
import { Machine } from '../nodes/machine';
import { Link } from '../ui/link';

function nodeName(id: string | null | undefined): string {
  if (!id) return t.job.noNode;
  return nodes.state.value.data?.find((node) => node.id === id)?.name ?? shortId(id);
}

function lasted(transitions: Transition[], index: number): string | null {
  const next = transitions[index + 1];
  const here = transitions[index];
  return here && next ? formatDuration(Date.parse(next.at) - Date.parse(here.at)) : null;
}

export function HistoryCard({ job }: { job: JobDetail }) {
  const transitions = job.transitions ?? [];
  return (
    <section class="card" aria-labelledby="history">
      <header class="card-head">
        <h2 id="history">{t.job.history}</h2>
        {job.attempt !== null && job.attempt > 1 && <span class="tag">{t.job.attempt(job.attempt)}</span>}
      </header>
      <ol class="timeline">
        {transitions.map((change, index) => (
          <li key={`${change.at}/${change.to}`} class={change.to}>
            <div>
              <strong>{t.states[change.to]}</strong>
              <time class="num muted" dateTime={change.at} title={formatDateTime(change.at)}>
                {formatClock(change.at)}
              </time>
            </div>
            <small class="muted">
              {[
                t.job.causes[change.cause] ?? change.cause,
                change.node_id ? nodeName(change.node_id) : '',
                lasted(transitions, index) ?? '',
              ]
                .filter(Boolean)
                .join(' · ')}
            </small>
          </li>
        ))}
      </ol>
    </section>
  );
}

const escrowParts: (keyof Escrow & keyof typeof t.job.escrow)[] = [
  'held',
  'released',
  'node_share',
  'platform_fee',
  'refunded',
];

export function MoneyCard({ job }: { job: JobDetail }) {
  const escrow = job.escrow;
  return (
    <section class="card" aria-labelledby="money">
      <header class="card-head">
        <h2 id="money">{t.job.money}</h2>
        {escrow && <span class="tag">{t.job.escrowStates[escrow.state] ?? escrow.state}</span>}
      </header>
      <dl class="facts card-body">
        <div>
          <dt>{t.job.budget}</dt>
          <dd class="num">{formatAmount(job.budget)}</dd>
        </div>
        {escrow &&
          escrowParts
            .filter((part) => part === 'held' || (baseUnits(escrow[part]) ?? 0n) > 0n)
            .map((part) => (
              <div key={part}>
                <dt>{t.job.escrow[part]}</dt>
                <dd class="num">{formatAmount(escrow[part])}</dd>
              </div>
            ))}
      </dl>
      {!escrow && <p class="card-note muted">{t.job.escrowUnknown}</p>}
    </section>
  );
}

function specAt(spec: Json, ...path: string[]): string | null {
  let value: Json | undefined = spec;
  for (const key of path) {
    if (value === null || value === undefined || typeof value !== 'object' || Array.isArray(value))
      return null;
    value = value[key];
  }
  return typeof value === 'string' || typeof value === 'number' ? String(value) : null;
}

function optimizerText(spec: Json): string | null {
  const type = specAt(spec, 'optimizer', 'type');
  const lr = specAt(spec, 'optimizer', 'lr');
  return type && lr ? `${type}, lr ${lr}` : type;
}

function chosenBy(placement: Placement | null): string | null {
  if (!placement) return null;
  const names = t.job.scoreParts;
  const parts = (Object.keys(names) as (keyof typeof names)[])
    .map((part) => `${names[part]} ${placement[part].toFixed(2)}`)
    .join(', ');
  return t.job.chosenBy(placement.score.toFixed(2), parts);
}

export function DetailsCard({ job }: { job: JobDetail }) {
  useEffect(() => {
    if (!nodes.state.peek().data) void nodes.load();
  }, []);
  const rows: [string, string | null][] = [
    [t.job.node, nodeName(job.node_id)],
    [t.job.chosen, chosenBy(job.placement)],
    [t.job.device, job.result?.device ?? null],
    [t.job.backend, job.result?.backend ?? specAt(job.spec, 'resources', 'backend')],
    [t.job.dataset, specAt(job.spec, 'data', 'dataset')],
    [t.job.optimizer, optimizerText(job.spec)],
    [t.job.batch, specAt(job.spec, 'data', 'batch_size')],
    [t.job.parameters, job.parameters === null ? null : formatCount(job.parameters)],
    [t.job.flops, job.training_flops_per_sample === null ? null : formatFlops(job.training_flops_per_sample)],
    [t.job.seed, specAt(job.spec, 'seed')],
    [t.job.priority, job.priority],
    [t.job.array, job.array ? t.job.arrayPlace(job.array.index, job.array.count) : null],
    [t.job.deadline, job.deadline ? formatDateTime(job.deadline) : null],
    [t.job.submitted, formatDateTime(job.created_at)],
    [t.job.ended, job.ended_at ? formatDateTime(job.ended_at) : null],
  ];
  return (
    <section class="card" aria-labelledby="details">
      <header class="card-head">
        <h2 id="details">{t.job.details}</h2>
      </header>
      <dl class="facts card-body">
        {rows
          .filter((row): row is [string, string] => row[1] !== null)
          .map(([label, value]) => (
            <div key={label}>
              <dt>{label}</dt>
              <dd class="num">
                {label === t.job.node && job.node_id ? (
                  <Link to={`/nodes/${job.node_id}`}>{value}</Link>
                ) : (
                  value
                )}
              </dd>
            </div>
          ))}
      </dl>
    </section>
  );
}

/** The machine that trains, while it does. */
export function MachineCard({ id }: { id: string }) {
  const watch = useMemo(() => new NodeWatch(id), [id]);
  useEffect(() => watch.start(), [watch]);
  if (!watch.node.state.value.data) return null;
  return (
    <section class="card" aria-labelledby="machine">
      <header class="card-head">
        <h2 id="machine">{t.job.machine}</h2>
        <Link to={`/nodes/${id}`}>{watch.node.state.value.data.name}</Link>
      </header>
      <Machine watch={watch} />
    </section>
  );
}
