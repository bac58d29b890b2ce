"""Layers, networks and losses, with PyTorch's names, arguments and defaults.

A layer here is data: its class collects arguments for the job spec, and the C library judges them (``SpecError`` with
the layer's place) when a model is built. Shapes in the docstrings are (N, …) with N the batch.

Put together in a row, or as a graph::

    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))

    x = nn.Input()
    h = nn.Conv2d(3, 16, 3, padding="same")(x)
    y = nn.ReLU()(nn.BatchNorm2d(16)(h))
    net = nn.Graph(nn.Linear(None, 10)(nn.Flatten()(h + y)))
"""

from cyxwiz.nn.layers import (
    GELU,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from cyxwiz.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, Loss, MSELoss, SmoothL1Loss
from cyxwiz.nn.network import Graph, Input, Network, Node, Sequential

__all__ = [
    "GELU",
    "AdaptiveAvgPool2d",
    "Add",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "Graph",
    "Input",
    "L1Loss",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Network",
    "Node",
    "ReLU",
    "Reshape",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Tanh",
]
