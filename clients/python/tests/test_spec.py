"""The spec is the C parser's: what it says becomes exceptions and attributes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT, job, mlp

import cyxwiz


def test_spec__of_an_example_has_its_facts_and_defaults() -> None:
    spec = cyxwiz.Spec.load(ROOT / "docs/examples/mnist-mlp.json")
    assert (spec.name, spec.batch_size, spec.epochs, spec.seed, spec.backend) == ("mnist-mlp", 128, 3, 1, "auto")
    assert (spec.shuffle, spec.drop_last, spec.validation_part) == (True, False, 0.0)
    assert spec.sample == cyxwiz.Sample((1, 28, 28), 10, 0)


def test_spec__canonical_comes_back_equal(tmp_path: Path) -> None:
    spec = job(mlp())
    assert cyxwiz.Spec(spec.canonical) == spec and hash(cyxwiz.Spec(spec.to_dict())) == hash(spec)
    spec.save(tmp_path / "job.json")
    assert cyxwiz.Spec.load(tmp_path / "job.json") == spec


@pytest.mark.parametrize(
    ("part", "pointer", "message"),
    [
        ({"epochs": 0}, "/epochs", "between 1 and"),
        ({"optimizer": {"type": "SGD", "learning_rate": 1}}, "/optimizer/learning_rate", 'did you mean \"lr\"'),
        ({"optimizer": {"type": "Sgd"}}, "/optimizer/type", "SGD"),
        ({"data": {"dataset": "nosuch", "batch_size": 8}}, "/data/dataset", "fashion-mnist"),
        ({"model": {"layers": [{"type": "Conv2d", "kernel_size": 3}]}}, "/model/layers/0", "out_channels"),
    ],
)
def test_spec__errors_carry_pointer_and_message(part: dict[str, object], pointer: str, message: str) -> None:
    with pytest.raises(cyxwiz.SpecError) as caught:
        job(mlp(), **part)
    assert caught.value.pointer == pointer and message in caught.value.message, caught.value.message
    assert caught.value.status == "invalid" and isinstance(caught.value, ValueError)
    assert str(caught.value) == f"{pointer}: {caught.value.message}"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1, "a": 2}', "nul\0l", "[" * 1000])
def test_spec__text_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(cyxwiz.SpecError):
        cyxwiz.Spec(text)


def test_spec__that_is_too_large_is_refused() -> None:
    with pytest.raises(cyxwiz.SpecError) as caught:
        cyxwiz.Spec('{"name": "' + "x" * (1 << 20) + '"}')
    assert caught.value.status == "too-large"


def test_schema__is_the_parsers_own() -> None:
    assert cyxwiz.schema() == json.loads((ROOT / "docs/contracts/job.schema.json").read_text())
