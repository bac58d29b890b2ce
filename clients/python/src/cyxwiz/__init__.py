"""CyxWiz in Python: neural networks trained by the C engine, on Vulkan or the CPU.

The engine is the one that ``cyxwiz train`` and the network's workers run, so the same spec gives the same bits. What
is here describes models (:mod:`cyxwiz.nn`, :mod:`cyxwiz.optim`) with PyTorch's names and defaults, and runs them
(:class:`Model`; :class:`Session` for a loop of your own). Arrays are NumPy's; where memory is shared and where it is copied stands with each method.

Everything ends in one job spec (:class:`Spec`), which the C library alone judges: an error is a :class:`SpecError` with
the JSON Pointer of what was wrong.
"""

from cyxwiz import callbacks, data, nn, optim, safetensors
from cyxwiz.errors import (
    CorruptError,
    CyxwizError,
    DivergedError,
    InputError,
    NotFoundError,
    OutOfMemoryError,
    SpecError,
    StateError,
    UnavailableError,
)
from cyxwiz.model import History, Model
from cyxwiz.schedule import Schedule
from cyxwiz.session import Device, Session, StepResult
from cyxwiz.spec import Sample, Spec, schema
from cyxwiz.summary import Summary
from cyxwiz.tensor import Tensor

__version__ = "0.1.0"

__all__ = [
    "CorruptError",
    "CyxwizError",
    "Device",
    "DivergedError",
    "History",
    "InputError",
    "Model",
    "NotFoundError",
    "OutOfMemoryError",
    "Sample",
    "Schedule",
    "Session",
    "Spec",
    "SpecError",
    "StateError",
    "StepResult",
    "Summary",
    "Tensor",
    "UnavailableError",
    "callbacks",
    "data",
    "nn",
    "optim",
    "safetensors",
    "schema",
]
