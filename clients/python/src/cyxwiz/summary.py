"""What a model is and what a step of it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cyxwiz._native import ffi, lib
from cyxwiz.errors import check, new_error

if TYPE_CHECKING:
    from cyxwiz.spec import Spec

__all__ = ["LayerSummary", "Memory", "Summary"]


class LayerSummary(NamedTuple):
    """One layer of a :class:`Summary`."""

    name: str
    type: str
    output: tuple[int, ...]  #: shape with the batch
    parameters: int  #: elements that are trained
    buffers: int  #: elements kept with them: running statistics
    forward_flops: int  #: a sample; a multiply-add counts as two


class Memory(NamedTuple):
    """Device memory of one kind of step, in bytes, by logical sizes."""

    parameters: int
    buffers: int
    optimizer: int
    batch: int
    arena: int  #: activations, gradients, temporaries as planned, bytes shared by liveness
    arena_unshared: int  #: the same if every value had bytes of its own
    total: int


class Summary:
    """Layers, shapes, parameters, FLOPs, and device memory of a training and of an inference step; ``str()`` is a table.

    Attributes:
        batch_size: for which the shapes and the memory are.
        layers: a :class:`LayerSummary` for each.
        parameters, buffers: elements of all layers.
        forward_flops, training_flops: a sample's; a multiply-add counts as two.
        training, inference: the :class:`Memory` of a step.
    """

    def __init__(self, spec: Spec, batch_size: int) -> None:
        error, handle = new_error(), ffi.new("struct cyx_model_summary **")
        check(lib.py_spec_summarize(spec._handle, batch_size, handle, error), error, spec=True)
        found = ffi.gc(handle[0], lib.cyx_model_summary_destroy)
        described = spec.to_dict()["model"]["layers"]
        self.batch_size = batch_size
        self.layers = [_layer(index, described[index], found.layers[index]) for index in range(found.n_layers)]
        self.parameters = int(found.parameters)
        self.buffers = int(found.buffers)
        self.forward_flops = int(found.forward_flops)
        self.training_flops = int(found.training_flops)
        self.training = _memory(found.training)
        self.inference = _memory(found.inference)

    def __str__(self) -> str:
        rows = [("layer", "output", "parameters", "FLOPs")]
        for layer in self.layers:
            title = f"{layer.name} {layer.type}" if not layer.name.isdigit() else layer.type
            sizes = f"({', '.join(map(str, layer.output))})"
            rows.append((title, sizes, f"{layer.parameters:,}", _short(layer.forward_flops)))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
            for row in rows
        ]
        lines.append(f"{self.parameters:,} parameters, {self.buffers:,} in buffers")
        lines.append(f"FLOPs a sample: {_short(self.forward_flops)} forward, {_short(self.training_flops)} in training")
        lines.append(
            f"Device memory at batch {self.batch_size}: {_bytes(self.training.total)} in training, "
            f"{_bytes(self.inference.total)} in inference"
        )
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__


def _layer(index: int, described: dict[str, Any], found: Any) -> LayerSummary:
    output = tuple(int(found.output.dim[i]) for i in range(found.output.rank))
    name = str(described.get("name", index))
    return LayerSummary(
        name, described["type"], output, int(found.parameters), int(found.buffers), int(found.forward_flops)
    )


def _memory(found: Any) -> Memory:
    return Memory(*(int(getattr(found, field)) for field in Memory._fields))


def _short(number: float) -> str:
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}T"


def _bytes(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if unit != "bytes" else f"{number:.0f} bytes"
        number /= 1024
    return f"{number:.3g} GiB"
