"""The losses: torch.nn's of these names, mean over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cyxwiz.part import Part


class Loss(Part):
    """What training makes small.

    The losses other than CrossEntropyLoss take ``target``: what the output is compared with. ``"data"``: the data's
    numbers, (N, K); ``"one_hot"``: the data's class as a vector of 0 and 1, (N, classes); ``"input"``: the input
    itself, for autoencoders, so that no targets are needed.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


class CrossEntropyLoss(Loss):
    """-log softmax(x)[class], of logits (N, classes) and classes (N).

    Args:
        weight: a weight for each class; 1 for all when None.
        ignore_index: the class whose samples do not count.
        label_smoothing: part of the target that is spread over all classes.
    """

    def __init__(
        self, weight: Sequence[float] | None = None, ignore_index: int = -100, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing)


class MSELoss(Loss):
    """The mean of (x - t)²; see :class:`Loss` for ``target``."""

    def __init__(self, *, target: str = "data") -> None:
        super().__init__(target=target)


class L1Loss(Loss):
    """The mean of |x - t|; see :class:`Loss` for ``target``."""

    def __init__(self, *, target: str = "data") -> None:
        super().__init__(target=target)


class SmoothL1Loss(Loss):
    """A square within ``beta``, the absolute value beyond; see :class:`Loss` for ``target``."""

    def __init__(self, beta: float = 1.0, *, target: str = "data") -> None:
        super().__init__(beta=beta, target=target)


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy of logits and targets from 0 to 1; see :class:`Loss` for ``target``.

    Args:
        pos_weight: a weight of the ones, for each output; 1 for all when None.
    """

    def __init__(self, pos_weight: Sequence[float] | None = None, *, target: str = "data") -> None:
        super().__init__(pos_weight=pos_weight, target=target)
