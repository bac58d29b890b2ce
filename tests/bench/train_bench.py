"""Training steps on the CPU: ours against PyTorch's, same models, same threads, in turns within one run.

  tests/bench/train_bench.py [--rounds 3] [--seconds 3] [--threads N] [--model TEXT] [--python PATH] [--no-compile]
                             [--json]

Each round measures PyTorch, PyTorch behind torch.compile where it has that, and then CyxWiz; the tables show the median
of the rounds' medians, and `at best` the ratio of the rounds' fastest steps. `--python` (or CYXWIZ_BENCH_PYTHON) names
the interpreter whose PyTorch is the peer: Debian's by default, or a virtual environment with a newer one. `of peak` is
the share of what dnnl_sgemm reaches on large matrices in the same run, median to median and fastest to fastest; memory
is the peak of each process; `ready` is from our process's start to its first step. Numbers beside a busy machine say
little: the load is printed too.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/tests/train_bench"
PRODUCTS = ROOT / "build/release/tests/matmul_bench"
NO_TORCH = """{} has no PyTorch, so only CyxWiz is measured. For the ratios, either install Debian's
(`apt-get install python3-torch`), or take the newest: `python3 -m venv DIR && DIR/bin/pip install torch numpy`, then
`CYXWIZ_BENCH_PYTHON=DIR/bin/python make bench`.
"""


def conv(channels, kernel, padding, stride=1, **more):
    return {"type": "Conv2d", "out_channels": channels, "kernel_size": kernel, "padding": padding, "stride": stride,
            **more}


def grow(channels):
    return {"type": "ConvTranspose2d", "out_channels": channels, "kernel_size": 3, "stride": 2, "padding": 1,
            "output_padding": 1}


RELU, POOL, FLATTEN = {"type": "ReLU"}, {"type": "MaxPool2d", "kernel_size": 2}, {"type": "Flatten"}


def linear(features):
    return {"type": "Linear", "out_features": features}


def resnet_block(name, source, channels, stride):
    """Two 3x3 convolutions beside the source, or beside its projection where the shape changes (He et al. 2015)."""
    layers = [conv(channels, 3, 1, stride, bias=False, inputs=[source]), {"type": "BatchNorm2d"}, RELU,
              conv(channels, 3, 1, bias=False), {"type": "BatchNorm2d", "name": f"{name}_main"}]
    beside = source
    if stride != 1:
        beside = f"{name}_beside"
        layers += [conv(channels, 1, 0, stride, bias=False, inputs=[source]), {"type": "BatchNorm2d", "name": beside}]
    return layers + [{"type": "Add", "inputs": [f"{name}_main", beside]}, {"type": "ReLU", "name": name}]


def resnet(blocks):
    layers = [conv(16, 3, 1, bias=False), {"type": "BatchNorm2d"}, {"type": "ReLU", "name": "block"}]
    source = "block"
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(blocks):
            name = f"block{stage}_{block}"
            layers += resnet_block(name, source, channels, 2 if stage and not block else 1)
            source = name
    return layers + [{"type": "GlobalAvgPool2d"}, FLATTEN, linear(10)]


CLASSES, ITSELF = {"type": "CrossEntropyLoss"}, {"type": "MSELoss", "target": "input"}

# name: shape of a sample, batch size, layers, loss
MODELS = {
    "mlp 784-512-512-10": ((1, 28, 28), 128, [FLATTEN, linear(512), RELU, linear(512), RELU, linear(10)], CLASSES),
    "lenet 6-16-120-84": ((1, 28, 28), 128, [conv(6, 5, 2), RELU, POOL, conv(16, 5, 0), RELU, POOL, FLATTEN,
                                             linear(120), RELU, linear(84), RELU, linear(10)], CLASSES),
    "cnn 32-64-128": ((1, 28, 28), 128, [conv(32, 3, 1), RELU, POOL, conv(64, 3, 1), RELU, POOL, conv(128, 3, 1), RELU,
                                         POOL, FLATTEN, linear(128), RELU, linear(10)], CLASSES),
    "resnet-20": ((3, 32, 32), 128, resnet(3), CLASSES),
    "autoencoder 32-64-128": ((3, 32, 32), 64, [conv(32, 3, 1, 2), RELU, conv(64, 3, 1, 2), RELU, conv(128, 3, 1, 2),
                                                RELU, grow(64), RELU, grow(32), RELU, grow(3)], ITSELF),
}


def spec_of(name):
    _, batch, layers, loss = MODELS[name]
    return {"name": name, "model": {"layers": layers}, "data": {"dataset": "mnist", "batch_size": batch},
            "loss": loss, "optimizer": {"type": "AdamW"}, "epochs": 1}


# In a process of its own, so that no thread pool outlives it.
TORCH = """
import json, resource, statistics, sys, time
import torch, torch_model as tm
spec, shape, threads, seconds, compiled = (json.loads(word) for word in sys.argv[1:])
torch.set_num_threads(threads)
model = tm.Model(spec, shape)
optimizer, loss = tm.make_optimizer(spec, model), tm.make_loss(spec)
x = torch.rand(spec["data"]["batch_size"], *shape) * 2 - 1
t = x if spec["loss"].get("target") == "input" else torch.arange(len(x)) % 10
run = torch.compile(model) if compiled else model
times, begin = [], None
while begin is None or time.perf_counter() - begin < seconds or len(times) < 10:
    start = time.perf_counter()
    optimizer.zero_grad()
    loss(run(x), t).backward()
    optimizer.step()
    times.append((time.perf_counter() - start) * 1e3)
    begin = begin or time.perf_counter()  # compiling is no step
print(json.dumps({"median_ms": statistics.median(times[5:]), "best_ms": min(times),
                  "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def torch_of(python):
    """Its PyTorch's version and whether that can compile here; None without one."""
    code = "import torch; print(torch.__version__, hasattr(torch, 'compile'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if done.returncode != 0:
        return None
    version, compiles = done.stdout.split()
    return version, compiles == "True" and shutil.which("g++") is not None


def run_torch(options, name, compiled):
    words = (spec_of(name), MODELS[name][0], options.threads, options.seconds, compiled)
    done = subprocess.run([options.python, "-c", TORCH, *(json.dumps(word) for word in words)], check=True,
                          stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "tests/support")})
    return json.loads(done.stdout)


def run_ours(name, threads, seconds):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(spec_of(name), file)
        file.flush()
        shape = "x".join(str(n) for n in MODELS[name][0])
        done = subprocess.run([PROGRAM, str(threads), str(seconds), shape, file.name, str(time.monotonic_ns())],
                              check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def median_of(runs, key="median_ms"):
    return statistics.median(run[key] for run in runs) if runs else None


def measure_model(options, name, eager_too, compiled_too):
    eager, compiled, ours = [], [], []
    for _ in range(options.rounds):
        if eager_too:
            eager.append(run_torch(options, name, False))
        if compiled_too:
            compiled.append(run_torch(options, name, True))
        ours.append(run_ours(name, options.threads, options.seconds))
    ms, gflop = median_of(ours), ours[0]["gflop"]
    best, sgemm_best = min(run["best_ms"] for run in ours), max(run["sgemm_best_gflops"] for run in ours)
    return {"model": name, "eager_ms": median_of(eager), "compiled_ms": median_of(compiled), "ours_ms": ms,
            "images_per_s": MODELS[name][1] / ms * 1e3, "of_peak": gflop / ms * 1e3 / median_of(ours, "sgemm_gflops"),
            "of_peak_best": gflop / best * 1e3 / sgemm_best, "sgemm_best_gflops": sgemm_best,
            "best_ratio": min(run["best_ms"] for run in eager) / best if eager else None,
            "eager_mib": median_of(eager, "peak_rss_mib"), "compiled_mib": median_of(compiled, "peak_rss_mib"),
            "ours_mib": median_of(ours, "peak_rss_mib"), "ready_ms": median_of(ours, "ready_ms"),
            "first_step_ms": median_of(ours, "first_step_ms"),
            "own_allocations": median_of(ours, "own_allocations"),
            "library_allocations": median_of(ours, "library_allocations"),
            "rounds": {"eager": [run["median_ms"] for run in eager], "compiled": [run["median_ms"] for run in compiled],
                       "ours": [run["median_ms"] for run in ours], "ours_best": [run["best_ms"] for run in ours],
                       "eager_best": [run["best_ms"] for run in eager]}}


def measure_products(options):
    """Rates of our matrix product and of oneDNN's, by shape: medians of the rounds."""
    done = [subprocess.run([PRODUCTS, str(options.threads), str(options.seconds)], check=True, capture_output=True,
                           text=True) for _ in range(options.rounds)]
    rounds = [json.loads(one.stdout) for one in done]
    return [{**same[0], "ours": median_of(same, "ours"), "sgemm": median_of(same, "sgemm"),
             "ratio": statistics.median(one["ours"] / one["sgemm"] for one in same)} for same in zip(*rounds)]


def cell(value, text, width):
    return f"{'-' if value is None else text.format(value):>{width}}"


def print_models(rows):
    print(f"{'':<22} {'PyTorch':>10} {'compiled':>10} {'CyxWiz':>10} {'faster':>7} {'at best':>8} "
          f"{'than compiled':>14} {'images/s':>9} {'of peak':>8} {'at best':>8}")
    for row in rows:
        eager, compiled, ours = row["eager_ms"], row["compiled_ms"], row["ours_ms"]
        print(f"{row['model']:<22}", cell(eager, "{:.2f} ms", 10), cell(compiled, "{:.2f} ms", 10),
              cell(ours, "{:.2f} ms", 10), cell(eager and eager / ours, "{:.2f}x", 7),
              cell(row["best_ratio"], "{:.2f}x", 8), cell(compiled and compiled / ours, "{:.2f}x", 14),
              f"{row['images_per_s']:>9.0f} {row['of_peak']:>8.0%} "
              f"{row['of_peak_best']:>8.0%}")
    print(f"\n{'peak memory':<22} {'PyTorch':>10} {'compiled':>10} {'CyxWiz':>10} {'share':>7} {'ready after':>14} "
          f"{'step 1':>9} {'allocations a step: ours, oneDNN':>33}")
    for row in rows:
        eager, ours = row["eager_mib"], row["ours_mib"]
        print(f"{row['model']:<22}", cell(eager, "{:.0f} MiB", 10), cell(row["compiled_mib"], "{:.0f} MiB", 10),
              cell(ours, "{:.0f} MiB", 10), cell(eager and ours / eager, "{:.0%}", 7),
              cell(row["ready_ms"], "{:.0f} ms", 14), cell(row["first_step_ms"], "{:.0f} ms", 9),
              f"{row['own_allocations']:>27.0f}, {row['library_allocations']:.0f}")


def print_products(products):
    print(f"\n{'matrix product':<22} {'dnnl_sgemm':>14} {'CyxWiz':>14} {'ratio':>7}")
    for row in products:
        shape = f"{row['rows']} x {row['inputs']} x {row['outputs']}"
        print(f"{shape:<22} {row['sgemm']:>7.0f} GFLOP/s {row['ours']:>6.0f} GFLOP/s {row['ratio']:>6.2f}x")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", default="", help="only models whose name has this in it")
    parser.add_argument("--python", default=os.environ.get("CYXWIZ_BENCH_PYTHON", "/usr/bin/python3"))
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM} is missing: run `make build`")
    peer, started, before = torch_of(options.python), time.time(), os.getloadavg()[0]
    if not peer:
        print(NO_TORCH.format(options.python))
    compiled = bool(peer) and peer[1] and not options.no_compile
    rows = [measure_model(options, name, bool(peer), compiled) for name in MODELS if options.model in name]
    products = measure_products(options)
    after = os.getloadavg()[0]
    if options.json:
        print(json.dumps({"torch": peer and peer[0], "threads": options.threads, "load": [before, after], "rows": rows,
                          "products": products}))
        return
    print(f"Training with AdamW, {'PyTorch ' + peer[0] if peer else 'no PyTorch'}, {options.threads} threads, "
          f"{options.rounds} rounds of {options.seconds:g} s; load {before:.1f} before, {after:.1f} after, "
          f"{time.time() - started:.0f} s\n")
    print_models(rows)
    print_products(products)


if __name__ == "__main__":
    main()
