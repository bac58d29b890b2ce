"""Memory of the engine as NumPy arrays, without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cyxwiz._native import ffi

__all__ = ["view"]


class _Memory:
    """What NumPy looks at; keeps the owner for as long as an array stands on it."""

    def __init__(self, owner: Any, pointer: Any, shape: tuple[int, ...], typestr: str, writeable: bool) -> None:
        self._owner = owner
        self.__array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "data": (int(ffi.cast("uintptr_t", pointer)), not writeable),
            "version": 3,
        }


def view(owner: Any, pointer: Any, shape: tuple[int, ...], dtype: str, *, writeable: bool) -> npt.NDArray[Any]:
    """The row-major memory at ``pointer``, which ``owner`` keeps, as an array."""
    return np.asarray(_Memory(owner, pointer, shape, dtype, writeable))
