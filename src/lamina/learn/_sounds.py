"""Changes to log-mel spectrograms that stand for changes to their sounds: noise in powers, pitch along the bands."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lamina.learn._pictures import uniform
from lamina.modalities import Feature
from lamina.modalities._mel import SILENCE, band_edges, places_of

RATE = 16_000
"""Samples a second where the feature does not tell."""
WHITE, BACKGROUND = (10.0, 40.0), (10.0, 30.0)
"""Decibels that the sound is above white noise, and above another sound."""
RESOLUTION = 60.0
"""Hertz that a Hann window of 25 ms takes together."""


def spread(feature: Feature, bands: int, near: Tensor) -> tuple[Tensor, Tensor]:
    """(Mean, standard deviation) of each band in dB, float32 [band]."""
    mean, std = feature.details.get("mean") or [0.0] * bands, feature.details.get("std") or [10.0] * bands
    return torch.tensor(mean, device=near.device), torch.tensor(std, device=near.device)


def pitched(sounds: Tensor, pace: Tensor, feature: Feature) -> Tensor:
    """Sounds [batch, time, band] with all frequencies `pace` [batch] times as high, by interpolation between bands.

    What would come from above half the rate is taken from the highest band: no slow voice has nothing there.
    """
    bands = sounds.shape[2]
    mean, std = spread(feature, bands, sounds)
    hertz = torch.tensor(band_edges(_rate(feature), bands)[1:-1], dtype=torch.float32)
    heard = hertz[None, :] / pace.cpu()[:, None]
    place = torch.tensor(places_of(heard.numpy(), _rate(feature), bands), dtype=torch.float32, device=sounds.device)
    place = place.clamp(0, bands - 1)
    # Each new band is a mean of the two old ones beside it, as one product.
    weights = (1 - (place[:, None, :] - torch.arange(bands, device=sounds.device)[None, :, None]).abs()).clamp_min(0)
    return (((sounds.float() * std + mean) @ weights - mean) / std).to(sounds.dtype)


def noisy(
    sounds: Tensor,
    kept: Tensor,
    strengths: Mapping[str, float],
    feature: Feature,
    generator: torch.Generator | None,
) -> Tensor:
    """Sounds [batch, time, band] with white noise, another sound of the batch, or both, added to their powers.

    Args:
        kept: bool [batch, time], what is no padding.
        strengths: chances of "white_noise" and of "background".
    """
    batch, _, bands = sounds.shape
    mean, std = spread(feature, bands, sounds)
    power = 10 ** ((sounds.float() * std + mean).clamp_min(SILENCE) / 10) * kept[:, :, None]
    frames = kept.sum(dim=1).clamp_min(1)
    loudness = power.sum(dim=(1, 2)) / frames
    added = torch.zeros_like(power)
    if "white_noise" in strengths:
        edges = torch.tensor(band_edges(_rate(feature), bands), dtype=torch.float32, device=sounds.device)
        width = (edges[2:] - edges[:-2]) / 2
        # A band's power is a mean of as many squared normal numbers (Wilson & Hilferty 1931).
        unsteady = 2 / (9 * 2 * (width / RESOLUTION).clamp_min(1))
        device = sounds.device if generator is None else generator.device
        normal = torch.randn(power.shape, generator=generator, device=device).to(sounds.device)
        drawn = (1 - unsteady + normal * unsteady.sqrt()).clamp_min(0) ** 3
        part = _quieter(batch, strengths["white_noise"], WHITE, sounds, generator) * loudness
        added = added + part[:, None, None] * drawn * (width / width.sum())
    if "background" in strengths and batch > 1:
        other, level = power.roll(1, dims=0), loudness.roll(1)
        part = _quieter(batch, strengths["background"], BACKGROUND, sounds, generator) * loudness
        added = added + (part / level.clamp_min(1e-10))[:, None, None] * other
    louder = (10 * torch.log10((power + added).clamp_min(1e-10)) - mean) / std
    return torch.where((added > 0) & kept[:, :, None], louder.to(sounds.dtype), sounds)


def _quieter(
    batch: int, chance: float, decibels: tuple[float, float], near: Tensor, generator: torch.Generator | None
) -> Tensor:
    """float32 [batch]: the share of a sound's power that is added to it; 0 where nothing is."""
    chosen = uniform(batch, near, generator) < chance
    return chosen * 10 ** (-uniform(batch, near, generator, *decibels) / 10)


def _rate(feature: Feature) -> int:
    return int(feature.details.get("rate", RATE))
