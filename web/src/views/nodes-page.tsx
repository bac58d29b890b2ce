import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Node } from '../api/types';
import { nodes, runningOn } from '../state/lists';
import { poll } from '../state/resource';
import { account } from '../state/session';
import { t } from '../strings/en';
import {
  formatAgo,
  formatAmount,
  formatBytes,
  formatDateTime,
  formatFlops,
  formatInteger,
  formatPercent,
  shortId,
} from './format';
import { Enrol } from './nodes/enrol';
import { nodeState } from './nodes/node-page';
import { Page } from './page';
import { Icon } from './ui/icons';
import { Link } from './ui/link';
import { useNow } from './ui/now';
import { Empty, Loading, Meter, ProblemNote } from './ui/parts';

const refreshMs = 2_000;

function part(used: number | null, whole: number | null): number | null {
  return used !== null && whole ? used / whole : null;
}

function Utilisation({ label, value }: { label: string; value: number | null }) {
  if (value === null) return <span class="muted">–</span>;
  return (
    <span class="progress-cell">
      <Meter part={value} label={label} tone="plain" />
      <small class="num">{formatPercent(value, 0)}</small>
    </span>
  );
}

function provedFlops(node: Node): number {
  return Math.max(0, ...node.devices.map((device) => device.proof?.flops_per_second ?? 0));
}

function NodeRow({ node, now }: { node: Node; now: number }) {
  const words = t.nodes;
  const online = node.status === 'online';
  const state = nodeState(node);
  const warning = node.unproven?.message ?? node.outdated ?? null;
  const flops = provedFlops(node);
  const backends = [...new Set(node.devices.map((device) => device.backend))];
  return (
    <tr class={online ? '' : 'away'}>
      <td class="cell-state">
        <span class={`badge ${state.badge}`}>{state.text}</span>
      </td>
      <td class="cell-name">
        <Link to={`/nodes/${node.id}`} class="row-link">
          {node.name}
        </Link>
        <small class="mono muted">{shortId(node.id)}</small>
        {warning && <small class="warn">{warning}</small>}
      </td>
      <td data-label={words.device}>
        {backends.map((backend) => (
          <span key={backend} class="tag mono">
            {backend}
          </span>
        ))}
        <small class="muted device-name" title={node.devices.map((device) => device.name).join(', ')}>
          {node.devices[0]?.name}
        </small>
      </td>
      <td class="right num" data-label={words.proved}>
        {flops > 0 ? `${formatFlops(flops)}/s` : '–'}
      </td>
      <td data-label={words.cpu} class="cell-meter">
        <Utilisation
          label={`${node.name}: ${words.cpu}`}
          value={online && node.cpu_percent !== null ? node.cpu_percent / 100 : null}
        />
      </td>
      <td data-label={words.memory} class="cell-meter" title={formatBytes(node.memory_used_bytes)}>
        <Utilisation
          label={`${node.name}: ${words.memory}`}
          value={online ? part(node.memory_used_bytes, node.host_memory_bytes) : null}
        />
      </td>
      <td class="right num" data-label={words.jobsRunning}>
        {formatInteger(runningOn(node))}
      </td>
      <td class="right num" data-label={words.price}>
        {formatAmount(node.price_per_hour)}
      </td>
      <td class="right wide" data-label={words.heartbeatShort} title={formatDateTime(node.last_heartbeat_at)}>
        {formatAgo(node.last_heartbeat_at, now)}
      </td>
    </tr>
  );
}

function NodeTable({ items }: { items: Node[] }) {
  const now = useNow();
  const words = t.nodes;
  return (
    <div class="table-wrap">
      <table class="table nodes-table">
        <thead>
          <tr>
            <th scope="col">{t.jobs.columns.state}</th>
            <th scope="col">{t.jobs.columns.name}</th>
            <th scope="col">{words.device}</th>
            <th scope="col" class="right">
              {words.proved}
            </th>
            <th scope="col">{words.cpu}</th>
            <th scope="col">{words.memory}</th>
            <th scope="col" class="right">
              {words.jobsRunning}
            </th>
            <th scope="col" class="right">
              {words.price}
            </th>
            <th scope="col" class="right wide">
              {words.heartbeatShort}
            </th>
          </tr>
        </thead>
        <tbody>
          {items.map((node) => (
            <NodeRow key={node.id} node={node} now={now} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function NodesPage() {
  const enrolling = useSignal(false);
  useEffect(() => poll(() => nodes.load(), refreshMs), []);
  const { data, problem } = nodes.state.value;
  const online = data?.filter((node) => node.status === 'online').length ?? 0;
  const mayEnrol = account.value?.role === 'operator' || account.value?.role === 'admin';
  return (
    <Page
      title={t.nodes.title}
      lead={t.nodes.lead}
      actions={
        <div class="actions">
          {data && data.length > 0 && (
            <span class="summary">
              <Icon name="nodes" size={16} /> {t.nodes.summary(online, data.length)}
            </span>
          )}
          {mayEnrol && (
            <button
              type="button"
              class="button"
              onClick={() => {
                enrolling.value = true;
              }}
            >
              <Icon name="plus" size={16} />
              {t.nodes.enrol.open}
            </button>
          )}
        </div>
      }
    >
      {problem && <ProblemNote problem={problem} stale={data !== null} onRetry={() => void nodes.load()} />}
      {(data || !problem) && (
        <div class="card">
          {!data && <Loading />}
          {data?.length === 0 && <Empty icon="nodes" title={t.nodes.emptyTitle} text={t.nodes.emptyText} />}
          {data && data.length > 0 && <NodeTable items={data} />}
        </div>
      )}
      {enrolling.value && (
        <Enrol
          onClose={() => {
            enrolling.value = false;
          }}
        />
      )}
    </Page>
  );
}
