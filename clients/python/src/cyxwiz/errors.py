"""What goes wrong, as exceptions.

Every refusal of the C library becomes a :class:`CyxwizError` with its ``status`` (a short stable name such as
``"invalid"``), its ``pointer`` (the RFC 6901 JSON Pointer of the field that was wrong, ``""`` when no field is) and its
``message`` (one sentence with the remedy). The subclasses are also the built-in exceptions that they resemble.
"""

from __future__ import annotations

from typing import Any

from cyxwiz._native import ffi, lib

__all__ = [
    "CorruptError",
    "CyxwizError",
    "DivergedError",
    "InputError",
    "NotFoundError",
    "OutOfMemoryError",
    "SpecError",
    "StateError",
    "UnavailableError",
]


class CyxwizError(Exception):
    """Whatever the library refuses.

    Attributes:
        status: the kind, as ``cyx_status_name()`` spells it: ``"invalid"``, ``"not-found"``, ``"unavailable"``, …
        pointer: JSON Pointer to the field of the spec that was wrong, ``""`` when no field is.
        message: what was expected, in one sentence.
    """

    def __init__(self, message: str, *, pointer: str = "", status: str = "internal") -> None:
        super().__init__(f"{pointer}: {message}" if pointer else message)
        self.status = status
        self.pointer = pointer
        self.message = message


class SpecError(CyxwizError, ValueError):
    """A job spec that cannot be: ``pointer`` is the field, for example ``/model/layers/4/out_channels``."""


class InputError(CyxwizError, ValueError):
    """An array of the wrong shape, type or content, or a file that cannot be what it should."""


class NotFoundError(CyxwizError, LookupError):
    """No value, data set or file of that name."""


class StateError(CyxwizError, RuntimeError):
    """A call at a moment when it cannot be, such as a training step of a session opened for inference."""


class UnavailableError(CyxwizError, RuntimeError):
    """This machine or build has no such device, or the device cannot do what the model needs."""


class CorruptError(CyxwizError, ValueError):
    """A file whose bytes do not hold what they claim."""


class OutOfMemoryError(CyxwizError, MemoryError):
    """Host or device memory ran out; the message says how much was wanted."""


class DivergedError(CyxwizError, ArithmeticError):
    """The loss became NaN or infinite; ``pointer`` is ``/optimizer/lr``."""


_CLASSES: dict[str, type[CyxwizError]] = {
    "invalid": InputError,
    "too-large": InputError,
    "not-found": NotFoundError,
    "conflict": StateError,
    "unsupported": UnavailableError,
    "unavailable": UnavailableError,
    "corrupt": CorruptError,
    "no-memory": OutOfMemoryError,
}


def new_error() -> Any:
    """A ``struct cyx_error`` for a call to fill."""
    return ffi.new("struct cyx_error *")


def text(chars: Any) -> str:
    """A C string as a Python one; ``""`` for NULL."""
    return "" if chars == ffi.NULL else str(ffi.string(chars).decode("utf-8", "replace"))


def check(status: int, error: Any, *, spec: bool = False) -> None:
    """Raises what ``status`` and the filled ``error`` say, if it is not OK; ``spec``: a spec was being judged."""
    if status == lib.CYX_OK:
        return
    name, pointer, message = text(lib.cyx_status_name(status)), text(error.pointer), text(error.message)
    kind = _CLASSES.get(name, CyxwizError)
    if kind is InputError and (spec or pointer):
        kind = SpecError
    raise kind(message or name, pointer=pointer, status=name)
