// What a node's machine does now and did in the last minutes, for the page of a job that runs there and the node's own.
import type { Node } from '../../api/types';
import type { NodeWatch, Sample } from '../../state/node-watch';
import { t } from '../../strings/en';
import { formatBytes, formatPercent } from '../format';
import { Sparkline } from '../ui/sparkline';

interface Row {
  label: string;
  text: string;
  values?: (number | null)[];
  most?: number;
}

function rowsOf(node: Node, samples: readonly Sample[]): Row[] {
  const { system } = node;
  const rows: Row[] = [];
  const words = t.nodes.machine;
  if (node.cpu_percent !== null)
    rows.push({
      label: t.nodes.cpu,
      text: formatPercent(node.cpu_percent / 100, 0),
      values: samples.map((sample) => sample.cpu),
    });
  if (node.memory_used_bytes !== null)
    rows.push({
      label: t.nodes.memory,
      text: `${formatBytes(node.memory_used_bytes)} / ${formatBytes(node.host_memory_bytes)}`,
      values: samples.map((sample) => sample.memory),
    });
  for (const [index, gpu] of (system?.gpus ?? []).entries()) {
    const parts = [
      gpu.busy_percent === undefined ? '' : formatPercent(gpu.busy_percent / 100, 0),
      gpu.memory_used_bytes === undefined
        ? ''
        : `${formatBytes(gpu.memory_used_bytes)} / ${formatBytes(gpu.memory_total_bytes)}`,
      gpu.temperature_celsius === undefined ? '' : words.celsius(gpu.temperature_celsius),
      gpu.power_watts === undefined ? '' : words.watts(gpu.power_watts),
    ].filter(Boolean);
    rows.push({
      label: gpu.name ?? words.gpu(index),
      text: parts.join(' · ') || '–',
      ...(index === 0 ? { values: samples.map((sample) => sample.gpu) } : {}),
    });
  }
  if (system?.load_average !== undefined)
    rows.push({ label: words.load, text: system.load_average.toFixed(2) });
  if (system?.network_receive_bytes_per_second !== undefined)
    rows.push({
      label: words.network,
      text: words.inOut(
        formatBytes(system.network_receive_bytes_per_second),
        formatBytes(system.network_send_bytes_per_second),
      ),
    });
  if (system?.disk_free_bytes !== undefined)
    rows.push({ label: words.disk, text: words.free(formatBytes(system.disk_free_bytes)) });
  if (system?.power_watts !== undefined)
    rows.push({ label: words.power, text: words.watts(system.power_watts) });
  return rows;
}

export function Machine({ watch }: { watch: NodeWatch }) {
  const node = watch.node.state.value.data;
  if (!node) return null;
  const samples = watch.samples.value;
  return (
    <dl class="machine">
      {rowsOf(node, samples).map((row) => (
        <div key={row.label}>
          <dt>{row.label}</dt>
          <dd class="num">{row.text}</dd>
          {row.values && row.values.length > 1 && <Sparkline values={row.values} most={row.most ?? 1} />}
        </div>
      ))}
    </dl>
  );
}
