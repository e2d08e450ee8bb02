"""Four pictures put together as one, with their boxes (Bochkovskiy et al. 2020, "YOLOv4").

Things are seen smaller, cut off, and beside others than usual: the network sees more scenes than there are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.learn import _boxes, _pictures

MIDDLE = (0.3, 0.7)
"""Where the four may meet, as a share of the sides."""
LARGEST = 1.0
"""A picture is made smaller, never larger; small enough at least to leave no gap."""
CORNERS = ((1, 1), (0, 1), (1, 0), (0, 0))
"""Of the four pictures, which corner lies at the middle: 1 is right or lower."""


def mosaic(
    images: Tensor, boxes: dict[str, Tensor], chance: float, generator: torch.Generator | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Some pictures of the batch, each with three others of it around it.

    Args:
        images: uint8 [batch, height, width, channel].
        boxes: float32 [batch, 1 + box, 6] by target, as encoded.
        chance: of each picture.

    Returns:
        Pictures of the same shape, and boxes, of which there may be four times as many.
    """
    batch, height, width, _ = images.shape
    made = _pictures.uniform(batch, images, generator) < chance
    across = _pictures.uniform(batch, images, generator, *MIDDLE)
    down = _pictures.uniform(batch, images, generator, *MIDDLE)
    columns = torch.arange(width, device=images.device) + 0.5
    rows = torch.arange(height, device=images.device) + 0.5
    right = columns[None] >= (across * width)[:, None]
    lower = rows[None] >= (down * height)[:, None]
    canvas, found = images, {name: [own[:, :1]] for name, own in boxes.items()}
    for number, (at_right, at_lower) in enumerate(CORNERS):
        partner = torch.arange(batch, device=images.device)
        if number:
            partner = _pictures.uniform(batch, images, generator).argsort()
        wide, high = (across if at_right else 1 - across), (down if at_lower else 1 - down)
        least = torch.maximum(wide, high)
        size = least + (LARGEST - least) * _pictures.uniform(batch, images, generator)
        warp = _toward(across, down, size, at_right, at_lower)
        own_columns = ~right if at_right else right
        own_rows = ~lower if at_lower else lower
        inside = made[:, None, None] & own_rows[:, :, None] & own_columns[:, None, :]
        canvas = torch.where(inside[..., None], _pictures.moved(images[partner], warp), canvas)
        window = _window(across * width, down * height, at_right, at_lower, height, width)
        for name, own in boxes.items():
            found[name].append(_boxes.moved(own[partner], warp, height, width, window)[:, 1:])
    together = {name: torch.cat(parts, dim=1) for name, parts in found.items()}
    return canvas, {name: _gathered(together[name], boxes[name], made) for name in boxes}


def _toward(across: Tensor, down: Tensor, size: Tensor, at_right: int, at_lower: int) -> _pictures.Warp:
    """The map of a picture made smaller by `size` whose corner lies where the four meet."""
    nothing = torch.zeros_like(size)
    x = (1 - 2 * across) / size + (2 * at_right - 1)
    y = (1 - 2 * down) / size + (2 * at_lower - 1)
    rows = [torch.stack([1 / size, nothing, x], dim=1), torch.stack([nothing, 1 / size, y], dim=1)]
    return _pictures.Warp(torch.stack(rows, dim=1))


def _window(x: Tensor, y: Tensor, at_right: int, at_lower: int, height: int, width: int) -> Tensor:
    """[batch, 1, 4]: the edges of the part that one of the four pictures fills."""
    nothing = torch.zeros_like(x)
    left, right = (nothing, x) if at_right else (x, nothing + width)
    top, bottom = (nothing, y) if at_lower else (y, nothing + height)
    return torch.stack([left, top, right, bottom], dim=1)[:, None]


def _gathered(together: Tensor, alone: Tensor, made: Tensor) -> Tensor:
    """The boxes of four pictures where they were put together, else those of one; those that there are come first."""
    more = together.shape[1] - alone.shape[1]
    empty = torch.zeros_like(alone[:, :1]).repeat(1, more, 1)
    empty[..., 0] = -1
    chosen = torch.where(made[:, None, None], together, torch.cat([alone, empty], dim=1))
    # The first entry is the picture itself.
    order = (chosen[:, 1:, 0] < 0).to(torch.uint8).argsort(dim=1, stable=True)
    boxes = chosen[:, 1:].gather(1, order[:, :, None].expand(-1, -1, chosen.shape[2]))
    return torch.cat([chosen[:, :1], boxes], dim=1)
