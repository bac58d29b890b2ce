"""The layers: torch.nn's modules of these names, as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

from cyxwiz.part import Part

if TYPE_CHECKING:
    from cyxwiz.nn.network import Node

Size = Union[int, Sequence[int]]  #: one number for both, or (height, width)


class Layer(Part):
    """One layer.

    Every layer also takes ``name`` (unique, a word; the first part of its parameters' names; the layer's index when
    None) and ``inputs`` (names of earlier layers or ``"input"``; the layer before when None).

    Called with nodes of a graph, a layer gives the node of its output: ``nn.ReLU()(x)``.
    """

    def __init__(self, name: str | None = None, inputs: Sequence[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.name = name
        self.inputs = None if inputs is None else [inputs] if isinstance(inputs, str) else list(inputs)

    def to_dict(self) -> dict[str, Any]:
        """The layer as it stands in the job spec."""
        spec = super().to_dict()
        if self.name is not None:
            spec["name"] = self.name
        if self.inputs is not None:
            spec["inputs"] = self.inputs
        return spec

    def __call__(self, *inputs: Node) -> Node:
        """The node of this layer's output in a graph. A layer stands at one place: its weights are not shared."""
        from cyxwiz.nn.network import Node

        return Node(self, inputs)


class Linear(Layer):
    """y = x Wᵀ + b over the last dimension.

    Shapes: (N, in_features) or (N, L, in_features) to (…, out_features); weight (out_features, in_features).

    Args:
        in_features: taken from the input's shape when None.
        out_features: features of the output.
        bias: whether a learned bias is added.
    """

    def __init__(
        self,
        in_features: int | None,
        out_features: int,
        bias: bool = True,
        *,
        name: str | None = None,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, inputs, in_features=in_features, out_features=out_features, bias=bias)


class Conv2d(Layer):
    """Cross-correlation in two dimensions.

    Shapes: (N, in_channels, H, W) to (N, out_channels, OH, OW) with OH = (H + 2 padding - dilation (kernel_size - 1) -
    1) / stride + 1; weight (out_channels, in_channels / groups, KH, KW).

    Args:
        in_channels: taken from the input's shape when None.
        out_channels: channels of the output.
        kernel_size: one number or (height, width), as stride, padding and dilation.
        stride: step of the kernel.
        padding: zeros around, ``"same"`` (needs stride 1; what is odd goes right and below) or ``"valid"``.
        dilation: distance between the kernel's elements.
        groups: groups of channels that see only one another.
        bias: whether a learned bias is added.
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        name: str | None = None,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            name,
            inputs,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )


class ConvTranspose2d(Layer):
    """The transpose of a Conv2d: makes height and width larger by stride.

    Shapes: (N, in_channels, H, W) to (N, out_channels, OH, OW) with OH = (H - 1) stride - 2 padding + dilation
    (kernel_size - 1) + output_padding + 1; weight (in_channels, out_channels / groups, KH, KW).

    Args:
        in_channels: taken from the input's shape when None.
        out_channels: channels of the output.
        kernel_size: one number or (height, width), as the sizes below.
        stride: step of the kernel in the output.
        padding: rows and columns taken off each side.
        output_padding: rows and columns added below and right; less than stride or dilation.
        groups: groups of channels that see only one another.
        bias: whether a learned bias is added.
        dilation: distance between the kernel's elements.
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        *,
        name: str | None = None,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            name,
            inputs,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
            dilation=dilation,
        )


class MaxPool2d(Layer):
    """The largest element of each window.

    Shapes: (N, C, H, W) to (N, C, OH, OW), as Conv2d's.

    Args:
        kernel_size: one number or (height, width), as the sizes below.
        stride: ``kernel_size`` when None.
        padding: a border that never wins, at most half of kernel_size.
        dilation: distance between the window's elements.
        ceil_mode: round the output's size up instead of down.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        *,
        ceil_mode: bool = False,
        name: str | None = None,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            name,
            inputs,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
        )


class AvgPool2d(Layer):
    """The mean of each window.

    Shapes: (N, C, H, W) to (N, C, OH, OW).

    Args:
        kernel_size: one number or (height, width), as the sizes below.
        stride: ``kernel_size`` when None.
        padding: zeros around, at most half of kernel_size.
        ceil_mode: round the output's size up instead of down.
        count_include_pad: whether padding counts in the mean.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        name: str | None = None,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            name,
            inputs,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )


class AdaptiveAvgPool2d(Layer):
    """Means of as many equal windows as the output has elements.

    Shapes: (N, C, H, W) to (N, C, *output_size), which must divide H and W.

    Args:
        output_size: one number or (height, width).
    """

    def __init__(self, output_size: Size, *, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        super().__init__(name, inputs, output_size=output_size)


class GlobalAvgPool2d(Layer):
    """The mean of each channel.

    Shapes: (N, C, H, W) to (N, C, 1, 1).
    """

    def __init__(self, *, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        super().__init__(name, inputs)


class Flatten(Layer):
    """Folds the dimensions from ``start_dim`` on into one.

    Shapes: (N, C, H, W) to (N, C H W).

    Args:
        start_dim: the first that is folded; 0 is the batch and stays.
    """

    def __init__(self, start_dim: int = 1, *, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        super().__init__(name, inputs, start_dim=start_dim)


class Reshape(Layer):
    """The same elements in another shape.

    Shapes: (N, …) to (N, *shape).

    Args:
        shape: one to three sizes without the batch, as numbers or one list; one may be -1, which takes what is left.
    """

    def __init__(self, *shape: Size, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        super().__init__(name, inputs, shape=sizes)


class ReLU(Layer):
    """max(0, x). Shapes: any to the same. ``inplace`` is taken for PyTorch's sake: memory is planned in any case."""

    def __init__(
        self, inplace: bool = False, *, name: str | None = None, inputs: Sequence[str] | None = None
    ) -> None:
        super().__init__(name, inputs)


class LeakyReLU(Layer):
    """x above 0, negative_slope x below. Shapes: any to the same. ``inplace``: see :class:`ReLU`."""

    def __init__(
        self,
        negative_slope: float = 0.01,
        inplace: bool = False,
        *,
        name: str | None = None,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, inputs, negative_slope=negative_slope)


class GELU(Layer):
    """x Φ(x), by erf or (``approximate="tanh"``) by tanh. Shapes: any to the same."""

    def __init__(
        self, approximate: str = "none", *, name: str | None = None, inputs: Sequence[str] | None = None
    ) -> None:
        super().__init__(name, inputs, approximate=approximate)


class SiLU(Layer):
    """x times its sigmoid. Shapes: any to the same. ``inplace``: see :class:`ReLU`."""

    def __init__(
        self, inplace: bool = False, *, name: str | None = None, inputs: Sequence[str] | None = None
    ) -> None:
        super().__init__(name, inputs)


class Sigmoid(Layer):
    """1 / (1 + exp(-x)). Shapes: any to the same."""

    def __init__(self, *, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        super().__init__(name, inputs)


class Tanh(Layer):
    """The hyperbolic tangent. Shapes: any to the same."""

    def __init__(self, *, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        super().__init__(name, inputs)


class Softmax(Layer):
    """exp(x) / Σ exp(x) over ``dim`` (negative: from the end; 0 is the batch). Shapes: any to the same."""

    def __init__(self, dim: int = -1, *, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        super().__init__(name, inputs, dim=dim)


class LogSoftmax(Layer):
    """The logarithm of :class:`Softmax`. Shapes: any to the same."""

    def __init__(self, dim: int = -1, *, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        super().__init__(name, inputs, dim=dim)


class Dropout(Layer):
    """Zeroes elements with probability ``p`` in training, times 1 / (1 - p); nothing in inference.

    Which ones depends on the job's seed, the step and the layer alone. Shapes: any to the same. ``inplace``: see
    :class:`ReLU`.
    """

    def __init__(
        self,
        p: float = 0.5,
        inplace: bool = False,
        *,
        name: str | None = None,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, inputs, p=p)


class _BatchNorm(Layer):
    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        name: str | None = None,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, inputs, num_features=num_features, eps=eps, momentum=momentum, affine=affine)


class BatchNorm1d(_BatchNorm):
    """(x - mean) / √(var + eps) of each channel over the batch, times weight, plus bias.

    Inference takes the running statistics, which training updates by ``momentum`` (they are in the state_dict).
    Shapes: (N, C) or (N, C, L) to the same.

    Args:
        num_features: C; taken from the input's shape when None.
        eps: added to the variance.
        momentum: part of each batch in the running statistics.
        affine: whether a learned weight and bias follow.
    """


class BatchNorm2d(_BatchNorm):
    """As :class:`BatchNorm1d`, of (N, C, H, W): each channel over the batch and its plane."""


class LayerNorm(Layer):
    """Normalises each sample over its trailing dimensions.

    Shapes: (N, …, *normalized_shape) to the same.

    Args:
        normalized_shape: a number or a list of sizes; all but the batch when None.
        eps: added to the variance.
        elementwise_affine: whether a learned weight and bias of that shape follow.
        bias: whether the bias is among them.
    """

    def __init__(
        self,
        normalized_shape: Size | None = None,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        name: str | None = None,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            name,
            inputs,
            normalized_shape=normalized_shape,
            eps=eps,
            elementwise_affine=elementwise_affine,
            bias=bias,
        )


class Add(Layer):
    """The sum of two or more inputs of one shape: residual connections.

    Shapes: any, all the same, to the same. In a graph: ``nn.Add()(a, b)`` or ``a + b``; in a row by ``inputs``.
    """

    def __init__(self, *, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        super().__init__(name, inputs)


class Concat(Layer):
    """Two or more inputs put together along ``dim`` (negative: from the end; 0 is the batch).

    Shapes: (N, C1, H, W), (N, C2, H, W), … to (N, C1 + C2 + …, H, W).
    """

    def __init__(self, dim: int = 1, *, name: str | None = None, inputs: Sequence[str] | None = None) -> None:
        super().__init__(name, inputs, dim=dim)
