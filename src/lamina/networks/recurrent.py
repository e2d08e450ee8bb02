"""Recurrent network (LSTM or GRU) for text, sound and series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks import OutputShape, Places, Steps
from lamina.networks.blocks.fields import lengths, only_field, steps_read, trimmed, within
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.pooling import PoolSequence, SequencePooling
from lamina.networks.blocks.steps import StepInput, padded_steps

ACCEPTS = ("tokens", "spectrogram", "series")
TRIMS = ("tokens", "spectrogram")
GIVES = ("sequence",)


@dataclass(frozen=True)
class Options:
    """Sizes of a recurrent network.

    Attributes:
        cell: "lstm" (Hochreiter & Schmidhuber 1997) or "gru" (Cho et al. 2014).
        width: units of each layer and direction.
        depth: number of layers.
        bidirectional: read from the end as well.
        embedding: width of the tokens' embedding, or of the linear map of frames and steps.
        patch: how many steps of a spectrogram or series are read as one.
        longest: tokens of a text that are read, from its beginning; each waits for the one before.
        dropout: on the embedding, between layers and on the pooled vector.
        pooling: how the steps become a vector.
    """

    cell: Literal["lstm", "gru"] = "lstm"
    width: int = whole(96)
    depth: int = whole(1)
    bidirectional: bool = True
    embedding: int = whole(96)
    patch: int = whole(1)
    longest: int = whole(512)
    dropout: float = share(0.2)
    pooling: SequencePooling = "mean_maximum"


class Layer(nn.Module):
    """One layer in one or both directions; [batch, step, inner] to [batch, step, self.width].

    The backward direction starts at each row's last step that is no padding: the steps are reversed by
    index within each row's length, which exports to ONNX as packed sequences do not.
    """

    def __init__(self, cell: str, inner: int, width: int, bidirectional: bool) -> None:
        super().__init__()
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.onward = kind(inner, width, batch_first=True)
        self.backward = kind(inner, width, batch_first=True) if bidirectional else None
        self.width = width * (2 if bidirectional else 1)

    def forward(self, values: Tensor, length: Tensor) -> Tensor:
        onward: Tensor = self.onward(values)[0]
        if self.backward is None:
            return onward
        position = torch.arange(values.shape[1], device=values.device).unsqueeze(0)
        end = length.unsqueeze(1)
        mirror = torch.where(position < end, end - 1 - position, position).unsqueeze(2)
        backward = self.backward(values.gather(1, mirror.expand(-1, -1, values.shape[2])))[0]
        return torch.cat([onward, backward.gather(1, mirror.expand(-1, -1, backward.shape[2]))], dim=2)


class Recurrent(nn.Module):
    """Embedding or linear map of the steps, recurrent layers, masked pooling; one field."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        self.field, self.kind = name, feature.kind
        self.longest = steps_read(feature, options.longest)
        self.entry = StepInput(feature, options.embedding, options.patch)
        self.dropout = nn.Dropout(options.dropout)
        self.layers = nn.ModuleList()
        inner = options.embedding
        for _ in range(options.depth):
            layer = Layer(options.cell, inner, options.width, options.bidirectional)
            self.layers.append(layer)
            inner = layer.width
        self.steps = Steps(inner, self.entry.patches(self.longest), self.entry.patch)
        self.pool: PoolSequence | None = PoolSequence(inner, options.pooling)
        self.output = OutputShape(self.pool.width)
        self.places = Places(inner, (self.steps.number,))

    def _read(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The steps' vectors [batch, step, width], and which are no padding [batch, step]."""
        steps = trimmed(self.kind, inputs[self.field][:, : self.longest])
        values, length = self.entry(steps, lengths(self.kind, steps))
        for layer in self.layers:
            values = layer(self.dropout(values), length)
        return values, within(length, values.shape[1])

    def sequence(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, step, width]; steps of padding hold 0."""
        values, mask = self._read(inputs)
        return padded_steps(self.dropout(values), mask, self.steps.number)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, width]."""
        return self.local(inputs)[0]

    def local(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and [batch, step, width]."""
        if self.pool is None:
            raise RuntimeError("this network was told to give a sequence only")
        values, mask = self._read(inputs)
        pooled: Tensor = self.dropout(self.pool(values, mask))
        return pooled.unsqueeze(1), values

    def without_vector(self) -> None:
        """Let go of the pooling."""
        self.pool = None

    def stages(self) -> list[tuple[str, nn.Module]]:
        """entry, layer1, layer2, ..., and pool where a vector is given."""
        layers = [(f"layer{number}", layer) for number, layer in enumerate(self.layers, 1)]
        body = [("entry", self.entry), *layers]
        return body if self.pool is None else [*body, ("pool", self.pool)]


def build(features: Mapping[str, Feature], options: Options) -> Recurrent:
    """A recurrent network for the one field of tokens, frames or steps in `features`."""
    return Recurrent(*only_field("recurrent", ACCEPTS, features), options)
