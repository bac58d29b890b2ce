#!/usr/bin/python3
"""Records what Pillow and torchvision make of small images, for libs/nn/data/image_test.c to compare with to the bit.

  tests/golden/images.py        # needs python3-torchvision; writes images/* and images.safetensors beside itself

decode.<file>.<channels>   convert("RGB") or convert("L") of each file
<operation>...             torchvision.transforms.functional on the PIL image of scene.png
"""

import json
import struct
from pathlib import Path

import numpy
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode as Mode

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "images"
MODES = {"nearest": Mode.NEAREST, "bilinear": Mode.BILINEAR, "bicubic": Mode.BICUBIC}


def scene(height, width):
    """Gradients, a disc, hard edges and noise: what resampling and colour can get wrong."""
    y, x = numpy.mgrid[0:height, 0:width]
    rng = numpy.random.default_rng(3)
    image = numpy.stack([x * 255 // width, y * 255 // height, (x * y) % 256], 2).astype(numpy.int64)
    disc = (y - height * 0.4) ** 2 + (x - width * 0.6) ** 2 < (height * 0.3) ** 2
    image[disc] = (250, 30, 60)
    image[: height // 4, : width // 4] = (5, 200, 120)
    image += rng.integers(-20, 20, image.shape)
    return Image.fromarray(image.clip(0, 255).astype(numpy.uint8))


def write_files():
    rgb = scene(29, 37)
    grey = rgb.convert("L")
    alpha = rgb.copy()
    alpha.putalpha(grey)
    palette = rgb.quantize(16)
    rgb.save(FOLDER / "scene.png")
    grey.save(FOLDER / "grey.png")
    alpha.save(FOLDER / "alpha.png")
    palette.save(FOLDER / "palette.png")
    palette.save(FOLDER / "transparent.png", transparency=3)
    grey.point(lambda v: 255 * (v > 127)).convert("1").save(FOLDER / "bits.png")
    rgb.save(FOLDER / "scene.jpg", quality=90)
    rgb.save(FOLDER / "subsampled.jpeg", quality=75, subsampling="4:2:0")
    rgb.save(FOLDER / "progressive.jpg", quality=80, progressive=True)
    grey.save(FOLDER / "grey.jpg", quality=90)
    rgb.convert("CMYK").save(FOLDER / "cmyk.jpg", quality=90)


def record():
    out = {}
    for path in sorted(FOLDER.iterdir()):
        image = Image.open(path)
        out[f"decode.{path.name}.3"] = numpy.array(image.convert("RGB"))
        out[f"decode.{path.name}.1"] = numpy.array(image.convert("L"))
    image = Image.open(FOLDER / "scene.png").convert("RGB")
    grey = image.convert("L")
    for name, mode in MODES.items():
        for height, width in ((16, 20), (58, 37), (29, 11), (40, 74), (5, 3)):
            out[f"resize.{name}.{height}.{width}"] = numpy.array(F.resize(image, [height, width], mode))
    out["resize_grey.bilinear.13.50"] = numpy.array(F.resize(grey, [13, 50]))
    for name in ("nearest", "bilinear"):
        for angle in (0, 30, -17.5, 90, 180, 271.3):
            out[f"rotate.{name}.{angle}"] = numpy.array(F.rotate(image, angle, MODES[name]))
    for factor in (0, 0.35, 1, 1.6, 4):
        out[f"brightness.{factor}"] = numpy.array(F.adjust_brightness(image, factor))
        out[f"contrast.{factor}"] = numpy.array(F.adjust_contrast(image, factor))
        out[f"contrast_grey.{factor}"] = numpy.array(F.adjust_contrast(grey, factor))
        out[f"saturation.{factor}"] = numpy.array(F.adjust_saturation(image, factor))
    for turn in (-0.5, -0.13, 0, 0.02, 0.25, 0.5):
        out[f"hue.{turn}"] = numpy.array(F.adjust_hue(image, turn))
    for height, width in ((20, 21), (28, 36), (40, 20), (31, 50)):
        out[f"center.{height}.{width}"] = numpy.array(F.center_crop(image, [height, width]))
    return out


def write_safetensors(path, arrays):
    header, at = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "U8", "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(a.tobytes() for a in arrays.values()))


def main():
    FOLDER.mkdir(exist_ok=True)
    write_files()
    write_safetensors(HERE / "images.safetensors", record())


if __name__ == "__main__":
    main()
