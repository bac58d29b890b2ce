"""Trained models at work from the command line: `cyxwiz eval` and `predict` against training's own report and PyTorch."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import torch_model  # noqa: E402
from stack import CYXWIZ, ROOT  # noqa: E402

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


# ---- predict ----


def predict(trained, data_dir, *inputs, code=0, backend="cpu"):
    done = run("predict", trained["model_path"], *inputs, "--data-dir", data_dir, "--backend", backend, "--json", code=code)
    return json.loads(done.stdout) if code == 0 else done.stderr


def write_png(path, pixels):
    """An 8-bit grey PNG, by the format alone."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    height, width = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def test_predict_gives_pytorchs_probabilities(trained, data_dir, pixels):
    images, labels = pixels
    state, _ = torch_model.load_safetensors(trained["model_path"])
    expected = torch.softmax(logits_of(state, images[:100]), 1).numpy()
    told = predict(trained, data_dir, "fashion-mnist:0-99", "--top", "10")
    assert [answer["input"] for answer in told] == [f"fashion-mnist:{row}" for row in range(100)]
    for answer, row, label in zip(told, expected, labels):
        assert answer["truth"] == CLASSES[label]
        assert [c["probability"] for c in answer["classes"]] == sorted((c["probability"] for c in answer["classes"]), reverse=True)
        for one in answer["classes"]:
            assert one["class"] == CLASSES[one["index"]]
            assert one["probability"] == pytest.approx(row[one["index"]], rel=1e-4, abs=1e-6)
        assert sum(c["probability"] for c in answer["classes"]) == pytest.approx(1, abs=1e-5)


def test_predict_on_vulkan_says_the_same(trained, data_dir):
    for ours, theirs in zip(predict(trained, data_dir, "fashion-mnist:0-9", backend="vulkan"),
                            predict(trained, data_dir, "fashion-mnist:0-9")):
        for a, b in zip(ours["classes"], theirs["classes"]):
            assert a["class"] == b["class"] and a["output"] == pytest.approx(b["output"], rel=1e-4, abs=1e-4)


RESIDUAL = [
    {"type": "Conv2d", "name": "conv1", "out_channels": 6, "kernel_size": 3, "stride": 3, "bias": False},
    {"type": "BatchNorm2d", "name": "bn1"}, {"type": "ReLU", "name": "a"}, {"type": "Dropout", "p": 0.5, "name": "drop"},
    {"type": "Conv2d", "name": "conv2", "out_channels": 6, "kernel_size": 3, "padding": 1},
    {"type": "BatchNorm2d", "name": "bn2"}, {"type": "Add", "name": "sum", "inputs": ["bn2", "drop"]},
    {"type": "GELU"}, {"type": "Flatten"}, {"type": "Linear", "name": "fc", "out_features": 10},
]


class Residual(torch.nn.Module):
    """The same network as a PyTorch user writes it."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 6, 3, stride=3, bias=False)
        self.bn1, self.bn2 = torch.nn.BatchNorm2d(6), torch.nn.BatchNorm2d(6)
        self.conv2 = torch.nn.Conv2d(6, 6, 3, padding=1)
        self.fc = torch.nn.Linear(6 * 81, 10)

    def forward(self, x):
        a = torch.nn.functional.dropout(torch.relu(self.bn1(self.conv1(x))), 0.5, self.training)
        return self.fc(torch.flatten(torch.nn.functional.gelu(a + self.bn2(self.conv2(a))), 1))


@pytest.mark.parametrize("backend", ["cpu", "vulkan"])
def test_predict_evaluates_as_pytorch_does(tmp_path, data_dir, pixels, backend):
    """BatchNorm by its running statistics, Dropout off, residuals; weights as state_dict() gives them."""
    torch.manual_seed(3)
    model, images = Residual(), torch_model.transform(SPEC, pixels[0][:256])
    for _ in range(5):  # running statistics and affine parameters that are none of the first ones
        loss = torch.nn.functional.cross_entropy(model(images), torch.from_numpy(pixels[1][:256].astype("int64")))
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= parameter.grad
                parameter.grad = None
    model.eval()
    with torch.no_grad():
        expected = model(images[:20]).numpy()
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert arrays["bn1.num_batches_tracked"] == 5
    torch_model.save_safetensors(tmp_path / "theirs.safetensors", arrays, {"format": "pt"})
    (tmp_path / "spec.json").write_text(json.dumps(SPEC | {"model": {"layers": RESIDUAL}}))
    answers = predict({"model_path": tmp_path / "theirs.safetensors"}, data_dir, "fashion-mnist:0-19", "--top", "10",
                      "--spec", tmp_path / "spec.json", backend=backend)
    for answer, row in zip(answers, expected):
        for one in answer["classes"]:
            assert one["output"] == pytest.approx(row[one["index"]], rel=1e-4, abs=1e-4)


def test_predict_reads_arrays_idx_files_and_images_alike(tmp_path, trained, data_dir, pixels):
    images = pixels[0][:5, 0]
    numpy.save(tmp_path / "bytes.npy", images)
    numpy.save(tmp_path / "one.npy", images[0])
    numpy.save(tmp_path / "floats.npy", images[:, None].astype("float32") / 255)
    write_png(tmp_path / "boot.png", images[0])
    wanted = predict(trained, data_dir, "fashion-mnist:0-4")

    def close(answers, references):
        assert len(answers) == len(references)
        for answer, reference in zip(answers, references):
            for ours, theirs in zip(answer["classes"], reference["classes"]):
                assert ours["class"] == theirs["class"]
                assert ours["output"] == pytest.approx(theirs["output"], rel=1e-4, abs=1e-4)

    idx = data_dir / "fashion-mnist" / "t10k-images-idx3-ubyte"
    close(predict(trained, data_dir, tmp_path / "bytes.npy"), wanted)
    close(predict(trained, data_dir, f"{tmp_path}/bytes.npy:1,3-4"), [wanted[1], *wanted[3:]])
    close(predict(trained, data_dir, tmp_path / "floats.npy"), wanted)
    close(predict(trained, data_dir, f"{idx}:0-4"), wanted)
    mixed = predict(trained, data_dir, tmp_path / "one.npy", tmp_path / "boot.png", "fashion-mnist:0")
    close(mixed, [wanted[0]] * 3)
    assert [answer["input"] for answer in mixed] == [str(tmp_path / "one.npy"), str(tmp_path / "boot.png"), "fashion-mnist:0"]
    assert "truth" not in mixed[0] and mixed[2]["truth"] == "Ankle boot"


def test_predict_resizes_only_when_asked(trained, data_dir):
    photo = ROOT / "tests/golden/images/scene.jpg"
    refused = predict(trained, data_dir, photo, code=6)
    assert "the model takes (1, 28, 28)" in refused and "--resize" in refused and "scene.jpg" in refused
    assert predict(trained, data_dir, photo, "--resize")[0]["classes"][0]["class"] in CLASSES


def test_predict_prints_a_line_an_input(trained, data_dir, pixels):
    done = run("predict", trained["model_path"], "fashion-mnist:0-2", "fashion-mnist/train:0", "--data-dir", data_dir)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["INPUT", "TRUTH", "PREDICTION", "PROBABILITY", "NEXT"]
    assert [line.split("  ")[0] for line in lines[1:]] == [f"fashion-mnist:{row}" for row in range(3)] + ["fashion-mnist/train:0"]
    assert "Ankle boot" in lines[1] and lines[1].count("%") == 3
    done = run("predict", trained["model_path"], "fashion-mnist:0", "--top", "1", "--data-dir", data_dir)
    assert done.stdout.splitlines()[0].split() == ["INPUT", "TRUTH", "PREDICTION", "PROBABILITY"]


@pytest.mark.parametrize("inputs,code,words", [
    (["/no/such.png"], 3, "/no/such.png"),
    (["fashion-mnist:10000"], 6, "rows 0 to 9999, no row 10000"),
    (["fashion-mnist:3-1"], 6, "behind a colon"),
    (["mnist:0"], 3, "cyxwiz data fetch mnist"),
    ([__file__], 1, "expected an image"),
    ([], 2, "INPUT is missing"),
    (["fashion-mnist:0", "--top", "0"], 2, "--top wants"),
])
def test_predict_says_what_is_wrong(trained, data_dir, inputs, code, words):
    assert words in predict(trained, data_dir, *inputs, code=code)


# ---- data of this machine ----


@pytest.fixture(scope="module")
def folder_model(tmp_path_factory, data_dir, pixels):
    """A model of an image folder: two sorts of clothes, each a folder, and no test part."""
    folder = tmp_path_factory.mktemp("folders")
    images, labels = pixels
    for name, label in (("boot", 9), ("trouser", 1)):
        (folder / "photos" / name).mkdir(parents=True)
        for index, row in enumerate(numpy.flatnonzero(labels == label)[:150]):
            write_png(folder / "photos" / name / f"{index:03}.png", images[row, 0])
    spec = json.loads(json.dumps(SPEC))
    spec["name"] = "folders"
    spec["epochs"] = 3
    spec["data"] = {"dataset": {"format": "image-folder", "train": "photos", "channels": 1}, "batch_size": 32,
                    "split": {"validation": 0.2}, "transforms": SPEC["data"]["transforms"]}
    spec["model"]["layers"][-1]["out_features"] = 2
    (folder / "spec.json").write_text(json.dumps(spec))
    done = run("train", folder / "spec.json", "--output", folder / "out", "--backend", "cpu", "--json")
    return json.loads(done.stdout) | {"folder": folder}


def test_a_model_of_folders_knows_its_classes_without_them(folder_model, tmp_path, data_dir, pixels):
    images, labels = pixels
    write_png(tmp_path / "new.png", images[numpy.flatnonzero(labels == 9)[200], 0])
    answer = predict(folder_model, data_dir, tmp_path / "new.png")[0]["classes"]
    assert answer[0]["class"] == "boot" and {c["class"] for c in answer} == {"boot", "trouser"}
    told = json.loads(run("describe", folder_model["model_path"], "--json").stdout)
    assert told["layers"][-1]["output_shape"] == [32, 2]


def test_eval_judges_the_rows_that_training_held_back(folder_model, tmp_path):
    folder, model = folder_model["folder"], folder_model["model_path"]
    told = json.loads(run("eval", model, "--data", folder / "spec.json", "--backend", "cpu", "--json").stdout)
    assert (told["part"], told["count"]) == ("validation", 60)
    assert told["loss"] == folder_model["test_loss"] and told["accuracy"] == folder_model["test_accuracy"]
    assert [c["name"] for c in told["classes"]] == ["boot", "trouser"]

    renamed = json.loads((folder / "spec.json").read_text())
    renamed["data"]["dataset"]["train"] = str(tmp_path)
    (tmp_path / "boot").symlink_to(folder / "photos" / "boot")
    (tmp_path / "anorak").symlink_to(folder / "photos" / "trouser")
    (tmp_path / "renamed.json").write_text(json.dumps(renamed))
    done = run("eval", model, "--data", tmp_path / "renamed.json", code=6)
    assert 'class 0 is "boot" for the model and "anorak"' in done.stderr


def test_a_model_of_numbers_tells_numbers(tmp_path, data_dir):
    """y = (x0 + 2 x1, x2 - x3): a linear model finds it, and predict tells its outputs. All of it on Vulkan."""
    x = numpy.random.default_rng(1).normal(size=(512, 4)).astype("float32")
    y = numpy.stack([x[:, 0] + 2 * x[:, 1], x[:, 2] - x[:, 3]], 1)
    numpy.save(tmp_path / "x.npy", x)
    numpy.save(tmp_path / "y.npy", y)
    spec = {"name": "line", "model": {"layers": [{"type": "Linear", "out_features": 2}]},
            "data": {"dataset": {"format": "npy", "train": "x.npy", "targets": "y.npy"}, "batch_size": 64,
                     "split": {"validation": 0.25}},
            "loss": {"type": "MSELoss"}, "optimizer": {"type": "SGD", "lr": 0.2}, "epochs": 20,
            "resources": {"backend": "vulkan"}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    trained = json.loads(run("train", tmp_path / "spec.json", "--output", tmp_path / "out", "--json").stdout)
    assert trained["test_loss"] < 1e-6 and trained["test_accuracy"] is None
    answers = predict(trained, data_dir, f"{tmp_path}/x.npy:0-4", backend="vulkan")
    for answer, wanted in zip(answers, y):
        assert answer["shape"] == [2] and answer["outputs"] == pytest.approx(wanted.tolist(), abs=1e-2)
    text = run("predict", trained["model_path"], f"{tmp_path}/x.npy:0-4").stdout
    assert text.splitlines()[0].split() == ["INPUT", "OUTPUT"] and len(text.splitlines()) == 6
    told = json.loads(run("eval", trained["model_path"], "--data", tmp_path / "spec.json", "--json").stdout)
    assert told["accuracy"] is None and told["classes"] == [] and told["loss"] == pytest.approx(trained["test_loss"])
    assert "Accuracy" not in run("eval", trained["model_path"], "--data", tmp_path / "spec.json").stdout
