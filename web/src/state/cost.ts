// What a job has cost so far. Money is whole base units; nothing goes through a float.
import type { JobDetail } from '../api/types';

const hourMs = 3_600_000n;
const unitsPerToken = 1_000_000_000n;

function units(amount: string | null | undefined): bigint | null {
  const found = /^(\d+)(?:\.(\d{1,9}))? \w+$/.exec(amount ?? '');
  if (!found) return null;
  return BigInt(found[1] ?? '0') * unitsPerToken + BigInt((found[2] ?? '').padEnd(9, '0') || '0');
}

/**
 * While it runs: the device time of the assignments before and of this one at the price of the node, never more than the
 * budget. Null when nobody can say, or when the job does not run.
 */
export function costSoFar(
  job: Pick<JobDetail, 'state' | 'device_ms' | 'price_per_hour' | 'budget' | 'transitions'>,
  nowMs: number,
): string | null {
  if (job.state !== 'running') return null;
  const price = units(job.price_per_hour);
  const since = [...(job.transitions ?? [])].reverse().find((change) => change.to === 'running');
  if (price === null || !since) return null;
  const ms = Math.max(0, Math.floor(nowMs - Date.parse(since.at))) + (job.device_ms ?? 0);
  const cost = (price * BigInt(ms)) / hourMs;
  const budget = units(job.budget);
  const shown = budget !== null && cost > budget ? budget : cost;
  const unit = job.price_per_hour?.split(' ')[1] ?? '';
  return `${shown / unitsPerToken}.${String(shown % unitsPerToken).padStart(9, '0')} ${unit}`;
}
