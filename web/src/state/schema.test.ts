import { expect, test } from 'vitest';
import {
  aboutAt,
  definition,
  fieldsOf,
  keySuggestions,
  typesOf,
  valueSuggestions,
  withDefaults,
} from './schema';

const spec = {
  model: { layers: [{ type: 'Conv2d', out_channels: 3 }] },
  optimizer: { type: 'SGD' },
  loss: { type: '' },
};

test('test_schema__families_name_their_kinds', () => {
  expect(typesOf('Layer')).toContain('Conv2d');
  expect(typesOf('Loss')).toContain('MSELoss');
  expect(typesOf('nothing')).toEqual([]);
});

test('test_schema__names_follow_from_the_kind_and_leave_out_what_is_there', () => {
  const keys = (path: string[], have: string[]) => keySuggestions(path, spec, have).map((each) => each.label);
  expect(keys(['model', 'layers', '0'], ['type', 'out_channels'])).toContain('kernel_size');
  expect(keys(['model', 'layers', '0'], ['type', 'out_channels'])).not.toContain('out_channels');
  expect(keys(['model', 'layers', '0'], [])).not.toContain('out_features');
  expect(keys(['optimizer'], ['type'])).toContain('nesterov');
  expect(keys([], Object.keys(spec))).toContain('epochs');
});

test('test_schema__values_are_those_that_may_stand_there', () => {
  const values = (path: string[]) => valueSuggestions(path, spec).map((each) => each.text);
  expect(values(['model', 'layers', '0', 'type'])).toContain('"Linear"');
  expect(values(['loss', 'type'])).toContain('"MSELoss"');
  expect(values(['priority'])).toEqual(['"low"', '"normal"', '"high"', '"critical"']);
  expect(values(['data', 'shuffle'])).toEqual(['true', 'false']);
  expect(values(['data', 'dataset'])).toContain('"fashion-mnist"');
});

test('test_schema__fields_know_what_is_needed', () => {
  const fields = fieldsOf(definition('Conv2d'), ['type', 'name', 'inputs']);
  expect(fields.find((field) => field.key === 'kernel_size')?.required).toBe(true);
  expect(fields.find((field) => field.key === 'stride')?.required).toBe(false);
  expect(aboutAt(['epochs'], spec)).toBe('Passes over the training set.');
});

test('test_schema__what_is_left_out_has_its_default_and_what_is_not_there_stays_away', () => {
  const filled = withDefaults({
    optimizer: { type: 'AdamW' },
    data: { batch_size: 8, shuffle: false },
    epochs: 1,
  });
  expect(filled).toMatchObject({
    optimizer: { lr: 0.001 },
    data: { batch_size: 8, shuffle: false },
    seed: 0,
  });
  expect(filled).not.toHaveProperty('scheduler');
});
