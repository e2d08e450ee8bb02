"""What the methods without answers share: one objective in one network, its optimizers, the average that is sealed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_moments import FOLLOWED
from lamina.methods.supervised import Supervised
from lamina.networks.assembly import Assembly
from lamina.networks.transfer.freezing import parameter_groups, thawing

SEED = 1
"""Of the chance in `judge`: the same every time."""


class Objective(nn.Module):
    """What a method learns: its networks, the loss of each row, and in `forward` what is sealed.

    Attributes:
        body: the plan's networks.
        places: as in `lamina.methods._unlabelled.Describes`.
        decomposes: False if the loss compares the rows of a batch with each other.
        least: (spread, effective rank) below which `vectors` say that training has collapsed.
        statistics: names of buffers that say something of the averaged weights: copied to them, not averaged. Where
            there are any, `measure` and `follow` are called.
    """

    decomposes = True
    least: tuple[float, float] = (0.1, 2.0)
    statistics: tuple[str, ...] = ()

    def __init__(self, body: Assembly) -> None:
        super().__init__()
        self.body = body
        self.places: dict[str, tuple[int, ...]] = {}

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, width]: the body's vector, the mean over its members."""
        return self.body.embed(inputs).mean(dim=1)

    def vectors(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """[row, width]: what must differ from row to row, or training has collapsed; None where that is what it gives,
        or where there is nothing of the kind."""
        return None

    def spread(self, vectors: Tensor) -> Tensor:
        """How far `vectors` lie apart, 0 where all are the same."""
        return deviation(vectors)

    def prepare(self, batch: Batch) -> Batch:
        """What is learned from: inputs changed, targets made of them; draws from PyTorch's generator."""
        return batch

    def begin(self, batch: Batch) -> None:
        """Called with each batch, as it came, before its step: what the first one fixes."""

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `losses` needs, from a prepared batch's inputs."""
        raise NotImplementedError

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each row of a prepared batch, and what to log."""
        raise NotImplementedError

    def measure(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, width]: what `follow` counts in, of training rows as they came; at rest, with the averaged weights."""
        raise NotImplementedError

    def follow(self, measured: Tensor) -> None:
        """Called after each step: update `statistics`."""


class _Measure(nn.Module):
    """An objective's `measure` as a module: to be called with other weights."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.objective.measure(inputs)


class Unlabelled(Supervised):
    """Owns an objective and its optimizers; keeps `lamina.learn.loop.Learns` and `Describes`.

    Args:
        objective: learns, and is sealed; on the setting's device.
        setting: whose optimizer, average and thawing are used.
    """

    def __init__(self, objective: Objective, setting: Setting) -> None:
        super().__init__(
            objective,
            _refuse,
            optimizers.build(groups(objective, setting.optimizer.weight_decay), setting.optimizer),
            prepare=objective.prepare,
            ema=setting.ema,
            thaw=thawing(objective.body, setting.gradual),
        )
        self.sealed, self.places, self.device = objective, objective.places, setting.device
        self.forward = objective.outputs
        self._settled = False

    def loss(self, batch: Batch) -> Loss:
        """The mean of the rows' losses; of a prepared batch."""
        each, metrics = self._losses(batch)
        weight = torch.ones_like(each) if batch.weight is None else batch.weight
        metrics = {name: value.detach() for name, value in metrics.items()}
        return Loss((each * weight).sum(), weight.sum(), metrics, self.sealed.decomposes)

    def _losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        outputs = {name: output.float() for name, output in self.forward(batch.inputs).items()}
        # Sums of many squares and their averages over places need all the bits that there are.
        with torch.autocast(self.device.type, enabled=False):
            return self.sealed.losses(outputs, batch)

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """One step on one batch; then what is known of the errors follows."""
        batch = batch.to(engine.device)
        with torch.no_grad():
            self.network.train()
            self.sealed.begin(batch)
        metrics = super().update(batch, engine)
        if self.sealed.statistics:
            self._measure(batch)
        return metrics

    @torch.no_grad()
    def _measure(self, batch: Batch) -> None:
        """Let the statistics follow the errors of the weights that will be sealed."""
        inputs = {name: values[:FOLLOWED] for name, values in batch.inputs.items()}
        weights = {f"objective.{name}": value for name, value in self.weights().items()}
        self.network.eval()
        measured = torch.func.functional_call(_Measure(self.sealed), weights, (inputs,))
        self.network.train()
        self.sealed.follow(measured)
        if self.average is not None:
            for name in self.sealed.statistics:
                self.average[name].copy_(self.network.get_buffer(name))

    def judge(self, batch: Batch) -> Tensor:
        """[row]: the loss of each row as training would count it, but at rest and with chance that is always the same.

        What compares rows of a batch with each other is added to each of them.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        with self.evaluating(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(SEED)
            return self._losses(self.sealed.prepare(batch.to(self.device)))[0]

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The sealed module in evaluation mode with the weights of `weights`; afterwards as it was."""
        if self._settled:
            yield self.network
            return
        with super().evaluating() as network:
            self._settled = True
            try:
                yield network
            finally:
                self._settled = False


def _refuse(outputs: Mapping[str, Tensor], batch: Batch) -> Loss:
    raise AssertionError("the objective's own losses are used")


def groups(objective: Objective, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: the body's as ever; of what the objective adds, weights of maps decay, other weights do not."""
    found = parameter_groups(objective.body, weight_decay=weight_decay)
    inside = {id(parameter) for parameter in objective.body.parameters()}
    added: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for owner in objective.modules():
        for parameter in owner.parameters(recurse=False):
            if id(parameter) not in inside and parameter.requires_grad:
                maps = isinstance(owner, nn.Linear | nn.modules.conv._ConvNd)
                added[maps and parameter.ndim > 1].append(parameter)
    found += [
        {"params": parameters, "lr": 1.0, "weight_decay": weight_decay if decays else 0.0, "matrix": False}
        for decays, parameters in added.items()
        if parameters
    ]
    return found


def deviation(embeddings: Tensor) -> Tensor:
    """How far rows lie apart: [row, width] to a number from 0 (all the same: collapsed) to about 1.

    The mean standard deviation of the embeddings, each brought to length 1, over that of directions drawn at random,
    1 / sqrt(width) (Chen & He 2021, "Exploring simple siamese representation learning").
    """
    normal = nn.functional.normalize(embeddings.detach().float(), dim=1)
    spread: Tensor = normal.std(dim=0, correction=0).mean() * normal.shape[1] ** 0.5
    return spread
