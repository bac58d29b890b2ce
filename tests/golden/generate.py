#!/usr/bin/python3
"""Records what PyTorch computes, for the tests beside this file to compare with: run by hand when a case is added.

  tests/golden/generate.py        # writes the .safetensors files beside itself

A case whose spec has not changed keeps the numbers that its file holds, since another processor rounds otherwise:
delete the file to record them all anew. Cases stand in cases.py. Metadata "<case>.spec" is the job spec of a case, which the tests run as any job's.

layers     a few layers a case: input, target (so that dLoss/dy is about 1 everywhere), parameters and buffers;
           and PyTorch's output, loss, gradients of the input and of each parameter, buffers after the step,
           and the output in evaluation mode then, where it is another. Then 50 optimizer steps from the same
           beginning, which train the input beside the parameters: losses, and all of it after the last step
losses     the same behind one Linear, and how many rows were right
training   50 optimizer steps of a small network a case: first parameters, losses, norms before clipping, learning
           rates of each group and last parameters. Images and labels of the five batches are shared by all
models     100 steps of whole models, as training, and the output in evaluation mode then; both in double precision
           too, whose distance from float32 says how far apart two right implementations may be
schedules  the learning rate of each group in each step, and the evaluations that ReduceLROnPlateau looks at
"""

import json
import sys
from pathlib import Path

import numpy
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import cases  # noqa: E402
import torch_model  # noqa: E402



def spec_of(name: str, layers: list, loss: dict, batch: int, **more) -> dict:
    return {"name": name, "model": {"layers": layers}, "data": {"dataset": "mnist", "batch_size": batch},
            "loss": loss, "optimizer": {"type": "SGD"}, "epochs": 1, **more}


def draw(generator, *shape) -> torch.Tensor:
    return torch.rand(*shape, generator=generator) * 2 - 1


class Record:
    """The tensors of one file, by "<case>.<part>". What the file holds of an unchanged case stays."""

    def __init__(self, name: str):
        self.path = HERE / f"{name}.safetensors"
        self.held, self.held_metadata = torch_model.load_safetensors(self.path) if self.path.exists() else ({}, {})
        self.arrays, self.metadata = {}, {"torch": torch.__version__}

    def begin(self, spec: dict) -> str:
        key = f"{spec['name']}.spec"
        self.metadata[key] = json.dumps(spec)
        if self.held_metadata.get(key) != self.metadata[key]:
            self.held = {part: value for part, value in self.held.items() if not part.startswith(f"{spec['name']}.")}
        return spec["name"]

    def add(self, case: str, part: str, value) -> None:
        value = self.held.get(f"{case}.{part}", value)
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        self.arrays[f"{case}.{part}"] = numpy.array(value)

    def add_all(self, case: str, part: str, values: dict) -> None:
        for name, value in values.items():
            self.add(case, f"{part}.{name}", value)

    def get(self, case: str, part: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[f"{case}.{part}"].copy())

    def get_all(self, case: str, part: str) -> dict[str, torch.Tensor]:
        prefix = f"{case}.{part}."
        return {key.removeprefix(prefix): torch.from_numpy(value.copy())
                for key, value in self.arrays.items() if key.startswith(prefix)}

    def save(self) -> None:
        torch_model.save_safetensors(self.path, self.arrays, self.metadata)


def randomize(model: torch_model.Model, generator) -> None:
    """BatchNorm and LayerNorm begin with ones and zeros, which would hide mistakes."""
    with torch.no_grad():
        for name, value in model.saved().items():
            if value.dim() == 1:
                value.copy_(draw(generator, *value.shape) * 0.5 + (1 if name.endswith(("weight", "var")) else 0))


def philox_uniform(step: int, stream: int, count: int) -> numpy.ndarray:
    """The engine's numbers for Dropout, in [0, 1): Philox4x32-10 (Salmon et al., SC 2011) under key 0, counter
    (element / 4, step, stream, 0), the upper 24 bits of each word."""
    words = [numpy.arange((count + 3) // 4, dtype=numpy.uint64),
             *(numpy.full((count + 3) // 4, value, numpy.uint64) for value in (step, stream, 0))]
    keys, low = [0, 0], numpy.uint64(0xFFFFFFFF)
    for _ in range(10):
        a, b = numpy.uint64(0xD2511F53) * words[0], numpy.uint64(0xCD9E8D57) * words[2]
        words = [(b >> numpy.uint64(32)) ^ words[1] ^ numpy.uint64(keys[0]), b & low,
                 (a >> numpy.uint64(32)) ^ words[3] ^ numpy.uint64(keys[1]), a & low]
        keys = [(keys[0] + 0x9E3779B9) % 2**32, (keys[1] + 0xBB67AE85) % 2**32]
    return (numpy.stack(words, 1).reshape(-1)[:count] >> numpy.uint64(8)) * 2.0**-24


class Dropout(torch.nn.Dropout):
    """PyTorch's, but which elements it drops is the engine's choice: PyTorch's own cannot be drawn elsewhere."""

    def __init__(self, p: float, stream: int):
        super().__init__(p)
        self.stream, self.step = stream, 0

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        self.step += 1
        kept = philox_uniform(self.step, self.stream, x.numel()).reshape(x.shape) >= numpy.float32(self.p)
        scale = super().forward(torch.ones(1000)).max()  # what PyTorch makes of an element that it keeps
        return x * (torch.from_numpy(kept) * scale)


def make_model(spec: dict, shape) -> torch_model.Model:
    model = torch_model.Model(spec, shape)
    for index, (name, _) in enumerate(model.steps):
        module = getattr(model, name)
        if isinstance(module, torch.nn.Dropout) and module.p > 0:
            setattr(model, name, Dropout(module.p, index))
    return model


def run_case(record: Record, spec: dict, model: torch_model.Model, x: torch.Tensor, make_target) -> None:
    """One training step without update, and the evaluation that follows."""
    name = record.begin(spec)
    record.add(name, "input", x)
    record.add_all(name, "first", model.saved())
    x.requires_grad_()
    output = model(x)
    target = make_target(output.detach())
    loss = torch_model.make_loss(spec)(output, torch_model.make_target(spec, output, x, target))
    loss.backward()
    record.add(name, "target", target.to(torch.int32) if target.dtype == torch.int64 else target)
    record.add(name, "output", output)
    record.add(name, "loss", loss.reshape(1))
    record.add(name, "grad.input", x.grad)
    record.add_all(name, "grad", {key: value.grad for key, value in model.named_parameters()})
    statistics = {key: value for key, value in model.saved().items() if "running_" in key}
    record.add_all(name, "after", statistics)
    if target.dtype == torch.int64:
        ignored = spec["loss"].get("ignore_index", -100) if spec["loss"]["type"] == "CrossEntropyLoss" else None
        record.add(name, "correct", ((output.argmax(1) == target) & (target != ignored)).sum().float().reshape(1))
    model.eval()
    if statistics or any(isinstance(module, Dropout) for module in model.modules()):
        record.add(name, "evaluated", model(x))


def train_case(record: Record, spec: dict) -> None:
    """The steps of a case, from what the record holds of its beginning."""
    name = spec["name"]
    x, target = torch.nn.Parameter(record.get(name, "input")), record.get(name, "target")
    model = make_model(spec, x.shape[1:])
    model.load_state_dict(record.get_all(name, "first"), strict=False)
    log = run_steps(spec, model, cases.CASE_STEPS, lambda _: (x, target), [x])
    record.add(name, "losses", numpy.array(log["losses"], numpy.float32))
    record.add_all(name, "last", {"input": x, **model.saved()})


def layers() -> None:
    record, generator = Record("layers"), torch.Generator().manual_seed(20)
    for name, (given, shape) in cases.LAYERS.items():
        torch.manual_seed(1)
        model = torch_model.Model({"model": {"layers": given}}, shape[1:])
        x = draw(generator, *shape)
        flat = model.eval()(x).dim() == 2
        spec = spec_of(name, given if flat else [*given, cases.FLATTEN], {"type": "MSELoss"}, shape[0],
                       optimizer=cases.LAYER_OPTIMIZER)
        model = make_model(spec, shape[1:])
        randomize(model, generator)
        run_case(record, spec, model, x, lambda y: y - draw(generator, *y.shape) * y.numel() / 2)
        train_case(record, spec)
    record.save()


def losses() -> None:
    record, generator = Record("losses"), torch.Generator().manual_seed(21)
    for name, (loss, rows, outputs, ignored) in cases.LOSSES.items():
        spec = spec_of(name, [cases.layer("Linear", out_features=outputs)], loss, rows,
                       optimizer=cases.LOSS_OPTIMIZER)
        torch.manual_seed(2)
        model = torch_model.Model(spec, [6])
        if loss["type"] == "CrossEntropyLoss" or loss.get("target") == "one_hot":
            target = torch.randint(outputs, (rows,), generator=generator)
            target[list(ignored)] = loss.get("ignore_index", -100)
        else:
            target = (draw(generator, rows, outputs) + 1) / 2
        run_case(record, spec, model, draw(generator, rows, 6) * 4, lambda _, target=target: target)
        train_case(record, spec)
    record.save()


def draw_batches(seed: int, batches: int, batch: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Images are drawn, not a data set's: noise over a pattern of its own for each class."""
    rng = numpy.random.default_rng(seed)
    labels = rng.integers(0, 10, (batches, batch)).astype(numpy.int32)
    patterns = numpy.kron(rng.integers(0, 136, (10, 1, 7, 7)), numpy.ones((4, 4), numpy.int64))
    noise = rng.integers(0, 120, (batches, batch, 1, 28, 28))
    return (noise + patterns[labels]).astype(numpy.uint8), labels


def run_steps(spec: dict, model: torch_model.Model, steps: int, batch_of, trained=()) -> dict[str, list]:
    """What each step gave: loss, norm before clipping, learning rate of each group. `trained` besides the model."""
    optimizer = torch_model.make_optimizer(spec, model)
    optimizer.param_groups[0]["params"].extend(trained)
    scheduler = torch_model.make_scheduler(spec, optimizer, steps)
    criterion = torch_model.make_loss(spec)
    log = {"losses": [], "norms": [], "rates": []}
    for step in range(steps):
        optimizer.zero_grad()
        x, target = batch_of(step)
        output = model(x)
        loss = criterion(output, torch_model.make_target(spec, output, x, target))
        loss.backward()
        log["losses"].append(loss.item())
        log["norms"].append(torch_model.clip_gradients(spec, model))
        log["rates"].append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        if scheduler:
            scheduler.step()
    return log


def train(record: Record, name: str, more: dict, layers: list, steps: int, images, labels) -> None:
    rest = {key: value for key, value in more.items() if key not in ("loss", "layers")}
    spec = spec_of(name, layers, more.get("loss", cases.ENTROPY), images.shape[1], **rest)
    record.begin(spec)
    torch.manual_seed(3)
    model = torch_model.Model(spec)
    twin = torch_model.Model(spec)
    twin.load_state_dict(model.state_dict())
    record.add_all(name, "first", {key: value.clone() for key, value in model.saved().items()})

    def batch_of(step: int, dtype=torch.float32):
        batch = step % len(images)
        return torch_model.transform(spec, images[batch]).to(dtype), torch.from_numpy(labels[batch])

    log = run_steps(spec, model, steps, batch_of)
    record.add(name, "losses", numpy.array(log["losses"], numpy.float32))
    record.add(name, "norms", numpy.array(log["norms"], numpy.float32))
    record.add(name, "rates", numpy.array(log["rates"], numpy.float64))
    if "layers" in more:
        twin.double()
        log = run_steps(spec, twin, steps, lambda step: batch_of(step, torch.float64))
        x = torch_model.transform(spec, images[0])
        record.add(name, "double_losses", numpy.array(log["losses"]))
        record.add(name, "evaluated", model.eval()(x))
        record.add(name, "double_evaluated", twin.eval()(x.double()))
    else:
        record.add_all(name, "last", model.saved())


def training() -> None:
    images, labels = draw_batches(11, 5, 8)
    record = Record("training")
    record.arrays.update({"images": images, "labels": labels})
    for name, more in cases.TRAININGS.items():
        train(record, name, more, cases.NETWORK, 50, images, labels)
    record.save()


def models() -> None:
    images, labels = draw_batches(12, 8, 16)
    record = Record("models")
    record.arrays.update({"images": images, "labels": labels})
    for name, more in cases.MODELS.items():
        train(record, name, more, more["layers"], 100, images, labels)
    record.save()


def follow(spec: dict, optimizer) -> list:
    """The rates of each step. SequentialLR takes neither ReduceLROnPlateau nor two intervals: there the schedule
    is told of nothing until the warm-up has made its calls."""
    options = dict(spec.get("warmup", {"total_iters": 0}))
    warmup_by_step = options.pop("interval", "step") == "step"
    by_step = spec.get("scheduler", {}).get("interval") == "step"
    plateau = spec.get("scheduler", {}).get("type") == "ReduceLROnPlateau"
    total = cases.SCHEDULE_EPOCHS * (cases.SCHEDULE_STEPS if by_step else 1)
    if warmup_by_step == by_step:
        total -= options["total_iters"]
    scheduler = torch_model.make_scheduler(spec, optimizer, total)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, **options) if options["total_iters"] else None
    if warmup and scheduler and warmup_by_step == by_step and not plateau:
        scheduler = torch.optim.lr_scheduler.SequentialLR(
            optimizer, [warmup, scheduler], milestones=[options["total_iters"]])
        warmup = None
    rates, calls = [], 0
    for epoch in range(cases.SCHEDULE_EPOCHS):
        for step in range(cases.SCHEDULE_STEPS):
            rates.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            for due in (True, False) if step == cases.SCHEDULE_STEPS - 1 else (True,):
                if warmup and calls < options["total_iters"]:
                    if warmup_by_step == due:
                        warmup.step()
                        calls += 1
                elif scheduler and by_step == due:
                    scheduler.step(*[cases.EVALUATIONS[epoch][scheduler.mode == "max"]] if plateau else [])
    return rates


def schedules() -> None:
    record = Record("schedules")
    record.arrays["evaluations"] = numpy.array(cases.EVALUATIONS)
    for name, more in cases.SCHEDULES.items():
        optimizer = {"type": "SGD", "lr": 0.1, **({"param_groups": cases.GROUPS} if more.get("groups") else {})}
        spec = spec_of(name, cases.NETWORK, cases.ENTROPY, 8,
                       **{key: value for key, value in more.items() if key != "groups"})
        spec.update({"optimizer": optimizer, "epochs": cases.SCHEDULE_EPOCHS})
        record.begin(spec)
        model = torch_model.Model(spec)
        record.add(name, "rates", numpy.array(follow(spec, torch_model.make_optimizer(spec, model))))
    record.save()


if __name__ == "__main__":
    torch.set_num_threads(1)
    layers()
    losses()
    training()
    models()
    schedules()
