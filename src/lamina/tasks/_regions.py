"""Regions of a mask: connected parts, their borders, and how parts are told apart again. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def components(mask: Array) -> Array:
    """int32 [height, width]: 0 outside, and 1, 2, ... for the parts of a mask [height, width], joined by their sides.

    The mask is bool, or has numbers, 0 outside: then parts of different numbers are apart.

    Horizontal runs of pixels are found first; runs that touch from row to row are then united by pointing every run at
    the smallest number around it until nothing changes (Shiloach & Vishkin 1982, "An O(log n) parallel connectivity
    algorithm").
    """
    height, width = mask.shape
    # Rows are padded, so a run never goes on in the next row.
    values = np.pad(mask, [(0, 0), (1, 1)]).ravel()
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts, ends = changes[values[changes] != 0], changes[values[changes - 1] != 0]
    if not len(starts):
        return np.zeros((height, width), np.int32)
    first, second = _touching(starts, ends, width + 2)
    equal = values[starts[first]] == values[starts[second]]
    first, second = first[equal], second[equal]
    parent = np.arange(len(starts))
    while len(first):
        one, other = parent[first], parent[second]
        if (one == other).all():
            break
        np.minimum.at(parent, np.maximum(one, other), np.minimum(one, other))
        while not (parent[parent] == parent).all():
            parent = parent[parent]
    _, number = np.unique(parent, return_inverse=True)
    change = np.zeros(height * (width + 2) + 1, dtype=np.int64)
    np.add.at(change, starts, number + 1)
    np.add.at(change, ends, -(number + 1))
    return np.cumsum(change[:-1]).reshape(height, width + 2)[:, 1:-1].astype(np.int32)


def parts_of_each(mask: Array) -> tuple[Array, Array]:
    """(How many parts each number above 0 has that a mask of whole numbers holds, pixels of each part)."""
    found = components(mask)
    sizes = np.bincount(found.ravel())
    value = np.zeros(len(sizes), dtype=mask.dtype)
    value[found] = mask
    return np.unique(value[1:], return_counts=True)[1], sizes[1:]


def _touching(starts: Array, ends: Array, width: int) -> tuple[Array, Array]:
    """Pairs of runs, one right below the other."""
    # A run touches those of the row below that begin before its end and end after its beginning.
    low = np.searchsorted(ends, starts + width, side="right")
    high = np.searchsorted(starts, ends + width, side="left")
    counts = np.maximum(high - low, 0)
    above = np.repeat(np.arange(len(starts)), counts)
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return above, np.repeat(low, counts) + offset


def bordered(ids: Array) -> Array:
    """bool [..., height, width]: pixels of an instance that touch, by a side, a pixel of another or of none."""
    edge = np.zeros(ids.shape, dtype=bool)
    for axis in (-1, -2):
        one, other = _shifted(ids, axis)
        different = one != other
        first, second = _shifted(edge, axis)
        first |= different
        second |= different
    return edge & (ids > 0)


def _shifted(array: Array, axis: int) -> tuple[Array, Array]:
    """Views without the last and without the first row or column."""
    if axis == -1:
        return array[..., :-1], array[..., 1:]
    return array[..., :-1, :], array[..., 1:, :]


def grown(seeds: Array, inside: Array) -> Array:
    """`seeds` (int [height, width], 0 for none) spread over `inside`, step by step; of two the larger number takes it.

    Parts of `inside` that no seed reaches become instances of their own.
    """
    wide = np.pad(np.where(inside, seeds, 0), 1)
    numbers, free = wide.ravel(), (np.pad(inside, 1) & (wide == 0)).ravel()
    newest = np.flatnonzero(numbers)
    # Only what the last step reached can reach farther: all steps together look at every pixel once.
    while len(newest):
        around = np.concatenate([newest + step for step in (-1, 1, -wide.shape[1], wide.shape[1])])
        reached = free[around]
        np.maximum.at(numbers, around[reached], np.tile(numbers[newest], 4)[reached])
        newest = np.unique(around[reached])
        free[newest] = False
    found = wide[1:-1, 1:-1]
    left = components(inside & (found == 0))
    return np.where(left > 0, left + found.max(initial=0), found)


def renumbered(ids: Array, kept: Array) -> Array:
    """int32: the instances of which `kept`, bool [number], is true as 1, 2, ..., all else 0."""
    numbers = np.zeros(len(kept), np.int32)
    rows = np.flatnonzero(kept[1:]) + 1
    numbers[rows] = np.arange(1, len(rows) + 1)
    return np.asarray(numbers[ids])


def instances(inside: Array, foreground: Array, smallest: int = 0) -> Array:
    """int32 [height, width]: instances, numbered from 1, from what is certainly inside one and what is of any.

    The parts of `inside` are told apart, and grow over `foreground` (Ronneberger et al. 2015 learn the borders between
    touching cells for this). Instances of fewer than `smallest` pixels are left out.
    """
    found = grown(components(inside), foreground)
    return renumbered(found, np.bincount(found.ravel()) >= max(smallest, 1))


def judged(ids: Array, known: Array) -> Array:
    """int32 [height, width]: answered instances without what lies where the truth is not known, bool [height, width].

    One that mostly lies there is neither right nor wrong, and so is none (Kirillov et al. 2019).
    """
    sizes = np.bincount(ids.ravel())
    return renumbered(np.where(known, ids, 0), 2 * np.bincount(ids[known], minlength=len(sizes)) >= sizes)


def matched(answer: Array, truth: Array, least: float = 0.5) -> tuple[int, int, int]:
    """(hits, answered, true): instances that overlap by an intersection over union above `least`.

    Above a half no instance can overlap two, so that pairs need no choosing (Kirillov et al. 2019).
    """
    answered, true = int(answer.max(initial=0)), int(truth.max(initial=0))
    shared = np.zeros((answered + 1, true + 1), np.int64)
    np.add.at(shared, (answer.ravel(), truth.ravel()), 1)
    sizes, wanted = shared.sum(axis=1, keepdims=True), shared.sum(axis=0, keepdims=True)
    overlap = shared / np.maximum(sizes + wanted - shared, 1)
    return int((overlap[1:, 1:] > least).sum()), answered, true
