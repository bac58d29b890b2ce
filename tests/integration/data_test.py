"""Data of this machine from the command line: a folder of pictures, a CSV file and arrays are inspected and trained on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from pictures import CLASSES, write_shapes  # noqa: E402
from stack import CYXWIZ  # noqa: E402


def run(*arguments, code=0, cwd=None):
    done = subprocess.run([CYXWIZ, *arguments], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
                          env=os.environ, cwd=cwd)
    assert done.returncode == code, done.stderr
    return done


def weights_of(path):
    """A safetensors file's bytes behind its header."""
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little"):]


def write(path, name, layers, data, **more):
    spec = {"name": name, "model": {"layers": layers}, "data": data, "epochs": 6, "seed": 1,
            "loss": {"type": "CrossEntropyLoss"}, "optimizer": {"type": "AdamW", "lr": 0.005}} | more
    path.write_text(json.dumps(spec))
    return path


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """180 + 60 pictures of three classes, of several sizes; one file is none, one is cut short."""
    folder, rng = tmp_path_factory.mktemp("shapes"), numpy.random.default_rng(0)
    write_shapes(folder, rng, train=60, test=20)
    (folder / "train/square/zzz.jpg").write_bytes(b"hello")
    cut = folder / "train/circle/000.png"
    cut.write_bytes(cut.read_bytes()[:300])
    return folder


LAYERS = [{"type": "Conv2d", "out_channels": 16, "kernel_size": 3, "padding": "same"}, {"type": "ReLU"},
          {"type": "MaxPool2d", "kernel_size": 2},
          {"type": "Conv2d", "out_channels": 32, "kernel_size": 3, "padding": "same"}, {"type": "ReLU"},
          {"type": "MaxPool2d", "kernel_size": 4}, {"type": "Flatten"}, {"type": "Linear", "out_features": 3}]
TRANSFORMS = [{"type": "Resize", "size": [36, 36]}, {"type": "RandomCrop", "size": 32}, {"type": "RandomHorizontalFlip"},
              {"type": "RandomRotation", "degrees": 10}, {"type": "ColorJitter", "brightness": 0.2, "hue": 0.1},
              {"type": "ToTensor"}, {"type": "Normalize", "mean": [0.36, 0.36, 0.36], "std": 0.32}]


def shapes_spec(folder, workers=0):
    return write(folder / f"shapes-{workers}.json", "shapes", LAYERS,
                 {"dataset": {"format": "image-folder", "train": "train", "test": "test"}, "batch_size": 16,
                  "workers": workers, "transforms": TRANSFORMS})


def test_a_folder_is_inspected(shapes, tmp_path):
    seen = json.loads(run("data", "inspect", shapes, "--sheet", tmp_path / "sheet.png", "--json").stdout)
    assert (seen["train"], seen["test"], seen["row"], seen["sample"]) == (180, 60, [3, 0, 0], None)
    assert seen["classes"] == [{"name": name, "train": 60, "test": 20} for name in CLASSES]
    assert seen["faults"] == 2 and any("zzz.jpg: not a PNG or JPEG" in text for text in seen["fault_texts"])
    good = [path for path in sorted(shapes.glob("train/*/*")) if path.name not in ("zzz.jpg",) and
            path != shapes / "train/circle/000.png"]
    pixels = numpy.concatenate([numpy.array(Image.open(path).convert("RGB")).reshape(-1, 3) for path in good]) / 255
    assert numpy.allclose(seen["mean"], pixels.mean(0), atol=1e-6)
    assert numpy.allclose(seen["std"], pixels.std(0), atol=1e-6)
    sheet = numpy.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (304, 1004, 3)
    assert sheet[204:300, 4:100].std() > 40  # stripes, not paper


def test_a_folder_is_trained_on_and_any_number_of_workers_gives_the_same_model(shapes, tmp_path):
    results = []
    for workers in (1, 3):
        done = run("train", shapes_spec(shapes, workers), "--output", tmp_path / str(workers), "--backend", "cpu",
                   "--threads", "1", "--json", cwd=tmp_path)
        results.append(json.loads(done.stdout))
    assert results[0]["test_accuracy"] > 0.8
    # The headers differ: they hold the spec, which says how many workers.
    weights = [weights_of(tmp_path / str(workers) / "model.safetensors") for workers in (1, 3)]
    assert weights[0] == weights[1] and len(weights[0]) > 4 * 3 * 512
    told = subprocess.run([CYXWIZ, "eval", tmp_path / "1/model.safetensors", "--data", shapes_spec(shapes), "--json"],
                          capture_output=True, text=True, timeout=120, check=True)
    report = json.loads(told.stdout)
    assert report["accuracy"] == results[0]["test_accuracy"]
    assert [c["name"] for c in report["classes"]] == CLASSES


def test_a_run_that_was_resumed_draws_the_same(shapes, tmp_path):
    spec, common = shapes_spec(shapes, 2), ("--backend", "cpu", "--threads", "1", "--json")
    run("train", spec, "--output", tmp_path / "whole", *common)
    run("train", spec, "--output", tmp_path / "parts", "--max-steps", "17", *common)
    run("train", spec, "--output", tmp_path / "parts", "--resume", *common)
    whole, parts = (weights_of(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert whole == parts
    (shapes / "train/square/more.png").write_bytes((shapes / "train/square/002.png").read_bytes())
    try:
        done = run("train", spec, "--output", tmp_path / "parts", "--resume", *common, code=6)
        assert "data set" in done.stderr, done.stderr
    finally:
        (shapes / "train/square/more.png").unlink()


def test_a_run_names_what_it_could_not_read(shapes, tmp_path):
    done = run("train", shapes_spec(shapes), "--output", tmp_path / "out", "--backend", "cpu", "--max-steps", "30")
    assert "1 of 241 files could not be read; first: " in done.stderr or "2 of 241 files" in done.stderr
    assert "zzz.jpg: not a PNG or JPEG file" in done.stderr


def test_pictures_of_several_sizes_want_a_resize(shapes):
    spec = write(shapes / "plain.json", "plain", LAYERS,
                 {"dataset": {"format": "image-folder", "train": "train", "test": "test"}, "batch_size": 16})
    done = run("describe", spec, code=6)
    assert "/data/transforms" in done.stderr and "add Resize with [height, width]" in done.stderr
    assert "[16, 16, 32, 32]" in run("describe", shapes_spec(shapes)).stdout


def test_a_csv_file_is_inspected_and_trained_on(tmp_path):
    rng = numpy.random.default_rng(1)
    kinds = ["setosa", "versicolor", "virginica"]
    lines = ["a,b,c,d,id,kind"]
    for i in range(300):
        numbers = rng.normal((i % 3) * 1.5, 0.7, 4)
        lines.append(",".join(f"{x:.3f}" for x in numbers) + f",{i},{kinds[i % 3]}")
    (tmp_path / "iris.csv").write_text("\n".join([*lines, "1,2,x,4,5,setosa", "1,2", ""]))
    spec = write(tmp_path / "iris.json", "iris",
                 [{"type": "Linear", "out_features": 16}, {"type": "ReLU"}, {"type": "Linear", "out_features": 3}],
                 {"dataset": {"format": "csv", "train": "iris.csv", "target": "kind", "ignore": "id"},
                  "batch_size": 32, "split": {"validation": 0.2}}, epochs=12, optimizer={"type": "AdamW", "lr": 0.02})
    seen = json.loads(run("data", "inspect", spec, "--json").stdout)
    assert (seen["train"], seen["sample"], seen["faults"]) == (300, [4], 2)
    assert [c["name"] for c in seen["classes"]] == kinds
    trained = json.loads(run("train", spec, "--output", tmp_path / "out", "--backend", "cpu", "--json").stdout)
    assert trained["test_accuracy"] > 0.85 and trained["faults"] == 2
    large = json.loads(spec.read_text())
    large["data"] |= {"batch_size": 241, "drop_last": True}
    (tmp_path / "large.json").write_text(json.dumps(large))
    refused = run("train", tmp_path / "large.json", "--output", tmp_path / "large", code=6)
    assert "/data/batch_size" in refused.stderr and "at most the 240 training samples, got 241" in refused.stderr
    for few, part, missing in ((2, 0.2, "judge by"), (1, 0.5, "train on")):
        (tmp_path / "few.csv").write_text("\n".join(lines[:few + 1]))
        large["data"] = json.loads(spec.read_text())["data"] | {"split": {"validation": part}}
        large["data"]["dataset"]["train"] = "few.csv"
        (tmp_path / "few.json").write_text(json.dumps(large))
        refused = run("train", tmp_path / "few.json", "--output", tmp_path / "few", code=6)
        assert f"/data/split/validation: {part} of {few} samples leaves none to {missing}" in refused.stderr
    refused = run("job", "submit", spec, code=6)
    assert "named by \"upload\"; the platform has: fashion-mnist, mnist" in refused.stderr


@pytest.mark.parametrize("learns", [True, False])
def test_a_plateau_is_remembered_over_a_resume(tmp_path, learns):
    """Where it learns, epochs are better than the best; where it cannot, they are bad, and passed over after a cut."""
    rng = numpy.random.default_rng(5)
    x = rng.normal(size=(64, 5)).astype(numpy.float32)
    numpy.savez(tmp_path / "rows.npz", x=x, y=x[:, :3].argmax(1) if learns else rng.integers(0, 3, 64))
    spec = write(tmp_path / "plateau.json", "plateau", [{"type": "Linear", "out_features": 3}],
                 {"dataset": {"format": "npz", "train": "rows.npz"}, "batch_size": 16, "split": {"validation": 0.25}},
                 epochs=14, optimizer={"type": "SGD", "lr": 0.05, "momentum": 0.9},
                 scheduler={"type": "ReduceLROnPlateau", "patience": 1, "factor": 0.5, "cooldown": 1,
                            "threshold": 0.1 if learns else 0.01})
    run("train", spec, "--output", tmp_path / "whole", "--backend", "cpu")
    for epoch in range(1, 9):
        out = tmp_path / f"after-{epoch}"
        run("train", spec, "--output", out, "--backend", "cpu", "--max-steps", str(3 * epoch + 1))
        run("train", spec, "--output", out, "--backend", "cpu", "--resume")
        for name in ("model", "checkpoint"):
            assert (out / f"{name}.safetensors").read_bytes() == (tmp_path / f"whole/{name}.safetensors").read_bytes()


def test_names_that_are_no_plain_text_reach_no_terminal_and_no_model(tmp_path):
    (tmp_path / "latin.csv").write_bytes("a,y\n1,Grün\n2,rot\n3,Grün\n".encode("latin-1"))
    done = run("data", "inspect", tmp_path / "latin.csv", "--target", "y", code=6)
    assert 'the class "Gr?n" is not plain UTF-8 text: save the file as UTF-8' in done.stderr
    for name in ("a", "b\x1b[31m"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / name / "good.png")
    done = run("data", "inspect", tmp_path / "pictures", code=6)
    assert 'the class "b?[31m" is not plain UTF-8 text: rename its folder' in done.stderr
    (tmp_path / "pictures/b\x1b[31m").rename(tmp_path / "pictures/b")
    (tmp_path / "pictures/b/\x1b[2J\udcff.png").write_bytes(b"none")
    done = run("data", "inspect", tmp_path / "pictures")
    assert "pictures/b/?[2J?.png: not a PNG or JPEG file" in done.stdout and "\x1b" not in done.stdout
    seen = json.loads(run("data", "inspect", tmp_path / "pictures", "--json").stdout)
    assert seen["faults"] == len(seen["fault_texts"]) == 1


def test_arrays_are_trained_on(tmp_path):
    rng = numpy.random.default_rng(2)
    x = rng.normal(size=(400, 5)).astype(numpy.float32)
    y = (x @ rng.normal(size=(5, 2))).astype(numpy.float64)
    numpy.savez_compressed(tmp_path / "d.npz", x=x, y=y, x_test=x[:50], y_test=y[:50])
    spec = write(tmp_path / "numbers.json", "numbers", [{"type": "Linear", "out_features": 2}],
                 {"dataset": {"format": "npz", "train": "d.npz", "test_inputs": "x_test", "test_targets": "y_test"},
                  "batch_size": 20}, loss={"type": "MSELoss"}, optimizer={"type": "AdamW", "lr": 0.1}, epochs=20)
    trained = json.loads(run("train", spec, "--output", tmp_path / "out", "--backend", "cpu", "--json").stdout)
    assert trained["test_loss"] < 0.05


def test_numbers_that_are_none_are_told_as_null(tmp_path):
    """A NaN in the test part: the training goes through, and no report loses a place or its JSON."""
    rng = numpy.random.default_rng(3)
    x, y = rng.normal(size=(40, 3)).astype(numpy.float32), rng.integers(0, 2, 40)
    bad = x[:8].copy()
    bad[3, 1] = numpy.nan
    numpy.savez(tmp_path / "d.npz", x=x, y=y, x_test=bad, y_test=y[:8], xbad=bad)
    numpy.save(tmp_path / "bad.npy", bad)
    layers, where = [{"type": "Linear", "out_features": 2}], {"format": "npz", "train": "d.npz"}
    spec = write(tmp_path / "nan.json", "nan", layers,
                 {"dataset": where | {"test_inputs": "x_test", "test_targets": "y_test"}, "batch_size": 10}, epochs=1)
    trained = json.loads(run("train", spec, "--output", tmp_path / "out", "--backend", "cpu", "--json").stdout)
    assert trained["test_loss"] is None and trained["test_accuracy"] > 0
    assert json.loads((tmp_path / "out/summary.json").read_text())["test_loss"] is None
    told = json.loads(run("eval", tmp_path / "out/model.safetensors", "--json", cwd=tmp_path).stdout)
    assert told["loss"] is None and told["count"] == 8
    lost = run("eval", tmp_path / "out/model.safetensors", code=3, cwd=tmp_path / "out")
    assert "d.npz: there is no such file: give the spec that knows" in lost.stderr
    answers = json.loads(run("predict", tmp_path / "out/model.safetensors", tmp_path / "bad.npy", "--json").stdout)
    assert [len(a["classes"]) for a in answers] == [2] * 8
    assert {c["probability"] for c in answers[3]["classes"]} == {None}
    line = run("predict", tmp_path / "out/model.safetensors", f"{tmp_path}/bad.npy:3").stdout.splitlines()[1]
    assert line.split()[1:3] == ["-", "-"]
    broken = write(tmp_path / "bad.json", "bad", layers,
                   {"dataset": where | {"inputs": "xbad", "targets": "y_test", "test_inputs": "x_test",
                                        "test_targets": "y_test"}, "batch_size": 4})
    seen = json.loads(run("data", "inspect", broken, "--json").stdout)
    assert [n is None for n in seen["mean"]] == [n is None for n in seen["std"]] == [False, True, False]
    hidden = write(tmp_path / "hidden.json", "hidden", [{"type": "Linear", "out_features": 4}, {"type": "ReLU"}, *layers],
                   json.loads(broken.read_text())["data"])
    for backend in ("cpu", "vulkan"):
        refused = run("train", hidden, "--output", tmp_path / "hidden", "--backend", backend, code=6)
        assert "/optimizer/lr" in refused.stderr and "unless the data holds" in refused.stderr
        assert not (tmp_path / "hidden/model.safetensors").exists()
    refused = run("train", broken, "--output", tmp_path / "bad", code=6)
    assert "loss became NaN" in refused.stderr and "unless the data holds such numbers" in refused.stderr


def test_a_spec_that_is_no_json_is_named(tmp_path):
    (tmp_path / "broken.json").write_text('{"name": "a",')
    for command in ("describe", "train"):
        done = run(command, tmp_path / "broken.json", code=6, cwd=tmp_path)
        assert f"{tmp_path}/broken.json: not JSON: line 1" in done.stderr


def test_vulkan_draws_no_message_of_the_validation_layer(shapes, tmp_path):
    """A whole training, its evaluations and another of the model, with synchronisation validation on."""
    watched = os.environ | {
        "VK_INSTANCE_LAYERS": "VK_LAYER_KHRONOS_validation", "VK_LOADER_DEBUG": "layer",
        "VK_LAYER_ENABLES": "VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT"}
    model = tmp_path / "out/model.safetensors"
    for command in (("train", shapes_spec(shapes), "--output", tmp_path / "out", "--max-steps", "20"),
                    ("eval", model, "--data", shapes_spec(shapes))):
        done = subprocess.run([CYXWIZ, *command, "--backend", "vulkan", "--json"], capture_output=True, text=True,
                              timeout=300, env=watched)
        assert done.returncode == 0, done.stderr
        assert 'Inserted device layer "VK_LAYER_KHRONOS_validation"' in done.stderr
        assert json.loads(done.stdout)["backend"] == "vulkan"  # the layer's messages would stand here too
