"""The command line as a user meets it: help, mistakes, exit codes, completion; nothing here needs a service."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from stack import CYXWIZ, ROOT, example  # noqa: E402
from terminal import on_a_terminal  # noqa: E402


def run(*arguments, env=None, cwd=None):
    return subprocess.run([CYXWIZ, *arguments], capture_output=True, text=True, timeout=120, cwd=cwd,
                          stdin=subprocess.DEVNULL, env=os.environ | (env or {}))


def test_help_lists_every_command_and_each_has_an_example():
    overview = run("--help")
    assert overview.returncode == 0
    for command in ("train", "describe", "predict", "eval", "job submit", "job watch", "node list", "model pull", "upload", "uploads list", "data fetch", "data inspect", "up", "completion"):
        line, = [line for line in overview.stdout.splitlines() if line.startswith(f"  {command} ")]
        assert line[30] == " " != line[31], "the summaries stand in a column"
        words = command.split()
        assert "Example:" in run(*words, "--help").stdout
    assert "INPUT is an image" in run("predict", "--help").stdout
    assert run().returncode == 2


@pytest.mark.parametrize("arguments,code,words", [
    (["dance"], 2, "no command dance"),
    (["job"], 2, "one more word"),
    (["job", "show"], 2, "ID is missing"),
    (["train", "--frobnicate", "x"], 2, "no option --frobnicate"),
    (["train", "x", "--backend", "cuda"], 2, "auto cpu vulkan"),
    (["describe"], 2, "SPEC|MODEL is missing"),
    (["describe", "a", "b"], 2, "too many: b"),
    (["describe", "x", "--batch", "0"], 2, "--batch wants a whole number from 1"),
    (["model", "pull"], 2, "--job ID"),
    (["login"], 2, "--email EMAIL"),
    (["job", "list", "--limit", "0"], 2, "--limit wants a whole number from 1"),
    (["job", "submit", str(ROOT / "docs/examples/fashion-cnn.json"), "--array", "many"], 2, "--array wants a whole"),
    (["train", "/no/such/spec.json"], 3, "/no/such/spec.json"),
    (["data", "fetch", "imagenet"], 3, "data list"),
    (["data", "inspect", "/no/such/folder"], 3, "neither a data set"),
    (["upload", "/no/such/folder", "--url", "http://127.0.0.1:1"], 3, "/no/such/folder"),
    (["upload", "/dev/null", "--url", "http://127.0.0.1:1"], 6, "neither a file nor a folder"),
    (["upload", "x", "--kind", "song"], 2, "dataset model"),
    (["job", "list", "--url", "http://127.0.0.1:1"], 5, "127.0.0.1:1"),
])
def test_mistakes_get_a_sentence_and_a_code(arguments, code, words):
    done = run(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert done.stdout == ""


def test_a_bad_spec_names_its_place(tmp_path):
    spec = example("fashion-cnn")
    spec["model"]["layers"][7]["in_features"] = 1600
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    done = run("train", path, "--data-dir", tmp_path)
    assert done.returncode == 6
    assert "/model/layers/7" in done.stderr and "1600" in done.stderr
    described = run("describe", path)
    assert (described.returncode, described.stderr) == (6, done.stderr)
    as_json = run("train", path, "--data-dir", tmp_path, "--json")
    assert json.loads(as_json.stderr)["error"]["pointer"] == "/model/layers/7"


def test_describe_tells_layers_parameters_flops_and_memory():
    spec = ROOT / "docs/examples/mnist-cnn.json"
    done = run("describe", spec, "--batch", "8", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    conv2 = told["layers"][3]
    assert conv2 == {"name": "conv2", "type": "Conv2d", "inputs": ["2"], "output_shape": [8, 64, 14, 14],
                     "parameters": 18496, "buffers": 0, "flops_per_sample": 64 * 196 * (2 * 288 + 1)}
    assert told["batch"] == 8 and told["parameters"] == sum(layer["parameters"] for layer in told["layers"]) == 421642
    assert told["forward_flops_per_sample"] == \
        sum(layer["flops_per_sample"] for layer in told["layers"]) + told["loss"]["flops_per_sample"]
    for step in ("training", "inference"):
        memory = told["memory"][step]
        assert 0 < memory["arena_bytes"] < memory["arena_unshared_bytes"]
        assert memory["total_bytes"] == sum(memory[f"{part}_bytes"] for part in
                                            ("parameters", "buffers", "optimizer", "batch", "arena"))

    text = run("describe", spec).stdout
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "[64, 64, 14, 14]" in lines["conv2"] and "18,496" in lines["conv2"]
    assert "421,642" in lines["Parameters"]
    assert "INPUTS" not in lines["LAYER"]


def test_missing_data_says_how_to_get_it(tmp_path):
    done = run("train", ROOT / "docs/examples/mnist-mlp.json", "--data-dir", tmp_path, "--output", tmp_path / "out")
    assert done.returncode == 3
    assert "cyxwiz data fetch mnist" in done.stderr


def test_data_sets_are_fetched_verified_and_listed(tmp_path):
    assert run("data", "fetch", "fashion-mnist", "--data-dir", tmp_path).returncode == 0
    listed = json.loads(run("data", "list", "--data-dir", tmp_path, "--json").stdout)
    assert {s["name"]: s["here"] for s in listed}["fashion-mnist"] is True
    image = tmp_path / "fashion-mnist" / "t10k-images-idx3-ubyte"
    files = sorted((tmp_path / "fashion-mnist").glob("*ubyte"))
    assert image in files, files
    broken = bytearray(image.read_bytes())
    broken[5000] ^= 1
    image.write_bytes(broken)
    done = run("train", ROOT / "docs/examples/fashion-cnn.json", "--data-dir", tmp_path, "--output", tmp_path / "out")
    assert done.returncode == 1 and image.name in done.stderr, done.stderr


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_progress_bar_fits_the_terminal(columns, tmp_path):
    assert run("data", "fetch", "fashion-mnist", "--data-dir", tmp_path).returncode == 0
    sent = on_a_terminal(columns, CYXWIZ, "train", ROOT / "docs/examples/fashion-cnn.json", "--data-dir", tmp_path, "--output",
                         tmp_path / "out", "--max-steps", "30")
    drawn = [piece.split("\r")[0] for piece in sent.split("\r\x1b[K") if piece.startswith("epoch ")]
    bars = [bar for bar in drawn if "img/s  test" not in bar and "test loss" not in bar]
    assert bars and all(len(bar) < columns for bar in bars), bars
    if columns >= 80:
        assert all(all(word in bar for word in ("─", "loss", "img/s", "left")) for bar in bars), bars


def test_in_a_checkout_the_data_sets_are_those_of_its_stack(tmp_path):
    inside = tmp_path / "check out" / "docs"
    (inside.parent / ".cyxwiz" / "data").mkdir(parents=True)
    inside.mkdir()
    own = {"XDG_DATA_HOME": str(tmp_path / "own")}
    for folder, expected in ((inside, inside.parent / ".cyxwiz" / "data"), (tmp_path, tmp_path / "own/cyxwiz/data")):
        done = run("data", "fetch", "fashion-mnist", "--json", env=own, cwd=folder)
        assert json.loads(done.stdout)["path"] == str(expected / "fashion-mnist"), done.stderr


@pytest.mark.parametrize("arguments", [["job", "--help"], ["help", "job"]])
def test_help_of_a_group_lists_its_commands(arguments):
    done = run(*arguments)
    assert done.returncode == 0
    listed = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("  job ")]
    assert ["job", "submit"] in listed and ["job", "logs"] in listed
    assert "node list" not in done.stdout
    assert "--state" in run("help", "job", "list").stdout


def test_what_every_command_takes_may_stand_before_it(tmp_path):
    listed = run("--json", "data", "list", "--data-dir", tmp_path)
    assert {s["name"] for s in json.loads(listed.stdout)} >= {"mnist", "fashion-mnist"}
    away = run("--json", "--url=http://127.0.0.1:1", "job", "list")
    assert (away.returncode, json.loads(away.stderr)["error"]["status"]) == (5, "unavailable")


COMPLETIONS = [
    ("cyxwiz ", {"train", "job", "data", "up", "completion"}, {"submit"}),
    ("cyxwiz job s", {"submit", "show"}, {"fetch"}),
    ("cyxwiz job submit --w", {"--watch"}, {"--data-dir"}),
    ("cyxwiz train --backend v", {"vulkan"}, {"--backend"}),
    ("cyxwiz data fetch ", {"mnist", "fashion-mnist"}, {"README.md"}),
    ("cyxwiz describe R", {"README.md"}, {"mnist"}),
    ("cyxwiz eval x --data ", {"README.md", "mnist"}, set()),
    ("cyxwiz predict x ", {"README.md", "fashion-mnist"}, set()),
    ("cyxwiz completion ", {"bash", "zsh", "fish"}, {"README.md"}),
    ("cyxwiz job list --state ", {"running", "queued"}, {"README.md"}),
]


def completed(shell, line):
    """What the shell itself would offer behind `line`."""
    words = line.split(" ")
    fake = (f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; _cyxwiz; "
            "printf '%s\\n' \"${COMPREPLY[@]}\"")
    script = {
        "bash": f"set -e; source <(\"$0\" completion bash); {fake}",
        "zsh": "autoload -U compinit && compinit -u -D; source <(\"$0\" completion zsh); "
               f"as_complete_does() {{ emulate -L sh; {fake}; }}; as_complete_does",
        "fish": f"\"$argv[1]\" completion fish | source; or exit 1; complete -C '{line}'",
    }[shell]
    options = {"zsh": ["-f"], "fish": ["--no-config"], "bash": []}[shell]
    done = subprocess.run([shell, *options, "-c", script, CYXWIZ], capture_output=True, text=True, timeout=60, cwd=ROOT,
                          check=True)
    assert done.stderr == ""
    return {offer.split("\t")[0].strip() for offer in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_offers_what_fits(shell):
    if not shutil.which(shell):
        pytest.skip(f"SKIP: {shell} is not installed")
    for line, offered, not_offered in COMPLETIONS:
        got = completed(shell, line)
        assert offered <= got and not not_offered & got, (line, got)


def test_completion_of_another_shell_is_refused():
    assert run("completion", "tcsh").returncode == 6
