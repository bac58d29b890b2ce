"""Stepping a session: what it computes, what it shares with NumPy, what it refuses, how it bears interrupts."""

from __future__ import annotations

import gc
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import batch, job, mlp

import cyxwiz
from cyxwiz import nn, optim

torch = pytest.importorskip("torch")


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(None, 10)
    )


def torchs(model: str) -> Any:
    parts = {
        "mlp": [torch.nn.Flatten(), torch.nn.Linear(784, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)],
        "cnn": [
            torch.nn.Conv2d(1, 6, 3, padding="same"),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(6 * 14 * 14, 10),
        ],
    }
    return torch.nn.Sequential(*parts[model])


@pytest.fixture(params=["mlp", "cnn"])
def pair(request: pytest.FixtureRequest) -> tuple[cyxwiz.Session, Any]:
    """A session and PyTorch's module of the same network with the same weights."""
    session = cyxwiz.Session(job(mlp() if request.param == "mlp" else cnn()), backend="cpu")
    module = torchs(request.param)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in session.state_dict().items()})
    return session, module


def test_predict__is_pytorchs_forward(pair: tuple[cyxwiz.Session, Any]) -> None:
    session, module = pair
    x, _ = batch(5)
    wanted = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(session.predict(x), wanted, rtol=1.3e-6, atol=1e-5)
    out = np.full((5, 10), np.nan, np.float32)
    assert session.predict(x, out) is out and np.array_equal(out, session.predict(x))


def test_step__moves_the_weights_as_pytorch_does(pair: tuple[cyxwiz.Session, Any]) -> None:
    session, module = pair
    teacher = torch.optim.SGD(module.parameters(), lr=0.1)
    for number in range(3):
        x, y = batch(8, number)
        logits = module(torch.from_numpy(x))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y).long())
        result = session.step(x, y)
        assert result.loss == pytest.approx(loss.item(), rel=1e-5)
        assert (result.correct, result.count) == ((logits.argmax(1).numpy() == y).sum(), 8)
        assert result.accuracy == result.correct / 8
        teacher.zero_grad()
        loss.backward()
        teacher.step()
    assert session.steps == 3
    for name, value in module.state_dict().items():
        np.testing.assert_allclose(session.tensors[name].copy(), value.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_network__of_every_kind_of_layer_is_pytorchs(tmp_path: Path) -> None:
    x = nn.Input()
    h = nn.SiLU()(nn.BatchNorm2d(4)(nn.Conv2d(1, 4, 3, stride=2, padding=1)(x)))
    g = nn.GELU(approximate="tanh")(nn.Conv2d(4, 4, 3, padding="same", groups=2)(h))
    j = nn.Concat()(h + g, nn.Sigmoid()(g), nn.LeakyReLU(0.2)(h))
    j = nn.AvgPool2d(2, ceil_mode=True)(nn.Tanh()(nn.ConvTranspose2d(12, 6, 2, 2)(j)))
    f = nn.LayerNorm([6])(nn.Flatten()(nn.GlobalAvgPool2d()(nn.AdaptiveAvgPool2d(7)(j))))
    out = nn.Linear(12, 10)(nn.BatchNorm1d(12)(nn.Linear(6, 12)(nn.Reshape(6)(f))))

    class Torchs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            t = torch.nn
            parts = {
                0: t.Conv2d(1, 4, 3, 2, 1), 1: t.BatchNorm2d(4), 3: t.Conv2d(4, 4, 3, padding="same", groups=2),
                9: t.ConvTranspose2d(12, 6, 2, 2), 15: t.LayerNorm([6]), 17: t.Linear(6, 12), 18: t.BatchNorm1d(12),
                19: t.Linear(12, 10),
            }  # fmt: skip
            for index, module in parts.items():
                self.add_module(str(index), module)

        def forward(self, x: Any) -> Any:
            m, f = self._modules, torch.nn.functional
            h = f.silu(m["1"](m["0"](x)))
            c = m["3"](h)
            g = 0.5 * c * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (c + 0.044715 * c**3)))
            j = torch.cat([h + g, torch.sigmoid(g), f.leaky_relu(h, 0.2)], 1)
            j = f.avg_pool2d(torch.tanh(m["9"](j)), 2, ceil_mode=True)
            j = f.adaptive_avg_pool2d(j, 7).mean((2, 3))
            return m["19"](m["18"](m["17"](m["15"](j))))

    spec = job(nn.Graph(out), optimizer=optim.SGD(0.1, 0.9).to_dict(), clip={"norm": 1.0})
    session, module = cyxwiz.Session(spec, backend="cpu"), Torchs()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in session.state_dict().items()}, strict=False)
    teacher = torch.optim.SGD(module.parameters(), 0.1, 0.9)
    for number in range(3):
        inputs, targets = batch(8, number)
        loss = torch.nn.functional.cross_entropy(module(torch.from_numpy(inputs)), torch.from_numpy(targets).long())
        teacher.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        teacher.step()
        result = session.step(inputs, targets)
        assert result.loss == pytest.approx(loss.item(), rel=1e-4), number
        assert result.grad_norm == pytest.approx(float(norm), rel=1e-3)
    for name, value in module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_allclose(session.tensors[name].copy(), value.numpy(), rtol=1e-3, atol=3e-5, err_msg=name)
    module.eval()
    session.load_state_dict(module.state_dict())  # with PyTorch's num_batches_tracked
    inputs, _ = batch(5, 9)
    wanted = module(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(session.predict(inputs), wanted, rtol=1e-4, atol=1e-5)
    session.save(tmp_path / "m.safetensors")
    state = cyxwiz.safetensors.load_file(tmp_path / "m.safetensors")
    assert state.keys() == module.state_dict().keys()
    cyxwiz.Session(spec, backend="cpu", training=False).load_state_dict(state)


def test_load_state_dict__takes_pytorchs_own_and_refuses_others() -> None:
    session, module = cyxwiz.Session(job(mlp()), backend="cpu"), torchs("mlp")
    session.load_state_dict(module.state_dict())
    before = session.state_dict()
    np.testing.assert_array_equal(before["1.weight"], module.state_dict()["1.weight"].numpy())
    with pytest.raises(cyxwiz.InputError, match=r"missing: \['3.bias'\]; unknown: \['4.bias'\]"):
        session.load_state_dict({**{k: v * 0 for k, v in before.items() if k != "3.bias"}, "4.bias": np.zeros(10)})
    with pytest.raises(cyxwiz.InputError, match=r"3.weight has shape \(10, 16\), got \(16, 10\)"):
        session.load_state_dict({**before, "1.bias": before["1.bias"] + 1, "3.weight": before["3.weight"].T})
    for name, value in session.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    session.load_state_dict({"1.bias": np.ones(16)}, strict=False)
    assert (session.tensors["1.bias"].copy() == 1).all()


# ---- memory ----


def test_tensor__shares_its_memory_where_the_device_is_plain_memory() -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    x, y = batch()
    bias = session.tensors["3.bias"]
    assert bias.shared and bias.kind == "parameter" and bias.shape == (10,) and bias.size == 10
    view = bias.numpy()
    assert np.shares_memory(view, bias.numpy()) and np.shares_memory(view, np.asarray(bias)) and view.flags.writeable
    assert memoryview(view).nbytes == 40
    before = view.copy()
    session.step(x, y)
    assert not np.array_equal(view, before), "the step's change shows in the view"
    view[:] = 7
    assert (bias.copy() == 7).all(), "what is written into the view is the session's"
    logits = session.predict(x)
    view += 1
    np.testing.assert_allclose(session.predict(x), logits + 1, rtol=1e-6)
    assert np.shares_memory(session.state_dict(copy=False)["3.bias"], view)
    assert not np.shares_memory(session.state_dict()["3.bias"], view)


def test_tensor__that_is_a_copy_is_read_only_and_written_by_copy() -> None:
    session = cyxwiz.Session(job(cnn()), backend="cpu")
    copied = [tensor for tensor in session.parameters() if not tensor.shared]
    for tensor in copied:
        array = tensor.numpy()
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    for tensor in session.parameters():
        values = np.random.default_rng(1).standard_normal(tensor.shape)
        assert tensor.copy_(values) is tensor
        np.testing.assert_array_equal(tensor.numpy(), values.astype(np.float32))
        with pytest.raises(cyxwiz.InputError, match="has shape"):
            tensor.copy_(np.zeros((*tensor.shape, 1)))
        assert "Tensor(" in repr(tensor) and tensor.dtype == np.float32 and tensor.ndim == len(tensor.shape)


def test_tensor__is_taken_by_dlpack() -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    for name in ("3.bias", "1.weight"):
        np.testing.assert_array_equal(torch.from_dlpack(session.tensors[name]).numpy(), session.tensors[name].copy())
    shared = torch.from_dlpack(session.tensors["3.bias"])
    shared.fill_(5)
    assert (session.tensors["3.bias"].copy() == 5).all()


def test_predict__without_a_copy_shows_the_devices_memory() -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    x, _ = batch()
    view = session.predict(x, copy=False)
    first = session.predict(x)
    assert not view.flags.writeable and not np.shares_memory(view, first)
    np.testing.assert_array_equal(view, first)
    session.predict(x * 2)
    np.testing.assert_array_equal(view, session.predict(x * 2))
    views = [session.predict(x[:rows], copy=False) for rows in range(1, 8)]  # the first few are kept, others copied
    for rows in range(1, 8):
        session.predict(x[:rows] * 3)
    for rows in range(9, 30):
        session.predict(batch(rows)[0])
    session.close()
    assert all(np.isfinite(each).all() for each in [view, *views])


def test_views__outlive_their_session() -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    view = session.tensors["3.bias"].numpy()
    view[:] = np.arange(10)
    session.close()
    session.close()
    del session
    gc.collect()
    np.testing.assert_array_equal(view, np.arange(10))


def test_batches__are_read_in_place_and_left_alone() -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    x, y = batch()
    x.flags.writeable = y.flags.writeable = False
    kept = x.copy()
    session.step(x, y)
    np.testing.assert_array_equal(x, kept)
    assert session._input(x) is x and session._target(y, 8) is y
    wide = np.zeros((8, 1, 28, 56), np.float32)
    wide[..., ::2] = x
    assert session.evaluate(wide[..., ::2], y.astype(np.int64)) == session.evaluate(x, y)
    assert session.evaluate(x.astype(np.float64), y.tolist()) == session.evaluate(x, y)


def test_batches__at_any_address_give_the_same() -> None:
    session = cyxwiz.Session(job(cnn()), backend="cpu")
    x, y = batch()
    wanted = session.predict(x)
    for offset in (1, 2, 3, 5, 7):
        room = np.empty(x.size + 16, np.float32)
        moved = room[offset : offset + x.size].reshape(x.shape)
        moved[...] = x
        np.testing.assert_allclose(session.predict(moved), wanted, rtol=1e-6, atol=1e-6)
        session.evaluate(moved, y)


# ---- refusals ----


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((8, 28, 28)), np.zeros(8, int), r"takes \(N, 1, 28, 28\)"),
        (np.zeros((1, 28, 28)), np.zeros(1, int), r"shape \(1, 28, 28\)"),
        (np.zeros((8, 1, 28, 28)), None, "target is missing"),
        (np.zeros((8, 1, 28, 28)), np.zeros(8), "whole numbers, got float64"),
        (np.zeros((8, 1, 28, 28)), np.zeros(7, int), r"expected \(8,\)"),
        (np.zeros((8, 1, 28, 28)), np.zeros((8, 1), int), r"shape \(8, 1\)"),
        (np.zeros((8, 1, 28, 28)), np.array([0] * 7 + [10]), "target 7 is class 10: expected 0 to 9"),
        (np.zeros((8, 1, 28, 28)), np.array([0] * 7 + [-1]), "target 7 is class -1"),
        (np.zeros((8, 1, 28, 28)), np.array([0] * 7 + [2**32]), "beyond 32 bits"),
        (np.zeros((0, 1, 28, 28)), np.zeros(0, int), "1 to 65536 rows"),
    ],
)
def test_step__refuses_what_does_not_fit_and_changes_nothing(x: Any, y: Any, message: str) -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    before = session.state_dict()
    with pytest.raises(cyxwiz.InputError, match=message):
        session.step(x, y)
    assert session.steps == 0 and session.open_steps == 0
    for name, value in session.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_step__of_ignored_classes_counts_the_others() -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    x, y = batch()
    y[:3] = -100
    assert session.evaluate(x, y).count == 5


def test_session__refuses_shapes_devices_and_training_without_state() -> None:
    with pytest.raises(cyxwiz.SpecError) as caught:
        cyxwiz.Session(job(nn.Sequential(nn.Flatten(), nn.Linear(100, 10))), backend="cpu")
    assert caught.value.pointer == "/model/layers/1"
    with pytest.raises(cyxwiz.SpecError, match="backend"):
        cyxwiz.Session(job(mlp()), backend="cuda")
    session = cyxwiz.Session(job(mlp()), backend="cpu", training=False)
    assert all(tensor.kind != "state" for tensor in session.tensors.values())
    session.predict(batch()[0])
    with pytest.raises(cyxwiz.StateError, match="training=True"):
        session.step(*batch())
    session.close()
    with pytest.raises(cyxwiz.StateError, match="closed"):
        session.predict(batch()[0])


# ---- steps ----


def test_submit__two_steps_may_be_open_and_results_come_in_order() -> None:
    one, two = (cyxwiz.Session(job(mlp()), backend="cpu") for _ in range(2))
    batches = [batch(8, seed) for seed in range(6)] + [batch(3, 9), batch(8, 10)]
    wanted = [one.step(x, y, 0.1) for x, y in batches]
    got = []
    for x, y in batches:
        if two.open_steps == 2:
            got.append(two.take())
        two.submit(x, y, [0.1])
    with pytest.raises(cyxwiz.StateError, match="2 steps are open"):
        two.submit(*batches[0], 0.1)
    two.predict(batches[0][0])  # finishes what is open and keeps the results
    got += [two.take(), two.take()]
    with pytest.raises(cyxwiz.NotFoundError):
        two.take()
    assert got == wanted
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(two.tensors[name].copy(), value)


def test_steps__of_many_batch_sizes_share_the_weights() -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    x, y = batch(24)
    for rows in [*range(1, 24), 1, 2]:
        session.step(x[:rows], y[:rows], 0.01)
    whole = session.predict(x)
    np.testing.assert_allclose(np.concatenate([session.predict(x[:11]), session.predict(x[11:])]), whole, rtol=1e-5)


def test_reset__gives_the_first_bits_again() -> None:
    session = cyxwiz.Session(job(mlp(), optimizer=optim.SGD(0.1, momentum=0.9).to_dict()), backend="cpu")
    first = session.state_dict()
    runs = []
    for _ in range(2):
        runs.append([session.step(*batch(8, seed)) for seed in range(4)])
        session.reset()
        assert session.steps == 0
        for name, value in session.state_dict().items():
            np.testing.assert_array_equal(value, first[name])
    assert runs[0] == runs[1]


def test_learning_rate__is_the_optimizers_a_number_or_one_a_group() -> None:
    groups = [{"params": ["3.*"], "lr": 0.0}]
    session = cyxwiz.Session(job(mlp(), optimizer=optim.SGD(0.1, param_groups=groups).to_dict()), backend="cpu")
    before = session.state_dict()
    session.step(*batch())
    after = session.state_dict()
    np.testing.assert_array_equal(after["3.bias"], before["3.bias"])
    assert not np.array_equal(after["1.bias"], before["1.bias"])
    session.step(*batch(), lr=[0.0, 0.1])
    np.testing.assert_array_equal(session.tensors["1.bias"].copy(), after["1.bias"])
    assert not np.array_equal(session.tensors["3.bias"].copy(), after["3.bias"])
    with pytest.raises(cyxwiz.InputError, match="learning rates"):
        session.step(*batch(), lr=[])


def test_session__tells_of_its_device() -> None:
    with cyxwiz.Session(job(mlp()), backend="cpu", threads=1) as session:
        assert session.device.backend == "cpu" and session.device.threads == 1 and session.memory_bytes > 0
        assert session.input_shape == (1, 28, 28) and session.output_shape == (10,)
        assert session.classes == 10 and session.counts_correct


def test_vulkan__steps_as_the_cpu_does() -> None:
    spec = job(cnn())
    try:
        vulkan = cyxwiz.Session(spec, backend="vulkan")
    except cyxwiz.UnavailableError as missing:
        pytest.skip(f"SKIP no Vulkan here: {missing}")
    cpu = cyxwiz.Session(spec, backend="cpu")
    for seed in range(2):
        assert vulkan.step(*batch(8, seed)).loss == pytest.approx(cpu.step(*batch(8, seed)).loss, rel=1e-4)
    assert not vulkan.tensors["0.bias"].shared
    for name, value in cpu.state_dict().items():
        np.testing.assert_allclose(vulkan.tensors[name].numpy(), value, rtol=1e-3, atol=1e-5)


def test_interrupt__comes_between_steps_and_leaves_the_session_usable() -> None:
    session = cyxwiz.Session(job(mlp(256)), backend="cpu")
    x, y = batch(512)
    session.step(x, y)
    threading.Timer(0.05, lambda: signal.raise_signal(signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        while time.monotonic() < started + 30:
            session.submit(x, y, 1e-3)
            session.take()
    assert time.monotonic() - started < 10
    session.finish()
    assert np.isfinite(session.step(x, y).loss) and session.steps > 1


def test_threads__wait_for_one_another() -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    x, y = batch()
    wanted, found = session.predict(x), []

    def work() -> None:
        for _ in range(20):
            found.append(np.array_equal(session.predict(x), wanted))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 80 and all(found)


def test_save__opens_in_the_strict_reader(tmp_path: Path) -> None:
    session = cyxwiz.Session(job(mlp()), backend="cpu")
    path = tmp_path / "model.safetensors"
    assert session.save(path) == path.stat().st_size
    state = cyxwiz.safetensors.load_file(path)
    assert state.keys() == session.state_dict().keys()
    for name, value in state.items():
        np.testing.assert_array_equal(value, session.tensors[name].copy())
    about = cyxwiz.safetensors.metadata(path)
    assert about["format"] == "pt" and cyxwiz.Spec(about["cyxwiz.spec"]) == session.spec
    with pytest.raises(cyxwiz.CyxwizError):
        session.save(tmp_path / "no" / "such" / "folder.safetensors")
