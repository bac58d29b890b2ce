// The form over a job spec: the settings that most jobs touch. It changes the same text as the JSON editor.
import type { Json } from '../../api/types';
import { datasets } from '../../state/lists';
import { definition, type Field, fieldsOf, resolved, rootSchema, typesOf } from '../../state/schema';
import { draftSpec, fault, setDraftAt } from '../../state/submit';
import { t } from '../../strings/en';
import { fieldLabel, SchemaField, shownFields } from './fields';

const topFields = ['name', 'epochs', 'seed', 'budget', 'priority'];
const dataFields = ['batch_size', 'shuffle', 'drop_last'];
const resourceFields = ['backend', 'device_memory_bytes', 'threads', 'max_price_per_hour', 'min_reputation'];

function at(spec: Json | undefined, path: readonly string[]): Json | undefined {
  let value = spec;
  for (const key of path) {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
    value = value[key];
  }
  return value;
}

function faultAt(path: readonly string[]): string | null {
  const found = fault.value;
  return found?.pointer === `/${path.join('/')}` ? found.message : null;
}

function Fields({ path, fields }: { path: readonly string[]; fields: Field[] }) {
  const spec = draftSpec.value ?? {};
  return (
    <>
      {fields.map((field) => (
        <SchemaField
          key={field.key}
          field={field}
          idPrefix={['form', ...path].join('-')}
          value={at(spec, [...path, field.key])}
          fault={faultAt([...path, field.key])}
          onChange={(value) => setDraftAt([...path, field.key], value)}
        />
      ))}
    </>
  );
}

function inner(path: readonly string[], keys: readonly string[]): Field[] {
  let schema = rootSchema;
  for (const key of path) schema = resolved(schema.properties?.[key] ?? {});
  const all = fieldsOf(schema);
  return keys.flatMap((key) => all.find((field) => field.key === key) ?? []);
}

/** A thing that is one of several kinds, with the settings of the kind that it is. */
function Kind({ member, family, optional }: { member: string; family: string; optional?: boolean }) {
  const value = at(draftSpec.value ?? {}, [member]);
  const type = at(value, ['type']);
  const known = typeof type === 'string' ? definition(type) : null;
  const id = `form-${member}-type`;
  return (
    <fieldset class="form-group">
      <legend>{fieldLabel(member)}</legend>
      <div class="form-fields">
        <div class="form-field">
          <label for={id}>{t.submit.form.kind}</label>
          <select
            id={id}
            class="input compact"
            value={typeof type === 'string' ? type : ''}
            onChange={(event) => {
              const next = event.currentTarget.value;
              const lr = at(value, ['lr']);
              const kept: { [key: string]: Json } =
                lr !== undefined && definition(next)?.properties?.lr ? { lr } : {};
              setDraftAt([member], next === '' ? undefined : { type: next, ...kept });
            }}
          >
            {(optional || !known) && <option value="">{t.submit.form.none}</option>}
            {typesOf(family).map((each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
          </select>
          {known?.description && <small class="muted">{known.description}</small>}
        </div>
        <Fields path={[member]} fields={shownFields(fieldsOf(known, ['type']))} />
      </div>
    </fieldset>
  );
}

function DatasetField() {
  const value = at(draftSpec.value ?? {}, ['data', 'dataset']);
  const known = datasets.state.value.data ?? [];
  const now = typeof value === 'string' ? value : '';
  const chosen = known.find((each) => each.name === now);
  return (
    <div class="form-field">
      <label for="form-dataset">{t.job.dataset}</label>
      <select
        id="form-dataset"
        class="input compact"
        value={now}
        aria-invalid={faultAt(['data', 'dataset']) ? true : undefined}
        onChange={(event) => setDraftAt(['data', 'dataset'], event.currentTarget.value || undefined)}
      >
        {!chosen && <option value={now}>{now || t.submit.form.choose}</option>}
        {known.map((each) => (
          <option key={each.name} value={each.name} disabled={!each.available}>
            {each.title}
          </option>
        ))}
      </select>
      <small class={faultAt(['data', 'dataset']) ? 'warn' : 'muted'}>
        {faultAt(['data', 'dataset']) ??
          (chosen
            ? t.submit.form.dataset(chosen.shape.join(' × '), chosen.n_train, chosen.classes.length)
            : '')}
      </small>
    </div>
  );
}

export function FormPart() {
  return (
    <form
      class="spec-form"
      aria-label={t.submit.ways.form}
      onSubmit={(event) => {
        event.preventDefault();
      }}
    >
      <fieldset class="form-group">
        <legend>{t.submit.form.job}</legend>
        <div class="form-fields">
          <Fields path={[]} fields={inner([], topFields)} />
        </div>
      </fieldset>
      <fieldset class="form-group">
        <legend>{t.submit.form.data}</legend>
        <div class="form-fields">
          <DatasetField />
          <Fields path={['data']} fields={inner(['data'], dataFields)} />
          <Fields path={['data', 'split']} fields={inner(['data', 'split'], ['validation'])} />
        </div>
      </fieldset>
      <Kind member="loss" family="Loss" />
      <Kind member="optimizer" family="Optimizer" />
      <Kind member="scheduler" family="Scheduler" optional />
      <fieldset class="form-group">
        <legend>{t.submit.form.resources}</legend>
        <div class="form-fields">
          <Fields path={['resources']} fields={inner(['resources'], resourceFields)} />
          <Fields path={['checkpoint']} fields={inner(['checkpoint'], ['every_steps'])} />
        </div>
      </fieldset>
      <p class="muted form-note">{t.submit.form.rest}</p>
    </form>
  );
}
