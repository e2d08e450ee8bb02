"""Stacks that each forecast at a pace of their own, from a pooled window, and leave the rest to the next one.

Challu et al. 2023, "N-HiTS: neural hierarchical interpolation for time series forecasting": a stack reads the window
pooled more or less coarsely, gives few knots of the forecast, between which is interpolated, and takes what it explains
of the window away from what the next stack reads. Covariates, narrowed step by step, are read by every stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.networks.blocks.options import share, whole
from lamina.networks.forecasters import Shape
from lamina.networks.forecasters._forecaster import last_layer

POOLS = (16, 8, 1)
"""Steps that are pooled into one by each stack, at most an eighth of the window."""
KNOTS = (24, 4, 1)
"""Steps of the forecast for each of its knots, at most half of the horizon."""


@dataclass(frozen=True)
class Options:
    """Sizes of the stacks.

    Attributes:
        width: of the hidden layers.
        depth: hidden layers of a stack.
        narrow: numbers that a step's covariates are narrowed to.
        dropout: chance of a hidden number to be left out.
    """

    width: int = whole(128)
    depth: int = whole(2)
    narrow: int = whole(2)
    dropout: float = share(0.1)


class Stack(nn.Module):
    """One stack: what it reads of the window is pooled by `pool`, what it forecasts has a knot every `each` steps.

    The last one leaves nothing to another.
    """

    between: Tensor
    back: Tensor

    def __init__(self, shape: Shape, options: Options, pool: int, each: int, covariates: int, last: bool) -> None:
        super().__init__()
        self.pool, self.outputs = pool, shape.outputs
        self.knots, self.own = -(-shape.horizon // each), -(-shape.length // pool)
        sizes = [self.own + covariates] + [options.width] * options.depth
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(options.dropout)]
        self.layers = nn.Sequential(*layers)
        self.explained = None if last else last_layer(options.width, self.own)
        self.forecast = last_layer(options.width, self.knots * shape.outputs)
        self.register_buffer("between", interpolation(self.knots, shape.horizon), persistent=False)
        self.register_buffer("back", interpolation(self.own, shape.length), persistent=False)

    def forward(self, rest: Tensor, covariates: Tensor) -> tuple[Tensor, Tensor]:
        """([row, length] what it leaves of the window to the next one, [row, horizon, output] its part)."""
        # The newest steps fill the last pool.
        whole = functional.pad(rest.unsqueeze(1), (self.own * self.pool - rest.shape[1], 0), mode="replicate")
        pooled = functional.max_pool1d(whole, self.pool).squeeze(1)
        hidden = self.layers(torch.cat([pooled, covariates], dim=1))
        knots = self.forecast(hidden).unflatten(1, (self.knots, self.outputs))
        part = torch.einsum("hk,rko->rho", self.between, knots)
        return rest if self.explained is None else rest - self.explained(hidden) @ self.back.T, part


def interpolation(knots: int, steps: int) -> Tensor:
    """float32 [step, knot]: weights of linear interpolation between evenly spaced knots, the outer ones at the ends."""
    if knots == 1:
        return torch.ones(steps, 1)
    place = torch.linspace(0, knots - 1, steps).unsqueeze(1)
    return (1 - (place - torch.arange(knots)).abs()).clamp_min(0)


class NHits(nn.Module):
    """See the module."""

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        self.past = nn.Linear(shape.past - 1, options.narrow)
        self.future = nn.Linear(shape.future, options.narrow) if shape.future else None
        ahead = shape.horizon * options.narrow * bool(shape.future)
        covariates = shape.length * options.narrow + ahead + shape.about
        paces = [
            (max(1, min(pool, shape.length // 8)), max(1, min(each, shape.horizon // 2)))
            for pool, each in zip(POOLS, KNOTS, strict=True)
        ]
        self.stacks = nn.ModuleList(
            Stack(shape, options, *pace, covariates, last=number + 1 == len(paces)) for number, pace in enumerate(paces)
        )

    def forward(self, past: Tensor, future: Tensor, about: Tensor) -> Tensor:
        """[row, horizon, output]."""
        parts = [self.past(past[:, :, 1:]).flatten(1), about]
        if self.future is not None:
            parts.append(self.future(future).flatten(1))
        covariates, rest = torch.cat(parts, dim=1), past[:, :, 0]
        found = torch.zeros((), device=past.device)
        for stack in self.stacks:
            rest, part = stack(rest, covariates)
            found = found + part
        return found


def build(shape: Shape, options: Options) -> NHits:
    """The stacks with fresh weights."""
    return NHits(shape, options)
