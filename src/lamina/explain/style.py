"""A picture in the manner of another one (Gatys, Ecker & Bethge 2016, "Image style transfer using convolutional neural
networks"): what is to be seen stays, how it is painted becomes the other's.

What is to be seen is what one layer of a network gives, place by place. The manner is which channels of several layers
go together, wherever: their Gram matrices. As in dreams it is the frequencies of a picture that are changed, each
scaled by its length, and it is moved about a little: pixels by themselves end in patterns of the network's grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.explain.dream import frequency_scale

Array = np.ndarray[Any, Any]
Sees = Callable[[Tensor], Sequence[Tensor]]
"""From pictures, float32 [1, height, width, channel] of 0 to 255, to what each layer gives, [1, channel, row, column],
the first ones first."""
RATE = 0.01
"""Of the frequencies of pixels' log-odds; it falls to nothing."""
DARKEST = 0.01
"""Of pixels from 0 to 1: blacker ones, and whiter ones than the rest, could no more be changed."""
MANNER = 30.0
"""Weight of the manner beside what is to be seen, where it is to be as strong as usual."""
ROUGH = 10.0
"""Weight of differences between neighbouring pixels: without it, what no layer sees becomes noise."""
MOVED = 8
"""Pixels by which a picture is moved in each step, at most."""


@dataclass(frozen=True)
class Styled:
    """What came out.

    Attributes:
        picture: uint8 [height, width, channel].
        before, after: how far from the other's manner the picture was and is, as a share of that manner's own size.
    """

    picture: Array
    before: float
    after: float


def styled(sees: Sees, picture: Array, manner: Array, steps: int, strength: float = 1.0, seed: int = 0) -> Styled:
    """The picture in the other one's manner.

    Args:
        picture, manner: uint8 [height, width, channel]; they need not be of one size.
        strength: of the manner, as a multiple of the usual.
    """
    whole, other = (torch.from_numpy(np.array(one)).float()[None] for one in (picture, manner))
    height, width, channels = picture.shape
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        wanted = _manner(other, sees(other))
        before = float(_apart(_manner(whole, sees(whole)), wanted))
    spectrum = torch.zeros(1, channels, height, width // 2 + 1, 2).requires_grad_()
    scale = frequency_scale(height, width)
    optimizer = torch.optim.Adam([spectrum], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))

    begin = (whole / 255).logit(DARKEST)

    def painted() -> Tensor:
        change = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=(height, width), norm="ortho")
        return 255 * torch.sigmoid(begin + change.permute(0, 2, 3, 1))

    for _ in range(steps):
        moves = [int(torch.randint(0, min(MOVED, side), (), generator=generator)) for side in (height, width)]
        optimizer.zero_grad()
        pixels = painted()
        found = sees(pixels.roll(moves, (1, 2)))
        place = _content(len(found))
        with torch.no_grad():
            content = sees(whole.roll(moves, (1, 2)))[place]
        kept = (found[place] - content).square().mean() / content.square().mean().clamp_min(1e-12)
        loss = kept + strength * MANNER * _apart(_manner(pixels, found), wanted) + ROUGH * _rough(pixels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        result = painted().round()
        after = float(_apart(_manner(result, sees(result)), wanted))
    return Styled(result[0].to(torch.uint8).numpy(), before, after)


def gram(values: Tensor) -> Tensor:
    """[channel, channel]: how much each two channels of a layer [1, channel, row, column] go together, by place."""
    flat = values[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


def _manner(pictures: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """Of the colors, and of all but the last layers, which know what is to be seen rather than how it is painted."""
    colors = pictures.permute(0, 3, 1, 2) / 255
    # With ones beside them, the mean of each color is part of what goes together.
    colors = torch.cat([colors, torch.ones_like(colors[:, :1])], dim=1)
    return [gram(colors), *(gram(values) for values in layers[: _content(len(layers)) + 2])]


def _content(layers: int) -> int:
    """The layer that says what is to be seen: early ones know every pixel, late ones only what it is."""
    return max(0, (2 * layers) // 3 - 1)


def _apart(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """In the mean over layers, the squared difference as a share of what is wanted."""
    shares = [
        (one - other).square().sum() / other.square().sum().clamp_min(1e-12)
        for one, other in zip(found, wanted, strict=True)
    ]
    return torch.stack(shares).mean()


def _rough(pixels: Tensor) -> Tensor:
    """Mean squared difference of neighbours, of pixels from 0 to 1 (total variation)."""
    scaled = pixels / 255
    return (scaled[:, 1:] - scaled[:, :-1]).square().mean() + (scaled[:, :, 1:] - scaled[:, :, :-1]).square().mean()
