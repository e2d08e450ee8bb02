"""Rows as plain vectors, without any learning: what the simpler tools for anomalies and likeness look at."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from lamina.baselines import BaselineFeatures, Block
from lamina.baselines._matrix import for_linear
from lamina.evaluate.judge import NEIGHBORS
from lamina.steps.baselines import simple_features
from lamina.steps.prepare import Prepared

Array = np.ndarray[Any, Any]

MOST = 10_000
"""Training rows that the simpler tools look at."""
TEXT_WIDTH = 100
"""Numbers that a text's word counts are reduced to."""
SECONDS = 30.0


def vectors(prepared: Prepared, train: Array, test: Array, seed: int) -> tuple[Array, Array, Array]:
    """Plain vectors of at most `MOST` training rows, of the test rows, and which training rows they are."""
    if len(train) > MOST:
        train = np.sort(np.random.default_rng(seed).choice(train, MOST, replace=False))
    one, other = (_coarse(simple_features(prepared, rows)) for rows in (train, test))
    matrix = for_linear(one, SECONDS)
    first, second = matrix.of(one), matrix.of(other)
    if not isinstance(first, np.ndarray):
        from sklearn.decomposition import TruncatedSVD

        width = min(TEXT_WIDTH, first.shape[1] - 1, first.shape[0] - 1)
        reduce = TruncatedSVD(max(width, 1), random_state=seed).fit(first)
        first, second = reduce.transform(first), reduce.transform(second)
    return np.asarray(first, np.float32), np.asarray(second, np.float32), train


def _coarse(features: BaselineFeatures) -> BaselineFeatures:
    """Pictures, sounds and series as themselves on a coarse grid, rather than their statistics."""
    blocks = [
        Block(block.field, "media", block.raw) if block.kind == "media" and block.raw is not None else block
        for block in features.blocks
    ]
    return BaselineFeatures(tuple(blocks), features.rows)


def isolation(train: Array, test: Array, seed: int) -> tuple[Array, float]:
    """(How strange each test row is, seconds): isolation forest (Liu, Ting & Zhou 2008)."""
    from sklearn.ensemble import IsolationForest

    begin = time.monotonic()
    model = IsolationForest(n_estimators=200, random_state=seed).fit(train)
    return -model.score_samples(test), time.monotonic() - begin


def nearest(train: Array, test: Array) -> tuple[Array, float]:
    """(How strange each test row is, seconds): the distance to its nearest training rows (Ramaswamy et al. 2000)."""
    from sklearn.neighbors import NearestNeighbors

    begin = time.monotonic()
    number = min(NEIGHBORS // 2, len(train))
    distances, _ = NearestNeighbors(n_neighbors=number).fit(train).kneighbors(test)
    return distances.mean(axis=1), time.monotonic() - begin
