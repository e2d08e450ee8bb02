"""The pictures of a data set, and what class each is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.errors import InputError
from lamina.modalities import Feature, category
from lamina.steps.prepare import Prepared
from lamina.steps.unlabelled.labels import Labels, labels_of

Array = np.ndarray[Any, Any]

LEAST_OF_CLASS = 10
"""Pictures that a class needs on average to be asked for by name."""
CODES = category.FIRST
"""Codes before the first class: unknown, and any."""


@dataclass(frozen=True)
class Pictures:
    """The data's pictures, and what class each is of.

    Attributes:
        field: their name.
        feature: their shape.
        label: the column of classes; "" where there is none to be asked for.
        encoder: of the classes.
        codes: int64 [row of the table], 0 where there is none.
    """

    field: str
    feature: Feature
    label: str
    encoder: category.Encoder | None
    codes: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.feature.shape
        return height, width, channels

    @property
    def classes(self) -> tuple[str, ...]:
        return self.encoder.levels if self.encoder is not None else ()

    @property
    def size(self) -> int:
        """How many codes; 0 where there are no classes."""
        return self.encoder.feature.size if self.encoder is not None else 0

    def answers(self) -> Array:
        """int64 [row]: classes counted from 0, -1 where there is none."""
        return self.codes - CODES if self.encoder is not None else np.full(len(self.codes), -1, np.int64)


def pictures_of(prepared: Prepared) -> Pictures:
    """What there is to learn from.

    Raises:
        InputError: the inputs are not one field of pictures.
    """
    name, feature = only_pictures(prepared, "generate")
    labels = labels_of(prepared.table, prepared.schema)
    rows = len(prepared.table)
    if labels is None:
        return Pictures(name, feature, "", None, np.zeros(rows, np.int64))
    train = labels.values[prepared.split.train]
    known = {value for value in train if value is not None}
    if len(known) < 2 or len(train) < LEAST_OF_CLASS * len(known):
        return Pictures(name, feature, "", None, np.zeros(rows, np.int64))
    return with_classes(name, feature, labels, train)


def only_pictures(prepared: Prepared, task: str) -> tuple[str, Feature]:
    """The one field of pictures that there is.

    Raises:
        InputError: the inputs are not one field of pictures.
    """
    fields = [(name, encoder.feature) for name, encoder in prepared.encoders.items()]
    if len(fields) != 1 or fields[0][1].kind != "image":
        named = ", ".join(f"{name} ({feature.kind})" for name, feature in fields)
        raise InputError(
            f"The task {task!r} is for pictures; the inputs here are {named}.",
            where=f"--task {task}",
            fix="Give a folder of pictures, or leave the other columns out: --set schema.COLUMN.role=ignore",
        )
    return fields[0]


def with_classes(name: str, feature: Feature, labels: Labels, train: Array) -> Pictures:
    """Pictures with a class each, as `labels` of the whole table say; those of the training part are known."""
    encoder = category.Encoder.fit(lambda: [train], {"min_count": 1})
    codes = encoder.encode(labels.values).array.astype(np.int64)
    return Pictures(name, feature, labels.name, encoder, np.where(codes >= CODES, codes, category.MISSING))
