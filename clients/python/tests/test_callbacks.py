"""Callbacks and the progress bar: in memory, in a terminal, and Ctrl-C there."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_model import blobs, small

import cyxwiz
from cyxwiz.callbacks import Callback, EarlyStopping, ModelCheckpoint, TensorBoard
from cyxwiz.progress import Progress


class Diary(Callback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[dict[str, float]] = []

    def on_train_begin(self, model: cyxwiz.Model) -> None:
        self.lines.append("begin")

    def on_epoch_begin(self, model: cyxwiz.Model, epoch: int) -> None:
        self.lines.append(f"epoch {epoch}")

    def on_step_end(self, model: cyxwiz.Model, step: int, logs: Any) -> None:
        self.lines.append(f"step {step}")
        self.steps.append(dict(logs))

    def on_epoch_end(self, model: cyxwiz.Model, epoch: int, logs: Any) -> None:
        self.lines.append(f"end {epoch} {','.join(logs)}")

    def on_train_end(self, model: cyxwiz.Model) -> None:
        self.lines.append("over")


def test_callbacks__are_called_in_order() -> None:
    model, (x, y), diary = small(), blobs(64), Diary()
    model.fit(x, y, epochs=2, batch_size=32, validation_data=(x, y), callbacks=[diary])
    ends = "loss,accuracy,val_loss,val_accuracy,lr"
    assert diary.lines == [
        "begin", "epoch 0", "step 1", "step 2", f"end 0 {ends}", "epoch 1", "step 3", "step 4", f"end 1 {ends}", "over",
    ]  # fmt: skip
    assert all(step.keys() == {"loss", "accuracy", "lr"} for step in diary.steps)
    mean = np.mean([step["loss"] for step in diary.steps[:2]])
    assert model.history["loss"][0] == pytest.approx(mean)


def test_callbacks__may_stop_and_what_they_raise_ends_the_run() -> None:
    class Stop(Callback):
        def on_step_end(self, model: cyxwiz.Model, step: int, logs: Any) -> None:
            model.stop_training = step >= 3

    class Fail(Callback):
        def on_epoch_end(self, model: cyxwiz.Model, epoch: int, logs: Any) -> None:
            raise RuntimeError("no more")

    model, (x, y), diary = small(), blobs(320), Diary()
    model.fit(x, y, epochs=9, callbacks=[Stop()])
    assert model.history.epoch == [0] and model.session.steps <= 5
    with pytest.raises(RuntimeError, match="no more"):
        model.fit(x, y, epochs=9, callbacks=[diary, Fail()])
    assert diary.lines[-1] == "over" and model.session.open_steps == 0
    assert len(model.fit(x, y, epochs=2)["loss"]) == 2


def test_early_stopping__waits_and_goes_back_to_the_best() -> None:
    model, (x, y) = small(), blobs(64)
    stopper = EarlyStopping("val_loss", patience=1, min_delta=1e9, restore_best_weights=True)
    best: dict[str, Any] = {}

    class Keep(Callback):
        def on_epoch_end(self, model: cyxwiz.Model, epoch: int, logs: Any) -> None:
            if epoch == 0:
                best.update(model.state_dict())

    model.fit(x, y, epochs=9, validation_data=(x, y), callbacks=[Keep(), stopper])
    assert model.history.epoch == [0, 1, 2] and stopper.stopped_epoch == 2
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, best[name])
    with pytest.raises(KeyError, match="no 'val_loss': it has loss, accuracy, lr"):
        model.fit(x, y, epochs=2, callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match="mode"):
        EarlyStopping(mode="up")


def test_checkpoint__saves_each_epoch_or_the_best(tmp_path: Path) -> None:
    model, (x, y) = small(), blobs(64)
    every = ModelCheckpoint(tmp_path / "e{epoch}.safetensors")
    best = ModelCheckpoint(tmp_path / "best.safetensors", monitor="accuracy", save_best_only=True)
    model.fit(x, y, epochs=3, callbacks=[every, best])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.safetensors", "e0.safetensors", "e1.safetensors", "e2.safetensors",
    ]  # fmt: skip
    assert best.best == max(model.history["accuracy"])
    last = cyxwiz.safetensors.load_file(tmp_path / "e2.safetensors")
    np.testing.assert_array_equal(last["0.weight"], model.state_dict()["0.weight"])


def test_tensorboard__writes_the_curves(tmp_path: Path) -> None:
    model, (x, y) = small(), blobs(64)
    model.fit(x, y, epochs=2, validation_data=(x, y), callbacks=[TensorBoard(tmp_path / "logs")])
    (file,) = (tmp_path / "logs").iterdir()
    content = file.read_bytes()
    assert file.name.startswith("events.out.tfevents.")
    for tag in ("train/loss", "train/accuracy", "train/lr", "eval/loss", "eval/accuracy"):
        assert content.count(tag.encode()) == (4 if tag.startswith("train") else 2)


# ---- the bar ----


def test_progress__in_a_file_writes_the_finished_epochs() -> None:
    stream = io.StringIO()
    bar = Progress(10, 2, stream=stream, shown=True)
    bar.begin(1)
    for done in range(1, 11):
        bar.step(done, {"loss": 1 / done})
    bar.end({"loss": 0.1, "val_accuracy": 0.875, "lr": 0.01})
    bar.close()
    assert re.fullmatch(r"epoch 1/2 0:00  loss 0\.1000  val_accuracy 87\.50 %  lr 0\.01\n", stream.getvalue())
    assert Progress(1, 1, stream=io.StringIO())._shown is False


def in_a_terminal(code: str, on_output: Any = None) -> tuple[int, str]:
    """Runs Python with a terminal as its stderr; gives the exit status and what the terminal got."""
    leader, follower = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stderr=follower, stdout=subprocess.DEVNULL) as child:
        os.close(follower)
        text, until = "", time.monotonic() + 60
        while time.monotonic() < until:
            if not select.select([leader], [], [], 0.5)[0]:
                continue
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            text += piece.decode()
            if on_output is not None:
                on_output(child, text)
        os.close(leader)
        return child.wait(timeout=30), text


PROGRAM = """
import numpy as np, cyxwiz
from cyxwiz import nn
x = np.random.default_rng(0).standard_normal((20000, 4), np.float32)
model = cyxwiz.Model(nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 3)), backend="cpu")
try:
    model.fit(x, (x[:, 0] > 0).astype(int), epochs=EPOCHS, batch_size=64)
except KeyboardInterrupt:
    raise SystemExit(7 if np.isfinite(model.evaluate(x[:64], (x[:64, 0] > 0).astype(int))["loss"]) else 8)
"""


def test_progress__moves_in_a_terminal() -> None:
    status, text = in_a_terminal(PROGRAM.replace("EPOCHS", "2"))
    assert status == 0, text
    assert re.search(r"\repoch 1/2 █*░* *\d+/313  \d+:\d\d left  [\d.]+ steps/s  loss \d", text)
    lines = re.findall(r"\r +\repoch (\d)/2 \d+:\d\d  loss [\d.]+  accuracy [\d.]+ %  lr 0.001\r\n", text)
    assert lines == ["1", "2"]


def test_interrupt__in_a_terminal_ends_within_a_step_and_takes_the_bar_away() -> None:
    sent: list[float] = []

    def press(child: Any, text: str) -> None:
        if "epoch 1/100000" in text and not sent:
            sent.append(time.monotonic())
            child.send_signal(signal.SIGINT)

    status, text = in_a_terminal(PROGRAM.replace("EPOCHS", "100000"), press)
    assert status == 7, text
    assert sent and time.monotonic() - sent[0] < 5
    assert text.endswith(" \r")
