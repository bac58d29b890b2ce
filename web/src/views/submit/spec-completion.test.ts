import { CompletionContext } from '@codemirror/autocomplete';
import { json } from '@codemirror/lang-json';
import { ensureSyntaxTree } from '@codemirror/language';
import { EditorState } from '@codemirror/state';
import { expect, test } from 'vitest';
import { complete, spotAt } from './spec-completion';

/** The cursor stands at the bar. */
function at(text: string) {
  const position = text.indexOf('|');
  const state = EditorState.create({ doc: text.replace('|', ''), extensions: [json()] });
  ensureSyntaxTree(state, state.doc.length, 1000);
  return { state, position };
}

function offered(text: string): string[] {
  const { state, position } = at(text);
  return (complete(new CompletionContext(state, position, true))?.options ?? []).map((each) =>
    String(each.apply),
  );
}

test('test_completion__names_of_members_with_what_is_typed', () => {
  expect(offered('{"name": "x", "opt|"}')).toEqual(['"optimizer": ']);
  expect(offered('{"name": "x", |}')).toContain('"epochs": ');
  expect(offered('{"name": "x", |}')).not.toContain('"name": ');
});

test('test_completion__a_quote_that_is_still_open_counts_too', () => {
  expect(offered('{\n  "name": "x",\n  "opti|\n}')).toEqual(['"optimizer": ']);
  expect(offered('{\n  "priority": "hi|\n}')).toEqual(['"high"']);
});

test('test_completion__a_name_that_has_its_value_gets_no_second_colon', () => {
  expect(offered('{"optimizer": {"type": "SGD", "mome|": 1}}')).toEqual(['"momentum"']);
});

test('test_completion__settings_of_the_kind_that_is_written_before', () => {
  const spec = (inner: string) => `{"model": {"layers": [{"type": "ReLU"}, ${inner}]}}`;
  expect(offered(spec('{"type": "Conv2d", "ker|"}'))).toEqual(['"kernel_size": ']);
  expect(offered(spec('{"type": "Linear", "ker|"}'))).toEqual([]);
  expect(offered(spec('{"type": "Conv|"}'))).toContain('"ConvTranspose2d"');
});

test('test_completion__values_that_may_stand_there', () => {
  expect(offered('{"priority": |}')).toContain('"critical"');
  expect(offered('{"priority": "hi|"}')).toEqual(['"high"']);
  expect(offered('{"data": {"shuffle": |}}')).toEqual(['true', 'false']);
});

test('test_completion__where_nothing_stands_nothing_is_offered', () => {
  const { state, position } = at('|');
  expect(spotAt(state, position)).toBeNull();
});
