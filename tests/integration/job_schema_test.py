"""The job's JSON Schema by an independent validator: valid itself, true of the examples, false of what is wrong."""

import copy
import json
from pathlib import Path

import pytest

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/contracts/job.schema.json").read_text())
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.json"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

CHANGES = [
    ("unknown member", lambda job: job.update(epoch=3)),
    ("unknown member of a layer", lambda job: job["model"]["layers"][0].update(filters=3)),
    ("missing member", lambda job: job.pop("optimizer")),
    ("unknown layer type", lambda job: job["model"]["layers"][0].update(type="Dense")),
    ("member of another type", lambda job: job["optimizer"].update(betas=0.9)),
    ("out of range", lambda job: job.update(epochs=0)),
    ("bound that is not allowed", lambda job: job["optimizer"].update(lr=0)),
    ("no such data set", lambda job: job["data"].update(dataset="imagenet")),
    ("amount without a unit", lambda job: job.update(budget="2.5")),
    ("wrong backend", lambda job: job.update(resources={"backend": "cuda"})),
    ("layer name with a dot", lambda job: job["model"]["layers"][0].update(name="fc.1")),
]


def test_schema__is_valid_itself():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_schema__accepts_the_example(path):
    assert [error.message for error in VALIDATOR.iter_errors(json.loads(path.read_text()))] == []


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_schema__refuses(change):
    job = copy.deepcopy(json.loads((ROOT / "docs/examples/fashion-cnn.json").read_text()))
    assert VALIDATOR.is_valid(job)
    change(job)
    assert not VALIDATOR.is_valid(job)
