// Fields for the settings of a thing, as the schema has them. Left empty, a setting is not in the spec and its default
// counts, which the field shows.
import { useSignal } from '@preact/signals';
import type { Json } from '../../api/types';
import type { Field, Schema } from '../../state/schema';
import { t } from '../../strings/en';

interface FieldProps {
  field: Field;
  value: Json | undefined;
  idPrefix: string;
  fault?: string | null | undefined;
  onChange(value: Json | undefined): void;
}

export function fieldLabel(key: string): string {
  return t.submit.fields[key] ?? key.replaceAll('_', ' ');
}

function numeric(schema: Schema): boolean {
  return schema.type === 'integer' || schema.type === 'number';
}

/** What a person types as the value that it means: numbers, pairs as "3, 5", words as they are. */
export function parseField(text: string, schema: Schema): Json | undefined {
  const clean = text.trim();
  if (clean === '') return undefined;
  if (schema.type === 'string' || (schema.enum && !schema.anyOf)) return clean;
  if (/^-?\d*\.?\d+(e[+-]?\d+)?$/i.test(clean))
    return schema.type === 'array' ? [Number(clean)] : Number(clean);
  const parts = clean
    .replace(/^\[|\]$/g, '')
    .split(/[\s,×x]+/)
    .filter(Boolean);
  if (parts.length > 0 && parts.every((part) => !Number.isNaN(Number(part)))) return parts.map(Number);
  return clean;
}

export function fieldText(value: Json | undefined): string {
  if (value === undefined || value === null) return '';
  if (Array.isArray(value)) return value.map(fieldText).join(', ');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** Lists of things are written as JSON; a form for them would be no easier. */
function fits(schema: Schema): boolean {
  if (schema.type === 'object') return false;
  if (schema.type !== 'array') return true;
  const item = schema.items;
  return item === undefined || item.type === 'integer' || item.type === 'number';
}

export function shownFields(fields: Field[]): Field[] {
  return fields.filter((field) => fits(field.schema));
}

export function SchemaField({ field, value, idPrefix, fault, onChange }: FieldProps) {
  const { key, schema, required } = field;
  const id = `${idPrefix}-${key}`;
  const typed = useSignal<string | null>(null);
  const usual = fieldText(schema.default);
  const described = `${id}-about`;
  const common = {
    id,
    'aria-describedby': schema.description || fault ? described : undefined,
    'aria-invalid': fault ? true : undefined,
    required,
  };
  const about = (schema.description || fault) && (
    <small id={described} class={fault ? 'warn' : 'muted'}>
      {fault ?? schema.description}
    </small>
  );
  if (schema.type === 'boolean') {
    const on = value === undefined ? schema.default === true : value === true;
    return (
      <div class="form-field">
        <label class="switch" for={id}>
          <input
            {...common}
            type="checkbox"
            role="switch"
            checked={on}
            aria-checked={on}
            onChange={(event) => {
              const next = event.currentTarget.checked;
              onChange(next === (schema.default === true) ? undefined : next);
            }}
          />
          {fieldLabel(key)}
        </label>
        {about}
      </div>
    );
  }
  const choices = schema.enum;
  if (choices && choices.length > 1) {
    return (
      <div class="form-field">
        <label for={id}>{fieldLabel(key)}</label>
        <select
          {...common}
          class="input compact"
          value={fieldText(value)}
          onChange={(event) =>
            onChange(event.currentTarget.value === '' ? undefined : event.currentTarget.value)
          }
        >
          {!required && <option value="">{usual ? t.submit.form.usual(usual) : t.submit.form.none}</option>}
          {required && value === undefined && <option value="" />}
          {choices.map((choice) => (
            <option key={String(choice)} value={String(choice)}>
              {String(choice)}
            </option>
          ))}
        </select>
        {about}
      </div>
    );
  }
  return (
    <div class="form-field">
      <label for={id}>{fieldLabel(key)}</label>
      <input
        {...common}
        class="input compact num"
        type="text"
        inputMode={numeric(schema) ? 'decimal' : undefined}
        placeholder={usual || (required ? '' : t.submit.form.none)}
        spellcheck={false}
        autocomplete="off"
        value={typed.value ?? fieldText(value)}
        onInput={(event) => {
          typed.value = event.currentTarget.value;
          onChange(parseField(event.currentTarget.value, schema));
        }}
        onBlur={() => {
          typed.value = null;
        }}
      />
      {about}
    </div>
  );
}
