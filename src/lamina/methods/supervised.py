"""Supervised learning: a network, a loss against known answers, one step a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lamina.errors import InputError
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine

Outputs = Mapping[str, Tensor]


class Supervised:
    """Owns one network and its optimizers.

    Args:
        network: from `batch.inputs` to outputs by target name.
        loss: from outputs and batch to a Loss; a pure function.
        optimizers: over the network's trainable parameters.
        prepare: changes a training batch before the loss (augmentation, mixup); draws from PyTorch's generators.
        ema: decay of the running average of the weights that `weights` gives; 0 for none
            (Polyak & Juditsky 1992; with a warm-up of the decay as in Tarvainen & Valpola 2017).
        thaw: called with the progress (0 to 1) before each step: gradual unfreezing.
        fixed: names of weights that never change: they are not among those that are kept and put back.

    Attributes:
        forward: the network as training calls it; a compiled one may stand here.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Outputs, Batch], Loss],
        optimizers: Sequence[Optimizer],
        *,
        prepare: Callable[[Batch], Batch] | None = None,
        ema: float = 0.0,
        thaw: Callable[[float], None] | None = None,
        fixed: frozenset[str] = frozenset(),
    ) -> None:
        self.network, self.optimizers = network, list(optimizers)
        self.forward: Callable[[Mapping[str, Tensor]], Outputs] = network
        self._loss, self._prepare, self._thaw, self._fixed = loss, prepare, thaw, fixed
        self.decay, self.averaged_steps = ema, 0
        self.average = {name: value.clone() for name, value in self._learned().items()} if ema else None

    def loss(self, batch: Batch) -> Loss:
        """The loss of the network on a batch."""
        return self._loss(self.forward(batch.inputs), batch)

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """One step on one batch."""
        if self._thaw is not None:
            self._thaw(engine.progress)
        self.network.train()
        batch = engine.prepared(batch, self._prepare)
        metrics = engine.descend(self.loss, batch, self.optimizers, self.network)
        if self.average is not None:
            self._follow(self.average)
        return metrics

    @torch.no_grad()
    def _follow(self, average: dict[str, Tensor]) -> None:
        self.averaged_steps += 1
        decay = min(self.decay, (1 + self.averaged_steps) / (10 + self.averaged_steps))
        pairs = [(average[name], value) for name, value in self._learned().items()]
        floating = [pair for pair in pairs if pair[1].is_floating_point()]
        torch._foreach_lerp_([pair[0] for pair in floating], [pair[1] for pair in floating], 1 - decay)
        for kept, value in pairs:
            if not value.is_floating_point():
                kept.copy_(value)

    def weights(self) -> dict[str, Tensor]:
        """The weights to evaluate and seal: the average if there is one, else the network's."""
        return self.average if self.average is not None else self._learned()

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put `weights` (as from `weights`) into the network, and into the average."""
        self._put(weights)
        if self.average is not None:
            self.average = {name: value.clone() for name, value in weights.items()}

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The network in evaluation mode with the weights of `weights`; afterwards as it was."""
        training = self.network.training
        own = {name: value.clone() for name, value in self._learned().items()} if self.average else None
        if self.average is not None:
            self._put(self.average)
        self.network.eval()
        try:
            with torch.inference_mode():
                yield self.network
        finally:
            if own is not None:
                self._put(own)
            self.network.train(training)

    def state(self) -> dict[str, Any]:
        return {
            "network": self._learned(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average,
            "averaged_steps": self.averaged_steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._put(state["network"])
        if len(state["optimizers"]) != len(self.optimizers):
            raise InputError(
                f"The checkpoint has {len(state['optimizers'])} optimizers in place of {len(self.optimizers)}: an "
                "older version of Lamina began this run, and took other steps.",
                fix="Begin the run anew, or resume it with that version.",
            )
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.averaged_steps = state["averaged_steps"]
        if self.average is not None:
            self.average = {name: value.clone() for name, value in state["average"].items()}

    def _learned(self) -> dict[str, Tensor]:
        """The network's weights, but for those that never change."""
        return {name: value for name, value in self.network.state_dict().items() if name not in self._fixed}

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        """Put `weights` into the network; those that never change need not be among them."""
        own = self.network.state_dict()
        self.network.load_state_dict({**{name: own[name] for name in self._fixed}, **weights})
