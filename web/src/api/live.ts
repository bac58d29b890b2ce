// Live events over one WebSocket: many subscriptions, a visible status, reconnecting with back-off, resuming each
// subscription from the last cursor it saw. It knows nothing of what the events mean.
import type { Job, JobState, LogLine, MetricPoint, ProblemBody } from './types';

export interface StateChange {
  from: JobState | null;
  to: JobState;
  cause: string;
  at: string;
  job?: Job;
}

export type LiveEvent =
  | { event: 'metrics'; job_id: string; cursor: number; data: MetricPoint }
  | { event: 'log'; job_id: string; cursor: number; data: LogLine }
  | { event: 'state'; job_id: string; cursor: number; data: StateChange };

export interface Subscriber {
  onEvent(event: LiveEvent): void;
  /** The server dropped detail for this reader, or live-only events were missed while disconnected. */
  onGap?(): void;
  onProblem?(problem: ProblemBody): void;
}

export type Target = { job_id: string; cursor?: number } | { topic: 'jobs' };

export type LiveStatus =
  | { kind: 'idle' }
  | { kind: 'connecting'; attempt: number }
  | { kind: 'open' }
  | { kind: 'waiting'; attempt: number; retryAt: number };

export interface Socket {
  send(text: string): void;
  close(): void;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
}

export interface LiveOptions {
  open(): Socket;
  onStatus(status: LiveStatus): void;
  /** Asked before each retry; false ends the trying (the session has ended). */
  mayRetry?(): Promise<boolean>;
  random?(): number;
}

const firstDelayMs = 400;
const longestDelayMs = 15_000;
const pingEveryMs = 20_000;
const silenceLimitMs = 45_000;
const lingerMs = 3_000;

/** Exponential with jitter: the n-th wait lies between half and the whole of 0.4 s x 2^n, at most 15 s. */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(attempt, 16));
  return Math.round(ceiling / 2 + (random() * ceiling) / 2);
}

interface Subscription {
  id: string;
  target: Target;
  subscriber: Subscriber;
  cursor: number | null;
  wasOpen: boolean;
}

export class Live {
  readonly #options: LiveOptions;
  readonly #subscriptions = new Map<string, Subscription>();
  #socket: Socket | null = null;
  #status: LiveStatus = { kind: 'idle' };
  #nextId = 1;
  #attempt = 0;
  #lastHeard = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #pingTimer: ReturnType<typeof setInterval> | undefined;
  #lingerTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: LiveOptions) {
    this.#options = options;
  }

  /** Returns the function that ends the subscription. */
  subscribe(target: Target, subscriber: Subscriber): () => void {
    const id = String(this.#nextId++);
    const cursor = 'cursor' in target && target.cursor !== undefined ? target.cursor : null;
    const subscription: Subscription = { id, target, subscriber, cursor, wasOpen: false };
    this.#subscriptions.set(id, subscription);
    clearTimeout(this.#lingerTimer);
    if (this.#status.kind === 'open') this.#announce(subscription);
    else if (this.#status.kind === 'idle') this.#connect();
    return () => this.#unsubscribe(id);
  }

  /** Try at once instead of waiting: the network came back, or the user asked. */
  retryNow(): void {
    if (this.#status.kind === 'waiting') void this.#retry();
  }

  /** Ends everything; a later subscribe starts anew. */
  stop(): void {
    this.#subscriptions.clear();
    this.#shut();
  }

  #unsubscribe(id: string): void {
    if (!this.#subscriptions.delete(id)) return;
    if (this.#status.kind === 'open') this.#send({ type: 'unsubscribe', id });
    if (this.#subscriptions.size === 0) this.#lingerTimer = setTimeout(() => this.#shut(), lingerMs);
  }

  #shut(): void {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#lingerTimer);
    clearInterval(this.#pingTimer);
    const socket = this.#socket;
    this.#socket = null;
    this.#attempt = 0;
    for (const subscription of this.#subscriptions.values()) subscription.wasOpen = false;
    socket?.close();
    this.#setStatus({ kind: 'idle' });
  }

  #connect(): void {
    this.#setStatus({ kind: 'connecting', attempt: this.#attempt });
    const socket = this.#options.open();
    this.#socket = socket;
    socket.onopen = () => this.#onOpen(socket);
    socket.onmessage = (event) => this.#onMessage(socket, event.data);
    socket.onclose = () => this.#onClose(socket);
  }

  #onOpen(socket: Socket): void {
    if (socket !== this.#socket) return;
    this.#attempt = 0;
    this.#lastHeard = Date.now();
    this.#setStatus({ kind: 'open' });
    this.#pingTimer = setInterval(() => this.#checkPulse(), pingEveryMs);
    for (const subscription of this.#subscriptions.values()) this.#announce(subscription);
  }

  #announce(subscription: Subscription): void {
    const { id, target, cursor } = subscription;
    const again = subscription.wasOpen;
    subscription.wasOpen = true;
    if ('topic' in target) this.#send({ type: 'subscribe', id, topic: target.topic });
    else this.#send({ type: 'subscribe', id, job_id: target.job_id, ...(cursor === null ? {} : { cursor }) });
    if (again && cursor === null) subscription.subscriber.onGap?.();
  }

  #onMessage(socket: Socket, data: unknown): void {
    if (socket !== this.#socket || typeof data !== 'string') return;
    this.#lastHeard = Date.now();
    let message: { type?: string; id?: string; cursor?: number; problem?: ProblemBody };
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    const subscription = message.id === undefined ? undefined : this.#subscriptions.get(message.id);
    if (!subscription) return;
    if (message.type === 'event') this.#onEvent(subscription, message as unknown as LiveEvent);
    else if (message.type === 'lost') this.#onLost(subscription);
    else if (message.type === 'error' && message.problem)
      subscription.subscriber.onProblem?.(message.problem);
  }

  #onEvent(subscription: Subscription, event: LiveEvent): void {
    const resumable = 'job_id' in subscription.target;
    if (resumable && typeof event.cursor === 'number') {
      if (subscription.cursor !== null && event.cursor <= subscription.cursor) return; // seen before
      subscription.cursor = event.cursor;
    }
    subscription.subscriber.onEvent(event);
  }

  /** Detail was dropped somewhere behind the cursor: only the reader can say what it still needs. */
  #onLost(subscription: Subscription): void {
    subscription.subscriber.onGap?.();
  }

  #checkPulse(): void {
    if (Date.now() - this.#lastHeard > silenceLimitMs) {
      const socket = this.#socket;
      socket?.close();
      if (socket) this.#onClose(socket); // a dead network may never report the close
    } else {
      this.#send({ type: 'ping' });
    }
  }

  #onClose(socket: Socket): void {
    if (socket !== this.#socket) return;
    clearInterval(this.#pingTimer);
    this.#socket = null;
    if (this.#subscriptions.size === 0) {
      this.#setStatus({ kind: 'idle' });
      return;
    }
    const delay = backoffMs(this.#attempt, this.#options.random);
    this.#attempt += 1;
    this.#setStatus({ kind: 'waiting', attempt: this.#attempt, retryAt: Date.now() + delay });
    this.#retryTimer = setTimeout(() => void this.#retry(), delay);
  }

  async #retry(): Promise<void> {
    clearTimeout(this.#retryTimer);
    this.#setStatus({ kind: 'connecting', attempt: this.#attempt });
    const may = this.#options.mayRetry ? await this.#options.mayRetry() : true;
    if (this.#status.kind !== 'connecting' || this.#socket) return;
    if (may && this.#subscriptions.size > 0) this.#connect();
    else this.#shut();
  }

  #send(message: object): void {
    this.#socket?.send(JSON.stringify(message));
  }

  #setStatus(status: LiveStatus): void {
    this.#status = status;
    this.#options.onStatus(status);
  }
}
