// Keyboard shortcuts: parts of the page register theirs while they are shown. A shortcut is one key ("n"), two in a row
// ("g j") or with the command key ("Mod+k"). Plain keys do nothing while somebody types, and can be switched off.
import { effect, signal } from '@preact/signals';

export interface Shortcut {
  keys: string;
  label: string;
  run(): void;
}

const storageKey = 'cyxwiz.plain-keys';
const rowLimitMs = 1200;

export const shortcuts = signal<readonly Shortcut[]>([]);
export const plainKeys = signal(remembered());
export const helpOpen = signal(false);

function remembered(): boolean {
  try {
    return localStorage.getItem(storageKey) !== 'off';
  } catch {
    return true;
  }
}

effect(() => {
  const value = plainKeys.value ? 'on' : 'off';
  try {
    localStorage.setItem(storageKey, value);
  } catch {
    // Storage is denied: the choice lasts as long as the page.
  }
});

/** Returns the function that takes them away. */
export function addShortcuts(added: Shortcut[]): () => void {
  shortcuts.value = [...shortcuts.peek(), ...added];
  return () => {
    shortcuts.value = shortcuts.peek().filter((each) => !added.includes(each));
  };
}

export interface Pressed {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  shiftKey: boolean;
}

/** How a press is written; null for what is no shortcut. Shift counts only through the character that it makes. */
export function nameOfPress(event: Pressed): string | null {
  if (event.altKey || event.key.length === 0) return null;
  const mod = event.ctrlKey || event.metaKey;
  if (event.key.length > 1 && !mod) return null;
  if (event.key === ' ') return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return mod ? `Mod+${event.shiftKey && event.key.length === 1 ? 'Shift+' : ''}${key}` : event.key;
}

/** The shortcut that `press` completes, with what was pressed before; null when none, and what to remember. */
export function findShortcut(
  known: readonly Shortcut[],
  before: string,
  press: string,
): { found: Shortcut | null; pending: string } {
  const row = before === '' ? press : `${before} ${press}`;
  // The last that was added is the nearest to what is shown.
  const found = [...known].reverse().find((each) => each.keys === row || each.keys === press);
  if (found) return { found, pending: '' };
  const begins = known.some((each) => each.keys.startsWith(`${press} `));
  return { found: null, pending: begins ? press : '' };
}

function typing(target: EventTarget | null): boolean {
  let element = target instanceof Element ? target : null;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  if (!(element instanceof HTMLElement)) return false;
  if (element.isContentEditable) return true;
  if (element instanceof HTMLInputElement) return !/^(checkbox|radio|range|button)$/.test(element.type);
  return element instanceof HTMLTextAreaElement || element instanceof HTMLSelectElement;
}

export function startKeys(): () => void {
  let pending = '';
  let timer: ReturnType<typeof setTimeout> | undefined;
  function onKeyDown(event: KeyboardEvent): void {
    const press = nameOfPress(event);
    if (!press || event.defaultPrevented || event.isComposing) return;
    const plain = !press.startsWith('Mod+');
    const dialog = document.querySelector('dialog[open]');
    if (plain && (!plainKeys.peek() || typing(event.target) || dialog)) return;
    const { found, pending: next } = findShortcut(shortcuts.peek(), pending, press);
    pending = next;
    clearTimeout(timer);
    timer = setTimeout(() => {
      pending = '';
    }, rowLimitMs);
    if (!found) return;
    event.preventDefault();
    found.run();
  }
  addEventListener('keydown', onKeyDown);
  return () => {
    clearTimeout(timer);
    removeEventListener('keydown', onKeyDown);
  };
}
