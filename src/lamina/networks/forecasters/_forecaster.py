"""From an encoded window to quantiles of the next steps in the target's own units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.modalities._tracks import CENTER, SPREAD
from lamina.networks.forecasters import Shape

WINDOW = "window"
"""What the input of steps is called."""
ABOUT = 8
"""Numbers that a category of a series is told by."""
SMALL = 0.02
"""Standard deviation of fresh weights at the end of a network: forecasts begin close to the linear one's."""


class About(nn.Module):
    """What is known of a series itself: its categories as learned vectors, its numbers as they are."""

    def __init__(self, features: Mapping[str, Feature]) -> None:
        super().__init__()
        self.categories = [name for name, feature in features.items() if feature.kind == "category"]
        self.numbers = [name for name, feature in features.items() if feature.kind == "numbers"]
        self.tables = nn.ModuleList(nn.Embedding(features[name].size, ABOUT) for name in self.categories)
        for table in self.tables:
            nn.init.normal_(cast(Tensor, table.weight), std=0.3)
        self.width = ABOUT * len(self.categories) + sum(features[name].shape[0] for name in self.numbers)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, width]."""
        parts = [table(inputs[name].long()) for name, table in zip(self.categories, self.tables, strict=True)]
        parts += [inputs[name].float() for name in self.numbers]
        return torch.cat(parts, dim=1) if parts else inputs[WINDOW].new_zeros(inputs[WINDOW].shape[0], 0)


class Forecaster(nn.Module):
    """A linear forecast, the corrections of a network, and what makes quantiles of them.

    The window is normalised by its own center and spread, with a learned gain and offset besides, and all is undone at
    the end (Kim et al. 2022, "Reversible instance normalization"). The linear forecast (Zeng et al. 2023, "Are
    transformers effective for time series forecasting?") begins as a simple rule such as the seasonal naive one.

    Args:
        target: the output's name.
        window: the feature of the input of steps.
        rule: float32 [horizon, length], the rule that the linear forecast begins as.
        about: of the series.
        network: as a module of `lamina.networks.forecasters` builds it.
        middle: which of the outputs is the middle; those before and after it are distances to their neighbors.
    """

    rule: Tensor

    def __init__(
        self, target: str, window: Feature, rule: Tensor, about: About, network: nn.Module, middle: int
    ) -> None:
        super().__init__()
        self.target, self.middle = target, middle
        self.length = window.shape[0] - int(window.details["horizon"])
        self.past: list[int] = list(window.details["past"])
        self.future: list[int] = list(window.details["future"])
        self.register_buffer("rule", rule)
        self.change = nn.Parameter(torch.zeros_like(rule))
        self.gain = nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.zeros(()))
        self.about, self.network = about, network

    def normalised(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{target: [row, horizon, quantile]} from the window's center, in units of its spread, ascending."""
        steps = inputs[WINDOW].float()
        past = steps[:, : self.length, self.past]
        gain = self.gain.exp()
        own = past[:, :, :1] * gain + self.offset
        past = torch.cat([own, past[:, :, 1:]], dim=2)
        found = self.network(past, steps[:, self.length :, self.future], self.about(inputs))
        # Adam moves all weights by like amounts: unscaled, one step would change the sum over a long window at will.
        linear = own[:, :, 0] @ (self.rule + self.change / self.length**0.5).T
        middle = (linear + found[:, :, self.middle] - self.offset) / gain
        apart = functional.softplus(found) / gain
        below, above = [middle], [middle]
        for place in range(self.middle - 1, -1, -1):
            below.append(below[-1] - apart[:, :, place])
        for place in range(self.middle + 1, found.shape[2]):
            above.append(above[-1] + apart[:, :, place])
        return {self.target: torch.stack([*below[:0:-1], *above], dim=2)}

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{target: [row, 1, horizon * quantile]} in the target's units."""
        found = self.normalised(inputs)[self.target]
        first = inputs[WINDOW][:, :1].float()
        raw = first[:, :, CENTER : CENTER + 1] + first[:, :, SPREAD : SPREAD + 1] * found
        return {self.target: raw.flatten(1).unsqueeze(1)}

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Its parts from input to output."""
        return [("about", self.about), ("network", self.network)]


def forecaster(
    target: str, features: Mapping[str, Feature], rule: Tensor, network: Any, options: Any, outputs: int
) -> Forecaster:
    """A forecaster with fresh weights from PyTorch's generator.

    Args:
        features: of the inputs, the window among them.
        network: a module of `lamina.networks.forecasters`.
        options: the module's.
        outputs: quantiles of each step, the middle one in their middle.
    """
    window = features[WINDOW]
    about = About({name: feature for name, feature in features.items() if name != WINDOW})
    horizon = int(window.details["horizon"])
    shape = Shape(
        window.shape[0] - horizon, horizon, len(window.details["past"]), len(window.details["future"]), about.width,
        outputs,
    )  # fmt: skip
    return Forecaster(target, window, rule, about, network.build(shape, options), outputs // 2)


def last_layer(width: int, outputs: int) -> nn.Linear:
    """A linear layer whose fresh outputs are small."""
    layer = nn.Linear(width, outputs)
    nn.init.normal_(layer.weight, std=SMALL)
    nn.init.zeros_(layer.bias)
    return layer
