import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Json } from '../api/types';
import {
  connect,
  copied,
  disconnect,
  inOrder,
  inputId,
  insertAfter,
  layersOf,
  mayBeNamed,
  type Net,
  netOf,
  pasted,
  probeLayers,
  reaches,
  remove,
  setName,
} from './net';

const chain: Json = [{ type: 'Flatten' }, { type: 'Linear', out_features: 8 }, { type: 'ReLU' }];
const net = (layers: Json): Net => {
  const made = netOf(layers);
  if (!made) throw new Error('no net');
  return made;
};
const id = (of: Net, index: number): string => of.layers[index]?.id ?? '';
const examples = new URL('../../../docs/examples/', import.meta.url);

describe('test_net', () => {
  test.each(
    readdirSync(examples).filter((name) => name.endsWith('.json')),
  )('test_net__%s is drawn and written back as it is', (name) => {
    const spec = JSON.parse(readFileSync(new URL(name, examples), 'utf8'));
    const { layers } = layersOf(net(spec.model.layers));
    const plain = spec.model.layers.map((layer: { inputs?: string[] }, index: number) => {
      const before = spec.model.layers[index - 1]?.name ?? String(index - 1);
      const { inputs, ...rest } = layer;
      return inputs && !(inputs.length === 1 && inputs[0] === before) ? { ...rest, inputs } : rest;
    });
    expect(layers).toEqual(plain);
  });

  test('test_net__what_is_no_list_of_layers_is_no_net', () => {
    expect(netOf('x')).toBeNull();
    expect(netOf([{ name: 'x' }])).toBeNull();
    expect(netOf([])).toEqual({ layers: [] });
  });

  test('test_net__a_branch_names_what_it_reads', () => {
    const start = net(chain);
    const added = insertAfter(start, id(start, 2), 'Add', {});
    const joined = connect(added.net, id(start, 1), added.id);
    expect(layersOf(joined).layers).toEqual([
      { type: 'Flatten' },
      { type: 'Linear', name: 'linear1', out_features: 8 },
      { type: 'ReLU', name: 'relu1' },
      { type: 'Add', inputs: ['relu1', 'linear1'] },
    ]);
    expect(net(layersOf(joined).layers).layers[3]?.inputs).toHaveLength(2);
  });

  test('test_net__circles_are_not_made_and_one_input_replaces_the_other', () => {
    const start = net(chain);
    expect(reaches(start, id(start, 2), id(start, 0))).toBe(true);
    expect(connect(start, id(start, 2), id(start, 0))).toBe(start);
    expect(connect(start, inputId, id(start, 2)).layers[2]?.inputs).toEqual([inputId]);
    expect(disconnect(start, id(start, 1), id(start, 2)).layers[2]?.inputs).toEqual([]);
  });

  test('test_net__inserting_and_removing_keep_the_chain_whole', () => {
    const start = net(chain);
    const { net: longer, id: made } = insertAfter(start, id(start, 0), 'Dropout', { p: 0.1 });
    expect(layersOf(longer).layers.map((layer) => layer.type)).toEqual([
      'Flatten',
      'Dropout',
      'Linear',
      'ReLU',
    ]);
    expect(layersOf(remove(longer, new Set([made]))).layers).toEqual(chain);
    const first = insertAfter(start, inputId, 'ReLU', {});
    expect(layersOf(first.net).layers.map((layer) => layer.type)[0]).toBe('ReLU');
  });

  test('test_net__a_layer_drawn_before_what_it_reads_is_written_behind_it', () => {
    const start = net(chain);
    const turned = { layers: [...start.layers].reverse() };
    expect(inOrder(turned).map((layer) => layer.type)).toEqual(['Flatten', 'Linear', 'ReLU']);
  });

  test('test_net__a_name_is_one_layers_alone', () => {
    const start = setName(net(chain), id(net(chain), 0), 'a');
    const named = setName(start, id(start, 0), 'flat');
    expect(named.layers[0]?.name).toBe('flat');
    expect(mayBeNamed(named, id(named, 1), 'flat')).toBe(false);
    expect(mayBeNamed(named, id(named, 1), 'a b')).toBe(false);
    expect(setName(named, id(named, 1), 'flat')).toBe(named);
  });

  test('test_net__pasting_gives_new_layers_joined_as_they_were', () => {
    const start = net(chain);
    const text = copied(start, new Set([id(start, 1), id(start, 2)]));
    const made = pasted(start, text);
    expect(made?.net.layers).toHaveLength(5);
    expect(made?.net.layers[4]?.inputs).toEqual([made?.ids[0]]);
    expect(made?.net.layers[3]?.inputs).toEqual([]);
    expect(pasted(start, 'hello')).toBeNull();
    expect(pasted(start, '{"cyxwiz_layers":[{"id":1}]}')).toBeNull();
  });

  test('test_net__a_probe_joins_every_loose_end', () => {
    const layers: { [key: string]: Json }[] = [
      { type: 'Conv2d', name: 'a' },
      { type: 'ReLU', name: 'b' },
      { type: 'ReLU', name: 'c', inputs: ['a'] },
      { type: 'Add', inputs: ['b', 'c'] },
    ];
    const probe = probeLayers(layers, 3) as { name: string; inputs?: string[] }[];
    expect(probe.map((layer) => layer.name).slice(3)).toEqual([
      'probe_flat_0',
      'probe_head_0',
      'probe_flat_1',
      'probe_head_1',
      'probe_sum',
    ]);
    expect(probeLayers(layers, 0)).toBeNull();
  });
});
