"""Safetensors files, read strictly and written by the engine.

The reader refuses what is not exactly such a file: offsets that overlap, leave a gap or run out of it, dtypes and
shapes that do not match their bytes, duplicate names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cyxwiz._native import ffi, lib
from cyxwiz.errors import InputError, check, new_error, text

__all__ = ["load_file", "metadata", "save_file"]

# What NumPy has; BF16 and the 8-bit floats it does not.
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def _open(path: str | os.PathLike[str]) -> Any:
    error, handle = new_error(), ffi.new("struct py_tensors **")
    check(lib.py_tensors_open(os.fsencode(Path(path)), handle, error), error)
    return ffi.gc(handle[0], lib.py_tensors_close)


def load_file(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Every tensor of a file by name, as arrays of their own.

    Raises:
        CorruptError: it is no safetensors file; the message names the tensor.
        InputError: a dtype that NumPy lacks (BF16, F8).
        NotFoundError: there is no such file.
    """
    file, tensor, arrays = _open(path), ffi.new("struct py_tensor *"), {}
    for index in range(lib.py_tensors_count(file)):
        lib.py_tensors_get(file, index, tensor)
        name, dtype = text(tensor.name), text(tensor.dtype)
        if dtype not in _DTYPES:
            raise InputError(f"{name} is {dtype}, which NumPy lacks", status="invalid")
        array = np.empty(tuple(tensor.shape[0 : tensor.rank]), _DTYPES[dtype])
        error = new_error()
        check(lib.py_tensors_read(file, index, ffi.from_buffer(array), array.nbytes, error), error)
        arrays[name] = array
    return arrays


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The file's ``__metadata__``. Raises what :func:`load_file` raises."""
    file, pair = _open(path), ffi.new("struct py_pair *")
    pairs = {}
    for index in range(lib.py_tensors_metadata_count(file)):
        lib.py_tensors_metadata(file, index, pair)
        pairs[text(pair.key)] = text(pair.value)
    return pairs


def save_file(
    tensors: Mapping[str, npt.ArrayLike], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes arrays under their names, whole or not at all.

    Raises:
        InputError: a dtype that the format lacks.
        CyxwizError: the file cannot be written.
    """
    entries = ffi.new("struct py_tensor[]", max(len(tensors), 1))
    pairs = ffi.new("struct py_pair[]", max(len(metadata or {}), 1))
    keep: list[Any] = []
    for entry, (name, values) in zip(entries, tensors.items()):
        array = np.ascontiguousarray(values).reshape(np.shape(values))
        if array.dtype.newbyteorder("<") not in _NAMES:
            raise InputError(f"{name}: safetensors has no dtype for {array.dtype}", status="invalid")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        keep += [ffi.new("char[]", name.encode()), ffi.new("char[]", _NAMES[array.dtype].encode()), array]
        entry.name, entry.dtype, entry.rank = keep[-3], keep[-2], array.ndim
        entry.shape[0 : array.ndim] = array.shape
        keep.append(ffi.from_buffer(array))
        entry.bytes, entry.data = array.nbytes, keep[-1]
    for pair, (key, value) in zip(pairs, (metadata or {}).items()):
        keep += [ffi.new("char[]", key.encode()), ffi.new("char[]", value.encode())]
        pair.key, pair.value = keep[-2], keep[-1]
    error = new_error()
    check(
        lib.py_tensors_write(os.fsencode(Path(path)), entries, len(tensors), pairs, len(metadata or {}), error), error
    )
