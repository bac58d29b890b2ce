"""The curves of `cyxwiz train` as TensorBoard reads them: complete, check-summed, and whole after a kill and a resume."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from stack import CYXWIZ  # noqa: E402
from tfevents import Run  # noqa: E402

EPOCH_STEPS = 118  # 60,000 / 512
SPEC = {
    "name": "curves", "epochs": 2, "seed": 3, "checkpoint": {"every_steps": 20},
    "model": {"layers": [{"type": "MaxPool2d", "kernel_size": 4}, {"type": "Flatten"},
                         {"type": "Linear", "out_features": 10}]},
    "data": {"dataset": "fashion-mnist", "batch_size": 512}, "loss": {"type": "CrossEntropyLoss"},
    "optimizer": {"type": "AdamW", "lr": 0.01}, "scheduler": {"type": "CosineAnnealingLR", "interval": "step"},
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    subprocess.run([CYXWIZ, "data", "fetch", "fashion-mnist", "--data-dir", folder], check=True, capture_output=True)
    return folder


def command(folder, data_dir, *more):
    spec = folder / "spec.json"
    spec.write_text(json.dumps(SPEC))
    return [CYXWIZ, "train", spec, "--backend", "cpu", "--data-dir", data_dir, "--output", folder / "out", "--json", *more]


def train(folder, data_dir, *more):
    done = subprocess.run(command(folder, data_dir, *more), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("whole run")
    return train(folder, data_dir), folder / "out"


def test_the_curves_are_what_training_reported(whole):
    result, folder = whole
    run = Run(folder)
    assert (len(run.files), run.versions, run.starts) == (1, ["brain.Event:2"], [0])
    steps = list(range(1, 2 * EPOCH_STEPS + 1))
    for tag in ("train/loss", "train/accuracy", "train/lr", "train/images_per_second"):
        assert list(run.scalars[tag]) == steps, tag
    assert set(run.scalars) == {"train/loss", "train/accuracy", "train/lr", "train/images_per_second",
                                "eval/loss", "eval/accuracy"}
    assert list(run.scalars["eval/loss"]) == [EPOCH_STEPS, 2 * EPOCH_STEPS]
    last = 2 * EPOCH_STEPS
    assert run.scalars["eval/loss"][last] == pytest.approx(result["test_loss"], rel=1e-6)
    assert run.scalars["eval/accuracy"][last] == pytest.approx(result["test_accuracy"], rel=1e-6)
    assert run.scalars["train/lr"][1] == pytest.approx(0.01)
    assert 0 <= run.scalars["train/lr"][last] < 1e-5
    losses = list(run.scalars["train/loss"].values())
    assert losses[0] > 2 and losses[-1] < 1
    assert all(value > 0 for value in run.scalars["train/images_per_second"].values())
    text = run.texts["spec"][0]
    assert json.loads(text.removeprefix("```json\n").removesuffix("```\n"))["name"] == "curves"


def test_a_killed_run_goes_on_with_the_same_curve(whole, tmp_path, data_dir):
    process = subprocess.Popen(command(tmp_path, data_dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while max(Run(tmp_path / "out").scalars.get("train/loss", {0: 0})) < 50:  # some steps beyond a checkpoint
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    cut = Run(tmp_path / "out")
    seen = max(cut.scalars["train/loss"])
    assert 50 <= seen < 2 * EPOCH_STEPS
    train(tmp_path, data_dir, "--resume")
    run = Run(tmp_path / "out")
    assert len(run.files) == 2
    assert run.starts[1] % 20 == 1 and run.starts[1] - 1 <= seen + 1  # where the checkpoint stood
    reference = Run(whole[1])
    for tag in ("train/loss", "train/accuracy", "train/lr", "eval/loss", "eval/accuracy"):
        assert run.scalars[tag] == reference.scalars[tag], tag  # the same bits, each step once


def test_the_folder_can_be_chosen_or_none(tmp_path, data_dir):
    train(tmp_path, data_dir, "--max-steps", "3", "--tensorboard", tmp_path / "a" / "board")
    assert list(Run(tmp_path / "a" / "board").scalars["train/loss"]) == [1, 2, 3]
    assert Run(tmp_path / "out").files == []
    train(tmp_path, data_dir, "--max-steps", "3", "--tensorboard", "off")
    assert Run(tmp_path / "out").files == []


def test_a_full_disk_stops_the_curve_and_not_the_training(tmp_path, data_dir):
    """A file size limit stands for the full disk: the model (4 KB) and checkpoint fit, the curve does not."""
    script = 'ulimit -f 16; trap "" XFSZ; exec "$@"'  # 16 KiB
    done = subprocess.run(["bash", "-c", script, "bash", *command(tmp_path, data_dir)], capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("No TensorBoard files from here on") == 1
    steps = list(Run(tmp_path / "out").scalars["train/loss"])
    assert steps == list(range(1, len(steps) + 1)) and 10 < len(steps) < 2 * EPOCH_STEPS


def test_tensorboard_itself_reads_the_curves(whole):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator",
                                       reason="SKIP: Python's tensorboard is not installed")
    _, folder = whole
    board = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    for tag, curve in Run(folder).scalars.items():
        assert {e.step: e.value for e in board.Scalars(tag)} == curve
    assert board.Tags()["tensors"] == ["spec"]


