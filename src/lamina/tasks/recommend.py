"""What might somebody want next? The answer is a list of items, the best first; learned from what others had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Recognition
from lamina.modalities._canonical import object_array
from lamina.tasks._agreement import Agreement, agreement
from lamina.tasks._options import check_names

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

WAY = "recommend"
"""All five steps are in `lamina/steps/recommend/`: the rows are read in a way of their own."""
UNLABELLED = "recommended"
"""The task needs no target: rows say who had what. Its answer is called so."""
MOST = 100
"""Items that are recommended at most."""
LONGEST_HISTORY = 1000
HIDDEN = -1e8
"""Scores below are those of items that are masked."""
COLUMNS = ("user", "item", "time", "rating")
LISTS = ("about_items", "about_users")
OPTIONS = (*COLUMNS, *LISTS, "items", "liked", "history", "repeat", "k")


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks for it."""
    return None


def check_options(options: Mapping[str, Json]) -> None:
    """Raises InputError for an unknown option, or one that is of the wrong kind or out of range."""
    check_names(options, OPTIONS, UNLABELLED)

    def refuse(name: str, fix: str) -> InputError:
        return InputError(f"The option {name!r} is {options[name]!r}.", where=f"task.options.{name}", fix=fix)

    for name in COLUMNS:
        if not isinstance(options.get(name, ""), str):
            raise refuse(name, "Give the name of a column.")
    if not isinstance(options.get("items", ""), str):
        raise refuse("items", "Give the path of a table with a row for each item, e.g. --set task.items=movies.csv")
    for name in LISTS:
        given = options.get(name, ())
        if not isinstance(given, list | tuple) or not all(isinstance(part, str) for part in given):
            raise refuse(name, f'Give a list of columns, e.g. --set task.{name}=["genre"], or [] for none.')
    for name, most in (("history", LONGEST_HISTORY), ("k", MOST)):
        number = options.get(name, 1)
        if type(number) is not int or not 1 <= number <= most:
            raise refuse(name, f"Give a whole number from 1 to {most}.")
    if type(options.get("repeat", False)) is not bool:
        raise refuse("repeat", "Give true or false.")
    if isinstance(options.get("liked", 0.0), bool) or not isinstance(options.get("liked", 0.0), int | float):
        raise refuse("liked", "Give the lowest rating that counts as an interaction, e.g. 4.")


@dataclass(frozen=True)
class Written:
    """How interactions are written in rows, so that such rows can be asked.

    Attributes:
        user, item, time: columns; no time is "", and then the order of the rows counts.
        rating, liked: the column of ratings, and the lowest that counts; "" where all rows do.
        repeat: an item that comes again counts again.
        dates, day_first: times are dates, and how 3/4/2020 is read; else they are numbers.
    """

    user: str
    item: str
    time: str
    rating: str
    liked: float
    repeat: bool
    dates: bool
    day_first: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in (self.user, self.item, self.time, self.rating) if name)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        user, item, time, rating = (str(state[name]) for name in COLUMNS)
        if not user or not item:
            raise ValueError(f"rows of {user!r} and {item!r}")
        flags = (bool(state[name]) for name in ("repeat", "dates", "day_first"))
        return cls(user, item, time, rating, float(state["liked"]), *flags)


@dataclass(frozen=True)
class Task:
    """The best items of a catalogue; outputs are [row, item], logits, those of masked items far below all others.

    Attributes:
        name: the answer's name.
        items: the catalogue.
        k: how many are recommended.
        rows: how the interactions that it learned from are written; None in files of older versions.
    """

    task: ClassVar[str] = "recommend"

    name: str
    items: tuple[str, ...]
    k: int = 10
    rows: Written | None = None

    @property
    def width(self) -> int:
        return len(self.items)

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, item] to [row, item]: the members' mean."""
        return output.float().mean(dim=1)

    def best(self, output: Array) -> Array:
        """int64 [row, k]: places of the best items, the best first; of equal ones the first in the catalogue."""
        return best(np.asarray(output), self.k)

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": ids of the best items, the best first, ".p": their probabilities}; lists, without masked items."""
        scores = np.asarray(output, np.float64)
        places = self.best(scores)
        with np.errstate(under="ignore"):
            raised = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
        chances = np.take_along_axis(raised / raised.sum(axis=1, keepdims=True), places, axis=1)
        shown = np.take_along_axis(scores, places, axis=1) > HIDDEN
        pairs = [(row[kept], chance[kept]) for row, chance, kept in zip(places, chances, shown, strict=True)]
        return {
            "": object_array([self.items[place] for place in row] for row, _ in pairs),
            ".p": object_array(chance.tolist() for _, chance in pairs),
        }

    def agreement(self, before: Array, after: Array) -> Agreement:
        """Are the same items recommended in the same order, and are all scores nearly the same?"""
        one, other = np.array(before, np.float64), np.array(after, np.float64)
        hidden = one < HIDDEN
        if not len(one) or not np.array_equal(hidden, other < HIDDEN):
            return Agreement(np.zeros(len(one), bool), 0, float("inf") if len(one) else 0.0, 0)
        # Masked scores would hide every other difference.
        one[hidden] = other[hidden] = float(one[~hidden].mean()) if (~hidden).any() else 0.0
        same = (best(np.where(hidden, -np.inf, one), self.k) == best(np.where(hidden, -np.inf, other), self.k)).all(1)
        leaders = -np.sort(-np.where(hidden, -np.inf, one), axis=1)[:, : self.k + 1]
        with np.errstate(invalid="ignore"):
            gaps = -np.diff(leaders, axis=1)
        margin = np.where(np.isfinite(gaps), gaps, np.inf).min(axis=1, initial=np.inf)
        return agreement(one, other, same, margin)

    def state(self) -> dict[str, Json]:
        return {**asdict(self), "items": list(self.items)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        items, k = tuple(map(str, state["items"])), int(state["k"])
        if not items or not 1 <= k <= MOST:
            raise ValueError(f"{k} of {len(items)} items")
        rows = state.get("rows")
        return cls(str(state["name"]), items, k, None if rows is None else Written.restore(rows))


def best(scores: Array, k: int) -> Array:
    """int64 [row, k]: places of the highest scores, the highest first; of equal ones the first."""
    k = min(k, scores.shape[1])
    if not len(scores):
        return np.zeros((0, k), np.int64)
    edge = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    found = np.empty((len(scores), k), np.int64)
    for row, (values, least) in enumerate(zip(scores, edge, strict=True)):
        places = np.flatnonzero(values >= least)
        found[row] = places[np.argsort(-values[places], kind="stable")][:k]
    return found
