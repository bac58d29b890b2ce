// One way to speak REST: JSON in and out, problem+json as a typed error, the CSRF token on whatever writes.
import type { ProblemBody } from './types';

export const API = '/api/v1';

export class Problem extends Error {
  /** HTTP status; 0 when no answer came at all. */
  readonly status: number;
  /** The last part of the problem's type ("not-found"), or "network". */
  readonly code: string;
  readonly title: string;
  readonly pointer: string | null;
  readonly line: number | null;
  readonly column: number | null;
  readonly requestId: string | null;
  readonly retryAfterSeconds: number | null;

  constructor(body: Partial<ProblemBody> & { status: number }, retryAfterSeconds: number | null = null) {
    super(body.detail || body.title || '');
    this.status = body.status;
    this.code = body.status === 0 ? 'network' : (body.type?.split(':').pop() ?? 'unknown');
    this.title = body.title ?? '';
    this.pointer = body.pointer ?? null;
    this.line = body.line ?? null;
    this.column = body.column ?? null;
    this.requestId = body.request_id ?? null;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export interface RequestOptions {
  /** Sent as it is, so that line numbers in an error are those of the user's text. */
  text?: string;
  json?: unknown;
  /** Bytes, sent as application/octet-stream. */
  bytes?: Blob;
  contentRange?: string;
  idempotencyKey?: string;
  signal?: AbortSignal;
}

let csrfToken: string | null = null;
let onUnauthorized: (() => void) | null = null;

export function setCsrfToken(token: string | null): void {
  csrfToken = token;
}

/** Called when the session turns out to have ended. */
export function setUnauthorizedHandler(handler: () => void): void {
  onUnauthorized = handler;
}

export async function request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  const text = options.text ?? (options.json === undefined ? undefined : JSON.stringify(options.json));
  const body = options.bytes ?? text;
  if (body !== undefined)
    headers['Content-Type'] = options.bytes ? 'application/octet-stream' : 'application/json';
  if (options.contentRange) headers['Content-Range'] = options.contentRange;
  if (options.idempotencyKey) headers['Idempotency-Key'] = options.idempotencyKey;
  if (method !== 'GET' && csrfToken) headers['X-CSRF-Token'] = csrfToken;

  let response: Response;
  try {
    response = await fetch(API + path, {
      method,
      headers,
      credentials: 'same-origin',
      ...(body === undefined ? {} : { body }),
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem({ status: 0 });
  }
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;

  const problem = await readProblem(response);
  if (response.status === 401 && path !== '/session') onUnauthorized?.();
  throw problem;
}

async function readProblem(response: Response): Promise<Problem> {
  const retryAfter = Number(response.headers.get('Retry-After') ?? Number.NaN);
  let body: Partial<ProblemBody> = {};
  try {
    if (/json/.test(response.headers.get('Content-Type') ?? ''))
      body = (await response.json()) as ProblemBody;
  } catch {
    // A broken body: the status alone has to do.
  }
  return new Problem(
    { title: response.statusText, ...body, status: response.status },
    Number.isFinite(retryAfter) ? retryAfter : null,
  );
}
