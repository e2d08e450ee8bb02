"""A decoder that writes what is to be seen in a picture, looking at its places (Xu et al. 2015; Vaswani et al. 2017).

A network of `lamina.networks` looks at the picture; every place of its last map becomes a vector, which knows where it
lies, and the places see each other in layers of self-attention. The decoder is that of
`lamina.networks.writers.decoder` with attention to the places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.networks import Local
from lamina.networks.assembly import Assembly
from lamina.networks.blocks.attention import EncoderLayer
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.writing import RootMeanSquareNorm, Shape, Trunk, gated
from lamina.networks.writers import SOURCE, TEXT

READS = "image"
WHERE = 0.5
"""Of fresh vectors of rows and columns, beside places of spread 1: smaller ones are noticed late."""


@dataclass(frozen=True)
class Options:
    """Sizes of what writes about a picture.

    Attributes:
        width: of the vectors of places and tokens, and of the layers.
        depth: layers of the decoder.
        reading: layers in which the picture's places see each other.
        heads: of attention.
        expansion: width of the feed-forward layers as a multiple.
        dropout: chance of a number in the embedded text, the places and the layers to be left out.
    """

    width: int = whole(128)
    depth: int = whole(3)
    reading: int = whole(1, least=0)
    heads: int = whole(4)
    expansion: int = whole(4)
    dropout: float = share(0.1)


class Captioner(nn.Module):
    """See the module.

    Args:
        pictures: one network for one field of pictures, without heads.

    Raises:
        InputError: it is no such network.
    """

    def __init__(self, vocabulary: int, context: int, pictures: Assembly, options: Options) -> None:
        super().__init__()
        if len(pictures.places) != 1 or len(pictures.names) != 1 or len(places := _places(pictures)) != 2:
            raise InputError(
                f"A caption needs one network that knows what is where in a picture, not {', '.join(pictures.names)}.",
                where="network",
                fix="Choose resnet or efficientnet for the pictures.",
            )
        width, heads, dropout = options.width, options.heads, options.dropout
        (self.field,) = pictures.places
        self.grid = places
        self.pictures = pictures
        shape = Shape(width, options.depth, heads, gated(width, options.expansion), dropout)
        self.trunk = Trunk(vocabulary, context, shape, reads=True)
        self.bridge = nn.Linear(pictures.places[self.field].width, width)
        self.scale = RootMeanSquareNorm(width)
        self.rows, self.columns = (nn.Parameter(torch.randn(side, width) * WHERE) for side in places)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, options.expansion, True, dropout, 0.0) for _ in range(options.reading)
        )
        self.norm = RootMeanSquareNorm(width)

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        return self.trunk.cache_shape

    def read(self, source: Tensor) -> Tensor:
        """Keys and values [row, 2 * layer, head, place, each] of encoded pictures [row, height, width, channel]."""
        maps = self.pictures.local({self.field: source})[1][self.field]
        where = self.rows.unsqueeze(1) + self.columns.unsqueeze(0)
        values = self.dropout((self.scale(self.bridge(maps)) + where).flatten(1, 2))
        seen = torch.ones_like(values[:, :, 0], dtype=torch.bool)
        for layer in self.layers:
            values = layer(values, seen, None)
        return self.trunk.memory(self.norm(values))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Log-odds [row, step, token] of what comes next in the captions."""
        logits: Tensor = self.trunk(inputs[TEXT], None, self.read(inputs[SOURCE]))[0]
        return logits

    def step(self, tokens: Tensor, cache: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(Log-odds [row, step, token], cache) of tokens that come after those in the cache.

        Args:
            memory: as `read` gives it of the pictures.
        """
        logits, kept = self.trunk(tokens, cache, memory)
        return logits, kept

    def attention(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, step, row of places, column]: how much each token of "text" looks at each place of the pictures, in the
        mean of all layers and heads."""
        looks = self.trunk.looks(inputs[TEXT], self.read(inputs[SOURCE]), None)
        return looks.reshape(*looks.shape[:2], *self.grid)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Its parts from input to output."""
        seeing = [(stage.name, stage.module) for stage in self.pictures.stages()]
        reading = [(f"reading{number}", layer) for number, layer in enumerate(self.layers, 1)]
        writing = [(f"writing{number}", layer) for number, layer in enumerate(self.trunk.layers, 1)]
        return [
            *seeing,
            ("bridge", nn.ModuleList([self.bridge, self.scale])),
            *reading,
            ("read", self.norm),
            ("embedding", self.trunk.embedding),
            *writing,
            ("norm", self.trunk.norm),
        ]


def _places(pictures: Assembly) -> tuple[int, ...]:
    """The grid of the only network's map."""
    network = pictures.network(pictures.names[0])
    return network.places.grid if isinstance(network, Local) else ()


def build(vocabulary: int, context: int, source: Assembly, options: Options) -> Captioner:
    """The decoder with fresh weights, on top of what looks at pictures."""
    return Captioner(vocabulary, context, source, options)
