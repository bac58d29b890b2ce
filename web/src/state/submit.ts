// The submit page: the text, what is wrong with it and where, what it would cost, and the way to send it once.
import { batch, computed, effect, signal } from '@preact/signals';
import * as api from '../api/client';
import type { Problem } from '../api/http';
import type { Json, Quote, Validation } from '../api/types';
import {
  type LineColumn,
  lineColumn,
  offsetOf,
  type ParseError,
  parseJson,
  resolvePointer,
  type Span,
} from './json-source';
import { asProblem, onSignOut } from './session';

export interface Fault extends LineColumn {
  /** Broken JSON found here, or what the gateway said. */
  parse: ParseError | null;
  message: string | null;
  pointer: string | null;
  span: Span;
}

export type Check =
  | { kind: 'empty' }
  | { kind: 'checking'; last: Validation | null }
  | { kind: 'valid'; validation: Validation }
  | { kind: 'faulty'; fault: Fault }
  | { kind: 'unreachable'; problem: Problem };

const draftKey = 'cyxwiz.draft';
const checkDelayMs = 350;

export const draft = signal(rememberedDraft());
export const check = signal<Check>({ kind: 'empty' });
/** What the text that is valid would cost and when it would start; null while that is not known. */
export const quote = signal<Quote | null>(null);
export const sending = signal(false);
export const sendProblem = signal<Problem | null>(null);
export const fault = computed(() => (check.value.kind === 'faulty' ? check.value.fault : null));

/** The numbers of a spec that the cost preview shows, as far as the text holds them. */
export interface DraftFacts {
  name: string | null;
  dataset: string | null;
  epochs: number | null;
  batchSize: number | null;
  validationPart: number;
  budget: string | null;
  optimizer: string | null;
}

/** The draft as the form and the model editor read it; null while it is broken or no object. */
export const draftSpec = computed<{ [key: string]: Json } | null>(() => {
  try {
    const spec = JSON.parse(draft.value) as Json;
    return spec !== null && typeof spec === 'object' && !Array.isArray(spec) ? spec : null;
  } catch {
    return null;
  }
});

/** A copy with the value at `path` set; undefined takes the member out, and what it leaves empty. */
export function withAt(
  value: Json | undefined,
  path: readonly string[],
  next: Json | undefined,
): Json | undefined {
  const [key, ...rest] = path;
  if (key === undefined) return next;
  const whole = value !== null && typeof value === 'object' && !Array.isArray(value) ? { ...value } : {};
  const inner = withAt(whole[key], rest, next);
  const emptied = rest.length > 0 && next === undefined && inner && Object.keys(inner).length === 0;
  if (inner === undefined || emptied) delete whole[key];
  else whole[key] = inner;
  return whole;
}

export function setDraftAt(path: readonly string[], next: Json | undefined): void {
  setDraftFromSpec(withAt(draftSpec.peek() ?? {}, path, next) ?? {});
}

export const facts = computed<DraftFacts | null>(() => factsOf(draft.value));

export function factsOf(text: string): DraftFacts | null {
  let spec: Json;
  try {
    spec = JSON.parse(text) as Json;
  } catch {
    return null;
  }
  const at = (...path: string[]): Json | undefined => {
    let value: Json | undefined = spec;
    for (const key of path) {
      if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
      value = value[key];
    }
    return value;
  };
  const text_ = (value: Json | undefined) => (typeof value === 'string' ? value : null);
  const number = (value: Json | undefined) => (typeof value === 'number' ? value : null);
  return {
    name: text_(at('name')),
    dataset: text_(at('data', 'dataset')),
    epochs: number(at('epochs')),
    batchSize: number(at('data', 'batch_size')),
    validationPart: number(at('data', 'split', 'validation')) ?? 0,
    budget: text_(at('budget')),
    optimizer: text_(at('optimizer', 'type')),
  };
}

/** Where a refusal lies in the text: by pointer, else by line and column, else at the start. */
export function locate(
  text: string,
  problem: { pointer: string | null; line: number | null; column: number | null },
): Span {
  const parsed = parseJson(text);
  if (parsed.ok && problem.pointer !== null) return resolvePointer(parsed.root, problem.pointer).span;
  if (problem.line !== null) {
    const from = offsetOf(text, { line: problem.line, column: problem.column ?? 1 });
    return { from, to: Math.min(text.length, from + 1) };
  }
  return { from: 0, to: Math.min(1, text.length) };
}

function faultOfProblem(text: string, problem: Problem): Fault {
  const span = locate(text, problem);
  return {
    ...lineColumn(text, span.from),
    parse: null,
    message: problem.message,
    pointer: problem.pointer,
    span,
  };
}

function faultOfParse(text: string, error: ParseError): Fault {
  const from = Math.min(error.at, Math.max(0, text.length - 1));
  const to = Math.min(text.length, from + Math.max(1, error.found.length));
  return { ...lineColumn(text, error.at), parse: error, message: null, pointer: null, span: { from, to } };
}

let running: AbortController | null = null;

/** A quote is welcome and not needed: without one the page is silent about it. */
async function quoteNow(text: string, mine: AbortController): Promise<void> {
  const made = await api.quoteSpec(text, mine.signal).catch(() => null);
  if (running === mine) quote.value = made;
}

async function checkNow(text: string): Promise<void> {
  running?.abort();
  quote.value = null;
  if (text.trim() === '') {
    check.value = { kind: 'empty' };
    return;
  }
  const parsed = parseJson(text);
  if (!parsed.ok) {
    check.value = { kind: 'faulty', fault: faultOfParse(text, parsed.error) };
    return;
  }
  const mine = new AbortController();
  running = mine;
  const before = check.peek();
  check.value = { kind: 'checking', last: before.kind === 'valid' ? before.validation : null };
  try {
    const validation = await api.validateSpec(text, mine.signal);
    if (running !== mine) return;
    check.value = { kind: 'valid', validation };
    await quoteNow(text, mine);
  } catch (error) {
    if (running !== mine) return;
    const problem = asProblem(error);
    if (problem.status === 422 || problem.status === 400) {
      check.value = { kind: 'faulty', fault: faultOfProblem(text, problem) };
    } else {
      check.value = { kind: 'unreachable', problem };
    }
  }
}

export function recheck(): void {
  void checkNow(draft.peek());
}

/** Judges the text whenever it rests. Returns the stop. */
export function watchDraft(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let first = true;
  const stop = effect(() => {
    const text = draft.value;
    remember(text);
    clearTimeout(timer);
    timer = setTimeout(() => void checkNow(text), first ? 0 : checkDelayMs);
    first = false;
  });
  return () => {
    clearTimeout(timer);
    running?.abort();
    running = null;
    stop();
  };
}

let sentText: string | null = null;
let idempotencyKey = '';

/** A name for this attempt: the same text sent again after a lost answer must not train twice. */
function keyFor(text: string): string {
  if (text !== sentText) {
    sentText = text;
    idempotencyKey = randomKey();
  }
  return idempotencyKey;
}

function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The new job's id, or null when the spec was refused (see `fault` and `sendProblem`). */
export async function send(): Promise<string | null> {
  const text = draft.peek();
  if (sending.peek()) return null;
  batch(() => {
    sending.value = true;
    sendProblem.value = null;
  });
  try {
    const job = await api.submitJob(text, keyFor(text));
    sentText = null;
    return job.id;
  } catch (error) {
    const problem = asProblem(error);
    const inText = problem.status === 400 || (problem.status === 422 && problem.pointer !== null);
    if (inText) check.value = { kind: 'faulty', fault: faultOfProblem(text, problem) };
    else sendProblem.value = problem;
    return null;
  } finally {
    sending.value = false;
  }
}

export function setDraftFromSpec(spec: Json): void {
  draft.value = formatSpec(spec);
}

const lineWidth = 100;

/** JSON as a person writes a spec: small arrays and objects stay on one line. */
export function formatSpec(value: Json, indent = ''): string {
  const flat = flatJson(value);
  if (value === null || typeof value !== 'object') return flat;
  const nested = Object.values(value).some((item) => item !== null && typeof item === 'object');
  if (indent !== '' && indent.length + flat.length <= lineWidth && (!nested || flat.length <= 60))
    return flat;
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]';
    return `[\n${value.map((item) => inner + formatSpec(item, inner)).join(',\n')}\n${indent}]`;
  }
  const members = Object.entries(value);
  if (members.length === 0) return '{}';
  const lines = members.map(([key, item]) => `${inner}${JSON.stringify(key)}: ${formatSpec(item, inner)}`);
  return `{\n${lines.join(',\n')}\n${indent}}`;
}

function flatJson(value: Json): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(flatJson).join(', ')}]`;
  const members = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${flatJson(item)}`);
  return members.length === 0 ? '{}' : `{ ${members.join(', ')} }`;
}

function rememberedDraft(): string {
  try {
    return sessionStorage.getItem(draftKey) ?? '';
  } catch {
    return '';
  }
}

function remember(text: string): void {
  try {
    sessionStorage.setItem(draftKey, text);
  } catch {
    // Storage is denied or full: the draft lasts as long as the page.
  }
}

onSignOut(() => {
  draft.value = '';
  check.value = { kind: 'empty' };
  remember('');
});

/** Starts from the spec of an earlier job. */
export async function copySpecOfJob(id: string): Promise<void> {
  try {
    const job = await api.getJob(id);
    setDraftFromSpec(job.spec);
  } catch (error) {
    sendProblem.value = asProblem(error);
  }
}
