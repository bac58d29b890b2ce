import { expect, test } from 'vitest';
import { usualOrder } from './job-query';
import { searchOfView, viewOfSearch } from './job-views';
import { nextOrder } from './jobs';

test.each([
  ['', { filter: 'all', search: '', order: usualOrder }],
  ['?state=running', { filter: 'running', search: '', order: usualOrder }],
  [
    '?state=failed&q=lr%3C0.1&sort=loss.up',
    { filter: 'failed', search: 'lr<0.1', order: { key: 'loss', down: false } },
  ],
] as const)('test_job_views__%s goes both ways', (search, view) => {
  expect(viewOfSearch(search)).toEqual(view);
  expect(searchOfView(view)).toBe(search);
});

test('test_job_views__what_the_address_should_not_hold_is_the_usual', () => {
  expect(viewOfSearch('?state=nonsense&sort=<b>')).toEqual({ filter: 'all', search: '', order: usualOrder });
});

test('test_job_views__a_head_pressed_thrice_is_as_usual_again', () => {
  const once = nextOrder(usualOrder, 'accuracy', true);
  const twice = nextOrder(once, 'accuracy', true);
  expect([once, twice, nextOrder(twice, 'accuracy', true)]).toEqual([
    { key: 'accuracy', down: true },
    { key: 'accuracy', down: false },
    usualOrder,
  ]);
  expect(nextOrder(usualOrder, 'created', true)).toEqual({ key: 'created', down: false });
});
