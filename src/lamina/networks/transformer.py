"""Transformer encoder for text, patches of images or spectrograms, and series."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.networks import OutputShape, Places
from lamina.networks.blocks.attention import EncoderLayer, Rotary
from lamina.networks.blocks.depth import chances
from lamina.networks.blocks.fields import Pixels, lengths, only_field, steps_read, trimmed, within
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.pooling import PoolSequence
from lamina.networks.blocks.steps import StepInput

ACCEPTS = ("tokens", "image", "spectrogram", "series")
TRIMS = ("tokens", "spectrogram")


@dataclass(frozen=True)
class Options:
    """Sizes of a transformer encoder.

    Attributes:
        width: of every vector; a multiple of `heads`.
        depth: number of layers.
        heads: attention heads.
        expansion: width of the feed-forward part as a multiple of `width`.
        feed: "geglu" (gated) or "gelu".
        positions: "rotary" (sequences only), "learned", or "auto": rotary for sequences, learned for images.
        longest: tokens of a text that are read, from its beginning; attention to more costs their square.
        patch: side of an image's patch in pixels, or steps of sound or series read as one. 0: from the size.
        dropout: after embedding, attention and feed-forward, and on attention weights.
        stochastic_depth: chance of leaving out the last layer; earlier layers proportionally less.
        pooling: how the steps become a vector; "cls" reads a learned first step.
    """

    width: int = whole(128)
    depth: int = whole(4)
    heads: int = whole(4)
    expansion: int = whole(3)
    feed: Literal["geglu", "gelu"] = "geglu"
    positions: Literal["auto", "rotary", "learned"] = "auto"
    longest: int = whole(512)
    patch: int = whole(0, least=0)
    dropout: float = share(0.1)
    stochastic_depth: float = share(0.0)
    pooling: Literal["mean", "maximum", "mean_maximum", "attention", "cls"] = "mean"


class PatchInput(nn.Module):
    """uint8 images to [batch, patch, width]: square patches through a linear map (Dosovitskiy et al. 2021)."""

    def __init__(self, feature: Feature, width: int, side: int) -> None:
        super().__init__()
        self.pixels, self.side = Pixels(feature), side
        self.rows, self.columns = (math.ceil(length / side) for length in feature.shape[:2])
        self.project = nn.Linear(side * side * feature.shape[2], width)

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.pixels(images).permute(0, 2, 3, 1)
        height, width, channels = values.shape[1:]
        padding = (0, 0, 0, self.columns * self.side - width, 0, self.rows * self.side - height)
        values = functional.pad(values, padding)
        values = values.reshape(-1, self.rows, self.side, self.columns, self.side, channels)
        answer: Tensor = self.project(values.transpose(2, 3).flatten(3).flatten(1, 2))
        return answer


class Entry(nn.Module):
    """The first stage: vectors of tokens, frames or patches, with learned positions and a first step for "cls"."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        self.kind = feature.kind
        learned = options.positions == "learned" or (options.positions == "auto" and feature.kind == "image")
        if feature.kind == "image":
            if options.positions == "rotary":
                raise InputError(
                    "Rotary positions are for sequences, not images.", where=name, fix='Set positions = "learned".'
                )
            patches = PatchInput(feature, options.width, options.patch or max(2, min(feature.shape[:2]) // 8))
            self.project: PatchInput | StepInput = patches
            self.grid: tuple[int, ...] = (patches.rows, patches.columns)
        else:
            default = max(1, feature.shape[0] // 100)
            self.project = StepInput(feature, options.width, options.patch or default)
            self.grid = (self.project.patches(steps_read(feature, options.longest)),)
        steps = math.prod(self.grid)
        self.first = nn.Parameter(torch.randn(1, 1, options.width) * 0.02) if options.pooling == "cls" else None
        self.positions = nn.Parameter(torch.randn(1, steps, options.width) * 0.02) if learned else None
        self.steps = steps + (1 if self.first is not None else 0)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """[batch, step, width], and the mask [batch, step] (None where nothing is padded)."""
        mask = None
        if isinstance(self.project, StepInput):
            values, length = self.project(values, lengths(self.kind, values))
            mask = within(length, values.shape[1]) if self.kind != "series" else None
        else:
            values = self.project(values)
        if self.positions is not None:
            values = values + self.positions[:, : values.shape[1]]
        if self.first is not None:
            values = torch.cat([self.first.expand(values.shape[0], -1, -1), values], dim=1)
            mask = None if mask is None else torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        return self.dropout(values), mask


class Transformer(nn.Module):
    """Entry, pre-norm encoder layers, last norm and masked pooling; one field."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        if options.width % (2 * options.heads):
            raise InputError(
                f"The width {options.width} cannot be shared by {options.heads} heads of even width.",
                where=name,
                fix=f"Choose a width that is a multiple of {2 * options.heads}.",
            )
        self.field, self.kind = name, feature.kind
        self.longest = steps_read(feature, options.longest) if feature.kind != "image" else 0
        self.entry = Entry(name, feature, options)
        learned = self.entry.positions is not None
        self.rotary = None if learned else Rotary(self.entry.steps, options.width // options.heads)
        skipped = chances(options.stochastic_depth, options.depth)
        self.layers = nn.ModuleList(
            EncoderLayer(
                options.width,
                options.heads,
                options.expansion,
                options.feed == "geglu",
                options.dropout,
                skipped[number],
            )
            for number in range(options.depth)
        )
        self.norm = nn.LayerNorm(options.width)
        self.pool = None if options.pooling == "cls" else PoolSequence(options.width, options.pooling)
        self.output = OutputShape(self.pool.width if self.pool is not None else options.width)
        self.places = Places(options.width, self.entry.grid)
        self.apply(_initialise)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, width]."""
        return self._vector(*self._read(inputs))

    def local(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and [batch, row, column, width] of a picture's patches or [batch, step, width]."""
        values, mask = self._read(inputs)
        steps = values if self.pool is not None else values[:, 1:]
        if self.kind == "image":
            steps = steps.reshape(steps.shape[0], *self.places.grid, -1)
        return self._vector(values, mask), steps

    def _read(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """The steps' vectors [batch, step, width], the first one of "cls" among them, and the mask of `Entry`."""
        values = inputs[self.field]
        if self.kind != "image":
            values = trimmed(self.kind, values[:, : self.longest])
        values, mask = self.entry(values)
        for layer in self.layers:
            values = layer(values, mask, self.rotary)
        return self.norm(values), mask

    def _vector(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """[batch, 1, width]."""
        if self.pool is None:
            first: Tensor = values[:, :1]
            return first
        if mask is None:
            mask = torch.ones_like(values[:, :, 0], dtype=torch.bool)
        pooled: Tensor = self.pool(values, mask)
        return pooled.unsqueeze(1)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """entry, layer1, layer2, ..., norm, pool."""
        layers = [(f"layer{number}", layer) for number, layer in enumerate(self.layers, 1)]
        pool = [] if self.pool is None else [("pool", self.pool)]
        return [("entry", self.entry), *layers, ("norm", self.norm), *pool]


def _initialise(module: nn.Module) -> None:
    """Small weights, as usual for transformers (Devlin et al. 2018), but wide enough to learn fast from scratch."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=1 / math.sqrt(module.embedding_dim))
        if module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])


def build(features: Mapping[str, Feature], options: Options) -> Transformer:
    """A transformer encoder for the one field in `features`."""
    return Transformer(*only_field("transformer", ACCEPTS, features), options)
