// The list of keyboard shortcuts, and the switch for those that are a plain key.
import { useEffect, useRef } from 'preact/hooks';
import { helpOpen, plainKeys, shortcuts } from '../state/keys';
import { t } from '../strings/en';
import { Keys } from './palette';

export function Shortcuts() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const known = new Map(shortcuts.value.map((each) => [each.keys, each]));
  return (
    <dialog
      ref={dialog}
      class="sheet shortcuts"
      aria-labelledby="shortcuts-title"
      onClose={() => {
        helpOpen.value = false;
      }}
    >
      <h2 id="shortcuts-title">{t.keys.title}</h2>
      <dl>
        {[...known.values()].map((each) => (
          <div key={each.keys}>
            <dt>{each.label}</dt>
            <dd>
              <Keys keys={each.keys} />
            </dd>
          </div>
        ))}
      </dl>
      <label class="switch">
        <input
          type="checkbox"
          role="switch"
          checked={plainKeys.value}
          aria-checked={plainKeys.value}
          onChange={(event) => {
            plainKeys.value = event.currentTarget.checked;
          }}
        />
        {t.keys.plain}
      </label>
      <footer>
        <button type="button" class="button" onClick={() => dialog.current?.close()}>
          {t.common.close}
        </button>
      </footer>
    </dialog>
  );
}
