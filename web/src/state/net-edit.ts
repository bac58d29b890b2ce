// The model editor's state: the net that is drawn, kept in step with the draft's text, with undo; and what the platform
// says of it: the shape on each wire and the fault at the layer that causes it.
import { batch, computed, effect, signal } from '@preact/signals';
import * as api from '../api/client';
import type { Json, Validation } from '../api/types';
import { layersOf, type Net, netOf, probeLayers } from './net';
import { startSpec, type Template } from './net-templates';
import { check, draft, draftSpec, setDraftFromSpec } from './submit';

const historyLimit = 200;
const restMs = 1_500;

export interface LayerFacts {
  shape: readonly number[];
  parameters: number;
}

export const net = signal<Net>({ layers: [] });
/** The draft holds layers that can be drawn. */
export const drawable = computed(() => netOf(layersIn(draftSpec.value)) !== null);
export const facts = signal<ReadonlyMap<string, LayerFacts>>(new Map());
export const layerFault = signal<{ id: string; message: string; pointer: string } | null>(null);
export const selected = signal<ReadonlySet<string>>(new Set());
/** Rises when the layout should be made anew: the layers came from elsewhere. */
export const arrivals = signal(0);

const past = signal<readonly Net[]>([]);
const future = signal<readonly Net[]>([]);
export const canUndo = computed(() => past.value.length > 0);
export const canRedo = computed(() => future.value.length > 0);

let writtenLayers = '';
let order: readonly string[] = [];

function layersIn(spec: { [key: string]: Json } | null): Json | undefined {
  const model = spec?.model;
  if (model === null || typeof model !== 'object' || Array.isArray(model)) return undefined;
  return model.layers;
}

function write(next: Net): void {
  const { layers, ids } = layersOf(next);
  order = ids;
  writtenLayers = JSON.stringify(layers);
  const spec = draftSpec.peek() ?? startSpec;
  const model =
    spec.model !== null && typeof spec.model === 'object' && !Array.isArray(spec.model) ? spec.model : {};
  if (JSON.stringify(layersIn(spec) ?? null) !== writtenLayers)
    setDraftFromSpec({ ...spec, model: { ...model, layers } });
}

let lastGroup = '';
let lastEditAt = 0;

/** A change by the user, which can be taken back; what is typed into one field without a rest is one change. */
export function edit(next: Net, group = ''): void {
  if (next === net.peek()) return;
  const goesOn = group !== '' && group === lastGroup && Date.now() - lastEditAt < restMs;
  lastGroup = group;
  lastEditAt = Date.now();
  batch(() => {
    if (!goesOn) past.value = [...past.peek(), net.peek()].slice(-historyLimit);
    future.value = [];
    net.value = next;
    write(next);
  });
}

/** A change of where things stand, which is no step of its own to take back. */
export function place(next: Net): void {
  net.value = next;
}

function step(from: typeof past, to: typeof past): void {
  const next = from.peek().at(-1);
  if (!next) return;
  lastGroup = '';
  batch(() => {
    to.value = [...to.peek(), net.peek()];
    from.value = from.peek().slice(0, -1);
    net.value = next;
    const there = new Set(next.layers.map((layer) => layer.id));
    selected.value = new Set([...selected.peek()].filter((id) => there.has(id)));
    write(next);
  });
}
export const undo = () => step(past, future);
export const redo = () => step(future, past);

export function startFrom(template: Template): void {
  const spec = draftSpec.peek() ?? startSpec;
  const made = netOf(template.layers);
  if (!made) return;
  batch(() => {
    past.value = [...past.peek(), net.peek()].slice(-historyLimit);
    future.value = [];
    net.value = made;
    selected.value = new Set();
    arrivals.value += 1;
    const { layers, ids } = layersOf(made);
    order = ids;
    writtenLayers = JSON.stringify(layers);
    setDraftFromSpec({ ...spec, model: { layers }, loss: template.loss });
  });
}

function take(spec: { [key: string]: Json } | null): void {
  const layers = layersIn(spec);
  const text = JSON.stringify(layers ?? null);
  if (text === writtenLayers) return;
  const made = netOf(layers, net.peek());
  if (!made) return;
  writtenLayers = text;
  order = made.layers.map((layer) => layer.id);
  batch(() => {
    past.value = [];
    future.value = [];
    net.value = made;
    selected.value = new Set();
    arrivals.value += 1;
  });
}

function factsOf(validation: Validation, count: number, ids: readonly string[]): Map<string, LayerFacts> {
  const found = new Map<string, LayerFacts>();
  validation.layers.slice(0, count).forEach((layer, index) => {
    const id = ids[index];
    if (id !== undefined) found.set(id, { shape: layer.output_shape, parameters: layer.parameters });
  });
  return found;
}

let asking: AbortController | null = null;

/** The shapes before the layer that is wrong, from the platform: it judges the part that is right. */
async function probe(spec: { [key: string]: Json }, index: number, ids: readonly string[]): Promise<void> {
  const { layers } = layersOf(net.peek());
  const part = probeLayers(layers, index);
  if (!part) {
    facts.value = new Map();
    return;
  }
  const mine = new AbortController();
  asking = mine;
  const asked = {
    ...startSpec,
    ...(spec.data ? { data: spec.data } : {}),
    model: { layers: part },
  };
  try {
    const validation = await api.validateSpec(JSON.stringify(asked), mine.signal);
    if (asking === mine) facts.value = factsOf(validation, index, ids);
  } catch {
    if (asking === mine) facts.value = new Map();
  }
}

function judge(): void {
  const now = check.value;
  asking?.abort();
  asking = null;
  if (now.kind === 'valid') {
    const known = factsOf(now.validation, order.length, order);
    batch(() => {
      layerFault.value = null;
      if (now.validation.layers.length === order.length) facts.value = known;
    });
  } else if (now.kind === 'faulty') {
    const index = Number(/^\/model\/layers\/(\d+)/.exec(now.fault.pointer ?? '')?.[1] ?? Number.NaN);
    const id = order[index];
    const spec = draftSpec.peek();
    layerFault.value =
      id === undefined ? null : { id, message: now.fault.message ?? '', pointer: now.fault.pointer ?? '' };
    if (spec) void probe(spec, Number.isNaN(index) ? order.length : index, order);
  } else if (now.kind === 'empty') {
    batch(() => {
      layerFault.value = null;
      facts.value = new Map();
    });
  }
}

/** Keeps net, text and what the platform says in step. Returns the stop. */
export function watchNet(): () => void {
  const stopText = effect(() => take(draftSpec.value));
  const stopCheck = effect(judge);
  return () => {
    stopText();
    stopCheck();
    asking?.abort();
  };
}

/** Forgets the net when the draft is emptied. */
effect(() => {
  if (draft.value !== '') return;
  writtenLayers = '';
  order = [];
  net.value = { layers: [] };
  past.value = [];
  future.value = [];
});
