// The job list: pages by cursor, kept live. State changes come by the `jobs` topic; the running jobs that are shown are
// watched for their progress; a slow refresh mends what both may have missed.
import { batch, computed, signal } from '@preact/signals';
import * as api from '../api/client';
import type { Problem } from '../api/http';
import type { LiveEvent } from '../api/live';
import type { Job, JobState } from '../api/types';
import { subscribe } from './live';
import { asProblem, onSignOut } from './session';

export type JobFilter = 'all' | JobState;

const pageSize = 50;
const watchLimit = 12;
const refreshMs = 5_000;

export const jobFilter = signal<JobFilter>('all');
export const jobSearch = signal('');
export const jobList = signal<Job[] | null>(null);
export const jobProblem = signal<Problem | null>(null);
export const jobsLoadingMore = signal(false);
const nextCursor = signal<string | null>(null);
export const hasMoreJobs = computed(() => nextCursor.value !== null);

export const shownJobs = computed(() => {
  const wanted = jobSearch.value.trim().toLowerCase();
  const jobs = jobList.value;
  if (!jobs || wanted === '') return jobs;
  return jobs.filter((job) => job.name.toLowerCase().includes(wanted) || job.id.startsWith(wanted));
});

const terminal: ReadonlySet<JobState> = new Set(['completed', 'failed', 'cancelled']);
export function isTerminal(state: JobState): boolean {
  return terminal.has(state);
}

/** Newer pages replace what they cover; jobs further down stay. Ids are UUIDv7, so they sort by age. */
export function mergeJobs(have: Job[], fresh: Job[]): Job[] {
  const byId = new Map(have.map((job) => [job.id, job]));
  for (const job of fresh) byId.set(job.id, job);
  return [...byId.values()].sort((a, b) => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0));
}

export function withProgress(job: Job, event: LiveEvent): Job {
  if (event.event !== 'metrics' || event.data.kind !== 'step' || isTerminal(job.state)) return job;
  const { epoch, epochs, step, total_steps, loss, accuracy, images_per_second } = event.data;
  return { ...job, progress: { epoch, epochs, step, total_steps, loss, accuracy, images_per_second } };
}

let loadSerial = 0;

/** Fetches the first page of the filter; `fresh` forgets what was there. */
export async function loadJobs(options: { fresh?: boolean } = {}): Promise<void> {
  const serial = ++loadSerial;
  const filter = jobFilter.peek();
  if (options.fresh) {
    jobList.value = null;
    nextCursor.value = null;
  }
  try {
    const page = await api.listJobs({ state: filter === 'all' ? null : filter, limit: pageSize });
    if (serial !== loadSerial) return;
    batch(() => {
      const have = jobList.peek();
      jobProblem.value = null;
      if (have === null || have.length <= pageSize) {
        jobList.value = page.jobs;
        nextCursor.value = page.next_cursor;
      } else {
        jobList.value = mergeJobs(have, page.jobs);
      }
    });
  } catch (error) {
    if (serial === loadSerial) jobProblem.value = asProblem(error);
  }
}

export async function loadMoreJobs(): Promise<void> {
  const cursor = nextCursor.peek();
  if (cursor === null || jobsLoadingMore.peek()) return;
  const filter = jobFilter.peek();
  jobsLoadingMore.value = true;
  try {
    const page = await api.listJobs({ state: filter === 'all' ? null : filter, limit: pageSize, cursor });
    if (jobFilter.peek() !== filter) return;
    batch(() => {
      jobList.value = mergeJobs(jobList.peek() ?? [], page.jobs);
      nextCursor.value = page.next_cursor;
    });
  } catch (error) {
    jobProblem.value = asProblem(error);
  } finally {
    jobsLoadingMore.value = false;
  }
}

export function setJobFilter(filter: JobFilter): void {
  if (filter === jobFilter.peek()) return;
  jobFilter.value = filter;
  void loadJobs({ fresh: true });
}

function onJobEvent(event: LiveEvent): void {
  const have = jobList.peek();
  if (!have) return;
  const known = have.find((job) => job.id === event.job_id);
  if (event.event === 'state') {
    const filter = jobFilter.peek();
    const job = event.data.job ?? (known ? { ...known, state: event.data.to } : null);
    if (!job || (filter !== 'all' && job.state !== filter)) void loadJobs();
    else jobList.value = mergeJobs(have, [job]);
  } else if (known) {
    jobList.value = have.map((job) => (job === known ? withProgress(job, event) : job));
  }
}

/** Keeps the list live until the returned function is called. */
export function watchJobs(): () => void {
  const watched = new Map<string, () => void>();
  const waiting = new Map<string, LiveEvent>();
  let frame = 0;

  function flush(): void {
    frame = 0;
    batch(() => {
      for (const event of waiting.values()) onJobEvent(event);
    });
    waiting.clear();
  }
  /** Steps arrive up to ten a second and job; the newest of each job is shown once a frame. */
  function onStep(event: LiveEvent): void {
    if (event.event !== 'metrics' || event.data.kind !== 'step') return;
    waiting.set(event.job_id, event);
    frame ||= requestAnimationFrame(flush);
  }
  function chooseWatched(jobs: Job[] | null): void {
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

  const stopTopic = subscribe({ topic: 'jobs' }, { onEvent: onJobEvent, onGap: () => void loadJobs() });
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
  };
}

onSignOut(() => {
  loadSerial += 1;
  jobList.value = null;
  nextCursor.value = null;
  jobProblem.value = null;
  jobSearch.value = '';
  jobFilter.value = 'all';
});
