"""The data pipeline alone: images a second, ours against PyTorch's DataLoader over torchvision's ImageFolder.

  tests/bench/data_bench.py [--rounds 3] [--seconds 4] [--workers N] [--python PATH] [--json]

Both read the same files (made here, in a temporary folder), with the same transforms and as many workers, in turns; the
table shows the medians of the rounds. --python names another interpreter with torch and torchvision than Debian's.
PyTorch's workers are processes: its memory is that of all of them together, as far as it is not shared (PSS).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy
    from PIL import Image
except ImportError:
    print("SKIP: making the pictures needs NumPy and Pillow (Debian's python3-numpy and python3-pil)")
    sys.exit(0)

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/tests/data_bench"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TAIL = [{"type": "RandomHorizontalFlip"}, {"type": "ToTensor"}, {"type": "Normalize", "mean": MEAN, "std": STD}]
# name: (file kind, height, width, files, batch, transforms)
CASES = {
    "JPEG 375x500, crop 224, flip, normalise": ("jpg", 375, 500, 600, 64, [{"type": "RandomCrop", "size": 224}, *TAIL]),
    "JPEG 375x500, resize 256, crop 224, flip, normalise":
        ("jpg", 375, 500, 600, 64, [{"type": "Resize", "size": 256}, {"type": "RandomCrop", "size": 224}, *TAIL]),
    "JPEG 375x500, crop 224, rotate, jitter, normalise":
        ("jpg", 375, 500, 600, 64, [{"type": "RandomCrop", "size": 224}, {"type": "RandomRotation", "degrees": 15},
                                    {"type": "ColorJitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2,
                                     "hue": 0.05}, *TAIL[1:]]),
    "PNG 32x32, pad 4, crop 32, flip, normalise":
        ("png", 32, 32, 4000, 128, [{"type": "RandomCrop", "size": 32, "padding": 4}, *TAIL]),
}

TORCH = r"""
import json, os, sys, time
import torch
from torchvision import datasets, transforms as T
case = json.loads(sys.argv[1])
torch.set_num_threads(1)
def make(t):
    t = dict(t); kind = t.pop("type")
    if kind == "Normalize":
        return T.Normalize(t["mean"], t["std"])
    return getattr(T, kind)(**t)
def memory():
    total = 0
    for pid in [os.getpid()] + [int(p) for p in open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()]:
        try:
            for line in open(f"/proc/{pid}/smaps_rollup"):
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total
data = datasets.ImageFolder(case["folder"], T.Compose([make(t) for t in case["transforms"]]))
loader = torch.utils.data.DataLoader(data, batch_size=case["batch"], shuffle=True, num_workers=case["workers"],
                                     persistent_workers=True, prefetch_factor=2)
images, begin, epoch, peak = 0, 0.0, 0, 0
while epoch < 2 or time.perf_counter() - begin < case["seconds"]:
    if epoch == 1:
        begin = time.perf_counter()
    for x, y in loader:
        images += len(x) if epoch > 0 else 0
    if epoch > 0:
        end = time.perf_counter()
    peak = max(peak, memory())
    epoch += 1
print(json.dumps({"images_per_second": images / (end - begin), "peak_bytes": peak, "torch": torch.__version__}))
"""


def make_files(folder, kind, height, width, count):
    """Pictures with edges and gradients and some noise: about as many bytes as photographs have."""
    rng = numpy.random.default_rng(0)
    for i in range(count):
        target = folder / f"class{i % 4}"
        target.mkdir(parents=True, exist_ok=True)
        y, x = numpy.mgrid[0:height, 0:width]
        image = numpy.stack([(x * rng.uniform(0.2, 1)) % 256, (y * rng.uniform(0.2, 1)) % 256, (x + y) * 0.3 % 256], 2)
        for _ in range(6):
            cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(height / 20, height / 4)
            image[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = rng.uniform(0, 255, 3)
        image += rng.normal(0, 6, image.shape)
        Image.fromarray(image.clip(0, 255).astype(numpy.uint8)).save(target / f"{i:05}.{kind}", quality=85)


def run_torch(python, case):
    done = subprocess.run([python, "-c", TORCH, json.dumps(case)], check=True, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(done.stdout)


def run_ours(case, file):
    spec = {"name": "bench", "model": {"layers": [{"type": "Flatten"}]}, "epochs": 1,
            "loss": {"type": "CrossEntropyLoss"}, "optimizer": {"type": "SGD"},
            "data": {"dataset": {"format": "image-folder", "train": case["folder"]}, "batch_size": case["batch"],
                     "workers": case["workers"], "transforms": case["transforms"]}}
    Path(file).write_text(json.dumps(spec))
    done = subprocess.run([PROGRAM, file, str(case["seconds"])], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert result["faults"] == 0, result
    return result


def measure(options, folder):
    rows = []
    for name, (kind, height, width, count, batch, transforms) in CASES.items():
        files = folder / f"{kind}-{height}-{width}"
        if not files.exists():
            make_files(files, kind, height, width, count)
        case = {"folder": str(files), "batch": batch, "workers": options.workers, "transforms": transforms,
                "seconds": options.seconds}
        torch, ours = [], []
        for _ in range(options.rounds):
            torch.append(run_torch(options.python, case))
            ours.append(run_ours(case, folder / "spec.json"))
        row = {"case": name, "torch_version": torch[0]["torch"],
               "torch": statistics.median(r["images_per_second"] for r in torch),
               "ours": statistics.median(r["images_per_second"] for r in ours),
               "torch_bytes": max(r["peak_bytes"] for r in torch), "ours_bytes": max(r["peak_bytes"] for r in ours)}
        rows.append(row | {"ratio": row["ours"] / row["torch"]})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--python", default=os.environ.get("CYXWIZ_BENCH_PYTHON", "/usr/bin/python3"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if subprocess.run([options.python, "-c", "import torch, torchvision"], capture_output=True).returncode != 0:
        print(f"SKIP: {options.python} has no torchvision. Install Debian's python3-torchvision, or take the newest: "
              "`python3 -m venv DIR && DIR/bin/pip install torch torchvision`, then "
              "`CYXWIZ_BENCH_PYTHON=DIR/bin/python make bench`")
        return 0
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    if options.json:
        print(json.dumps({"workers": options.workers, "load": load, "rows": rows}, indent=1))
        return 0
    print(f"Images a second, {options.workers} workers each, PyTorch {rows[0]['torch_version']}; load before: {load:.1f}\n")
    print(f"{'':52} {'PyTorch':>9} {'CyxWiz':>9} {'ratio':>6} {'PyTorch':>9} {'CyxWiz':>9}")
    for row in rows:
        print(f"{row['case']:52} {row['torch']:9.0f} {row['ours']:9.0f} {row['ratio']:6.2f} "
              f"{row['torch_bytes'] / 2 ** 20:5.0f} MiB {row['ours_bytes'] / 2 ** 20:5.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
