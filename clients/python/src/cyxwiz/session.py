"""One model on one device, stepped by your own loop."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cyxwiz._native import ffi, lib
from cyxwiz.errors import InputError, StateError, check, new_error, text
from cyxwiz.memory import view
from cyxwiz.schedule import Schedule
from cyxwiz.spec import Spec
from cyxwiz.tensor import Floats, Tensor, as_floats

__all__ = ["Device", "Session", "StepResult"]


class Device(NamedTuple):
    """What a session computes on."""

    backend: str  #: "cpu" or "vulkan"
    name: str
    memory_bytes: int
    is_software: bool  #: a GPU interface that the CPU runs
    threads: int


@dataclass(frozen=True)
class StepResult:
    """What a step found, before its weights moved."""

    loss: float  #: mean over the rows that count, or over the elements
    correct: float  #: rows whose largest output is the target's class; 0 without classes
    count: float  #: rows
    grad_norm: float  #: before clipping, where the spec clips by norm; else 0

    @property
    def accuracy(self) -> float:
        """The share of correct rows."""
        return self.correct / self.count if self.count else 0.0


_KINDS = {lib.PY_PARAM: "parameter", lib.PY_BUFFER: "buffer", lib.PY_STATE: "state"}


class Session:
    """A spec compiled for a device, with its weights and optimizer state there.

    Training steps are the spec's (its loss, optimizer, clipping); the loop is yours::

        session = cyxwiz.Session(cyxwiz.Spec.load("docs/examples/mnist-mlp.json"), backend="cpu")
        for x, y in batches:
            result = session.step(x, y, lr=1e-3)

    A batch is ``x`` of shape (N, …sample…) and ``y`` of shape (N) (classes) or (N, K) (numbers); N may differ from
    step to step, a program is compiled for each N when it is first seen (eight are kept). ``x`` is read in place,
    with no copy, where it is C-contiguous float32 (``y``: int32, or float32 for numbers); anything else is converted
    first, which is a copy. uint8 becomes 0.0 to 255.0: scaling is the transforms' business.

    The GIL is released in every step. A signal such as Ctrl-C is seen by Python between two steps, so KeyboardInterrupt
    leaves the weights as the last whole step left them, and the session usable. Calls from several threads wait for one
    another.

    Args:
        spec: what to compile; its data set need not be on this machine.
        backend: "cpu", "vulkan" or "auto" (a real GPU, else the CPU); the spec's when None.
        device: which GPU, in the backend's order.
        threads: CPU threads; 0: the spec's, or all cores.
        cache_dir: a folder where the Vulkan backend keeps its compiled pipelines.
        validation: Vulkan alone: run under the Khronos validation layer; what it finds fails the call.
        training: False leaves out optimizer state and gradients; then :meth:`step` is refused.
        rows: the batch size that the device's layouts are chosen for; the spec's when None.

    Raises:
        SpecError: shapes do not fit; the pointer names the layer.
        UnavailableError: there is no such device, or it cannot do what a layer needs.
        OutOfMemoryError: the model does not fit the device.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        backend: str | None = None,
        device: int = 0,
        threads: int = 0,
        cache_dir: str | os.PathLike[str] | None = None,
        validation: bool = False,
        training: bool = True,
        rows: int | None = None,
    ) -> None:
        self.spec = spec
        options = ffi.new("struct py_engine_options *")
        keep = [ffi.new("char[]", os.fsencode(item)) for item in (backend, cache_dir) if item is not None]
        options.backend = keep[0] if backend is not None else ffi.NULL
        options.cache_dir = keep[-1] if cache_dir is not None else ffi.NULL
        options.device, options.threads = device, threads
        options.validation, options.training = validation, training
        options.rows = spec.batch_size if rows is None else rows
        error, handle = new_error(), ffi.new("struct py_engine **")
        check(lib.py_engine_open(spec._handle, options, handle, error), error)
        self._engine: Any = ffi.gc(handle[0], lib.py_engine_close)
        self._look_at_values()
        self._rates = Schedule(spec, steps_per_epoch=1).rates

    def _look_at_values(self) -> None:
        self.tensors: dict[str, Tensor] = {}  #: every persistent value by name, in the layers' order
        self._target_whole = False
        self._target_shape: tuple[int, ...] | None = None
        value = ffi.new("struct py_value *")
        for index in range(lib.py_engine_n_values(self._engine)):
            lib.py_engine_value(self._engine, index, value)
            name, shape = text(value.name), tuple(int(value.shape[i]) for i in range(value.rank))
            if value.kind in _KINDS:
                self.tensors[name] = Tensor(self, name, _KINDS[value.kind], shape)
            elif value.kind == lib.PY_INPUT:
                self.input_shape: tuple[int, ...] = shape[1:]  #: of one sample, without the batch
            elif value.kind == lib.PY_OUTPUT:
                self.output_shape: tuple[int, ...] = shape[1:]  #: of one sample, without the batch
            else:
                self._target_shape, self._target_whole = shape[1:], bool(value.whole)
        self.counts_correct = bool(lib.py_engine_counts_correct(self._engine))  #: accuracy means something
        self.classes = int(lib.py_engine_n_classes(self._engine))  #: of the target; 0: it is numbers, or none

    # ---- batches ----

    def _handle(self) -> Any:
        if self._engine is None:
            raise StateError("the session is closed", status="conflict")
        return self._engine

    def _input(self, x: npt.ArrayLike) -> Floats:
        array = as_floats(x)
        if array.shape[1:] != self.input_shape or array.ndim != len(self.input_shape) + 1:
            wanted = ", ".join(("N", *map(str, self.input_shape)))
            raise InputError(f"the input has shape {array.shape}; the model takes ({wanted})", status="invalid")
        return array

    def _target(self, y: npt.ArrayLike | None, rows: int) -> npt.NDArray[Any] | None:
        if self._target_shape is None:
            return None
        if y is None:
            raise InputError("a target is missing: this model's loss compares with one", status="invalid")
        array = np.asarray(y)
        if self._target_whole and not (np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_):
            raise InputError(f"the target is classes: expected whole numbers, got {array.dtype}", status="invalid")
        if self._target_shape == (1,) and array.ndim == 1:
            array = array[:, None]
        if array.shape != (rows, *self._target_shape):
            raise InputError(
                f"the target has shape {array.shape}; expected {(rows, *self._target_shape)}", status="invalid"
            )
        if self._target_whole and array.dtype.itemsize > 4 and array.size and not _fits_int32(array):
            raise InputError("the target has classes beyond 32 bits", status="invalid")
        return np.ascontiguousarray(array, dtype=np.int32 if self._target_whole else np.float32)

    def _batch(self, x: npt.ArrayLike, y: npt.ArrayLike | None) -> tuple[Any, list[Any]]:
        """The C struct, and what must live as long as it is used."""
        inputs = self._input(x)
        targets = self._target(y, inputs.shape[0])
        batch = ffi.new("struct py_batch *")
        keep = [ffi.from_buffer("float[]", inputs)]
        batch.input, batch.input_count, batch.rows = keep[0], inputs.size, inputs.shape[0]
        if targets is not None:
            keep.append(ffi.from_buffer(targets))
            batch.target, batch.target_count = keep[1], targets.size
        return batch, keep

    # ---- steps ----

    def step(
        self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, lr: float | Sequence[float] | None = None
    ) -> StepResult:
        """One training step: forward, loss, backward, clipping, optimizer.

        Args:
            x: (N, …sample…), see the class for what is copied.
            y: (N) whole numbers or (N, K) numbers; None where the loss compares with the input.
            lr: the learning rate, or one for each parameter group (the first is what no pattern names); the
                optimizer's own when None. A schedule is the loop's business: see :class:`cyxwiz.Schedule`.

        Returns:
            The loss, and what was right, before the weights moved.

        Raises:
            InputError: a shape, a type or a class does not fit; nothing has changed.
            StateError: the session was opened with ``training=False``.
        """
        self.finish()
        self.submit(x, y, lr)
        return self.take()

    def submit(
        self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, lr: float | Sequence[float] | None = None
    ) -> None:
        """Starts a step as :meth:`step` does, without waiting for a GPU; at most two may be open.

        ``x`` and ``y`` are yours again when this returns. Raises what :meth:`step` raises, and StateError when two are
        open.
        """
        rates = self._rates if lr is None else (lr,) if isinstance(lr, (int, float)) else tuple(lr)
        batch, keep = self._batch(x, y)
        error = new_error()
        check(lib.py_engine_submit(self._handle(), batch, rates, len(rates), error), error)
        del keep

    def take(self) -> StepResult:
        """The oldest open step's result; waits for it. Raises NotFoundError when none is open."""
        error, result = new_error(), ffi.new("struct cyx_step_result *")
        check(lib.py_engine_take(self._handle(), result, error), error)
        return StepResult(result.loss, result.correct, result.count, result.grad_norm)

    @property
    def open_steps(self) -> int:
        """Steps submitted whose results were not taken."""
        return int(lib.py_engine_open_steps(self._handle()))

    def finish(self) -> None:
        """Waits for what is open and forgets its results."""
        lib.py_engine_drop_results(self._handle())

    def evaluate(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None) -> StepResult:
        """Loss and correct rows of one batch, in inference mode: no Dropout, running statistics, no change.

        Raises what :meth:`step` raises, but needs no training session.
        """
        batch, keep = self._batch(x, y)
        error, result = new_error(), ffi.new("struct cyx_step_result *")
        check(lib.py_engine_evaluate(self._handle(), batch, result, error), error)
        del keep
        return StepResult(result.loss, result.correct, result.count, result.grad_norm)

    def predict(self, x: npt.ArrayLike, out: Floats | None = None, *, copy: bool = True) -> Floats:
        """The model's output for one batch, in inference mode.

        Args:
            x: (N, …sample…), see the class for what is copied.
            out: where to write, C-contiguous float32 of shape (N, …output…); a new array when None.
            copy: False gives a read-only view of the device's own memory wherever that can be (the CPU, an output in
                plain layout), which the next evaluation or prediction of as many rows writes over; elsewhere a copy.

        Returns:
            ``out``, or what it stands for. Where there is a copy, it is one, from the device into the array.

        Raises:
            InputError: a shape does not fit.
        """
        inputs = self._input(x)
        rows = inputs.shape[0]
        shape = (rows, *self.output_shape)
        shown = out is None and not copy
        if out is None:
            out = np.empty(shape, np.float32)
        if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise InputError(f"expected out to be C-contiguous float32 of shape {shape}", status="invalid")
        given, into = ffi.from_buffer("float[]", inputs), ffi.from_buffer("float[]", out, require_writable=True)
        engine, error = self._handle(), new_error()
        check(lib.py_engine_predict(engine, given, inputs.size, rows, ffi.NULL if shown else into, out.size, error), error)
        if shown:
            pointer = lib.py_engine_output_host(engine, rows)
            if pointer != ffi.NULL:
                return view(engine, pointer, shape, "<f4", writeable=False)
            check(lib.py_engine_read_output(engine, rows, into, out.size, error), error)
        return out

    # ---- values ----

    @property
    def steps(self) -> int:
        """Training steps done: what bias correction and Dropout's masks count by. May be set, to go on elsewhere."""
        return int(lib.py_engine_steps(self._handle()))

    @steps.setter
    def steps(self, steps: int) -> None:
        lib.py_engine_set_steps(self._handle(), steps)

    def parameters(self) -> list[Tensor]:
        """What is trained, in the layers' order."""
        return [tensor for tensor in self.tensors.values() if tensor.kind == "parameter"]

    def state_dict(self, *, copy: bool = True) -> dict[str, Floats]:
        """Parameters and running statistics by PyTorch's names, as arrays.

        With ``copy=False`` an array is the session's own memory wherever that can be (see :class:`Tensor`).
        """
        kept = (tensor for tensor in self.tensors.values() if tensor.kind != "state")
        return {tensor.name: tensor.copy() if copy else tensor.numpy() for tensor in kept}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike], *, strict: bool = True) -> None:
        """Writes arrays by their names; the optimizer's state stays.

        Keys of PyTorch's that hold nothing here (``…num_batches_tracked``) are passed over.

        Args:
            state: arrays (or tensors that NumPy can read) of the shapes that :meth:`state_dict` gives.
            strict: whether missing and unknown names are refused.

        Raises:
            InputError: names or shapes do not fit; then nothing was written.
        """
        mine = {name: tensor for name, tensor in self.tensors.items() if tensor.kind != "state"}
        given = {name: as_floats(values) for name, values in state.items() if not name.endswith("num_batches_tracked")}
        missing, unknown = sorted(mine.keys() - given.keys()), sorted(given.keys() - mine.keys())
        if strict and (missing or unknown):
            raise InputError(f"missing: {missing or 'none'}; unknown: {unknown or 'none'}", status="invalid")
        chosen = {name: values for name, values in given.items() if name in mine}
        for name, values in chosen.items():
            if values.shape != mine[name].shape:
                raise InputError(f"{name} has shape {mine[name].shape}, got {values.shape}", status="invalid")
        for name, values in chosen.items():
            mine[name].copy_(values)

    def reset(self) -> None:
        """First values from the spec's seed again; optimizer state and the count of steps are zero."""
        error = new_error()
        check(lib.py_engine_reset(self._handle(), error), error)

    def save(self, path: str | os.PathLike[str]) -> int:
        """Writes the state_dict as a safetensors file (PyTorch's loaders open it), the spec in its metadata.

        The file is written whole or not at all. Returns its bytes. Raises CyxwizError when it cannot be written.
        """
        error, size = new_error(), ffi.new("int64_t *")
        check(lib.py_engine_save(self._handle(), os.fsencode(Path(path)), size, error), error)
        return int(size[0])

    # ---- life ----

    @property
    def device(self) -> Device:
        """What this session computes on."""
        info = ffi.new("struct cyx_device_info *")
        lib.py_engine_info(self._handle(), info)
        return Device(text(info.backend), text(info.name), info.memory_bytes, info.is_software, info.threads)

    @property
    def memory_bytes(self) -> int:
        """Device memory that the session and its largest program hold."""
        return int(lib.py_engine_memory_bytes(self._handle()))

    def close(self) -> None:
        """Gives the device back; views that still live keep their memory. Twice is fine."""
        self._engine = None
        self.tensors = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _fits_int32(array: npt.NDArray[Any]) -> bool:
    limits = np.iinfo(np.int32)
    return bool(array.min() >= limits.min and array.max() <= limits.max)
