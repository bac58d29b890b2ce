// biome-ignore-all lint/a11y: the drawing is an application with keys of its own; the panel beside it does the same by form
// The model editor: layers as nodes, what flows between them as wires with its shape. It draws the draft's layers and
// writes them back, so that what is drawn is what is trained.

import { useSignalEffect } from '@preact/signals';
import {
  Background,
  BackgroundVariant,
  Controls,
  type Edge,
  type EdgeChange,
  Handle,
  MarkerType,
  type Node,
  type NodeChange,
  type NodeProps,
  Position,
  ReactFlow,
  type ReactFlowInstance,
} from '@xyflow/react';
import { useEffect, useRef, useState } from 'preact/hooks';
import '@xyflow/react/dist/style.css';
import type { Json } from '../../api/types';
import { datasets } from '../../state/lists';
import {
  connect,
  copied,
  disconnect,
  inputId,
  insertAfter,
  move,
  type NetLayer,
  pasted,
  reaches,
  remove,
} from '../../state/net';
import {
  arrivals,
  canRedo,
  canUndo,
  drawable,
  edit,
  facts,
  layerFault,
  net,
  place,
  redo,
  selected,
  startFrom,
  undo,
  watchNet,
} from '../../state/net-edit';
import { startOptions, templates } from '../../state/net-templates';
import { typesOf } from '../../state/schema';
import { draftSpec, facts as specFacts } from '../../state/submit';
import { t } from '../../strings/en';
import { formatCount } from '../format';
import { fieldText } from '../submit/fields';
import { Icon } from '../ui/icons';
import { Inspector, layerLabel, shapeText } from './inspector';
import { layout, nodeWidth } from './layout';

type LayerNode = Node<{ layer: NetLayer; parameters: number | null; fault: string | null }, 'layer'>;
type InputNode = Node<{ title: string; shape: string }, 'input-layer'>;
type AnyNode = LayerNode | InputNode;

/** The settings that tell layers of one kind apart, in few characters. */
function summary(options: { [key: string]: Json }): string {
  return Object.entries(options)
    .filter(([, value]) => typeof value === 'number' || Array.isArray(value) || typeof value === 'string')
    .slice(0, 3)
    .map(([key, value]) => `${t.net.short[key] ?? key} ${fieldText(value)}`)
    .join(', ');
}

function LayerBox({ data, selected: chosen }: NodeProps<LayerNode>) {
  const { layer, parameters, fault } = data;
  return (
    <div class={`layer-box ${chosen ? 'chosen' : ''} ${fault ? 'faulty' : ''}`} data-layer={layer.type}>
      <Handle type="target" position={Position.Top} />
      <strong>
        {layer.type}
        {layer.name && <small class="mono">{layer.name}</small>}
      </strong>
      <span class="layer-summary num">
        {summary(layer.options)}
        {parameters !== null && parameters > 0 && <small>{formatCount(parameters)}</small>}
      </span>
      {fault && <p class="layer-fault">{fault}</p>}
      <Handle type="source" position={Position.Bottom} />
    </div>
  );
}

function InputBox({ data }: NodeProps<InputNode>) {
  return (
    <div class="layer-box input-box">
      <strong>{t.net.input}</strong>
      <span class="layer-summary">{data.title}</span>
      <Handle type="source" position={Position.Bottom} />
    </div>
  );
}

const roomPx = 110;
const leastZoom = 0.62;
const nodeTypes = { layer: LayerBox, 'input-layer': InputBox };

const groups: [keyof typeof t.net.groups, RegExp][] = [
  ['weights', /^(Linear|Conv)/],
  ['pooling', /Pool/],
  ['norm', /Norm|Dropout/],
  ['activation', /^(ReLU|LeakyReLU|GELU|SiLU|Sigmoid|Tanh|Softmax|LogSoftmax)$/],
  ['shape', /^(Flatten|Reshape)$/],
  ['joins', /^(Add|Concat)$/],
];

function addLayer(type: string): void {
  const layers = net.peek().layers;
  const [only] = selected.peek();
  const after = selected.peek().size === 1 && only ? only : (layers.at(-1)?.id ?? inputId);
  const made = insertAfter(net.peek(), after, type, startOptions[type] ?? {});
  edit(move(made.net, layout(made.net)));
  selected.value = new Set([made.id]);
}

function Palette() {
  const types = typesOf('Layer');
  return (
    <div class="layer-palette" role="group" aria-label={t.net.add}>
      {groups.map(([group, pattern]) => (
        <div key={group}>
          <span class="label">{t.net.groups[group]}</span>
          {types
            .filter((type) => pattern.test(type))
            .map((type) => (
              <button key={type} type="button" class="button small" onClick={() => addLayer(type)}>
                {type}
              </button>
            ))}
        </div>
      ))}
    </div>
  );
}

function removeChosen(): void {
  if (selected.peek().size === 0) return;
  edit(remove(net.peek(), selected.peek()));
  selected.value = new Set();
}

let copying: Promise<void> = Promise.resolve();
/** What was copied here, for a browser that does not let the page read the clipboard. */
let lastCopied = '';

function copy(): void {
  if (selected.peek().size === 0) return;
  lastCopied = copied(net.peek(), selected.peek());
  copying = navigator.clipboard?.writeText(lastCopied).catch(() => undefined) ?? Promise.resolve();
}

async function paste(): Promise<void> {
  await copying;
  const text = (await navigator.clipboard?.readText().catch(() => lastCopied)) ?? lastCopied;
  const made = pasted(net.peek(), text);
  if (!made) return;
  edit(made.net);
  selected.value = new Set(made.ids);
}

function tidy(): void {
  place(move(net.peek(), layout(net.peek())));
}

function inputTitle(): { title: string; shape: string } {
  const name = specFacts.value?.dataset ?? '';
  const known = datasets.state.value.data?.find((each) => each.name === name);
  return { title: known?.title ?? name, shape: known ? known.shape.join(' × ') : '?' };
}

function nodesNow(): AnyNode[] {
  const fault = layerFault.value;
  const input = inputTitle();
  return [
    {
      id: inputId,
      type: 'input-layer',
      position: { x: 0, y: 0 },
      data: input,
      draggable: false,
      deletable: false,
      selectable: false,
      width: nodeWidth,
      ariaLabel: `${t.net.input}: ${input.title}`,
    },
    ...net.value.layers.map(
      (layer): LayerNode => ({
        id: layer.id,
        type: 'layer',
        position: { x: layer.x, y: layer.y },
        selected: selected.value.has(layer.id),
        width: nodeWidth,
        ariaLabel: layerLabel(layer.id),
        data: {
          layer,
          parameters: facts.value.get(layer.id)?.parameters ?? null,
          fault: fault?.id === layer.id ? fault.message : null,
        },
      }),
    ),
  ];
}

function edgesNow(): Edge[] {
  const input = inputTitle().shape;
  return net.value.layers.flatMap((layer) =>
    layer.inputs.map((from) => ({
      id: `${from}>${layer.id}`,
      source: from,
      target: layer.id,
      label: from === inputId ? input : shapeText(facts.value.get(from)?.shape),
      labelShowBg: true,
      labelBgPadding: [5, 2] as [number, number],
      labelBgBorderRadius: 4,
      markerEnd: { type: MarkerType.ArrowClosed },
      ariaLabel: t.net.wire(layerLabel(from), layerLabel(layer.id)),
    })),
  );
}

function Tools({ onFit }: { onFit(): void }) {
  return (
    <div class="net-tools" role="toolbar" aria-label={t.net.tools}>
      <button
        type="button"
        class="icon-button"
        aria-label={t.net.undo}
        title={t.net.undo}
        disabled={!canUndo.value}
        onClick={undo}
      >
        <Icon name="undo" />
      </button>
      <button
        type="button"
        class="icon-button"
        aria-label={t.net.redo}
        title={t.net.redo}
        disabled={!canRedo.value}
        onClick={redo}
      >
        <Icon name="redo" />
      </button>
      <button
        type="button"
        class="button small quiet"
        onClick={() => {
          tidy();
          onFit();
        }}
      >
        {t.net.tidy}
      </button>
      <label class="net-template">
        <span class="hidden-text">{t.net.template}</span>
        <select
          class="input compact"
          value=""
          onChange={(event) => {
            const chosen = templates.find((each) => each.key === event.currentTarget.value);
            if (chosen) startFrom(chosen);
            event.currentTarget.value = '';
          }}
        >
          <option value="">{t.net.template}</option>
          {templates.map((each) => (
            <option key={each.key} value={each.key}>
              {t.net.templates[each.key]}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}

export function NetEditor() {
  const root = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLDivElement>(null);
  const flow = useRef<ReactFlowInstance<AnyNode, Edge> | null>(null);
  const [dragged, setDragged] = useState<ReadonlyMap<string, { x: number; y: number }>>(new Map());
  useEffect(() => {
    if (!datasets.state.peek().data) void datasets.load();
    return watchNet();
  }, []);
  /** All of a small net; of a deep one its beginning, large enough to read. */
  function showAll(): void {
    requestAnimationFrame(() => {
      const size = canvas.current?.getBoundingClientRect();
      const layers = net.peek().layers;
      if (!size || !flow.current) return;
      const depth = Math.max(0, ...layers.map((layer) => layer.y)) + roomPx;
      const spread = 2 * Math.max(nodeWidth, ...layers.map((layer) => Math.abs(layer.x))) + roomPx;
      const zoom = Math.max(leastZoom, Math.min(1, size.height / depth, size.width / spread));
      void flow.current.setViewport({ x: size.width / 2, y: 24, zoom });
    });
  }
  useSignalEffect(() => {
    void arrivals.value;
    tidy();
    showAll();
  });

  const nodes = nodesNow().map((node) => {
    const at = dragged.get(node.id);
    return at ? { ...node, position: at } : node;
  });
  const edges = edgesNow();

  function onNodesChange(changes: NodeChange<AnyNode>[]): void {
    let chosen: Set<string> | null = null;
    const moved = new Map(dragged);
    let dropped = false;
    for (const change of changes) {
      if (change.type === 'select') {
        chosen ??= new Set(selected.peek());
        if (change.selected) chosen.add(change.id);
        else chosen.delete(change.id);
      } else if (change.type === 'position' && change.position && change.id !== inputId) {
        moved.set(change.id, change.position);
        if (!change.dragging) dropped = true;
      }
    }
    if (chosen) selected.value = chosen;
    if (dropped) {
      place(move(net.peek(), moved));
      setDragged(new Map());
    } else if (moved.size > dragged.size || changes.some((change) => change.type === 'position')) {
      setDragged(moved);
    }
  }
  function onEdgesChange(changes: EdgeChange[]): void {
    for (const change of changes) {
      if (change.type !== 'remove') continue;
      const [from = '', to = ''] = change.id.split('>');
      edit(disconnect(net.peek(), from, to));
    }
  }
  function onKeyDown(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    // Nothing has the focus when what had it was taken away: then the keys are the drawing's still.
    const mine = target === document.body || root.current?.contains(target);
    if (!mine || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
    const mod = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    const actions: Record<string, () => void> = {
      z: event.shiftKey ? redo : undo,
      y: redo,
      c: copy,
      v: () => void paste(),
      a: () => {
        selected.value = new Set(net.peek().layers.map((layer) => layer.id));
      },
    };
    const action = mod
      ? actions[key]
      : event.key === 'Delete' || event.key === 'Backspace'
        ? removeChosen
        : undefined;
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  useEffect(() => {
    document.addEventListener('keydown', onKeyDown);
    return () => document.removeEventListener('keydown', onKeyDown);
  }, []);

  const empty = net.value.layers.length === 0;
  const broken = draftSpec.value !== null && !drawable.value && !empty;
  return (
    <div class="net-editor" ref={root}>
      <Tools onFit={showAll} />
      {broken && <p class="warn net-broken">{t.net.broken}</p>}
      <div class="net-body">
        <Palette />
        <div class="net-canvas" ref={canvas} data-layers={net.value.layers.length}>
          <ReactFlow<AnyNode, Edge>
            nodes={nodes}
            edges={edges}
            nodeTypes={nodeTypes}
            nodeOrigin={[0.5, 0]}
            onInit={(instance) => {
              flow.current = instance;
              showAll();
            }}
            onNodesChange={onNodesChange}
            onEdgesChange={onEdgesChange}
            onConnect={({ source, target }) => edit(connect(net.peek(), source, target))}
            isValidConnection={({ source, target }) =>
              target !== inputId && !reaches(net.peek(), source, target)
            }
            deleteKeyCode={null}
            minZoom={0.1}
            maxZoom={2}
            proOptions={{ hideAttribution: true }}
            ariaLabelConfig={{ 'node.a11yDescription.default': t.net.keys }}
          >
            <Background variant={BackgroundVariant.Dots} gap={20} size={1} />
            <Controls showInteractive={false} />
          </ReactFlow>
          {empty && (
            <div class="net-empty">
              <p>{t.net.empty}</p>
              {templates.map((each) => (
                <button key={each.key} type="button" class="button" onClick={() => startFrom(each)}>
                  {t.net.templates[each.key]}
                </button>
              ))}
            </div>
          )}
        </div>
        <div class="net-side">
          <Inspector />
        </div>
      </div>
      <p class="editor-help muted">{t.net.help}</p>
    </div>
  );
}
