"""Learns what comes next in a history: at every position the network is to prefer the item that followed.

The loss is cross-entropy over the whole catalogue. For large ones it is over the item that followed and a sample of the
others, drawn by their popularity, whose scores are corrected by the logarithm of how often they are expected in the
sample (Bengio & Senecal 2008, "Adaptive importance sampling to accelerate training of a neural probabilistic language
model").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.windows import NEXT, WEIGHT
from lamina.methods.supervised import Supervised
from lamina.networks.blocks.options import share, whole
from lamina.networks.recommenders._recommender import Recommender
from lamina.plan import OptimizerPlan

GIVES = ("recommend",)


@dataclass(frozen=True)
class Options:
    """Settings of learning what comes next.

    Attributes:
        negatives: items drawn for a step to compare with; 0 compares with the whole catalogue.
        hidden: chance of an item to be known by its features alone in a step, where there are any.
        half_life: an interaction counts half as much for every such share of the training part that came after it; 0
            counts all alike. What is wanted changes with time.
        smoothing: share of the wanted probability that is spread over all items; with the whole catalogue only.
    """

    negatives: int = whole(0, 0)
    hidden: float = share(0.1)
    half_life: float = share(0.0)
    smoothing: float = share(0.0)


class NextItem(Supervised):
    """Owns a recommender and its optimizers; a batch is one of `lamina.learn.windows.Windows`."""

    def __init__(self, network: Recommender, options: Options, optimizer: OptimizerPlan, ema: float) -> None:
        super().__init__(
            network, _refuse, optimizers.build(groups(network, optimizer.weight_decay), optimizer), ema=ema
        )
        self.recommender, self.options = network, options

    def loss(self, batch: Batch) -> Loss:
        """Cross-entropy of the items that followed, over all positions that are asked for."""
        wanted = batch.targets[NEXT]
        asked = wanted > 0
        weight = batch.targets[WEIGHT][asked]
        vectors = self.recommender.items()
        states = self.recommender.states(batch.inputs, vectors)[asked]
        places = wanted[asked].long() - 1
        bias = self.recommender.items.bias
        if self.options.negatives:
            each = sampled_losses(states, vectors, bias, places, self.recommender.items.counts, self.options.negatives)
        else:
            logits = torch.addmm(bias, states, vectors.T).float()
            each = functional.cross_entropy(logits, places, reduction="none", label_smoothing=self.options.smoothing)
        return Loss((each * weight).sum(), weight.sum())


def sampled_losses(
    states: Tensor, vectors: Tensor, bias: Tensor, places: Tensor, counts: Tensor, number: int
) -> Tensor:
    """[position] cross-entropies, with the sum over the other items estimated from `number` of them.

    Args:
        states: [position, width].
        vectors, bias, counts: of all items; one is drawn in proportion to its count plus 1, with replacement.
        places: int64 [position], the item that followed.
    """
    chance = (counts + 1).double().cumsum(0)
    chance = chance / chance[-1].clone()
    drawn = torch.searchsorted(chance, torch.rand(number, device=states.device, dtype=torch.float64))
    drawn = drawn.clamp_max(len(counts) - 1)
    # One draw stands for 1 / (number * chance) items of its kind; the item that followed is counted by itself.
    expected = ((counts[drawn] + 1) / (counts + 1).sum()).log() + math.log(number)
    others = torch.addmm(bias[drawn] - expected, states, vectors[drawn].T).float()
    others = others.masked_fill(drawn.unsqueeze(0) == places.unsqueeze(1), -math.inf)
    own = ((states * vectors[places]).sum(dim=1) + bias[places]).float()
    return torch.logsumexp(torch.cat([own.unsqueeze(1), others], dim=1), dim=1) - own


def groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of the parameters that learn: maps and vectors of items decay; biases, norms and memories do not."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decaying = [parameter for parameter in learning if parameter.ndim > 1]
    others = [parameter for parameter in learning if parameter.ndim <= 1]
    return [
        {"params": decaying, "weight_decay": weight_decay, "matrix": False},
        {"params": others, "weight_decay": 0.0, "matrix": False},
    ]


def _refuse(outputs: Mapping[str, Tensor], batch: Batch) -> Loss:
    raise AssertionError("the method's own loss is used")


def build(network: Recommender, options: Options, optimizer: OptimizerPlan, ema: float = 0.0) -> NextItem:
    """The method, over a network with fresh weights."""
    return NextItem(network, options, optimizer, ema)
