"""A network that trains, judges and predicts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from cyxwiz import safetensors
from cyxwiz.callbacks import Callback
from cyxwiz.data.loader import DataLoader
from cyxwiz.data.sources import Arrays, Source
from cyxwiz.data.transforms import Transform
from cyxwiz.errors import DivergedError, InputError, StateError
from cyxwiz.feed import Feed, ForeignFeed, LoaderFeed, feed_of, split
from cyxwiz.nn import CrossEntropyLoss, Loss, Network
from cyxwiz.optim import AdamW, Optimizer
from cyxwiz.optim.lr_scheduler import Scheduler, Warmup
from cyxwiz.part import plain
from cyxwiz.progress import Progress
from cyxwiz.schedule import Schedule
from cyxwiz.session import Session, StepResult
from cyxwiz.spec import Sample, Spec
from cyxwiz.summary import Summary
from cyxwiz.tensor import Floats, Tensor

__all__ = ["History", "Model"]

Data = Union[npt.ArrayLike, Source, str, DataLoader, Iterable[Any]]


class History:
    """What the epochs of one fit found: ``history["loss"]`` is a list, a number an epoch.

    Attributes:
        epoch: numbers of the epochs, counted from 0 over all calls of fit.
        history: "loss", "accuracy" (with classes), "val_loss", "val_accuracy" (where something judges) and "lr" (as the
            epoch began), each a list.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def add(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Notes an epoch."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[float]:
        return self.history[name]

    def __repr__(self) -> str:
        last = {name: values[-1] for name, values in self.history.items()}
        return f"History({len(self.epoch)} epochs, last: {last})"


class Model:
    """A network with its loss and optimizer::

        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        model = cyxwiz.Model(net, optimizer=optim.AdamW(2e-3))
        model.fit("fashion-mnist", epochs=3, batch_size=64)
        model.save("fashion.safetensors")

    What a sample is, the model learns from the first data it sees (or :meth:`build`); then it is compiled for the device
    and has first weights from the seed. The C library judges everything together then: SpecError names what was wrong.

    Args:
        network: of :mod:`cyxwiz.nn`.
        loss: CrossEntropyLoss() when None.
        optimizer: AdamW() when None.
        scheduler: how the learning rate changes; None: not at all.
        warmup: a rise of the learning rate before the scheduler begins.
        clip_norm: most that the norm of all gradients together may be.
        clip_value: most that an element of a gradient may be, up or down.
        seed: of weights, order, Dropout and transforms: same seed, backend and device, same bits.
        name: what people call it.
        backend: "auto" (a real GPU, else the CPU), "cpu" or "vulkan".
        device: which GPU, in the backend's order.
        threads: CPU threads; 0: all cores.
        cache_dir: a folder where the Vulkan backend keeps its compiled pipelines.
    """

    def __init__(
        self,
        network: Network,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        *,
        scheduler: Scheduler | None = None,
        warmup: Warmup | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        seed: int = 0,
        name: str = "model",
        backend: str = "auto",
        device: int = 0,
        threads: int = 0,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        clip = {key: plain(value) for key, value in (("norm", clip_norm), ("value", clip_value)) if value is not None}
        parts: dict[str, Any] = {
            "name": name,
            "model": network.to_dict(),
            "loss": (CrossEntropyLoss() if loss is None else loss).to_dict(),
            "optimizer": (AdamW() if optimizer is None else optimizer).to_dict(),
            "seed": seed,
            "resources": {"backend": backend, "threads": threads},
        }
        for key, part in (("scheduler", scheduler), ("warmup", warmup)):
            if part is not None:
                parts[key] = part.to_dict()
        if clip:
            parts["clip"] = clip
        self._begin(parts, device, cache_dir)

    def _begin(
        self, parts: dict[str, Any], device: int = 0, cache_dir: str | os.PathLike[str] | None = None
    ) -> None:
        self._parts = parts  # the job spec but for data and epochs
        self._device, self._cache_dir = device, cache_dir
        self._spec: Spec | None = None  # what the session was opened for
        self._session: Session | None = None
        self._data: dict[str, Any] | None = None  # the spec's own, for fit() without data
        self._epochs = 1  # the spec's own
        self._transforms: list[dict[str, Any]] | None = None
        self.epochs_done = 0  #: over all calls of fit
        self.history = History()  #: of the last fit
        self.stop_training = False  #: set by a callback: ends the fit

    @classmethod
    def from_spec(cls, spec: Spec | str | os.PathLike[str] | Mapping[str, Any], *, backend: str | None = None) -> Model:
        """The model of a job spec, its text, or its file; :meth:`fit` without data then trains the whole job.

        Raises:
            SpecError: it is none.
        """
        if not isinstance(spec, Spec):
            is_text = isinstance(spec, Mapping) or (isinstance(spec, str) and spec.lstrip().startswith("{"))
            spec = Spec(spec) if is_text else Spec.load(spec)  # type: ignore[arg-type]
        parts = spec.to_dict()
        data, epochs = parts.pop("data"), parts.pop("epochs")
        if backend is not None:
            parts["resources"] = {**parts.get("resources", {}), "backend": backend}
        self = cls.__new__(cls)
        self._begin(parts)
        self._data, self._epochs, self._transforms = data, epochs, data.get("transforms")
        return self

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, backend: str | None = None, training: bool = True) -> Model:
        """The model of a safetensors file that :meth:`save`, ``cyxwiz train`` or a worker wrote.

        Args:
            path: of the file.
            backend: as the class takes it; the spec's when None.
            training: False keeps no optimizer state, and :meth:`fit` is refused.

        Raises:
            NotFoundError, CorruptError: there is no such file, or it is none.
            InputError: it holds no spec, or not the weights of its spec.
        """
        spec = Spec.of_model(path)
        self = cls.from_spec(spec, backend=backend)
        if spec.sample is None:
            raise InputError(f"{os.fspath(path)} does not say what a sample is", status="invalid")
        self._open(spec, spec.batch_size, training=training)
        self.load_state_dict(safetensors.load_file(path))
        return self

    # ---- the spec and the session ----

    def spec(self, data: Any = None, *, epochs: int | None = None, batch_size: int = 32) -> Spec:
        """The whole job, as ``cyxwiz train`` and ``cyxwiz job submit`` take it.

        Args:
            data: a :class:`cyxwiz.data.DataLoader`, a source or a name of the catalogue; the spec's own when None.
            epochs: passes over the data; the spec's own, or 1, when None.
            batch_size: where data are no loader.

        Raises:
            SpecError: with the JSON Pointer of what is wrong.
        """
        if isinstance(data, DataLoader):
            described = data.to_dict()
        elif data is None and self._data is not None:
            described = self._data
        elif isinstance(data, (Source, str)):
            described = {"dataset": data if isinstance(data, str) else data.to_value(), "batch_size": batch_size}
        else:
            raise TypeError("expected a DataLoader, a source of cyxwiz.data or a name of the catalogue")
        return self._job(described, self._epochs if epochs is None else epochs)

    def _job(self, data: Mapping[str, Any], epochs: int) -> Spec:
        return Spec({**self._parts, "data": dict(data), "epochs": epochs})

    @property
    def session(self) -> Session:
        """What the model runs on, once it is built. Raises StateError before."""
        if self._session is None:
            raise StateError(
                "the model does not know its input yet: fit it, or build((…shape of one sample…))", status="conflict"
            )
        return self._session

    def build(
        self, input_shape: Sequence[int], *, classes: int | None = None, targets: int = 1, batch_size: int = 32
    ) -> Model:
        """Compiles the model before it sees data; nothing happens when it is built already.

        Args:
            input_shape: of one sample, without the batch.
            classes: of the target; as many as the model has outputs when None.
            targets: numbers of a sample's target, where the loss compares with the data's numbers.
            batch_size: for which the device's layouts are chosen.

        Returns:
            The model itself.

        Raises:
            SpecError: shapes do not fit; the pointer names the layer.
            UnavailableError: there is no such device, or it cannot do what a layer needs.
        """
        if self._session is None:
            spec = self._job({"dataset": {"format": "memory"}, "batch_size": batch_size}, self._epochs)
            shape = tuple(int(size) for size in input_shape)
            sample = Sample(shape, classes or 0) if self._wants_classes else Sample(shape, None, targets)
            spec.tell_sample(sample)
            self._open(spec, batch_size)
        return self

    @property
    def _wants_classes(self) -> bool:
        loss = self._parts["loss"]
        return bool(loss["type"] == "CrossEntropyLoss" or loss.get("target") == "one_hot")

    def _open(self, spec: Spec, rows: int, *, training: bool = True) -> None:
        self._session = Session(spec, rows=rows, training=training, device=self._device, cache_dir=self._cache_dir)
        self._spec = spec
        data = spec.to_dict()["data"]
        self._transforms = data.get("transforms")

    def _ready(self, spec: Spec, sample: Sample, rows: int) -> None:
        """The session for these data: opened now, or one whose samples are the same."""
        if self._session is None:
            if spec.sample is None:
                spec.tell_sample(sample)
            self._open(spec, rows)
        elif sample.shape != self._session.input_shape:
            raise InputError(
                f"samples have shape {sample.shape}; the model was built for {self._session.input_shape}",
                status="invalid",
            )

    # ---- training ----

    def fit(
        self,
        x: Data | None = None,
        y: npt.ArrayLike | None = None,
        *,
        epochs: int | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        drop_last: bool = False,
        validation_data: Any = None,
        validation_split: float = 0.0,
        transforms: Sequence[Transform] | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> History:
        """Trains.

        Ctrl-C (KeyboardInterrupt) ends it behind the step that is under way and goes on up; the model keeps what it
        learnt and stays usable, :attr:`history` holds the whole epochs. Another call goes on: weights, optimizer state
        and the count of steps stay, the learning-rate schedule begins anew.

        With data of the catalogue or of files, the same seed gives the same bits as ``cyxwiz train`` of the same spec.

        Args:
            x: arrays (N, …sample…), a source of :mod:`cyxwiz.data`, a name of the catalogue, a DataLoader, or any
                iterable with a length of batches (x, y), such as a list or PyTorch's DataLoader. C-contiguous float32
                (and uint8 images) are read in place, without a copy. None: the data of the spec (:meth:`from_spec`).
            y: targets for arrays: (N) whole numbers (classes) or (N, K) numbers; None where the loss compares with the
                input.
            epochs: passes over the data; the spec's own, or 1, when None.
            batch_size: samples a step; a DataLoader's or an iterable's own where x is one.
            shuffle, drop_last, transforms, validation_split: as :class:`cyxwiz.data.DataLoader` takes them.
            validation_data: what judges after each epoch: (x, y) arrays, or what x may be. None: the data's own
                validation or test part, where there is one.
            callbacks: of :mod:`cyxwiz.callbacks`.
            progress: whether a bar is shown; None: where a person looks (a terminal, a notebook).
            data_dir: where the catalogue's sets lie.

        Returns:
            The epochs' numbers, also in :attr:`history`.

        Raises:
            SpecError: the model, its options or its shapes cannot be.
            InputError, NotFoundError, CorruptError: the data cannot be read or do not fit.
            DivergedError: the loss became NaN or infinite.
        """
        if x is None:
            loader: Any = self._own_data(data_dir)
        elif isinstance(x, DataLoader) or _is_batches(x):
            loader = x
        else:
            source = self._source(x, y, validation_data if _is_pair(validation_data) else None)
            if isinstance(source, Arrays) and _is_pair(validation_data):
                validation_data = None
            loader = DataLoader(
                source,
                batch_size,
                shuffle=shuffle,
                drop_last=drop_last,
                transforms=transforms,
                validation_split=validation_split,
                seed=self._parts.get("seed", 0),
                data_dir=data_dir,
            )
        judge = self._judge(loader, validation_data)
        planned = self._epochs if epochs is None else epochs
        feed, schedule = self._prepare(loader, planned)
        try:
            run = _Run(self, feed, judge, schedule, planned, callbacks, progress)
            return run.go()
        finally:
            feed.close()
            if judge is not None:
                judge.close()

    def _own_data(self, data_dir: str | os.PathLike[str] | None) -> DataLoader:
        if self._data is None:
            raise TypeError("fit needs data: only a model of a spec has its own")
        return DataLoader.of_spec(self._job(self._data, self._epochs), data_dir=data_dir)

    def _source(self, x: Any, y: Any, test: Any) -> Source | str:
        if isinstance(x, (Source, str)):
            if y is not None:
                raise TypeError("these data have targets of their own: leave y out")
            return x
        return Arrays(x, y, test=test, task="classes" if self._wants_classes else "numbers")

    def _judge(self, loader: Any, validation_data: Any) -> Feed | None:
        if validation_data is not None:
            return self._feed(*validation_data) if _is_pair(validation_data) else self._feed(validation_data, None)
        return LoaderFeed(loader.judge) if isinstance(loader, DataLoader) and loader.judge is not None else None

    def _prepare(self, loader: Any, epochs: int) -> tuple[Feed, Schedule]:
        """The training batches and the learning rates; the model is built for them."""
        if isinstance(loader, DataLoader):
            spec = self._job(loader.to_dict(), epochs)
            rows, sample = min(loader.batch_size, loader.train.rows), loader.sample
            if len(loader) == 0:
                raise InputError(f"drop_last leaves nothing of {rows} samples", status="invalid")
            feed: Feed = LoaderFeed(loader.train)
        else:
            feed = ForeignFeed(loader)
            sample, rows = feed.sample(self._wants_classes)
            spec = self._job({"dataset": {"format": "memory"}, "batch_size": rows}, epochs)
        self._ready(spec, sample, rows)
        return feed, Schedule(spec, len(feed))

    # ---- judging and predicting ----

    def evaluate(self, x: Data, y: npt.ArrayLike | None = None, *, batch_size: int | None = None) -> dict[str, float]:
        """Loss and, with classes, accuracy over data, in inference mode.

        Args:
            x: what :meth:`fit` takes. Of a DataLoader, a source or a set of the catalogue the part that judges (the
                whole where there is no other), or one part of a loader: ``loader.test``.
            y: targets for arrays.
            batch_size: samples a step; as the model was built for when None. The numbers do not depend on it but for
                rounding.

        Returns:
            {"loss": …} and "accuracy" where the targets are classes.

        Raises:
            StateError: the model is not built.
            InputError: shapes do not fit.
        """
        session = self.session
        feed = self._feed(x, y, batch_size)
        try:
            return _judge(session, feed)
        finally:
            feed.close()

    def predict(self, x: Data, *, batch_size: int | None = None) -> Floats:
        """The network's outputs, in inference mode (logits, where it was trained on logits).

        Arrays go through the model's transforms as in :meth:`fit`; float32 without other transforms than ToTensor are
        read in place.

        Args:
            x: as :meth:`evaluate` takes it; targets are passed over.
            batch_size: samples a step; as the model was built for when None.

        Returns:
            (N, …output…), a new array.

        Raises:
            StateError: the model is not built.
            InputError: shapes do not fit.
        """
        session = self.session
        if self._is_direct(x):
            return _predict_array(session, np.asarray(x), self._batch_size(batch_size))
        feed = self._feed(x, None, batch_size)
        try:
            parts = [session.predict(split(batch)[0]) for batch in feed.start(0)]
        finally:
            feed.close()
        return np.concatenate(parts) if parts else np.empty((0, *session.output_shape), np.float32)

    def _is_direct(self, x: Any) -> bool:
        """An array that no transform changes."""
        if isinstance(x, (DataLoader, Source, str)) or _is_batches(x):
            return False
        changes = any(transform["type"] != "ToTensor" for transform in self._transforms or [])
        return not changes and np.asarray(x).dtype != np.uint8

    def _batch_size(self, given: int | None) -> int:
        if given is None:
            assert self._spec is not None
            return self._spec.batch_size
        if given < 1:
            raise InputError(f"expected a batch size from 1 on, got {given}", status="invalid")
        return given

    def _feed(self, x: Any, y: Any, batch_size: int | None = None) -> Feed:
        """Batches for evaluation; arrays go through the model's transforms."""
        if isinstance(x, DataLoader) or _is_batches(x):
            return feed_of(x)
        source = self._source(x, y, None)
        rows = self._batch_size(batch_size) if self._spec is not None else batch_size or 32
        return feed_of(DataLoader(source, rows, transforms=[_Told(each) for each in self._transforms or []] or None))

    # ---- weights ----

    def parameters(self) -> list[Tensor]:
        """What is trained, in the layers' order; see :class:`cyxwiz.Tensor` for what is shared."""
        return self.session.parameters()

    def state_dict(self, *, copy: bool = True) -> dict[str, Floats]:
        """Parameters and running statistics by PyTorch's names; see :meth:`cyxwiz.Session.state_dict`."""
        return self.session.state_dict(copy=copy)

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike], *, strict: bool = True) -> None:
        """Writes arrays by their names; see :meth:`cyxwiz.Session.load_state_dict`."""
        self.session.load_state_dict(state, strict=strict)

    def reset(self) -> None:
        """First weights from the seed again; optimizer state, steps and epochs are zero."""
        self.session.reset()
        self.epochs_done = 0
        self.history = History()

    def save(self, path: str | os.PathLike[str]) -> int:
        """Writes a safetensors file with the spec in its metadata; PyTorch opens it. Returns its bytes."""
        return self.session.save(path)

    def describe(self, batch_size: int | None = None) -> Summary:
        """Layers, shapes, parameters, FLOPs and memory, as ``cyxwiz describe`` tells them; print it.

        Raises:
            StateError: what a sample is is not known yet.
        """
        spec = self._spec
        if spec is None and self._data is not None:
            spec = self._job(self._data, self._epochs)
        if spec is None or spec.sample is None:
            raise StateError("the model does not know its input yet: fit it, or build(…)", status="conflict")
        return spec.describe(batch_size)

    def __repr__(self) -> str:
        kinds = ", ".join(layer["type"] for layer in self._parts["model"]["layers"])
        return f"Model({self._parts['name']!r}: {kinds})"


class _Told(Transform):
    """A transform as a spec says it."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self._spec = dict(spec)

    def to_dict(self) -> dict[str, Any]:
        return self._spec


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple) and len(data) == 2


def _is_batches(x: Any) -> bool:
    """An iterable of batches rather than an array."""
    if isinstance(x, (Source, str, np.ndarray)) or hasattr(x, "__array__") or hasattr(x, "__array_interface__"):
        return False
    if isinstance(x, (list, tuple)):
        return bool(x) and isinstance(x[0], (tuple, list)) and len(x[0]) == 2 and np.ndim(x[0][0]) > 1
    return hasattr(x, "__iter__")


def _predict_array(session: Session, x: npt.NDArray[Any], batch_size: int) -> Floats:
    out = np.empty((len(x) if x.ndim else 0, *session.output_shape), np.float32)
    if x.ndim == 0 or len(x) == 0:
        raise InputError(f"expected (N, …sample…) with something in it, got {x.shape}", status="invalid")
    for begin in range(0, len(x), batch_size):
        session.predict(x[begin : begin + batch_size], out[begin : begin + batch_size])
    return out


class _Sums:
    """Means over the rows of many steps."""

    def __init__(self) -> None:
        self.loss = self.correct = self.count = 0.0

    def add(self, result: StepResult) -> None:
        self.loss += result.loss * result.count
        self.correct += result.correct
        self.count += result.count

    def logs(self, accuracy: bool, prefix: str = "") -> dict[str, float]:
        count = self.count or 1.0
        logs = {f"{prefix}loss": self.loss / count}
        if accuracy:
            logs[f"{prefix}accuracy"] = self.correct / count
        return logs


def _judge(session: Session, feed: Feed, prefix: str = "") -> dict[str, float]:
    sums = _Sums()
    for batch in feed.start(0):
        sums.add(session.evaluate(*split(batch)))
    return sums.logs(session.counts_correct, prefix)


def _diverged(what: str) -> DivergedError:
    remedy = "lower the learning rate, unless the data hold NaN or infinity"
    return DivergedError(f"{what}: {remedy}", pointer="/optimizer/lr", status="invalid")


class _Run:
    """One call of fit."""

    def __init__(
        self,
        model: Model,
        feed: Feed,
        judge: Feed | None,
        schedule: Schedule,
        epochs: int,
        callbacks: Sequence[Callback],
        progress: bool | None,
    ) -> None:
        self._model, self._session = model, model.session
        self._feed, self._judge, self._schedule, self._epochs = feed, judge, schedule, epochs
        self._callbacks = list(callbacks)
        self._bar = Progress(len(feed), epochs, shown=progress)
        self._rates: list[float] = []  # of the open steps
        self._sums = _Sums()
        self._taken = 0  # steps of this epoch whose results are known

    def go(self) -> History:
        model = self._model
        model.history, model.stop_training = History(), False
        self._session.finish()
        begun: list[Callback] = []
        try:
            for callback in self._callbacks:
                begun.append(callback)
                callback.on_train_begin(model)
            batches: Iterable[Any] | None = self._feed.start(model.epochs_done)
            for turn in range(self._epochs):
                if batches is not None:
                    batches = self._epoch(turn, batches)
        finally:
            self._session.finish()
            self._bar.close()
            for callback in begun:
                callback.on_train_end(model)
        return model.history

    def _epoch(self, turn: int, batches: Iterable[Any]) -> Iterable[Any] | None:
        """Trains and judges an epoch; gives the next one's batches, None where there is none."""
        model, session, epoch = self._model, self._session, self._model.epochs_done
        self._sums, self._taken = _Sums(), 0
        rate = self._schedule.rates[0]
        for callback in self._callbacks:
            callback.on_epoch_begin(model, epoch)
        self._bar.begin(turn + 1)
        for batch in batches:
            if session.open_steps == 2:
                self._take()
            self._rates.append(self._schedule.rates[0])
            session.submit(*split(batch), self._schedule.rates)
            self._schedule.after_step()
            if model.stop_training:
                break
        while session.open_steps:
            self._take()
        model.epochs_done += 1
        more = turn + 1 < self._epochs and not model.stop_training
        following = self._feed.start(model.epochs_done) if more else None  # made while this epoch is judged
        self._end(epoch, rate)
        return None if model.stop_training else following

    def _check_weights(self) -> None:
        """A loss may stay finite over weights that are not: the CPU's fused ReLU takes NaN to 0."""
        for tensor in self._session.parameters():
            if not np.isfinite(tensor.numpy()).all():
                raise _diverged(f"{tensor.name} is no longer finite at step {self._session.steps}")

    def _end(self, epoch: int, rate: float) -> None:
        model, session = self._model, self._session
        self._check_weights()
        logs = self._sums.logs(session.counts_correct)
        if self._judge is not None:
            logs.update(_judge(session, self._judge, "val_"))
        self._schedule.after_epoch(
            logs.get("val_loss", logs["loss"]), logs.get("val_accuracy", logs.get("accuracy", math.nan))
        )
        logs["lr"] = rate
        model.history.add(epoch, logs)
        self._bar.end(logs)
        for callback in self._callbacks:
            callback.on_epoch_end(model, epoch, logs)

    def _take(self) -> None:
        result, rate = self._session.take(), self._rates.pop(0)
        self._taken += 1
        self._sums.add(result)
        step = self._session.steps - self._session.open_steps
        if not math.isfinite(result.loss):
            raise _diverged(f"loss became {result.loss} at step {step}")
        logs = {"loss": result.loss, "lr": rate}
        if self._session.counts_correct:
            logs["accuracy"] = result.accuracy
        for callback in self._callbacks:
            callback.on_step_end(self._model, step, logs)
        self._bar.step(self._taken, self._sums.logs(self._session.counts_correct))
