"""TabM: an implicit ensemble of multilayer perceptrons for plain columns.

Gorishniy et al. 2025, "TabM: advancing tabular deep learning with parameter-efficient ensembling". All
members share the weights; each has its own scaling of the first layer's input, and of every further layer's input and
output with its own biases (BatchEnsemble, Wen et al. 2020). They learn side by side and answer as one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks import OutputShape
from lamina.networks.blocks.fields import check_fields
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.table import NumericEmbedding, TableInput

ACCEPTS = ("numbers", "category")


@dataclass(frozen=True)
class Options:
    """Sizes of the ensemble.

    Attributes:
        members: how many perceptrons.
        width: units of each layer.
        depth: number of layers.
        dropout: after each layer.
        variant: "mini": members differ by the scaling of the columns' vector only; "full": in every further layer too.
        numeric: embedding of single numbers ("auto": piecewise linear where the encoder found bins, else periodic).
        numeric_width: width of a number's embedding.
    """

    members: int = whole(32)
    width: int = whole(128)
    depth: int = whole(2)
    dropout: float = share(0.1)
    variant: Literal["mini", "full"] = "full"
    numeric: NumericEmbedding = "auto"
    numeric_width: int = whole(12)


class MemberScale(nn.Module):
    """Each member's own factors: [batch, member or 1, width] to [batch, member, width].

    Random signs make the members see different inputs from the start; ones leave them alike.
    """

    def __init__(self, members: int, width: int, signs: bool) -> None:
        super().__init__()
        start = torch.randint(0, 2, (members, width)) * 2.0 - 1.0 if signs else torch.ones(members, width)
        self.factor = nn.Parameter(start)

    def forward(self, values: Tensor) -> Tensor:
        # Of two precisions the result would be the larger one, at twice the cost of all that follows.
        return values * self.factor.to(values.dtype)


class Layer(nn.Module):
    """A shared linear map between member factors, member biases, ReLU, dropout."""

    def __init__(self, members: int, inner: int, outer: int, dropout: float, adapted: bool) -> None:
        super().__init__()
        self.before = MemberScale(members, inner, signs=False) if adapted else nn.Identity()
        self.linear = nn.Linear(inner, outer, bias=False)
        self.after = MemberScale(members, outer, signs=False) if adapted else nn.Identity()
        bound = 1 / math.sqrt(inner)
        self.bias = nn.Parameter(torch.empty(members if adapted else 1, outer).uniform_(-bound, bound))
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        values = self.after(self.linear(self.before(values)))
        values = values + self.bias.to(values.dtype)
        answer: Tensor = self.dropout(torch.relu(values))
        return answer


class TabM(nn.Module):
    """Columns, members' first scaling, layers."""

    def __init__(self, features: Mapping[str, Feature], options: Options) -> None:
        super().__init__()
        self.columns = TableInput(features, options.numeric, options.numeric_width)
        self.split = MemberScale(options.members, self.columns.width, signs=True)
        adapted = options.variant == "full"
        widths = [self.columns.width, *[options.width] * options.depth]
        self.blocks = nn.ModuleList(
            Layer(options.members, inner, outer, options.dropout, adapted and number > 0)
            for number, (inner, outer) in enumerate(pairwise(widths))
        )
        self.output = OutputShape(options.width, options.members)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, member, width]."""
        values: Tensor = self.split(self.columns(inputs).unsqueeze(1))
        for block in self.blocks:
            values = block(values)
        return values

    def stages(self) -> list[tuple[str, nn.Module]]:
        """columns, split, blocks.0, blocks.1, ..."""
        blocks = [(f"blocks.{number}", block) for number, block in enumerate(self.blocks)]
        return [("columns", self.columns), ("split", self.split), *blocks]


def build(features: Mapping[str, Feature], options: Options) -> TabM:
    """An implicit ensemble for any number of plain columns."""
    check_fields("tabm", ACCEPTS, features)
    return TabM(features, options)
