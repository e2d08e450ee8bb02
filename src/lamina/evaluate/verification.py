"""Are two rows the same? How well a likeness answers that, and from which likeness on to say yes; NumPy only.

False accepts are pairs of different rows taken for the same, false rejects pairs of the same taken for different. At
the equal-error rate both are as frequent; it is read off the ROC curve between its points, as is usual (Martin et al.
1997, "The DET curve in assessment of detection task performance").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.errors import InputError
from lamina.evaluate.intervals import BLOCK, percentile, replicates, resampled, wilson
from lamina.evaluate.results import Interval
from lamina.tasks._scores import ranked, roc_auc

Array = np.ndarray[Any, Any]
Members = tuple[Array, Array]
"""int64 [pair] each: what stands on either side of a pair, by number."""
Curve = Callable[[Array], tuple[Array, Array]]
"""weight [replicate, pair] to shares of the same and of the different pairs accepted, [replicate, threshold] each."""

ABOVE_ALL = 1e-6
"""A threshold that accepts nothing lies so far above the largest likeness."""
SCORES = ("auc", "equal_error_rate", "equal_error_threshold", "rate_threshold", "rate_accepts")


@dataclass(frozen=True)
class Verification:
    """How well a likeness tells same from different pairs; every figure with its 95% bootstrap interval.

    Attributes:
        pairs, same: how many there are, and how many of them are the same.
        auc: share of (same, different) pairs of pairs in the right order.
        equal_error_rate: share of false accepts and of false rejects where both are equal.
        equal_error_threshold: where that is: the same from this likeness on.
        rate: the share of false accepts that was wished for.
        rate_threshold: the lowest threshold that keeps it.
        rate_accepts: share of the same pairs that it accepts.
    """

    pairs: int
    same: int
    auc: Interval
    equal_error_rate: Interval
    equal_error_threshold: Interval
    rate: float
    rate_threshold: Interval
    rate_accepts: Interval

    @property
    def different(self) -> int:
        """How many pairs are different."""
        return self.pairs - self.same

    @property
    def coarse(self) -> bool:
        """Are there too few different pairs to see the wished rate at all?"""
        return self.rate * self.different < 1


@dataclass(frozen=True)
class Mistakes:
    """What a threshold that was chosen elsewhere does, with 95% intervals.

    Attributes:
        threshold: the same from this likeness on.
        false_accepts: share of the different pairs.
        false_rejects: share of the same pairs.
    """

    threshold: float
    false_accepts: Interval
    false_rejects: Interval


def verification(
    likeness: Array, same: Array, rate: float = 0.01, seed: int = 0, members: Members | None = None
) -> Verification:
    """Judge a likeness by pairs that are known to be the same or not.

    Args:
        likeness: [pair].
        same: bool [pair].
        rate: the wished share of false accepts, above 0 and below 1.
        members: what stands in the pairs. Pairs that share something are no independent witnesses, so the intervals are
            made by drawing that (Owen 2007, "The pigeonhole bootstrap"); None draws the pairs.

    Raises:
        InputError: all pairs are the same, or none is.
    """
    count = int(same.sum())
    if not 0 < count < len(same):
        raise InputError(
            f"Of {len(same):,} pairs {count:,} are the same: there have to be some that are and some that are not.",
            fix="Give pairs of both kinds.",
        )
    curve, thresholds = _curve(likeness, same)
    scores = _scores(likeness, same, curve, thresholds, rate)
    values = {name: float(found[0]) for name, found in scores(np.ones((1, len(same)))).items()}
    blocks = [scores(weight) for weight in _drawn(len(same), members, seed)]
    drawn = {name: np.concatenate([block[name] for block in blocks]) for name in SCORES}
    fewest = min(count, len(same) - count, _number(members, len(same)))
    figures = {
        name: _interval(values[name], drawn[name], 0 if name.endswith("threshold") else fewest) for name in SCORES
    }
    return Verification(
        pairs=len(same),
        same=count,
        auc=figures["auc"],
        equal_error_rate=figures["equal_error_rate"],
        equal_error_threshold=figures["equal_error_threshold"],
        rate=rate,
        rate_threshold=figures["rate_threshold"],
        rate_accepts=figures["rate_accepts"],
    )


def mistakes(likeness: Array, same: Array, threshold: float, seed: int = 0, members: Members | None = None) -> Mistakes:
    """What a given threshold does to pairs that are known to be the same or not; intervals are Wilson's, or bootstrap
    intervals over the `members` of the pairs."""
    accepted = likeness >= threshold
    return Mistakes(threshold, _share(accepted, ~same, members, seed), _share(~accepted, same, members, seed))


def _share(wrong: Array, asked: Array, members: Members | None, seed: int) -> Interval:
    """The share of the pairs asked about that are wrong."""
    rows = int(asked.sum())
    share = float(wrong[asked].mean()) if rows else float("nan")
    if members is None:
        return Interval(share, *wilson(share, rows), higher_is_better=False)
    counts = [(weight @ (wrong & asked), weight @ asked) for weight in _drawn(len(asked), members, seed)]
    false, total = (np.concatenate(part) for part in zip(*counts, strict=True))
    with np.errstate(invalid="ignore"):
        drawn = false / total
    return replace(_interval(share, drawn, min(rows, _number(members, rows))), higher_is_better=False)


def _number(members: Members | None, pairs: int) -> int:
    """How many independent witnesses there are."""
    return pairs if members is None else len(np.unique(np.stack(members)))


@dataclass(frozen=True)
class Roc:
    """The receiver operating characteristic: one point for each threshold, from what accepts nothing on.

    Attributes:
        thresholds: [point], descending; the same from this likeness on.
        false_accepts: [point], the share of the different pairs that are accepted.
        same_accepts: [point], the share of the same pairs that are accepted.
    """

    thresholds: Array
    false_accepts: Array
    same_accepts: Array


def roc(likeness: Array, same: Array) -> Roc:
    """The curve that `verification` reads its figures off.

    Args:
        likeness: [pair].
        same: bool [pair], of both kinds.
    """
    curve, thresholds = _curve(likeness, same)
    accepted, false = curve(np.ones((1, len(same))))
    return Roc(thresholds, false[0], accepted[0])


def _drawn(pairs: int, members: Members | None, seed: int) -> Iterator[Array]:
    """How often each pair counts, [replicate, pair], in blocks: as often as both its sides are drawn together."""
    if members is None:
        yield from resampled(pairs, replicates(pairs), seed)
        return
    names, places = np.unique(np.stack(members), return_inverse=True)
    one, other = places.reshape(2, -1)
    step = max(1, BLOCK // max(pairs, 1))
    for weight in resampled(len(names), replicates(pairs), seed):
        for part in (weight[start : start + step] for start in range(0, len(weight), step)):
            yield np.where(one == other, part[:, one], part[:, one] * part[:, other])


def _curve(likeness: Array, same: Array) -> tuple[Curve, Array]:
    """The ROC curve as a function of the pairs' weights, and the thresholds of its points, descending."""
    values = np.unique(likeness)[::-1]
    between = (values[:-1] + values[1:]) / 2
    thresholds = np.concatenate([[values[0] + ABOVE_ALL], between, values[-1:]])
    rank = ranked(likeness, same)

    def shares(weight: Array) -> tuple[Array, Array]:
        right, wrong = (np.cumsum(part[:, ::-1], axis=1) for part in rank(weight))
        nothing = np.zeros((len(weight), 1))
        with np.errstate(invalid="ignore"):
            return (
                np.hstack([nothing, right / right[:, -1:]]),
                np.hstack([nothing, wrong / wrong[:, -1:]]),
            )

    return shares, thresholds


def _scores(
    likeness: Array, same: Array, curve: Curve, thresholds: Array, rate: float
) -> Callable[[Array], dict[str, Array]]:
    """Every score as a function of the pairs' weights, [replicate] each; NaN where one kind of pairs was not drawn."""
    area = roc_auc(ranked(likeness, same))

    def scores(weight: Array) -> dict[str, Array]:
        accepted, false = curve(weight)
        row = np.arange(len(weight))
        # False accepts less false rejects: -1 where nothing is accepted, 1 where everything is.
        apart = false + accepted - 1
        after = np.maximum((apart >= 0).argmax(axis=1), 1)
        before = after - 1
        part = -apart[row, before] / (apart[row, after] - apart[row, before])
        nearer = np.where(part < 0.5, before, after)
        kept = np.maximum((false <= rate + 1e-12).sum(axis=1) - 1, 0)
        drawn = np.isfinite(part)
        return {
            "auc": area(weight),
            "equal_error_rate": false[row, before] + part * (false[row, after] - false[row, before]),
            "equal_error_threshold": np.where(drawn, thresholds[nearer], np.nan),
            "rate_threshold": np.where(drawn, thresholds[kept], np.nan),
            "rate_accepts": np.where(drawn, accepted[row, kept], np.nan),
        }

    return scores


def _interval(value: float, drawn: Array, pairs: int) -> Interval:
    """The percentile interval; where no replicate differs, as at 0 and 1, Wilson's of a share of `pairs`."""
    low, high = percentile(value, drawn)
    if low == high and pairs:
        low, high = wilson(value, pairs)
    return Interval(value, low, high)
