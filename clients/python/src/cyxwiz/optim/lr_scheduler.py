"""The learning-rate schedulers: torch.optim.lr_scheduler's of these names, and warm-up.

``interval`` says when a schedule advances: after each ``"epoch"`` or each ``"step"``.
"""

from __future__ import annotations

from typing import Any

from cyxwiz.part import Part, plain

__all__ = ["CosineAnnealingLR", "ExponentialLR", "ReduceLROnPlateau", "Scheduler", "StepLR", "Warmup"]


class Scheduler(Part):
    """How the learning rate changes; a factor on every parameter group's own rate."""


class StepLR(Scheduler):
    """Times ``gamma`` every ``step_size`` intervals."""

    def __init__(self, step_size: int, gamma: float = 0.1, *, interval: str = "epoch") -> None:
        super().__init__(step_size=step_size, gamma=gamma, interval=interval)


class ExponentialLR(Scheduler):
    """Times ``gamma`` every interval."""

    def __init__(self, gamma: float, *, interval: str = "epoch") -> None:
        super().__init__(gamma=gamma, interval=interval)


class CosineAnnealingLR(Scheduler):
    """Half a cosine from lr down to ``eta_min`` over ``T_max`` intervals (None: the whole job)."""

    def __init__(self, T_max: int | None = None, eta_min: float = 0.0, *, interval: str = "epoch") -> None:
        super().__init__(T_max=T_max, eta_min=eta_min, interval=interval)


class ReduceLROnPlateau(Scheduler):
    """Times ``factor`` when an epoch's evaluation stops getting better.

    Args:
        factor: on the learning rate.
        patience: epochs without improvement that are borne.
        threshold: what counts as an improvement.
        threshold_mode: "rel": threshold is a part of the best value; "abs": a difference.
        cooldown: epochs after a decay that do not count.
        min_lr: the learning rate never falls below.
        eps: smaller changes of the learning rate are left out.
        monitor: "loss" (is to fall) or "accuracy" (is to rise).
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
        *,
        monitor: str = "loss",
    ) -> None:
        super().__init__(
            factor=factor,
            patience=patience,
            threshold=threshold,
            threshold_mode=threshold_mode,
            cooldown=cooldown,
            min_lr=min_lr,
            eps=eps,
            monitor=monitor,
        )


class Warmup:
    """A linear rise of the learning rate before the scheduler begins, as LinearLR within SequentialLR.

    Args:
        total_iters: intervals until the rate is whole.
        start_factor: where it begins, a part of the rate.
        interval: "step" or "epoch".
    """

    def __init__(self, total_iters: int, start_factor: float = 1 / 3, *, interval: str = "step") -> None:
        self.options = {"total_iters": total_iters, "start_factor": start_factor, "interval": interval}

    def to_dict(self) -> dict[str, Any]:
        """The object as it stands in the job spec."""
        return {key: plain(value) for key, value in self.options.items()}
