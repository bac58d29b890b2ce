"""Layers put together: in a row or as a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cyxwiz.nn.layers import Add, Layer

__all__ = ["Graph", "Input", "Network", "Node", "Sequential"]


class Network:
    """A network as data: the ``model`` of a job spec."""

    def __init__(self, layers: Sequence[Mapping[str, Any]]) -> None:
        self._layers = [dict(layer) for layer in layers]

    def to_dict(self) -> dict[str, Any]:
        """``{"layers": […]}``, as it stands in the job spec."""
        return {"layers": [dict(layer) for layer in self._layers]}

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        rows = (
            f"  ({layer.get('name', index)}): {layer['type']}("
            + ", ".join(f"{key}={value!r}" for key, value in layer.items() if key not in ("type", "name"))
            + ")\n"
            for index, layer in enumerate(self._layers)
        )
        return f"{type(self).__name__}(\n{''.join(rows)})"


class Sequential(Network):
    """Layers in a row; each reads the one before unless its ``inputs`` say otherwise.

    Takes layers, or one mapping of names to layers. A Sequential within stands for its layers: indices, and with them
    the names of parameters of layers without one, count through ("3.weight").

    Args:
        layers: the layers in their order.
    """

    def __init__(self, *layers: Layer | Sequential | Mapping[str, Layer]) -> None:
        flat: list[dict[str, Any]] = []
        for item in layers:
            if isinstance(item, Sequential):
                flat.extend(item._layers)
            elif isinstance(item, Mapping):
                flat.extend({**layer.to_dict(), "name": name} for name, layer in item.items())
            elif isinstance(item, Layer):
                flat.append(item.to_dict())
            else:
                raise TypeError(f"expected layers of cyxwiz.nn, got {type(item).__name__}")
        super().__init__(flat)


class Node:
    """The output of a layer in a graph; ``a + b`` is :class:`cyxwiz.nn.Add` of both."""

    def __init__(self, layer: Layer | None, inputs: Sequence[Node]) -> None:
        self.layer = layer
        self.inputs = tuple(inputs)
        if layer is not None and not inputs:
            raise TypeError(f"{layer.type} in a graph needs the node that it reads")

    def __add__(self, other: Node) -> Node:
        return Add()(self, other)


def Input() -> Node:
    """The batch itself, (N, …sample…): where a graph begins."""
    return Node(None, ())


class Graph(Network):
    """A network with branches: everything that ``output`` reads, down to :func:`Input`.

    Layers stand in the spec in an order in which each comes behind what it reads; those without a name are called by
    their index there.

    Args:
        output: the node of the last layer.

    Raises:
        TypeError: nodes of two inputs, or a layer used at two places.
    """

    def __init__(self, output: Node) -> None:
        order = _order(output)
        index = {id(node): i for i, node in enumerate(order)}
        owners: dict[int, Node] = {}
        layers: list[dict[str, Any]] = []
        for place, node in enumerate(order):
            assert node.layer is not None
            if owners.setdefault(id(node.layer), node) is not node:
                raise TypeError(f"{node.layer!r} stands at two places: weights are not shared, make two layers")
            layer = node.layer.to_dict()
            before = order[place - 1] if place else None
            if list(node.inputs) != [before] and not (before is None and _is_input(node.inputs)):
                layer["inputs"] = [_name(each, index) for each in node.inputs]
            layers.append(layer)
        super().__init__(layers)


def _is_input(inputs: Sequence[Node]) -> bool:
    return len(inputs) == 1 and inputs[0].layer is None


def _name(node: Node, index: Mapping[int, int]) -> str:
    if node.layer is None:
        return "input"
    return node.layer.name or str(index[id(node)])


def _order(output: Node) -> list[Node]:
    """Every node with a layer, each behind what it reads; depth first, without recursion."""
    order: list[Node] = []
    done: set[int] = set()
    sources: set[int] = set()
    stack: list[tuple[Node, int]] = [(output, 0)]
    while stack:
        node, turn = stack.pop()
        if id(node) in done:
            continue
        if node.layer is None:
            sources.add(id(node))
            done.add(id(node))
        elif turn < len(node.inputs):
            stack.append((node, turn + 1))
            stack.append((node.inputs[turn], 0))
        else:
            done.add(id(node))
            order.append(node)
    if len(sources) > 1:
        raise TypeError("the graph reads two Input() nodes: a model has one input")
    return order
