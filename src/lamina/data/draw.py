"""Drawing a share of rows: by stratum, by whole groups, by time. Rows in, two disjoint sets of rows out."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.data.content import numbered

Array = np.ndarray[Any, Any]

RARE = 5
"""A class with fewer rows than this is not divided: all of them are for training."""
TRIES = 32
"""Orders of groups that are tried for the fairest share."""


def stratified(
    rows: Array, units: Array, strata: Array, share: float, generator: np.random.Generator, fewest: int = RARE
) -> tuple[Array, Array]:
    """(the rest, the drawn share); each stratum gives its share, at least one row, and rows of a unit stay together.

    Args:
        rows: int64 [row].
        units: int64 [row], equal for rows that must not be separated.
        strata: int64 [row]; a unit belongs to the stratum of its first row. None are drawn of a negative one.
        fewest: a stratum with fewer rows gives none, unless it is the only one.
    """
    if not len(rows):
        return rows, rows
    unit = numbered(units)
    count = int(unit.max()) + 1
    sizes = np.bincount(unit, minlength=count)
    first = np.full(count, len(rows))
    np.minimum.at(first, unit, np.arange(len(rows)))
    stratum = numbered(strata[first])
    drawn = np.zeros(count, dtype=bool)
    shuffled = generator.permutation(count)
    by_stratum = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    ends = np.cumsum(np.bincount(stratum))
    alone = len(ends) == 1
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        members = by_stratum[start:end]
        total = int(sizes[members].sum())
        if (total < fewest and not alone) or len(members) < 2 or strata[first[members[0]]] < 0:
            continue
        wanted = max(1, round(share * total))
        before = np.cumsum(sizes[members]) - sizes[members]
        chosen = before + sizes[members] / 2 <= wanted
        if not chosen.any():
            chosen[np.argmin(sizes[members])] = True
        if chosen.all():
            chosen[-1] = False
        drawn[members[chosen]] = True
    return rows[~drawn[unit]], rows[drawn[unit]]


def whole_groups(
    rows: Array, groups: Array, strata: Array, share: float, generator: np.random.Generator
) -> tuple[Array, Array]:
    """(the rest, the drawn groups): of several random orders, the one nearest to the share in rows and in strata.

    Args:
        groups: int64 [row]; at least two different ones.
    """
    group = numbered(groups)
    count = int(group.max()) + 1
    sizes = np.bincount(group, minlength=count)
    stratum = numbered(strata)
    classes = int(stratum.max()) + 1
    small = count * classes <= 5_000_000
    table = (
        np.bincount(group * classes + stratum, minlength=count * classes).reshape(count, classes)
        if small
        else sizes[:, None]
    )
    best: tuple[float, Array] | None = None
    for _ in range(TRIES):
        chosen = _fill(generator.permutation(count), sizes, share * len(rows))
        got = table[chosen].sum(axis=0)
        miss = abs(got.sum() - share * len(rows)) + np.abs(got - share * table.sum(axis=0)).sum()
        # Every class must stay in the rest where it can: a class that is gone cannot be learned.
        miss += len(rows) * np.count_nonzero(got == table.sum(axis=0))
        if best is None or miss < best[0]:
            best = (float(miss), chosen)
    assert best is not None
    drawn = np.zeros(count, dtype=bool)
    drawn[best[1]] = True
    return rows[~drawn[group]], rows[drawn[group]]


def _fill(order: Array, sizes: Array, wanted: float) -> Array:
    """Groups in this order as long as they fit; the smallest if none does; never all."""
    before = np.cumsum(sizes[order]) - sizes[order]
    chosen = order[before + sizes[order] / 2 <= wanted]
    if not len(chosen):
        chosen = order[[np.argmin(sizes[order])]]
    return chosen[:-1] if len(chosen) == len(order) else chosen


def latest(rows: Array, moments: Array, share: float) -> tuple[Array, Array]:
    """(the earlier rows, the latest share); rows of one moment stay together, on the side that is nearer to the share.

    All rows are in the second part if there is one moment only.
    """
    wanted = share * len(rows)
    times, counts = np.unique(moments, return_counts=True)
    if len(times) < 2:
        return rows[:0], rows
    from_here = np.cumsum(counts[::-1])[::-1]
    first = 1 + int(np.argmin(np.abs(from_here[1:] - wanted)))
    late = moments >= times[first]
    return rows[~late], rows[late]
