"""From samples to log-mel spectrograms with NumPy alone: resampling, mel bands, frames."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FLOOR = 1e-10
"""Power below which everything counts as silence."""
SILENCE = float(10 * np.log10(FLOOR))
"""In decibels of a full-scale sine: -100."""
WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.010
ZERO_CROSSINGS = 24
"""Of the resampling filter, on either side: its transition band is about a tenth of the pass band."""
ROLLOFF = 0.95
KAISER_BETA = 9.0
"""About 90 dB of attenuation outside the pass band (Kaiser 1974)."""
LARGEST_RATIO = 640
FRAMES_AT_ONCE = 1024


def resample(samples: Array, rate: int, wanted: int) -> Array:
    """float32 [sample] at `wanted` samples a second, by a Kaiser-windowed sinc (Smith & Gossett 1984).

    The ratio of the rates is kept exactly up to 640:n (44,100 to 16,000 is 160:441) and otherwise rounded
    to the nearest such ratio.
    """
    ratio = Fraction(wanted, rate).limit_denominator(LARGEST_RATIO)
    if ratio == 1 or not ratio or not len(samples):
        return samples.astype(np.float32)
    # Short blocks are joined: each repeats the filter's whole length of input.
    joined = max(1, 512 // ratio.denominator)
    up, down = ratio.numerator * joined, ratio.denominator * joined
    weights, before = _polyphase(up, down)
    blocks = ceil(len(samples) / down)
    span = weights.shape[0]
    padded = np.zeros((blocks - 1) * down + span, dtype=np.float32)
    usable = min(len(samples), len(padded) - before)
    padded[before : before + usable] = samples[:usable]
    frames = np.lib.stride_tricks.sliding_window_view(padded, span)[::down]
    count = max(1, round(len(samples) * up / down))
    output = np.empty(blocks * up, dtype=np.float32)
    step = max(1, 2_000_000 // span)
    for start in range(0, blocks, step):
        output[start * up : (start + step) * up] = (
            np.ascontiguousarray(frames[start : start + step]) @ weights
        ).reshape(-1)
    return output[:count]


@lru_cache(maxsize=8)
def _polyphase(up: int, down: int) -> tuple[Array, int]:
    """float32 [input, output]: `up` outputs from the inputs around a block of `down`; and the inputs before it."""
    cutoff = ROLLOFF * min(1.0, up / down)
    half = ZERO_CROSSINGS / cutoff
    before = ceil(half)
    position = np.arange(up) * down / up
    offset = np.arange(-before, down + before)[:, None] - position[None, :]
    inside = np.abs(offset) < half
    taper = np.i0(KAISER_BETA * np.sqrt(np.where(inside, 1 - (offset / half) ** 2, 0))) / np.i0(KAISER_BETA)
    weights = np.where(inside, cutoff * np.sinc(cutoff * offset) * taper, 0)
    # Every phase passes a constant unchanged, so that resampling adds no tone at the block rate.
    return (weights / weights.sum(axis=0)).astype(np.float32), before


def frame_sizes(rate: int) -> tuple[int, int]:
    """Samples in a window (25 ms) and from one window to the next (10 ms)."""
    return max(2, round(rate * WINDOW_SECONDS)), max(1, round(rate * HOP_SECONDS))


def frame_count(samples: int, rate: int) -> int:
    """Whole windows in so many samples, at least 1."""
    window, hop = frame_sizes(rate)
    return 1 + max(0, samples - window) // hop


def log_mel(samples: Array, rate: int, bands: int) -> Array:
    """float32 [frame, band] in dB of a full-scale sine, from float [sample]; at least one frame.

    Hann windows of 25 ms every 10 ms; triangular bands of unit height, equally wide on the mel scale of
    Slaney's Auditory Toolbox (1998), from 0 to half the rate.
    """
    window, hop = frame_sizes(rate)
    filters, taper, size = _filterbank(rate, bands)
    padded = np.zeros(max(len(samples), window), dtype=np.float32)
    padded[: len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    result = np.empty((len(frames), bands), dtype=np.float32)
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        spectrum = np.fft.rfft(frames[start : start + FRAMES_AT_ONCE] * taper, size)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        result[start : start + FRAMES_AT_ONCE] = power @ filters
    # Some processors' logarithm of the floor is a bit below it.
    return np.asarray(np.maximum(10 * np.log10(np.maximum(result, FLOOR)), np.float32(SILENCE)))


@lru_cache(maxsize=8)
def _filterbank(rate: int, bands: int) -> tuple[Array, Array, int]:
    """Bands [bin, band] and window [sample], float32, scaled so that a full-scale sine has power 1; the FFT's size."""
    window, _ = frame_sizes(rate)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    edges = band_edges(rate, bands)
    size = 1 << (window - 1).bit_length()
    # A band narrower than a bin would hear nothing.
    while rate / size > np.diff(edges).min() and size < 16 * window:
        size *= 2
    frequency = np.arange(size // 2 + 1)[:, None] * rate / size
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    scaled = taper / (taper.sum() / 2)
    return filters.astype(np.float32), scaled.astype(np.float32), size


def band_edges(rate: int, bands: int) -> Array:
    """float64 [band + 2] in hertz: band b rises from edge b to b + 1 and falls to b + 2."""
    return _hertz(np.linspace(0, _mel(np.array(rate / 2.0)), bands + 2))


def places_of(hertz: Array, rate: int, bands: int) -> Array:
    """The bands whose middles lie at some frequencies, with fractions between two; below 0 and above the last too."""
    return np.asarray(_mel(hertz) / _mel(np.array(rate / 2.0)) * (bands + 1) - 1)


def _mel(hertz: Array) -> Array:
    """Linear up to 1,000 Hz (15 mel), logarithmic above."""
    return np.where(hertz < 1000, hertz * 0.015, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))


def _hertz(mel: Array) -> Array:
    return np.where(mel < 15, mel / 0.015, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27))
