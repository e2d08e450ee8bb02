"""Plain convolutions without normalisation: the network that plays from pictures (Mnih et al. 2015).

Where the picture is a grid of codes, each is read as what it is, one of several kinds.

Nothing in it depends on the other rows of a batch or on training mode, so what a policy did while it gathered
experience can be computed again exactly while it learns from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks import OutputShape
from lamina.networks.blocks.fields import Codes, Pixels, levels_of, only_field, places_of
from lamina.networks.blocks.options import whole

ACCEPTS = ("image",)
GIVES = ("pyramid",)
LARGE = 64
"""Pixels from which on the first layers may take large strides."""


@dataclass(frozen=True)
class Options:
    """Sizes of plain convolutions.

    Attributes:
        width: filters of the first layer; the next two have twice as many.
        hidden: units of the dense layer at the end.
    """

    width: int = whole(32)
    hidden: int = whole(512)


class Convolutional(nn.Module):
    """Three convolutions and a dense layer, each followed by ReLU; orthogonal weights to begin with."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        self.name = name
        height, width, channels = feature.shape
        kinds = int(feature.details.get("codes", 0))
        self.pixels: nn.Module = Codes(kinds) if kinds else Pixels(feature, mean=0.0, deviation=255.0)
        channels *= kinds or 1
        strided = min(height, width) >= LARGE
        sizes = [(8, 4), (4, 2), (3, 1)] if strided else [(3, 2), (3, 2), (3, 1)]
        self.layers = nn.ModuleList()
        inner = channels
        for number, (kernel, stride) in enumerate(sizes):
            outer = options.width * (1 if number == 0 else 2)
            padding = 0 if strided else 1
            self.layers.append(nn.Sequential(nn.Conv2d(inner, outer, kernel, stride, padding), nn.ReLU()))
            inner = outer
        with torch.no_grad():
            maps = self._maps(torch.zeros(1, channels, height, width))
        self.levels = levels_of(maps, feature)
        self.dense: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(maps[-1][0].numel(), options.hidden), nn.ReLU())
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(module.weight, nn.init.calculate_gain("relu"))
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        self.output = OutputShape(options.hidden)
        self.places = places_of(self.levels)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, hidden]."""
        return self.local(inputs)[0]

    def local(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the last map, [batch, row, column, channel]."""
        last = self.pyramid(inputs)[-1]
        vector: Tensor = self.dense(last)
        return vector.unsqueeze(1), last.permute(0, 2, 3, 1)

    def pyramid(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The picture and the map of every convolution."""
        return self._maps(self.pixels(inputs[self.name]))

    def without_vector(self) -> None:
        """The dense layer."""
        self.dense = nn.Identity()

    def _maps(self, values: Tensor) -> list[Tensor]:
        maps = [values]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps

    def stages(self) -> list[tuple[str, nn.Module]]:
        """layers.0, layers.1, layers.2, dense."""
        return [*((f"layers.{number}", layer) for number, layer in enumerate(self.layers)), ("dense", self.dense)]


def build(features: Mapping[str, Feature], options: Options) -> Convolutional:
    """Plain convolutions for one image field."""
    name, feature = only_field("convolutional", ACCEPTS, features)
    return Convolutional(name, feature, options)
