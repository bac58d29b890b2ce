// The job list: pages by cursor, kept live. State changes come by the `jobs` topic; the running jobs that are shown are
// watched for their progress, which stands beside the list, since it changes many times a second; a slow refresh mends
// what both may have missed.
import { batch, computed, signal } from '@preact/signals';
import * as api from '../api/client';
import type { Problem } from '../api/http';
import type { LiveEvent } from '../api/live';
import type { Job, JobState, Progress } from '../api/types';
import { type ListedJob, listed, matches, type Order, parseQuery, sorted, usualOrder } from './job-query';
import { subscribe } from './live';
import { asProblem, onSignOut } from './session';

export type JobFilter = 'all' | JobState;

const firstPageSize = 50;
const pageSize = 200;
/** More than these are not read into the page. */
export const jobsLimit = 10_000;
const watchLimit = 12;
const refreshMs = 5_000;

export const jobFilter = signal<JobFilter>('all');
export const jobSearch = signal('');
export const jobOrder = signal<Order>(usualOrder);
export const jobList = signal<ListedJob[] | null>(null);
export const jobProblem = signal<Problem | null>(null);
export const jobsLoadingMore = signal(false);
/** How many jobs are read so far, while all of them are being read. */
export const jobsReading = signal<number | null>(null);
const nextCursor = signal<string | null>(null);
export const hasMoreJobs = computed(
  () => nextCursor.value !== null && (jobList.value?.length ?? 0) < jobsLimit,
);
/** Newer than what the list holds, by job. */
export const liveProgress = signal<ReadonlyMap<string, Progress>>(new Map());

export function isUsualOrder(order: Order): boolean {
  return order.key === usualOrder.key && order.down === usualOrder.down;
}

export const shownJobs = computed(() => {
  const jobs = jobList.value;
  const query = parseQuery(jobSearch.value);
  const order = jobOrder.value;
  if (!jobs) return null;
  const now = Date.now();
  const plain = query.words.length === 0 && query.comparisons.length === 0;
  const kept = plain ? jobs : jobs.filter((job) => matches(job, query, now));
  return isUsualOrder(order) ? kept : sorted(kept, order, now);
});

const terminal: ReadonlySet<JobState> = new Set(['completed', 'failed', 'cancelled']);
export function isTerminal(state: JobState): boolean {
  return terminal.has(state);
}

/** Newer pages replace what they cover; jobs further down stay. Ids are UUIDv7, so they sort by age. */
export function mergeJobs<T extends { id: string }>(have: T[], fresh: T[]): T[] {
  const byId = new Map(have.map((job) => [job.id, job]));
  for (const job of fresh) byId.set(job.id, job);
  return [...byId.values()].sort((a, b) => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0));
}

function progressIn(event: LiveEvent): Progress | null {
  if (event.event !== 'metrics' || event.data.kind !== 'step') return null;
  const { epoch, epochs, step, total_steps, loss, accuracy, images_per_second } = event.data;
  return { epoch, epochs, step, total_steps, loss, accuracy, images_per_second };
}

export function withProgress<T extends Pick<Job, 'state' | 'progress'>>(job: T, event: LiveEvent): T {
  const progress = progressIn(event);
  return progress && !isTerminal(job.state) ? { ...job, progress } : job;
}

let loadSerial = 0;

function wantedState(): JobState | null {
  const filter = jobFilter.peek();
  return filter === 'all' ? null : filter;
}

/** Fetches the first page of the filter; `fresh` forgets what was there. */
export async function loadJobs(options: { fresh?: boolean } = {}): Promise<void> {
  const serial = ++loadSerial;
  if (options.fresh) {
    jobList.value = null;
    nextCursor.value = null;
  }
  try {
    const page = await api.listJobs({ state: wantedState(), limit: firstPageSize });
    if (serial !== loadSerial) return;
    batch(() => {
      const have = jobList.peek();
      jobProblem.value = null;
      if (have === null || have.length <= firstPageSize) {
        jobList.value = page.jobs.map(listed);
        nextCursor.value = page.next_cursor;
      } else {
        jobList.value = mergeJobs(have, page.jobs.map(listed));
      }
    });
  } catch (error) {
    if (serial === loadSerial) jobProblem.value = asProblem(error);
  }
}

/** False when there is no more, it failed, or the filter has changed meanwhile. */
async function loadNextPage(): Promise<boolean> {
  const cursor = nextCursor.peek();
  if (cursor === null || !hasMoreJobs.peek()) return false;
  const filter = jobFilter.peek();
  try {
    const page = await api.listJobs({ state: wantedState(), limit: pageSize, cursor });
    if (jobFilter.peek() !== filter) return false;
    if (nextCursor.peek() !== cursor) return true; // somebody else has read this page meanwhile
    batch(() => {
      jobProblem.value = null;
      jobList.value = mergeJobs(jobList.peek() ?? [], page.jobs.map(listed));
      nextCursor.value = page.next_cursor;
    });
    return true;
  } catch (error) {
    jobProblem.value = asProblem(error);
    return false;
  }
}

export async function loadMoreJobs(): Promise<void> {
  if (jobsLoadingMore.peek() || jobsReading.peek() !== null) return;
  jobsLoadingMore.value = true;
  await loadNextPage();
  jobsLoadingMore.value = false;
}

/** An order or a search is right only over all jobs: reads the pages that are missing. */
export async function loadAllJobs(): Promise<void> {
  if (jobsReading.peek() !== null || !hasMoreJobs.peek()) return;
  jobsReading.value = jobList.peek()?.length ?? 0;
  while (await loadNextPage()) jobsReading.value = jobList.peek()?.length ?? 0;
  jobsReading.value = null;
}

export function setJobFilter(filter: JobFilter): void {
  if (filter === jobFilter.peek()) return;
  jobFilter.value = filter;
  void loadJobs({ fresh: true });
}

/** The next press of a column's head: this way, the other way, as usual. */
export function nextOrder(order: Order, key: string, downFirst: boolean): Order {
  if (order.key !== key) return { key, down: downFirst };
  if (order.down === downFirst) return { key, down: !downFirst };
  return key === usualOrder.key ? { key, down: downFirst } : usualOrder;
}

function onState(event: LiveEvent): void {
  const have = jobList.peek();
  if (!have || event.event !== 'state') return;
  const known = have.find((job) => job.id === event.job_id);
  const filter = jobFilter.peek();
  const job = event.data.job ? listed(event.data.job) : known ? { ...known, state: event.data.to } : null;
  if (!job || (filter !== 'all' && job.state !== filter)) void loadJobs();
  else jobList.value = mergeJobs(have, [job]);
}

/** Keeps the list live until the returned function is called. */
export function watchJobs(): () => void {
  const watched = new Map<string, () => void>();
  const waiting = new Map<string, Progress>();
  let frame = 0;

  function flush(): void {
    frame = 0;
    const next = new Map(liveProgress.peek());
    for (const [id, progress] of waiting) next.set(id, progress);
    waiting.clear();
    liveProgress.value = next;
  }
  /** Steps arrive up to ten a second and job; the newest of each job is shown once a frame. */
  function onStep(event: LiveEvent): void {
    const progress = progressIn(event);
    if (!progress) return;
    waiting.set(event.job_id, progress);
    frame ||= requestAnimationFrame(flush);
  }
  function chooseWatched(jobs: ListedJob[] | null): void {
    const wanted = new Set(
      (jobs ?? [])
        .filter((job) => job.state === 'running')
        .slice(0, watchLimit)
        .map((job) => job.id),
    );
    for (const [id, stop] of watched) {
      if (wanted.has(id)) continue;
      stop();
      watched.delete(id);
    }
    for (const id of wanted) {
      if (!watched.has(id)) watched.set(id, subscribe({ job_id: id }, { onEvent: onStep }));
    }
  }

  const stopTopic = subscribe({ topic: 'jobs' }, { onEvent: onState, onGap: () => void loadJobs() });
  const stopList = jobList.subscribe(chooseWatched);
  void loadJobs();
  const timer = setInterval(() => {
    const moving = jobList.peek()?.some((job) => !isTerminal(job.state)) ?? true;
    if (moving && document.visibilityState === 'visible') void loadJobs();
  }, refreshMs);

  return () => {
    stopTopic();
    stopList();
    clearInterval(timer);
    cancelAnimationFrame(frame);
    for (const stop of watched.values()) stop();
    liveProgress.value = new Map();
  };
}

onSignOut(() => {
  loadSerial += 1;
  jobList.value = null;
  nextCursor.value = null;
  jobProblem.value = null;
  jobSearch.value = '';
  jobFilter.value = 'all';
  jobOrder.value = usualOrder;
});
