// What one node's machine does, as its heartbeats tell: the newest and the last few minutes, kept while somebody looks.
import { signal } from '@preact/signals';
import * as api from '../api/client';
import type { Node } from '../api/types';
import { poll, resource } from './resource';

const everyMs = 2_500;
const samplesLimit = 120;

export interface Sample {
  at: number;
  cpu: number | null;
  memory: number | null;
  gpu: number | null;
  received: number | null;
}

const orNull = (value: number | null | undefined): number | null => value ?? null;

export function sampleOf(node: Node): Sample {
  const busy = (node.system?.gpus ?? []).flatMap((gpu) => gpu.busy_percent ?? []);
  return {
    at: Date.parse(node.last_heartbeat_at ?? '') || 0,
    cpu: typeof node.cpu_percent === 'number' ? node.cpu_percent / 100 : null,
    memory:
      node.memory_used_bytes !== null && node.host_memory_bytes
        ? node.memory_used_bytes / node.host_memory_bytes
        : null,
    gpu: busy.length > 0 ? Math.max(...busy) / 100 : null,
    received: orNull(node.system?.network_receive_bytes_per_second),
  };
}

export class NodeWatch {
  readonly node;
  readonly samples = signal<readonly Sample[]>([]);

  constructor(id: string) {
    this.node = resource<Node>(async (abort) => {
      const node = await api.getNode(id, abort);
      const sample = sampleOf(node);
      const have = this.samples.peek();
      if (sample.at > (have.at(-1)?.at ?? 0)) this.samples.value = [...have, sample].slice(-samplesLimit);
      return node;
    });
  }

  /** Returns the stop. */
  start(): () => void {
    const stop = poll(() => this.node.load(), everyMs);
    return () => {
      stop();
      this.node.forget();
    };
  }
}
