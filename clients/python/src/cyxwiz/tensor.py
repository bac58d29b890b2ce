"""The values that a session holds (parameters, running statistics, optimizer state) as NumPy sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cyxwiz._native import ffi, lib
from cyxwiz.errors import InputError, check, new_error
from cyxwiz.memory import view

if TYPE_CHECKING:
    from cyxwiz.session import Session

__all__ = ["Tensor", "as_floats"]

Floats = npt.NDArray[np.float32]


def as_floats(values: npt.ArrayLike) -> Floats:
    """C-contiguous float32: the array itself where it is that already, a copy otherwise."""
    return np.ascontiguousarray(values, dtype=np.float32)


class Tensor:
    """A value that persists in a session: float32, row-major, of PyTorch's name and shape.

    Where the device computes on plain host memory in this layout (``shared`` is true: on the CPU biases, norms, their
    optimizer state and every weight that is not kept in a blocked layout), :meth:`numpy` is a view of those very
    bytes, with no copy: what training changes appears in the array, and what is written into it is what the next step
    reads. Elsewhere (blocked layouts, device memory) it is a copy, and read-only, so that a write which could not
    reach the model fails instead of being lost; :meth:`copy_` writes there.

    ``np.asarray(t)``, ``memoryview(t.numpy())`` and ``torch.from_dlpack(t)`` see what :meth:`numpy` gives.
    """

    def __init__(self, session: Session, name: str, kind: str, shape: tuple[int, ...]) -> None:
        self._engine = session._engine
        self.name = name
        self.kind = kind  #: "parameter", "buffer" (running statistics) or "state" (of the optimizer)
        self.shape = shape
        self._c_name = name.encode()

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """float32, always."""
        return np.dtype(np.float32)

    @property
    def ndim(self) -> int:
        """How many dimensions the shape has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def shared(self) -> bool:
        """Whether :meth:`numpy` is the session's own memory rather than a copy."""
        return bool(lib.py_engine_host(self._engine, self._c_name) != ffi.NULL)

    def numpy(self) -> Floats:
        """The value as an array: the session's own memory where ``shared``, else a read-only copy.

        A view stays valid as long as it lives, also after the session is closed. Do not write to one while another
        thread is in a step.
        """
        pointer = lib.py_engine_host(self._engine, self._c_name)
        if pointer != ffi.NULL:
            return view(self._engine, pointer, self.shape, "<f4", writeable=True)
        array = self.copy()
        array.flags.writeable = False
        return array

    def copy(self) -> Floats:
        """The value as an array of its own, always a copy."""
        array = np.empty(self.shape, np.float32)
        error = new_error()
        check(
            lib.py_engine_read(self._engine, self._c_name, ffi.from_buffer("float[]", array), array.size, error), error
        )
        return array

    def copy_(self, values: npt.ArrayLike) -> Tensor:
        """Writes ``values`` (of the same shape; converted to float32) into the session, wherever it keeps them.

        Raises:
            InputError: the shape is another.
        """
        array = as_floats(values)
        if array.shape != self.shape:
            raise InputError(f"{self.name} has shape {self.shape}, got {array.shape}", status="invalid")
        error = new_error()
        check(
            lib.py_engine_write(self._engine, self._c_name, ffi.from_buffer("float[]", array), array.size, error), error
        )
        return self

    def __array__(self, dtype: npt.DTypeLike = None, copy: bool | None = None) -> npt.NDArray[Any]:
        array = self.copy() if copy else self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __dlpack__(self, **options: Any) -> Any:
        array = self.numpy()
        return (array if array.flags.writeable else array.copy()).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # kDLCPU

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.kind}, shape={self.shape}, {'shared' if self.shared else 'copied'})"
