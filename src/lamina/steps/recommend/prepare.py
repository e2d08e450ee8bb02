"""Step 2: interactions in order, parts by time, encoders of histories and features, and simpler recommenders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina import registry
from lamina.data.schema import Field, Values
from lamina.data.tables import Table
from lamina.errors import InputError
from lamina.modalities import Encoder
from lamina.modalities import items as item_lists
from lamina.modalities._canonical import canonical, object_array
from lamina.narrate import Narrator
from lamina.networks.recommenders._recommender import HISTORY
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.recommend import simple
from lamina.steps.recommend.described import FINGERPRINT, Described
from lamina.steps.recommend.interactions import TEST, TRAIN, VALIDATION, Asked, Interactions, asked, read
from lamina.steps.recommend.simple import Simple
from lamina.tasks.recommend import LONGEST_HISTORY, UNLABELLED, Task

Array = np.ndarray[Any, Any]
VERSION = 1
SHORTEST_MEMORY = 8
MOST_WORDS, WORD_COUNT = 128, 5
"""Words of texts that describe items: the most frequent, of those in so many items at least."""
MOST_LEVELS = 256
LONGEST_NAME = 120
SET_ASIDE = "Give the column the role ignore."


@dataclass(frozen=True)
class Prepared:
    """Everything training and testing need of the data.

    Attributes:
        table: all rows, raw.
        interactions: in order.
        encoders: of the sealed model's inputs: "history" first, then features of users.
        about_users: by feature, [user, ...], encoded.
        about_items: float32 [item, feature].
        raw_users: by feature, object [user], raw values.
        names: a name for each item to show, or its id.
        validation, test: what is asked.
        simpler: recommenders without a network.
        judged_cold: how often cold items are taken can be told from the validation part, for they are not known from
            it alone.
        left_out: (column, reason) of features that cannot be used.
    """

    table: Table
    interactions: Interactions
    encoders: Mapping[str, Encoder]
    about_users: Mapping[str, Array]
    about_items: Array
    raw_users: Mapping[str, Values]
    names: tuple[str, ...]
    validation: Asked
    test: Asked
    simpler: tuple[Simple, ...]
    judged_cold: bool = False
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def memory(self) -> int:
        """Items of a history that are read at all: beyond those the network looks at, they are masked only."""
        return int(self.encoders[HISTORY].feature.shape[0])

    @property
    def fields(self) -> dict[str, Field]:
        """The sealed model's inputs."""
        reason = "ids of the items somebody had, the oldest first; empty for somebody new"
        found = {HISTORY: Field(HISTORY, "items", reason=reason)}
        for name, encoder in self.encoders.items():
            if name != HISTORY:
                found[name] = Field(name, encoder.modality, reason="describes the user")
        return found


def prepare(table: Table, items: Described | None, plan: Plan, run: Run, narrator: Narrator) -> Prepared:
    """Put the interactions in order, divide them, fit encoders and simpler recommenders on the training part.

    Args:
        items: the table of items, if there is one.
    """
    narrator.step("Prepare")
    found = read(table, plan, items.places if items is not None else None)
    options = plan.task[UNLABELLED].options
    left_out: list[tuple[str, str]] = []
    descriptions, about_items = _about_items(table, items, plan, found, left_out)
    if not about_items.shape[1] and found.cold:
        found, about_items = found.without_cold(), about_items[: len(found.counts)]
        descriptions = {name: values[: len(found.counts)] for name, values in descriptions.items()}
    _tell(found, narrator, bool(options["repeat"]))
    memory = _memory(found, int(options["history"]))
    raw_users, fitted = _about_users(table, plan, found, left_out)
    encoders: dict[str, Encoder] = {HISTORY: item_lists.Encoder(found.catalogue, memory), **fitted}
    for name, reason in left_out:
        narrator.say(f"{name} is left out: {reason}")
    validation, test = (asked(found, part, plan.seed) for part in (VALIDATION, TEST))
    prepared = Prepared(
        table=table, interactions=found, encoders=encoders,
        about_users={name: encoder.encode(raw_users[name]).array for name, encoder in fitted.items()},
        about_items=about_items, raw_users=raw_users,
        names=_names(descriptions, found.catalogue), validation=validation, test=test,
        simpler=simple.fit(found, validation, memory, bool(options["repeat"]), plan.budget, narrator),
        judged_cold=items is not None, left_out=tuple(left_out),
    )  # fmt: skip
    run.write_json(run.prepared, {
        "version": VERSION,
        "encoders": {name: encoder.state() for name, encoder in encoders.items()},
        "tasks": {UNLABELLED: task_of(plan, prepared).state()},
        "findings": [],
        FINGERPRINT: None if items is None else items.table.fingerprint,
    })  # fmt: skip
    return prepared


def task_of(plan: Plan, prepared: Prepared) -> Task:
    """What the sealed model answers with."""
    found = prepared.interactions
    return Task(UNLABELLED, found.catalogue, int(plan.task[UNLABELLED].options["k"]), found.written)


def _tell(found: Interactions, narrator: Narrator, repeat: bool) -> None:
    parts = [f"{found.rows_of(part):,}" for part in (TRAIN, VALIDATION, TEST)]
    narrator.say(
        f"{len(found.user):,} interactions of {len(found.users):,} users: {parts[0]} to train, {parts[1]} to validate, "
        f"{parts[2]} to test, the latest; {len(found.counts):,} items in the training part"
    )
    if found.cold:
        narrator.say(f"{found.cold:,} more items that nobody had by then: recommended by their features alone")
    if found.low:
        narrator.say(f"{found.low:,} rows are rated lower than task.liked: left out")
    if found.again:
        narrator.say(
            f"{found.again:,} rows repeat an item that the user had before: left out "
            "(--set task.repeat=true keeps them, and recommends items again)"
        )
    for row, reason in found.dropped[:3]:
        narrator.say(f"row {row} is left out: {reason}")
    if repeat:
        narrator.say("items may be recommended again to who had them")


def _memory(found: Interactions, steps: int) -> int:
    """As long as the longest history, so that all that somebody had is masked; within limits."""
    longest = int(np.diff(found.starts).max())
    return int(min(max(longest, steps, SHORTEST_MEMORY), max(LONGEST_HISTORY, steps)))


def _first_values(table: Table, column: str, rows: Array, keys: Array, number: int, part: Array) -> Values:
    """Object [key]: the first value of a column that is not missing, in the order of the table; None without any.

    What rows of the training `part` say comes first: those of a later one may already know what is to be foretold.
    """
    found = np.full(number, None, dtype=object)
    order = np.lexsort((rows, part))
    for start in range(0, len(order), 65_536):
        some = order[start : start + 65_536]
        values = table.take(rows[some], [column])[column]
        missing = canonical(values) == None  # noqa: E711  (element by element)
        for key, value, absent in zip(keys[some].tolist(), values.tolist(), missing.tolist(), strict=True):
            if not absent and found[key] is None:
                found[key] = value
    return found


def encoder_of(modality: str) -> Any:
    """The encoder class for a feature of users; texts are taken for categories."""
    return registry.module("modalities", "category" if modality == "text" else modality).Encoder


def _about_users(
    table: Table, plan: Plan, found: Interactions, left_out: list[tuple[str, str]]
) -> tuple[dict[str, Values], dict[str, Encoder]]:
    """(Raw values [user], encoder) by feature of users that can be used.

    Args:
        left_out: gets (column, reason) of the others.
    """
    modalities = {field.name: field.modality for field in plan.schema}
    trained = np.unique(found.user[found.part == TRAIN])
    raw: dict[str, Values] = {}
    encoders: dict[str, Encoder] = {}
    for name in plan.task[UNLABELLED].options["about_users"]:
        values = _first_values(table, name, found.row, found.user, len(found.users), found.part)
        try:
            encoders[name] = _fitted(modalities[name], values[trained])
        except InputError as error:
            left_out.append((name, error.what))
        else:
            raw[name] = values
    return raw, encoders


def _fitted(modality: str, values: Values) -> Encoder:
    """The encoder of a feature of users.

    Raises:
        InputError: it tells nothing, or is of a kind that is not read of users.
    """
    encoder: Encoder = encoder_of(modality).fit(lambda: [values], {})
    if encoder.feature.kind not in ("numbers", "category"):
        raise InputError(f"A {modality} cannot describe a user: numbers, categories and times can.", fix=SET_ASIDE)
    return encoder


def _about_items(
    table: Table, items: Described | None, plan: Plan, found: Interactions, left_out: list[tuple[str, str]]
) -> tuple[dict[str, Values], Array]:
    """(Raw values [item] by column, float32 [item, feature] of all), from the table of items or the interactions.

    What can be used is fitted on the items of the training part. Interactions of the test part are not looked at.

    Args:
        left_out: gets (column, reason) of what cannot be used.
    """
    modalities = {field.name: field.modality for field in plan.schema}
    seen = (found.part != TEST) & (found.item > 0)
    descriptions: dict[str, Values] = {}
    arrays = [np.zeros((len(found.catalogue), 0), np.float32)]
    for name in plan.task[UNLABELLED].options["about_items"]:
        if items is not None and name in items.table.columns:
            descriptions[name] = items.values(name, found.catalogue)
        else:
            descriptions[name] = _first_values(
                table, name, found.row[seen], found.item[seen] - 1, len(found.catalogue), found.part[seen]
            )
        try:
            arrays.append(_described(modalities[name], descriptions[name], len(found.counts)))
        except InputError as error:
            left_out.append((name, error.what))
    return descriptions, np.concatenate(arrays, axis=1).astype(np.float32)


def _described(modality: str, values: Values, fitted: int) -> Array:
    """float32 [item, feature]: numbers standardised, categories and sets as marks, texts as marks of their words.

    Args:
        fitted: the first items, on which it is fitted.

    Raises:
        InputError: their values tell nothing.
    """
    known = values[:fitted]
    if modality == "text" or (modality == "category" and len(set(canonical(known))) > MOST_LEVELS):
        return _words(values, fitted)
    encoder: Encoder = registry.module("modalities", modality).Encoder.fit(lambda: [known], {})
    array = encoder.encode(values).array
    if encoder.feature.kind == "category":
        marks = np.eye(encoder.feature.size, dtype=np.float32)
        return np.asarray(marks[array][:, 2:])
    return np.asarray(array, np.float32)


def _words(values: Values, fitted: int) -> Array:
    """float32 [item, word]: 1 where a word is in the text that is frequent among the first items.

    Raises:
        InputError: no word is.
    """
    rows = [frozenset("" if text is None else str(text).casefold().split()) for text in values.tolist()]
    counts: dict[str, int] = {}
    for words in rows[:fitted]:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    chosen = sorted((word for word in counts if counts[word] >= WORD_COUNT), key=lambda word: (-counts[word], word))
    if not chosen:
        raise InputError(f"No word is in the values of {WORD_COUNT} items or more.", fix=SET_ASIDE)
    places = {word: place for place, word in enumerate(chosen[:MOST_WORDS])}
    found = np.zeros((len(rows), len(places)), np.float32)
    for row, words in enumerate(rows):
        found[row, [places[word] for word in words if word in places]] = 1
    return found


def _names(descriptions: Mapping[str, Values], catalogue: tuple[str, ...]) -> tuple[str, ...]:
    """A name of each item: the feature whose values differ most from item to item, if they nearly all do."""
    distinct = {
        name: len({str(value) for value in values}) / len(values)
        for name, values in descriptions.items()
        if all(value is None or (isinstance(value, str) and len(value) <= LONGEST_NAME) for value in values)
    }
    chosen = max(distinct, key=lambda name: distinct[name], default=None)
    if chosen is None or distinct[chosen] < 0.8:
        return catalogue
    return tuple(
        item if name is None else str(name) for name, item in zip(descriptions[chosen], catalogue, strict=True)
    )


def raw_rows(prepared: Prepared, which: Asked, rows: Array) -> dict[str, Values]:
    """Raw inputs of the sealed model, as somebody would give them: histories as lists of ids, features as they are."""
    catalogue = prepared.interactions.catalogue
    histories = which.histories(rows, prepared.memory)
    found = {HISTORY: object_array([catalogue[code - 1] for code in row if code > 0] for row in histories.tolist())}
    return found | {name: values[which.user[rows]] for name, values in prepared.raw_users.items()}


def encoded_rows(prepared: Prepared, which: Asked, rows: Array) -> dict[str, Array]:
    """The same, encoded."""
    found = {HISTORY: which.histories(rows, prepared.memory)}
    return found | {name: array[which.user[rows]] for name, array in prepared.about_users.items()}
