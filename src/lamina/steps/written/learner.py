"""From a plan and prepared texts to a writer, its method and its batches."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lamina import registry
from lamina.data.schema import Field
from lamina.errors import InputError
from lamina.learn.batch import Batch, Source
from lamina.learn.engine import Engine
from lamina.learn.stream import NEXT
from lamina.methods import next_token
from lamina.methods.supervised import Supervised
from lamina.modalities.text import Encoder
from lamina.networks.blocks.options import read_options
from lamina.networks.transfer import causal
from lamina.networks.transfer.causal import Given
from lamina.networks.transfer.freezing import adapters, freeze_stages
from lamina.networks.transfer.lora import merge_adapters
from lamina.plan import NetworkPlan, Plan
from lamina.run import Run
from lamina.steps.pace import Epochs
from lamina.tasks import Writing

Array = np.ndarray[Any, Any]
FOLDER = "networks/writers"
WRITER = "writer"
"""What the network is called in the plan."""
TEST, VALIDATION = "test", "validation"
WHAT = {"": "nothing but what it writes", "text": "a text besides", "image": "a picture besides"}


@dataclass(frozen=True)
class Extent:
    """How much there is to learn from.

    Attributes:
        tokens: of the text that is written, in the training part.
        read: of the text that is read, for each of those.
        length: tokens of an example of what is written.
        examples: of an epoch.
        batch: examples of a step, at least.
        smoothing: of labels.
        answers: seconds of the fifth step besides scoring, in multiples of the time of scoring the validation part.
    """

    tokens: int
    read: float
    length: int
    examples: int
    batch: int
    smoothing: float
    answers: float


class EpochSource(Source, Epochs, Protocol):
    """Batches that come in epochs and can be resumed."""


class Material(Protocol):
    """Prepared texts, whatever is to be written."""

    @property
    def task(self) -> Any:
        """Of the sealed model: `lamina.tasks.Writing`."""
        ...

    @property
    def encoder(self) -> Encoder:
        """Of the sealed model's only input."""
        ...

    @property
    def field(self) -> Field: ...

    @property
    def model(self) -> Given | None:
        """The given model that is learned on from, if there is one."""
        ...

    @property
    def extent(self) -> Extent:
        """How much there is to learn."""
        ...

    def batches(self, batch_size: int, seed: int) -> EpochSource:
        """What is learned from."""
        ...

    def held_out(self, part: str, batch_size: int) -> Iterator[Batch]:
        """All of a part once; rows of a batch in order."""
        ...

    def bytes_in(self, part: str) -> int:
        """Bytes of the text that is written there."""
        ...

    def fill(self, network: Any) -> None:
        """Put what is known before anything is learned into a fresh network: a given model, a lexicon, or nothing."""
        ...

    def sample(self, learner: Learner) -> str:
        """What the network writes now, for the user to see."""
        ...


@dataclass
class Learner:
    """What learns, on what, and how well it does.

    Attributes:
        samples: a folder for what is written during training; None keeps nothing.
    """

    method: Supervised
    engine: Engine
    source: EpochSource
    material: Material
    batch_size: int
    samples: Path | None = field(default=None)

    @property
    def network(self) -> nn.Module:
        """What is sealed."""
        return self.method.network

    def steps_in(self, epochs: float) -> int:
        """How many steps so many passes over the data are."""
        return max(1, round(epochs * self.source.steps))

    def validation_scores(self) -> dict[str, float]:
        """Bits for each byte of the validation part: the fewer, the better it was told."""
        nats = sum(float(each.sum()) for _, each in self.nats(VALIDATION))
        bits = nats / math.log(2) / max(self.material.bytes_in(VALIDATION), 1)
        if self.samples is not None:
            self.samples.mkdir(exist_ok=True)
            place = self.samples / f"{self.engine.step + 1:09d}.txt"
            place.write_text(self.material.sample(self), encoding="utf-8")
        return {"score": -bits, "bits_per_byte": bits}

    def bound(self, network: Any, source: Array) -> tuple[Tensor, ...]:
        """What steps of the network need of what is read: (memory, and of a text the source)."""
        read = torch.from_numpy(np.ascontiguousarray(source)).to(self.engine.device)
        return (network.read(read), read) if self.material.task.reads == "text" else (network.read(read),)

    def nats(self, part: str) -> Iterator[tuple[Batch, Array]]:
        """(Batch, float32 [row, step] cross-entropies, 0 where nothing is asked) of a part."""
        with self.method.evaluating() as network:
            yield from self.nats_of(network, part)

    def nats_of(self, network: nn.Module, part: str) -> Iterator[tuple[Batch, Array]]:
        """The same of another network, in evaluation mode and without gradients."""
        padding = self.material.task.padding
        for batch in self.material.held_out(part, self.batch_size):
            moved = batch.to(self.engine.device)
            each = next_token.losses(network(moved.inputs), moved.targets[NEXT], padding=padding)
            yield batch, each.float().cpu().numpy()


@dataclass(frozen=True)
class TorchSteps:
    """The network in training as something that steps (`lamina.model.decoding.Stepping`).

    Attributes:
        rows: texts that are written together.
        read: memory and source, where it reads.
    """

    network: Any
    rows: int
    device: torch.device
    read: tuple[Tensor, ...] = ()

    def fresh(self) -> Array:
        """The cache before the first token."""
        slots, heads, each = self.network.cache_shape
        return np.zeros((self.rows, slots, heads, 0, each), np.float32)

    def __call__(self, tokens: Array, cache: Array) -> tuple[Array, Array]:
        with torch.inference_mode():
            arrays = (torch.from_numpy(np.ascontiguousarray(array)).to(self.device) for array in (tokens, cache))
            logits, kept = self.network.step(*arrays, *self.read)
            return logits[:, -1].float().cpu().numpy(), kept.float().cpu().numpy()


def build(plan: Plan, material: Material, device: torch.device) -> Learner:
    """Network, method, engine and batches as the plan says; random only through the plan's seed.

    Raises:
        InputError: a name, option or value that does not exist, another method, or weights that do not fit.
    """
    check_method(plan)
    options = read_options(next_token.Options, plan.method.options, "method.options")
    torch.manual_seed(plan.seed)
    training, encoder = plan.training, material.encoder
    network, thaw = writer(plan, material.task, encoder.length if material.task.reads else 0), None
    material.fill(network)
    if material.model is not None:
        part = plan.network[WRITER]
        thaw = freeze_stages(network, part.frozen, **adapters(WRITER, part))
    method = next_token.build(
        network.to(device), options, plan.optimizer, training.ema, padding=material.task.padding, thaw=thaw
    )
    engine = Engine(device, training.precision, training.accumulation, training.clip)
    return Learner(method, engine, material.batches(training.batch_size, plan.seed), material, training.batch_size)


def writer(plan: Plan, task: Writing, source: int | nn.Module) -> nn.Module:
    """The plan's network, with fresh weights from PyTorch's generator.

    Args:
        source: tokens of a text that is read, at most; or what looks at pictures.

    Raises:
        InputError: there is no such network, it has no such option, or it reads where nothing is to be read.
    """
    part = plan.network[WRITER]
    module = registry.module(FOLDER, part.name)
    if task.reads != module.READS:
        fitting = [name for name in registry.names(FOLDER) if task.reads == registry.module(FOLDER, name).READS]
        raise InputError(
            f"The network {part.name!r} reads {WHAT[module.READS]}, which is not what the task asks for.",
            where="network.name",
            fix=f"Choose one of: {', '.join(fitting)}.",
        )
    options = read_options(module.Options, part.options, f"network.{WRITER}")
    network: nn.Module = module.build(int(task.tokens.get_vocab_size()), task.context, source, options)
    return network


def trained(run: Run, plan: Plan, weights: Mapping[str, Tensor]) -> nn.Module:
    """A run's network with its final weights, in evaluation mode; needs no data, but the model that was given.

    Raises:
        InputError: that is not there any more, or has changed.
    """
    document = json.loads(run.prepared.read_text(encoding="utf-8"))
    (state,), (encoder,) = document["tasks"].values(), document["encoders"].values()
    task = registry.module("tasks", next(iter(plan.task.values())).name).Task.restore(state)
    network, part = writer(plan, task, int(encoder["length"]) if task.reads else 0), plan.network[WRITER]
    if part.weights:
        causal.fill(network, same_model(part))
        freeze_stages(network, part.frozen, **adapters(WRITER, part))
    found = {**network.state_dict(), **weights}
    network.load_state_dict(found)
    merge_adapters(network)
    return network.eval()


def as_given(plan: Plan, material: Material, device: torch.device) -> nn.Module:
    """The given model as it is, in evaluation mode."""
    network = writer(plan, material.task, material.encoder.length if material.task.reads else 0)
    material.fill(network)
    return network.to(device).eval()


def same_model(part: NetworkPlan) -> Given:
    """The given model of a run that is gone on with, or looked at.

    Raises:
        InputError: it is not there any more, or has changed.
    """
    found = causal.given(Path(part.weights))
    if found.fingerprint != part.fingerprint:
        raise InputError(
            f"The model in {part.weights} is not what the run was started with.",
            where=f"network.{WRITER}.weights",
            fix="Put the old model back, or start a new run with `lamina train`.",
        )
    return found


def check_method(plan: Plan) -> None:
    """Raises InputError where the plan's method does not serve this task."""
    asked = next(iter(plan.task.values())).name
    chosen = registry.module("methods", plan.method.name)
    if asked not in getattr(chosen, "GIVES", ()):
        modules = {name: registry.module("methods", name) for name in registry.names("methods")}
        fitting = [name for name, module in modules.items() if asked in getattr(module, "GIVES", ())]
        raise InputError(
            f"The method {plan.method.name!r} does not serve the task {asked!r}.",
            where="method.name",
            fix=f"Choose one of: {', '.join(fitting)}.",
        )


def network_document(learner: Learner) -> dict[str, Any]:
    """Size and stages of the writer."""
    network: Any = learner.network
    # The last map has the embeddings' own weights, which are counted once.
    stages = [[name, sum(value.numel() for value in module.parameters())] for name, module in network.stages()]
    return {
        "parameters": sum(value.numel() for value in network.parameters()),
        "summary": type(network).__name__,
        "stages": stages,
        "notes": [] if learner.material.model is None else [learned_from(learner)],
    }


def learned_from(learner: Learner) -> str:
    """What was given, and how much of it learns, for the user to read."""
    model = learner.material.model
    assert model is not None
    groups = [group for optimizer in learner.method.optimizers for group in optimizer.param_groups]
    some = sum(value.numel() for group in groups for value in group["params"])
    weights = sum(value.numel() for value in learner.network.parameters())
    return f"{model.architecture} from {model.folder.name}: {some:,} of {weights:,} weights learn"
