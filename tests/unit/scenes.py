"""Pictures with boxes and answers of all sorts, for scores of detection."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.tasks._average_precision import Answer, Truth

Array = np.ndarray[Any, Any]


def scene(generator: np.random.Generator, boxes: int, answered: int) -> tuple[Truth, Answer]:
    """True boxes of all sizes, some crowds; answers near them, elsewhere and doubled."""

    def edges(count: int) -> Array:
        corner, side = generator.uniform(0, 200, (count, 2)), generator.uniform(5, 150, (count, 2))
        return np.concatenate([corner, corner + side], axis=1).round()

    true = edges(boxes)
    size = (true[:, 2] - true[:, 0]) * (true[:, 3] - true[:, 1])
    labels = generator.integers(0, 3, boxes)
    near = generator.integers(0, max(boxes, 1), answered)
    found = edges(answered)
    if boxes:
        moved = true[near] + generator.normal(0, 3, (answered, 4))
        found = np.where(generator.random(answered)[:, None] < 0.7, moved, found)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    said = labels[near] if boxes else generator.integers(0, 3, answered)
    said = np.where(generator.random(answered) < 0.8, said, generator.integers(0, 3, answered))
    return (
        Truth(true, labels, size * generator.uniform(0.5, 1, boxes), generator.random(boxes) < 0.15),
        Answer(found, said, generator.permutation(answered) / max(answered, 1)),
    )


def scenes(seed: int, rows: int = 12) -> tuple[list[Truth], list[Answer]]:
    generator = np.random.default_rng(seed)
    pairs = [scene(generator, int(generator.integers(0, 7)), int(generator.integers(0, 15))) for _ in range(rows)]
    # No two answers of different pictures are equally sure: their order would be the readers' choice.
    answers = [Answer(one.edges, one.labels, one.scores + row / 1e4) for row, (_, one) in enumerate(pairs)]
    return [truth for truth, _ in pairs], answers
