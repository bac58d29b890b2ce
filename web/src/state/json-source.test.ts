import { describe, expect, test } from 'vitest';
import { lineColumn, offsetOf, parseJson, pointerParts, resolvePointer } from './json-source';

const spec = `{
  "name": "bad",
  "model": {
    "layers": [
      { "type": "Flatten" },
      { "type": "Linear", "in_features": 1600, "out_features": 10 }
    ]
  },
  "a/b": { "m~n": [10, 20.5e1] }
}`;

function placeOf(pointer: string): string {
  const parsed = parseJson(spec);
  if (!parsed.ok) throw new Error(parsed.error.code);
  const { span, exact } = resolvePointer(parsed.root, pointer);
  const { line, column } = lineColumn(spec, span.from);
  return `${line}:${column} ${spec.slice(span.from, span.to)}${exact ? '' : ' (near)'}`;
}

function errorOf(text: string): string {
  const parsed = parseJson(text);
  if (parsed.ok) return 'ok';
  const { line, column } = lineColumn(text, parsed.error.at);
  return `${parsed.error.code} ${line}:${column} ${parsed.error.found}`.trim();
}

describe('pointers', () => {
  test('test_pointer__a_plain_value_is_marked_whole', () => {
    expect(placeOf('/name')).toBe('2:11 "bad"');
    expect(placeOf('/model/layers/1/in_features')).toBe('6:42 1600');
  });
  test('test_pointer__an_object_is_marked_at_its_opening', () => {
    expect(placeOf('/model/layers/1')).toBe('6:7 {');
    expect(placeOf('/model/layers')).toBe('4:5 "layers"');
    expect(placeOf('')).toBe('1:1 {');
  });
  test('test_pointer__a_missing_member_falls_back_to_its_parent', () => {
    expect(placeOf('/model/layers/1/bias')).toBe('6:7 { (near)');
    expect(placeOf('/model/layers/7')).toBe('4:5 "layers" (near)');
    expect(placeOf('/epochs')).toBe('1:1 { (near)');
  });
  test('test_pointer__escapes_are_undone', () => {
    expect(pointerParts('/a~1b/m~0n/1')).toEqual(['a/b', 'm~n', '1']);
    expect(placeOf('/a~1b/m~0n/1')).toBe('9:24 20.5e1');
  });
});

describe('broken text', () => {
  test.each([
    ['', 'empty 1:1'],
    ['  \n ', 'empty 2:2'],
    ['{"a": 1', 'unexpected-end 1:8'],
    ['{"a": 1,\n}', 'unexpected 2:1 }'],
    ['{\n  "a": 1\n  "b": 2\n}', 'unexpected 3:3 "'],
    ["{'a': 1}", "unexpected 1:2 '"],
    ['[1, 2', 'unexpected-end 1:6'],
    ['[01]', 'bad-number 1:2 0'],
    ['[1.]', 'bad-number 1:2 1'],
    ['["a\nb"]', 'bad-string 1:4'],
    ['["\\x"]', 'bad-escape 1:3 \\'],
    ['["abc', 'unexpected-end 1:6'],
    ['{"a":1,"a":2}', 'duplicate-key 1:8 a'],
    ['{} {}', 'trailing 1:4 {'],
    ['[tru]', 'unexpected 1:2 t'],
    ['// x\n{}', 'unexpected 1:1 /'],
  ])('test_json__%j', (text, expected) => {
    expect(errorOf(text)).toBe(expected);
  });

  test('test_json__agrees_with_the_browsers_parser_on_what_is_json', () => {
    const texts = [
      '0',
      '-0.5E-3',
      '"\\u00e9\\n"',
      '[]',
      '{}',
      '[[],{}]',
      'null',
      'true',
      '-',
      '1e',
      '[,]',
      '{"a"}',
      '\u00a01',
      '"\t"',
      'nul',
    ];
    for (const text of texts) {
      let ok = true;
      try {
        JSON.parse(text);
      } catch {
        ok = false;
      }
      expect([text, parseJson(text).ok]).toEqual([text, ok]);
    }
  });

  test('test_json__deep_nesting_is_refused_not_crashed_on', () => {
    expect(errorOf('['.repeat(100_000))).toMatch(/^too-deep/);
  });
});

test('test_place__line_and_column_go_both_ways', () => {
  for (const offset of [0, 1, 17, 40, spec.length])
    expect(offsetOf(spec, lineColumn(spec, offset))).toBe(offset);
  expect(offsetOf('ab', { line: 9, column: 9 })).toBe(2);
});
