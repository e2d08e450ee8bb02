"""Which rows are like this one, and which are all but the same? By a sealed model's embeddings; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Values
from lamina.errors import InputError
from lamina.model.answers import plain
from lamina.model.nearest import alike, likeness_of, nearest
from lamina.model.rows import RawChunk, Rows, open_rows
from lamina.tasks import cluster, embed

if TYPE_CHECKING:
    from lamina.model.hnsw import Graph
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]

BATCH = 256
LONGEST_NAME = 100
NAMING = ("image", "audio", "video", "text")
"""Modalities whose values a person knows rows by."""
DUPLICATE = 0.98
"""From this likeness on two rows are near-duplicates, unless the user says otherwise."""


@dataclass(frozen=True)
class Found:
    """A row that is like the one asked for.

    Attributes:
        row: its place in the data, counted from 0.
        name: its path, or the beginning of its text, where the model reads one file or text of a row; else "".
        likeness: cosine of the angle between the two vectors, 1 for the same.
    """

    row: int
    name: str
    likeness: float

    @property
    def label(self) -> str:
        """How the user knows it."""
        return self.name or f"row {self.row}"


@dataclass(frozen=True)
class Index:
    """Rows by what they are like.

    Attributes:
        vectors: float32 [row, size], of length 1; rows that could not be read are not among them.
        rows: int64 [row], their places in the data.
        names: their paths or the beginnings of their texts, where the model reads one of a row; else "".
        errors: place in the data to the reason why a row could not be read.
        graph: over the vectors, where the set is large (`lamina.model.hnsw`); without it all are compared.
    """

    vectors: Array
    rows: Array
    names: tuple[str, ...]
    errors: Mapping[int, str]
    graph: Graph | None = field(default=None, compare=False)

    def search(self, vectors: Array, top: int = 10) -> list[list[Found]]:
        """The `top` most alike rows for each vector, the most alike first; of equals the earlier row.

        Args:
            vectors: float32 [query, size], of length 1.
        """
        if self.graph is None:
            places, likeness = nearest(vectors, self.vectors, top)
        else:
            places, likeness = self.graph.nearest(vectors, top)
        return [self._found(one, how) for one, how in zip(places, likeness, strict=True)]

    def duplicates(self, likeness: float = DUPLICATE) -> list[list[Found]]:
        """Groups of rows that are at least so alike, the largest first, then the earliest.

        The rows of a group are in the order of the data, each with its likeness to the first. Two rows are in one group
        too where others between them are so alike to both.
        """
        first = alike(self.vectors, likeness) if self.graph is None else self.graph.alike(likeness)
        stands_for, sizes = np.unique(first, return_counts=True)
        order = np.lexsort((stands_for, -sizes))
        # Sorted by group, each group is one stretch of rows.
        by_group = np.argsort(first, kind="stable")
        ends = np.cumsum(sizes)
        groups = [by_group[ends[place] - sizes[place] : ends[place]] for place in order if sizes[place] > 1]
        return [self._found(group, self._likeness_to_first(group)) for group in groups]

    def _likeness_to_first(self, places: Array) -> Array:
        return likeness_of(self.vectors, self.vectors, np.full(len(places), places[0]), places)

    def _found(self, places: Array, likeness: Array) -> list[Found]:
        return [
            Found(int(self.rows[place]), self.names[place], float(how))
            for place, how in zip(places, likeness, strict=True)
        ]


@dataclass(frozen=True)
class Embedded:
    """Some rows and their vectors.

    Attributes:
        start: the place of the first row in the data.
        chunk: the raw rows.
        kept: int64 [row], those that could be read, by their places in the chunk.
        vectors: float32 [row, size] of those.
        errors: place in the chunk to the reason why a row could not be read.
    """

    start: int
    chunk: RawChunk
    kept: Array
    vectors: Array
    errors: Mapping[int, str]


def embedded(model: Model, answer: str, rows: Rows) -> Iterator[Embedded]:
    """Raw rows with what the model gives for them as `answer`, chunk by chunk."""
    start = 0
    for chunk in rows:
        arrays, wrong = model.encode(chunk.values, rows.root)
        # A row that could not even be read has only missing values: the reader's reason is the true one.
        errors = {**wrong, **chunk.errors}
        kept = np.array([row for row in range(len(chunk)) if row not in errors], np.int64)
        vectors = model.outputs({name: array[kept] for name, array in arrays.items()})[answer]
        yield Embedded(start, chunk, kept, vectors, errors)
        start += len(chunk)


def index(model: Model, data: Any) -> Index:
    """All rows of the data by their vectors.

    Raises:
        InputError: the model gives no embeddings, or no row can be read.
    """
    answer, named = embedding_of(model), _naming(model)
    rows = open_rows(data, model, BATCH)
    vectors: list[Array] = []
    places: list[Array] = []
    names: list[str] = []
    errors: dict[int, str] = {}
    for part in embedded(model, answer, rows):
        errors.update({part.start + row: reason for row, reason in sorted(part.errors.items())})
        if len(part.kept):
            vectors.append(part.vectors)
            places.append(part.kept + part.start)
            names += _names(part.chunk.values[named] if named else None, part.kept)
    if not vectors:
        reason = next(iter(errors.values()), "there are none")
        raise InputError(f"No row can be read: {reason}.", fix="Give data like that which the model was trained on.")
    return Index(np.concatenate(vectors), np.concatenate(places), tuple(names), errors)


def embedding_of(model: Model) -> str:
    """The name of the model's answer that is a vector.

    Raises:
        InputError: it has none.
    """
    for name, task in model.tasks.items():
        if isinstance(task, embed.Task | cluster.Task):
            return name
    raise InputError(
        "The model gives no embeddings, so there is nothing to search by.",
        where=model.where,
        fix="Train one: lamina train DATA --task embed",
    )


def _naming(model: Model) -> str:
    """The column whose values a person knows rows by: the only one, if it holds files or texts; else ""."""
    columns = [item.field.columns[0] for item in model.inputs.values() if item.field.modality in NAMING]
    return columns[0] if len(columns) == len(model.columns) == 1 else ""


def _names(values: Values | None, kept: Array) -> list[str]:
    if values is None:
        return [""] * len(kept)
    return [_name(plain(values[row])) for row in kept]


def _name(value: Any) -> str:
    """A path, or the beginning of a text on one line; "" for bytes and arrays."""
    if not isinstance(value, str):
        return ""
    return value if len(value) <= LONGEST_NAME and value.isprintable() else " ".join(value[:LONGEST_NAME].split()) + "…"
