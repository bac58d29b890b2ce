"""Model: fit, evaluate, predict, save; the same bits as the command line; interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import cyxwiz
from cyxwiz import nn, optim
from cyxwiz.callbacks import Callback
from cyxwiz.data import NPZ, Arrays, DataLoader, transforms
from cyxwiz.optim import lr_scheduler

COMMAND = Path(os.environ.get("CYXWIZ_BIN", ROOT / "build/dev/bin")) / "cyxwiz"


def blobs(rows: int = 300, seed: int = 0) -> tuple[Any, Any]:
    """Three clouds in four dimensions that a small network tells apart."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, rows)
    centres = np.array([[2, 0, 0, 1], [0, 2, 0, -1], [0, 0, 2, 0]])
    return (centres[y] + 0.5 * random.standard_normal((rows, 4))).astype(np.float32), y


def small(**options: Any) -> cyxwiz.Model:
    net = nn.Sequential(nn.Linear(None, 16), nn.ReLU(), nn.Linear(16, 3))
    return cyxwiz.Model(net, optimizer=optim.AdamW(0.01), **{"backend": "cpu", **options})


# ---- fit ----


def test_fit__learns_from_arrays_and_tells_of_each_epoch() -> None:
    model, (x, y) = small(), blobs()
    history = model.fit(x, y, epochs=8, batch_size=32, validation_data=blobs(100, 1))
    assert history is model.history and history.epoch == list(range(8)) and model.epochs_done == 8
    assert history.history.keys() == {"loss", "accuracy", "val_loss", "val_accuracy", "lr"}
    assert history["loss"][-1] < history["loss"][0] / 2 and history["val_accuracy"][-1] > 0.9
    assert history["lr"] == [0.01] * 8 and model.session.steps == 8 * 10
    found = model.evaluate(*blobs(100, 1))
    assert found["loss"] == pytest.approx(history["val_loss"][-1]) and found["accuracy"] == history["val_accuracy"][-1]
    outputs = model.predict(x)
    assert outputs.shape == (300, 3) and outputs.dtype == np.float32
    assert (outputs.argmax(1) == y).mean() == model.evaluate(x, y)["accuracy"]
    np.testing.assert_allclose(model.predict(x, batch_size=7), outputs, rtol=1e-5, atol=1e-6)


def test_fit__again_goes_on_where_it_stood() -> None:
    x, y = blobs()
    one, two = small(), small()
    one.fit(x, y, epochs=4)
    two.fit(x, y, epochs=1)
    two.fit(x, y, epochs=3)
    assert two.history.epoch == [1, 2, 3] and two.session.steps == one.session.steps
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(two.state_dict()[name], value)
    two.reset()
    assert two.epochs_done == 0 == two.session.steps
    two.fit(x, y, epochs=4)
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(two.state_dict()[name], value)


def test_fit__takes_any_batches_that_have_a_length() -> None:
    x, y = blobs()
    batches = [(x[i : i + 50], y[i : i + 50]) for i in range(0, 300, 50)]
    model = small()
    model.fit(batches, epochs=3, validation_data=batches[:2])
    assert model.session.steps == 18 and "val_loss" in model.history.history
    assert model.evaluate(batches) == pytest.approx(model.evaluate(x, y))
    np.testing.assert_allclose(model.predict(batches), model.predict(x), rtol=1e-5, atol=1e-6)
    torch = pytest.importorskip("torch")
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    other = small()
    other.fit(torch.utils.data.DataLoader(pairs, 50), epochs=3)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)
    with pytest.raises(TypeError, match="length"):
        small().fit(batch for batch in batches)
    with pytest.raises(cyxwiz.InputError, match="no batches"):
        small().fit(_Empty())


class _Empty:
    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Any:
        return iter(())


def test_fit__images_of_bytes_are_the_same_in_fit_evaluate_and_predict() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (60, 6, 5), np.uint8), random.integers(0, 2, 60)
    chain = [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(None, 2))
    model = cyxwiz.Model(net, backend="cpu")
    model.fit(x, y, epochs=2, validation_data=(x, y), transforms=chain)
    assert model.evaluate(x, y)["loss"] == pytest.approx(model.history["val_loss"][-1])
    ready = (x[:, None].astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    np.testing.assert_allclose(model.predict(x), model.session.predict(ready), rtol=1e-5, atol=1e-6)
    assert (model.predict(x).argmax(1) == y).mean() == pytest.approx(model.evaluate(x, y)["accuracy"])


def test_fit__schedule_and_warmup_are_followed() -> None:
    model = small(scheduler=lr_scheduler.StepLR(2, 0.5), warmup=lr_scheduler.Warmup(1, 0.1, interval="epoch"))
    x, y = blobs()
    history = model.fit(x, y, epochs=6)
    np.testing.assert_allclose(history["lr"], [0.001, 0.01, 0.01, 0.005, 0.005, 0.0025])
    plateau = small(scheduler=lr_scheduler.ReduceLROnPlateau(0.5, patience=0, threshold=10, threshold_mode="abs"))
    np.testing.assert_allclose(plateau.fit(x, y, epochs=4, validation_data=(x, y))["lr"], [0.01, 0.01, 0.005, 0.0025])


def test_fit__refuses_what_cannot_be() -> None:
    x, y = blobs()
    with pytest.raises(cyxwiz.SpecError) as caught:
        cyxwiz.Model(nn.Sequential(nn.Linear(5, 3)), backend="cpu").fit(x, y)
    assert caught.value.pointer == "/model/layers/0"
    with pytest.raises(cyxwiz.SpecError) as caught:
        small(clip_norm=-1).fit(x, y)
    assert caught.value.pointer == "/clip/norm"
    with pytest.raises(cyxwiz.SpecError) as caught:
        small().fit(x, y, epochs=0)
    assert caught.value.pointer == "/epochs"
    with pytest.raises(cyxwiz.InputError, match="class 3"):
        small().fit(x, np.where(y == 2, 3, y))
    with pytest.raises(cyxwiz.InputError, match="whole numbers"):
        small().fit(x, y.astype(float))
    with pytest.raises(TypeError, match="needs data"):
        small().fit()
    with pytest.raises(TypeError, match="leave y out"):
        small().fit("mnist", y)
    with pytest.raises(cyxwiz.StateError, match="build"):
        small().predict(x)
    model = small()
    model.fit(x, y)
    with pytest.raises(cyxwiz.InputError, match="built for"):
        model.fit(x[:, :3], y)
    assert model.predict(x).shape == (300, 3)


def test_fit__numbers_and_autoencoders() -> None:
    x, _ = blobs()
    y = x @ np.array([[1.0], [2], [-1], [0.5]], np.float32)
    model = cyxwiz.Model(nn.Sequential(nn.Linear(4, 1)), nn.MSELoss(), optim.SGD(0.05), backend="cpu")
    history = model.fit(x, y[:, 0], epochs=60)
    assert history["loss"][-1] < 1e-3 and history.history.keys() == {"loss", "lr"}
    np.testing.assert_allclose(model.state_dict()["0.weight"], [[1, 2, -1, 0.5]], atol=0.05)
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4))
    auto = cyxwiz.Model(net, nn.MSELoss(target="input"), optim.Adam(0.02), backend="cpu")
    history = auto.fit(x, epochs=10, validation_data=(x, None))
    assert history["loss"][-1] < history["loss"][0] / 2 and history["val_loss"][-1] < history["loss"][0]
    assert auto.predict(x).shape == x.shape and auto.evaluate(x).keys() == {"loss"}


def test_fit__that_diverges_says_so() -> None:
    model = cyxwiz.Model(nn.Sequential(nn.Linear(4, 1)), nn.MSELoss(), optim.SGD(1e6), backend="cpu")
    with pytest.raises(cyxwiz.DivergedError) as caught:
        model.fit(blobs()[0], np.ones((300, 1)), epochs=50)
    assert caught.value.pointer == "/optimizer/lr" and "lower the learning rate" in str(caught.value)
    model.reset()
    assert np.isfinite(model.predict(blobs()[0])).all()


@pytest.mark.parametrize("backend", ["cpu", "vulkan"])
def test_fit__on_nan_says_so_though_relu_hides_it_from_the_loss(backend: str) -> None:
    x, y = blobs()
    x[5, 1] = np.nan
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(cyxwiz.DivergedError, match="unless the data hold NaN"):
        cyxwiz.Model(net, optimizer=optim.SGD(0.1), backend=backend).fit(x, y, epochs=2, batch_size=300)


def test_build__gives_weights_before_any_data() -> None:
    model = small(seed=5).build((4,))
    first = model.state_dict()
    assert {name: value.shape for name, value in first.items()} == {
        "0.weight": (16, 4),
        "0.bias": (16,),
        "2.weight": (3, 16),
        "2.bias": (3,),
    }
    assert model.session.classes == 3 and [p.name for p in model.parameters()] == list(first)
    other = small(seed=5)
    other.fit(*blobs(), epochs=1)
    other.reset()
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(first[name], value)
    assert "Linear" in str(model.describe()) and model.describe(64).batch_size == 64
    assert model.describe().parameters == 16 * 4 + 16 + 3 * 16 + 3
    with pytest.raises(cyxwiz.StateError):
        small().describe()


# ---- the command line ----


def write_job(folder: Path, name: str, net: nn.Network, data: dict[str, Any], **parts: Any) -> Path:
    spec = {
        "name": name,
        "model": net.to_dict(),
        "data": data,
        "loss": {"type": "CrossEntropyLoss", "label_smoothing": 0.1},
        "optimizer": {"type": "AdamW", "lr": 0.003},
        "scheduler": {"type": "CosineAnnealingLR", "interval": "step"},
        "warmup": {"total_iters": 3},
        "epochs": 2,
        "seed": 9,
        **parts,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(spec))
    return path


def assert_same_bits(job: Path, model: cyxwiz.Model, data_dir: Path) -> None:
    out = job.parent / "out"
    if not COMMAND.exists():
        pytest.skip(f"SKIP the command line is not built: {COMMAND}")
    done = subprocess.run(
        [COMMAND, "train", job, "--backend", "cpu", "--output", out, "--json", "--data-dir", data_dir],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trained = cyxwiz.safetensors.load_file(out / "model.safetensors")
    mine = model.state_dict()
    assert mine.keys() == trained.keys()
    for name, value in trained.items():
        np.testing.assert_array_equal(mine[name], value, err_msg=name)
    about = json.loads(done.stdout)
    assert about["train_loss"] == pytest.approx(model.history["loss"][-1], rel=1e-12)
    assert about["steps"] == model.session.steps


def test_bits__are_the_command_lines_on_files_of_this_machine(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=random.integers(0, 256, (150, 12, 12), np.uint8), y=np.arange(150) % 10)
    data = {
        "dataset": {"format": "npz", "train": str(tmp_path / "a.npz")},
        "batch_size": 16,
        "split": {"validation": 0.2},
        "transforms": [
            {"type": "RandomCrop", "size": 10},
            {"type": "RandomHorizontalFlip"},
            {"type": "ToTensor"},
            {"type": "Normalize", "mean": 0.5, "std": 0.25},
        ],
    }
    net = nn.Sequential(
        nn.Conv2d(None, 4, 3, padding="same", name="conv"), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3),
        nn.Flatten(), nn.Linear(None, 10),
    )  # fmt: skip
    job = write_job(tmp_path, "files", net, data)
    model = cyxwiz.Model.from_spec(job, backend="cpu")
    model.fit()
    assert len(model.history.epoch) == 2
    assert_same_bits(job, model, tmp_path)
    # The same arrays out of memory, described in Python.
    again = cyxwiz.Model.from_spec(job, backend="cpu")
    archive = np.load(tmp_path / "a.npz")
    chain = [
        transforms.RandomCrop(10), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize(0.5, 0.25),
    ]  # fmt: skip
    again.fit(archive["x"], archive["y"], epochs=2, batch_size=16, validation_split=0.2, transforms=chain)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)
    loader = DataLoader(NPZ(tmp_path / "a.npz"), 16, validation_split=0.2, transforms=chain, seed=9)
    third = cyxwiz.Model.from_spec(job, backend="cpu")
    third.fit(loader, epochs=2)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(third.state_dict()[name], value)


def test_bits__are_the_command_lines_on_the_catalogue(tmp_path: Path, data_dir: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16, name="fc"), nn.ReLU(), nn.Dropout(0.1), nn.Linear(None, 10))
    job = write_job(tmp_path, "fashion", net, {"dataset": "fashion-mnist", "batch_size": 250}, epochs=1)
    model = cyxwiz.Model.from_spec(job, backend="cpu")
    model.fit(data_dir=data_dir)
    assert model.history["val_accuracy"][-1] > 0.7
    assert_same_bits(job, model, data_dir)
    opened = cyxwiz.Model.load(tmp_path / "out/model.safetensors", backend="cpu", training=False)
    found = opened.evaluate(DataLoader("fashion-mnist", 250, data_dir=data_dir))
    assert found["accuracy"] == model.history["val_accuracy"][-1]
    with pytest.raises(cyxwiz.StateError, match="inference"):
        opened.fit(data_dir=data_dir)


def test_spec__of_a_model_is_the_whole_job() -> None:
    model = small(name="blobs", seed=4, clip_value=1.0, scheduler=lr_scheduler.ExponentialLR(0.9))
    spec = model.spec("fashion-mnist", epochs=3, batch_size=64)
    assert (spec.name, spec.epochs, spec.batch_size, spec.seed, spec.backend) == ("blobs", 3, 64, 4, "cpu")
    assert spec.to_dict()["clip"] == {"value": 1.0} and spec.to_dict()["scheduler"]["gamma"] == 0.9
    back = cyxwiz.Model.from_spec(spec)
    assert back.spec() == spec and cyxwiz.Model.from_spec(spec.canonical).spec(epochs=5).epochs == 5
    assert "Linear" in repr(back)
    with pytest.raises(TypeError):
        small().spec()


# ---- files ----


def test_save__and_load_give_the_same_model(tmp_path: Path) -> None:
    x, y = blobs()
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    model = cyxwiz.Model(net, backend="cpu")
    model.fit(x, y, epochs=2)
    path = tmp_path / "model.safetensors"
    assert model.save(path) == path.stat().st_size
    for training in (True, False):
        back = cyxwiz.Model.load(path, training=training)
        np.testing.assert_array_equal(back.predict(x), model.predict(x))
        assert back.evaluate(x, y) == model.evaluate(x, y)
    cyxwiz.Model.load(path).fit(x, y, epochs=1)
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    state = cyxwiz.safetensors.load_file(path)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), model.predict(x), rtol=1e-5, atol=1e-5)
    cyxwiz.safetensors.save_file(state, tmp_path / "bare.safetensors")
    with pytest.raises(cyxwiz.CyxwizError, match="spec"):
        cyxwiz.Model.load(tmp_path / "bare.safetensors")


# ---- interrupts ----


class _Interrupt(Callback):
    def __init__(self, at_step: int) -> None:
        self.at_step = at_step
        self.ended = 0

    def on_step_end(self, model: cyxwiz.Model, step: int, logs: Any) -> None:
        if step == self.at_step:
            signal.raise_signal(signal.SIGINT)

    def on_train_end(self, model: cyxwiz.Model) -> None:
        self.ended += 1


def test_interrupt__leaves_the_model_as_its_last_step_did() -> None:
    model, (x, y) = small(), blobs()
    watcher = _Interrupt(14)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=1000, batch_size=32, callbacks=[watcher])
    assert watcher.ended == 1 and model.session.open_steps == 0 and 14 <= model.session.steps <= 16
    assert model.history.epoch == [0]
    before = model.evaluate(x, y)["loss"]
    assert np.isfinite(before) and model.fit(x, y, epochs=3)["loss"][-1] < before


def test_interrupt__from_outside_ends_a_long_fit_at_once() -> None:
    model, (x, y) = small(), blobs(5000)
    model.fit(x, y, epochs=1)
    threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=100000, batch_size=64)
    assert np.isfinite(model.evaluate(x, y)["loss"])


def test_arrays__with_a_part_that_judges() -> None:
    x, y = blobs()
    model = small()
    model.fit(Arrays(x, y, test=blobs(50, 2)), epochs=2)
    assert len(model.history["val_loss"]) == 2
    assert model.evaluate(Arrays(x[:10], y[:10], test=blobs(50, 2)))["loss"] == pytest.approx(
        model.history["val_loss"][-1]
    )
