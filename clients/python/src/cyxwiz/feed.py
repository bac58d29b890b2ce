"""Where a training loop's batches come from: the engine's loader, or any iterable of (x, y)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from cyxwiz.data.loader import Batches, DataLoader, Stream
from cyxwiz.errors import InputError
from cyxwiz.spec import Sample

__all__ = ["Feed", "ForeignFeed", "LoaderFeed", "feed_of"]


class Feed(Protocol):
    """Batches of an epoch, again and again."""

    def __len__(self) -> int:
        """Batches of an epoch."""

    def start(self, epoch: int) -> Iterator[Any]:
        """The epoch's batches, (x, y) or x alone, each valid until the next."""

    def close(self) -> None:
        """No epoch will follow."""


class LoaderFeed:
    """The engine's loader: views of its buffers, with no copy; the next batches are made while the device computes."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._stream = Stream(batches)

    def __len__(self) -> int:
        return len(self._batches)

    def start(self, epoch: int) -> Iterator[Any]:
        """The epoch's batches; begins to make them now."""
        self._stream.start(epoch)
        return self._stream

    def close(self) -> None:
        """Ends the loader's threads."""
        self._stream.close()


class ForeignFeed:
    """Any iterable with a length that can be iterated anew each epoch: a list of batches, PyTorch's DataLoader."""

    def __init__(self, batches: Iterable[Any]) -> None:
        if not hasattr(batches, "__len__"):
            raise TypeError("batches need a length and to be iterable anew each epoch: list(…) makes an iterator so")
        self._batches: Any = batches
        if len(self._batches) == 0:
            raise InputError("there are no batches", status="invalid")

    def __len__(self) -> int:
        return len(self._batches)

    def start(self, epoch: int) -> Iterator[Any]:
        """The iterable from its beginning."""
        return iter(self._batches)

    def close(self) -> None:
        """Nothing to end."""

    def sample(self, classes: bool) -> tuple[Sample, int]:
        """What the first batch says of a sample, and its rows."""
        x, y = split(next(iter(self._batches)))
        inputs = np.asarray(x)
        if inputs.ndim < 2:
            raise InputError(f"a batch is (N, …sample…), got {inputs.shape}", status="invalid")
        targets = 0 if y is None or classes else int(np.prod(np.shape(y)[1:], dtype=np.int64))
        return Sample(inputs.shape[1:], 0 if classes else None, targets), len(inputs)


def split(batch: Any) -> tuple[Any, Any]:
    """(x, y) of a batch that may be x alone."""
    if isinstance(batch, (tuple, list)):
        if len(batch) not in (1, 2):
            raise InputError(f"a batch is (x, y) or x, got {len(batch)} things", status="invalid")
        return batch[0], batch[1] if len(batch) == 2 else None
    return batch, None


def feed_of(batches: Any) -> LoaderFeed | ForeignFeed:
    """The feed of a loader (of the part that judges, else of the whole), of one part, or of any iterable."""
    if isinstance(batches, DataLoader):
        return LoaderFeed(batches.judge or batches.whole)
    return LoaderFeed(batches) if isinstance(batches, Batches) else ForeignFeed(batches)
