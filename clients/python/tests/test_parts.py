"""Layers, losses, optimizers and schedulers say what the parser's own tables say: no more, no less, same defaults."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from conftest import job, mlp

import cyxwiz
from cyxwiz import nn, optim
from cyxwiz.data import sources, transforms
from cyxwiz.optim import lr_scheduler
from cyxwiz.part import Part

IN_THE_SPEC_ALONE = {"type", "format", "name"}  # which one it is; a layer's name
OF_THE_PLATFORM = {"upload", "sha256", "shape"}  # data that jobs find there; here it lies in files
FOR_PYTORCHS_SAKE = {"inplace"}
ONE_VALUE = {"ReduceLROnPlateau": {"interval"}}  # only "epoch" goes


def variants(union: str) -> dict[str, dict[str, Any]]:
    """The schema of each type of a union, by its name."""
    schema = cyxwiz.schema()

    def resolve(node: dict[str, Any]) -> dict[str, Any]:
        return schema["$defs"][node["$ref"].split("/")[-1]] if "$ref" in node else node

    found = {}
    for node in schema["$defs"][union]["oneOf"]:
        node = resolve(node)
        tag = node["properties"].get("type") or node["properties"]["format"]
        found[tag["const"]] = node
    return found


def classes(module: Any, base: type[Part]) -> dict[str, type[Part]]:
    return {
        name: each
        for name, each in vars(module).items()
        if inspect.isclass(each) and issubclass(each, base) and each is not base and not name.startswith("_")
    }


UNIONS = [
    ("Layer", nn, nn.Layer),
    ("Loss", nn, nn.Loss),
    ("Optimizer", optim, optim.Optimizer),
    ("Scheduler", lr_scheduler, lr_scheduler.Scheduler),
    ("Transform", transforms, transforms.Transform),
]
SOURCES = {
    "idx": sources.IDX,
    "csv": sources.CSV,
    "npy": sources.NPY,
    "npz": sources.NPZ,
    "safetensors": sources.Safetensors,
    "image-folder": sources.ImageFolder,
}


@pytest.mark.parametrize(("union", "module", "base"), UNIONS)
def test_classes__are_the_schemas_types(union: str, module: Any, base: type[Part]) -> None:
    assert classes(module, base).keys() == variants(union).keys()


def test_sources__are_the_schemas_formats() -> None:
    assert SOURCES.keys() | {"memory"} == variants("DataSource").keys()
    assert all(kind.format == name for name, kind in SOURCES.items())


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        *(
            (classes(module, base).get(name), schema)
            for union, module, base in UNIONS
            for name, schema in variants(union).items()
        ),
        *((SOURCES[name], schema) for name, schema in variants("DataSource").items() if name in SOURCES),
    ],
)
def test_arguments__are_the_schemas_members_with_its_defaults(kind: type[Any], schema: dict[str, Any]) -> None:
    arguments = dict(inspect.signature(kind).parameters)
    members = {key: value for key, value in schema["properties"].items() if key not in IN_THE_SPEC_ALONE}
    if kind in SOURCES.values():
        members = {key: value for key, value in members.items() if key not in OF_THE_PLATFORM}
    for name in ONE_VALUE.get(kind.__name__, set()):
        members.pop(name)
    for name in FOR_PYTORCHS_SAKE | ({"name"} if issubclass(kind, nn.Layer) else set()):
        arguments.pop(name, None)
    assert arguments.keys() == members.keys()
    for name, argument in arguments.items():
        if argument.kind is inspect.Parameter.VAR_POSITIONAL:
            continue
        if name in schema["required"]:
            assert argument.default is inspect.Parameter.empty, name
        elif argument.default is not None and argument.default is not inspect.Parameter.empty:
            default = members[name].get("default", members[name].get("enum", [0])[0])
            assert argument.default == (tuple(default) if isinstance(default, list) else default), name


def test_part__drops_none_and_takes_numpys_numbers() -> None:
    import numpy as np

    layer = nn.Conv2d(None, np.int64(4), np.array([3, 1]), stride=(2, 1))
    spec = layer.to_dict()
    assert spec["out_channels"] == 4 and type(spec["out_channels"]) is int
    assert spec["kernel_size"] == [3, 1] and spec["stride"] == [2, 1] and "in_channels" not in spec
    assert nn.CrossEntropyLoss(weight=np.ones(3, np.float32)).to_dict()["weight"] == [1.0, 1.0, 1.0]


def test_sequential__names_count_through_and_may_be_given() -> None:
    inner = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    net = nn.Sequential(nn.Flatten(), inner, {"head": nn.Linear(3, 2)})
    assert [layer.get("name") for layer in net.to_dict()["layers"]] == [None, None, None, "head"]
    assert len(net) == 4 and "(head): Linear(in_features=3" in repr(net)
    with pytest.raises(TypeError):
        nn.Sequential("Linear")  # type: ignore[arg-type]


def test_graph__says_inputs_only_where_they_are_not_the_layer_before() -> None:
    x = nn.Input()
    h = nn.Conv2d(1, 4, 3, padding="same", name="stem")(x)
    y = nn.ReLU()(nn.Conv2d(4, 4, 3, padding="same")(h))
    z = nn.Concat()(h + y, x)
    layers = nn.Graph(nn.Linear(None, 10)(nn.Flatten()(z))).to_dict()["layers"]
    assert [layer.get("inputs") for layer in layers] == [None, None, None, ["stem", "2"], ["3", "input"], None, None]


def test_graph__has_a_state_dict_by_names_and_indices() -> None:
    x = nn.Input()
    h = nn.Conv2d(1, 4, 3, padding="same", name="stem")(x)
    y = nn.ReLU()(nn.Conv2d(4, 4, 3, padding="same")(h))
    spec = job(nn.Graph(nn.Linear(None, 10)(nn.Flatten()(h + y))))
    session = cyxwiz.Session(spec, backend="cpu", training=False)
    assert list(session.state_dict()) == ["stem.weight", "stem.bias", "1.weight", "1.bias", "5.weight", "5.bias"]


def test_graph__refuses_shared_layers_and_two_inputs() -> None:
    x, layer = nn.Input(), nn.Linear(4, 4)
    with pytest.raises(TypeError, match="two places"):
        nn.Graph(layer(layer(x)))
    with pytest.raises(TypeError, match="one input"):
        nn.Graph(nn.Add()(x, nn.Input()))
    with pytest.raises(TypeError, match="needs the node"):
        nn.ReLU()()


def test_graph__of_thousands_of_layers_needs_no_deep_stack() -> None:
    node = nn.Input()
    for _ in range(4000):
        node = nn.ReLU()(node)
    assert len(nn.Graph(node)) == 4000


def test_optimizer__groups_go_to_the_parser() -> None:
    groups = [{"params": ["*.bias"], "lr": 0.5, "weight_decay": 0}]
    spec = job(mlp(), optimizer=optim.SGD(lr=0.1, param_groups=groups).to_dict())
    assert cyxwiz.Schedule(spec, 1).rates == (0.1, 0.5)
    bad = optim.SGD(param_groups=[{"params": []}])
    with pytest.raises(cyxwiz.SpecError) as caught:
        job(mlp(), optimizer=bad.to_dict())
    assert caught.value.pointer.startswith("/optimizer/param_groups/0")


def test_every_part__is_taken_by_the_parser_as_it_writes_itself() -> None:
    for optimizer in (optim.SGD(), optim.Adam(), optim.AdamW(), optim.RMSprop()):
        job(mlp(), optimizer=optimizer.to_dict())
    for loss in (nn.CrossEntropyLoss(), nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.BCEWithLogitsLoss()):
        job(mlp(), loss=loss.to_dict())
    warmup = lr_scheduler.Warmup(5)
    for scheduler in (
        lr_scheduler.StepLR(2),
        lr_scheduler.ExponentialLR(0.9, interval="step"),
        lr_scheduler.CosineAnnealingLR(),
        lr_scheduler.ReduceLROnPlateau(monitor="accuracy"),
    ):
        job(mlp(), scheduler=scheduler.to_dict(), warmup=warmup.to_dict())
