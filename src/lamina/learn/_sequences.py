"""Augmentation of spectrograms, series, tokens, numbers and categories."""

from __future__ import annotations

from collections.abc import Mapping
from math import pi

import torch
from torch import Tensor

from lamina.learn import _sounds
from lamina.learn._pictures import uniform
from lamina.modalities import Feature

STRETCHES = 2


def change_spectrogram(
    sounds: Tensor, strengths: Mapping[str, float], feature: Feature, generator: torch.Generator | None
) -> Tensor:
    """float16 [batch, time, band]: speed, pace, shift, loudness, noise, masks; padding stays zero and at the end."""
    batch, steps, bands = sounds.shape
    # As a product: a reduction over the short last axis is twenty times as slow on the CPU.
    used = sounds.float().abs() @ torch.ones(bands, device=sounds.device) > 0
    length = (used * torch.arange(1, steps + 1, device=sounds.device)).amax(dim=1)
    if "tempo" in strengths:
        sounds, length, _ = _paced(sounds, length, strengths["tempo"], generator)
    if "speed" in strengths:
        sounds, length, pace = _paced(sounds, length, strengths["speed"], generator)
        sounds = _sounds.pitched(sounds, pace, feature)
    if "time_shift" in strengths:
        sounds, length = _shifted(sounds, length, strengths["time_shift"], generator)
    changed = sounds
    if "gain" in strengths:
        _, spread = _sounds.spread(feature, bands, sounds)
        gain = uniform(batch, sounds, generator, -strengths["gain"], strengths["gain"])
        changed = changed + (gain[:, None, None] / spread).to(sounds.dtype)
    if "noise" in strengths:
        changed = changed + (strengths["noise"] * _normal(sounds, generator)).to(sounds.dtype)
    kept = torch.arange(steps, device=sounds.device)[None, :] < length[:, None]
    if strengths.keys() & {"white_noise", "background"}:
        changed = _sounds.noisy(changed, kept, strengths, feature, generator)
    # Products with 0 and 1 blank many times as fast as selection does.
    if "time_mask" in strengths:
        kept &= ~_stretches(steps, length, strengths["time_mask"], sounds, generator)
    changed = changed * kept.to(sounds.dtype)[:, :, None]
    if "frequency_mask" in strengths:
        masked = _stretches(bands, torch.full_like(length, bands), strengths["frequency_mask"], sounds, generator)
        changed = changed * (~masked).to(sounds.dtype)[:, None, :]
    return changed


def _paced(
    sounds: Tensor, length: Tensor, strength: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Faster or slower, by linear interpolation between frames, the new lengths, and how many times as fast.

    Nothing is lost at the end: a sound is slowed down no further than the batch has steps for. What lies beyond its
    new length is left for the caller to blank.
    """
    steps = sounds.shape[1]
    pace = uniform(len(sounds), sounds, generator, 1 - strength, 1 + strength).maximum(length / steps)
    place = torch.arange(steps, device=sounds.device)[None, :] * pace[:, None]
    last = (length - 1).clamp_min(0)[:, None]
    place = place.minimum(last.to(place.dtype))
    before = place.floor().long()
    start = torch.arange(len(sounds), device=sounds.device)[:, None] * steps
    frames = sounds.flatten(0, 1)
    first = frames.index_select(0, (start + before).flatten()).view_as(sounds)
    second = frames.index_select(0, (start + (before + 1).minimum(last)).flatten()).view_as(sounds)
    mixed = torch.lerp(first.float(), second.float(), (place - before)[:, :, None]).to(sounds.dtype)
    return mixed, (length / pace).round().long().clamp(1, steps).minimum(length * steps), pace


def _shifted(
    sounds: Tensor, length: Tensor, strength: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Later (the first frame is repeated) or earlier (the beginning is lost), and the new lengths.

    What lies beyond the new length is left for the caller to blank.
    """
    steps = sounds.shape[1]
    shift = (uniform(len(sounds), sounds, generator, -strength, strength) * length).round().long()
    place = torch.arange(steps, device=sounds.device)[None, :]
    origin = (place - shift[:, None]).clamp_min(0).minimum((length - 1).clamp_min(0)[:, None])
    longer = (length + shift).clamp(1, steps).minimum(length * steps)
    start = torch.arange(len(sounds), device=sounds.device)[:, None] * steps
    # A frame is copied as a whole.
    return sounds.flatten(0, 1).index_select(0, (start + origin).flatten()).view_as(sounds), longer


def _stretches(steps: int, length: Tensor, share: float, near: Tensor, generator: torch.Generator | None) -> Tensor:
    """bool [batch, steps]: inside one of two stretches that together cover at most `share` of `length`."""
    place = torch.arange(steps, device=near.device)[None, :]
    inside = torch.zeros((len(length), steps), dtype=torch.bool, device=near.device)
    for _ in range(STRETCHES):
        wide = (uniform(len(length), near, generator) * (length * (share / STRETCHES) + 1)).long()
        wide = wide.minimum((length * (share / STRETCHES)).long())
        start = (uniform(len(length), near, generator) * (length - wide + 1)).long()
        inside |= (place >= start[:, None]) & (place < (start + wide)[:, None])
    return inside


def change_series(
    series: Tensor, strengths: Mapping[str, float], feature: Feature, generator: torch.Generator | None
) -> Tensor:
    """float32 [batch, time, channel]: warp and shift in time, scale, jitter."""
    batch, steps, _ = series.shape
    if strengths.keys() & {"shift", "warp"} and steps > 1:
        place = torch.linspace(0, 1, steps, device=series.device)[None, :].expand(batch, steps)
        if "warp" in strengths:
            # A sine over the whole length moves the inside and leaves the ends; its slope is the change of pace.
            slope = uniform(batch, series, generator, -strengths["warp"], strengths["warp"])
            waves = torch.floor(uniform(batch, series, generator, 1, 4))
            place = place + (slope / (pi * waves))[:, None] * torch.sin(pi * waves[:, None] * place)
        if "shift" in strengths:
            place = place + uniform(batch, series, generator, -strengths["shift"], strengths["shift"])[:, None]
        series = _between(series, place.clamp(0, 1) * (steps - 1))
    if "scale" in strengths:
        series = (
            series * (1 + uniform(batch, series, generator, -strengths["scale"], strengths["scale"]))[:, None, None]
        )
    if "jitter" in strengths:
        series = series + strengths["jitter"] * _normal(series, generator)
    return series


def _between(series: Tensor, place: Tensor) -> Tensor:
    """The values at fractional steps `place` [batch, time], by linear interpolation."""
    before = place.floor().long().clamp(0, series.shape[1] - 1)
    after = (before + 1).clamp_max(series.shape[1] - 1)
    first = series.gather(1, before[:, :, None].expand_as(series))
    second = series.gather(1, after[:, :, None].expand_as(series))
    return torch.lerp(first, second, (place - before)[:, :, None])


def change_tokens(
    tokens: Tensor, strengths: Mapping[str, float], feature: Feature, generator: torch.Generator | None
) -> Tensor:
    """int32 [batch, length]: some tokens, never padding or special ones, become unknown (Iyyer et al. 2015).

    Lists of items have no unknown one: some are left out, and the others move up, for padding stands at the end only.
    """
    details = feature.details
    padding = int(details.get("padding", 0))
    kept = torch.tensor(sorted({padding, *details.get("special", ())}), device=tokens.device)
    chosen = uniform(tokens.numel(), tokens, generator).reshape(tokens.shape) < strengths["drop"]
    chosen &= ~torch.isin(tokens, kept)
    if "unknown" in details:
        return torch.where(chosen, int(details["unknown"]), tokens)
    left = torch.where(chosen, padding, tokens)
    return left.gather(1, (left == padding).to(torch.uint8).argsort(dim=1, stable=True))


def change_category(
    levels: Tensor, strengths: Mapping[str, float], feature: Feature, generator: torch.Generator | None
) -> Tensor:
    """int32 [batch]: some known values become unknown (0)."""
    chosen = uniform(len(levels), levels, generator) < strengths["drop"]
    return torch.where(chosen, 0, levels)


def change_numbers(
    numbers: Tensor, strengths: Mapping[str, float], feature: Feature, generator: torch.Generator | None
) -> Tensor:
    """float32 [batch, width]: Gaussian noise."""
    return numbers + strengths["noise"] * _normal(numbers, generator)


def _normal(near: Tensor, generator: torch.Generator | None) -> Tensor:
    """float32 standard normal, of the shape and on the device of `near`."""
    device = near.device if generator is None else generator.device
    return torch.randn(near.shape, generator=generator, device=device).to(near.device)
