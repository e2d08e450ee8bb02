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
    images: Tensor, boxes: dict[str, Tensor], share: float, generator: torch.Generator | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Some pictures of the batch, each with three others of it around it.

    Args:
        images: uint8 [batch, height, width, channel].
        boxes: float32 [batch, 1 + box, 6] by target, as encoded.
        share: of the batch; a fixed number of pictures, so that no shape depends on chance.

    Returns:
        Pictures of the same shape, and boxes, of which there may be four times as many.
    """
    batch, height, width, _ = images.shape
    rows = _pictures.uniform(batch, images, generator).argsort()[: round(share * batch)]
    if not len(rows):
        return images, boxes
    across = _pictures.uniform(len(rows), images, generator, *MIDDLE)
    down = _pictures.uniform(len(rows), images, generator, *MIDDLE)
    right = torch.arange(width, device=images.device) + 0.5 >= (across * width)[:, None]
    lower = torch.arange(height, device=images.device) + 0.5 >= (down * height)[:, None]
    canvas = images[rows]
    found = {name: [own[rows, :1]] for name, own in boxes.items()}
    for number, (at_right, at_lower) in enumerate(CORNERS):
        partner = _pictures.uniform(batch, images, generator).argsort()[: len(rows)] if number else rows
        wide, high = (across if at_right else 1 - across), (down if at_lower else 1 - down)
        least = torch.maximum(wide, high)
        size = least + (LARGEST - least) * _pictures.uniform(len(rows), images, generator)
        warp = _toward(across, down, size, at_right, at_lower)
        own_columns, own_rows = (~right if at_right else right), (~lower if at_lower else lower)
        inside = own_rows[:, :, None] & own_columns[:, None, :]
        canvas = torch.where(inside[..., None], _pictures.moved(images[partner], warp), canvas)
        window = _window(across * width, down * height, at_right, at_lower, height, width)
        for name, own in boxes.items():
            found[name].append(_boxes.moved(own[partner], warp, height, width, window)[:, 1:])
    together = {name: torch.cat(parts, dim=1) for name, parts in found.items()}
    return (
        images.index_copy(0, rows, canvas),
        {name: _sorted(_widened(own, together[name].shape[1]).index_copy(0, rows, together[name]))
         for name, own in boxes.items()},
    )  # fmt: skip


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


def _widened(boxes: Tensor, number: int) -> Tensor:
    """[batch, number, 6]: with room for more boxes."""
    empty = torch.zeros_like(boxes[:, :1]).repeat(1, number - boxes.shape[1], 1)
    empty[..., 0] = -1
    return torch.cat([boxes, empty], dim=1)


def _sorted(boxes: Tensor) -> Tensor:
    """The boxes that there are before empty ones; the first entry, the picture itself, stays."""
    order = (boxes[:, 1:, 0] < 0).to(torch.uint8).argsort(dim=1, stable=True)
    return torch.cat([boxes[:, :1], boxes[:, 1:].gather(1, order[:, :, None].expand(-1, -1, boxes.shape[2]))], dim=1)
