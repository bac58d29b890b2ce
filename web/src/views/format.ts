// Numbers, amounts and times as people read them. Pure; the locale is the strings' own.
import { locale } from '../strings/en';

const dash = '–';

const integers = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const countUnits = ['', 'k', 'M', 'B', 'T'];

export function formatInteger(value: number | null | undefined): string {
  return isNumber(value) ? integers.format(value) : dash;
}

/** 413,546 stays; 12,345,678 becomes 12.3M. */
export function formatCount(value: number | null | undefined): string {
  if (!isNumber(value)) return dash;
  return Math.abs(value) < 1_000_000
    ? integers.format(value)
    : scaled(value, 1000, countUnits).replace(' ', '');
}

export function formatPercent(part: number | null | undefined, digits = 1): string {
  if (!isNumber(part)) return dash;
  return `${(part * 100).toFixed(digits)} %`;
}

/** Four significant digits: 2.303, 0.2981, 1.2e-5. */
export function formatLoss(value: number | null | undefined): string {
  if (!isNumber(value)) return dash;
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 0.001 || size >= 100_000) return value.toExponential(2).replace('e+', 'e');
  return value.toPrecision(4);
}

export function formatRate(value: number | null | undefined): string {
  if (!isNumber(value)) return dash;
  return integers.format(Math.round(value));
}

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
export function formatBytes(value: number | null | undefined): string {
  if (!isNumber(value)) return dash;
  return scaled(value, 1024, byteUnits);
}

const flopUnits = ['FLOP', 'kFLOP', 'MFLOP', 'GFLOP', 'TFLOP', 'PFLOP', 'EFLOP'];
export function formatFlops(value: number | null | undefined): string {
  if (!isNumber(value)) return dash;
  return scaled(value, 1000, flopUnits);
}

function scaled(value: number, base: number, units: string[]): string {
  let size = value;
  let unit = 0;
  while (Math.abs(size) >= base && unit < units.length - 1) {
    size /= base;
    unit += 1;
  }
  const text = unit === 0 || size >= 100 ? integers.format(size) : size.toPrecision(3).replace(/\.?0+$/, '');
  return `${text} ${units[unit]}`;
}

/** 840 ms, 4.2 s, 42 s, 3 min 05 s, 2 h 07 min, 3 d 4 h. */
export function formatDuration(ms: number | null | undefined): string {
  if (!isNumber(ms) || ms < 0) return dash;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto', style: 'long' });
const steps: [Intl.RelativeTimeFormatUnit, number][] = [
  ['second', 60],
  ['minute', 60],
  ['hour', 24],
  ['day', 30],
  ['month', 12],
  ['year', Number.POSITIVE_INFINITY],
];

/** "5 minutes ago"; what is less than ten seconds away is "now". */
export function formatAgo(iso: string | null | undefined, nowMs: number): string {
  const at = iso ? Date.parse(iso) : Number.NaN;
  if (!Number.isFinite(at)) return dash;
  let size = (at - nowMs) / 1000;
  if (Math.abs(size) < 10) return relative.format(0, 'second');
  for (const [unit, count] of steps) {
    if (Math.abs(size) < count) return relative.format(Math.trunc(size), unit);
    size /= count;
  }
  return dash;
}

const clock = new Intl.DateTimeFormat(locale, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hour12: false,
});
const dateAndClock = new Intl.DateTimeFormat(locale, {
  year: 'numeric',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hour12: false,
});

export function formatClock(iso: string | null | undefined): string {
  const at = iso ? Date.parse(iso) : Number.NaN;
  return Number.isFinite(at) ? clock.format(at) : dash;
}

export function formatDateTime(iso: string | null | undefined): string {
  const at = iso ? Date.parse(iso) : Number.NaN;
  return Number.isFinite(at) ? dateAndClock.format(at) : dash;
}

export interface Amount {
  whole: string;
  fraction: string;
  unit: string;
}

/** "1234.5 CYX" -> 1,234 .50 CYX, without ever going through a float. */
export function splitAmount(amount: string | null | undefined): Amount | null {
  const match = /^(-?)(\d+)(?:\.(\d+))? ?(\w+)$/.exec(amount ?? '');
  if (!match) return null;
  const [, sign = '', whole = '0', fraction = '', unit = ''] = match;
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ',');
  const trimmed = fraction.replace(/0+$/, '');
  return { whole: (sign ? '−' : '') + grouped, fraction: trimmed.padEnd(2, '0'), unit };
}

export function formatAmount(amount: string | null | undefined): string {
  const parts = splitAmount(amount);
  return parts ? `${parts.whole}.${parts.fraction} ${parts.unit}` : dash;
}

const shownUnits = 100_000n; // four decimals of 10^9 base units

/** The steps along an axis, all in full or all in thousands. */
export function formatSteps(steps: number[]): string[] {
  const inThousands = steps.some((step) => step >= 10_000);
  return steps.map((step) =>
    inThousands && step > 0 ? `${Number((step / 1000).toPrecision(4))}k` : formatInteger(step),
  );
}

/** As formatAmount, but rounded to four decimals where the exact sum only distracts. */
export function formatAmountShort(amount: string | null | undefined): string {
  const units = baseUnits(amount);
  const unit = splitAmount(amount)?.unit;
  if (units === null || unit === undefined) return dash;
  const size = units < 0n ? -units : units;
  if (size > 0n && size < shownUnits) return `${units < 0n ? '−' : ''}<0.0001 ${unit}`;
  const rounded = ((size + shownUnits / 2n) / shownUnits) * shownUnits;
  const text = `${rounded / 1_000_000_000n}.${String(rounded % 1_000_000_000n).padStart(9, '0')} ${unit}`;
  return (units < 0n ? '−' : '') + formatAmount(text);
}

/** Base units of an amount (1 CYX = 10^9), to compare and add exactly. */
export function baseUnits(amount: string | null | undefined): bigint | null {
  const match = /^(-?)(\d+)(?:\.(\d{1,9}))? ?\w*$/.exec(amount ?? '');
  if (!match) return null;
  const [, sign, whole = '0', fraction = ''] = match;
  const size = BigInt(whole) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
  return sign ? -size : size;
}

/** UUIDv7s of one minute share their head; the tail tells them apart. */
export function shortId(id: string): string {
  return id.length > 12 ? id.slice(-8) : id;
}

export function shortHash(hash: string): string {
  return hash.length > 16 ? `${hash.slice(0, 8)}…${hash.slice(-6)}` : hash;
}

function isNumber(value: number | null | undefined): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}
