"""A language model of characters: n-grams with interpolated Kneser-Ney smoothing. NumPy only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from lamina.data.schema import Json

Array = np.ndarray[Any, Any]

BEGIN, END = "\x02", "\x03"
"""Before the first character and after the last: control characters, which no normalised text holds."""
MOST_GRAMS = 200_000
"""Different n-grams that are kept, for the sealed file stays small: of more the rarest are left out."""
RAREST = 3
"""N-grams that occurred so often are not left out; where there are too many even so, a shorter n is taken."""
LONGEST = 8
"""Characters of the longest n-grams that a file may hold."""


@dataclass(frozen=True)
class Ngrams:
    """Chances of the next character, from how often n-grams occurred.

    Interpolated Kneser-Ney smoothing (Chen and Goodman 1999): shorter n-grams count in how many contexts they
    occurred, not how often, and the discount of every order follows from the n-grams seen once and twice. Below the
    shortest stands an even chance of everything.

    Attributes:
        order: characters of an n-gram.
        characters: all that may follow, besides the end.
        grams: the longest n-grams, sorted, one after another; all shorter ones follow from them.
        counts: how often each occurred.
    """

    order: int
    characters: str
    grams: str
    counts: tuple[int, ...]

    @classmethod
    def fit(cls, texts: Iterable[str], characters: str, order: int) -> Self:
        """Count the n-grams of texts that hold nothing but `characters`."""
        kept = list(texts)
        for length in range(order, 0, -1):
            counts: Counter[str] = Counter()
            for text in kept:
                padded = BEGIN * (length - 1) + text + END
                counts.update(padded[at : at + length] for at in range(len(padded) - length + 1))
            for least in range(1, RAREST + 1):
                # Of single characters none is left out.
                ordered = sorted(gram for gram, count in counts.items() if count >= least or length == 1)
                if len(ordered) <= MOST_GRAMS or length == 1:
                    return cls(length, characters, "".join(ordered), tuple(counts[gram] for gram in ordered))
        raise ValueError("an n-gram has at least one character")

    @property
    def followers(self) -> str:
        """What the chances of `after` are of, in that order: the characters, then the end."""
        return self.characters + END

    @cached_property
    def _tables(self) -> list[tuple[float, dict[str, tuple[Array, Array]]]]:
        """By length of the context from 0: the discount, and the counts of what follows each context."""
        place = {character: number for number, character in enumerate(self.followers)}
        grams = [self.grams[at : at + self.order] for at in range(0, len(self.grams), self.order)]
        counted: Mapping[str, int] = dict(zip(grams, self.counts, strict=True))
        tables = []
        for _ in range(self.order):
            after: dict[str, list[tuple[int, int]]] = defaultdict(list)
            for gram, count in counted.items():
                after[gram[:-1]].append((place[gram[-1]], count))
            once, twice = (sum(count == number for count in counted.values()) for number in (1, 2))
            discount = once / (once + 2 * twice) if once and twice else 0.5
            arrays = {context: np.array(found).T for context, found in after.items()}
            tables.append((discount, {context: (found[0], found[1]) for context, found in arrays.items()}))
            counted = Counter(gram[1:] for gram in counted)
        return tables[::-1]

    @cached_property
    def _known(self) -> dict[str, Array]:
        return {}

    def context(self, text: str) -> str:
        """The part of a text that what follows depends on."""
        length = self.order - 1
        return (BEGIN * length + text)[-length:] if length else ""

    def after(self, context: str) -> Array:
        """float64 [follower]: the logarithm of each one's chance after a context of `order` - 1 characters."""
        if context not in self._known:
            chance = np.full(len(self.followers), 1.0 / len(self.followers))
            for length, (discount, table) in enumerate(self._tables):
                found = table.get(context[len(context) - length :])
                if found is None:
                    # A context that never occurred has no longer one that did.
                    break
                places, counts = found
                chance = chance * (discount * len(counts) / counts.sum())
                chance[places] += (counts - discount) / counts.sum()
            self._known[context] = np.log(chance)
        return self._known[context]

    def log_chance(self, text: str) -> float:
        """The logarithm of the chance of a whole text, its end too."""
        total, so_far = 0.0, ""
        for character in text + END:
            total += float(self.after(self.context(so_far))[self.followers.index(character)])
            so_far += character
        return total

    def state(self) -> dict[str, Json]:
        """All of it as JSON."""
        return {
            "order": self.order, "characters": self.characters, "grams": self.grams, "counts": list(self.counts),
        }  # fmt: skip

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`.

        Raises:
            ValueError: it is no such state.
        """
        made = cls(int(state["order"]), str(state["characters"]), str(state["grams"]), tuple(state["counts"]))
        if not 1 <= made.order <= LONGEST or len(made.grams) != made.order * len(made.counts):
            raise ValueError("the language model's n-grams are damaged")
        if not set(made.grams) <= set(made.followers) | {BEGIN} or not all(
            type(count) is int and count > 0 for count in made.counts
        ):
            raise ValueError("the language model's n-grams are damaged")
        return made
