// biome-ignore-all lint/a11y: a combobox: the field has the focus and the keys, the list shows what they would choose
// The command palette: a text field over a list; arrows move, Enter runs, Escape closes.
import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { helpOpen } from '../state/keys';
import {
  best,
  type Command,
  pageCommands,
  paletteOpen,
  preparePalette,
  thingCommands,
} from '../state/palette';
import { navigate } from '../state/router';
import { signOut } from '../state/session';
import { themeChoice } from '../state/theme';
import { t } from '../strings/en';
import { places } from './places';
import { Icon } from './ui/icons';

const shownLimit = 60;

function fixedCommands(): Command[] {
  const go = places.map((place) => ({
    id: `go${place.to}`,
    group: t.palette.groups.go,
    text: place.text,
    ...(place.keys ? { keys: place.keys } : {}),
    run: () => navigate(place.to),
  }));
  const themes = (['light', 'dark', 'system'] as const).map((value) => ({
    id: `theme/${value}`,
    group: t.palette.groups.act,
    text: t.palette.theme(t.nav.themes[value]),
    run: () => {
      themeChoice.value = value;
    },
  }));
  return [
    ...go,
    ...themes,
    {
      id: 'keys',
      group: t.palette.groups.act,
      text: t.keys.title,
      keys: '?',
      run: () => {
        helpOpen.value = true;
      },
    },
    { id: 'sign-out', group: t.palette.groups.act, text: t.nav.signOut, run: () => void signOut() },
  ];
}

export function Keys({ keys }: { keys: string }) {
  const command = /Mac|iP(?:hone|ad)/.test(navigator.platform) ? '⌘' : 'Ctrl';
  return (
    <span class="keys">
      {keys
        .split(' ')
        .flatMap((row) => row.split('+'))
        .map((key) => (
          <kbd key={key}>{key === 'Mod' ? command : key.length === 1 ? key.toUpperCase() : key}</kbd>
        ))}
    </span>
  );
}

export function Palette() {
  const dialog = useRef<HTMLDialogElement>(null);
  const wanted = useSignal('');
  const active = useSignal(0);
  useEffect(() => {
    preparePalette();
    dialog.current?.showModal();
  }, []);
  const fixed = useMemo(fixedCommands, []);
  const all = [...pageCommands.value, ...fixed, ...thingCommands(t.palette.words)];
  const shown = best(all, wanted.value, shownLimit);
  const index = Math.min(active.value, shown.length - 1);

  function close(): void {
    paletteOpen.value = false;
  }
  function run(command: Command | undefined): void {
    if (!command) return;
    dialog.current?.close();
    close();
    command.run();
  }
  function moveTo(next: number): void {
    active.value = (next + shown.length) % Math.max(1, shown.length);
    document.getElementById(`command-${active.value}`)?.scrollIntoView({ block: 'nearest' });
  }
  function onKeyDown(event: KeyboardEvent): void {
    const moves: Record<string, number> = {
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      PageDown: Math.min(shown.length - 1, index + 8),
      PageUp: Math.max(0, index - 8),
    };
    const next = moves[event.key];
    if (next !== undefined) {
      event.preventDefault();
      moveTo(next);
    } else if (event.key === 'Enter') {
      event.preventDefault();
      run(shown[index]);
    }
  }

  return (
    <dialog
      ref={dialog}
      class="palette"
      aria-label={t.palette.title}
      onClose={close}
      onClick={(event) => {
        if (event.target === dialog.current) dialog.current?.close();
      }}
    >
      <div class="palette-field">
        <Icon name="search" />
        <input
          type="text"
          role="combobox"
          aria-expanded="true"
          aria-controls="commands"
          aria-activedescendant={shown.length > 0 ? `command-${index}` : undefined}
          aria-autocomplete="list"
          aria-label={t.palette.title}
          placeholder={t.palette.placeholder}
          autocomplete="off"
          spellcheck={false}
          value={wanted.value}
          onKeyDown={onKeyDown}
          onInput={(event) => {
            wanted.value = event.currentTarget.value;
            active.value = 0;
          }}
        />
      </div>
      <ul id="commands" role="listbox" aria-label={t.palette.title}>
        {shown.map((command, at) => (
          <li
            key={command.id}
            id={`command-${at}`}
            role="option"
            aria-selected={at === index}
            onClick={() => run(command)}
            onMouseMove={() => {
              active.value = at;
            }}
          >
            <span class="command-group">{command.group}</span>
            <span class="command-text">{command.text}</span>
            {command.note && <small class="muted num">{command.note}</small>}
            {command.keys && <Keys keys={command.keys} />}
          </li>
        ))}
      </ul>
      {shown.length === 0 && (
        <p class="palette-none muted" role="status">
          {t.palette.none}
        </p>
      )}
    </dialog>
  );
}
