"""A decoder transformer: writes on from what stands there (Radford et al. 2019).

With rotary positions (Su et al. 2021), root-mean-square norms before the layers (Zhang & Sennrich 2019), gated units
(Shazeer 2020), and without biases, as Llama has them (Touvron et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.writing import Trunk
from lamina.networks.writers import TEXT

READS = False


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

    def __init__(self, vocabulary: int, context: int, options: Options) -> None:
        super().__init__()
        self.trunk = Trunk(
            vocabulary, context, options.width, options.depth, options.heads, options.expansion, options.dropout
        )

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        return 2 * self.trunk.depth, self.trunk.heads, self.trunk.each

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
        layers = [(f"layer{number}", layer) for number, layer in enumerate(self.trunk.layers, 1)]
        return [("embedding", self.trunk.embedding), *layers, ("norm", self.trunk.norm)]


def build(vocabulary: int, context: int, source: int, options: Options) -> Decoder:
    """The decoder with fresh weights; it reads no source."""
    return Decoder(vocabulary, context, options)
