"""Pictures of three shapes, of several sizes, that a small network can tell apart."""

import numpy
from PIL import Image

CLASSES = ["circle", "square", "stripe"]


def picture(rng, kind):
    height, width = rng.integers(30, 50, 2)
    y, x = numpy.mgrid[0:height, 0:width]
    image = rng.integers(0, 80, (height, width, 3)).astype(numpy.uint8)
    cy, cx, r = height / 2 + rng.normal() * 3, width / 2 + rng.normal() * 3, rng.uniform(7, 12)
    mask = [(y - cy) ** 2 + (x - cx) ** 2 < r * r, (abs(y - cy) < r) & (abs(x - cx) < r), (y // 4) % 2 == 0][kind]
    image[mask] = rng.integers(150, 255, 3)
    return Image.fromarray(image)


def write_shapes(folder, rng, **counts):
    """<folder>/<part>/<class>/000.png …; counts by part: train=60, test=20."""
    for part, count in counts.items():
        for kind, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                picture(rng, kind).save(folder / part / name / f"{i:03}.{'jpg' if i % 2 else 'png'}")
