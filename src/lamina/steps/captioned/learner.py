"""From a plan and prepared pictures to what writes their captions, its method and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.data.schema import Field, Schema
from lamina.errors import InputError
from lamina.learn import augment, optimizers
from lamina.learn.batch import Batch
from lamina.learn.captioned import SOURCE, Captioned
from lamina.learn.engine import Engine
from lamina.learn.loader import Loader
from lamina.methods import next_item, next_token
from lamina.methods.supervised import Supervised
from lamina.modalities import Feature
from lamina.model.decoding import written
from lamina.networks.assembly import Assembly, build_body
from lamina.networks.blocks.options import read_options
from lamina.networks.transfer.freezing import adapters, apply_freezing, parameter_groups, thawing
from lamina.networks.transfer.weights import load_weights
from lamina.plan import NetworkPlan, Plan
from lamina.run import Run
from lamina.steps.prepare import Prepared, restored
from lamina.steps.written.judged import SMOOTHING, judged, searching, validated
from lamina.steps.written.learner import TEST, VALIDATION, WRITER, Extent, Learner, TorchSteps, check_method, writer
from lamina.tasks._streams import bytes_of_tokens
from lamina.tasks._written import BOUNDARY
from lamina.tasks.caption import Task

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Material:
    """Prepared pictures and captions (`lamina.steps.written.learner.Material`).

    Attributes:
        task: of the sealed model.
        field, target: the input and the captions.
        shuffle: how batches are drawn.
        rows: int64 rows of each part, by name.
        judged: test rows, each with a picture of its own, whose captions are written.
    """

    prepared: Prepared
    task: Task
    field: Field
    target: str
    shuffle: Any
    rows: Mapping[str, Array]
    judged: Array

    @property
    def encoder(self) -> Any:
        """Of the sealed model's only input."""
        return self.prepared.encoders[self.field.name]

    @property
    def model(self) -> None:
        """No model can be given: what looks at pictures takes weights by itself."""
        return

    @cached_property
    def sizes(self) -> Array:
        """int64 [token]: bytes of each."""
        return bytes_of_tokens(self.task.tokens)

    @cached_property
    def extent(self) -> Extent:
        """How much there is to learn."""
        rows = self.rows["train"]
        tokens = sum(int((self._tokens(part) > 0).sum()) for part in np.array_split(rows, 1 + len(rows) // 4096))
        answers = searching(self.judged, self.rows[VALIDATION])
        return Extent(tokens, 1.0, max(1, tokens // len(rows)), len(rows), 16, SMOOTHING, answers)

    def _tokens(self, rows: Array) -> Array:
        """int32 [row, step] that are to be told."""
        return np.asarray(self.prepared.examples.arrays[self.target][rows])[:, 1:]

    def batches(self, batch_size: int, seed: int) -> Captioned:
        """What is learned from."""
        return Captioned(self._loader(self.rows["train"], batch_size, seed), self.task.padding)

    def held_out(self, part: str, batch_size: int) -> Iterator[Batch]:
        """All of a part once, in order."""
        return Captioned(self._loader(self.rows[part], batch_size, 0), self.task.padding).once()

    def _loader(self, rows: Array, batch_size: int, seed: int) -> Loader:
        return Loader(
            self.prepared.examples, rows, [self.field.name], [self.target], min(batch_size, max(len(rows), 1)), seed,
            shuffle=self.shuffle,
        )  # fmt: skip

    def bytes_in(self, part: str) -> int:
        """Bytes of what is written in a part, as far as it is kept."""
        return int(self.sizes[self._tokens(self.rows[part])].sum())

    def fill(self, network: Any) -> None:
        """Nothing is known before anything is learned, but weights that are given for what looks at pictures."""

    def pictures(self, rows: Array) -> Array:
        """uint8 [row, height, width, channel], encoded."""
        return np.asarray(self.prepared.examples.arrays[self.field.name][rows])

    def captions(self, rows: Array) -> list[str]:
        """As they are in the data, without what stands around them."""
        values = self.prepared.table.take(rows, [self.target])[self.target]
        return [str(value).strip() for value in values]

    def sample(self, learner: Learner) -> str:
        """What the network writes of the first validation picture now, without a search."""
        with learner.method.evaluating() as network:
            given: Any = network
            step = TorchSteps(
                given, 1, learner.engine.device, learner.bound(given, self.pictures(self.rows[VALIDATION][:1]))
            )
            start = np.full((1, 1), BOUNDARY, np.int32)
            found, _ = written(step, start, self.task.width, self.task.context + 1, BOUNDARY)
        return str(self.task.decode(found)[""][0])


def material_of(plan: Plan, prepared: Prepared) -> Material:
    """What captions are learned from.

    Raises:
        InputError: there is more than one input or answer, a part without a row, or a column of weights.
    """
    if len(prepared.encoders) != 1 or len(prepared.tasks) != 1:
        several = list(prepared.encoders if len(prepared.encoders) != 1 else prepared.tasks)
        raise InputError(
            f"A caption is of one picture, and one column: not of {', '.join(several)}.",
            where="--target" if len(prepared.tasks) != 1 else "the inputs",
            fix="Name one target, and leave other pictures out: --set schema.COLUMN.role=ignore",
        )
    for weight in prepared.schema.with_role("weight"):
        raise InputError(
            "Captions are not weighed: each word counts alike.",
            where=f"column {weight.name}",
            fix=f"Leave the column out: --set schema.{weight.name}.role=ignore",
        )
    (name, task), (field,) = next(iter(prepared.tasks.items())), prepared.schema.inputs
    assert isinstance(task, Task)
    parts = prepared.split
    if min(map(len, (parts.train, parts.validation, parts.test))) < 1:
        raise InputError(
            "A part of the data has not one picture with a caption.",
            where=f"{parts.how}: {parts.reason}",
            fix="Give more pictures, or hold out a larger share: --set data.test_share=0.3 data.validation_share=0.2",
        )
    rows = {"train": parts.train, VALIDATION: validated(parts.validation), TEST: parts.test}
    own = judged(_of_their_own(prepared, field, parts.test), plan.budget)
    return Material(prepared, task, field, name, plan.training.shuffle, rows, own)


def same_picture(prepared: Prepared, field: Field, rows: Array) -> list[Any]:
    """What tells each row's picture from others: its file, or its bytes."""
    values = field.values(prepared.table.take(rows, list(field.columns)))
    return [value if isinstance(value, str | bytes) else id(value) for value in values]


def _of_their_own(prepared: Prepared, field: Field, rows: Array) -> Array:
    """The first row of each picture."""
    first: dict[Any, int] = {}
    for row, key in zip(rows.tolist(), same_picture(prepared, field, rows), strict=True):
        first.setdefault(key, row)
    return np.array(sorted(first.values()), np.int64)


def looking(plan: Plan) -> dict[str, NetworkPlan]:
    """The network that looks at pictures, by name."""
    return {name: part for name, part in plan.network.items() if name != WRITER}


def build(plan: Plan, material: Material, device: torch.device, base: Path) -> Learner:
    """Networks, method, engine and batches as the plan says; random only through the plan's seed.

    Args:
        base: the folder that relative paths of weights start from.

    Raises:
        InputError: a name, option or value that does not exist, another method, or weights that do not fit.
    """
    check_method(plan)
    options = read_options(next_token.Options, plan.method.options, "method.options")
    torch.manual_seed(plan.seed)
    features = {material.field.name: material.encoder.feature}
    network: Any = _network(plan, material.task, features, base)
    pictures, parts, training = network.pictures, looking(plan), plan.training
    load_weights(pictures, parts, base, material.prepared.encoders)
    network = network.to(device)
    for name, part in parts.items():
        apply_freezing(pictures, name, part.frozen, **adapters(name, part))
    method = Supervised(
        network,
        next_token.objective(options, material.task.padding),
        optimizers.build(_groups(network, plan), plan.optimizer),
        prepare=changed(plan, material),
        ema=training.ema,
        thaw=thawing(pictures, [name for name, part in parts.items() if part.frozen == "gradual"]),
    )
    engine = Engine(device, training.precision, training.accumulation, training.clip)
    return Learner(method, engine, material.batches(training.batch_size, plan.seed), material, training.batch_size)


def _network(plan: Plan, task: Task, features: Mapping[str, Feature], base: Path) -> nn.Module:
    """With fresh weights from PyTorch's generator."""
    if WRITER not in plan.network or len(plan.network) != 2:
        raise InputError(
            f"Captions need a network {WRITER!r}, and one that looks at pictures: not {', '.join(plan.network)}.",
            where="network",
            fix="Give a plan of such a run.",
        )
    return writer(plan, task, build_body(looking(plan), features, base))


def _groups(network: Any, plan: Plan) -> list[dict[str, Any]]:
    """Of the parameters that learn, or will: what looks at pictures at rates of its own."""
    pictures: Assembly = network.pictures
    optimizer = plan.optimizer
    rates = {name: part.rate for name, part in looking(plan).items()}
    seeing = parameter_groups(
        pictures, rates=rates, layer_decay=optimizer.layer_decay, weight_decay=optimizer.weight_decay
    )
    own = {id(weight) for weight in pictures.parameters()}
    writing = [
        {**group, "params": [weight for weight in group["params"] if id(weight) not in own]}
        for group in next_item.groups(network, optimizer.weight_decay)
    ]
    return [*seeing, *writing]


def changed(plan: Plan, material: Material) -> Callable[[Batch], Batch] | None:
    """Augmentation of training pictures, or None where there is none."""
    field, features = material.field.name, {material.field.name: material.encoder.feature}
    if not plan.training.augment:
        return None

    def prepare(batch: Batch) -> Batch:
        seen = augment.augment({field: batch.inputs[SOURCE]}, plan.training.augment, features, None)
        return Batch(batch.rows, {**batch.inputs, SOURCE: seen[field]}, batch.targets, batch.weight)

    return prepare


def trained(run: Run, plan: Plan, weights: Mapping[str, Tensor]) -> nn.Module:
    """A run's network with its final weights, in evaluation mode; needs no data."""
    encoders, tasks = restored(run, plan, Schema(plan.schema))
    (task,) = tasks.values()
    assert isinstance(task, Task)
    features = {name: encoder.feature for name, encoder in encoders.items()}
    network = _network(plan, task, features, Path(run.status().get("base", ".")))
    network.load_state_dict(dict(weights))
    return network.eval()
