"""What the methods that need no answers (contrastive, masked, autoencoder, one_class, ...) are built from, and give.

A module of such a method offers, besides its class,

- `Options`: a frozen dataclass of its settings with defaults (`plan.method.options`, read with `read_options`);
- `GIVES`: which tasks its sealed module serves, of "embed", "cluster" (both read embeddings) and "anomaly";
- `reads(features) -> bool`: can it learn from such inputs?
- `build(setting, options) -> method`: keeps `lamina.learn.loop.Learns` and `Describes` below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lamina.learn.batch import Batch
from lamina.modalities import Feature
from lamina.networks.assembly import Assembly
from lamina.plan import OptimizerPlan

Views = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Setting:
    """What a method without answers is built from.

    Attributes:
        features: what the encoders give, by field.
        body: builds the plan's networks and their fusion with fresh weights and without heads: `body().embed(inputs)`
            is [row, member, width], `body().output` says how wide.
        views: another random view of encoded inputs that means the same (augmentation); draws from PyTorch's generator.
        optimizer: which one, and its rate.
        ema: decay of the running average of weights that is sealed; 0 for none.
        device: where networks and batches are.
        gradual: the networks that learn from the top on, the last of their stages at half of the training.
    """

    features: Mapping[str, Feature]
    body: Callable[[], Assembly]
    views: Views
    optimizer: OptimizerPlan
    ema: float
    device: torch.device
    gradual: tuple[str, ...] = ()


class Describes(Protocol):
    """A method that describes a row by numbers that nobody gave."""

    sealed: nn.Module
    """Encoded inputs by field to what is sealed: {"embedding": [row, 1, width]}, or for "anomaly" {"anomaly":
    [row, 1, 1 + places]}: how strange the row is (higher is stranger), then how much of it lies in each place."""

    places: Mapping[str, tuple[int, ...]]
    """For "anomaly", by field, the grid of places in it that the outputs after the first tell of, in order: () for a
    number or category, (rows, columns) for a picture, (steps,) for a series or sound, (steps, channels) for a series of
    several channels; empty where it cannot tell."""

    def judge(self, batch: Batch) -> Tensor:
        """[row]: how badly the method does on rows it does not learn from, without chance; lower is better."""
        ...

    def evaluating(self) -> AbstractContextManager[nn.Module]:
        """The sealed module in evaluation mode with the weights of `weights`; afterwards as it was."""
        ...
