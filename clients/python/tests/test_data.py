"""Loaders: batches of arrays, files and the catalogue, as the engine makes them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cyxwiz
from cyxwiz import data
from cyxwiz.data import transforms


def images(rows: int = 50) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (rows, 8, 6), np.uint8), random.integers(0, 4, rows)


def test_arrays__come_in_batches_once_each_an_epoch() -> None:
    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    loader = data.DataLoader((x, np.arange(10)), batch_size=4)
    assert (len(loader), loader.train.rows, loader.sample) == (3, 10, cyxwiz.Sample((2,), 0))
    epochs = []
    for _ in range(2):
        batches = list(loader)
        assert [len(inputs) for inputs, _ in batches] == [4, 4, 2]
        inputs, targets = (np.concatenate(each) for each in zip(*batches))
        np.testing.assert_array_equal(inputs, x[targets])
        assert sorted(targets) == list(range(10)) and targets.dtype == np.int32
        epochs.append(targets.tolist())
    assert epochs[0] != epochs[1], "each epoch has an order of its own"
    assert [t.tolist() for _, t in data.DataLoader((x, np.arange(10)), batch_size=10)] == [epochs[0]]
    assert [t.tolist() for _, t in data.DataLoader((x, np.arange(10)), batch_size=10, seed=1)] != [epochs[0]]


def test_arrays__of_floats_are_read_in_place_and_others_copied() -> None:
    x, y = np.zeros((6, 3), np.float32), np.zeros(6, np.int32)
    source = data.Arrays(x, y)
    assert source.train.inputs is x and source.train.labels is y
    wide = np.zeros((6, 6))
    assert data.Arrays(wide[:, ::2]).train.inputs.dtype == np.float32
    loader = data.DataLoader(source, batch_size=6, shuffle=False)
    x += 1
    assert (next(iter(loader))[0] == 1).all()


def test_arrays__of_bytes_are_images_that_become_0_to_1() -> None:
    x, y = images()
    inputs, targets = next(iter(data.DataLoader((x, y), batch_size=50, shuffle=False)))
    assert inputs.shape == (50, 1, 8, 6)
    np.testing.assert_array_equal(inputs[:, 0], x.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(targets, y)
    colours = np.repeat(x[..., None], 3, axis=3)
    last = data.Arrays(colours, y, channels_last=True)
    inputs, _ = next(iter(data.DataLoader(last, batch_size=50, shuffle=False)))
    np.testing.assert_array_equal(inputs[:, 2], x.astype(np.float32) / np.float32(255))


def test_targets__are_classes_numbers_or_none() -> None:
    x = np.zeros((4, 2), np.float32)
    for y, sample, shape in (
        (np.arange(4), cyxwiz.Sample((2,), 0), (4,)),
        (np.arange(4.0), cyxwiz.Sample((2,), None, 1), (4, 1)),
        (np.zeros((4, 3)), cyxwiz.Sample((2,), None, 3), (4, 3)),
        (np.zeros((4, 3), int), cyxwiz.Sample((2,), None, 3), (4, 3)),
    ):
        loader = data.DataLoader((x, y), batch_size=4)
        assert loader.sample == sample
        targets = next(iter(loader))[1]
        assert targets is not None and targets.shape == shape
    assert next(iter(data.DataLoader(data.Arrays(x), batch_size=4)))[1] is None
    assert data.DataLoader(data.Arrays(x, np.arange(4), classes=9)).sample.classes == 9
    assert data.DataLoader(data.Arrays(x, np.arange(4), task="numbers")).sample.targets == 1


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((0, 2)), None, "something in it"),
        (np.zeros(3), None, "something in it"),
        (np.zeros((2, 2, 2, 2, 2)), None, "something in it"),
        (np.zeros((3, 2)), np.zeros(2, int), "3 samples, but targets of shape"),
        (np.zeros((3, 2), complex), None, "expected real numbers, got complex128"),
        (np.full((3, 2), None), None, "expected real numbers, got object"),
        (np.zeros((3, 2)), np.array([0, -1, 2]), "class -1"),
        (np.zeros((3, 2)), np.full(3, -5), "class -5, expected 0 to 0"),
        (np.zeros((3, 2)), np.array([0, 2**40, 2]), "beyond 32 bits"),
    ],
)
def test_arrays__that_do_not_fit_are_refused(x: Any, y: Any, message: str) -> None:
    with pytest.raises(cyxwiz.CyxwizError, match=message):
        data.DataLoader((x, y))


def test_split__holds_rows_back_and_a_test_part_stands_beside() -> None:
    x, y = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20)
    loader = data.DataLoader((x, y), batch_size=8, validation_split=0.25)
    assert loader.test is None and loader.validation is not None and loader.judge is loader.validation
    train = np.concatenate([t for _, t in loader])
    held = np.concatenate([t for _, t in loader.validation])
    assert len(held) == 5 and sorted([*train, *held]) == list(range(20))
    with_test = data.DataLoader(data.Arrays(x, y, test=(x[:3], y[:3])), batch_size=8)
    assert with_test.validation is None and with_test.judge is with_test.test
    assert [t.tolist() for _, t in with_test.test or ()] == [[0, 1, 2]]
    assert [t.tolist() for _, t in with_test.whole] == [list(range(8)), list(range(8, 16)), list(range(16, 20))]


def test_drop_last__leaves_the_incomplete_batch_out() -> None:
    loader = data.DataLoader((np.zeros((10, 2)), np.zeros(10, int)), batch_size=4, drop_last=True)
    assert len(loader) == 2 == len(list(loader)) and loader.train.rows == 8


def test_views__are_read_only_and_need_no_copy() -> None:
    loader = data.DataLoader((np.ones((10, 2)), np.zeros(10, int)), batch_size=4)
    for x, y in loader.train.views():
        assert y is not None and not x.flags.writeable and not y.flags.writeable
    kept = list(loader)
    assert all(x.flags.writeable and (x == 1).all() for x, _ in kept)


def test_views__that_live_on_keep_their_memory() -> None:
    views = [x for x, _ in data.DataLoader((np.ones((4, 2)), np.zeros(4, int)), batch_size=4).train.views()]
    assert views[0].sum() == 8


def test_transforms__are_drawn_by_seed_epoch_and_row() -> None:
    x, y = images()
    chain = [
        transforms.RandomCrop(6, padding=1),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(0.5, 0.25),
    ]

    def epoch(number: int, **options: Any) -> Any:
        loader = data.DataLoader((x, y), batch_size=50, shuffle=False, transforms=chain, **options)
        loader.train.epoch = number
        return next(iter(loader))[0]

    first = epoch(0)
    assert first.shape == (50, 1, 6, 6) and first.min() >= -2 and first.max() <= 2
    np.testing.assert_array_equal(first, epoch(0, workers=3))
    assert not np.array_equal(first, epoch(1)) and not np.array_equal(first, epoch(0, seed=1))
    loader = data.DataLoader((x, y), batch_size=50, transforms=chain)
    middle = (x[:, 1:7].astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.25)
    np.testing.assert_array_equal(next(iter(loader.whole))[0][:, 0], middle)


def test_every_transform__is_taken_and_errors_name_it() -> None:
    x = np.zeros((4, 3, 16, 16), np.uint8)
    chain = [
        transforms.Resize((12, 14), "bicubic"),
        transforms.RandomRotation((-10, 10), "bilinear", fill=3),
        transforms.ColorJitter(0.1, (0.9, 1.1), 0.2, 0.05),
        transforms.RandomVerticalFlip(0.2),
        transforms.RandomHorizontalFlip(),
        transforms.RandomCrop(10, 2, True, 7),
        transforms.CenterCrop(8),
        transforms.ToTensor(),
        transforms.Normalize([0.1, 0.2, 0.3], [1, 1, 2]),
    ]
    loader = data.DataLoader(data.Arrays(x), transforms=chain)
    assert loader.sample.shape == (3, 8, 8)
    assert next(iter(loader))[0].shape == (4, 3, 8, 8)
    with pytest.raises(cyxwiz.SpecError) as caught:
        data.DataLoader(data.Arrays(x), transforms=[transforms.ToTensor(), transforms.Normalize([0.1, 0.2], [1, 1])])
    assert caught.value.pointer.startswith("/data/transforms/1")
    with pytest.raises(cyxwiz.SpecError) as caught:
        data.DataLoader(data.Arrays(x), transforms=[transforms.RandomCrop(32), transforms.ToTensor()])
    assert caught.value.pointer == "/data/transforms/0"
    with pytest.raises(cyxwiz.SpecError) as caught:
        data.DataLoader(data.Arrays(x), batch_size=0)
    assert caught.value.pointer == "/data/batch_size"


def test_catalogue__is_verified_and_named(data_dir: Path) -> None:
    loader = data.DataLoader("fashion-mnist", batch_size=100, data_dir=data_dir, shuffle=False)
    assert loader.sample == cyxwiz.Sample((1, 28, 28), 10) and len(loader) == 600
    assert loader.class_names is not None and loader.class_names[9] == "Ankle boot" and loader.faults == (0, "")
    assert loader.test is not None and loader.test.rows == 10000
    x, y = next(iter(loader))
    assert y is not None and (x.shape, x.dtype, y[:3].tolist()) == ((100, 1, 28, 28), np.float32, [9, 0, 0])
    assert loader.to_dict()["dataset"] == "fashion-mnist"
    with pytest.raises(cyxwiz.NotFoundError, match="cyxwiz data fetch mnist"):
        data.DataLoader("mnist", data_dir=data_dir)
    with pytest.raises(cyxwiz.SpecError) as caught:
        data.DataLoader("nosuch", data_dir=data_dir)
    assert caught.value.pointer == "/data/dataset"


def test_data_folder__is_where_the_command_line_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CYXWIZ_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.chdir(tmp_path)
    assert data.data_folder() == tmp_path / "share/cyxwiz/data"
    (tmp_path / ".cyxwiz/data").mkdir(parents=True)
    (tmp_path / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/er")
    assert data.data_folder() == tmp_path / ".cyxwiz/data"
    monkeypatch.setenv("CYXWIZ_DATA_DIR", "/somewhere")
    assert data.data_folder() == Path("/somewhere") and data.data_folder("/here") == Path("/here")


def test_files__of_each_format_open(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    y = np.arange(6) % 3
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "a.npz", x=x, y=y, tx=x[:2], ty=y[:2])
    cyxwiz.safetensors.save_file({"x": x, "y": y}, tmp_path / "a.safetensors")
    rows = [",".join([*(f"{value:.9g}" for value in row), str(label)]) for row, label in zip(x, y)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,c,d,label", *rows]) + "\n")
    sources: list[data.Source] = [
        data.NPY(tmp_path / "x.npy", tmp_path / "y.npy"),
        data.NPZ(tmp_path / "a.npz", test_inputs="tx", test_targets="ty"),
        data.Safetensors("a.safetensors"),
        data.CSV("a.csv", target="label"),
    ]
    for source in sources:
        loader = data.DataLoader(source, batch_size=6, shuffle=False, base_dir=tmp_path)
        assert loader.sample == cyxwiz.Sample((4,), 3), source
        inputs, targets = next(iter(loader))
        np.testing.assert_allclose(inputs, x, rtol=1e-6)
        np.testing.assert_array_equal(targets, y)
    with pytest.raises(cyxwiz.CyxwizError, match="nothere"):
        data.DataLoader(data.NPY("nothere.npy"), base_dir=tmp_path)
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY" + os.urandom(50))
    with pytest.raises(cyxwiz.CyxwizError, match="bad.npy"):
        data.DataLoader(data.NPY("bad.npy"), base_dir=tmp_path)


def write_png(path: Path, image: Any) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_images__of_a_folder_have_its_classes_and_name_what_is_broken(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for index in range(3):
            write_png(tmp_path / "train" / kind / f"{index}.png", np.full((8, 10, 3), 80 * index, np.uint8))
    (tmp_path / "train/dog/9.png").write_bytes(b"no image")
    loader = data.DataLoader(
        data.ImageFolder(tmp_path / "train"),
        batch_size=6,
        shuffle=False,
        transforms=[transforms.Resize((4, 4)), transforms.ToTensor()],
    )
    assert loader.class_names == ["cat", "dog"] and loader.sample == cyxwiz.Sample((3, 4, 4), 2)
    x, y = next(iter(loader))
    np.testing.assert_allclose(x[[0, 1, 2], :, 0, 0] * 255, [[0] * 3, [80] * 3, [160] * 3], atol=1e-4)
    assert y is not None and x.shape == (6, 3, 4, 4) and y.tolist() == [0, 0, 0, 1, 1, 1]
    count, sentence = loader.faults
    assert count == 1 and "9.png" in sentence


def test_sources__of_other_kinds_are_refused() -> None:
    with pytest.raises(TypeError, match="expected data"):
        data.DataLoader(7)  # type: ignore[arg-type]
