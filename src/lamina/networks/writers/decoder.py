"""A decoder transformer: writes on from what stands there (Radford et al. 2019).

With rotary positions (Su et al. 2021), root-mean-square norms before the layers (Zhang & Sennrich 2019), gated units
(Shazeer 2020), and without biases, as Llama has them (Touvron et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.writing import Shape, Trunk, gated
from lamina.networks.writers import TEXT

READS = ""


@dataclass(frozen=True)
class Options:
    """Sizes of a decoder.

    Attributes:
        width: of the vectors of tokens and of the layers.
        depth: layers.
        heads: of attention.
        expansion: width of the feed-forward layers as a multiple.
        dropout: chance of a number in the embedded text and in the layers to be left out.
    """

    width: int = whole(128)
    depth: int = whole(4)
    heads: int = whole(4)
    expansion: int = whole(4)
    dropout: float = share(0.1)


class Decoder(nn.Module):
    """See the module."""

    def __init__(self, vocabulary: int, context: int, shape: Shape) -> None:
        super().__init__()
        self.trunk = Trunk(vocabulary, context, shape)

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        return self.trunk.cache_shape

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Log-odds [row, step, token] of what comes next."""
        logits: Tensor = self.trunk(inputs[TEXT])[0]
        return logits

    def step(self, tokens: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """(Log-odds [row, step, token], cache) of tokens that come after those in the cache."""
        found: tuple[Tensor, Tensor] = self.trunk(tokens, cache)
        return found

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Its parts from input to output."""
        return self.trunk.stages()


def build(vocabulary: int, context: int, source: int, options: Options) -> Decoder:
    """The decoder with fresh weights; it reads no source."""
    hidden = gated(options.width, options.expansion)
    return Decoder(vocabulary, context, Shape(options.width, options.depth, options.heads, hidden, options.dropout))
