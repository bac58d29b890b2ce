// The lists that several pages read: nodes, models, balance, statement, data sets, examples.
import * as api from '../api/client';
import type { Balance, Dataset, Entry, Example, Model, Node } from '../api/types';
import { resource } from './resource';

export const nodes = resource<Node[]>(async (signal) => (await api.listNodes(signal)).nodes);
export const datasets = resource<Dataset[]>(async () => (await api.listDatasets()).datasets);
export const examples = resource<Example[]>(async () => (await api.listExamples()).examples);
export const balance = resource<Balance>((signal) => api.getBalance(signal));

export interface Paged<T> {
  items: T[];
  next: string | null;
}

const pageSize = 50;

export const models = resource<Paged<Model>>(async (signal) => {
  const page = await api.listModels({ limit: pageSize }, signal);
  return { items: page.models, next: page.next_cursor };
});

export const statement = resource<Paged<Entry>>(async (signal) => {
  const page = await api.getStatement({ limit: pageSize }, signal);
  return { items: page.entries, next: page.next_cursor };
});

export async function moreModels(): Promise<void> {
  const have = models.state.peek().data;
  if (!have?.next) return;
  const page = await api.listModels({ limit: pageSize, cursor: have.next });
  models.set({ items: [...have.items, ...page.models], next: page.next_cursor });
}

export async function moreEntries(): Promise<void> {
  const have = statement.state.peek().data;
  if (!have?.next) return;
  const page = await api.getStatement({ limit: pageSize, cursor: have.next });
  statement.set({ items: [...have.items, ...page.entries], next: page.next_cursor });
}

export function runningOn(node: Node): number {
  const jobs = node.running_jobs;
  return Array.isArray(jobs) ? jobs.length : (jobs ?? 0);
}
