// What stands beside the drawing: the settings of the layer that is chosen, its shapes, its inputs.
import { useSignal } from '@preact/signals';
import {
  connect,
  disconnect,
  inputId,
  mayBeNamed,
  move,
  type NetLayer,
  reaches,
  remove,
  setName,
  setOptions,
  takesMany,
} from '../../state/net';
import { edit, facts, layerFault, net, selected } from '../../state/net-edit';
import { definition, fieldsOf } from '../../state/schema';
import { t } from '../../strings/en';
import { formatInteger } from '../format';
import { SchemaField, shownFields } from '../submit/fields';
import { Icon } from '../ui/icons';
import { layout } from './layout';

export function shapeText(shape: readonly number[] | undefined): string {
  return shape ? shape.join(' × ') : '?';
}

export function layerLabel(id: string): string {
  if (id === inputId) return t.net.input;
  const at = net.value.layers.findIndex((layer) => layer.id === id);
  const layer = net.value.layers[at];
  return layer ? (layer.name ?? `${layer.type} ${at}`) : id;
}

function NameField({ layer }: { layer: NetLayer }) {
  const typed = useSignal<string | null>(null);
  const text = typed.value ?? layer.name ?? '';
  const bad = text !== '' && !mayBeNamed(net.value, layer.id, text);
  return (
    <div class="form-field">
      <label for="layer-name">{t.net.name}</label>
      <input
        id="layer-name"
        class="input compact"
        value={text}
        placeholder={t.net.byPlace}
        spellcheck={false}
        aria-invalid={bad ? true : undefined}
        aria-describedby={bad ? 'layer-name-bad' : undefined}
        onInput={(event) => {
          typed.value = event.currentTarget.value;
          const next = event.currentTarget.value;
          if (next === '') edit(setName(net.peek(), layer.id, null));
          else edit(setName(net.peek(), layer.id, next), `${layer.id}/name`);
        }}
        onBlur={() => {
          typed.value = null;
        }}
      />
      {bad && (
        <small id="layer-name-bad" class="warn">
          {t.net.badName}
        </small>
      )}
    </div>
  );
}

function Inputs({ layer }: { layer: NetLayer }) {
  const others = net.value.layers.filter(
    (each) =>
      each.id !== layer.id && !layer.inputs.includes(each.id) && !reaches(net.value, each.id, layer.id),
  );
  const free = layer.inputs.includes(inputId)
    ? others.map((each) => each.id)
    : [inputId, ...others.map((each) => each.id)];
  return (
    <div class="form-field">
      <span class="label">{takesMany(layer.type) ? t.net.inputs : t.net.oneInput}</span>
      <ul class="layer-inputs">
        {layer.inputs.map((id) => (
          <li key={id}>
            <span>{layerLabel(id)}</span>
            <span class="muted num">{id === inputId ? '' : shapeText(facts.value.get(id)?.shape)}</span>
            <button
              type="button"
              class="icon-button small"
              aria-label={t.net.cut(layerLabel(id))}
              onClick={() => edit(disconnect(net.peek(), id, layer.id))}
            >
              <Icon name="close" size={13} />
            </button>
          </li>
        ))}
      </ul>
      <select
        class="input compact"
        aria-label={t.net.join}
        value=""
        onChange={(event) => {
          const from = event.currentTarget.value;
          const joined = from === '' ? net.peek() : connect(net.peek(), from, layer.id);
          // Who joins by the list has not placed anything by hand: room is made for the new wire.
          if (joined !== net.peek()) edit(move(joined, layout(joined)));
          event.currentTarget.value = '';
        }}
      >
        <option value="">{t.net.join}</option>
        {free.map((id) => (
          <option key={id} value={id}>
            {layerLabel(id)}
          </option>
        ))}
      </select>
    </div>
  );
}

export function Inspector() {
  const [only] = selected.value;
  const layer = selected.value.size === 1 ? net.value.layers.find((each) => each.id === only) : undefined;
  if (!layer) {
    return (
      <p class="muted inspector-none">
        {selected.value.size > 1 ? t.net.several(selected.value.size) : t.net.choose}
      </p>
    );
  }
  const schema = definition(layer.type);
  const known = facts.value.get(layer.id);
  const fault = layerFault.value?.id === layer.id ? layerFault.value : null;
  const path = fault?.pointer.split('/').slice(4).join('/') ?? '';
  return (
    <section class="inspector" aria-label={t.net.layer(layer.type)}>
      <h3>{layer.type}</h3>
      {schema?.description && <p class="muted">{schema.description}</p>}
      {fault && (
        <p class="layer-fault" role="alert">
          {fault.message}
        </p>
      )}
      <dl class="facts">
        <div>
          <dt>{t.submit.columns.shape}</dt>
          <dd class="mono">{shapeText(known?.shape)}</dd>
        </div>
        <div>
          <dt>{t.submit.parameters}</dt>
          <dd class="num">{known ? formatInteger(known.parameters) : '–'}</dd>
        </div>
      </dl>
      <NameField key={layer.id} layer={layer} />
      {shownFields(fieldsOf(schema, ['type', 'name', 'inputs'])).map((field) => (
        <SchemaField
          key={`${layer.id}/${field.key}`}
          field={field}
          idPrefix="layer"
          value={layer.options[field.key]}
          fault={fault && path === field.key ? fault.message : null}
          onChange={(value) => {
            const options = { ...layer.options };
            if (value === undefined) delete options[field.key];
            else options[field.key] = value;
            edit(setOptions(net.peek(), layer.id, options), `${layer.id}/${field.key}`);
          }}
        />
      ))}
      <Inputs layer={layer} />
      <button
        type="button"
        class="button danger"
        onClick={() => {
          edit(remove(net.peek(), new Set([layer.id])));
          selected.value = new Set();
        }}
      >
        {t.net.remove}
      </button>
    </section>
  );
}
