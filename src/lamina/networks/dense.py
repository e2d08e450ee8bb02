"""Dense layers with one activation between them: the small, quick network of reinforcement learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks import OutputShape
from lamina.networks.blocks.fields import check_fields
from lamina.networks.blocks.options import whole
from lamina.networks.blocks.table import TableInput

ACCEPTS = ("numbers", "category")
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


@dataclass(frozen=True)
class Options:
    """Sizes of dense layers.

    Attributes:
        width: units of each layer.
        depth: number of layers.
        activation: after each layer; "tanh" suits policies learned on their own experience (Andrychowicz et al. 2021,
            "What matters for on-policy deep actor-critic methods?"), "relu" values learned from a replay memory.
        norm: normalise each layer before its activation.
    """

    width: int = whole(64)
    depth: int = whole(2)
    activation: Literal["tanh", "relu", "silu"] = "tanh"
    norm: bool = False


class Dense(nn.Module):
    """All plain columns, then layers; orthogonal weights (Saxe et al. 2014) and zero biases to begin with."""

    def __init__(self, features: Mapping[str, Feature], options: Options) -> None:
        super().__init__()
        self.columns = TableInput(features, "none", 1)
        self.layers = nn.ModuleList()
        inner = self.columns.width
        for _ in range(options.depth):
            linear = nn.Linear(inner, options.width)
            nn.init.orthogonal_(
                linear.weight, nn.init.calculate_gain("tanh" if options.activation == "tanh" else "relu")
            )
            nn.init.zeros_(linear.bias)
            norm = [nn.LayerNorm(options.width)] if options.norm else []
            self.layers.append(nn.Sequential(linear, *norm, ACTIVATIONS[options.activation]()))
            inner = options.width
        self.output = OutputShape(options.width)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, width]."""
        values: Tensor = self.columns(inputs)
        for layer in self.layers:
            values = layer(values)
        return values.unsqueeze(1)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """columns, layers.0, layers.1, ..."""
        return [("columns", self.columns), *((f"layers.{number}", layer) for number, layer in enumerate(self.layers))]


def build(features: Mapping[str, Feature], options: Options) -> Dense:
    """Dense layers for any number of plain columns."""
    check_fields("dense", ACCEPTS, features)
    return Dense(features, options)
