"""Boxes that move with the pictures they lie on: float32 [batch, 1 + box, 6] as in `lamina.tasks._detections`.

Of a box that is partly moved out of the picture the rest stays, if it is enough to be known by; else it becomes a
crowd: neither asked for nor wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.learn._pictures import Axis, Movement, Warp

ENOUGH = 0.3
"""Share of a box that must be left."""


def moved(boxes: Tensor, movement: Movement, height: int, width: int, window: Tensor | None = None) -> Tensor:
    """The boxes after a movement of their pictures.

    Args:
        boxes: as encoded, in pixels.
        movement: as drawn for the pictures.
        height, width: of the pictures.
        window: what is seen of them, [batch, 1, 4]; None for all.
    """
    corners = _corners(boxes[..., 1:5])
    if isinstance(movement, Warp):
        there = _warped(corners, movement, height, width)
    else:
        columns, rows = _shifted(corners[..., 0], movement.columns), _shifted(corners[..., 1], movement.rows)
        there = torch.stack([columns, rows], dim=-1)
    edges = torch.cat([there.amin(dim=2), there.amax(dim=2)], dim=-1)
    whole = torch.tensor([0.0, 0.0, width, height], device=boxes.device)
    return _kept(boxes, edges, whole if window is None else window)


def _kept(boxes: Tensor, edges: Tensor, window: Tensor) -> Tensor:
    """The boxes with new edges, cut off at a window's: what is left of them, or crowds, or nothing.

    Args:
        boxes: [batch, 1 + box, 6] as encoded.
        edges: [batch, 1 + box, 4].
        window: left, upper, right and lower edge, [4] or [batch, 1, 4].
    """
    low, high = torch.maximum(edges[..., :2], window[..., :2]), torch.minimum(edges[..., 2:], window[..., 2:])
    inside = (high - low).clamp_min(0).prod(dim=-1)
    share = inside / (edges[..., 2:] - edges[..., :2]).clamp_min(1e-6).prod(dim=-1)
    real = boxes[..., 0] >= 0
    label = torch.where(real & (inside <= 0), -1.0, boxes[..., 0])
    area = torch.where(share < ENOUGH, -boxes[..., 5].abs(), boxes[..., 5])
    cut = torch.where((real & (inside > 0))[..., None], torch.cat([low, high], dim=-1), boxes[..., 1:5])
    return torch.cat([label[..., None], cut, torch.where(real, area, boxes[..., 5])[..., None]], dim=-1)


def _corners(edges: Tensor) -> Tensor:
    """[..., 4] to [..., 4, 2]: x and y of the four corners."""
    left, top, right, bottom = edges.unbind(dim=-1)
    return torch.stack(
        [torch.stack(pair, dim=-1) for pair in ((left, top), (right, top), (left, bottom), (right, bottom))], dim=-2
    )


def _shifted(values: Tensor, axis: Axis) -> Tensor:
    """Coordinates [batch, ...] after rows or columns were taken from other places.

    The middle of a picture is never what was reflected at its border: it tells how far all was moved, and which way.
    """
    middle = axis.places.shape[1] // 2
    old = (axis.places[:, middle] + 0.5).to(values.dtype)
    sign = torch.where(axis.backwards[:, middle], -1.0, 1.0)
    shape = (-1, *([1] * (values.ndim - 1)))
    return (values - old.reshape(shape)) * sign.reshape(shape) + (middle + 0.5)


def _warped(corners: Tensor, warp: Warp, height: int, width: int) -> Tensor:
    """Corners [batch, box, 4, 2] after an affine map, which says where every new place comes from: its inverse."""
    half = torch.tensor([width / 2, height / 2], device=corners.device)
    matrix = warp.matrix.float()
    places = corners / half - 1 - matrix[:, None, None, :, 2]
    inverse = torch.linalg.inv(matrix[:, :, :2])
    return (torch.einsum("bij,bncj->bnci", inverse, places) + 1) * half
