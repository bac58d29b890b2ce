// The editor as a part of the page. Loaded when the submit page is first opened, since it brings CodeMirror.
import { useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { draft, type Fault, fault } from '../../state/submit';
import { t } from '../../strings/en';
import { JsonEditor } from './editor';
import { faultSentence } from './words';

export interface EditorHandle {
  goTo(offset: number): void;
}

interface EditorPartProps {
  onReady(handle: EditorHandle | null): void;
  onSubmit(): void;
}

function marked(found: Fault | null) {
  return found ? { ...found.span, message: faultSentence(found) } : null;
}

export function EditorPart({ onReady, onSubmit }: EditorPartProps) {
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<JsonEditor | null>(null);
  const submit = useRef(onSubmit);
  submit.current = onSubmit;
  // Made once; what changes is read through signals and refs.
  useEffect(() => {
    if (!host.current) return undefined;
    const made = new JsonEditor(host.current, {
      text: draft.peek(),
      label: t.submit.editorLabel,
      placeholder: t.submit.editorPlaceholder,
      onChange: (text) => {
        draft.value = text;
      },
      onSubmit: () => submit.current(),
    });
    editor.current = made;
    made.showFault(marked(fault.peek()));
    onReady(made);
    return () => {
      onReady(null);
      editor.current = null;
      made.destroy();
    };
  }, []);
  useSignalEffect(() => {
    const text = draft.value;
    editor.current?.setText(text);
  });
  useSignalEffect(() => {
    const found = fault.value;
    editor.current?.showFault(marked(found));
  });
  return <div ref={host} class="editor-host" />;
}
