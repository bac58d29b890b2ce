"""A job spec as PyTorch runs it: model, loss, optimizer, schedule and data, for tests that compare with ours.

Needs Debian's python3-torch and python3-numpy. Safetensors files are read and written here by their format
alone (https://github.com/huggingface/safetensors), so that no code of ours judges our own files.
"""

import fnmatch
import functools
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


class Reshape(torch.nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(x.shape[0], *self.shape)


class Add(torch.nn.Module):
    def forward(self, *inputs):
        return functools.reduce(torch.add, inputs)


class Concat(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, *inputs):
        return torch.cat(inputs, self.dim)


def _convolution(kind, options: dict, shape: list[int]) -> torch.nn.Module:
    for key in ("kernel_size", "stride", "padding", "output_padding", "dilation"):
        if key in options and not isinstance(options[key], str):
            options[key] = _pair(options[key])
    options.setdefault("in_channels", shape[0])
    return kind(**options)


def _pooling(kind, options: dict) -> torch.nn.Module:
    return kind(**{key: _pair(value) if key in ("kernel_size", "stride", "padding", "dilation") else value
                   for key, value in options.items()})


def _layer_norm(options: dict, shape: list[int]) -> torch.nn.Module:
    bias = options.pop("bias", True)
    norm = torch.nn.LayerNorm(options.pop("normalized_shape", shape), **options)
    if not bias:  # an argument of LayerNorm only since PyTorch 2.1
        norm.bias = None
    return norm


def _layer(spec: dict, shape: list[int]) -> torch.nn.Module:
    """The module of one layer whose first input has `shape` (without the batch)."""
    kind = spec["type"]
    options = {key: value for key, value in spec.items() if key not in ("type", "name", "inputs")}
    if kind == "Linear":
        options.setdefault("in_features", shape[-1])
        return torch.nn.Linear(**options)
    if kind in ("Conv2d", "ConvTranspose2d"):
        return _convolution(getattr(torch.nn, kind), options, shape)
    if kind in ("MaxPool2d", "AvgPool2d"):
        return _pooling(getattr(torch.nn, kind), options)
    if kind == "AdaptiveAvgPool2d":
        return torch.nn.AdaptiveAvgPool2d(_pair(options["output_size"]))
    if kind == "GlobalAvgPool2d":
        return torch.nn.AdaptiveAvgPool2d(1)
    if kind in ("BatchNorm1d", "BatchNorm2d"):
        options.setdefault("num_features", shape[0])
        return getattr(torch.nn, kind)(**options)
    if kind == "LayerNorm":
        return _layer_norm(options, shape)
    if kind == "Flatten":
        return torch.nn.Flatten(options.get("start_dim", 1))
    if kind in ("Softmax", "LogSoftmax"):
        return getattr(torch.nn, kind)(dim=options.get("dim", -1))
    if kind in ("ReLU", "LeakyReLU", "GELU", "SiLU", "Sigmoid", "Tanh", "Dropout"):
        return getattr(torch.nn, kind)(**options)
    if kind == "Reshape":
        return Reshape(options["shape"])
    if kind == "Add":
        return Add()
    if kind == "Concat":
        return Concat(options.get("dim", 1))
    raise ValueError(f"no layer {kind}")


class Model(torch.nn.Module):
    """Layers with names and inputs, as the spec gives them; state_dict keys are the spec's."""

    def __init__(self, spec: dict, shape=(1, 28, 28)):
        super().__init__()
        shapes = {"input": list(shape)}
        self.steps = []
        last = "input"
        for index, layer in enumerate(spec["model"]["layers"]):
            name = layer.get("name", str(index))
            sources = layer.get("inputs", [last])
            module = _layer(layer, shapes[sources[0]])
            self.add_module(name, module)
            self.steps.append((name, sources))
            with torch.no_grad():  # eval: the running statistics must not see these zeros
                zeros = [torch.zeros(1, *shapes[source]) for source in sources]
                shapes[name] = list(module.eval()(*zeros).shape[1:])
            module.train()
            last = name

    def forward(self, x):
        values = {"input": x}
        for name, sources in self.steps:
            values[name] = getattr(self, name)(*(values[source] for source in sources))
        return values[self.steps[-1][0]]

    def trained(self) -> dict[str, torch.nn.Parameter]:
        return dict(self.named_parameters())

    def saved(self) -> dict[str, torch.Tensor]:
        """What a model file of ours holds: the state_dict but BatchNorm's counter of batches."""
        return {key: value for key, value in self.state_dict().items() if not key.endswith("num_batches_tracked")}


def make_loss(spec: dict) -> torch.nn.Module:
    options = {key: value for key, value in spec["loss"].items() if key not in ("type", "target")}
    for key in ("weight", "pos_weight"):
        if key in options:
            options[key] = torch.tensor(options[key], dtype=torch.float32)
    return getattr(torch.nn, spec["loss"]["type"])(**options)


def make_target(spec: dict, output: torch.Tensor, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """What the loss compares `output` with: classes, numbers, or the input, as the spec's loss says."""
    if spec["loss"]["type"] == "CrossEntropyLoss":
        return target.long()
    kind = spec["loss"].get("target", "data")
    if kind == "one_hot":
        return torch.nn.functional.one_hot(target.long(), output.shape[-1]).float()
    return x if kind == "input" else target


def param_groups(spec: dict, model: Model) -> list[dict]:
    """As ours: group 0 is what no pattern takes, and may be empty."""
    patterns = spec["optimizer"].get("param_groups", [])
    groups = [{"params": []}] + [
        {"params": [], **{key: group[key] for key in ("lr", "weight_decay") if key in group}} for group in patterns]
    for name, parameter in model.named_parameters():
        taken = [index for index, group in enumerate(patterns)
                 if any(fnmatch.fnmatchcase(name, pattern) for pattern in group["params"])]
        groups[taken[0] + 1 if taken else 0]["params"].append(parameter)
    return groups


def make_optimizer(spec: dict, model: Model) -> torch.optim.Optimizer:
    kind = spec["optimizer"]["type"]
    options = {key: value for key, value in spec["optimizer"].items() if key not in ("type", "param_groups")}
    if kind == "SGD":
        options.setdefault("lr", 1e-3)
    if "betas" in options:
        options["betas"] = tuple(options["betas"])
    return getattr(torch.optim, kind)(param_groups(spec, model), **options)


def clip_gradients(spec: dict, model: Model) -> float:
    """The norm before clipping, where it is clipped by norm; else 0."""
    clip = spec.get("clip", {})
    if clip.get("value", 0) > 0:
        torch.nn.utils.clip_grad_value_(model.parameters(), clip["value"])
    if clip.get("norm", 0) > 0:
        return float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip["norm"]))
    return 0.0


def make_scheduler(spec: dict, optimizer, total_calls: int):
    """The scheduler alone; None when the spec has none."""
    options = {key: value for key, value in spec.get("scheduler", {}).items()
               if key not in ("type", "interval", "monitor")}
    kind = spec.get("scheduler", {}).get("type")
    if kind is None:
        return None
    if kind == "CosineAnnealingLR":
        options.setdefault("T_max", total_calls)
    if kind == "ReduceLROnPlateau":
        options["mode"] = "max" if spec["scheduler"].get("monitor") == "accuracy" else "min"
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
