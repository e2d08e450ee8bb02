"""What a network looks for: a picture that makes a class, or a channel of a layer, answer as strongly as can be.

Feature visualisation (Erhan et al. 2009; Simonyan et al. 2013; Olah, Mordvintsev & Schubert 2017): gradient ascent on
the picture. Its frequencies are what is changed, each scaled by its length, and it is shown moved about a little:
without that, ascent ends in fine patterns that mean nothing to a person. From a picture that is given, what a layer
sees in it is amplified instead, from coarse to fine (DeepDream, Mordvintsev et al. 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Array = np.ndarray[Any, Any]
Objective = Callable[[Tensor], Tensor]
"""From pictures, float32 [1, height, width, channel] of 0 to 255, to what is to become large, a scalar."""
RATE = 0.05
MOVED = 0.1
"""Of a side, by how much a picture is moved in each step at most."""
SPREAD = 0.01
"""Standard deviation of the first picture's frequencies."""
OCTAVES, SMALLER = 3, 1.4
"""Sizes that are amplified one after the other, and how many times as long a side is than in the one before."""
STRIDE = 4.0
"""Of 255: how far a step of amplifying moves a pixel on average."""
LEAST_SIDE = 16


def visualised(objective: Objective, height: int, width: int, channels: int, steps: int, seed: int) -> Array:
    """uint8 [height, width, channel]: a picture from noise that makes the objective large."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.randn(1, channels, height, width // 2 + 1, 2, generator=generator) * SPREAD
    spectrum.requires_grad_()
    scale = frequency_scale(height, width)
    optimizer = torch.optim.Adam([spectrum], lr=RATE)

    def picture() -> Tensor:
        pixels = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=(height, width), norm="ortho")
        return 255 * torch.sigmoid(pixels).permute(0, 2, 3, 1)

    for _ in range(steps):
        optimizer.zero_grad()
        (-objective(_moved(picture(), generator))).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return _bytes(picture())


def amplified(objective: Objective, picture: Array, steps: int, seed: int) -> Array:
    """uint8 [height, width, channel]: the picture with more and more of what makes the objective large.

    Args:
        picture: uint8 [height, width, channel].
        steps: for each size.
    """
    generator = torch.Generator().manual_seed(seed)
    whole = torch.from_numpy(np.array(picture)).float()[None].permute(0, 3, 1, 2)
    sizes = [
        (round(whole.shape[2] / SMALLER**number), round(whole.shape[3] / SMALLER**number))
        for number in reversed(range(OCTAVES))
    ]
    added = torch.zeros_like(whole)
    for number, size in enumerate(sizes):
        if min(size) < LEAST_SIDE and number < len(sizes) - 1:
            continue
        base, detail = _resized(whole, size), _resized(added, size)
        for _ in range(steps):
            shown = (base + detail).clamp(0, 255).permute(0, 2, 3, 1).requires_grad_()
            (slope,) = torch.autograd.grad(objective(_moved(shown, generator)), shown)
            detail = detail + STRIDE * (slope / slope.abs().mean().clamp_min(1e-12)).permute(0, 3, 1, 2).clamp(-8, 8)
        added = detail
    return _bytes((whole + added).clamp(0, 255).permute(0, 2, 3, 1))


@contextmanager
def watched(module: nn.Module) -> Iterator[list[Tensor]]:
    """Within, what the module gave last is in the list."""
    given: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: object) -> None:
        given[:] = [output] if isinstance(output, Tensor) else []

    handle = module.register_forward_hook(keep)
    try:
        yield given
    finally:
        handle.remove()


def channel_of(values: Tensor, channel: int | None) -> Tensor:
    """The mean of a channel of a layer's output, or the mean square of all of them, [batch, channel, ...]."""
    found: Tensor = values.square() if channel is None else values[:, channel]
    return found.mean()


def frequency_scale(height: int, width: int) -> Tensor:
    """1 / length of each frequency, as in pictures of the world: coarse patterns move quickly, fine ones slowly."""
    down, right = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    lengths = (down**2 + right**2).sqrt().clamp_min(1.0 / max(height, width))
    found: Tensor = (1.0 / lengths) * (height * width) ** 0.5 / max(height, width)
    return found


def _moved(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Moved by some pixels, at random; what leaves on one side comes in at the other."""
    moves = []
    for side in pictures.shape[1:3]:
        most = max(1, round(MOVED * side))
        moves.append(int(torch.randint(-most, most + 1, (), generator=generator)))
    return pictures.roll(moves, (1, 2))


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(values.shape[2:]) == size:
        return values
    found: Tensor = functional.interpolate(values, size=size, mode="bilinear", align_corners=False, antialias=True)
    return found


def _bytes(pictures: Tensor) -> Array:
    return pictures[0].round().clamp(0, 255).to(torch.uint8).numpy()
