"""What layers, losses, optimizers and schedulers have in common: each is an object of the job spec."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Part"]


class Part:
    """An object of the job spec: its ``type`` and the options that are not the library's defaults.

    The C library judges them when a model is built.
    """

    def __init__(self, **options: Any) -> None:
        defaults = _defaults(type(self))
        self.options: dict[str, Any] = {
            key: plain(value)
            for key, value in options.items()
            if value is not None and not (key in defaults and _same(value, defaults[key]))
        }

    @property
    def type(self) -> str:
        """The name in the job spec: the class's own."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """The object as it stands in the job spec."""
        return {"type": self.type, **self.options}

    def __repr__(self) -> str:
        return f"{self.type}({', '.join(f'{key}={value!r}' for key, value in self.options.items())})"


def _defaults(kind: type[Part]) -> dict[str, Any]:
    """What the class's arguments are when left out: the library's own defaults, which a spec need not say."""
    return {name: argument.default for name, argument in inspect.signature(kind).parameters.items()}


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def plain(value: Any) -> Any:
    """A value as JSON has it: NumPy's numbers and arrays, tuples and nested ones become Python's own."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "tolist"):
        return value.tolist()
    return value
