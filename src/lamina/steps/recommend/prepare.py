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


def prepare(table: Table, plan: Plan, run: Run, narrator: Narrator) -> Prepared:
    """Put the interactions in order, divide them, fit encoders and simpler recommenders on the training part."""
    narrator.step("Prepare")
    found = read(table, plan)
    options = plan.task[UNLABELLED].options
    _tell(found, narrator, bool(options["repeat"]))
    memory = _memory(found, int(options["history"]))
    encoders: dict[str, Encoder] = {HISTORY: item_lists.Encoder(found.catalogue, memory)}
    modalities = {field.name: field.modality for field in plan.schema}
    raw_users, about_users = {}, {}
    for name in options["about_users"]:
        raw_users[name] = _first_values(table, name, found.row, found.user, len(found.users), found.part)
        trained = np.unique(found.user[found.part == TRAIN])
        encoder = _fitted(modalities[name], raw_users[name][trained])
        if encoder is not None:
            encoders[name], about_users[name] = encoder, encoder.encode(raw_users[name]).array
        else:
            del raw_users[name]
    learned = (found.part == TRAIN) & (found.item > 0)
    descriptions = {
        name: _first_values(
            table, name, found.row[learned], found.item[learned] - 1, len(found.catalogue), found.part[learned]
        )
        for name in options["about_items"]
    }
    parts = [_described(modalities[name], values) for name, values in descriptions.items()]
    width = np.zeros((len(found.catalogue), 0), np.float32)
    validation, test = (asked(found, part, plan.seed) for part in (VALIDATION, TEST))
    prepared = Prepared(
        table=table, interactions=found, encoders=encoders, about_users=about_users,
        about_items=np.concatenate([width, *parts], axis=1).astype(np.float32), raw_users=raw_users,
        names=_names(descriptions, found.catalogue), validation=validation, test=test,
        simpler=simple.fit(found, validation, memory, bool(options["repeat"]), narrator),
    )  # fmt: skip
    run.write_json(run.prepared, {
        "version": VERSION,
        "encoders": {name: encoder.state() for name, encoder in encoders.items()},
        "tasks": {UNLABELLED: task_of(plan, prepared).state()},
        "findings": [],
    })  # fmt: skip
    return prepared


def task_of(plan: Plan, prepared: Prepared) -> Task:
    """What the sealed model answers with."""
    return Task(UNLABELLED, prepared.interactions.catalogue, int(plan.task[UNLABELLED].options["k"]))


def _tell(found: Interactions, narrator: Narrator, repeat: bool) -> None:
    parts = [f"{found.rows_of(part):,}" for part in (TRAIN, VALIDATION, TEST)]
    narrator.say(
        f"{len(found.user):,} interactions of {len(found.users):,} users: {parts[0]} to train, {parts[1]} to validate, "
        f"{parts[2]} to test, the latest; {len(found.catalogue):,} items in the training part"
    )
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


def _fitted(modality: str, values: Values) -> Encoder | None:
    """The encoder of a feature of users, or None where it tells nothing."""
    try:
        encoder: Encoder = encoder_of(modality).fit(lambda: [values], {})
    except InputError:
        return None
    return encoder if encoder.feature.kind in ("numbers", "category") else None


def _described(modality: str, values: Values) -> Array:
    """float32 [item, feature]: numbers standardised, categories and sets as marks, texts as marks of their words."""
    if modality == "text" or (modality == "category" and len(set(canonical(values))) > MOST_LEVELS):
        return _words(values)
    try:
        encoder: Encoder = registry.module("modalities", modality).Encoder.fit(lambda: [values], {})
    except InputError:
        return np.zeros((len(values), 0), np.float32)
    array = encoder.encode(values).array
    if encoder.feature.kind == "category":
        marks = np.eye(encoder.feature.size, dtype=np.float32)
        return np.asarray(marks[array][:, 2:])
    return np.asarray(array, np.float32)


def _words(values: Values) -> Array:
    """float32 [item, word]: 1 where a frequent word is in the text."""
    rows = [frozenset("" if text is None else str(text).casefold().split()) for text in values.tolist()]
    counts: dict[str, int] = {}
    for words in rows:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    chosen = sorted((word for word in counts if counts[word] >= WORD_COUNT), key=lambda word: (-counts[word], word))
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
