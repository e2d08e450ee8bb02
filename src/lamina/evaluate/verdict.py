"""Is deep learning the right tool here? One plain answer, from paired intervals on the same test rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lamina.evaluate.results import BaselineResult, Interval
from lamina.evaluate.scores import POINTS, amount, digits, title

FEW_ROWS = 200
"""Below so many test rows the verdict says that they are few."""
FEWEST = 6
"""Fewer test rows decide nothing: five that all speak for one tool do so by chance in one case of 16, six in one of 32
(the sign test, two-sided). The bootstrap cannot see that: where all rows agree, its interval has no width."""


def verdict(
    score: str,
    figure: Interval,
    seconds: float,
    baselines: Sequence[BaselineResult],
    rows: int,
    unit: tuple[str, str] = ("test row", "test rows"),
) -> tuple[str, str]:
    """("network" | "even" | "baseline" | "unknown", one or two sentences).

    Args:
        score: the primary score's name.
        figure: the network's.
        seconds: what training the network took.
        baselines: with `difference`, positive where the network is better.
        rows: test rows, or whatever intervals are drawn over: only that many speak for themselves.
        unit: what these are called, one and several.

    The network is compared with the baseline that is best on the test rows, which favors the baselines a little.
    """
    compared = [item for item in baselines if item.difference is not None]
    caution = f" With {_counted(rows, unit)} only, small differences cannot be seen." if rows < FEW_ROWS else ""
    if not compared:
        return "even", f"There is no baseline to compare with; the {title(score)} is {_value(score, figure)}.{caution}"
    if rows < FEWEST:
        few = f"{_counted(rows, unit)} {'is' if rows == 1 else 'are'} too few to tell which tool is better"
        return "unknown", f"{few}; the {title(score)} is {_value(score, figure)}."
    known = [item for item in compared if math.isfinite(_difference(item).value)]
    if not known:
        untold = f"the difference in {title(score)} is not defined on the test rows"
        return "unknown", f"Which tool is better cannot be told: {untold}.{caution}"
    best = min(known, key=lambda item: _difference(item).value)
    difference = _difference(best)
    if difference.low > 0:
        return "network", _ahead(score, best, difference) + caution
    if difference.high < 0:
        return "baseline", _behind(score, best, difference, seconds) + caution
    return "even", _even(score, best, difference, seconds) + caution


def _difference(item: BaselineResult) -> Interval:
    assert item.difference is not None
    return item.difference


def _counted(count: int, unit: tuple[str, str]) -> str:
    return f"{count} {unit[0] if count == 1 else unit[1]}"


def _ahead(score: str, best: BaselineResult, difference: Interval) -> str:
    amounts = _interval(score, difference)
    return (
        f"Deep learning is ahead of {best.name}, the best of the simpler tools, "
        f"by {_points(score, difference)} ({amounts})."
    )


def _behind(score: str, best: BaselineResult, difference: Interval, seconds: float) -> str:
    other_way = Interval(-difference.value, -difference.high, -difference.low, True, difference.unit)
    return (
        f"{_upper(best.name)} {_is(best.name)} better by {_points(score, other_way)} ({_interval(score, other_way)})"
        f"{_cheaper(best, seconds)}: use that."
    )


def _even(score: str, best: BaselineResult, difference: Interval, seconds: float) -> str:
    found = f"{_upper(best.name)} {_is(best.name)} as good (difference {_points(score, difference)}, "
    return found + f"{_interval(score, difference)})" + (f"{_cheaper(best, seconds)}: use that.")


def _points(score: str, difference: Interval) -> str:
    link = "of" if score in POINTS else "in"
    return f"{amount(score, difference.value, difference.unit)} {link} {title(score)}"


def _interval(score: str, difference: Interval) -> str:
    low, high = (amount(score, end).removesuffix(" points") for end in (difference.low, difference.high))
    return f"95% interval {low} to {high}"


def _value(score: str, figure: Interval) -> str:
    return digits(figure.value) + (f" {figure.unit}" if figure.unit else "")


def _times(best: BaselineResult, seconds: float) -> str:
    """How many times faster the baseline was, in words; "" where it was not clearly so."""
    ratio = seconds / best.seconds if best.seconds > 0 else math.inf
    if ratio < 1.5 or not math.isfinite(ratio):
        return ""
    return f"{ratio:.0f} times" if ratio >= 3 else f"{ratio:.1f} times"


def _cheaper(best: BaselineResult, seconds: float) -> str:
    times = _times(best, seconds)
    return f" and {times} cheaper" if times else ""


def _upper(name: str) -> str:
    return name[:1].upper() + name[1:]


def _is(name: str) -> str:
    return "are" if name.split()[-1].endswith("s") else "is"
