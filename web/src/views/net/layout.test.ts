import { expect, test } from 'vitest';
import { netOf } from '../../state/net';
import { templates } from '../../state/net-templates';
import { layout } from './layout';

test('test_net_layout__what_reads_stands_below_and_nothing_covers_another', () => {
  for (const template of templates) {
    const net = netOf(template.layers);
    if (!net) throw new Error(template.key);
    const places = layout(net);
    for (const layer of net.layers)
      for (const input of layer.inputs)
        expect(places.get(layer.id)?.y ?? 0).toBeGreaterThan(places.get(input)?.y ?? 0);
    expect(new Set([...places.values()].map(({ x, y }) => `${x}/${y}`)).size).toBe(net.layers.length);
  }
});
