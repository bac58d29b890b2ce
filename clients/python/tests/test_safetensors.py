"""Safetensors files: round trips, and what the strict reader refuses."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cyxwiz
from cyxwiz.safetensors import load_file, metadata, save_file


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", ">f4"])
def test_file__comes_back_bit_for_bit(dtype: str, tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / "a.safetensors"
    save_file({"a.b": array, "t": array.T, "scalar": array[0, 0, 1]}, path, {"who": "ünser"})
    back = load_file(path)
    assert back["a.b"].dtype == np.dtype(dtype).newbyteorder("<") and back["scalar"].shape == ()
    np.testing.assert_array_equal(back["a.b"], array)
    np.testing.assert_array_equal(back["t"], array.T)
    assert metadata(path) == {"who": "ünser"}


def test_file__of_nothing_is_one(tmp_path: Path) -> None:
    save_file({}, tmp_path / "e.safetensors")
    assert load_file(tmp_path / "e.safetensors") == {} and metadata(tmp_path / "e.safetensors") == {}


def test_save__refuses_what_the_format_lacks(tmp_path: Path) -> None:
    with pytest.raises(cyxwiz.InputError, match="complex"):
        save_file({"c": np.zeros(2, np.complex64)}, tmp_path / "c.safetensors")
    assert not (tmp_path / "c.safetensors").exists()


def write(path: Path, header: dict[str, Any], body: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 4),  # runs out
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, 8),  # too short for its shape
        (
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            },
            12,
        ),  # overlap
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, 8),  # a gap
        ({"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}, 4),
    ],
)
def test_load__refuses_what_is_no_such_file(header: dict[str, Any], size: int, tmp_path: Path) -> None:
    with pytest.raises(cyxwiz.CorruptError):
        load_file(write(tmp_path / "bad.safetensors", header, bytes(size)))


def test_load__of_nothing_there_or_a_dtype_that_numpy_lacks(tmp_path: Path) -> None:
    with pytest.raises(cyxwiz.CyxwizError):
        load_file(tmp_path / "none.safetensors")
    path = write(tmp_path / "b.safetensors", {"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, bytes(4))
    with pytest.raises(cyxwiz.InputError, match="BF16"):
        load_file(path)
