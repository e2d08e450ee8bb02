"""From a pyramid of maps to a better picture: what is to be added to the simple answer.

The maps are brought to the picture's resolution by the expanding half of a U-Net, where there are coarser ones, and
beyond it by sub-pixel convolutions (Shi et al. 2016, "Real-time single image and video super-resolution using an
efficient sub-pixel convolutional neural network") or transposed ones. A grey picture keeps its luminance and is given
chroma; a picture with holes is changed in the holes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.networks import Level, Pyramidal
from lamina.networks.blocks.fields import Pixels
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.simple_picture import SimplePicture, colored
from lamina.networks.heads.map import MapHead
from lamina.networks.heads.map import Options as MapOptions
from lamina.tasks import Layout

READS = "pyramid"
DECODER = ("decoder_width", "decoder_widest", "upsampling", "decoder_dropout")
"""Options of the expanding half of a U-Net, which there is where maps are coarser than the picture."""
QUIET = 0.1
"""Factor of the last convolution's first weights: training begins near the simple answer."""


@dataclass(frozen=True)
class Options:
    """How maps grow.

    Attributes:
        enlarging: beyond the input's resolution, "subpixel" (a convolution whose channels become pixels) or
            "transposed" (a learned, transposed convolution, also called deconvolution).
        decoder_width: channels at the input's resolution where there are coarser maps to bring to it.
        decoder_widest: most channels of a coarser map.
        upsampling, decoder_dropout: of coarser maps, as of the head "map".
        hole: the value of a missing pixel in every channel, from 0 to 255; -1 for none.
    """

    enlarging: Literal["subpixel", "transposed"] = "subpixel"
    decoder_width: int = whole(24)
    decoder_widest: int = whole(128)
    upsampling: Literal["interpolate", "transposed"] = "interpolate"
    decoder_dropout: float = share(0.0)
    hole: int = whole(-1, least=-1)


class PictureHead(nn.Module):
    """Maps of a pyramid, the picture itself first, to flat pictures from 0 to 1, [batch, 1, channel * height * width].

    Args:
        levels: of the pyramid.
        pixels: how the first of them was standardised.
        layout: of the answer.
    """

    def __init__(self, levels: Sequence[Level], pixels: Pixels, layout: Layout, options: Options) -> None:
        super().__init__()
        picture, *maps = levels
        given = (picture.channels, picture.height, picture.width)
        # Half a step below the hole's own value, so that rounding hides no hole.
        hole = (options.hole - 0.5) / 255 if options.hole >= 0 else 2.0
        self.simple = SimplePicture(given, layout.shape, hole)
        self.register_buffer("factor", (1 / (255 * pixels.scale)).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", pixels.shift.reshape(1, -1, 1, 1), persistent=False)
        self.decoder: MapHead | None = None
        self.inner = (options.decoder_width, picture.height, picture.width)
        width = maps[-1].channels
        if len(maps) > 1 or maps[0].stride > 1:
            width = options.decoder_width
            inner = MapOptions(**{name: getattr(options, name) for name in DECODER})
            self.decoder = MapHead(levels, Layout("map", self.inner), inner)
        self.enlarge = nn.Sequential(*_enlarging(width, self.simple.scale, options.enlarging))
        self.exit = nn.Conv2d(width, 2 if self.simple.coloring else layout.shape[0], 3, padding=1)
        assert self.exit.bias is not None
        with torch.no_grad():
            self.exit.weight.mul_(QUIET)
            self.exit.bias.zero_()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        picture = (maps[0] - self.get_buffer("shift")) * self.get_buffer("factor")
        values = maps[-1] if self.decoder is None else self.decoder(maps).reshape(-1, *self.inner)
        change: Tensor = self.exit(self.enlarge(values))
        simple: Tensor = self.simple(picture)
        if self.simple.coloring:
            answer = colored(simple, change)
        elif self.simple.hole <= 1:
            answer = simple + self.simple.missing(picture) * change
        else:
            answer = simple + change
        return answer.flatten(1).unsqueeze(1)


def _enlarging(width: int, scale: int, way: str) -> list[nn.Module]:
    """Layers that multiply a map's sides by `scale`; by 4 in two steps of 2, as the papers do."""
    layers: list[nn.Module] = []
    for factor in _factors(scale):
        if way == "subpixel":
            layers += [nn.Conv2d(width, width * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
        else:
            # Kernels that overlap by two pixels, whatever the factor.
            layers.append(nn.ConvTranspose2d(width, width, factor + 2, factor, padding=1))
        layers.append(nn.ReLU())
    return layers


def _factors(scale: int) -> list[int]:
    """Prime factors, the smallest first.

    >>> _factors(12)
    [2, 2, 3]
    """
    found, factor = [], 2
    while scale > 1:
        while scale % factor == 0:
            found.append(factor)
            scale //= factor
        factor += 1
    return found


def build(layout: Layout, network: Pyramidal, options: Options) -> PictureHead:
    """The head for a better picture on top of a network's pyramid.

    Raises:
        InputError: options of a decoder, and the network needs none.
    """
    reader: Any = network
    head = PictureHead(network.levels, reader.pixels, layout, options)
    asked = [name for name in DECODER if name in layout.head]
    if asked and head.decoder is None:
        raise InputError(
            "The network answers at the picture's own resolution: there is no decoder, so its options do nothing.",
            where=", ".join(f"task.{name}" for name in asked),
            fix="Leave them out, or choose a network with coarser maps: --set network.name=resnet",
        )
    return head
