"""EDSR (Lim et al. 2017): residual blocks at the picture's own resolution, without normalisation.

Normalisation would take away the range of brightness that a picture made better must keep; without it blocks are cheap,
and their residuals are scaled down where they are wide, so that training stays stable. For pictures made better; as a
vector it gives the means over the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks import Level, OutputShape
from lamina.networks.blocks.fields import Pixels, only_field
from lamina.networks.blocks.options import positive, whole

ACCEPTS = ("image",)
GIVES = ("pyramid",)


@dataclass(frozen=True)
class Options:
    """Sizes.

    Attributes:
        width: channels of all maps.
        depth: residual blocks; every one sees two pixels farther to each side.
        residual: factor of what a block adds; 0.1 where a network is wide and deep (256 channels, 32 blocks).
    """

    width: int = whole(32)
    depth: int = whole(6)
    residual: float = positive(1.0)


class Block(nn.Module):
    """Convolution, ReLU, convolution, scaled and added to the input: [batch, width, height, width of the map]."""

    def __init__(self, width: int, residual: float) -> None:
        super().__init__()
        self.residual = residual
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, values: Tensor) -> Tensor:
        branch: Tensor = self.branch(values)
        return values + self.residual * branch


class Edsr(nn.Module):
    """A first convolution, residual blocks, and a last convolution that is added to the first one's map."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        height, width, channels = feature.shape
        self.name = name
        self.pixels = Pixels(feature)
        self.first = nn.Conv2d(channels, options.width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(options.width, options.residual) for _ in range(options.depth))
        self.last = nn.Conv2d(options.width, options.width, 3, padding=1)
        self.output = OutputShape(options.width)
        self.levels = (Level(channels, 1, height, width), Level(options.width, 1, height, width))

    def pyramid(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The standardised picture and one map, of the same size."""
        pixels: Tensor = self.pixels(inputs[self.name])
        first: Tensor = self.first(pixels)
        values = first
        for block in self.blocks:
            values = block(values)
        return [pixels, first + self.last(values)]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, width]: the means over the picture."""
        return self.pyramid(inputs)[1].mean(dim=(2, 3)).unsqueeze(1)

    def without_vector(self) -> None:
        """The vector has no parts of its own."""

    def stages(self) -> list[tuple[str, nn.Module]]:
        """first, block1, block2, ..., last."""
        blocks = [(f"block{number}", block) for number, block in enumerate(self.blocks, start=1)]
        return [("first", self.first), *blocks, ("last", self.last)]


def build(features: Mapping[str, Feature], options: Options) -> Edsr:
    """EDSR for one image field."""
    name, feature = only_field("edsr", ACCEPTS, features)
    return Edsr(name, feature, options)
