"""Edit distances between sequences, of many rows at once, and which words were changed. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]

Kind = Literal["same", "changed", "missing", "added"]
AT_ONCE = 1 << 22
"""Cells of the tables of distances that are compared at once."""


def edit_distances(truth: Sequence[Sequence[object]], answer: Sequence[Sequence[object]]) -> Array:
    """int64 [row]: the fewest insertions, deletions and substitutions from one sequence to the other.

    Levenshtein (1966) by the table of Wagner and Fischer (1974), a row of which is computed for all pairs at once.

    Example:
        >>> edit_distances(["kitten", ""], ["sitting", "ab"]).tolist()
        [3, 2]
    """
    number: dict[object, int] = {}
    first, second = (
        [[number.setdefault(item, len(number)) for item in row] for row in side] for side in (truth, answer)
    )
    longest = max((len(row) for row in second), default=0) + 1
    size = max(1, AT_ONCE // longest)
    parts = [_distances(first[at : at + size], second[at : at + size]) for at in range(0, len(first), size)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _distances(first: list[list[int]], second: list[list[int]]) -> Array:
    (rows, lengths), (columns, widths) = _padded(first, -1), _padded(second, -2)
    place = np.arange(columns.shape[1] + 1)
    table = np.broadcast_to(place, (len(first), len(place))).copy()
    for step in range(rows.shape[1]):
        kept = table[:, :-1] + (columns != rows[:, step : step + 1])
        below = np.concatenate([table[:, :1] + 1, np.minimum(kept, table[:, 1:] + 1)], axis=1)
        # An insertion costs one a place, so the best so far is a running minimum of what is left after that.
        below = np.minimum.accumulate(below - place, axis=1) + place
        table = np.where((step < lengths)[:, None], below, table)
    return np.asarray(table[np.arange(len(first)), widths])


def _padded(rows: list[list[int]], filler: int) -> tuple[Array, Array]:
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    padded = np.full((len(rows), int(lengths.max(initial=0))), filler, dtype=np.int64)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return padded, lengths


def edits(truth: Sequence[str], answer: Sequence[str]) -> list[tuple[Kind, str, str]]:
    """The fewest edits from one to the other, in order: (kind, word of the truth, word of the answer); "" for no word.

    Example:
        >>> edits(["press", "one"], ["one", "now"])
        [('missing', 'press', ''), ('same', 'one', 'one'), ('added', '', 'now')]
    """
    table = np.zeros((len(truth) + 1, len(answer) + 1), dtype=np.int64)
    table[:, 0], table[0] = np.arange(len(truth) + 1), np.arange(len(answer) + 1)
    for row, word in enumerate(truth):
        for column, other in enumerate(answer):
            table[row + 1, column + 1] = min(
                table[row, column] + (word != other), table[row, column + 1] + 1, table[row + 1, column] + 1
            )
    found: list[tuple[Kind, str, str]] = []
    row, column = len(truth), len(answer)
    while row or column:
        here = table[row, column]
        if row and column and here == table[row - 1, column - 1] + (truth[row - 1] != answer[column - 1]):
            row, column = row - 1, column - 1
            kind: Kind = "same" if truth[row] == answer[column] else "changed"
            found.append((kind, truth[row], answer[column]))
        elif row and here == table[row - 1, column] + 1:
            row -= 1
            found.append(("missing", truth[row], ""))
        else:
            column -= 1
            found.append(("added", "", answer[column]))
    return found[::-1]


def marked(truth: str, answer: str) -> str:
    """The answer with its differences from the truth in brackets, word by word.

    Example:
        >>> marked("press one", "dress one now")
        '[press → dress] one [+ now]'
    """
    ways = {"same": "{1}", "changed": "[{0} → {1}]", "missing": "[− {0}]", "added": "[+ {1}]"}
    return " ".join(ways[kind].format(first, second) for kind, first, second in edits(truth.split(), answer.split()))
