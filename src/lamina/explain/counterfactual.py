"""What would have to change for another answer? Counterfactual explanations of one row (Wachter et al. 2018).

Changes are sparse, and made of values that real rows have (Mothilal et al. 2020). Single columns are tried first, then
pairs, then more of them, greedily; what is not needed is left out again, and what is left made as small as it can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import floor, log10
from typing import Any

import numpy as np

from lamina.data.schema import Field, Json
from lamina.errors import InputError, nearest
from lamina.explain.explain import raw_row
from lamina.explain.labels import shortened
from lamina.explain.wish import Wish, wish
from lamina.modalities import Encoder
from lamina.modalities._canonical import canonical_value, object_array
from lamina.modalities._number_text import read_numbers
from lamina.modalities.category import FIRST
from lamina.model import golden
from lamina.model.rows import open_rows
from lamina.model.runtime import Input, Model
from lamina.model.steps import Steps, opened

Array = np.ndarray[Any, Any]

CHANGEABLE = ("number", "category", "time")
EVALUATIONS, SEARCH = 16_384, 12_288
"""At most so many changed rows run through the network; so many of them before anything is left out again."""
SINGLES, MOST_VALUES = 2048, 64
"""Values that are tried: of all columns together, and of one."""
ROUND = 512
FOUND, REFINED = 3, 6
"""Changes that are told, and those of the smallest that are made smaller still before."""
MOST_COLUMNS = 6
PAIRED, PAIRED_VALUES = 10, 8
"""Columns that are changed in pairs, and values of each."""
AMONG = 10_000
SAME = 1e-4
"""In the encoder's scale; nearer values are the same."""
NOTE = (
    "This tells what the model would answer, not what would happen: what it goes by need not be a cause of the outcome."
)


def counterfactuals(
    model: Model,
    source: Any,
    row: int = 0,
    *,
    target: str = "",
    to: Any = None,
    keep: Sequence[str] = (),
    among: Any = None,
) -> dict[str, Json]:
    """Up to three small changes of one row that bring another answer, those of the fewest columns first.

    Numbers, categories and times change; texts, pictures and other inputs stay. A change's distance is the sum over its
    columns of how far the encoded value moves: about interquartile ranges of a number, 1 for a category.

    Args:
        source: a path, the JSON of one row, or data in memory as for `Model.predict`.
        row: which row, counted from 0.
        target: which answer is to change; needed where the model has several.
        to: the class wished for (by default the likeliest other one), or ">= NUMBER" or "<= NUMBER".
        keep: columns that cannot change.
        among: data whose values (of the first 10,000 rows) are tried, instead of those that the model knows: the bins
            of its numbers, the levels of its categories, and its golden examples.

    Returns:
        JSON: "changes", each with "columns" ("field", "from", "to"), "answer", "value" (the probability of the class
        wished for, or the number) and "distance"; the same of the row as it is in "before"; where there are no
        "changes", "closest" is how near it came; "tried" counts rows and names the columns.

    Raises:
        InputError: the row cannot be answered, the wish is none or is fulfilled already, or no column could change.
    """
    rows = opened(source, model, 256)
    if isinstance(rows, Steps) and rows.cut is not None:
        raise InputError(
            "The model reads windows of a series, of which no column can be changed alone.",
            where=model.where,
            fix="Leave --change out.",
        )
    kept = _kept(model, keep)
    raw = raw_row(model, rows, row)
    chunk = {name: object_array([value]) for name, value in raw.items()}
    arrays, errors = model.encode(chunk, rows.root)
    if errors:
        raise InputError(f"The row cannot be answered: {errors[0]}.", fix="Correct the value.")
    wished = wish(model, target, to, arrays)
    fields = [name for name, item in model.inputs.items() if _may_change(item.field, kept)]
    seen = _seen(model, fields, among)
    most = max(4, min(MOST_VALUES, SINGLES // max(len(fields), 1)))
    offered = {name: _choice(model.inputs[name], arrays[name], seen[name], among is None, most) for name in fields}
    choices = {name: choice for name, choice in offered.items() if choice.values}
    if not choices:
        raise InputError(
            f"There is no column whose value could change: {', '.join(model.inputs)} are of other kinds, kept, or have "
            "no other values.",
            where=model.where,
            fix="Numbers, categories and times can change. Keep fewer columns, or give data with more values: --among.",
        )
    search = _Search(model, arrays, choices, wished)
    found = search.run()

    def told(choice: Array) -> dict[str, Json]:
        columns = [
            {
                "field": name,
                "from": _own(model.inputs[name].encoder, model.inputs[name].field.values(chunk)[0]),
                "to": choices[name].values[number - 1],
            }
            for name, number in zip(choices, choice.tolist(), strict=True)
            if number
        ]
        answer, value = wished.told(model, search.changed(choice[None]))
        return {
            "columns": columns,
            "answer": answer,
            "value": value,
            "distance": float(search.distance(choice[None])[0]),
        }

    answer, value = wished.told(model, arrays)
    document: dict[str, Json] = {
        "target": wished.target,
        "wish": wished.text,
        "quantity": wished.quantity,
        "before": {"answer": answer, "value": value},
        "changes": [told(choice) for choice in found],
        "tried": {"rows": search.tried, "columns": list(choices), "at_once": min(MOST_COLUMNS, len(choices))},
        "kept": sorted(kept),
        "note": NOTE,
    }
    if not found:
        document["closest"] = told(search.closest) if search.closest.any() else None
    return document


def as_text(document: Mapping[str, Json]) -> str:
    """The changes for a terminal."""
    before, quantity, tried = document["before"], document["quantity"], document["tried"]
    number = quantity == document["target"]
    lines = [
        f"{document['target']}: {before['value']:.6g}"
        if number
        else f"{document['target']}: {before['answer']} ({quantity}: {before['value']:.3f})"
    ]
    for place, change in enumerate(document["changes"], 1):
        lines.append(f"  {place}. {document['wish']}, with {_result(change, quantity, number)}:")
        lines += _columns(change)
    if not document["changes"]:
        lines.append(
            f"  no change was found for: {document['wish']}. Tried: {tried['rows']:,} changed rows, up to "
            f"{tried['at_once']} columns at once, of {', '.join(tried['columns'])}"
        )
        if document["closest"] is not None:
            lines.append(f"  the nearest of them, with {_result(document['closest'], quantity, number)}:")
            lines += _columns(document["closest"])
    if document["kept"]:
        lines.append(f"  kept as they are: {', '.join(document['kept'])}")
    return "\n".join([*lines, document["note"]])


def _result(change: Mapping[str, Json], quantity: str, number: bool) -> str:
    return f"{quantity} {change['value']:.6g}" if number else f"{quantity} {change['value']:.3f}"


def _columns(change: Mapping[str, Json]) -> list[str]:
    return [
        f"       {shortened(item['field'], 30)}: {_written(item['from'])} -> {_written(item['to'])}"
        for item in change["columns"]
    ]


def _written(value: Json) -> str:
    return "(missing)" if value is None else shortened(str(value), 40)


def _kept(model: Model, keep: Sequence[str]) -> set[str]:
    known = list(dict.fromkeys([*model.columns, *model.inputs]))
    for name in keep:
        if name not in known:
            raise InputError(f"The model reads no column {name!r}.", where="--keep", fix=nearest(name, known))
    return set(keep)


def _may_change(field: Field, kept: set[str]) -> bool:
    return field.modality in CHANGEABLE and len(field.columns) == 1 and not kept & {field.name, *field.columns}


def _seen(model: Model, fields: Sequence[str], among: Any) -> dict[str, dict[str, Any]]:
    """The different values of the fields in the rows compared with, by their canonical text."""
    found: dict[str, dict[str, Any]] = {name: {} for name in fields}
    for values in _rows(model, among):
        for name in fields:
            for value in model.inputs[name].field.values(values):
                text = canonical_value(value)
                if text is not None:
                    found[name].setdefault(text, value)
    return found


def _rows(model: Model, among: Any) -> Iterator[Mapping[str, Array]]:
    if among is None:
        given = golden.rows_of(model)
        yield from (chunk.values for chunk in open_rows(given, model, 256) if given)
        return
    rows = there = 0
    for chunk in islice(opened(among, model, 256), -(-AMONG // 256)):
        good = [row for row in range(len(chunk)) if row not in chunk.errors][: AMONG - rows]
        rows, there = rows + len(good), there + len(chunk)
        yield {name: chunk.values[name][good] for name in model.columns}
    if not rows:
        raise InputError(f"None of the {there} rows can be read.", where="--among", fix="Give rows as for training.")


@dataclass(frozen=True)
class _Choice:
    """What one field may become.

    Attributes:
        values: as they would be written in the data.
        arrays: encoded, [1 + value, ...]; the first is the row's own.
        distances: float64 [1 + value], in the encoder's scale; 0 for the row's own.
    """

    values: list[Json]
    arrays: Array
    distances: Array


def _choice(item: Input, own: Array, seen: Mapping[str, Any], learned: bool, most: int) -> _Choice:
    """At most `most` different values: the most frequent levels, or numbers and times spread evenly by rank."""
    encoder = item.encoder
    values = _values(encoder, seen, learned)
    encoded = encoder.encode(object_array(values))
    arrays, errors = encoded.array, encoded.errors
    if item.field.modality == "category":
        distances = (arrays != own[0]).astype(np.float64)
        order, usable = np.argsort(arrays, kind="stable"), arrays >= FIRST
    else:
        distances = np.linalg.norm(arrays.astype(np.float64) - own[0], axis=1)
        order, usable = np.argsort(arrays[:, 0], kind="stable"), np.ones(len(arrays), dtype=bool)
    usable &= distances > SAME
    usable[list(errors)] = False
    order = order[usable[order]]
    different = [place for place, number in enumerate(order) if not place or _apart(arrays, order[place - 1], number)]
    order = order[different]
    if item.field.modality == "category":
        order = order[:most]
    elif len(order) > most:
        order = order[np.unique(np.linspace(0, len(order) - 1, most).round().astype(np.int64))]
    return _Choice(
        [_plain(values[number]) for number in order],
        np.concatenate([own, arrays[order]]),
        np.concatenate([[0.0], distances[order]]),
    )


def _apart(arrays: Array, one: int, other: int) -> bool:
    return bool(np.abs(arrays[one].astype(np.float64) - arrays[other]).max() > SAME)


def _values(encoder: Any, seen: Mapping[str, Any], learned: bool) -> list[Any]:
    if encoder.modality == "time":
        return list(seen.values())
    if encoder.modality == "category":
        return [*(encoder.levels if learned else ()), *seen]
    numbers = read_numbers(object_array(seen.values()), encoder.decimal)[0] if seen else np.zeros(0)
    edges = _edges(encoder) if learned else []
    return [*edges, *numbers[np.isfinite(numbers)].tolist()]


def _edges(encoder: Encoder) -> list[float]:
    """The training quantiles that the encoder knows, with no more digits than tell them apart."""
    details = encoder.feature.details
    scaled = np.zeros((len(details.get("bins", ())), *encoder.feature.shape), dtype=np.float32)
    if not len(scaled):
        return []
    scaled[:, 0] = details["bins"]
    numbers = np.unique(encoder.decode(scaled).astype(np.float64))
    gaps = np.diff(numbers)
    nearest_one = np.minimum(np.append(gaps, np.inf), np.append(np.inf, gaps))
    return [
        round(number, max(0, min(12, 1 - floor(log10(gap))))) if np.isfinite(gap) else number
        for number, gap in zip(numbers.tolist(), nearest_one.tolist(), strict=True)
    ]


def _own(encoder: Any, value: Any) -> Json:
    """The row's value in the spelling of those that are offered; None where it is missing."""
    if encoder.modality != "number":
        return canonical_value(value)
    number = float(read_numbers(object_array([value]), encoder.decimal)[0][0])
    return None if np.isnan(number) else _plain(number)


def _plain(value: Any) -> Json:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    return value if isinstance(value, str) else canonical_value(value)


class _Search:
    """Choices are rows of numbers, int64 [row, field]: 0 keeps the row's own value, n takes the n-th other one."""

    def __init__(self, model: Model, row: Mapping[str, Array], choices: Mapping[str, _Choice], wished: Wish) -> None:
        self.model, self.row, self.choices, self.wished = model, row, list(choices.values()), wished
        self.names = list(choices)
        self.tried = 0
        self.closest = np.zeros(len(self.names), dtype=np.int64)
        self._best = float(wished.judge(model, row)[1][0])

    def changed(self, chosen: Array) -> dict[str, Array]:
        """Encoded rows for the choices."""
        found = {name: np.repeat(array, len(chosen), axis=0) for name, array in self.row.items()
                 if name not in self.names}  # fmt: skip
        found |= {name: self.choices[place].arrays[chosen[:, place]] for place, name in enumerate(self.names)}
        return {name: found[name] for name in self.row}

    def distance(self, chosen: Array) -> Array:
        """float64 [row]: the sum over the columns of how far the encoded value moves."""
        parts = [choice.distances[chosen[:, place]] for place, choice in enumerate(self.choices)]
        return np.asarray(np.sum(parts, axis=0))

    def ask(self, chosen: Array, most: int = SEARCH) -> tuple[Array, Array]:
        """(is the wish fulfilled, how near it is) for each choice that there is room for: (bool [row], float [row])."""
        chosen = chosen[: max(0, most - self.tried)]
        self.tried += len(chosen)
        size = self.model.fitting(ROUND)
        parts = [
            self.wished.judge(self.model, self.changed(chosen[start : start + size]))
            for start in range(0, len(chosen), size)
        ]
        if not parts:
            return np.zeros(0, dtype=bool), np.zeros(0)
        met, near = (np.concatenate([part[which] for part in parts]) for which in (0, 1))
        best = int(np.argmax(near))
        if near[best] > self._best:
            self._best, self.closest = float(near[best]), chosen[best].copy()
        return met, near

    def run(self) -> list[Array]:
        """At most `FOUND` choices that fulfil the wish, each of other columns; fewest columns first, then smallest."""
        nothing = np.zeros(len(self.names), dtype=np.int64)
        singles = self._beside(nothing)
        met, near = self.ask(singles)
        singles = singles[: len(met)]
        found = self._smallest(singles[met])
        solved = {int(np.flatnonzero(choice)[0]) for choice in found}
        if len(found) < FOUND:
            rest = np.array([int(np.flatnonzero(choice)[0]) not in solved for choice in singles], dtype=bool)
            pairs = self._pairs(singles[rest], near[rest])
            met, _ = self.ask(pairs)
            found += self._smallest(pairs[: len(met)][met])
        if not found:
            starts = singles[np.argsort(-near, kind="stable")]
            found = [choice for start in self._smallest(starts, FOUND) if (choice := self._greedy(start)) is not None]
        least = [self._least(choice) if (choice > 0).sum() > 1 else choice for choice in found[:REFINED]]
        return self._smallest(np.array(least))[:FOUND]

    def _beside(self, chosen: Array) -> Array:
        """The choice with one more column changed, in every way, [way, field]."""
        ways = []
        for place in np.flatnonzero(chosen == 0):
            way = np.repeat(chosen[None], len(self.choices[place].values), axis=0)
            way[:, place] = np.arange(1, len(way) + 1)
            ways.append(way)
        return np.concatenate(ways) if ways else np.zeros((0, len(chosen)), dtype=np.int64)

    def _smallest(self, chosen: Array, most: int = 0) -> list[Array]:
        """For each set of columns one choice, the smallest; with `most` the first of so many sets as they stand."""
        if not len(chosen):
            return []
        changed = (chosen > 0).sum(axis=1)
        order = np.arange(len(chosen)) if most else np.lexsort((self.distance(chosen), changed))
        found: dict[tuple[bool, ...], Array] = {}
        for number in order:
            found.setdefault(tuple((chosen[number] > 0).tolist()), chosen[number])
        return list(found.values())[: most or None]

    def _pairs(self, singles: Array, near: Array) -> Array:
        """The columns that alone come nearest, two and two, with values from the one that does most to the least."""
        places = np.array([int(np.flatnonzero(choice)[0]) for choice in singles], dtype=np.int64)
        order = np.argsort(-near, kind="stable")
        columns = list(dict.fromkeys(places[order].tolist()))[:PAIRED]
        values: dict[int, Array] = {}
        for place in columns:
            own = [int(singles[number, place]) for number in order if places[number] == place]
            spread = np.unique(np.linspace(0, len(own) - 1, PAIRED_VALUES).round().astype(np.int64))
            values[place] = np.array(own)[spread]
        pairs = []
        for one, other in combinations(columns, 2):
            left, right = np.meshgrid(values[one], values[other], indexing="ij")
            pair = np.zeros((left.size, len(self.names)), dtype=np.int64)
            pair[:, one], pair[:, other] = left.ravel(), right.ravel()
            pairs.append(pair)
        return np.concatenate(pairs) if pairs else np.zeros((0, len(self.names)), dtype=np.int64)

    def _greedy(self, chosen: Array) -> Array | None:
        """More columns one after the other, each time what comes nearest, until the wish is fulfilled."""
        best = float(self.ask(chosen[None])[1].max(initial=-np.inf))
        while (chosen > 0).sum() < MOST_COLUMNS:
            ways = self._beside(chosen)
            met, near = self.ask(ways)
            if met.any():
                return self._smallest(ways[: len(met)][met])[0]
            if not len(near) or near.max() <= best:
                return None
            chosen, best = ways[int(np.argmax(near))], float(near.max())
        return None

    def _least(self, chosen: Array) -> Array:
        """Without what is not needed, and every column changed no more than it must be."""
        while (chosen > 0).sum() > 1:
            without = np.repeat(chosen[None], int((chosen > 0).sum()), axis=0)
            without[np.arange(len(without)), np.flatnonzero(chosen)] = 0
            met, _ = self.ask(without, EVALUATIONS)
            if not met.any():
                break
            chosen = self._smallest(without[: len(met)][met])[0]
        for place in np.flatnonzero(chosen):
            distances = self.choices[place].distances
            nearer = np.flatnonzero((distances < distances[chosen[place]]) & (distances > 0))
            ways = np.repeat(chosen[None], len(nearer), axis=0)
            ways[:, place] = nearer
            met, _ = self.ask(ways, EVALUATIONS)
            if met.any():
                chosen = self._smallest(ways[: len(met)][met])[0]
        return chosen
