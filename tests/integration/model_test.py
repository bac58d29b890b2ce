"""Trained models at work from the command line: `cyxwiz eval` and `predict` against training's own report and PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import torch_model  # noqa: E402
from stack import CYXWIZ  # noqa: E402

SPEC = {
    "name": "small", "epochs": 1, "seed": 5,
    "model": {"layers": [{"type": "Conv2d", "name": "conv", "out_channels": 6, "kernel_size": 5, "stride": 2},
                         {"type": "ReLU"}, {"type": "Dropout", "p": 0.3}, {"type": "MaxPool2d", "kernel_size": 2},
                         {"type": "Flatten"}, {"type": "Linear", "name": "fc", "out_features": 10}]},
    "data": {"dataset": "fashion-mnist", "batch_size": 384,
             "transforms": [{"type": "ToTensor"}, {"type": "Normalize", "mean": [0.286], "std": [0.353]}]},
    "loss": {"type": "CrossEntropyLoss"}, "optimizer": {"type": "AdamW", "lr": 0.005},
}
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def run(*arguments, code=0):
    done = subprocess.run([CYXWIZ, *arguments], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
                          env=os.environ)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    run("data", "fetch", "fashion-mnist", "--data-dir", folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("a run")
    (folder / "spec.json").write_text(json.dumps(SPEC))
    done = run("train", folder / "spec.json", "--data-dir", data_dir, "--output", folder / "out", "--backend", "cpu",
               "--json")
    return json.loads(done.stdout) | {"folder": folder}


@pytest.fixture(scope="module")
def pixels(data_dir):
    return torch_model.load_part(data_dir, "fashion-mnist", "test")


def logits_of(state, pixels):
    """What PyTorch makes of the test part with these weights."""
    model = torch_model.Model(SPEC)
    model.load_state_dict(state, strict=True)
    model.eval()
    with torch.no_grad():
        return torch.cat([model(torch_model.transform(SPEC, pixels[at:at + 1000])) for at in range(0, len(pixels), 1000)])


def test_eval_gives_what_training_reported_and_what_pytorch_sees(trained, data_dir, pixels):
    told = json.loads(run("eval", trained["model_path"], "--data-dir", data_dir, "--backend", "cpu", "--json").stdout)
    assert told["accuracy"] == trained["test_accuracy"] and told["loss"] == trained["test_loss"]
    assert (told["name"], told["dataset"], told["part"], told["count"]) == ("small", "fashion-mnist", "test", 10000)
    images, labels = pixels
    state, _ = torch_model.load_safetensors(trained["model_path"])
    logits = logits_of(state, images)
    confusion = numpy.zeros((10, 10), int)
    numpy.add.at(confusion, (labels, logits.argmax(1).numpy()), 1)
    ours = numpy.array(told["confusion"])
    assert numpy.abs(ours - confusion).sum() <= 4  # two images on the border between two classes
    assert [c["name"] for c in told["classes"]] == CLASSES
    for index, row in enumerate(told["classes"]):
        assert row["count"] == 1000 and row["correct"] == ours[index, index]
        assert row["accuracy"] == pytest.approx(ours[index, index] / 1000)
        assert row["precision"] == pytest.approx(ours[index, index] / ours[:, index].sum())
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels.astype("int64")))
    assert told["loss"] == pytest.approx(float(loss), rel=1e-5)

    text = run("eval", trained["model_path"], "--data-dir", data_dir).stdout
    assert f"Accuracy  {100 * told['accuracy']:.2f} %" in text
    assert text.splitlines()[-1].split() == ["9", "Ankle", "boot", *map(str, told["confusion"][9])]


def test_describe_reads_a_models_own_spec(trained):
    of_model = json.loads(run("describe", trained["model_path"], "--json").stdout)
    assert of_model == json.loads(run("describe", trained["folder"] / "spec.json", "--json").stdout)
    assert of_model["parameters"] == 6 * 26 + 10 * (6 * 36 + 1)


def test_eval_takes_pytorchs_own_state_dict_with_a_spec(tmp_path, trained, data_dir, pixels):
    torch.manual_seed(1)
    model = torch_model.Model(SPEC)
    path, spec = tmp_path / "torch.safetensors", trained["folder"] / "spec.json"
    torch_model.save_safetensors(path, {k: v.numpy() for k, v in model.state_dict().items()}, {"format": "pt"})
    assert "--spec" in run("eval", path, "--data-dir", data_dir, code=6).stderr
    told = json.loads(run("eval", path, "--spec", spec, "--data-dir", data_dir, "--json").stdout)
    logits = logits_of(model.state_dict(), pixels[0])
    labels = torch.from_numpy(pixels[1].astype("int64"))
    assert told["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()), abs=3e-4)
    assert told["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)


def test_a_model_that_does_not_fit_names_its_tensors(tmp_path, trained, data_dir):
    state, metadata = torch_model.load_safetensors(trained["model_path"])
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    wrong = tmp_path / "wrong.safetensors"
    torch_model.save_safetensors(wrong, {k: v for k, v in arrays.items() if k != "fc.bias"} | {"extra": arrays["fc.bias"]},
                                 metadata)
    done = run("eval", wrong, "--data-dir", data_dir, code=6)
    assert "missing fc.bias" in done.stderr and "unexpected extra" in done.stderr and str(wrong) in done.stderr
    torch_model.save_safetensors(wrong, arrays | {"conv.weight": arrays["conv.weight"][:, :, :4]}, metadata)
    assert "conv.weight is (6, 1, 4, 5) where the spec wants (6, 1, 5, 5)" in \
        run("eval", wrong, "--data-dir", data_dir, code=6).stderr


def test_eval_refuses_what_it_cannot_judge(tmp_path, trained, data_dir):
    model = trained["model_path"]
    assert "/no/such.safetensors" in run("eval", "/no/such.safetensors", code=3).stderr
    assert "neither a data set" in run("eval", model, "--data", "imagenet", code=3).stderr
    assert "cyxwiz data fetch mnist" in run("eval", model, "--data", "mnist", "--data-dir", data_dir, code=3).stderr
    bytes_of = Path(model).read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(bytes_of[:-100])
    assert run("eval", cut, "--data-dir", data_dir, code=1).stdout == ""


def test_eval_takes_another_specs_data(tmp_path, trained, data_dir):
    other = json.loads(json.dumps(SPEC))
    other["data"]["transforms"] = [{"type": "ToTensor"}]
    (tmp_path / "other.json").write_text(json.dumps(other))
    told = json.loads(run("eval", trained["model_path"], "--data", tmp_path / "other.json", "--data-dir", data_dir,
                          "--json").stdout)
    assert told["count"] == 10000 and told["loss"] > trained["test_loss"]  # not normalised: worse
