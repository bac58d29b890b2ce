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


def run(*arguments, env=None, cwd=None):
    return subprocess.run([CYXWIZ, *arguments], capture_output=True, text=True, timeout=120, cwd=cwd,
                          stdin=subprocess.DEVNULL, env=os.environ | (env or {}))


def test_help_lists_every_command_and_each_has_an_example():
    overview = run("--help")
    assert overview.returncode == 0
    for command in ("train", "job submit", "job watch", "node list", "model pull", "data fetch", "up", "completion"):
        assert f"  {command} " in overview.stdout
        words = command.split()
        assert "Example:" in run(*words, "--help").stdout
    assert run().returncode == 2


@pytest.mark.parametrize("arguments,code,words", [
    (["dance"], 2, "no command dance"),
    (["job"], 2, "one more word"),
    (["job", "show"], 2, "ID is missing"),
    (["train", "--frobnicate", "x"], 2, "no option --frobnicate"),
    (["train", "x", "--backend", "cuda"], 2, "auto cpu vulkan"),
    (["train", "/no/such/spec.json"], 3, "/no/such/spec.json"),
    (["data", "fetch", "imagenet"], 3, "data list"),
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
    as_json = run("train", path, "--data-dir", tmp_path, "--json")
    assert json.loads(as_json.stderr)["error"]["pointer"] == "/model/layers/7"


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
