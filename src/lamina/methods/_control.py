"""What the methods of control (dqn, ppo, sac) have in common: what they are built from, and how they act.

A module of such a method offers, besides its class,

- `Options`: a frozen dataclass of its settings with defaults (`plan.method.options`, read with `read_options`);
- `suits(actions: Actions) -> bool`: can it choose among such actions?
- `steps_each(options) -> float`: steps in the environment, over all copies, for one batch of the source;
- `build(setting, options) -> (method, source)`: the method keeps `lamina.learn.loop.Learns` and `Acts` below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lamina.environments import Observations, World
from lamina.learn.batch import Batch
from lamina.learn.engine import Engine
from lamina.plan import OptimizerPlan

if TYPE_CHECKING:
    from lamina.environments.vector import Vector

Array = np.ndarray[Any, Any]


class Network(Protocol):
    """Builds a network with fresh weights: normalised observations in, outputs by head [row, 1, width] out."""

    def __call__(self, heads: Mapping[str, int], *, action: bool = False) -> nn.Module:
        """Outputs by the names in `heads`; with `action` it reads the field `acted`, float32 [row, size], besides."""
        ...


@dataclass(frozen=True)
class Setting:
    """What a method of control is built from.

    Attributes:
        world: observations and actions.
        copies: `copies(number)` starts so many copies of the environment, which give the same episodes each time.
        network: builds networks; weights are drawn from PyTorch's generator.
        optimizer: which one, and its rate.
        steps: steps in the environment in all, over all copies.
        seed: of exploration and of the order of examples.
        device: where networks and batches are.
    """

    world: World
    copies: Callable[[int], Vector]
    network: Network
    optimizer: OptimizerPlan
    steps: int
    seed: int
    device: torch.device


class Acts(Protocol):
    """A method that has a policy."""

    policy: nn.Module
    """Encoded observations by field to {"action": [row, 1, width]}: what is sealed. For discrete actions the highest
    output is the action; for continuous ones the output is the action, before `Squash` where `squashes` is true."""

    squashes: bool
    """The sealed policy's continuous outputs go through a tanh."""

    means: Literal["preferences", "values"]
    """What the policy's outputs for discrete actions are: logits, or expected discounted returns."""

    def act(self, observations: Observations) -> Array:
        """The policy's best actions, without exploration, as `lamina.environments.Actions` counts them."""
        ...

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]: ...

    def weights(self) -> dict[str, Tensor]: ...

    def evaluating(self) -> AbstractContextManager[nn.Module]:
        """The policy in evaluation mode with the weights of `weights`; afterwards as it was."""
        ...


def acted(world: World) -> str:
    """The field by which a network is told an action: "action", or longer where something observed is called so."""
    name = "action"
    while name in world.encoders:
        name += "_"
    return name


def tensors(observations: Observations, device: torch.device) -> dict[str, Tensor]:
    """Observations on the device; no copy on the CPU."""
    return {name: torch.from_numpy(array).to(device) for name, array in observations.items()}
