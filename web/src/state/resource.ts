// Something fetched: what we have, whether more is on its way, what went wrong last. Old data stays while new is fetched.
import { type Signal, signal } from '@preact/signals';
import type { Problem } from '../api/http';
import { asProblem, onSignOut } from './session';

export interface Loaded<T> {
  data: T | null;
  problem: Problem | null;
  loading: boolean;
  /** Date.now() of the last success. */
  at: number;
}

export interface Resource<T> {
  readonly state: Signal<Loaded<T>>;
  load(): Promise<void>;
  set(data: T): void;
  forget(): void;
}

export function resource<T>(fetchIt: (signal: AbortSignal) => Promise<T>): Resource<T> {
  const empty: Loaded<T> = { data: null, problem: null, loading: false, at: 0 };
  const state = signal<Loaded<T>>(empty);
  let running: AbortController | null = null;

  async function load(): Promise<void> {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    state.value = { ...state.peek(), loading: true };
    try {
      const data = await fetchIt(mine.signal);
      if (running === mine) state.value = { data, problem: null, loading: false, at: Date.now() };
    } catch (error) {
      if (running === mine) state.value = { ...state.peek(), problem: asProblem(error), loading: false };
    }
  }

  const self: Resource<T> = {
    state,
    load,
    set: (data) => {
      state.value = { data, problem: null, loading: false, at: Date.now() };
    },
    forget: () => {
      running?.abort();
      running = null;
      state.value = empty;
    },
  };
  onSignOut(self.forget);
  return self;
}

/** Calls `work` now and then every `everyMs` while the page is visible, never twice at once. Returns the stop. */
export function poll(work: () => Promise<void>, everyMs: number): () => void {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  async function turn(): Promise<void> {
    clearTimeout(timer);
    if (document.visibilityState === 'visible') await work();
    if (!stopped) timer = setTimeout(() => void turn(), everyMs);
  }
  function onVisible(): void {
    if (document.visibilityState === 'visible') void turn();
  }
  document.addEventListener('visibilitychange', onVisible);
  void turn();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', onVisible);
  };
}
