// What may stand at the cursor, from the job spec's schema: names of members, values, and words about what is pointed at.
import {
  autocompletion,
  type Completion,
  type CompletionContext,
  type CompletionResult,
} from '@codemirror/autocomplete';
import { syntaxTree } from '@codemirror/language';
import type { EditorState, Extension } from '@codemirror/state';
import { hoverTooltip } from '@codemirror/view';
import type { SyntaxNode } from '@lezer/common';
import type { Json } from '../../api/types';
import { aboutAt, keySuggestions, type Suggestion, valueSuggestions } from '../../state/schema';

const values = new Set(['Object', 'Array', 'String', 'Number', 'True', 'False', 'Null']);

function textOf(state: EditorState, node: SyntaxNode): string {
  const text = state.sliceDoc(node.from, node.to);
  try {
    return String(JSON.parse(text));
  } catch {
    return text.replace(/^"|"$/g, '');
  }
}

function valueNode(property: SyntaxNode): SyntaxNode | null {
  const last = property.lastChild;
  return last && values.has(last.name) ? last : null;
}

function nameOf(state: EditorState, property: SyntaxNode): string {
  const name = property.getChild('PropertyName');
  return name ? textOf(state, name) : '';
}

/** The text as it is while it is being written: what is not there yet is left out. */
export function looseValue(state: EditorState, node: SyntaxNode | null): Json | undefined {
  if (!node) return undefined;
  switch (node.name) {
    case 'JsonText':
      return looseValue(state, node.firstChild);
    case 'Object': {
      const whole: { [key: string]: Json } = {};
      for (const property of node.getChildren('Property')) {
        const value = looseValue(state, valueNode(property));
        if (value !== undefined) whole[nameOf(state, property)] = value;
      }
      return whole;
    }
    case 'Array': {
      const items: Json[] = [];
      for (let child = node.firstChild; child; child = child.nextSibling)
        if (values.has(child.name)) items.push(looseValue(state, child) ?? null);
      return items;
    }
    case 'String':
      return textOf(state, node);
    case 'Number':
      return Number(textOf(state, node));
    case 'True':
      return true;
    case 'False':
      return false;
    case 'Null':
      return null;
    default:
      return undefined;
  }
}

/** Names and indices that lead from the top to `node`. */
export function pathOf(state: EditorState, node: SyntaxNode): string[] {
  const path: string[] = [];
  for (let child: SyntaxNode = node, parent = child.parent; parent; child = parent, parent = parent.parent) {
    if (parent.name === 'Property') path.unshift(nameOf(state, parent));
    else if (parent.name === 'Array') {
      let index = 0;
      for (let item = parent.firstChild; item && item.from < child.from; item = item.nextSibling)
        if (values.has(item.name)) index += 1;
      path.unshift(String(index));
    }
  }
  return path;
}

function rootValue(state: EditorState): Json | undefined {
  return looseValue(state, syntaxTree(state).topNode);
}

export interface Spot {
  kind: 'key' | 'value';
  path: string[];
  from: number;
  to: number;
  have: string[];
  /** What follows what is completed. */
  after: string;
}

/** What is being written at `position`; null where nothing can be offered. */
export function spotAt(state: EditorState, position: number): Spot | null {
  const line = state.doc.lineAt(position);
  const before = state.sliceDoc(line.from, position);
  const closed = /^[^"]*"\s*(?:[:,\]}]|$)/.test(state.sliceDoc(position, line.to));
  if ((before.match(/"/g)?.length ?? 0) % 2 === 1 && !closed) {
    // A quote that is still open makes no token yet: what may stand where it begins.
    const from = line.from + before.lastIndexOf('"');
    const spot = wholeSpotAt(state, from);
    return spot && { ...spot, from, to: position };
  }
  return wholeSpotAt(state, position);
}

function wholeSpotAt(state: EditorState, position: number): Spot | null {
  const tree = syntaxTree(state);
  let node = tree.resolveInner(position, -1);
  if (node.name === 'PropertyName' || (node.name === '⚠' && node.parent?.name === 'Object')) {
    const object = node.name === '⚠' ? node.parent : node.parent?.parent;
    if (!object) return null;
    const isName = node.name === 'PropertyName';
    const property = node.parent;
    const hasValue = isName && property !== null && valueNode(property) !== null;
    return keySpot(state, object, isName ? node.from : position, isName ? node.to : position, hasValue);
  }
  if (values.has(node.name) && node.name !== 'Object' && node.name !== 'Array')
    return { kind: 'value', path: pathOf(state, node), from: node.from, to: node.to, have: [], after: '' };
  while (node.name === '⚠' || node.name === ':' || node.name === '{' || node.name === ',') {
    if (!node.parent) return null;
    node = node.parent;
  }
  if (node.name === 'Property') {
    const path = [...pathOf(state, node), nameOf(state, node)];
    return { kind: 'value', path, from: position, to: position, have: [], after: '' };
  }
  if (node.name === 'Object' && position > node.from) return keySpot(state, node, position, position, false);
  return null;
}

function keySpot(state: EditorState, object: SyntaxNode, from: number, to: number, hasValue: boolean): Spot {
  const have = object
    .getChildren('Property')
    .filter((property) => property.from !== from)
    .map((property) => nameOf(state, property));
  return { kind: 'key', path: pathOf(state, object), from, to, have, after: hasValue ? '' : ': ' };
}

function option(suggestion: Suggestion, after: string, type: string): Completion {
  return {
    label: suggestion.label,
    // What is typed may begin with its quote.
    displayLabel: suggestion.label.replace(/^"(.*)"$/, '$1'),
    apply: suggestion.text + after,
    detail: suggestion.detail,
    info: suggestion.info,
    type,
  };
}

export function complete(context: CompletionContext): CompletionResult | null {
  const { state, pos } = context;
  const spot = spotAt(state, pos);
  if (!spot) return null;
  const written = state.sliceDoc(spot.from, pos);
  if (!context.explicit && written === '') return null;
  const root = rootValue(state);
  const found =
    spot.kind === 'key' ? keySuggestions(spot.path, root, spot.have) : valueSuggestions(spot.path, root);
  if (found.length === 0) return null;
  const wanted = written.replace(/^"/, '').toLowerCase();
  const options = found
    .filter((each) => each.label.replace(/^"/, '').toLowerCase().includes(wanted))
    .map((each) => option(each, spot.after, spot.kind === 'key' ? 'property' : 'constant'));
  return { from: spot.from, to: spot.to, options, filter: false };
}

const about = hoverTooltip((view, position, side) => {
  const node = syntaxTree(view.state).resolveInner(position, side);
  if (node.name !== 'PropertyName' || !node.parent) return null;
  const path = [...pathOf(view.state, node.parent), textOf(view.state, node)];
  const words = aboutAt(path, rootValue(view.state));
  if (!words) return null;
  return {
    pos: node.from,
    end: node.to,
    above: true,
    create: () => {
      const dom = document.createElement('div');
      dom.className = 'cm-about';
      dom.textContent = words;
      return { dom };
    },
  };
});

export const specCompletion: Extension = [autocompletion({ override: [complete], icons: false }), about];
