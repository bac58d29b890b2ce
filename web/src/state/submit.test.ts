import { describe, expect, test } from 'vitest';
import type { Json } from '../api/types';
import { factsOf, formatSpec, locate, withAt } from './submit';

const text = `{
  "name": "a",
  "epochs": 3,
  "data": { "dataset": "mnist", "batch_size": 64, "split": { "validation": 0.1 } },
  "optimizer": { "type": "SGD" }
}`;

describe('facts', () => {
  test('test_facts__are_read_from_the_text', () => {
    expect(factsOf(text)).toEqual({
      name: 'a',
      dataset: 'mnist',
      epochs: 3,
      batchSize: 64,
      validationPart: 0.1,
      budget: null,
      optimizer: 'SGD',
    });
  });
  test('test_facts__outlive_any_json_and_are_nothing_for_what_is_none', () => {
    expect(factsOf('{')).toBeNull();
    for (const odd of ['null', '[]', '3', '{"data":[1],"epochs":"x","optimizer":null}']) {
      expect(factsOf(odd)).toMatchObject({ dataset: null, epochs: null, optimizer: null, validationPart: 0 });
    }
  });
});

describe('locate', () => {
  const at = (place: Parameters<typeof locate>[1]) => {
    const { from, to } = locate(text, place);
    return text.slice(from, to);
  };
  test('test_locate__by_pointer_first', () => {
    expect(at({ pointer: '/data/batch_size', line: 1, column: 1 })).toBe('64');
  });
  test('test_locate__by_line_and_column_when_there_is_no_pointer', () => {
    expect(at({ pointer: null, line: 3, column: 13 })).toBe('3');
  });
  test('test_locate__the_start_when_nothing_is_known', () => {
    expect(at({ pointer: null, line: null, column: null })).toBe('{');
    expect(locate('', { pointer: '/x', line: null, column: null })).toEqual({ from: 0, to: 0 });
  });
});

test('test_format_spec__means_the_same_and_keeps_small_things_on_a_line', () => {
  const spec: Json = {
    name: 'n',
    empty: {},
    none: [],
    model: { layers: [{ type: 'Linear', out_features: 10 }, { type: 'ReLU' }] },
    betas: [0.9, 0.999],
  };
  const written = formatSpec(spec);
  expect(JSON.parse(written)).toEqual(spec);
  expect(written).toContain('\n      { "type": "Linear", "out_features": 10 },\n');
  expect(written).toContain('"betas": [0.9, 0.999]');
  expect(formatSpec(JSON.parse(written))).toBe(written);
});

test('test_submit__setting_a_member_leaves_the_others_and_taking_it_out_leaves_nothing_empty', () => {
  const spec = { name: 'x', data: { batch_size: 32, split: { validation: 0.1 } } };
  expect(withAt(spec, ['data', 'batch_size'], 64)).toEqual({
    name: 'x',
    data: { batch_size: 64, split: { validation: 0.1 } },
  });
  expect(withAt(spec, ['data', 'split', 'validation'], undefined)).toEqual({
    name: 'x',
    data: { batch_size: 32 },
  });
  expect(withAt(undefined, ['optimizer', 'lr'], 0.1)).toEqual({ optimizer: { lr: 0.1 } });
  expect(spec.data.batch_size).toBe(32);
});
