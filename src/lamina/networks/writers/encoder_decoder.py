"""An encoder that reads a text and a decoder that writes another one, looking at it (Vaswani et al. 2017).

Both share one table of embeddings. The encoder is the one that classifiers of texts use; the decoder is that of
`lamina.networks.writers.decoder` with attention to what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lamina.networks.blocks.attention import EncoderLayer, Rotary
from lamina.networks.blocks.lexicon import Lexicon
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.writing import RootMeanSquareNorm, Shape, Trunk, gated
from lamina.networks.writers import SOURCE, TEXT

READS = "text"


@dataclass(frozen=True)
class Options:
    """Sizes of an encoder and a decoder.

    Attributes:
        width: of the vectors of tokens and of the layers.
        depth: layers, of the encoder and of the decoder each.
        heads: of attention.
        expansion: width of the feed-forward layers as a multiple.
        dropout: chance of a number in the embedded texts and in the layers to be left out.
        candidates: tokens that each token may become by the lexicon that its user fills in (`Lexicon`); 0: there is
            none.
    """

    width: int = whole(128)
    depth: int = whole(3)
    heads: int = whole(4)
    expansion: int = whole(4)
    dropout: float = share(0.1)
    candidates: int = whole(0, least=0)


class EncoderDecoder(nn.Module):
    """See the module."""

    def __init__(self, vocabulary: int, context: int, source: int, options: Options) -> None:
        super().__init__()
        width, heads, dropout = options.width, options.heads, options.dropout
        shape = Shape(width, options.depth, heads, gated(width, options.expansion), dropout)
        self.trunk = Trunk(vocabulary, context, shape, reads=True)
        self.rotary = Rotary(source, width // heads)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, options.expansion, True, dropout, 0.0) for _ in range(options.depth)
        )
        self.norm = RootMeanSquareNorm(width)
        self.lexicon = Lexicon(vocabulary, width, options.candidates) if options.candidates else None

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        return self.trunk.cache_shape

    def read(self, source: Tensor) -> Tensor:
        """Keys and values [row, 2 * layer, head, place, each] of a text [row, place], padded with 0."""
        visible = source > 0
        values = self.dropout(self.trunk.embedding(source.long()))
        for layer in self.layers:
            values = layer(values, visible, self.rotary)
        values = self.norm(values)
        return self.trunk.memory(values)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Log-odds [row, step, token] of what comes next in the text that is written."""
        source = inputs[SOURCE]
        return self._told(inputs[TEXT], None, self.read(source), source)[0]

    def step(self, tokens: Tensor, cache: Tensor, memory: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """(Log-odds [row, step, token], cache) of tokens that come after those in the cache.

        Args:
            memory: as `read` gives it of `source`.
        """
        return self._told(tokens, cache, memory, source)

    def _told(self, tokens: Tensor, cache: Tensor | None, memory: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        visible = source > 0
        states, kept = self.trunk.states(tokens, cache, memory, visible)
        logits = self.trunk.told(states)
        if self.lexicon is not None:
            looks = self.lexicon.looks(states, self._keys(memory), visible)
            logits = logits.float() + self.lexicon(looks, source)
        return logits, kept

    def _keys(self, memory: Tensor) -> Tensor:
        """What the last layer's attention asks of what was read; the lexicon asks the same."""
        return memory[:, self.trunk.cache_shape[0] - 2]

    def attention(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, step, place]: how much each token of "text" looks at each token of "source": as the lexicon does, or
        where there is none in the mean of all layers and heads."""
        source = inputs[SOURCE]
        memory, visible = self.read(source), source > 0
        if self.lexicon is not None:
            states, _ = self.trunk.states(inputs[TEXT], None, memory, visible)
            return self.lexicon.looks(states, self._keys(memory), visible)
        return self.trunk.looks(inputs[TEXT], memory, visible)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Its parts from input to output."""
        reading = [(f"reading{number}", layer) for number, layer in enumerate(self.layers, 1)]
        writing = [(f"writing{number}", layer) for number, layer in enumerate(self.trunk.layers, 1)]
        told = [] if self.lexicon is None else [("lexicon", self.lexicon)]
        return [
            ("embedding", self.trunk.embedding),
            *reading,
            ("read", self.norm),
            *writing,
            ("norm", self.trunk.norm),
            *told,
        ]


def build(vocabulary: int, context: int, source: int, options: Options) -> EncoderDecoder:
    """The encoder and the decoder with fresh weights."""
    return EncoderDecoder(vocabulary, context, source, options)
