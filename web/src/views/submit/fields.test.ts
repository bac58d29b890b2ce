import { expect, test } from 'vitest';
import { fieldText, parseField } from './fields';

test.each([
  ['', { type: 'integer' }, undefined],
  ['64', { type: 'integer' }, 64],
  ['1e-3', { type: 'number' }, 0.001],
  ['.5', { type: 'number' }, 0.5],
  ['3, 5', { anyOf: [] }, [3, 5]],
  ['[32, 7, 7]', { type: 'array' }, [32, 7, 7]],
  ['-1', { type: 'array' }, [-1]],
  ['same', { anyOf: [] }, 'same'],
  ['12', { type: 'string' }, '12'],
  ['abc', { type: 'integer' }, 'abc'],
])('test_fields__%j is what it means', (text, schema, value) => {
  expect(parseField(text, schema)).toEqual(value);
});

test('test_fields__a_value_is_shown_as_it_is_typed', () => {
  expect([fieldText([3, 5]), fieldText(0.1), fieldText('same'), fieldText(undefined)]).toEqual([
    '3, 5',
    '0.1',
    'same',
    '',
  ]);
});
