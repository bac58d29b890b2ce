"""What looks on while a model trains."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyxwiz._native import ffi, lib
from cyxwiz.errors import check, new_error

if TYPE_CHECKING:
    from cyxwiz.model import Model

__all__ = ["Callback", "EarlyStopping", "ModelCheckpoint", "TensorBoard"]

Logs = Mapping[str, float]


class Callback:
    """Called by :meth:`cyxwiz.Model.fit`; override what you need.

    ``model.stop_training = True`` ends the training behind the step or epoch that is under way. What a callback raises
    ends it at once, as an interrupt does.
    """

    def on_train_begin(self, model: Model) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, model: Model, epoch: int) -> None:
        """Before an epoch, counted from 0 over all calls of fit."""

    def on_step_end(self, model: Model, step: int, logs: Logs) -> None:
        """After a step (counted from 1 over all calls of fit) whose result is known: ``loss``, ``accuracy``, ``lr``.

        Up to two steps are under way, so the weights may already be one step further.
        """

    def on_epoch_end(self, model: Model, epoch: int, logs: Logs) -> None:
        """After an epoch and its evaluation: ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``, ``lr``."""

    def on_train_end(self, model: Model) -> None:
        """Behind the last epoch, also after an interrupt or an error."""


class _Monitor(Callback):
    """Keeps the best of one of an epoch's numbers."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f'mode is "auto", "min" or "max", got {mode!r}')
        rises = mode == "max" or (mode == "auto" and monitor.endswith("accuracy"))
        self.monitor = monitor
        self._sign = 1.0 if rises else -1.0
        self._min_delta = abs(min_delta)
        self.best: float | None = None  #: of the monitored number so far

    def on_train_begin(self, model: Model) -> None:
        """Begins anew."""
        self.best = None

    def _is_better(self, logs: Logs) -> bool:
        if self.monitor not in logs:
            raise KeyError(f"an epoch has no {self.monitor!r}: it has {', '.join(logs)}")
        value = logs[self.monitor]
        better = self.best is None or self._sign * (value - self.best) > self._min_delta
        if better:
            self.best = value
        return better


class EarlyStopping(_Monitor):
    """Ends the training when a number of the epochs stops getting better.

    Args:
        monitor: which: "val_loss", "val_accuracy", "loss", "accuracy".
        patience: epochs without improvement that are borne.
        min_delta: what counts as an improvement.
        mode: whether it is to fall ("min") or to rise ("max"); "auto": accuracies rise.
        restore_best_weights: go back to the best epoch's parameters and running statistics at the end.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self.stopped_epoch: int | None = None  #: the epoch that ended it
        self._waited = 0
        self._weights: dict[str, Any] | None = None

    def on_train_begin(self, model: Model) -> None:
        """Begins anew."""
        super().on_train_begin(model)
        self._waited, self._weights, self.stopped_epoch = 0, None, None

    def on_epoch_end(self, model: Model, epoch: int, logs: Logs) -> None:
        """Looks at the epoch's number."""
        if self._is_better(logs):
            self._waited = 0
            self._weights = model.state_dict() if self.restore_best_weights else None
            return
        self._waited += 1
        if self._waited > self.patience:
            self.stopped_epoch = epoch
            model.stop_training = True

    def on_train_end(self, model: Model) -> None:
        """Goes back to the best epoch's weights, where that was asked for."""
        if self._weights is not None:
            model.load_state_dict(self._weights)


class ModelCheckpoint(_Monitor):
    """Saves the model after each epoch.

    Args:
        path: of the safetensors file; ``{epoch}`` in it is replaced by the epoch's number.
        monitor, mode: see :class:`EarlyStopping`; looked at when only the best is saved.
        save_best_only: whether an epoch that is not better leaves the file alone.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        mode: str = "auto",
        save_best_only: bool = False,
    ) -> None:
        super().__init__(monitor, mode)
        self.path = os.fspath(path)
        self.save_best_only = save_best_only

    def on_epoch_end(self, model: Model, epoch: int, logs: Logs) -> None:
        """Saves it."""
        if not self.save_best_only or self._is_better(logs):
            model.save(self.path.replace("{epoch}", str(epoch)))


class TensorBoard(Callback):
    """Writes the curves as event files while the run goes: ``tensorboard --logdir log_dir``.

    Args:
        log_dir: a folder; made when it is not there.
        every_steps: steps between two points.
    """

    def __init__(self, log_dir: str | os.PathLike[str], every_steps: int = 1) -> None:
        self.log_dir = Path(log_dir)
        self.every_steps = max(every_steps, 1)
        self._events: Any = None

    def on_train_begin(self, model: Model) -> None:
        """Opens a new file."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        error, handle = new_error(), ffi.new("struct py_events **")
        check(lib.py_events_open(os.fsencode(self.log_dir), model.session.steps, handle, error), error)
        self._events = ffi.gc(handle[0], lib.py_events_close)

    def on_step_end(self, model: Model, step: int, logs: Logs) -> None:
        """Writes the step's numbers."""
        if step % self.every_steps == 0:
            self._write(step, {f"train/{name}": value for name, value in logs.items()})

    def on_epoch_end(self, model: Model, epoch: int, logs: Logs) -> None:
        """Writes the evaluation's numbers."""
        found = {name: value for name, value in logs.items() if name.startswith("val_")}
        self._write(model.session.steps, {f"eval/{name[4:]}": value for name, value in found.items()})

    def on_train_end(self, model: Model) -> None:
        """Closes the file."""
        self._events = None

    def _write(self, step: int, numbers: Logs) -> None:
        for tag, value in numbers.items():
            error = new_error()
            check(lib.py_events_scalar(self._events, step, tag.encode(), value, error), error)
