"""What is done to a sample before the model sees it: torchvision's transforms of these names.

In order: those of images first, then :class:`ToTensor` (which stands in every list), then :class:`Normalize`.
Evaluation leaves out the random ones; a RandomCrop that changes the size is a CenterCrop there. What is drawn depends on
the seed, the epoch and the row alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from cyxwiz.part import Part

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToTensor",
    "Transform",
]

Size = Union[int, Sequence[int]]
Range = Union[float, Sequence[float]]


class Transform(Part):
    """One step on the way from a row of the data to what the model gets."""


class Resize(Transform):
    """Another size, the same picture.

    Args:
        size: (height, width), or one number for the shorter edge.
        interpolation: "nearest", "bilinear" or "bicubic"; the latter two take all pixels that one covers, as Pillow.
    """

    def __init__(self, size: Size, interpolation: str = "bilinear") -> None:
        super().__init__(size=size, interpolation=interpolation)


class CenterCrop(Transform):
    """The middle of the image, ``size`` high and wide; a smaller image gets a black border."""

    def __init__(self, size: Size) -> None:
        super().__init__(size=size)


class RandomCrop(Transform):
    """A part at a place drawn for each image and epoch.

    Args:
        size: height and width that are kept.
        padding: pixels added on every side first.
        pad_if_needed: whether a smaller image is padded instead of refused.
        fill: the byte of what is added.
    """

    def __init__(self, size: Size, padding: int = 0, pad_if_needed: bool = False, fill: int = 0) -> None:
        super().__init__(size=size, padding=padding, pad_if_needed=pad_if_needed, fill=fill)


class RandomHorizontalFlip(Transform):
    """Left for right with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)


class RandomVerticalFlip(Transform):
    """Top for bottom with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)


class RandomRotation(Transform):
    """Turned about its middle.

    Args:
        degrees: the angle is drawn from -degrees to degrees, or from (from, to).
        interpolation: "nearest" or "bilinear".
        fill: the byte of what is added.
    """

    def __init__(self, degrees: Range, interpolation: str = "nearest", fill: int = 0) -> None:
        super().__init__(degrees=degrees, interpolation=interpolation, fill=fill)


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed in a random order.

    Args:
        brightness: the factor is drawn from 1 - brightness to 1 + brightness, or from (from, to).
        contrast: as brightness, about the image's mean grey.
        saturation: as brightness, about the image in grey.
        hue: turn of the colour circle, drawn from -hue to hue, or from (from, to).
    """

    def __init__(self, brightness: Range = 0, contrast: Range = 0, saturation: Range = 0, hue: Range = 0) -> None:
        super().__init__(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)


class ToTensor(Transform):
    """Bytes 0 to 255 to numbers 0 to 1; numbers stay."""

    def __init__(self) -> None:
        super().__init__()


class Normalize(Transform):
    """(x - mean) / std; one number, or one for each channel."""

    def __init__(self, mean: Range, std: Range) -> None:
        super().__init__(mean=mean, std=std)
