// Who is signed in.
import { computed, signal } from '@preact/signals';
import * as api from '../api/client';
import { Problem, setCsrfToken, setUnauthorizedHandler } from '../api/http';
import type { Account, Session } from '../api/types';

export type SessionState =
  | { kind: 'starting' }
  | { kind: 'unreachable'; problem: Problem }
  | { kind: 'signed-out'; expired: boolean }
  | { kind: 'signed-in'; account: Account };

export const session = signal<SessionState>({ kind: 'starting' });
export const account = computed(() => (session.value.kind === 'signed-in' ? session.value.account : null));

const signOutHooks = new Set<() => void>();

/** State that belongs to one account registers here to be forgotten when the session ends. */
export function onSignOut(forget: () => void): void {
  signOutHooks.add(forget);
}

function enter(value: Session): void {
  setCsrfToken(value.csrf_token);
  session.value = { kind: 'signed-in', account: value.account };
}

function leave(expired: boolean): void {
  setCsrfToken(null);
  for (const forget of signOutHooks) forget();
  session.value = { kind: 'signed-out', expired };
}

export async function startSession(): Promise<void> {
  setUnauthorizedHandler(() => {
    if (session.peek().kind === 'signed-in') leave(true);
  });
  session.value = { kind: 'starting' };
  try {
    enter(await api.getSession());
  } catch (error) {
    if (error instanceof Problem && error.status === 401) leave(false);
    else session.value = { kind: 'unreachable', problem: asProblem(error) };
  }
}

/** Throws a Problem when the pair is refused. */
export async function signIn(email: string, password: string): Promise<void> {
  enter(await api.signIn(email, password));
}

export async function signOut(): Promise<void> {
  try {
    await api.signOut();
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error;
  }
  leave(false);
}

/** False when the session has ended; true while it holds or nobody can say. */
export async function checkSession(): Promise<boolean> {
  try {
    enter(await api.getSession());
    return true;
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) return true;
    leave(true);
    return false;
  }
}

export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem({ status: -1, title: String(error) });
}
