// The account's uploads, and sending one: hashed here, announced, sent in parts; after a break it goes on where the gateway
// has it, also when the page was closed in between and the same file is chosen again.
import { signal } from '@preact/signals';
import * as api from '../api/client';
import { Problem } from '../api/http';
import type { Upload } from '../api/types';
import { resource } from './resource';
import { asProblem, onSignOut } from './session';

const partBytes = 4 * 1024 * 1024;
const hashBytes = 2 * 1024 * 1024;
const tries = 6;
const firstWaitMs = 500;

export const uploads = resource<Upload[]>(async (abort) => (await api.listUploads(abort)).uploads);

export interface Sending {
  name: string;
  bytes: number;
  /** Null while it is hashed. */
  id: string | null;
  phase: 'hashing' | 'sending' | 'waiting' | 'stopped' | 'failed';
  done: number;
  problem: Problem | null;
}

export const sending = signal<Sending | null>(null);
let stopping: AbortController | null = null;

function set(parts: Partial<Sending>): void {
  const now = sending.peek();
  if (now) sending.value = { ...now, ...parts };
}

export interface Slices {
  size: number;
  slice(from: number, to: number): Blob;
}

/** The SHA-256 of a file of any size, in slices, so that the page stays awake. */
export async function hashOf(
  file: Slices,
  abort: AbortSignal,
  onDone: (bytes: number) => void,
): Promise<string> {
  const { sha256 } = await import('@noble/hashes/sha2');
  const hash = sha256.create();
  for (let from = 0; from < file.size; from += hashBytes) {
    abort.throwIfAborted();
    const to = Math.min(file.size, from + hashBytes);
    hash.update(new Uint8Array(await file.slice(from, to).arrayBuffer()));
    onDone(to);
  }
  return Array.from(hash.digest(), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export interface Part {
  from: number;
  to: number;
}

/** The part that comes next; null when nothing is left. */
export function nextPart(received: number, total: number, whole: boolean): Part | null {
  if (received >= total) return null;
  return whole ? { from: 0, to: total } : { from: received, to: Math.min(total, received + partBytes) };
}

function mayPass(problem: Problem): boolean {
  return problem.status === 0 || problem.status === 408 || problem.status === 429 || problem.status >= 500;
}

function wait(ms: number, abort: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    abort.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(abort.reason);
    });
  });
}

async function sendParts(file: File, upload: Upload, abort: AbortSignal): Promise<void> {
  let received = upload.complete ? file.size : upload.received;
  let failed = 0;
  let whole = false;
  for (let part = nextPart(received, file.size, whole); part; part = nextPart(received, file.size, whole)) {
    set({ phase: 'sending', done: received });
    try {
      await api.sendUploadPart(upload.id, file.slice(part.from, part.to), part, file.size, abort);
      received = part.to;
      failed = 0;
    } catch (error) {
      if (abort.aborted) throw error;
      const problem = asProblem(error);
      failed += 1;
      if (failed >= tries || !(mayPass(problem) || problem.status === 409)) throw problem;
      set({ phase: 'waiting' });
      await wait(firstWaitMs * 2 ** failed, abort);
      const now = await api.getUpload(upload.id, abort).catch(() => null);
      // Bytes that the store has of somebody else must come in one piece.
      if (now && problem.status === 409) whole = now.received === 0;
      received = now ? (now.complete ? file.size : now.received) : received;
    }
    set({ done: received });
  }
}

export async function send(file: File, name: string): Promise<void> {
  if (stopping || file.size === 0) return;
  const mine = new AbortController();
  stopping = mine;
  sending.value = { name, bytes: file.size, id: null, phase: 'hashing', done: 0, problem: null };
  try {
    const sha256 = await hashOf(file, mine.signal, (done) => set({ done }));
    const upload = await api.createUpload({ kind: 'dataset', name, sha256, bytes: file.size });
    set({ id: upload.id, phase: 'sending', done: upload.received });
    await sendParts(file, upload, mine.signal);
    sending.value = null;
  } catch (error) {
    if (mine.signal.aborted) set({ phase: 'stopped' });
    else set({ phase: 'failed', problem: asProblem(error) });
  } finally {
    stopping = null;
    await uploads.load();
  }
}

export function stopSending(): void {
  stopping?.abort();
}

export function forgetSending(): void {
  if (!stopping) sending.value = null;
}

/** Null when it is gone, else why not. */
export async function dropUpload(id: string): Promise<Problem | null> {
  try {
    await api.deleteUpload(id);
    await uploads.load();
    return null;
  } catch (error) {
    return error instanceof Problem ? error : asProblem(error);
  }
}

onSignOut(() => {
  stopSending();
  sending.value = null;
});
