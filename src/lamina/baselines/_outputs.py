"""Answers of other libraries in the form of a network's outputs, and rows that a time limit affords."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.tasks._ctc import certain_of

Array = np.ndarray[Any, Any]

LEAST_PROBABILITY = 1e-6


def class_output(probability: Array, seen: Array, width: int) -> Array:
    """Log-probabilities float32 [row, width] from probabilities of the `seen` classes [row, seen]."""
    full = np.zeros((len(probability), width))
    full[:, np.asarray(seen, dtype=np.int64)] = probability
    full = np.maximum(full, LEAST_PROBABILITY)
    return np.asarray(np.log(full / full.sum(axis=1, keepdims=True)), dtype=np.float32)


def label_output(probability: Array) -> Array:
    """Logits float32 [row, label] from the probability of each label."""
    safe = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(np.log(safe) - np.log1p(-safe), dtype=np.float32)


def number_output(location: Array, residual: Array) -> Array:
    """[row, 2]: the location, and one log-scale for all rows from `residual`, errors on other rows."""
    scale = float(np.abs(residual).mean()) if len(residual) else 1.0
    log_scale = np.full(len(location), np.log(max(scale, 1e-3)))
    return np.stack([location, log_scale], axis=1).astype(np.float32)


def text_output(symbols: Array, width: int) -> Array:
    """Log-chances float32 [row, width] that are certain of texts, [row, step] symbols with -1 after the end."""
    count = width // symbols.shape[1]
    texts = [[symbol for symbol in row if symbol >= 0] for row in symbols.tolist()]
    rows = [certain_of(text, symbols.shape[1], count).ravel() for text in texts]
    return np.stack(rows) if rows else np.zeros((0, width), dtype=np.float32)


def affordable(rows: int, seconds_per_row: float, seconds: float, seed: int) -> tuple[Array, str]:
    """Row numbers that the time affords, sorted, drawn at random where not all, and the note that says so."""
    most = max(200, int(seconds / max(seconds_per_row, 1e-12)))
    if most >= rows:
        return np.arange(rows), ""
    chosen = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return chosen, f"fitted on {most:,} of {rows:,} rows to save time"


def joined(*notes: str) -> str:
    """Notes as one."""
    return "; ".join(note for note in notes if note)
