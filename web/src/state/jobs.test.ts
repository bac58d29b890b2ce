import { expect, test } from 'vitest';
import type { LiveEvent } from '../api/live';
import type { Job } from '../api/types';
import { isTerminal, mergeJobs, withProgress } from './jobs';
import { parseRoute } from './router';

const job = (id: string, state: Job['state'] = 'running') => ({ id, state, progress: null }) as Job;
const step: LiveEvent = {
  event: 'metrics',
  job_id: 'a',
  cursor: 1,
  data: {
    kind: 'step',
    step: 40,
    total_steps: 100,
    epoch: 1,
    epochs: 2,
    loss: 0.5,
    accuracy: 0.8,
    lr: 0.1,
    images_per_second: 900,
    at: '2026-01-01T00:00:00Z',
  },
};

test('test_jobs__merging_keeps_older_pages_replaces_what_is_newer_and_sorts_by_age', () => {
  const merged = mergeJobs([job('c'), job('b'), job('a')], [job('d', 'queued'), job('b', 'completed')]);
  expect(merged.map((each) => `${each.id}:${each.state}`)).toEqual([
    'd:queued',
    'c:running',
    'b:completed',
    'a:running',
  ]);
});

test('test_jobs__a_step_moves_the_progress_of_a_job_that_has_not_ended', () => {
  expect(withProgress(job('a'), step).progress).toMatchObject({ step: 40, total_steps: 100, accuracy: 0.8 });
  const ended = job('a', 'completed');
  expect(withProgress(ended, step)).toBe(ended);
});

test('test_jobs__terminal_states', () => {
  const states = ['queued', 'assigned', 'running', 'completed', 'failed', 'cancelled'] as const;
  expect(states.filter(isTerminal)).toEqual(['completed', 'failed', 'cancelled']);
});

test.each([
  ['/', '', { page: 'jobs' }],
  ['/jobs/', '', { page: 'jobs' }],
  ['/jobs/abc', '', { page: 'job', id: 'abc' }],
  ['/jobs/%E0', '', { page: 'job', id: '%E0' }],
  ['/jobs/a/b', '', { page: 'not-found' }],
  ['/submit', 'from=x', { page: 'submit', from: 'x', example: null }],
  ['/submit', 'example=mnist-cnn', { page: 'submit', from: null, example: 'mnist-cnn' }],
  ['/compare', 'jobs=a,b,', { page: 'compare', ids: ['a', 'b'] }],
  ['/nodes/x%20y', '', { page: 'node', id: 'x y' }],
  ['/datasets', '', { page: 'datasets' }],
  ['/models', 'q=a%20b', { page: 'models', wanted: 'a b' }],
  ['/wallet', '', { page: 'wallet' }],
  ['/constructor', '', { page: 'not-found' }],
])('test_router__%s?%s', (path, search, route) => {
  expect(parseRoute(path, search)).toEqual(route);
});
