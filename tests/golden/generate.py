#!/usr/bin/python3
"""Records what PyTorch computes, for tests/golden/golden_test.c to compare with: run by hand when a case is added.

  tests/golden/generate.py        # writes layers.safetensors and training.safetensors beside itself

layers    one operation a case: operands, dy, and PyTorch's y, dx, dw, db. "<case>.attr" (I32) says which:
          op, relu, kernel (2), stride (2), dilation (2), pad_begin (2), pad_end (2), groups, smoothing * 1000
training  20 optimizer steps of a small network a case: "<case>.spec" in the metadata; first parameters, losses,
          learning rates and last parameters. Images and labels of the five batches are shared by all.
"""

import json
import sys
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import torch_model  # noqa: E402

LINEAR, CONV2D, MAX_POOL2D, CROSS_ENTROPY = range(4)
STEPS, BATCHES, BATCH = 20, 5, 8


def attr(op, relu=0, kernel=(1, 1), stride=(1, 1), dilation=(1, 1), begin=(0, 0), end=(0, 0), groups=1, smoothing=0):
    return numpy.array([op, relu, *kernel, *stride, *dilation, *begin, *end, groups, smoothing], numpy.int32)


def draw(generator, *shape):
    return torch.rand(*shape, generator=generator) * 2 - 1


def finish(name, out, attributes, x, y, w=None, b=None, dy=None):
    """Runs backward from dy and stores everything of the case."""
    if dy is not None:
        y.backward(dy)
        out[f"{name}.dy"] = dy
    else:
        y.backward()
    out[f"{name}.attr"] = torch.from_numpy(attributes)
    out[f"{name}.x"], out[f"{name}.y"], out[f"{name}.dx"] = x, y, x.grad
    if w is not None:
        out[f"{name}.w"], out[f"{name}.dw"] = w, w.grad
    if b is not None:
        out[f"{name}.b"], out[f"{name}.db"] = b, b.grad


def linear(name, out, g, n, ins, outs, bias=True, relu=False):
    x, w = draw(g, n, ins).requires_grad_(), draw(g, outs, ins).requires_grad_()
    b = draw(g, outs).requires_grad_() if bias else None
    y = F.linear(x, w, b)
    finish(name, out, attr(LINEAR, relu), x, F.relu(y) if relu else y, w, b, draw(g, *y.shape))


def conv(name, out, g, shape, outs, kernel, stride=(1, 1), pad=(0, 0), pad_end=None, dilation=(1, 1), groups=1,
         bias=True, relu=False):
    pad_end = pad_end or pad
    x = draw(g, *shape).requires_grad_()
    w = draw(g, outs, shape[1] // groups, *kernel).requires_grad_()
    b = draw(g, outs).requires_grad_() if bias else None
    padded = F.pad(x, (pad[1], pad_end[1], pad[0], pad_end[0]))
    y = F.conv2d(padded, w, b, stride, 0, dilation, groups)
    finish(name, out, attr(CONV2D, relu, kernel, stride, dilation, pad, pad_end, groups), x,
           F.relu(y) if relu else y, w, b, draw(g, *y.shape))


def pool(name, out, g, shape, kernel, stride, pad=(0, 0)):
    x = draw(g, *shape).requires_grad_()
    y = F.max_pool2d(x, kernel, stride, pad)
    finish(name, out, attr(MAX_POOL2D, 0, kernel, stride, (1, 1), pad, pad), x, y, dy=draw(g, *y.shape))


def cross_entropy(name, out, g, n, classes, smoothing=0, ignored=()):
    x = (draw(g, n, classes) * 4).requires_grad_()
    target = torch.randint(classes, (n,), generator=g)
    target[list(ignored)] = -100
    y = F.cross_entropy(x, target, label_smoothing=smoothing / 1000)
    out[f"{name}.target"] = target.to(torch.int32)
    finish(name, out, attr(CROSS_ENTROPY, smoothing=smoothing), x, y)


def layers() -> None:
    out, g = {}, torch.Generator().manual_seed(20)
    linear("linear", out, g, 5, 7, 3)
    linear("linear_relu", out, g, 16, 33, 20, relu=True)
    linear("linear_without_bias", out, g, 3, 17, 31, bias=False)
    conv("conv", out, g, (2, 3, 7, 5), 4, (3, 3))
    conv("conv_padded_relu", out, g, (2, 16, 6, 6), 16, (3, 3), pad=(1, 1), relu=True)
    conv("conv_strided", out, g, (2, 3, 9, 11), 5, (5, 3), stride=(2, 3), pad=(2, 1))
    conv("conv_dilated", out, g, (1, 4, 11, 9), 6, (3, 2), pad=(2, 1), dilation=(2, 3))
    conv("conv_groups", out, g, (2, 6, 5, 5), 9, (3, 3), pad=(1, 1), groups=3)
    conv("conv_depthwise", out, g, (2, 8, 6, 5), 8, (3, 3), pad=(1, 1), groups=8)
    conv("conv_same_even", out, g, (2, 2, 6, 7), 3, (4, 2), pad=(1, 0), pad_end=(2, 1), bias=False)
    conv("conv_one_channel", out, g, (3, 1, 10, 10), 6, (5, 5), pad=(2, 2), relu=True)
    pool("pool", out, g, (2, 3, 6, 8), (2, 2), (2, 2))
    pool("pool_odd", out, g, (2, 17, 7, 9), (2, 2), (2, 2))
    pool("pool_overlapping", out, g, (1, 5, 9, 7), (3, 3), (2, 2), (1, 1))
    cross_entropy("cross_entropy", out, g, 9, 10)
    cross_entropy("cross_entropy_smoothed", out, g, 7, 13, smoothing=100)
    cross_entropy("cross_entropy_ignored", out, g, 8, 5, smoothing=200, ignored=(0, 3))
    arrays = {name: tensor.detach().numpy() for name, tensor in out.items()}
    torch_model.save_safetensors(HERE / "layers.safetensors", arrays, {"torch": torch.__version__})


NETWORK = [
    {"type": "Conv2d", "name": "conv", "out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1},
    {"type": "ReLU"},
    {"type": "MaxPool2d", "kernel_size": 2},
    {"type": "Flatten"},
    {"type": "Linear", "name": "fc", "out_features": 10},
]

TRAININGS = {
    "sgd": ({"type": "SGD", "lr": 0.1}, None, 0.0),
    "sgd_momentum_decay": ({"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}, None, 0.0),
    "sgd_nesterov": ({"type": "SGD", "lr": 0.05, "momentum": 0.8, "nesterov": True},
                     {"type": "StepLR", "step_size": 6, "gamma": 0.5, "interval": "step"}, 0.0),
    "sgd_dampening": ({"type": "SGD", "lr": 0.1, "momentum": 0.9, "dampening": 0.5},
                      {"type": "ExponentialLR", "gamma": 0.9, "interval": "step"}, 0.1),
    "adamw": ({"type": "AdamW", "lr": 0.003}, None, 0.0),
    "adamw_options": ({"type": "AdamW", "lr": 0.01, "betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.1},
                      {"type": "CosineAnnealingLR", "T_max": 8, "eta_min": 0.001, "interval": "step"}, 0.1),
}


def training_case(name, out, metadata, images, labels) -> None:
    optimizer_spec, scheduler_spec, smoothing = TRAININGS[name]
    spec = {"name": name, "model": {"layers": NETWORK}, "data": {"dataset": "mnist", "batch_size": BATCH},
            "loss": {"type": "CrossEntropyLoss"}, "optimizer": optimizer_spec, "epochs": 1}
    if smoothing:
        spec["loss"]["label_smoothing"] = smoothing
    if scheduler_spec:
        spec["scheduler"] = scheduler_spec
    torch.manual_seed(3)
    model = torch_model.Model(spec)
    optimizer = torch_model.make_optimizer(spec, model.parameters())
    scheduler = torch_model.make_scheduler(spec, optimizer, STEPS)
    criterion = torch_model.make_loss(spec)
    for key, value in model.state_dict().items():
        out[f"{name}.first.{key}"] = value.numpy().copy()
    losses, rates = [], []
    for step in range(STEPS):
        batch = step % BATCHES
        optimizer.zero_grad()
        loss = criterion(model(torch_model.transform(spec, images[batch])), torch.from_numpy(labels[batch]).long())
        loss.backward()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler:
            scheduler.step()
        losses.append(loss.item())
    for key, value in model.state_dict().items():
        out[f"{name}.last.{key}"] = value.numpy().copy()
    out[f"{name}.losses"] = numpy.array(losses, numpy.float32)
    out[f"{name}.rates"] = numpy.array(rates, numpy.float64)
    metadata[f"{name}.spec"] = json.dumps(spec)


def training() -> None:
    """Images are drawn, not a data set's: blurred noise whose brightness tells the class."""
    rng = numpy.random.default_rng(11)
    labels = rng.integers(0, 10, (BATCHES, BATCH)).astype(numpy.int32)
    noise = rng.integers(0, 120, (BATCHES, BATCH, 1, 28, 28))
    images = (noise + 13 * labels[:, :, None, None, None]).astype(numpy.uint8)
    out, metadata = {"images": images, "labels": labels}, {"torch": torch.__version__}
    for name in TRAININGS:
        training_case(name, out, metadata, images, labels)
    torch_model.save_safetensors(HERE / "training.safetensors", out, metadata)


if __name__ == "__main__":
    torch.set_num_threads(1)
    layers()
    training()
