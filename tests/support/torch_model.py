"""A job spec as PyTorch runs it: model, loss, optimizer, schedule and data, for tests that compare with ours.

Needs Debian's python3-torch and python3-numpy. Safetensors files are read and written here by their format
alone (https://github.com/huggingface/safetensors), so that no code of ours judges our own files.
"""

import json
import struct
from pathlib import Path

import numpy
import torch

DTYPES = {"F32": numpy.float32, "F64": numpy.float64, "I32": numpy.int32, "I64": numpy.int64, "U8": numpy.uint8}
IDX_FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
             "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}


def load_safetensors(path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors by name, and the metadata."""
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    metadata = header.pop("__metadata__", {})
    body = memoryview(raw)[8 + length:]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = numpy.frombuffer(body[begin:end], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors, metadata


def save_safetensors(path, arrays: dict[str, numpy.ndarray], metadata: dict[str, str]) -> None:
    names = {numpy.dtype(kind): name for name, kind in DTYPES.items()}
    header, offset, parts = {"__metadata__": metadata}, 0, []
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        part = numpy.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, offset + len(part)]}
        offset += len(part)
        parts.append(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def _pair(value):
    return tuple(value) if isinstance(value, list) else (value, value)


def _layer(spec: dict, shape: list[int]) -> torch.nn.Module:
    """The module of one layer whose input has `shape` (without the batch)."""
    kind = spec["type"]
    if kind == "Linear":
        return torch.nn.Linear(shape[0], spec["out_features"], bias=spec.get("bias", True))
    if kind == "Conv2d":
        padding = spec.get("padding", 0)
        return torch.nn.Conv2d(shape[0], spec["out_channels"], _pair(spec["kernel_size"]),
                               stride=_pair(spec.get("stride", 1)),
                               padding=padding if isinstance(padding, str) else _pair(padding),
                               dilation=_pair(spec.get("dilation", 1)), groups=spec.get("groups", 1),
                               bias=spec.get("bias", True))
    if kind == "MaxPool2d":
        kernel = _pair(spec["kernel_size"])
        return torch.nn.MaxPool2d(kernel, stride=_pair(spec.get("stride", list(kernel))),
                                  padding=_pair(spec.get("padding", 0)))
    if kind == "Flatten":
        return torch.nn.Flatten(spec.get("start_dim", 1))
    if kind == "ReLU":
        return torch.nn.ReLU()
    if kind == "Dropout":
        return torch.nn.Dropout(spec.get("p", 0.5))
    raise ValueError(f"no layer {kind}")


class Model(torch.nn.Module):
    """Layers with names and inputs, as the spec gives them; state_dict keys are the spec's."""

    def __init__(self, spec: dict, shape=(1, 28, 28)):
        super().__init__()
        values = {"input": torch.zeros(1, *shape)}
        self.steps = []
        last = "input"
        for index, layer in enumerate(spec["model"]["layers"]):
            name = layer.get("name", str(index))
            source = layer.get("inputs", [last])[0]
            module = _layer(layer, list(values[source].shape[1:]))
            self.add_module(name, module)
            self.steps.append((name, source))
            values[name] = module(values[source])
            last = name

    def forward(self, x):
        values = {"input": x}
        for name, source in self.steps:
            values[name] = getattr(self, name)(values[source])
        return values[self.steps[-1][0]]


def make_loss(spec: dict) -> torch.nn.Module:
    return torch.nn.CrossEntropyLoss(label_smoothing=spec["loss"].get("label_smoothing", 0.0))


def make_optimizer(spec: dict, parameters) -> torch.optim.Optimizer:
    options = {key: value for key, value in spec["optimizer"].items() if key != "type"}
    if spec["optimizer"]["type"] == "SGD":
        return torch.optim.SGD(parameters, lr=options.pop("lr", 1e-3), **options)
    if "betas" in options:
        options["betas"] = tuple(options["betas"])
    return torch.optim.AdamW(parameters, **options)


def make_scheduler(spec: dict, optimizer, total_calls: int):
    options = {key: value for key, value in spec.get("scheduler", {}).items() if key not in ("type", "interval")}
    kind = spec.get("scheduler", {}).get("type")
    if kind is None:
        return None
    if kind == "CosineAnnealingLR":
        options.setdefault("T_max", total_calls)
    return getattr(torch.optim.lr_scheduler, kind)(optimizer, **options)


def load_part(data_dir, dataset: str, part: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    images, labels = ((Path(data_dir) / dataset / name).read_bytes() for name in IDX_FILES[part])
    count, height, width = struct.unpack(">III", images[4:16])
    pixels = numpy.frombuffer(images, numpy.uint8, offset=16).reshape(count, 1, height, width)
    return pixels, numpy.frombuffer(labels, numpy.uint8, offset=8)


def transform(spec: dict, pixels: numpy.ndarray) -> torch.Tensor:
    """As torchvision's ToTensor and Normalize."""
    x = torch.from_numpy(pixels.astype(numpy.float32)).div(255)
    for step in spec["data"].get("transforms", []):
        if step["type"] == "Normalize":
            mean, std = (torch.as_tensor(step[key], dtype=torch.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
            x = (x - mean) / std
    return x
