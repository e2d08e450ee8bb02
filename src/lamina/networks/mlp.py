"""Multilayer perceptron for plain columns and short series, with category embeddings and residual blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks import OutputShape
from lamina.networks.blocks.depth import StochasticDepth, chances
from lamina.networks.blocks.fields import check_fields
from lamina.networks.blocks.norm import BatchNorm
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.table import NumericEmbedding, TableInput

ACCEPTS = ("numbers", "category", "series")


@dataclass(frozen=True)
class Options:
    """Sizes of a multilayer perceptron.

    Attributes:
        width: units of each layer.
        depth: number of blocks.
        residual: add each block's input to its output.
        norm: normalisation in each block.
        dropout: after each block's activation.
        stochastic_depth: chance of leaving out the last residual block; earlier blocks proportionally less.
        numeric: embedding of single numbers; "none" takes them as they are.
        numeric_width: width of a number's embedding.
    """

    width: int = whole(128)
    depth: int = whole(3)
    residual: bool = True
    norm: Literal["layer", "batch", "none"] = "layer"
    dropout: float = share(0.1)
    stochastic_depth: float = share(0.0)
    numeric: NumericEmbedding = "none"
    numeric_width: int = whole(8)


class Block(nn.Module):
    """Norm, linear, activation, dropout; with a shortcut where `residual` (Gorishniy et al. 2021)."""

    def __init__(self, options: Options, skipped: float) -> None:
        super().__init__()
        norms = {"layer": nn.LayerNorm, "batch": BatchNorm}
        self.residual = options.residual
        self.branch = nn.Sequential(
            *([norms[options.norm](options.width)] if options.norm != "none" else []),
            nn.Linear(options.width, options.width),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            *([nn.Linear(options.width, options.width), StochasticDepth(skipped)] if options.residual else []),
        )

    def forward(self, values: Tensor) -> Tensor:
        branch: Tensor = self.branch(values)
        return values + branch if self.residual else branch


class Perceptron(nn.Module):
    """All plain columns and all steps of series side by side, a linear layer, blocks, a last norm."""

    def __init__(self, features: Mapping[str, Feature], options: Options) -> None:
        super().__init__()
        self.columns = TableInput(features, options.numeric, options.numeric_width)
        self.entry = nn.Linear(self.columns.width, options.width)
        skipped = chances(options.stochastic_depth, options.depth)
        self.blocks = nn.ModuleList(Block(options, skipped[number]) for number in range(options.depth))
        self.last = nn.Sequential(nn.LayerNorm(options.width) if options.norm != "none" else nn.Identity(), nn.ReLU())
        self.output = OutputShape(options.width)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, width]."""
        values = self.entry(self.columns(inputs))
        for block in self.blocks:
            values = block(values)
        vector: Tensor = self.last(values)
        return vector.unsqueeze(1)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """columns, entry, blocks.0, blocks.1, ..., last."""
        blocks = [(f"blocks.{number}", block) for number, block in enumerate(self.blocks)]
        return [("columns", self.columns), ("entry", self.entry), *blocks, ("last", self.last)]


def build(features: Mapping[str, Feature], options: Options) -> Perceptron:
    """A multilayer perceptron for any number of plain columns and series."""
    check_fields("mlp", ACCEPTS, features)
    return Perceptron(features, options)
