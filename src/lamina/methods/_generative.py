"""What the methods that make new pictures are built from, and give.

A module of such a method offers `Options`, `GIVES = ("generate",)`, `reads(features)` and
`build(setting, options) -> method`, as the methods without answers do (`lamina.methods._unlabelled`); its method keeps
`lamina.learn.loop.Learns` and `Makes` below. Its batches hold pictures as encoded, uint8 [row, height, width, channel],
and in `targets` under `CLASS` the class of each, where there are any.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from lamina.plan import OptimizerPlan

CLASS = "class"
"""What a picture's class is called in a batch and among the sealed network's inputs."""
SOURCE, RESULT = "source", "result"
"""What pictures of two classes are called in a batch, where those of one are turned to look like those of the other."""


@dataclass(frozen=True)
class Setting:
    """What a method that makes pictures is built from.

    Attributes:
        field: what the pictures are called.
        shape: (height, width, channels).
        classes: how many codes a class has; 0 where there are no classes.
        optimizer: which one, and its rate.
        ema: decay of the running average of the generator's weights, which is sealed; 0 for none.
        translate: largest shift, as a share of the side, of what the critic is shown; 0 for none.
        device: where networks and batches are.
    """

    field: str
    shape: tuple[int, int, int]
    classes: int
    optimizer: OptimizerPlan
    ema: float
    translate: float
    device: torch.device


class Makes(Protocol):
    """A method that makes pictures."""

    noise: int
    """How many standard normal numbers a picture is made from."""

    network: nn.Module
    """All that learns; called with a batch's inputs it makes as many pictures as there are rows."""

    def evaluating(self) -> AbstractContextManager[nn.Module]:
        """The generator at rest with the weights of `weights`: {"noise": [row, noise], "class": [row]} to pictures,
        [row, channel, height, width] from -1 to 1; afterwards as it was."""
        ...


class Directions(Protocol):
    """Two networks from pictures to pictures, [row, channel, height, width] from -1 to 1."""

    onward: nn.Module
    back: nn.Module


class Turns(Protocol):
    """A method that turns pictures of one class into those of another, and back; its batches hold pictures as encoded
    under `SOURCE` and `RESULT`, as many of each."""

    network: nn.Module
    """All that learns; called with a batch's inputs it turns those of the source."""

    def evaluating(self) -> AbstractContextManager[Directions]:
        """Both directions at rest with the weights of `weights`; afterwards as they were."""
        ...
