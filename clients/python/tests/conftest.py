"""What the tests share: small specs and batches, and Fashion-MNIST where Debian's package lies."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cyxwiz

ROOT = Path(__file__).resolve().parents[3]
DEBIANS = Path("/usr/share/datasets/fashion-mnist")


def job(layers: list[dict[str, Any]] | cyxwiz.nn.Network, **parts: Any) -> cyxwiz.Spec:
    """A spec over Fashion-MNIST's shapes, batch 8, SGD, with what `parts` say instead."""
    model = layers.to_dict() if isinstance(layers, cyxwiz.nn.Network) else {"layers": layers}
    spec = {
        "name": "test",
        "model": model,
        "data": {"dataset": "fashion-mnist", "batch_size": 8},
        "loss": {"type": "CrossEntropyLoss"},
        "optimizer": {"type": "SGD", "lr": 0.1},
        "epochs": 1,
        "seed": 3,
    }
    return cyxwiz.Spec({**spec, **parts})


def mlp(hidden: int = 16) -> cyxwiz.nn.Sequential:
    nn = cyxwiz.nn
    return nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def batch(rows: int = 8, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    return random.standard_normal((rows, 1, 28, 28), np.float32), random.integers(0, 10, rows, np.int32)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets that holds Fashion-MNIST."""
    if not DEBIANS.exists():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    root = tmp_path_factory.mktemp("data")
    (root / "fashion-mnist").mkdir()
    for packed in DEBIANS.glob("*.gz"):
        with gzip.open(packed) as source, open(root / "fashion-mnist" / packed.stem, "wb") as target:
            shutil.copyfileobj(source, target)
    return root
