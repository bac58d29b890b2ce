"""The learning rates of a run, for a loop of your own."""

from __future__ import annotations

from cyxwiz._native import ffi, lib
from cyxwiz.errors import check, new_error
from cyxwiz.spec import Spec

__all__ = ["Schedule"]


class Schedule:
    """A spec's scheduler and warm-up, as ``cyxwiz train`` advances them::

        schedule = cyxwiz.Schedule(spec, steps_per_epoch=len(batches))
        for epoch in range(spec.epochs):
            for x, y in batches:
                session.step(x, y, schedule.rates)
                schedule.after_step()
            schedule.after_epoch(validation_loss, validation_accuracy)

    Args:
        spec: whose optimizer, scheduler and warm-up are meant.
        steps_per_epoch: batches of an epoch (a cosine without T_max spans the spec's epochs).
    """

    def __init__(self, spec: Spec, steps_per_epoch: int) -> None:
        error, handle = new_error(), ffi.new("struct py_schedule **")
        check(lib.py_schedule_create(spec._handle, steps_per_epoch, handle, error), error)
        self._handle = ffi.gc(handle[0], lib.py_schedule_destroy)
        self._rates = ffi.new("double[8]")

    @property
    def rates(self) -> tuple[float, ...]:
        """This step's rate of each parameter group; the first is what no pattern names."""
        count = lib.py_schedule_rates(self._handle, self._rates)
        return tuple(self._rates[0:count])

    def after_step(self) -> None:
        """Advances what advances by steps."""
        lib.py_schedule_after_step(self._handle)

    def after_epoch(self, loss: float = float("nan"), accuracy: float = float("nan")) -> None:
        """Advances what advances by epochs; ReduceLROnPlateau looks at the evaluation's ``loss`` or ``accuracy``."""
        lib.py_schedule_after_epoch(self._handle, loss, accuracy)
