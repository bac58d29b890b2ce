// The user's JSON text: where it breaks, and where in it a JSON Pointer points. A parser of its own, since JSON.parse
// tells neither; offsets are UTF-16 units as JavaScript and the editor count them.

export interface Span {
  from: number;
  to: number;
}

export interface SourceNode {
  /** The value. */
  span: Span;
  /** The member's name with its quotes, where the value is a member of an object. */
  key: Span | null;
  /** Member by name, or item by decimal index; null for a plain value. */
  children: Map<string, SourceNode> | null;
}

export type ParseCode =
  | 'empty'
  | 'unexpected-end'
  | 'unexpected'
  | 'bad-string'
  | 'bad-number'
  | 'bad-escape'
  | 'duplicate-key'
  | 'too-deep'
  | 'trailing';

export interface ParseError {
  code: ParseCode;
  /** The character or name that was found. */
  found: string;
  at: number;
}

export type ParseResult = { ok: true; root: SourceNode } | { ok: false; error: ParseError };

const depthLimit = 200;

class Stop extends Error {
  constructor(readonly error: ParseError) {
    super(error.code);
  }
}

class Reader {
  at = 0;
  constructor(readonly text: string) {}

  fail(code: ParseCode, at = this.at, found = this.text.slice(at, at + 1)): never {
    throw new Stop({
      code: at >= this.text.length && code === 'unexpected' ? 'unexpected-end' : code,
      at,
      found,
    });
  }
  skipSpace(): void {
    while (/[ \t\n\r]/.test(this.text[this.at] ?? '')) this.at += 1;
  }
  expect(character: string): void {
    this.skipSpace();
    if (this.text[this.at] !== character) this.fail('unexpected');
    this.at += 1;
  }
  take(character: string): boolean {
    this.skipSpace();
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }
}

function readString(reader: Reader): Span {
  const from = reader.at;
  const { text } = reader;
  reader.at += 1;
  for (;;) {
    const character = text[reader.at];
    if (character === undefined) reader.fail('unexpected-end', reader.at, '');
    if (character === '"') break;
    if (character < ' ') reader.fail('bad-string');
    if (character === '\\') {
      const escaped = /^(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/.exec(text.slice(reader.at + 1, reader.at + 6));
      if (!escaped) reader.fail('bad-escape');
      reader.at += escaped[0].length;
    }
    reader.at += 1;
  }
  reader.at += 1;
  return { from, to: reader.at };
}

function readObject(reader: Reader, depth: number): Map<string, SourceNode> {
  const children = new Map<string, SourceNode>();
  reader.at += 1;
  if (reader.take('}')) return children;
  do {
    reader.skipSpace();
    if (reader.text[reader.at] !== '"') reader.fail('unexpected');
    const key = readString(reader);
    const name = JSON.parse(reader.text.slice(key.from, key.to)) as string;
    if (children.has(name)) reader.fail('duplicate-key', key.from, name);
    reader.expect(':');
    children.set(name, { ...readValue(reader, depth + 1), key });
  } while (reader.take(','));
  reader.expect('}');
  return children;
}

function readArray(reader: Reader, depth: number): Map<string, SourceNode> {
  const children = new Map<string, SourceNode>();
  reader.at += 1;
  if (reader.take(']')) return children;
  do children.set(String(children.size), readValue(reader, depth + 1));
  while (reader.take(','));
  reader.expect(']');
  return children;
}

function readValue(reader: Reader, depth: number): SourceNode {
  if (depth > depthLimit) reader.fail('too-deep');
  reader.skipSpace();
  const from = reader.at;
  const first = reader.text[from] ?? '';
  if (first === '{') return { children: readObject(reader, depth), key: null, span: { from, to: reader.at } };
  if (first === '[') return { children: readArray(reader, depth), key: null, span: { from, to: reader.at } };
  if (first === '"') return { span: readString(reader), key: null, children: null };
  const rest = reader.text.slice(from, from + 400);
  const word =
    /^(?:true|false|null)(?![\w$])/.exec(rest) ??
    /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])/.exec(rest);
  if (!word) reader.fail(/^[-\d]/.test(first) ? 'bad-number' : 'unexpected');
  reader.at += word[0].length;
  return { span: { from, to: reader.at }, key: null, children: null };
}

export function parseJson(text: string): ParseResult {
  const reader = new Reader(text);
  try {
    reader.skipSpace();
    if (reader.at === text.length) reader.fail('empty');
    const root = readValue(reader, 0);
    reader.skipSpace();
    if (reader.at < text.length) reader.fail('trailing');
    return { ok: true, root };
  } catch (error) {
    if (error instanceof Stop) return { ok: false, error: error.error };
    throw error;
  }
}

/** "/a~1b/0" -> ["a/b", "0"]. */
export function pointerParts(pointer: string): string[] {
  if (pointer === '') return [];
  return pointer
    .replace(/^\//, '')
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

export interface Place {
  span: Span;
  /** False when the text has no such place (a missing member): the span is then its nearest parent's. */
  exact: boolean;
}

/**
 * Where `pointer` points. A plain value gives its own span. An object or array would mark a whole block, so its
 * opening is given: the member's name where there is one, else the bracket.
 */
export function resolvePointer(root: SourceNode, pointer: string): Place {
  let node = root;
  let exact = true;
  for (const part of pointerParts(pointer)) {
    const child = node.children?.get(part);
    if (!child) {
      exact = false;
      break;
    }
    node = child;
  }
  if (!node.children) return { span: node.span, exact };
  return { span: node.key ?? { from: node.span.from, to: node.span.from + 1 }, exact };
}

export interface LineColumn {
  line: number;
  column: number;
}

/** Both count from 1. */
export function lineColumn(text: string, offset: number): LineColumn {
  const before = text.slice(0, Math.max(0, Math.min(offset, text.length)));
  const lastBreak = before.lastIndexOf('\n');
  let line = 1;
  for (let i = before.indexOf('\n'); i !== -1; i = before.indexOf('\n', i + 1)) line += 1;
  return { line, column: before.length - lastBreak };
}

/** The other way, for an error that tells a line and a column. */
export function offsetOf(text: string, place: LineColumn): number {
  let from = 0;
  for (let line = 1; line < place.line; line++) {
    const next = text.indexOf('\n', from);
    if (next === -1) break;
    from = next + 1;
  }
  return Math.min(text.length, from + Math.max(0, place.column - 1));
}
