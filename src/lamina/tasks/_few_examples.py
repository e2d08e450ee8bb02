"""Three ways to answer with classes from the vectors of a few examples; nothing is trained but one linear layer.

Vectors are of length 1 throughout. Every function takes any number of leading axes, so that hundreds of small problems
(episodes) are answered at once. NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WAYS = ("prototypes", "neighbors", "probe")
"""From the simplest on: of two that are as good, the earlier one is to be preferred."""
SHARPNESS = 0.1
"""By which likeness is divided before a softmax: for vectors of length 1 (Wu et al. 2018 use 0.07)."""
NEIGHBORS = 10
STRENGTH = 0.003
"""Of the probe's L2 penalty, where centred vectors have a mean square of 1."""
STEPS, SMALLEST_SLOPE = 1000, 1e-5
FOLDS = 5
BLOCK = 4_000_000
"""Numbers that one block of comparisons may hold, so that memory stays flat."""


def unit(vectors: Array) -> Array:
    """[..., row, size] float32 of length 1; a vector of zeros stays one."""
    vectors = np.asarray(vectors, np.float32)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def keep(way: str, vectors: Array, codes: Array, classes: int) -> Array:
    """What a way remembers of its examples, float32 [..., member, columns].

    "prototypes": the mean of each class, [class, size] (Snell et al. 2017). "neighbors": all examples. "probe": a
    linear layer [class, size + 1], the bias last.

    Args:
        vectors: [..., row, size] of length 1.
        codes: int64 [row], the classes 0 to classes - 1, each of which has an example.
    """
    if way == "prototypes":
        return np.asarray(_sums(vectors, codes, classes) / _counts(codes, classes)[:, None], np.float32)
    if way == "probe":
        return _probe(vectors, codes, classes)
    return np.asarray(vectors, np.float32)


def log_probabilities(way: str, kept: Array, codes: Array, queries: Array, classes: int) -> Array:
    """[..., query, class] float64, up to a constant of each row, before any temperature.

    Args:
        kept: what `keep` gave.
        codes: int64 [row], the examples' classes ("neighbors" only).
        queries: [..., query, size] of length 1.
    """
    queries = np.asarray(queries, np.float64)
    if way == "prototypes":
        return _nearness(queries, kept)
    if way == "probe":
        return np.asarray(queries @ _turned(kept[..., :-1]) + kept[..., None, :, -1])
    rows = max(1, BLOCK // max(int(np.prod(queries.shape[:-2])) * kept.shape[-2], 1))
    parts = [
        _votes(queries[..., start : start + rows, :] @ _turned(kept), codes, classes)
        for start in range(0, max(queries.shape[-2], 1), rows)
    ]
    return np.concatenate(parts, axis=-2)


def held_out(way: str, vectors: Array, codes: Array, classes: int) -> tuple[Array, Array]:
    """(rows, log-probabilities [row, class]): what each example is answered when it is not among the examples.

    One example at a time is left out, for "probe" a fifth of each class. The only example of a class cannot be.
    """
    rows = np.flatnonzero(_counts(codes, classes)[codes] > 1)
    if way == "prototypes":
        return rows, _without_itself(vectors, codes, classes)[rows]
    if way == "probe":
        return rows, _without_fold(vectors, codes, classes)[rows]
    found = np.empty((len(rows), classes))
    block = max(1, BLOCK // len(vectors))
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        likeness = vectors[part].astype(np.float64) @ _turned(vectors)
        likeness[np.arange(len(part)), part] = -np.inf
        found[start : start + block] = _votes(likeness, codes, classes)
    return rows, found


def _counts(codes: Array, classes: int) -> Array:
    return np.bincount(codes, minlength=classes)


def _sums(vectors: Array, codes: Array, classes: int) -> Array:
    """[..., class, size] float64."""
    return np.asarray(np.eye(classes)[codes].T @ np.asarray(vectors, np.float64))


def _turned(matrix: Array) -> Array:
    return np.asarray(np.swapaxes(matrix, -1, -2), np.float64)


def _nearness(queries: Array, means: Array) -> Array:
    """Minus the squared distance to each mean, over `SHARPNESS`, without the part that all classes share."""
    squares = (np.asarray(means, np.float64) ** 2).sum(axis=-1)
    return np.asarray((2 * queries @ _turned(means) - squares[..., None, :]) / SHARPNESS)


def _without_itself(vectors: Array, codes: Array, classes: int) -> Array:
    """`_nearness` with each example taken out of the mean of its own class."""
    exact, rows, counts = np.asarray(vectors, np.float64), np.arange(len(codes)), _counts(codes, classes)
    sums = _sums(exact, codes, classes)
    found = _nearness(exact, sums / counts[:, None])
    own = (sums[codes] - exact) / np.maximum(counts[codes] - 1, 1)[:, None]
    found[rows, codes] = (2 * (exact * own).sum(axis=1) - (own**2).sum(axis=1)) / SHARPNESS
    return found


def _votes(likeness: Array, codes: Array, classes: int) -> Array:
    """Log of each class's share of the votes of the nearest examples, which count by how near they are.

    Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination"; one more vote is spread
    evenly, so that no class is impossible. Examples as near as the last one vote too.

    Args:
        likeness: [..., query, example]; minus infinity for an example that has no vote.
    """
    number = min(NEIGHBORS, likeness.shape[-1])
    last = np.partition(likeness, -number, axis=-1)[..., -number, None]
    weight = np.exp((likeness - likeness.max(axis=-1, keepdims=True, initial=-1.0)) / SHARPNESS)
    share = np.where(likeness >= last, weight, 0) @ np.eye(classes)[codes]
    share /= np.maximum(share.sum(axis=-1, keepdims=True), 1e-12)
    return np.asarray(np.log((number * share + 1 / classes) / (number + 1)))


def _probe(vectors: Array, codes: Array, classes: int) -> Array:
    """Multinomial logistic regression with an L2 penalty, [..., class, size + 1] with the bias last.

    It minimises mean cross-entropy + STRENGTH / 2 |weights|² (biases are weights too) by accelerated gradient descent
    for strongly convex functions (Nesterov 2004, "Introductory lectures on convex optimization", scheme 2.2.9). Vectors
    are centred and scaled to a mean square of 1, by which the curvature is at most 1 + STRENGTH, and no step length
    needs to be searched.
    """
    exact = np.asarray(vectors, np.float64)
    mean = exact.mean(axis=-2, keepdims=True)
    scale = np.sqrt(((exact - mean) ** 2).sum(axis=-1, keepdims=True).mean(axis=-2, keepdims=True))
    scale = np.maximum(scale, 1e-9)
    inputs = np.concatenate([(exact - mean) / scale, np.ones((*exact.shape[:-1], 1))], axis=-1)
    weights = _regression(inputs, np.eye(classes)[codes])
    linear = weights[..., :-1] / scale
    bias = weights[..., -1:] - linear @ _turned(mean)
    return np.asarray(np.concatenate([linear, bias], axis=-1), np.float32)


def _regression(inputs: Array, wanted: Array) -> Array:
    """[..., class, column]: the weights that cost least, for inputs [..., row, column] with a mean square of 2."""
    steepest = 1 + STRENGTH
    momentum = (np.sqrt(steepest) - np.sqrt(STRENGTH)) / (np.sqrt(steepest) + np.sqrt(STRENGTH))
    weights = ahead = np.zeros((*inputs.shape[:-2], wanted.shape[-1], inputs.shape[-1]))
    for _ in range(STEPS):
        logits = inputs @ np.swapaxes(ahead, -1, -2)
        probability = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probability /= probability.sum(axis=-1, keepdims=True)
        slope = np.swapaxes(probability - wanted, -1, -2) @ inputs / inputs.shape[-2] + STRENGTH * ahead
        before, weights = weights, ahead - slope / steepest
        if np.abs(slope).max() < SMALLEST_SLOPE:
            break
        ahead = weights + momentum * (weights - before)
    return weights


def _without_fold(vectors: Array, codes: Array, classes: int) -> Array:
    """The probe's logits of each example, by a probe that was fitted without its part of the class."""
    order = np.argsort(codes, kind="stable")
    counts = _counts(codes, classes)
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    fold = np.where(counts[codes] > 1, rank % FOLDS, -1)
    found = np.zeros((len(codes), classes))
    for number in range(FOLDS):
        out = fold == number
        if out.any():
            kept = _probe(vectors[~out], codes[~out], classes)
            found[out] = log_probabilities("probe", kept, codes, vectors[out], classes)
    return found
