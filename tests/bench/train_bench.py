"""Training steps on the CPU: ours against PyTorch's, same models, same threads, in turns within one run.

  tests/bench/train_bench.py [--rounds 3] [--seconds 3] [--threads N] [--json]

Each round measures PyTorch and then CyxWiz for every model; the table shows the median of the rounds' medians.
`of peak` is the share of what oneDNN reaches on large matrices here. Numbers beside a busy machine say little:
the load is printed too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/tests/train_bench"
sys.path.insert(0, str(ROOT / "tests/support"))


def conv(channels, kernel, padding):
    return {"type": "Conv2d", "out_channels": channels, "kernel_size": kernel, "padding": padding}


RELU, POOL, FLATTEN = {"type": "ReLU"}, {"type": "MaxPool2d", "kernel_size": 2}, {"type": "Flatten"}


def linear(features):
    return {"type": "Linear", "out_features": features}


MODELS = {
    "mlp 784-512-512-10": [FLATTEN, linear(512), RELU, linear(512), RELU, linear(10)],
    "lenet 6-16-120-84": [conv(6, 5, 2), RELU, POOL, conv(16, 5, 0), RELU, POOL, FLATTEN, linear(120), RELU,
                          linear(84), RELU, linear(10)],
    "cnn 32-64-128": [conv(32, 3, 1), RELU, POOL, conv(64, 3, 1), RELU, POOL, conv(128, 3, 1), RELU, POOL, FLATTEN,
                      linear(128), RELU, linear(10)],
}


def spec_of(name):
    return {"name": name, "model": {"layers": MODELS[name]}, "data": {"dataset": "mnist", "batch_size": 128},
            "loss": {"type": "CrossEntropyLoss"}, "optimizer": {"type": "AdamW"}, "epochs": 1}


def run_torch(spec, threads, seconds):
    """Median milliseconds of a step; in a process of its own, so that no thread pool outlives it."""
    code = ("import json, sys, time, statistics, torch, torch_model as tm\n"
            "spec, threads, seconds = json.loads(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])\n"
            "torch.set_num_threads(threads)\n"
            "model = tm.Model(spec); optimizer = tm.make_optimizer(spec, model); loss = tm.make_loss(spec)\n"
            "x = torch.rand(spec['data']['batch_size'], 1, 28, 28) * 2 - 1; t = torch.arange(len(x)) % 10\n"
            "times, begin = [], time.perf_counter()\n"
            "while time.perf_counter() - begin < seconds or len(times) < 10:\n"
            "    start = time.perf_counter(); optimizer.zero_grad(); loss(model(x), t).backward(); optimizer.step()\n"
            "    times.append((time.perf_counter() - start) * 1e3)\n"
            "print(statistics.median(times[5:]))\n")
    done = subprocess.run(["/usr/bin/python3", "-c", code, json.dumps(spec), str(threads), str(seconds)],
                          env={**os.environ, "PYTHONPATH": str(ROOT / "tests/support")},
                          check=True, capture_output=True, text=True)
    return float(done.stdout)


def run_ours(path, threads, seconds):
    done = subprocess.run([PROGRAM, str(threads), str(seconds), path], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure(rounds, seconds, threads):
    rows = []
    for name in MODELS:
        spec, torch_ms, ours = spec_of(name), [], []
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(spec, file)
            file.flush()
            for _ in range(rounds):
                torch_ms.append(run_torch(spec, threads, seconds))
                ours.append(run_ours(file.name, threads, seconds))
        median = statistics.median(run["median_ms"] for run in ours)
        peak = max(run["peak_gflops"] for run in ours)
        rows.append({"model": name, "torch_ms": statistics.median(torch_ms), "ours_ms": median,
                     "ratio": statistics.median(torch_ms) / median, "gflops": ours[0]["gflop"] / median * 1e3,
                     "of_peak": ours[0]["gflop"] / median * 1e3 / peak, "torch_rounds": torch_ms,
                     "ours_rounds": [run["median_ms"] for run in ours]})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM} is missing: run `make build`")
    started = time.time()
    rows = measure(options.rounds, options.seconds, options.threads)
    load = os.getloadavg()[0]
    if options.json:
        print(json.dumps({"threads": options.threads, "load": load, "rows": rows}))
        return
    print(f"Training, batch 128, AdamW, {options.threads} threads, {options.rounds} rounds, load {load:.1f} at the end, "
          f"{time.time() - started:.0f} s")
    print(f"{'model':<20} {'PyTorch':>10} {'CyxWiz':>10} {'faster':>8} {'GFLOP/s':>9} {'of peak':>8}")
    for row in rows:
        print(f"{row['model']:<20} {row['torch_ms']:>7.2f} ms {row['ours_ms']:>7.2f} ms {row['ratio']:>7.1f}x "
              f"{row['gflops']:>9.0f} {row['of_peak']:>8.0%}")


if __name__ == "__main__":
    main()
