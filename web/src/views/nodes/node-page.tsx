// One node: what it is, what it does, how its jobs fared and what its reputation is made of.
import { useEffect, useMemo } from 'preact/hooks';
import type { Device, Node } from '../../api/types';
import { runningOn } from '../../state/lists';
import { NodeWatch } from '../../state/node-watch';
import { t } from '../../strings/en';
import {
  formatAgo,
  formatAmount,
  formatBytes,
  formatDateTime,
  formatFlops,
  formatInteger,
  formatPercent,
  shortId,
} from '../format';
import { Page } from '../page';
import { Icon } from '../ui/icons';
import { Link } from '../ui/link';
import { useNow } from '../ui/now';
import { CopyButton, Empty, Loading, Meter, ProblemNote } from '../ui/parts';
import { Machine } from './machine';

export function nodeState(node: Node): { badge: string; text: string } {
  if (node.status === 'online' && runningOn(node) > 0) return { badge: 'running', text: t.nodes.busy };
  const state = node.status === 'draining' ? (node.closed ?? node.status) : node.status;
  return {
    badge: state === 'unproven' ? 'failed' : node.status,
    text: t.nodes.status[state] ?? state,
  };
}

function DeviceRow({ device }: { device: Device }) {
  const { proof } = device;
  const facts: [string, string][] = [
    [t.nodes.facts.memory, device.memory_bytes ? formatBytes(device.memory_bytes) : '–'],
    [t.nodes.facts.proved, proof?.state === 'proved' ? `${formatFlops(proof.flops_per_second)}/s` : '–'],
    [
      t.nodes.facts.products,
      proof?.products_flops_per_second ? `${formatFlops(proof.products_flops_per_second)}/s` : '–',
    ],
    [
      t.nodes.facts.convolutions,
      proof?.convolutions_flops_per_second ? `${formatFlops(proof.convolutions_flops_per_second)}/s` : '–',
    ],
    [
      t.nodes.facts.bandwidth,
      proof?.bandwidth_bytes_per_second ? `${formatBytes(proof.bandwidth_bytes_per_second)}/s` : '–',
    ],
  ];
  return (
    <section class="device-block" aria-label={device.name}>
      <h3>
        <span class="tag mono">{device.backend}</span> {device.name}
      </h3>
      {proof?.state === 'refuted' && <p class="warn">{proof.message ?? t.nodes.refuted}</p>}
      <dl class="facts">
        {facts.map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd class="num">{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Reputation({ node }: { node: Node }) {
  const { record } = node;
  const words = t.nodes.reputation;
  return (
    <section class="card" aria-labelledby="reputation">
      <header class="card-head">
        <h2 id="reputation">{words.title}</h2>
      </header>
      <div class="card-body reputation">
        {!record && <p class="muted">{words.none}</p>}
        {record && (
          <>
            <strong class="num reputation-value">{formatPercent(record.reputation, 1)}</strong>
            <Meter part={record.reputation} label={words.title} tone="completed" />
            <p class="muted">{words.made(record.good.toFixed(1), record.bad.toFixed(1))}</p>
            <dl class="facts">
              {Object.entries(record.outcomes ?? {}).map(([outcome, count]) => (
                <div key={outcome}>
                  <dt>{t.job.causes[outcome] ?? outcome}</dt>
                  <dd class="num">{formatInteger(count)}</dd>
                </div>
              ))}
            </dl>
          </>
        )}
      </div>
    </section>
  );
}

function Jobs({ node }: { node: Node }) {
  const ids = node.record?.jobs ?? (Array.isArray(node.running_jobs) ? (node.running_jobs as string[]) : []);
  if (ids.length === 0) return null;
  return (
    <section class="card" aria-labelledby="node-jobs">
      <header class="card-head">
        <h2 id="node-jobs">{t.nodes.jobs}</h2>
      </header>
      <ul class="card-body id-list mono">
        {ids.map((id) => (
          <li key={id}>
            <Link to={`/jobs/${id}`}>{shortId(id)}</Link>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Events({ node, now }: { node: Node; now: number }) {
  const events = node.events ?? [];
  if (events.length === 0) return null;
  return (
    <section class="card" aria-labelledby="node-events">
      <header class="card-head">
        <h2 id="node-events">{t.nodes.events}</h2>
      </header>
      <ol class="timeline">
        {events.map((event) => (
          <li key={`${event.at}/${event.kind}`} class={event.kind === 'online' ? 'completed' : 'queued'}>
            <div>
              <strong>{t.nodes.eventKinds[event.kind] ?? event.kind}</strong>
              <time class="num muted" dateTime={event.at} title={formatDateTime(event.at)}>
                {formatAgo(event.at, now)}
              </time>
            </div>
            <small class="muted">{event.reason}</small>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Facts({ node, now }: { node: Node; now: number }) {
  const words = t.nodes.facts;
  const sandbox = node.system?.sandbox;
  const rows: [string, string | null][] = [
    [t.nodes.price, formatAmount(node.price_per_hour)],
    [
      words.uptime,
      typeof node.uptime?.part === 'number'
        ? words.uptimeOf(formatPercent(node.uptime.part, 2), node.uptime.days)
        : null,
    ],
    [words.heartbeat, formatAgo(node.last_heartbeat_at, now)],
    [words.enrolled, formatDateTime(node.enrolled_at)],
    [words.version, node.version],
    [words.cores, node.cpus === null ? null : String(node.cpus)],
    [words.region, node.region],
    [words.labels, node.labels?.length ? node.labels.join(', ') : null],
    [
      words.sandbox,
      sandbox ? [sandbox.walls, sandbox.system_calls, sandbox.limits].filter(Boolean).join(', ') : null,
    ],
  ];
  return (
    <section class="card" aria-labelledby="node-facts">
      <header class="card-head">
        <h2 id="node-facts">{t.job.details}</h2>
      </header>
      <dl class="facts card-body">
        {rows
          .filter((row): row is [string, string] => row[1] !== null && row[1] !== undefined)
          .map(([label, value]) => (
            <div key={label}>
              <dt>{label}</dt>
              <dd class="num">{value}</dd>
            </div>
          ))}
      </dl>
    </section>
  );
}

function Loaded({ node, watch }: { node: Node; watch: NodeWatch }) {
  const now = useNow();
  const state = nodeState(node);
  const warnings = [node.unproven?.message, node.outdated, node.silent?.message, node.drain?.reason].filter(
    Boolean,
  );
  return (
    <Page
      title={node.name}
      head={
        <header class="page-head job-head">
          <div>
            <nav class="crumbs" aria-label={t.job.crumbs}>
              <Link to="/nodes">{t.nodes.title}</Link>
              <Icon name="chevron" size={14} />
              <span class="mono">{shortId(node.id)}</span>
              <CopyButton text={node.id} label={t.nodes.copyId} />
            </nav>
            <div class="job-title">
              <h1 tabIndex={-1}>{node.name}</h1>
              <span class={`badge ${state.badge}`}>{state.text}</span>
            </div>
          </div>
        </header>
      }
    >
      {warnings.length > 0 && (
        <div class="banner queued" role="status">
          <Icon name="alert" />
          <div>
            {warnings.map((warning) => (
              <p key={warning}>{warning}</p>
            ))}
          </div>
        </div>
      )}
      <div class="job-grid">
        <div class="job-main">
          <section class="card" aria-labelledby="node-machine">
            <header class="card-head">
              <h2 id="node-machine">{t.nodes.machine.title}</h2>
              <small class="muted">{t.nodes.machine.since}</small>
            </header>
            <Machine watch={watch} />
          </section>
          <section class="card" aria-labelledby="node-devices">
            <header class="card-head">
              <h2 id="node-devices">{t.nodes.device}</h2>
            </header>
            <div class="card-body device-blocks">
              {node.devices.map((device) => (
                <DeviceRow key={`${device.backend}/${device.index}`} device={device} />
              ))}
            </div>
          </section>
          <Events node={node} now={now} />
        </div>
        <div class="job-side">
          <Reputation node={node} />
          <Jobs node={node} />
          <Facts node={node} now={now} />
        </div>
      </div>
    </Page>
  );
}

export function NodePage({ id }: { id: string }) {
  const watch = useMemo(() => new NodeWatch(id), [id]);
  useEffect(() => watch.start(), [watch]);
  const { data, problem } = watch.node.state.value;
  if (data) return <Loaded node={data} watch={watch} />;
  if (problem && [400, 404, 422].includes(problem.status)) {
    return (
      <Page title={t.nodes.missingTitle} head={<h1 class="hidden-text">{t.nodes.missingTitle}</h1>}>
        <div class="card">
          <Empty icon="search" title={t.nodes.missingTitle} text={t.nodes.missingText}>
            <Link to="/nodes" class="button primary">
              {t.nodes.title}
            </Link>
          </Empty>
        </div>
      </Page>
    );
  }
  return (
    <Page title={t.nodes.title}>
      {problem ? (
        <ProblemNote problem={problem} onRetry={() => void watch.node.load()} />
      ) : (
        <div class="card">
          <Loading rows={8} />
        </div>
      )}
    </Page>
  );
}
