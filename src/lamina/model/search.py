"""Which rows are like this one? Exact search among the embeddings of a sealed model; NumPy and ONNX Runtime only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Values
from lamina.errors import InputError
from lamina.model.answers import plain
from lamina.model.rows import RawChunk, Rows, open_rows
from lamina.tasks import cluster, embed

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]

BATCH = 256
QUERIES = 1024
"""Queries that are compared at a time, so that memory stays flat."""


@dataclass(frozen=True)
class Found:
    """A row that is like the one asked for.

    Attributes:
        row: its place in the data, counted from 0.
        name: its path, where rows are files, else "".
        likeness: cosine of the angle between the two vectors, 1 for the same.
    """

    row: int
    name: str
    likeness: float


@dataclass(frozen=True)
class Index:
    """Rows by what they are like.

    Attributes:
        vectors: float32 [row, size], of length 1; rows that could not be read are not among them.
        rows: int64 [row], their places in the data.
        names: their paths, where rows are files, else "".
        errors: place in the data to the reason why a row could not be read.
    """

    vectors: Array
    rows: Array
    names: tuple[str, ...]
    errors: Mapping[int, str]

    def search(self, vectors: Array, top: int = 10) -> list[list[Found]]:
        """The `top` most alike rows for each vector, the most alike first; of equals the earlier row.

        Args:
            vectors: float32 [query, size], of length 1.
        """
        number, found = min(top, len(self.rows)), []
        for start in range(0, len(vectors), QUERIES):
            likeness = vectors[start : start + QUERIES] @ self.vectors.T
            nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :number]
            for query, places in enumerate(nearest):
                found.append(
                    [Found(int(self.rows[place]), self.names[place], float(likeness[query, place])) for place in places]
                )
        return found


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
    rows = open_rows(data, model, BATCH)
    vectors: list[Array] = []
    places: list[Array] = []
    names: list[str] = []
    errors: dict[int, str] = {}
    for part in embedded(model, _answer(model), rows):
        errors.update({part.start + row: reason for row, reason in sorted(part.errors.items())})
        if len(part.kept):
            vectors.append(part.vectors)
            places.append(part.kept + part.start)
            names += _paths(part.chunk.values.get("path") if rows.named_by_path else None, part.kept)
    if not vectors:
        reason = next(iter(errors.values()), "there are none")
        raise InputError(f"No row can be read: {reason}.", fix="Give data like that which the model was trained on.")
    return Index(np.concatenate(vectors), np.concatenate(places), tuple(names), errors)


def _answer(model: Model) -> str:
    for name, task in model.tasks.items():
        if isinstance(task, embed.Task | cluster.Task):
            return name
    raise InputError(
        "The model gives no embeddings, so there is nothing to search by.",
        where=model.where,
        fix="Train one: lamina train DATA --task embed",
    )


def _paths(values: Values | None, kept: Array) -> list[str]:
    return [""] * len(kept) if values is None else [str(plain(values[row])) for row in kept]
