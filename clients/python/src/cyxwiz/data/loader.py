"""Batches of a part of the data, made by the engine's loader."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from cyxwiz._native import ffi, lib
from cyxwiz.data.sources import Arrays, Dataset, Source
from cyxwiz.data.transforms import Transform
from cyxwiz.errors import InputError, check, new_error, text
from cyxwiz.memory import view
from cyxwiz.spec import Sample, Spec

__all__ = ["Batch", "Batches", "DataLoader", "Stream", "as_source", "data_folder"]

Batch = tuple[npt.NDArray[np.float32], Union[npt.NDArray[Any], None]]  #: x, and y where the data have targets


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Where the catalogue's sets lie: ``given``, $CYXWIZ_DATA_DIR, the local stack's, or the user's own folder."""
    if given is not None:
        return Path(given)
    if os.environ.get("CYXWIZ_DATA_DIR"):
        return Path(os.environ["CYXWIZ_DATA_DIR"])
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".cyxwiz" / "data").is_dir():
            return folder / ".cyxwiz" / "data"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "cyxwiz" / "data"


def as_source(source: Any) -> Source:
    """A source as it is; a name of the catalogue, or a tuple (x, y), as one.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, str):
        return Dataset(source)
    if isinstance(source, tuple) and len(source) == 2:
        return Arrays(*source)
    raise TypeError(f"expected data of cyxwiz.data, a name of the catalogue or (x, y), got {type(source).__name__}")


class Stream:
    """One running loader: :meth:`start` an epoch, then iterate views of its own buffers, valid until the next one."""

    def __init__(self, batches: Batches) -> None:
        loader = batches.loader
        options = ffi.new("struct py_loader_options *")
        options.batch, options.seed, options.workers = loader.batch_size, loader.seed, loader.workers
        options.shuffle, options.drop_last, options.evaluation = batches.shuffle, batches.drop_last, batches.evaluation
        error, handle = new_error(), ffi.new("struct py_loader **")
        check(lib.py_loader_open(loader._data, batches.part, options, handle, error), error)
        self._arrays = loader.source  # arrays of the caller's that the loader reads
        self._handle: Any = ffi.gc(handle[0], lib.py_loader_close)
        self._sample = loader.sample
        self._loaded = ffi.new("struct py_loaded *")

    def start(self, epoch: int) -> None:
        """Begins an epoch, also in the middle of another: its batches are made from now on."""
        lib.py_loader_start(self._handle, epoch, 0)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._handle is None or not lib.py_loader_next(self._handle, self._loaded):
            self._fail()
            raise StopIteration
        rows, sample = self._loaded.rows, self._sample
        x = view(self._handle, self._loaded.input, (rows, *sample.shape), "<f4", writeable=False)
        if self._loaded.target == ffi.NULL:
            return x, None
        if sample.classes is not None:
            return x, view(self._handle, self._loaded.target, (rows,), "<i4", writeable=False)
        return x, view(self._handle, self._loaded.target, (rows, sample.targets), "<f4", writeable=False)

    def _fail(self) -> None:
        if self._handle is not None:
            error = new_error()
            check(lib.py_loader_failure(self._handle, error), error)

    def close(self) -> None:
        """Ends the loader's threads, once no view stands on its buffers any more."""
        self._handle = None


class Batches:
    """One part of the data as batches: what ``for x, y in loader`` iterates.

    ``x`` is (N, …sample…) float32; ``y`` (N) int32 classes, (N, K) float32 numbers, or None. Each iteration is an epoch:
    a training part is shuffled anew (if it is), by the seed and :attr:`epoch`, which counts them.
    """

    def __init__(
        self, loader: DataLoader, part: int, *, shuffle: bool, drop_last: bool, evaluation: bool = False
    ) -> None:
        self.loader = loader
        self.part = part
        self.evaluation = evaluation  #: the training part without what transforms draw
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.epoch = 0  #: of the next iteration

    @property
    def rows(self) -> int:
        """Samples of an epoch."""
        rows = int(lib.py_data_rows(self.loader._data, self.part))
        return rows - rows % self.loader.batch_size if self.drop_last else rows

    def __len__(self) -> int:
        return -(-self.rows // self.loader.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Batches that are yours: copies of the loader's."""
        for x, y in self.views():
            yield x.copy(), None if y is None else y.copy()

    def views(self) -> Iterator[Batch]:
        """The same without a copy: read-only views of the loader's own buffers, overwritten as the iteration goes on."""
        stream, epoch = Stream(self), self.epoch
        self.epoch += 1
        stream.start(epoch)
        yield from stream


class DataLoader:
    """Data, transformed and in batches; the ``data`` of a job spec.

    Iterating it iterates the training part (:class:`Batches`); ``validation`` and ``test`` are the other parts, None
    where there is no such part.

    Args:
        source: of :mod:`cyxwiz.data`, a name of the catalogue ("fashion-mnist"), or arrays as (x, y).
        batch_size: samples of a batch.
        shuffle: whether each epoch has an order of its own.
        drop_last: whether an incomplete last batch is left out of the training part.
        transforms: of :mod:`cyxwiz.data.transforms`; ToTensor when None.
        validation_split: part of the training set, up to 0.5, that is held back as ``validation``.
        seed: of order, split and transforms. A model's ``fit`` on a source takes the model's seed.
        workers: threads that make batches; 0: as the data and the machine want it. The bits are the same for any.
        data_dir: where the catalogue's sets lie; :func:`data_folder` when None.
        base_dir: where relative paths of files begin; the working folder when None.

    Raises:
        SpecError: an option cannot be, or transforms do not fit the data.
        NotFoundError: a file is missing; the message says how to get it.
        CorruptError, InputError: the data are not what they should be.
    """

    def __init__(
        self,
        source: Source | str | tuple[npt.ArrayLike, npt.ArrayLike],
        batch_size: int = 32,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        transforms: Sequence[Transform] | None = None,
        validation_split: float = 0.0,
        seed: int = 0,
        workers: int = 0,
        data_dir: str | os.PathLike[str] | None = None,
        base_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.source = as_source(source)
        self._dict: dict[str, Any] = {
            "dataset": self.source.to_value(),
            "batch_size": batch_size,
            "shuffle": shuffle,
            "drop_last": drop_last,
            "workers": workers,
        }
        if transforms is not None:
            self._dict["transforms"] = [transform.to_dict() for transform in transforms]
        if validation_split:
            self._dict["split"] = {"validation": validation_split}
        self._open(_spec_around(self._dict, seed), data_dir, base_dir)

    @classmethod
    def of_spec(
        cls,
        spec: Spec,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        base_dir: str | os.PathLike[str] | None = None,
    ) -> DataLoader:
        """The data that a job spec names, as ``cyxwiz train`` loads them. Raises what the class raises."""
        self = cls.__new__(cls)
        self._dict = spec.to_dict()["data"]
        self.source = _Named(self._dict["dataset"])
        self._open(spec, data_dir, base_dir)
        return self

    def _open(
        self, spec: Spec, data_dir: str | os.PathLike[str] | None, base_dir: str | os.PathLike[str] | None
    ) -> None:
        self.batch_size, self.seed, self.workers = spec.batch_size, spec.seed, int(self._dict.get("workers", 0))
        error, handle = new_error(), ffi.new("struct py_data **")
        if isinstance(self.source, Arrays):
            train, test = self.source.structs()
            status = lib.py_data_open_arrays(spec._handle, train, test, handle, error)
        else:
            folder = ffi.new("char[]", os.fsencode(data_folder(data_dir)))
            base = ffi.NULL if base_dir is None else ffi.new("char[]", os.fsencode(base_dir))
            status = lib.py_data_open(spec._handle, folder, base, handle, error)
        check(status, error)
        self._data = ffi.gc(handle[0], lib.py_data_close)
        sample = spec.sample
        assert sample is not None, "the library tells what it opened"
        self.sample: Sample = self.source.refine(sample) if isinstance(self.source, Arrays) else sample
        self.train = Batches(self, lib.PY_TRAIN, shuffle=spec.shuffle, drop_last=spec.drop_last)
        self.validation = self._part(lib.PY_VALIDATION)
        self.test = self._part(lib.PY_TEST)

    def _part(self, part: int) -> Batches | None:
        there = lib.py_data_rows(self._data, part) > 0
        return Batches(self, part, shuffle=False, drop_last=False) if there else None

    @property
    def judge(self) -> Batches | None:
        """The part that judges while a model trains: ``validation`` where there is one, else ``test``."""
        return self.validation or self.test

    @property
    def whole(self) -> Batches:
        """The training part in its own order, whole and without what transforms draw: for evaluation."""
        return Batches(self, lib.PY_TRAIN, shuffle=False, drop_last=False, evaluation=True)

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes in the order of their numbers; None where they have none."""
        names: list[str] = []
        while (name := lib.py_data_class(self._data, len(names))) != ffi.NULL:
            names.append(text(name))
        return names or None

    @property
    def faults(self) -> tuple[int, str]:
        """How many files or rows could not be read so far and were left out, and a sentence about them."""
        chars = ffi.new("char[1024]")
        return int(lib.py_data_faults(self._data, chars)), text(chars)

    def to_dict(self) -> dict[str, Any]:
        """The ``data`` of a job spec."""
        return dict(self._dict)

    def __len__(self) -> int:
        return len(self.train)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.train)

    def __repr__(self) -> str:
        return f"DataLoader({self.source!r}, batch_size={self.batch_size}, sample={self.sample})"


class _Named(Source):
    """What a spec says of its data."""

    def __init__(self, value: Any) -> None:
        self.value = value
        if isinstance(value, dict) and value.get("format") == "memory":
            raise InputError("this spec's data were arrays of a program: give them again", status="invalid")

    def to_value(self) -> Any:
        return self.value

    def __repr__(self) -> str:
        return repr(self.value)


def _spec_around(data: dict[str, Any], seed: int) -> Spec:
    """A whole spec, since the parser judges nothing less."""
    return Spec(
        {
            "name": "data",
            "model": {"layers": [{"type": "Flatten"}]},
            "data": data,
            "loss": {"type": "MSELoss"},
            "optimizer": {"type": "SGD"},
            "epochs": 1,
            "seed": seed,
        }
    )
