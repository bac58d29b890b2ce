// The JSON editor: CodeMirror inside a shadow root. There it adopts its style sheets as objects, which the strict
// Content-Security-Policy allows; in the page itself it would need a <style> element, which the policy forbids.
import { closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { json } from '@codemirror/lang-json';
import {
  bracketMatching,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  indentOnInput,
  syntaxHighlighting,
} from '@codemirror/language';
import { type Diagnostic, lintGutter, setDiagnostics } from '@codemirror/lint';
import { highlightSelectionMatches, searchKeymap } from '@codemirror/search';
import { Compartment, EditorState, StateEffect, StateField } from '@codemirror/state';
import {
  Decoration,
  type DecorationSet,
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
  placeholder,
  ViewPlugin,
  type ViewUpdate,
  WidgetType,
} from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { specCompletion } from './spec-completion';

export interface EditorFault {
  from: number;
  to: number;
  message: string;
}

export interface EditorOptions {
  text: string;
  label: string;
  placeholder: string;
  onChange(text: string): void;
  onSubmit(): void;
}

/** The sentence below the line that is wrong, so that nobody must hover to read it. */
class FaultNote extends WidgetType {
  constructor(readonly message: string) {
    super();
  }
  override eq(other: FaultNote): boolean {
    return other.message === this.message;
  }
  override toDOM(): HTMLElement {
    const note = document.createElement('div');
    note.className = 'cm-fault-note';
    note.textContent = this.message;
    return note;
  }
  override ignoreEvent(): boolean {
    return true;
  }
}

const setFault = StateEffect.define<EditorFault | null>();

const faultNotes = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(shown, transaction) {
    let next = shown.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (!effect.is(setFault)) continue;
      if (!effect.value) {
        next = Decoration.none;
        continue;
      }
      const line = transaction.state.doc.lineAt(Math.min(effect.value.from, transaction.state.doc.length));
      const widget = Decoration.widget({ widget: new FaultNote(effect.value.message), block: true, side: 1 });
      next = Decoration.set(
        [Decoration.line({ class: 'cm-fault-line' }).range(line.from), widget.range(line.to)],
        true,
      );
    }
    return next;
  },
  provide: (field) => EditorView.decorations.from(field),
});

const deepestHang = 40;

/** Classes, not style attributes: the browser's own editing copies an attribute along, which the policy forbids. */
const hangs = Object.fromEntries(
  Array.from({ length: deepestHang + 1 }, (_, spaces) => {
    const columns = spaces + 4;
    return [
      `.cm-line.cm-hang-${spaces}`,
      { textIndent: `-${columns}ch`, paddingLeft: `calc(8px + ${columns}ch)` },
    ];
  }),
);

/** A long line that wraps goes on below its own start, not at the margin. */
const hangingIndent = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;
    constructor(view: EditorView) {
      this.decorations = indented(view);
    }
    update(update: ViewUpdate): void {
      if (update.docChanged || update.viewportChanged) this.decorations = indented(update.view);
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

function indented(view: EditorView): DecorationSet {
  const lines = [];
  for (const { from, to } of view.visibleRanges) {
    for (let at = from; at <= to; ) {
      const line = view.state.doc.lineAt(at);
      const spaces = /^ */.exec(line.text)?.[0].length ?? 0;
      lines.push(Decoration.line({ class: `cm-hang-${Math.min(spaces, deepestHang)}` }).range(line.from));
      at = line.to + 1;
    }
  }
  return Decoration.set(lines);
}

const look = EditorView.theme({
  '&': { height: '100%', fontSize: '13px', color: 'var(--ink)', backgroundColor: 'transparent' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.62', overflow: 'auto' },
  '.cm-content': { padding: '12px 0', caretColor: 'var(--ink)' },
  '.cm-line': { padding: '0 16px 0 8px' },
  ...hangs,
  '.cm-gutters': { backgroundColor: 'transparent', border: 'none', color: 'var(--ink-3)' },
  '.cm-lineNumbers .cm-gutterElement': { padding: '0 6px 0 14px', minWidth: '40px' },
  '.cm-activeLine, .cm-activeLineGutter': {
    backgroundColor: 'color-mix(in srgb, var(--ink) 4%, transparent)',
  },
  '.cm-activeLineGutter': { color: 'var(--ink)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'var(--selection)',
  },
  '.cm-cursor': { borderLeftColor: 'var(--ink)', borderLeftWidth: '2px' },
  '&.cm-focused .cm-matchingBracket': {
    backgroundColor: 'var(--running-bg)',
    outline: '1px solid var(--data-1-soft)',
  },
  '.cm-selectionMatch': { backgroundColor: 'var(--running-bg)' },
  '.cm-fault-line': { backgroundColor: 'var(--failed-bg)' },
  '.cm-fault-note': {
    padding: '5px 16px 6px 8px',
    color: 'var(--failed)',
    backgroundColor: 'var(--failed-bg)',
    fontFamily: 'var(--font)',
    fontSize: '13px',
    lineHeight: '1.4',
    fontWeight: '500',
    whiteSpace: 'normal',
    overflowWrap: 'anywhere',
  },
  '.cm-lintRange-error': {
    backgroundImage: 'none',
    textDecoration: 'underline wavy var(--failed) 1.5px',
    textUnderlineOffset: '4px',
    textDecorationSkipInk: 'none',
  },
  '.cm-placeholder': { color: 'var(--ink-3)' },
  '.cm-foldPlaceholder': {
    backgroundColor: 'var(--sunken)',
    border: '1px solid var(--line)',
    color: 'var(--ink-2)',
    padding: '0 6px',
  },
  '.cm-gutter-lint': { width: '18px' },
  '.cm-tooltip': {
    backgroundColor: 'var(--raised)',
    border: '1px solid var(--line-strong)',
    borderRadius: '6px',
    overflow: 'hidden',
  },
  '.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', fontSize: '12.5px', maxHeight: '16em' },
  '.cm-tooltip-autocomplete > ul > li': { padding: '3px 10px', lineHeight: '1.5' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': {
    backgroundColor: 'var(--selection)',
    color: 'var(--ink)',
  },
  '.cm-completionDetail': { color: 'var(--ink-2)', fontStyle: 'normal', marginLeft: '12px' },
  '.cm-completionInfo, .cm-about': {
    maxWidth: '320px',
    padding: '6px 10px',
    fontFamily: 'var(--font)',
    fontSize: '12.5px',
    lineHeight: '1.4',
    whiteSpace: 'normal',
  },
  '.cm-diagnostic-error': {
    borderLeft: '3px solid var(--failed)',
    padding: '6px 10px',
    fontFamily: 'var(--font)',
  },
  '.cm-panels': { backgroundColor: 'var(--sunken)', color: 'var(--ink)', borderTop: '1px solid var(--line)' },
  '.cm-panel input, .cm-panel button': {
    fontFamily: 'var(--font)',
    color: 'var(--ink)',
    backgroundColor: 'var(--surface)',
    backgroundImage: 'none',
  },
});

const colours = HighlightStyle.define([
  { tag: tags.propertyName, color: 'var(--json-name)' },
  { tag: tags.string, color: 'var(--json-text)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--json-number)' },
  { tag: [tags.brace, tags.squareBracket, tags.separator], color: 'var(--ink-3)' },
]);

export class JsonEditor {
  readonly #view: EditorView;
  readonly #label = new Compartment();
  #applying = false;

  constructor(host: HTMLElement, options: EditorOptions) {
    const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' });
    const submit = {
      key: 'Mod-Enter',
      run: () => {
        options.onSubmit();
        return true;
      },
    };
    this.#view = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: options.text,
        extensions: [
          lineNumbers(),
          highlightActiveLineGutter(),
          foldGutter(),
          lintGutter(),
          history(),
          drawSelection(),
          indentOnInput(),
          bracketMatching(),
          closeBrackets(),
          highlightActiveLine(),
          highlightSelectionMatches(),
          json(),
          syntaxHighlighting(colours),
          faultNotes,
          specCompletion,
          look,
          EditorState.tabSize.of(2),
          EditorView.lineWrapping,
          hangingIndent,
          placeholder(options.placeholder),
          keymap.of([
            submit,
            ...completionKeymap,
            ...closeBracketsKeymap,
            indentWithTab,
            ...searchKeymap,
            ...historyKeymap,
            ...foldKeymap,
            ...defaultKeymap,
          ]),
          this.#label.of(
            EditorView.contentAttributes.of({
              'aria-label': options.label,
              spellcheck: 'false',
              tabindex: '0',
            }),
          ),
          EditorView.updateListener.of((update) => {
            if (update.docChanged && !this.#applying) options.onChange(update.state.doc.toString());
          }),
        ],
      }),
    });
  }

  setText(text: string): void {
    const doc = this.#view.state.doc;
    if (doc.toString() === text) return;
    this.#applying = true;
    this.#view.dispatch({ changes: { from: 0, to: doc.length, insert: text }, scrollIntoView: false });
    this.#applying = false;
  }

  showFault(fault: EditorFault | null): void {
    const { state } = this.#view;
    const length = state.doc.length;
    const marks: Diagnostic[] = [];
    if (fault) {
      const from = Math.min(fault.from, Math.max(0, length - 1));
      marks.push({
        from,
        to: Math.max(from, Math.min(fault.to, length)),
        severity: 'error',
        message: fault.message,
      });
    }
    this.#view.dispatch(setDiagnostics(state, marks));
    this.#view.dispatch({ effects: setFault.of(fault) });
  }

  /** Puts the cursor at a place and brings it into view. */
  goTo(offset: number): void {
    const anchor = Math.min(offset, this.#view.state.doc.length);
    this.#view.dispatch({
      selection: { anchor },
      effects: EditorView.scrollIntoView(anchor, { y: 'center' }),
    });
    this.#view.focus();
  }

  destroy(): void {
    this.#view.destroy();
  }
}
