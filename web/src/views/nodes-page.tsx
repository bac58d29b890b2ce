import { useEffect } from 'preact/hooks';
import type { Device, Node } from '../api/types';
import { nodes, runningOn } from '../state/lists';
import { poll } from '../state/resource';
import { t } from '../strings/en';
import {
  formatAgo,
  formatAmount,
  formatBytes,
  formatDateTime,
  formatFlops,
  formatPercent,
  formatRate,
  shortId,
} from './format';
import { Page } from './page';
import { Icon } from './ui/icons';
import { useNow } from './ui/now';
import { Empty, Loading, Meter, ProblemNote } from './ui/parts';

const refreshMs = 2_000;

function DeviceLine({ device }: { device: Device }) {
  const parts = [
    device.memory_bytes ? formatBytes(device.memory_bytes) : '',
    device.threads ? t.nodes.threads(device.threads) : '',
    device.is_software ? t.nodes.software : '',
    device.proof?.state === 'proved' ? t.nodes.flops(`${formatFlops(device.proof.flops_per_second)}/s`) : '',
    device.proof?.state === 'refuted' ? t.nodes.refuted : '',
  ].filter(Boolean);
  return (
    <li>
      <span class="tag mono">{device.backend}</span>
      <span class="device-name">{device.name}</span>
      <small class="muted num">{parts.join(' · ')}</small>
    </li>
  );
}

function Gauge({ label, part, text }: { label: string; part: number | null; text: string }) {
  return (
    <div class="gauge">
      <span class="muted">{label}</span>
      <strong class="num">{text}</strong>
      <Meter part={part ?? 0} label={label} tone="plain" />
    </div>
  );
}

function NodeCard({ node, now }: { node: Node; now: number }) {
  const online = node.status === 'online';
  const busy = online && runningOn(node) > 0;
  const unproven = node.closed === 'unproven' ? node.unproven?.message : undefined;
  const state = node.status === 'draining' ? (node.closed ?? node.status) : node.status;
  const memoryPart =
    node.memory_used_bytes !== null && node.host_memory_bytes
      ? node.memory_used_bytes / node.host_memory_bytes
      : null;
  const cpuPart = node.cpu_percent === null ? null : node.cpu_percent / 100;
  return (
    <article class={`card node ${online ? '' : 'away'}`} aria-label={node.name}>
      <header>
        <div>
          <h2>{node.name}</h2>
          <small class="mono muted" title={node.id}>
            {shortId(node.id)}
          </small>
          {unproven && <p class="warn">{unproven}</p>}
          {node.outdated && !unproven?.includes(node.outdated) && <p class="warn">{node.outdated}</p>}
        </div>
        <span class={`badge ${busy ? 'running' : state === 'unproven' ? 'failed' : node.status}`}>
          {busy ? t.nodes.busy : t.nodes.status[state]}
        </span>
      </header>
      <ul class="devices" aria-label={t.nodes.device}>
        {node.devices.map((device) => (
          <DeviceLine key={device.index} device={device} />
        ))}
      </ul>
      <div class="gauges">
        <Gauge
          label={t.nodes.cpu}
          part={online ? cpuPart : 0}
          text={online ? formatPercent(cpuPart, 0) : '–'}
        />
        <Gauge
          label={t.nodes.memory}
          part={online ? memoryPart : 0}
          text={online ? formatBytes(node.memory_used_bytes) : '–'}
        />
        <div class="gauge">
          <span class="muted">{t.nodes.speed}</span>
          <strong class="num">{busy ? formatRate(node.images_per_second) : '–'}</strong>
        </div>
        <div class="gauge">
          <span class="muted">{t.nodes.price}</span>
          <strong class="num">{formatAmount(node.price_per_hour)}</strong>
        </div>
      </div>
      <footer class="muted">
        <span title={formatDateTime(node.last_heartbeat_at)}>
          {t.nodes.heartbeat(formatAgo(node.last_heartbeat_at, now))}
        </span>
        {node.cpus !== null && <span>{t.nodes.cores(node.cpus)}</span>}
        {node.version && <span>{t.nodes.version(node.version)}</span>}
      </footer>
    </article>
  );
}

export function NodesPage() {
  const now = useNow();
  useEffect(() => poll(() => nodes.load(), refreshMs), []);
  const { data, problem } = nodes.state.value;
  const online = data?.filter((node) => node.status === 'online').length ?? 0;
  return (
    <Page
      title={t.nodes.title}
      lead={t.nodes.lead}
      actions={
        data && data.length > 0 ? (
          <span class="summary">
            <Icon name="nodes" size={16} /> {t.nodes.summary(online, data.length)}
          </span>
        ) : null
      }
    >
      {problem && <ProblemNote problem={problem} stale={data !== null} onRetry={() => void nodes.load()} />}
      {!data && !problem && (
        <div class="card">
          <Loading />
        </div>
      )}
      {data?.length === 0 && (
        <div class="card">
          <Empty icon="nodes" title={t.nodes.emptyTitle} text={t.nodes.emptyText} />
        </div>
      )}
      {data && data.length > 0 && (
        <div class="node-grid">
          {data.map((node) => (
            <NodeCard key={node.id} node={node} now={now} />
          ))}
        </div>
      )}
    </Page>
  );
}
