// The model as a graph of layers, as the editor draws it, and as the list of layers that a spec holds: one is made of the
// other, so what is drawn is what is trained. Pure.
import type { Json } from '../api/types';

export const inputId = 'input';

export interface NetLayer {
  /** The editor's own; never in a spec. */
  id: string;
  type: string;
  /** As the spec names it; null: by its place. */
  name: string | null;
  options: { [key: string]: Json };
  /** Ids of what it reads, in order: layers or `inputId`. */
  inputs: readonly string[];
  x: number;
  y: number;
}

export interface Net {
  layers: readonly NetLayer[];
}

/** These take two inputs or more. */
export function takesMany(type: string): boolean {
  return type === 'Add' || type === 'Concat';
}

function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

let serial = 0;
export function newId(): string {
  serial += 1;
  return `n${serial}`;
}

/** The layers of a spec as a graph; null when they are no list of objects with a type. Ids of `before` stay. */
export function netOf(layers: Json | undefined, before: Net | null = null): Net | null {
  if (!Array.isArray(layers)) return null;
  const made: NetLayer[] = [];
  const idOfName = new Map<string, string>([['input', inputId]]);
  for (const [index, layer] of layers.entries()) {
    if (!isObject(layer) || typeof layer.type !== 'string') return null;
    const { type, name, inputs, ...options } = layer;
    const old = before?.layers[index];
    const id = old && old.type === type ? old.id : newId();
    const last = made.at(-1)?.id ?? inputId;
    const named = Array.isArray(inputs) ? inputs.map((each) => idOfName.get(String(each)) ?? '') : [last];
    made.push({
      id,
      type: type as string,
      name: typeof name === 'string' ? name : null,
      options,
      inputs: named.filter(Boolean),
      x: old?.id === id ? old.x : 0,
      y: old?.id === id ? old.y : 0,
    });
    idOfName.set(typeof name === 'string' ? name : String(index), id);
  }
  return { layers: made };
}

/** Every layer behind those that it reads; of several that could come next, the one that stood first before. */
export function inOrder(net: Net): NetLayer[] {
  const left = [...net.layers];
  const done = new Set<string>([inputId]);
  const known = new Set(net.layers.map((layer) => layer.id));
  const order: NetLayer[] = [];
  while (left.length > 0) {
    const at = left.findIndex((layer) => layer.inputs.every((input) => done.has(input) || !known.has(input)));
    const [next] = left.splice(Math.max(0, at), 1);
    if (!next) break;
    order.push(next);
    done.add(next.id);
  }
  return order;
}

function freeName(type: string, taken: Set<string>): string {
  const stem = type.toLowerCase().replace(/[^a-z0-9]/g, '');
  for (let count = 1; ; count++) {
    const name = `${stem}${count}`;
    if (!taken.has(name)) return name;
  }
}

/** The list of layers for a spec, and the id of each by its place. */
export function layersOf(net: Net): { layers: { [key: string]: Json }[]; ids: string[] } {
  const order = inOrder(net);
  const taken = new Set(order.flatMap((layer) => layer.name ?? []));
  const names = new Map<string, string>();
  order.forEach((layer, index) => {
    const read = order.some((other, at) => other.inputs.includes(layer.id) && !unsaid(other, order, at));
    const name = layer.name ?? (read ? freeName(layer.type, taken) : null);
    if (name) taken.add(name);
    names.set(layer.id, name ?? String(index));
  });
  const layers = order.map((layer, index) => {
    const name = names.get(layer.id);
    const plain = unsaid(layer, order, index);
    const inputs = layer.inputs
      .map((id) => (id === inputId ? 'input' : (names.get(id) ?? '')))
      .filter(Boolean);
    return {
      type: layer.type,
      ...(name !== undefined && name !== String(index)
        ? { name }
        : layer.name !== null
          ? { name: layer.name }
          : {}),
      ...layer.options,
      // Nothing to read is written too, so that the platform refuses it instead of reading the layer before.
      ...(plain ? {} : { inputs }),
    };
  });
  return { layers, ids: order.map((layer) => layer.id) };
}

/** Whether it reads just the layer before, so that its spec need not say so; what joins says it always. */
function unsaid(layer: NetLayer, order: readonly NetLayer[], index: number): boolean {
  const before = index === 0 ? inputId : (order[index - 1]?.id ?? '');
  return !takesMany(layer.type) && layer.inputs.length === 1 && layer.inputs[0] === before;
}

/** Whether `from` reads `to`, directly or not: then a wire from `from` to `to` would go in a circle. */
export function reaches(net: Net, from: string, to: string): boolean {
  if (from === to) return true;
  const layer = net.layers.find((each) => each.id === from);
  return layer?.inputs.some((input) => input !== inputId && reaches(net, input, to)) ?? false;
}

function change(net: Net, id: string, how: (layer: NetLayer) => NetLayer): Net {
  return { layers: net.layers.map((layer) => (layer.id === id ? how(layer) : layer)) };
}

export function connect(net: Net, from: string, to: string): Net {
  if (to === inputId || reaches(net, from, to)) return net;
  return change(net, to, (layer) => {
    if (layer.inputs.includes(from)) return layer;
    return { ...layer, inputs: takesMany(layer.type) ? [...layer.inputs, from] : [from] };
  });
}

export function disconnect(net: Net, from: string, to: string): Net {
  return change(net, to, (layer) => ({ ...layer, inputs: layer.inputs.filter((each) => each !== from) }));
}

export function setOptions(net: Net, id: string, options: { [key: string]: Json }): Net {
  return change(net, id, (layer) => ({ ...layer, options }));
}

/** False when another layer has the name or it is no name. */
export function mayBeNamed(net: Net, id: string, name: string): boolean {
  return (
    /^([A-Za-z_][A-Za-z0-9_]*|[0-9]+)$/.test(name) &&
    name !== 'input' &&
    !net.layers.some((layer) => layer.id !== id && layer.name === name)
  );
}

export function setName(net: Net, id: string, name: string | null): Net {
  if (name !== null && !mayBeNamed(net, id, name)) return net;
  return change(net, id, (layer) => ({ ...layer, name }));
}

export function move(net: Net, places: ReadonlyMap<string, { x: number; y: number }>): Net {
  return { layers: net.layers.map((layer) => ({ ...layer, ...places.get(layer.id) })) };
}

/** Takes layers out; what read one of them reads what that one read, so that a chain stays whole. */
export function remove(net: Net, ids: ReadonlySet<string>): Net {
  const inputsOf = new Map(net.layers.map((layer) => [layer.id, layer.inputs]));
  const through = (id: string): string[] => (ids.has(id) ? (inputsOf.get(id) ?? []).flatMap(through) : [id]);
  return {
    layers: net.layers
      .filter((layer) => !ids.has(layer.id))
      .map((layer) => {
        const inputs = [...new Set(layer.inputs.flatMap(through))];
        return { ...layer, inputs: takesMany(layer.type) ? inputs : inputs.slice(0, 1) };
      }),
  };
}

const rowPx = 96;

/** Puts a new layer behind `after`: into its chain when just one layer reads it, else as a branch of its own. */
export function insertAfter(
  net: Net,
  after: string,
  type: string,
  options: { [key: string]: Json },
): { net: Net; id: string } {
  const id = newId();
  const source = net.layers.find((layer) => layer.id === after);
  const readers = net.layers.filter((layer) => layer.inputs.includes(after));
  const [reader] = readers;
  const made: NetLayer = {
    id,
    type,
    name: null,
    options,
    inputs: [after],
    x: source?.x ?? 0,
    y: (source?.y ?? -rowPx) + rowPx,
  };
  const index = net.layers.findIndex((layer) => layer.id === after);
  const rest =
    readers.length === 1 && reader
      ? change(net, reader.id, (layer) => ({
          ...layer,
          inputs: layer.inputs.map((each) => (each === after ? id : each)),
        })).layers
      : net.layers;
  return { id, net: { layers: [...rest.slice(0, index + 1), made, ...rest.slice(index + 1)] } };
}

/** What of a net goes to the clipboard. */
export function copied(net: Net, ids: ReadonlySet<string>): string {
  return JSON.stringify({ cyxwiz_layers: net.layers.filter((layer) => ids.has(layer.id)) });
}

/** Layers from the clipboard beside the others, joined as they were among themselves; null when it holds none. */
export function pasted(net: Net, text: string): { net: Net; ids: string[] } | null {
  let kept: NetLayer[];
  try {
    const read = JSON.parse(text) as { cyxwiz_layers?: NetLayer[] };
    if (!Array.isArray(read?.cyxwiz_layers)) return null;
    kept = read.cyxwiz_layers.filter(
      (layer) =>
        typeof layer?.id === 'string' &&
        typeof layer.type === 'string' &&
        Array.isArray(layer.inputs) &&
        isObject(layer.options) &&
        Number.isFinite(layer.x + layer.y),
    );
  } catch {
    return null;
  }
  if (kept.length === 0) return null;
  const ids = new Map(kept.map((layer) => [layer.id, newId()]));
  const made = kept.map((layer) => ({
    ...layer,
    id: ids.get(layer.id) ?? newId(),
    name: null,
    inputs: layer.inputs.flatMap((input) => ids.get(input) ?? []),
    x: layer.x + 40,
    y: layer.y + 40,
  }));
  return { net: { layers: [...net.layers, ...made] }, ids: made.map((layer) => layer.id) };
}

/**
 * A spec whose shapes tell those of the first `count` layers, for a model that is wrong behind them: their loose ends
 * are flattened into ten classes and added. The platform judges it; null when there is nothing to ask.
 */
export function probeLayers(layers: readonly { [key: string]: Json }[], count: number): Json[] | null {
  const kept = layers
    .slice(0, count)
    .map((layer, index) => ({ ...layer, name: layer.name ?? String(index) }));
  if (kept.length === 0) return null;
  const read = new Set<Json>();
  kept.forEach((layer, index) => {
    const inputs = (layer as { inputs?: Json }).inputs;
    for (const each of Array.isArray(inputs) ? inputs : [kept[index - 1]?.name ?? 'input']) read.add(each);
  });
  const heads: string[] = [];
  const extra: Json[] = [];
  for (const layer of kept) {
    if (read.has(layer.name)) continue;
    const flat = `probe_flat_${heads.length}`;
    const head = `probe_head_${heads.length}`;
    extra.push(
      { type: 'Flatten', name: flat, inputs: [layer.name] },
      { type: 'Linear', name: head, out_features: 10, inputs: [flat] },
    );
    heads.push(head);
  }
  if (heads.length > 1) extra.push({ type: 'Add', name: 'probe_sum', inputs: heads });
  return [...kept, ...extra];
}
