"""Captions without a network: that of the nearest training picture."""

from __future__ import annotations

import time

import numpy as np

from lamina.steps.captioned.learner import Material
from lamina.steps.unlabelled import simple


def nearest(material: Material, seed: int) -> tuple[list[str], float, str]:
    """(A caption for each judged picture, seconds, note): what was written of the training picture most like it.

    Pictures are compared as themselves on a coarse grid.
    """
    from sklearn.neighbors import NearestNeighbors

    begin = time.monotonic()
    train = material.rows["train"]
    one, other, used = simple.vectors(material.prepared, train, material.judged, seed)
    _, places = NearestNeighbors(n_neighbors=1).fit(one).kneighbors(other)
    answers = material.captions(used[np.asarray(places)[:, 0]])
    note = f"among {len(used):,} of {len(train):,} training pictures" if len(used) < len(train) else ""
    return answers, time.monotonic() - begin, note
