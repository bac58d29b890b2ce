"""The job spec: what is to be trained, as data. The C library's parser is its only judge."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cyxwiz._native import ffi, lib
from cyxwiz.errors import InputError, OutOfMemoryError, check, new_error, text
from cyxwiz.summary import Summary

__all__ = ["Sample", "Spec", "schema"]


class Sample(NamedTuple):
    """One sample as the model sees it, after the transforms."""

    shape: tuple[int, ...]  #: (F), (C, L) or (C, H, W), without the batch
    classes: int | None = None  #: of the target; 0: as many as the model has outputs; None: the target is numbers
    targets: int = 0  #: how many numbers a sample's target has


class Spec:
    """A parsed job spec, as ``cyxwiz train`` and ``cyxwiz job submit`` take it. Immutable.

    Args:
        source: the spec as JSON text or as what ``json.loads`` gives.

    Raises:
        SpecError: with the JSON Pointer of what is wrong and what was expected.

    >>> Spec('{"name": "x", "model": {}}')
    Traceback (most recent call last):
    ...
    cyxwiz.errors.SpecError: /model/layers: ...
    """

    def __init__(self, source: str | bytes | Mapping[str, Any]) -> None:
        if isinstance(source, Mapping):
            source = json.dumps(source)
        raw = source.encode() if isinstance(source, str) else source
        error, handle = new_error(), ffi.new("struct py_spec **")
        check(lib.py_spec_parse(raw, len(raw), handle, error), error, spec=True)
        self._hold(handle[0])

    def _hold(self, handle: Any) -> None:
        self._handle = ffi.gc(handle, lib.py_spec_release)
        facts = ffi.new("struct py_spec_facts *")
        lib.py_spec_facts(self._handle, facts)
        self.name: str = text(facts.name)
        self.canonical: str = text(facts.canonical)  #: compact JSON, keys in order, defaults left out
        self.backend: str = text(facts.backend)
        self.epochs = int(facts.epochs)
        self.batch_size = int(facts.batch_size)
        self.seed = int(facts.seed)
        self.threads = int(facts.threads)
        self.shuffle = bool(facts.shuffle)
        self.drop_last = bool(facts.drop_last)
        self.validation_part = float(facts.validation_part)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Spec:
        """The spec of a JSON file. Raises OSError, SpecError."""
        return cls(Path(path).read_bytes())

    @classmethod
    def of_model(cls, path: str | os.PathLike[str]) -> Spec:
        """The spec that a model's safetensors file holds, with its sample.

        Raises:
            NotFoundError, CorruptError: there is no such file, or it is none.
            InputError: it holds no spec.
        """
        error, handle = new_error(), ffi.new("struct py_spec **")
        check(lib.py_spec_of_model(os.fsencode(Path(path)), handle, error), error)
        self = cls.__new__(cls)
        self._hold(handle[0])
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the canonical spec, indented, for ``cyxwiz train`` and ``cyxwiz job submit``."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n")

    def to_dict(self) -> dict[str, Any]:
        """The canonical spec as what ``json.loads`` gives; a new one each time."""
        spec: dict[str, Any] = json.loads(self.canonical)
        return spec

    @property
    def sample(self) -> Sample | None:
        """One sample's shape and target; None where it is known only once the data are open."""
        sample = ffi.new("struct py_sample *")
        lib.py_spec_sample(self._handle, sample)
        if sample.rank == 0:
            return None
        shape = tuple(int(sample.dim[i]) for i in range(sample.rank))
        return Sample(shape, int(sample.n_classes) if sample.classes else None, int(sample.n_targets))

    def tell_sample(self, sample: Sample) -> None:
        """Says what only the data can: the shape of one sample, before a session is opened.

        Raises:
            InputError: not one to three sizes from 1 on.
        """
        if not 1 <= len(sample.shape) <= 3 or min(sample.shape) < 1:
            raise InputError(f"a sample has one to three sizes from 1 on, got {sample.shape}", status="invalid")
        told = ffi.new("struct py_sample *")
        told.rank, told.dim = len(sample.shape), [*sample.shape, *[0] * (3 - len(sample.shape))]
        told.classes, told.n_classes = sample.classes is not None, sample.classes or 0
        told.n_targets = sample.targets
        lib.py_spec_set_sample(self._handle, told)

    def describe(self, batch_size: int | None = None) -> Summary:
        """Layers, shapes, parameters, FLOPs and the memory of a step, as ``cyxwiz describe`` tells them.

        Raises:
            SpecError: shapes do not fit, or what a sample is is not known.
        """
        return Summary(self, self.batch_size if batch_size is None else batch_size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __repr__(self) -> str:
        return f"Spec({self.canonical!r})"


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a job spec, made from the parser's own tables."""
    chars = lib.py_schema_text()
    if chars == ffi.NULL:
        raise OutOfMemoryError("memory ran out", status="no-memory")
    try:
        made: dict[str, Any] = json.loads(text(chars))
    finally:
        lib.py_text_free(chars)
    return made
