"""Augmentation of pictures: uint8 [batch, height, width, channel] in and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn import functional

from lamina.modalities import Feature

GREY = (0.299, 0.587, 0.114)
ERASED = (0.02, 0.20)


def uniform(
    number: int, near: Tensor, generator: torch.Generator | None, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """float32 [number] between low and high, on the device of `near`."""
    device = near.device if generator is None else generator.device
    return torch.rand(number, generator=generator, device=device).to(near.device) * (high - low) + low


def integers(number: int, end: int, near: Tensor, generator: torch.Generator | None) -> Tensor:
    """int64 [number] from 0 to end - 1, on the device of `near`."""
    device = near.device if generator is None else generator.device
    return torch.randint(end, (number,), generator=generator, device=device).to(near.device)


@dataclass(frozen=True)
class Axis:
    """Where the rows or columns of moved pictures come from.

    Attributes:
        places: int64 [batch, side].
        backwards: bool [batch, side]: they run the other way there, as in a mirror.
    """

    places: Tensor
    backwards: Tensor

    def times(self, factor: int) -> Tensor:
        """int64 [batch, factor * side]: the places of a picture that is so many times as large."""
        within = torch.arange(factor, device=self.places.device)
        inside = torch.where(self.backwards[:, :, None], factor - 1 - within, within)
        return (self.places[:, :, None] * factor + inside).flatten(1)


@dataclass(frozen=True)
class Shift:
    """Whole-pixel shifts and mirroring."""

    rows: Axis
    columns: Axis


@dataclass(frozen=True)
class Warp:
    """An affine map [batch, 2, 3] from places in the moved picture to those in the old one, from -1 to 1."""

    matrix: Tensor


Movement = Shift | Warp


def change(
    images: Tensor, strengths: Mapping[str, float], feature: Feature, generator: torch.Generator | None
) -> Tensor:
    """Move, then recolor, then cover."""
    movement = movement_of(images, strengths, generator)
    return finished(images if movement is None else moved(images, movement), strengths, feature, generator)


def movement_of(images: Tensor, strengths: Mapping[str, float], generator: torch.Generator | None) -> Movement | None:
    """Where every picture's pixels are to go; None where they stay."""
    if strengths.keys() & {"rotate", "scale", "crop"}:
        return _warp(images, strengths, generator)
    if strengths.keys() & {"flip", "flip_vertical", "translate"}:
        shift = strengths.get("translate", 0.0)
        rows = _axis(images, images.shape[1], shift, strengths.get("flip_vertical", 0.0), generator)
        return Shift(rows, _axis(images, images.shape[2], shift, strengths.get("flip", 0.0), generator))
    return None


def moved(pixels: Tensor, movement: Movement) -> Tensor:
    """Pictures [batch, height, width, channel], or labels of their pixels [batch, height, width], after a movement.

    Their size may be a multiple of the size that the movement was drawn for. Colors are interpolated, labels are not.
    """
    if isinstance(movement, Warp):
        return _warped(pixels, movement)
    flat = pixels if pixels.ndim == 4 else pixels.unsqueeze(3)
    rows = movement.rows.times(flat.shape[1] // movement.rows.places.shape[1])
    columns = movement.columns.times(flat.shape[2] // movement.columns.places.shape[1])
    return _gathered(flat, rows, columns).reshape(pixels.shape)


def finished(
    images: Tensor, strengths: Mapping[str, float], feature: Feature, generator: torch.Generator | None
) -> Tensor:
    """Recolored and covered: what changes no place."""
    if strengths.keys() & {"brightness", "contrast", "saturation"}:
        images = _recolored(images, strengths, generator)
    if "erase" in strengths:
        images = _erased(images, strengths["erase"], feature, generator)
    return images


def _gathered(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A gather of rows, then of columns, without arithmetic on pixels."""
    batch, height, width, channels = images.shape
    start = torch.arange(batch, device=images.device)[:, None] * height
    # A row of pixels is copied as a whole.
    images = images.reshape(batch * height, width * channels).index_select(0, (start + rows).reshape(-1))
    if channels == 1:
        index = columns[:, None, :].expand(batch, height, width)
        return images.reshape(batch, height, width).gather(2, index).unsqueeze(3)
    first = torch.arange(batch * height, device=images.device).reshape(batch, height, 1) * width
    flat = images.reshape(batch * height * width, channels)
    return flat.index_select(0, (first + columns[:, None, :]).reshape(-1)).reshape(batch, height, width, channels)


def _axis(images: Tensor, side: int, shift: float, mirrored: float, generator: torch.Generator | None) -> Axis:
    """Where each row or column comes from."""
    place = torch.arange(side, device=images.device)[None, :]
    backwards = torch.zeros_like(place, dtype=torch.bool)
    # The middle is never what was reflected at a border: by it boxes are told how far all was moved.
    largest = min(round(shift * side), (side - 1) // 2)
    if largest:
        place = place + (integers(len(images), 2 * largest + 1, images, generator) - largest)[:, None]
        backwards = (place < 0) | (place >= side)
        place = (side - 1) - ((side - 1) - place.abs()).abs()
    if mirrored:
        turned = uniform(len(images), images, generator) < mirrored
        place = torch.where(turned[:, None], (side - 1) - place, place)
        backwards = backwards ^ turned[:, None]
    return Axis(place.expand(len(images), side), backwards.expand(len(images), side))


def _warp(images: Tensor, strengths: Mapping[str, float], generator: torch.Generator | None) -> Warp:
    """All changes of place as one affine map."""
    batch, height, width, _ = images.shape

    def spread(name: str) -> Tensor:
        return uniform(batch, images, generator, -strengths[name], strengths[name]) if name in strengths else nothing

    nothing = torch.zeros(batch, device=images.device)
    angle = spread("rotate") * (pi / 180)
    size = 1 + spread("scale")
    across, down = spread("translate") * 2, spread("translate") * 2
    if "crop" in strengths:
        size = size * torch.sqrt(1 - uniform(batch, images, generator, 0, strengths["crop"]))
        # What is left may lie anywhere in the picture.
        free = (1 - size).clamp_min(0)
        across = across + free * uniform(batch, images, generator, -1, 1)
        down = down + free * uniform(batch, images, generator, -1, 1)
    mirror = _signs(images, strengths.get("flip", 0.0), generator)
    mirror_down = _signs(images, strengths.get("flip_vertical", 0.0), generator)
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    # Places go from -1 to 1 on either axis, so a turn must know the sides' ratio.
    ratio = height / width
    matrix = torch.stack(
        [
            torch.stack([cosine * mirror, -sine * ratio * mirror_down, across], dim=1),
            torch.stack([sine / ratio * mirror, cosine * mirror_down, down], dim=1),
        ],
        dim=1,
    )
    return Warp(matrix)


def _warped(pixels: Tensor, warp: Warp) -> Tensor:
    """Colors [batch, height, width, channel] sampled bilinearly, labels [batch, height, width] from the nearest."""
    colors = pixels.ndim == 4
    values = (pixels.permute(0, 3, 1, 2) if colors else pixels.unsqueeze(1)).float()
    grid = functional.affine_grid(warp.matrix, list(values.shape), align_corners=False)
    mode = "bilinear" if colors else "nearest"
    found = functional.grid_sample(values, grid, mode=mode, padding_mode="reflection", align_corners=False)
    if not colors:
        return found.squeeze(1).to(pixels.dtype)
    return found.permute(0, 2, 3, 1).round_().clamp_(0, 255).to(torch.uint8)


def _signs(images: Tensor, chance: float, generator: torch.Generator | None) -> Tensor:
    if not chance:
        return torch.ones(len(images), device=images.device)
    return 1.0 - 2.0 * (uniform(len(images), images, generator) < chance).float()


def _recolored(images: Tensor, strengths: Mapping[str, float], generator: torch.Generator | None) -> Tensor:
    pixels = images.float()
    if "saturation" in strengths and images.shape[3] == 3:
        grey = (pixels * torch.tensor(GREY, device=images.device)).sum(dim=3, keepdim=True)
        pixels = torch.lerp(grey, pixels, 1 + _each(images, strengths["saturation"], generator))
    if "contrast" in strengths:
        middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
        pixels = torch.lerp(middle, pixels, 1 + _each(images, strengths["contrast"], generator))
    if "brightness" in strengths:
        pixels = pixels + 255 * _each(images, strengths["brightness"], generator)
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def _each(images: Tensor, strength: float, generator: torch.Generator | None) -> Tensor:
    return uniform(len(images), images, generator, -strength, strength).reshape(-1, 1, 1, 1)


def _erased(images: Tensor, chance: float, feature: Feature, generator: torch.Generator | None) -> Tensor:
    """Random erasing (Zhong et al. 2020), with the training pictures' mean color."""
    area = uniform(len(images), images, generator, *ERASED)
    area = area * (uniform(len(images), images, generator) < chance)
    inside = rectangles(images.shape[1], images.shape[2], area, images, generator)
    mean = feature.details.get("mean") or [127.5] * images.shape[3]
    fill = torch.tensor(mean, device=images.device).round().to(torch.uint8)
    return torch.where(inside.unsqueeze(3), fill, images)


def rectangles(height: int, width: int, area: Tensor, near: Tensor, generator: torch.Generator | None) -> Tensor:
    """bool [batch, height, width]: inside a rectangle of the picture's shape that has about `area` (a share) of it."""
    side = area.clamp(0, 1).sqrt() if width > 1 else area.clamp(0, 1)
    tall = (side * height).round().long()
    wide = (side * width).round().long() if width > 1 else (tall > 0).long()
    top = (uniform(len(area), near, generator) * (height - tall + 1)).long()
    left = (uniform(len(area), near, generator) * (width - wide + 1)).long()
    rows = torch.arange(height, device=near.device)[None, :] - top[:, None]
    columns = torch.arange(width, device=near.device)[None, :] - left[:, None]
    in_rows = (rows >= 0) & (rows < tall[:, None])
    in_columns = (columns >= 0) & (columns < wide[:, None])
    return in_rows[:, :, None] & in_columns[:, None, :]
