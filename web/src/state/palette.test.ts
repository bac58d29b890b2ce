import { expect, test } from 'vitest';
import { best, type Command, score } from './palette';

const command = (text: string, note?: string): Command => ({
  id: text,
  group: '',
  text,
  run: () => undefined,
  ...(note ? { note } : {}),
});

test('test_palette__letters_must_come_in_order', () => {
  expect(score('New job', 'nj')).not.toBeNull();
  expect(score('New job', 'jn')).toBeNull();
  expect(score('New job', '')).toBe(0);
});

test('test_palette__the_start_and_the_starts_of_words_win', () => {
  const texts = best(
    [command('Show unusual jobs'), command('fashion-cnn'), command('Nodes'), command('New job')],
    'n',
    9,
  ).map((each) => each.text);
  expect(texts.slice(0, 2)).toEqual(['Nodes', 'New job']);
  expect(best([command('confusion'), command('fashion-cnn')], 'fcnn', 9).map((each) => each.text)).toEqual([
    'fashion-cnn',
  ]);
});

test('test_palette__what_stands_beside_counts_too', () => {
  expect(best([command('mnist', 'running 0badcafe')], 'badcafe', 9)).toHaveLength(1);
});
