"""The optimizers: torch.optim's of these names, with their defaults.

``param_groups`` names parameters by patterns instead of holding them::

    optim.SGD(lr=0.1, momentum=0.9, weight_decay=5e-4,
              param_groups=[{"params": ["*.bias", "bn*"], "weight_decay": 0}])

The first group that matches a parameter (``*`` and ``?``) takes it; each may set ``lr`` and ``weight_decay``, what no
pattern names has the optimizer's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cyxwiz.optim import lr_scheduler
from cyxwiz.part import Part

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]

Groups = Sequence[Mapping[str, Any]]


class Optimizer(Part):
    """How weights follow their gradients."""


class SGD(Optimizer):
    """Gradient descent with momentum, as torch.optim.SGD.

    Args:
        lr: learning rate at the start.
        momentum: part of the last step that goes on.
        dampening: part of the gradient that momentum leaves out.
        weight_decay: times the weight, added to its gradient.
        nesterov: Nesterov's momentum; needs momentum above 0 and dampening 0.
        param_groups: see the module.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        param_groups: Groups | None = None,
    ) -> None:
        super().__init__(
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            param_groups=param_groups,
        )


class Adam(Optimizer):
    """Adam, as torch.optim.Adam: weight_decay is added to the gradient.

    Args:
        lr: learning rate at the start.
        betas: how slowly the two moments forget.
        eps: added to the denominator.
        weight_decay: times the weight, added to its gradient.
        param_groups: see the module.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        param_groups: Groups | None = None,
    ) -> None:
        super().__init__(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, param_groups=param_groups)


class AdamW(Optimizer):
    """Adam with decoupled weight decay, as torch.optim.AdamW: decays first.

    Args:
        lr: learning rate at the start.
        betas: how slowly the two moments forget.
        eps: added to the denominator.
        weight_decay: times lr and the weight, taken off it each step.
        param_groups: see the module.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        param_groups: Groups | None = None,
    ) -> None:
        super().__init__(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, param_groups=param_groups)


class RMSprop(Optimizer):
    """RMSprop, as torch.optim.RMSprop: eps stands outside the root.

    Args:
        lr: learning rate at the start.
        alpha: how slowly the mean of squares forgets.
        eps: added to the denominator.
        weight_decay: times the weight, added to its gradient.
        momentum: part of the last step that goes on.
        centered: whether the gradient's variance divides instead of its mean square.
        param_groups: see the module.
    """

    def __init__(
        self,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        param_groups: Groups | None = None,
    ) -> None:
        super().__init__(
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            param_groups=param_groups,
        )
