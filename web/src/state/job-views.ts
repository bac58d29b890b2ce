// Views of the job list: what is filtered, sought and how it is sorted. The address holds the present one, so that it can
// be sent to somebody; named ones are kept in this browser, for the account.
import { computed, effect, signal } from '@preact/signals';
import type { JobState } from '../api/types';
import type { Order } from './job-query';
import { usualOrder } from './job-query';
import { isUsualOrder, type JobFilter, jobFilter, jobOrder, jobSearch, loadJobs } from './jobs';
import { account, onSignOut } from './session';

export interface View {
  filter: JobFilter;
  search: string;
  order: Order;
}
export interface NamedView extends View {
  name: string;
}

const states: JobState[] = ['queued', 'assigned', 'running', 'completed', 'failed', 'cancelled'];
const viewsLimit = 30;
const nameLimit = 40;

export function viewOfSearch(search: string): View {
  const query = new URLSearchParams(search);
  const state = query.get('state') as JobState | null;
  const order = /^([\w.]+)\.(up|down)$/.exec(query.get('sort') ?? '');
  return {
    filter: state && states.includes(state) ? state : 'all',
    search: query.get('q') ?? '',
    order: order ? { key: order[1] ?? '', down: order[2] === 'down' } : usualOrder,
  };
}

export function searchOfView(view: View): string {
  const query = new URLSearchParams();
  if (view.filter !== 'all') query.set('state', view.filter);
  if (view.search.trim() !== '') query.set('q', view.search);
  if (!isUsualOrder(view.order)) query.set('sort', `${view.order.key}.${view.order.down ? 'down' : 'up'}`);
  const text = query.toString();
  return text ? `?${text}` : '';
}

export const presentView = computed<View>(() => ({
  filter: jobFilter.value,
  search: jobSearch.value,
  order: jobOrder.value,
}));

export const namedViews = signal<NamedView[]>([]);

function key(): string | null {
  const id = account.peek()?.id;
  return id ? `cyxwiz.views.${id}` : null;
}

function parseViews(text: string | null): NamedView[] {
  const kept: unknown = JSON.parse(text ?? '[]');
  if (!Array.isArray(kept)) return [];
  return kept.flatMap((each: { name?: unknown; search?: unknown }) =>
    typeof each?.name === 'string' && typeof each.search === 'string'
      ? [{ name: each.name, ...viewOfSearch(each.search) }]
      : [],
  );
}

export function loadViews(): void {
  try {
    const name = key();
    namedViews.value = name ? parseViews(localStorage.getItem(name)) : [];
  } catch {
    namedViews.value = [];
  }
}

function keepViews(views: NamedView[]): void {
  namedViews.value = views;
  const name = key();
  try {
    const kept = views.map((view) => ({ name: view.name, search: searchOfView(view) }));
    if (name) localStorage.setItem(name, JSON.stringify(kept));
  } catch {
    // Storage is denied: the views last as long as the page.
  }
}

/** Under a name that is there already it takes that one's place. */
export function saveView(name: string): void {
  const short = name.trim().slice(0, nameLimit);
  if (short === '') return;
  const others = namedViews.peek().filter((view) => view.name !== short);
  keepViews([...others, { name: short, ...presentView.peek() }].slice(-viewsLimit));
}

export function dropView(name: string): void {
  keepViews(namedViews.peek().filter((view) => view.name !== name));
}

export function applyView(view: View): void {
  const other = view.filter !== jobFilter.peek();
  jobFilter.value = view.filter;
  jobSearch.value = view.search;
  jobOrder.value = view.order;
  if (other) void loadJobs({ fresh: true });
}

/** Takes the view from the address, then keeps the address in step. Returns the stop. */
export function followAddress(): () => void {
  if (location.search !== '') applyView(viewOfSearch(location.search));
  return effect(() => {
    const search = searchOfView(presentView.value);
    if (location.pathname === '/jobs' && location.search !== search)
      history.replaceState(history.state, '', `/jobs${search}`);
  });
}

onSignOut(() => {
  namedViews.value = [];
});
