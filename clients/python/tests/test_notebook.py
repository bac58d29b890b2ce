"""The guide's notebook runs in a real kernel, cell by cell, and its bar draws there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


def test_guide__runs_in_a_kernel(data_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CYXWIZ_DATA_DIR", str(data_dir))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(ROOT / "docs/guides/train-in-python.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells), "the guide is kept without outputs"
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={})
    client.execute(cwd=str(tmp_path))
    text = "\n".join(
        str(output.get("text") or output.get("data", {}).get("text/plain", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert "epoch 2/2" in text and "val_accuracy" in text, text
    assert "head.bias" in text and "True True" in text and "/model/layers/2 |" in text, text


LONG = """
import numpy as np, cyxwiz
from cyxwiz import nn
x = np.random.default_rng(0).standard_normal((5000, 4), np.float32)
y = (x[:, 0] > 0).astype(int)
model = cyxwiz.Model(nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2)), backend="cpu")
model.fit(x, y, epochs=100000, batch_size=64)
"""


def test_stop_button__ends_a_fit_and_leaves_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manager = pytest.importorskip("jupyter_client.manager")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    pressed: list[float] = []

    def press(message: Any) -> None:
        """When the bar is there."""
        if message["msg_type"] == "update_display_data" and not pressed:
            pressed.append(time.monotonic())
            kernel.interrupt_kernel()

    try:
        reply = client.execute_interactive(LONG, output_hook=press, timeout=120)
        assert reply["content"]["ename"] == "KeyboardInterrupt" and time.monotonic() - pressed[0] < 10
        shown: list[str] = []
        reply = client.execute_interactive(
            "model.evaluate(x, y)['accuracy'] > 0.5, model.session.steps > 0",
            output_hook=lambda message: shown.append(str(message["content"].get("data"))),
            timeout=120,
        )
        assert reply["content"]["status"] == "ok" and any("(True, True)" in text for text in shown), shown
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
