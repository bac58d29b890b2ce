import { expect, test } from 'vitest';
import { findShortcut, nameOfPress, type Shortcut } from './keys';

const press = (key: string, parts = {}) =>
  nameOfPress({ key, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...parts });
const shortcut = (keys: string): Shortcut => ({ keys, label: keys, run: () => undefined });

test('test_keys__a_press_has_one_name_on_every_machine', () => {
  expect(press('n')).toBe('n');
  expect(press('?', { shiftKey: true })).toBe('?');
  expect(press('k', { ctrlKey: true })).toBe('Mod+k');
  expect(press('K', { metaKey: true })).toBe('Mod+k');
  expect(press('Z', { ctrlKey: true, shiftKey: true })).toBe('Mod+Shift+z');
  expect(press('Enter')).toBeNull();
  expect(press('n', { altKey: true })).toBeNull();
  expect(press(' ')).toBeNull();
});

test('test_keys__two_in_a_row_and_the_nearest_wins', () => {
  const far = shortcut('n');
  const near = shortcut('n');
  const jobs = shortcut('g j');
  const known = [far, jobs, near];
  expect(findShortcut(known, '', 'n').found).toBe(near);
  expect(findShortcut(known, '', 'g')).toEqual({ found: null, pending: 'g' });
  expect(findShortcut(known, 'g', 'j').found).toBe(jobs);
  expect(findShortcut(known, 'g', 'x')).toEqual({ found: null, pending: '' });
  expect(findShortcut(known, 'g', 'n').found).toBe(near);
});
