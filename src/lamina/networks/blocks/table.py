"""Plain columns and short series to one vector: category and numeric embeddings, all columns at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lamina.modalities import Feature

NumericEmbedding = Literal["auto", "piecewise", "periodic", "none"]


def embedding_width(size: int) -> int:
    """Width of a category's embedding: 1.6 * size ** 0.56, from 2 to 64 (the rule that fastai found to work)."""
    return min(64, max(2, round(1.6 * math.pow(size, 0.56))))


class Categories(nn.Module):
    """Embeddings of all category columns, [batch, self.width].

    Columns with embeddings of one width share one table, so that the number of operations does not grow with
    the number of columns. An index outside its column's range is read as unknown (0).
    """

    sizes: Tensor

    def __init__(self, features: Mapping[str, Feature]) -> None:
        super().__init__()
        self.groups: dict[int, list[str]] = {}
        for name, feature in features.items():
            self.groups.setdefault(embedding_width(feature.size), []).append(name)
        self.tables = nn.ModuleDict()
        self.width = sum(width * len(names) for width, names in self.groups.items())
        for width, names in self.groups.items():
            sizes = [features[name].size for name in names]
            table = nn.Embedding(sum(sizes), width)
            nn.init.normal_(table.weight, std=1 / math.sqrt(width))
            self.tables[str(width)] = table
            starts = [sum(sizes[:number]) for number in range(len(sizes))]
            self.register_buffer(f"sizes_{width}", torch.tensor(sizes), persistent=False)
            self.register_buffer(f"starts_{width}", torch.tensor(starts), persistent=False)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        parts = []
        for width, names in self.groups.items():
            index = torch.stack([inputs[name] for name in names], dim=1).long()
            known = (index >= 0) & (index < self.get_buffer(f"sizes_{width}"))
            index = torch.where(known, index, 0) + self.get_buffer(f"starts_{width}")
            parts.append(self.tables[str(width)](index).flatten(1))
        return torch.cat(parts, dim=1)


class PiecewiseLinear(nn.Module):
    """Numbers [batch, column] to [batch, column, width] through quantile bins and a linear map for each column.

    Gorishniy et al. 2022, "On embeddings for numerical features in tabular deep learning": each bin gives
    the share of it that lies below the value. As in TabM (2025), a linear term is added and the bins' map starts
    at zero.
    """

    low: Tensor
    scale: Tensor
    ends: Tensor

    def __init__(self, edges: Sequence[Sequence[float]], width: int) -> None:
        super().__init__()
        most = max(len(one) - 1 for one in edges)
        low = torch.zeros(len(edges), most)
        scale = torch.zeros(len(edges), most)
        for number, one in enumerate(edges):
            edge = torch.tensor(one, dtype=torch.float32)
            low[number, : len(edge) - 1] = edge[:-1]
            scale[number, : len(edge) - 1] = 1.0 / (edge[1:] - edge[:-1]).clamp_min(1e-6)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        ends = torch.tensor([[one[0] for one in edges], [one[-1] for one in edges]], dtype=torch.float32)
        self.register_buffer("ends", ends, persistent=False)
        self.bins = nn.Parameter(torch.zeros(len(edges), most, width))
        self.linear = ColumnLinear(len(edges), 1, width)

    def forward(self, values: Tensor) -> Tensor:
        # Beyond the training values the answer stays what it was at the last one, as trees do it: the slope of the
        # linear term was never tested there, and a column that drifts (a month, a counter) would run away with it.
        values = torch.minimum(torch.maximum(values, self.ends[0]), self.ends[1])
        shares = ((values.unsqueeze(2) - self.low) * self.scale).clamp(0.0, 1.0)
        by_column = torch.bmm(shares.transpose(0, 1), self.bins).transpose(0, 1)
        linear: Tensor = self.linear(values.unsqueeze(2))
        return by_column + linear


class Periodic(nn.Module):
    """Numbers [batch, column] to [batch, column, width] through sines and cosines of learned frequencies.

    Gorishniy et al. 2022 ("PLR"): frequencies, a linear map for each column, ReLU.
    """

    def __init__(self, columns: int, width: int, frequencies: int = 16, spread: float = 0.3) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(columns, frequencies) * spread)
        self.linear = ColumnLinear(columns, 2 * frequencies, width)

    def forward(self, values: Tensor) -> Tensor:
        angle = 2 * math.pi * values.unsqueeze(2) * self.frequency
        return torch.relu(self.linear(torch.cat([angle.cos(), angle.sin()], dim=2)))


class ColumnLinear(nn.Module):
    """A linear map of its own for each column: [batch, column, inner] to [batch, column, outer]."""

    def __init__(self, columns: int, inner: int, outer: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inner)
        self.weight = nn.Parameter(torch.empty(columns, inner, outer).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(columns, outer).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        return torch.bmm(values.transpose(0, 1), self.weight).transpose(0, 1) + self.bias


class TableInput(nn.Module):
    """All plain columns, and all steps of series, as one vector [batch, self.width].

    Args:
        features: fields of kind "numbers", "category" or "series".
        numeric: how single numbers are embedded: "piecewise" where the encoder found bins ("auto": else
            periodic), "periodic" for all, or "none" for the standardised numbers as they are.
        width: the embedding's width for each number.

    In a numbers field of shape [2] the second column is the missing flag and goes in as it is; wider fields
    (sets, times) go in as they are.
    """

    def __init__(self, features: Mapping[str, Feature], numeric: NumericEmbedding, width: int) -> None:
        super().__init__()
        categories = {name: feature for name, feature in features.items() if feature.kind == "category"}
        numbers = {name: feature for name, feature in features.items() if feature.kind == "numbers"}
        edges = {name: _edges(feature) for name, feature in numbers.items()}
        single = [name for name, feature in numbers.items() if feature.shape[0] <= 2] if numeric != "none" else []
        binned = [name for name in single if numeric != "periodic" and edges[name]]
        self.binned = tuple(binned)
        self.waves = tuple(name for name in single if numeric != "piecewise" and name not in binned)
        embedded = {*self.binned, *self.waves}
        self.plain = tuple((name, 1 if name in embedded else 0) for name, feature in numbers.items()
                           if name not in embedded or feature.shape[0] > 1)  # fmt: skip
        series = {name: feature for name, feature in features.items() if feature.kind == "series"}
        self.series = tuple(series)
        self.categories = Categories(categories) if categories else None
        self.piecewise = PiecewiseLinear([edges[name] for name in binned], width) if binned else None
        self.periodic = Periodic(len(self.waves), width) if self.waves else None
        self.width = (
            sum(numbers[name].shape[0] - start for name, start in self.plain)
            + (self.categories.width if self.categories is not None else 0)
            + len(embedded) * width
            + sum(math.prod(feature.shape) for feature in series.values())
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        parts = [inputs[name][:, start:].float() for name, start in self.plain]
        if self.piecewise is not None:
            values = torch.stack([inputs[name][:, 0] for name in self.binned], dim=1).float()
            parts.append(self.piecewise(values).flatten(1))
        if self.periodic is not None:
            values = torch.stack([inputs[name][:, 0] for name in self.waves], dim=1).float()
            parts.append(self.periodic(values).flatten(1))
        if self.categories is not None:
            parts.append(self.categories(inputs))
        parts += [inputs[name].float().flatten(1) for name in self.series]
        return torch.cat(parts, dim=1)


def _edges(feature: Feature) -> list[float]:
    """The field's distinct bin edges in ascending order; empty where there are fewer than three."""
    edges = sorted({float(edge) for edge in feature.details.get("bins", ())})
    return edges if len(edges) >= 3 else []
