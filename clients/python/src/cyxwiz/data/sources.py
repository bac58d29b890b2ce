"""Where data come from: the catalogue's sets, files on this machine, arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from cyxwiz._native import ffi
from cyxwiz.errors import InputError
from cyxwiz.part import plain
from cyxwiz.spec import Sample

__all__ = ["CSV", "IDX", "NPY", "NPZ", "Arrays", "Dataset", "ImageFolder", "Safetensors", "Source"]

Path = Union[str, "os.PathLike[str]"]
Columns = Union[str, int, Sequence[Union[str, int]]]


class Source:
    """Data that a :class:`cyxwiz.data.DataLoader` reads: ``dataset`` in the job spec."""

    def to_value(self) -> Any:
        """The value of ``dataset`` in the job spec."""
        raise NotImplementedError


class Dataset(Source):
    """A set of the catalogue ("mnist", "fashion-mnist", …), which ``cyxwiz data fetch NAME`` brings onto this machine."""

    def __init__(self, name: str) -> None:
        self.name = name

    def to_value(self) -> str:
        """The name."""
        return self.name

    def __repr__(self) -> str:
        return f"Dataset({self.name!r})"


class _Files(Source):
    format = ""

    def __init__(self, **options: Any) -> None:
        self.options = {
            key: os.fspath(value) if isinstance(value, os.PathLike) else plain(value)
            for key, value in options.items()
            if value is not None
        }

    def to_value(self) -> dict[str, Any]:
        """The object, as it stands in the job spec."""
        return {"format": self.format, **self.options}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.options.items())})"


class IDX(_Files):
    """Files as MNIST's: unsigned bytes, images (N, H, W) or (N, C, H, W) and labels (N) apart.

    Args:
        train: file of the training part's images.
        targets: file of their labels.
        test, test_targets: the same of the test part; without them a split judges.
        classes: how many there are; the largest in the training part + 1 when None.
    """

    format = "idx"

    def __init__(
        self,
        train: Path,
        targets: Path,
        test: Path | None = None,
        test_targets: Path | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__(train=train, targets=targets, test=test, test_targets=test_targets, classes=classes)


class CSV(_Files):
    """Text, a row a sample; every column but the target and the ignored is a number.

    Args:
        train: file of the training part.
        target: column to predict, by name or index from 0, or a list of them.
        test: file of the test part; without it a split judges.
        ignore: columns that are no input.
        task: "classes", "numbers", or "auto": one column of integers is classes.
        header: whether the first row names the columns.
        delimiter: the character between columns.
    """

    format = "csv"

    def __init__(
        self,
        train: Path,
        target: Columns,
        test: Path | None = None,
        ignore: Columns | None = None,
        task: str = "auto",
        header: bool = True,
        delimiter: str = ",",
    ) -> None:
        super().__init__(
            train=train, target=target, test=test, ignore=ignore, task=task, header=header, delimiter=delimiter
        )


class NPY(_Files):
    """NumPy's array files, inputs (N, F), (N, C, L), (N, C, H, W) or bytes (N, H, W), targets (N) or (N, K).

    Args:
        train, targets: the training part's files.
        test, test_targets: the test part's; without them a split judges.
        task: "classes", "numbers", or "auto": integers are classes.
        classes: how many there are; the largest in the training part + 1 when None.
        layout: "channels_first" or "channels_last", (N, H, W, C).
    """

    format = "npy"

    def __init__(
        self,
        train: Path,
        targets: Path | None = None,
        test: Path | None = None,
        test_targets: Path | None = None,
        task: str = "auto",
        classes: int | None = None,
        layout: str = "channels_first",
    ) -> None:
        super().__init__(
            train=train,
            targets=targets,
            test=test,
            test_targets=test_targets,
            task=task,
            classes=classes,
            layout=layout,
        )


class _Archive(_Files):
    def __init__(
        self,
        train: Path,
        inputs: str | None = None,
        targets: str | None = None,
        test: Path | None = None,
        test_inputs: str | None = None,
        test_targets: str | None = None,
        task: str = "auto",
        classes: int | None = None,
        layout: str = "channels_first",
    ) -> None:
        super().__init__(
            train=train,
            inputs=inputs,
            targets=targets,
            test=test,
            test_inputs=test_inputs,
            test_targets=test_targets,
            task=task,
            classes=classes,
            layout=layout,
        )


class NPZ(_Archive):
    """NumPy's archives of arrays.

    Args:
        train: file of the training part.
        inputs, targets: names of its arrays; "x" and "y" when None.
        test: file of the test part.
        test_inputs, test_targets: names of its arrays; with them ``test`` may be the same file, left out.
        task: "classes", "numbers", or "auto": integers are classes.
        classes: how many there are; the largest in the training part + 1 when None.
        layout: "channels_first" or "channels_last", (N, H, W, C).
    """

    format = "npz"


class Safetensors(_Archive):
    """Arrays as tensors of a safetensors file; arguments as :class:`NPZ`'s."""

    format = "safetensors"


class ImageFolder(_Files):
    """PNG and JPEG files, a folder a class, as torchvision's ImageFolder: sorted names are the classes.

    Args:
        train, test: folders; without ``test`` a split judges.
        channels: 3 makes every image RGB, 1 makes it grey.
    """

    format = "image-folder"

    def __init__(self, train: Path, test: Path | None = None, channels: int = 3) -> None:
        super().__init__(train=train, test=test, channels=channels)


class _Part:
    """One part's arrays as the C library takes them, and the C struct over them."""

    def __init__(self, x: npt.ArrayLike, y: npt.ArrayLike | None, task: str, channels_last: bool, what: str) -> None:
        self.inputs = _inputs(x, channels_last, what)
        self.labels: npt.NDArray[np.int32] | None = None
        self.numbers: npt.NDArray[np.float32] | None = None
        if y is not None:
            self._take_targets(np.asarray(y), task, what)
        self.channels_last = channels_last and self.inputs.ndim == 4

    def _take_targets(self, y: npt.NDArray[Any], task: str, what: str) -> None:
        whole = bool(np.issubdtype(y.dtype, np.integer) or y.dtype == np.bool_)
        if y.ndim not in (1, 2) or y.shape[0] != self.inputs.shape[0]:
            raise InputError(
                f"{what}: {self.inputs.shape[0]} samples, but targets of shape {y.shape}: expected (N) or (N, K)",
                status="invalid",
            )
        if task == "classes" or (task == "auto" and whole and y.ndim == 1):
            if not whole or y.ndim != 1:
                raise InputError(f"{what}: classes are (N) whole numbers, got {y.dtype} {y.shape}", status="invalid")
            limits = np.iinfo(np.int32)
            if y.size and (y.min() < limits.min or y.max() > limits.max):
                raise InputError(f"{what}: a class is beyond 32 bits", status="invalid")
            self.labels = np.ascontiguousarray(y, np.int32)
        else:
            self.numbers = np.ascontiguousarray(y.reshape(len(y), -1), np.float32)

    def struct(self, classes: int) -> Any:
        """A ``struct py_arrays``; the arrays must outlive what reads it."""
        arrays = ffi.new("struct py_arrays *")
        shape = list(self.inputs.shape[1:])
        if self.channels_last:
            shape = [shape[2], shape[0], shape[1]]
        arrays.count, arrays.rank, arrays.channels_last = len(self.inputs), len(shape), self.channels_last
        arrays.shape[0 : len(shape)] = shape
        if self.inputs.dtype == np.uint8:
            arrays.bytes = ffi.from_buffer("uint8_t[]", self.inputs)
        else:
            arrays.floats = ffi.from_buffer("float[]", self.inputs)
        if self.labels is not None:
            arrays.labels, arrays.n_classes = ffi.from_buffer("int32_t[]", self.labels), classes
        if self.numbers is not None:
            arrays.numbers, arrays.n_targets = ffi.from_buffer("float[]", self.numbers), self.numbers.shape[1]
        return arrays


def _inputs(x: npt.ArrayLike, channels_last: bool, what: str) -> npt.NDArray[Any]:
    array = np.asarray(x)
    if array.ndim == 3 and array.dtype == np.uint8:
        array = array[:, :, :, None] if channels_last else array[:, None]
    if not 2 <= array.ndim <= 4 or 0 in array.shape:
        raise InputError(
            f"{what}: expected (N, F), (N, C, L) or (N, C, H, W) with something in it, got {array.shape}",
            status="invalid",
        )
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what}: expected real numbers, got {array.dtype}", status="invalid")
    images = array.dtype == np.uint8 and array.ndim == 4
    return np.ascontiguousarray(array, np.uint8 if images else np.float32)


class Arrays(Source):
    """NumPy arrays, or what NumPy can read.

    Inputs: (N, F), (N, C, L) or (N, C, H, W) float32, or images of bytes, uint8 (N, H, W) or (N, C, H, W), which
    ToTensor takes to 0 to 1. C-contiguous arrays of these types are read in place, with no copy, and must not change
    while a loader runs; others are converted once, which is a copy.

    Targets: (N) whole numbers from 0 are classes, (N) or (N, K) others are numbers.

    Args:
        x: the training part's inputs.
        y: its targets; None where the loss compares with the input.
        test: (x, y) of the part that judges.
        task: "classes", "numbers", or "auto": whole numbers of shape (N) are classes.
        classes: how many there are; as many as the model has outputs when None.
        channels_last: images are (N, H, W, C).

    Raises:
        InputError: shapes or types do not fit.
    """

    def __init__(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike | None = None,
        *,
        test: tuple[npt.ArrayLike, npt.ArrayLike | None] | None = None,
        task: str = "auto",
        classes: int | None = None,
        channels_last: bool = False,
    ) -> None:
        self.train = _Part(x, y, task, channels_last, "the training part")
        self.test = None if test is None else _Part(test[0], test[1], task, channels_last, "the test part")
        self.classes = classes

    def to_value(self) -> dict[str, Any]:
        """``{"format": "memory"}``: a spec cannot hold the arrays themselves."""
        return {"format": "memory"}

    def structs(self) -> tuple[Any, Any]:
        """Both parts for the C library, NULL for a test part that is not there."""
        parts = [part for part in (self.train, self.test) if part is not None]
        largest = max((int(part.labels.max()) for part in parts if part.labels is not None), default=0)
        classes = self.classes if self.classes is not None else max(largest, 0) + 1
        return self.train.struct(classes), ffi.NULL if self.test is None else self.test.struct(classes)

    def refine(self, sample: Sample) -> Sample:
        """The sample without a number of classes that nobody said."""
        unsaid = self.classes is None and sample.classes is not None
        return sample._replace(classes=0) if unsaid else sample

    def __repr__(self) -> str:
        return f"Arrays({self.train.inputs.shape} {self.train.inputs.dtype})"
