// Where layers stand when nobody has put them anywhere: by ranks from the input down.
import { Graph, layout as rank } from '@dagrejs/dagre';
import { inputId, type Net } from '../../state/net';

export const nodeWidth = 188;
export const nodeHeight = 62;

export function layout(net: Net): Map<string, { x: number; y: number }> {
  const graph = new Graph();
  graph.setGraph({ rankdir: 'TB', nodesep: 56, edgesep: 56, ranksep: 44 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const id of [inputId, ...net.layers.map((layer) => layer.id)])
    graph.setNode(id, { width: nodeWidth, height: nodeHeight });
  for (const layer of net.layers) for (const input of layer.inputs) graph.setEdge(input, layer.id);
  rank(graph);
  const first = graph.node(inputId);
  // The input stays at the origin, so that the picture does not jump about.
  return new Map(
    net.layers.map((layer) => {
      const at = graph.node(layer.id);
      return [layer.id, { x: Math.round(at.x - first.x), y: Math.round(at.y - first.y) }];
    }),
  );
}
