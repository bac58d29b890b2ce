"""A progress bar for terminals and notebooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

__all__ = ["Progress", "describe_logs"]

_WIDTH = 24
_EVERY_SECONDS = 0.1


def describe_logs(logs: Mapping[str, float]) -> str:
    """``loss 0.4123  accuracy 87.2 %`` and so on."""
    parts = []
    for name, value in logs.items():
        if name == "lr":
            parts.append(f"lr {value:.3g}")
        elif name.endswith("accuracy"):
            parts.append(f"{name} {100 * value:.2f} %")
        else:
            parts.append(f"{name} {value:.4f}")
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _notebook_display() -> Any:
    """IPython's updatable display where a notebook shows it, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display  # type: ignore[import]

    return display({"text/plain": ""}, raw=True, display_id=True)


class Progress:
    """A line an epoch, which moves where it can: in a terminal by carriage return, in a notebook by its display.

    Elsewhere (a file, a pipe) only the finished epochs are written.

    Args:
        steps: of an epoch.
        epochs: of the run.
        stream: stderr when None.
        shown: False writes nothing; None writes where a person looks (a terminal or a notebook).
    """

    def __init__(self, steps: int, epochs: int, *, stream: TextIO | None = None, shown: bool | None = None) -> None:
        self._steps, self._epochs = steps, epochs
        self._stream = sys.stderr if stream is None else stream
        self._terminal = bool(getattr(self._stream, "isatty", lambda: False)())
        self._display = _notebook_display() if stream is None and shown is not False else None
        self._shown = (self._terminal or self._display is not None) if shown is None else shown
        self._lines: list[str] = []
        self._last, self._begun, self._width = 0.0, 0.0, 0
        self._epoch = 0

    def begin(self, epoch: int) -> None:
        """A new epoch, counted from 1."""
        self._epoch, self._begun, self._last = epoch, time.monotonic(), 0.0

    def step(self, done: int, logs: Mapping[str, float]) -> None:
        """``done`` steps of the epoch are behind us; draws now and then."""
        now = time.monotonic()
        if not self._shown or (now - self._last < _EVERY_SECONDS and done < self._steps):
            return
        self._last = now
        spent = now - self._begun
        left = spent / done * (self._steps - done) if done else 0.0
        filled = _WIDTH * done // max(self._steps, 1)
        bar = "█" * filled + "░" * (_WIDTH - filled)
        rate = f"{done / spent:.1f} steps/s" if spent > 0 else ""
        self._draw(f"{self._title()} {bar} {done}/{self._steps}  {_clock(left)} left  {rate}  {describe_logs(logs)}")

    def end(self, logs: Mapping[str, float]) -> None:
        """The epoch is done: its line stays."""
        if not self._shown:
            return
        line = f"{self._title()} {_clock(time.monotonic() - self._begun)}  {describe_logs(logs)}"
        self._lines.append(line)
        if self._display is not None:
            self._update("")
        else:
            self._clear()
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Takes an unfinished line away."""
        if self._display is not None:
            self._update("")
        else:
            self._clear()

    def _title(self) -> str:
        return f"epoch {self._epoch}/{self._epochs}"

    def _draw(self, line: str) -> None:
        if self._display is not None:
            self._update(line)
        elif self._terminal:
            rest = " " * max(self._width - len(line), 0)
            self._width = len(line)  # before the line is there: an interrupt may come at any moment
            self._stream.write("\r" + line + rest)
            self._stream.flush()

    def _update(self, line: str) -> None:
        text = "\n".join([*self._lines, line] if line else self._lines)
        self._display.update({"text/plain": text}, raw=True)

    def _clear(self) -> None:
        if self._terminal and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0
