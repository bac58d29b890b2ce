// The job spec's JSON Schema as the page uses it: what may stand where, with defaults and sentences. It comes with the
// parts that need it (form, completion, model editor), never with the first load.
import document from '../../../docs/contracts/job.schema.json';
import type { Json } from '../api/types';

export interface Schema {
  $ref?: string;
  type?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  oneOf?: Schema[];
  anyOf?: Schema[];
  enum?: Json[];
  const?: Json;
  default?: Json;
  examples?: Json[];
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
}

const root = document as unknown as Schema & { $defs: Record<string, Schema> };

export function resolved(schema: Schema): Schema {
  const name = schema.$ref?.replace('#/$defs/', '');
  const target = name ? root.$defs[name] : undefined;
  if (!target) return schema;
  return schema.description ? { ...target, description: schema.description } : target;
}

export const rootSchema: Schema = root;

/** The members of a family of things that are told apart by "type": Layer, Loss, Optimizer, Scheduler. */
export function typesOf(family: string): string[] {
  return (root.$defs[family]?.oneOf ?? [])
    .map((each) => each.$ref?.replace('#/$defs/', '') ?? '')
    .filter(Boolean);
}

export function definition(name: string): Schema | null {
  return root.$defs[name] ?? null;
}

export interface Field {
  key: string;
  schema: Schema;
  required: boolean;
}

/** What can be set of a thing, without what the page sets itself. */
export function fieldsOf(schema: Schema | null, without: readonly string[] = []): Field[] {
  if (!schema) return [];
  return Object.entries(schema.properties ?? {})
    .filter(([key]) => !without.includes(key))
    .map(([key, each]) => ({
      key,
      schema: resolved(each),
      required: schema.required?.includes(key) ?? false,
    }));
}

function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** Of several shapes, those that fit what is there: by "type", else all. */
function branches(schema: Schema, value: Json | undefined): Schema[] {
  const whole = resolved(schema);
  const choices = whole.oneOf ?? whole.anyOf;
  if (!choices) return [whole];
  const all = choices.flatMap((each) => branches(each, value));
  const type = isObject(value) ? value.type : undefined;
  const fitting = all.filter((each) => type !== undefined && each.properties?.type?.const === type);
  return fitting.length > 0 ? fitting : all;
}

/** The schemas that judge the value at `path` within `value`. */
export function schemasAt(path: readonly string[], value: Json | undefined): Schema[] {
  let schemas = branches(root, value);
  let here = value;
  for (const part of path) {
    here = Array.isArray(here) ? here[Number(part)] : isObject(here) ? here[part] : undefined;
    const next = here;
    schemas = schemas.flatMap((schema) => {
      const inner =
        schema.properties?.[part] ?? (schema.items && /^\d+$/.test(part) ? schema.items : undefined);
      return inner ? branches(inner, next) : [];
    });
  }
  return schemas;
}

export interface Suggestion {
  /** As it stands in JSON. */
  text: string;
  label: string;
  detail: string;
  info: string;
}

function typeText(schema: Schema): string {
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(' | ');
  return schema.type ?? '';
}

/** Names that may be added to the object at `path`. */
export function keySuggestions(
  path: readonly string[],
  value: Json | undefined,
  have: readonly string[],
): Suggestion[] {
  const found = new Map<string, Suggestion>();
  for (const schema of schemasAt(path, value)) {
    for (const [key, each] of Object.entries(schema.properties ?? {})) {
      if (have.includes(key) || found.has(key) || key === '$schema') continue;
      const inner = resolved(each);
      const must = schema.required?.includes(key) ? '*' : '';
      found.set(key, {
        text: JSON.stringify(key),
        label: key,
        detail: `${typeText(inner)}${must}`.slice(0, 40),
        info: inner.description ?? '',
      });
    }
  }
  return [...found.values()];
}

/** Values that may stand at `path`. */
export function valueSuggestions(path: readonly string[], value: Json | undefined): Suggestion[] {
  const found = new Map<string, Suggestion>();
  const add = (each: Json, info: string, detail = '') => {
    const text = JSON.stringify(each);
    if (!found.has(text)) found.set(text, { text, label: text, detail, info });
  };
  // The kind of a thing is chosen among all kinds, whatever it is now.
  const asked = path.at(-1) === 'type' ? schemasAt(path, undefined) : schemasAt(path, value);
  for (const schema of asked) {
    const info = schema.description ?? '';
    for (const each of schema.enum ?? []) add(each, info);
    if (schema.const !== undefined) add(schema.const, info);
    if (schema.default !== undefined) add(schema.default, info, 'default');
    for (const each of schema.examples ?? []) add(each, info);
    if (schema.type === 'boolean') for (const each of [true, false]) add(each, info);
  }
  return [...found.values()];
}

/** The spec with what it leaves out set to its default, in the objects that it has; the layers are left as they are. */
export function withDefaults(value: Json, schema: Schema = root): Json {
  if (!isObject(value)) return value;
  const filled: { [key: string]: Json } = { ...value };
  for (const branch of branches(schema, value)) {
    for (const [key, each] of Object.entries(branch.properties ?? {})) {
      const inner = resolved(each);
      const own = filled[key];
      if (own === undefined && inner.default !== undefined && !Array.isArray(inner.default))
        filled[key] = inner.default;
      else if (isObject(own) && key !== 'model') filled[key] = withDefaults(own, inner);
    }
  }
  return filled;
}

/** Words about the value at `path`, for who points at it. */
export function aboutAt(path: readonly string[], value: Json | undefined): string | null {
  return schemasAt(path, value).find((schema) => schema.description)?.description ?? null;
}
