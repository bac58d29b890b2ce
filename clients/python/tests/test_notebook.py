"""The guide's notebook runs in a real kernel, cell by cell, and its bar draws there."""

from __future__ import annotations

from pathlib import Path

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
