"""Who meets whom: the columns that name users, items and the like in a table of interactions, such as ratings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from lamina.data.column_roles import FEWEST, is_whole
from lamina.data.schema import Values
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import read_numbers

FEWEST_PARTIES = 10
"""Different values of a party in the rows looked at; fewer are kinds, or amounts on a scale."""
REPEATED = 0.9
"""At most this share of a party's values are different: what is new in every row names the row."""
SAME_AGAIN = 0.9
"""A column with so many values for each of a party's, and one for each, says the same as the party does."""

_WHO = (
    r"user|customer|client|consumer|member|subscriber|visitor|viewer|reader|reviewer|rater|buyer|patron|person|student"
)
_WHAT = (
    r"item|product|article|sku|movie|film|show|book|song|track|album|artist|game|recipe|restaurant|business|"
    r"hotel|course|question|video|app|beer|wine|joke|anime"
)
_SUFFIX = r"(?:[_\-. ]?(?:id|no|nr|num|number|key|code|index|idx))?$"
_NAMES = tuple(re.compile(rf"^(?:{words}){_SUFFIX}", re.IGNORECASE) for words in (_WHO, _WHAT))


def parties(values: Mapping[str, Values]) -> dict[str, str]:
    """The columns that name users and those that name items, and why; empty unless there are both.

    Whole numbers are taken for amounts otherwise. The names must say it of both sides, since amounts may look alike,
    and values must come again, since what is new in every row names the row.
    """
    sides = [_named(values, pattern) for pattern in _NAMES]
    found = {name: reason for side in sides for name, reason in side.items()}
    return {name: found[name] for name in values if name in found} if all(sides) else {}


def _named(values: Mapping[str, Values], pattern: re.Pattern[str]) -> dict[str, str]:
    found = {}
    for name in values:
        if not pattern.search(name):
            continue
        texts = canonical(values[name])
        present = [text for text in texts if text is not None]
        different = len(set(present))
        if len(present) < FEWEST or not FEWEST_PARTIES <= different <= REPEATED * len(present):
            continue
        if is_whole(texts) or np.isnan(read_numbers(texts)[0]).all():
            found[name] = (
                f"{different} different numbers in the {len(present):,} looked at, under a name for one of two parties "
                "that meet in each row: names, not amounts"
            )
    return found


def same_again(texts: Values, column: str, among: Iterable[str], values: Mapping[str, Values]) -> str:
    """Why a column says no more than one of the parties `among`, such as an item's title; "" if it may.

    Every value of the party has one of the column's, and hardly two have the same. Of two parties that say the same
    the first is kept.
    """
    for party in among:
        if party == column:
            break
        pairs = {
            (one, other)
            for one, other in zip(canonical(values[party]), texts, strict=True)
            if one is not None and other is not None
        }
        named = len({one for one, _ in pairs})
        if len(pairs) >= FEWEST and len(pairs) == named and len({other for _, other in pairs}) >= SAME_AGAIN * named:
            return (
                f"says the same again as `{party}`, which has one value of it each; "
                f"to learn from it all the same: --set schema.{column}.role=input"
            )
    return ""
