"""Conformer for speech: convolutions see what is near, attention the whole sound (Gulati et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.networks import OutputShape, Places, Steps
from lamina.networks.blocks.attention import Attention, Rotary
from lamina.networks.blocks.depth import StochasticDepth, chances
from lamina.networks.blocks.fields import lengths, only_field, trimmed, within
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.pooling import PoolSequence, SequencePooling
from lamina.networks.blocks.steps import padded_steps

ACCEPTS = ("spectrogram",)
TRIMS = ("spectrogram",)
GIVES = ("sequence",)


@dataclass(frozen=True)
class Options:
    """Sizes of a conformer.

    Attributes:
        width: of every step's vector; a multiple of twice `heads`.
        depth: number of blocks.
        heads: attention heads.
        expansion: width of the feed-forward parts as a multiple of `width`.
        kernel: steps that a depthwise convolution sees; odd.
        halvings: how often the time is halved before the blocks: 2 makes steps of 40 ms of frames of 10 ms.
        channels: of the convolutions that halve.
        dropout: after the entry and in every part of a block, and on attention weights.
        stochastic_depth: chance of leaving out the last block's parts; earlier blocks proportionally less.
        pooling: how the steps become a vector, where one is asked for.
    """

    width: int = whole(128)
    depth: int = whole(4)
    heads: int = whole(4)
    expansion: int = whole(4)
    kernel: int = whole(15)
    halvings: int = whole(2)
    channels: int = whole(32)
    dropout: float = share(0.1)
    stochastic_depth: float = share(0.0)
    pooling: SequencePooling = "mean"


class Entry(nn.Module):
    """[batch, frame, band] to [batch, step, width]: convolutions with stride 2 in time and bands, then a linear map.

    What lies beyond a sound's end is blanked after every convolution, so the padding of a batch changes nothing.
    """

    def __init__(self, bands: int, options: Options) -> None:
        super().__init__()
        inner = [1] + [options.channels] * options.halvings
        self.convolutions = nn.ModuleList(
            nn.Conv2d(one, other, 3, stride=2, padding=1) for one, other in pairwise(inner)
        )
        for _ in range(options.halvings):
            bands = -(-bands // 2)
        self.project = nn.Linear(inner[-1] * bands, options.width)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, frames: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """The steps' vectors, and how many steps of each row are no padding."""
        values = frames.float().unsqueeze(1)
        for convolution in self.convolutions:
            values = torch.relu(convolution(values))
            length = (length + 1) // 2
            values = values * within(length, values.shape[2])[:, None, :, None].to(values.dtype)
        return self.dropout(self.project(values.transpose(1, 2).flatten(2))), length


class FeedForward(nn.Module):
    """Two linear maps with SiLU between, after a norm; [batch, step, width]."""

    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, expansion * width), nn.SiLU(), nn.Dropout(dropout),
            nn.Linear(expansion * width, width), nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, values: Tensor) -> Tensor:
        answer: Tensor = self.layers(values)
        return answer


class Convolution(nn.Module):
    """Gate, depthwise convolution over the steps, SiLU; [batch, step, width].

    A layer norm stands where the paper has a batch norm, whose statistics would depend on how much a batch is padded.
    """

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.inner_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        gated = functional.glu(self.gate(self.norm(values)), dim=2) * mask.unsqueeze(2).to(values.dtype)
        mixed = self.inner_norm(self.depthwise(gated.transpose(1, 2)).transpose(1, 2))
        answer: Tensor = self.dropout(self.out(functional.silu(mixed)))
        return answer


class Block(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, each beside a shortcut; and a norm."""

    def __init__(self, options: Options, skipped: float) -> None:
        super().__init__()
        width, dropout = options.width, options.dropout
        self.before = FeedForward(width, options.expansion, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, options.heads, dropout)
        self.convolution = Convolution(width, options.kernel, dropout)
        self.after = FeedForward(width, options.expansion, dropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.depth = StochasticDepth(skipped)

    def forward(self, values: Tensor, mask: Tensor, rotary: Rotary) -> Tensor:
        values = values + 0.5 * self.depth(self.before(values))
        mixed = self.attention(self.attention_norm(values), mask, rotary)
        values = values + self.depth(self.dropout(mixed))
        values = values + self.depth(self.convolution(values, mask))
        values = values + 0.5 * self.depth(self.after(values))
        answer: Tensor = self.norm(values)
        return answer


class Conformer(nn.Module):
    """Halving convolutions and conformer blocks; a vector for every step, or their pooled vector; one field."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        if options.width % (2 * options.heads):
            raise InputError(
                f"The width {options.width} cannot be shared by {options.heads} heads of even width.",
                where=name,
                fix=f"Choose a width that is a multiple of {2 * options.heads}.",
            )
        if options.kernel % 2 == 0:
            raise InputError(f"The kernel is {options.kernel}.", where=name, fix="Give an odd number, such as 15.")
        self.field, self.kind = name, feature.kind
        stride = 2**options.halvings
        self.steps = Steps(options.width, -(-feature.shape[0] // stride), stride)
        self.entry = Entry(feature.shape[1], options)
        self.rotary = Rotary(self.steps.number, options.width // options.heads)
        skipped = chances(options.stochastic_depth, options.depth)
        self.blocks = nn.ModuleList(Block(options, chance) for chance in skipped)
        self.pool: PoolSequence | None = PoolSequence(options.width, options.pooling)
        self.output = OutputShape(self.pool.width)
        self.places = Places(options.width, (self.steps.number,))

    def _read(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The steps' vectors [batch, step, width], and which are no padding [batch, step]."""
        frames = trimmed(self.kind, inputs[self.field])
        values, length = self.entry(frames, lengths(self.kind, frames))
        mask = within(length, values.shape[1])
        for block in self.blocks:
            values = block(values, mask, self.rotary)
        return values, mask

    def sequence(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, step, width]; steps of padding hold 0."""
        return padded_steps(*self._read(inputs), self.steps.number)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, width]."""
        return self.local(inputs)[0]

    def local(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and [batch, step, width]."""
        if self.pool is None:
            raise RuntimeError("this network was told to give a sequence only")
        values, mask = self._read(inputs)
        pooled: Tensor = self.pool(values, mask)
        return pooled.unsqueeze(1), values

    def without_vector(self) -> None:
        """Let go of the pooling."""
        self.pool = None

    def stages(self) -> list[tuple[str, nn.Module]]:
        """entry, block1, block2, ..., and pool where a vector is given."""
        body = [("entry", self.entry), *((f"block{number}", block) for number, block in enumerate(self.blocks, 1))]
        return body if self.pool is None else [*body, ("pool", self.pool)]


def build(features: Mapping[str, Feature], options: Options) -> Conformer:
    """A conformer for the one spectrogram field in `features`."""
    return Conformer(*only_field("conformer", ACCEPTS, features), options)
