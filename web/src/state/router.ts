// Paths are the page's state of where the user is: /jobs, /jobs/<id>, /submit, …
import { computed, signal } from '@preact/signals';

export type Route =
  | { page: 'jobs' }
  | { page: 'job'; id: string }
  | { page: 'submit'; from: string | null; example: string | null }
  | { page: 'compare'; ids: string[] }
  | { page: 'node'; id: string }
  | { page: 'datasets' }
  | { page: 'models'; wanted: string }
  | { page: 'nodes' }
  | { page: 'wallet' }
  | { page: 'not-found' };

export function parseRoute(path: string, search = ''): Route {
  const parts = path.split('/').filter(Boolean);
  const [first, second] = parts;
  if (parts.length === 0) return { page: 'jobs' };
  if (parts.length === 2 && first === 'jobs' && second) return { page: 'job', id: safeDecode(second) };
  if (parts.length === 2 && first === 'nodes' && second) return { page: 'node', id: safeDecode(second) };
  if (parts.length === 1) {
    const query = new URLSearchParams(search);
    switch (first) {
      case 'submit':
        return { page: 'submit', from: query.get('from'), example: query.get('example') };
      case 'compare':
        return { page: 'compare', ids: (query.get('jobs') ?? '').split(',').filter(Boolean) };
      case 'models':
        return { page: 'models', wanted: query.get('q') ?? '' };
      case 'jobs':
      case 'datasets':
      case 'nodes':
      case 'wallet':
        return { page: first };
    }
  }
  return { page: 'not-found' };
}

function safeDecode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const here = signal(typeof location === 'undefined' ? '/' : location.pathname + location.search);

export const route = computed<Route>(() => {
  const [path = '/', search = ''] = here.value.split('?');
  return parseRoute(path, search);
});

/** Counts navigations, so that the page can move focus and scroll to the top. */
export const navigations = signal(0);

export function navigate(to: string, options: { replace?: boolean } = {}): void {
  if (to === here.peek()) return;
  if (options.replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  here.value = to;
  navigations.value += 1;
}

export function startRouter(): void {
  addEventListener('popstate', () => {
    here.value = location.pathname + location.search;
    navigations.value += 1;
  });
}
