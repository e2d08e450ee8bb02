"""The contract of a modality: one file here, NumPy only, never PyTorch.

A module `lamina/modalities/NAME.py` offers

- `recognise(values, name) -> Recognition | None`: from a sample of raw values, is the column of this kind?
- `describe(values) -> dict`: a summary a person wants to read (JSON);
- `Encoder`: a frozen dataclass that keeps the `Encoder` protocol below.

The very code that fits and encodes here runs inside the sealed model. Raw values may arrive typed
(from Parquet) or as text (from CSV): an encoder gives the same answer for 3, 3.0 and "3".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np

from lamina.data.schema import Json, Values

FeatureKind = Literal["numbers", "category", "tokens", "image", "spectrogram", "series"]


@dataclass(frozen=True)
class Feature:
    """What an encoder hands to the network: one array per field.

    Attributes:
        kind: how a network must read it:
            "numbers"     float32 [row, width], standardised, no NaN;
            "category"    int32   [row], 0 = unknown, 1 = missing, 2... = known values;
            "tokens"      int32   [row, length], 0 = padding at the end only;
            "image"       uint8   [row, height, width, channel];
            "spectrogram" float16 [row, time, band], standardised, padded with zeros at the end;
            "series"      float32 [row, time, channel], standardised.
        shape: the array's shape without the row axis.
        dtype: the array's NumPy dtype name.
        size: how many different values (category levels, vocabulary); 0 where it has no meaning.
        details: what else a network may want (JSON), e.g. {"bins": [...]} for numbers or
            {"tokenizer": "minilm"} for text.
    """

    kind: FeatureKind
    shape: tuple[int, ...]
    dtype: str
    size: int = 0
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded:
    """Encoded rows, and for each row that could not be encoded the reason.

    A row with an error holds the encoding of a missing value, so that shapes stay whole.
    """

    array: np.ndarray[Any, Any]
    errors: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recognition:
    """How sure (0 to 1) a modality is that a column is its own, and why, for the user to read."""

    confidence: float
    reason: str


Chunks = Callable[[], Iterable[Values]]
"""Call it to stream the training part's raw values of one field once more, chunk by chunk."""


class Encoder(Protocol):
    """Turns raw values of one field into an array and back; fitted on the training part only."""

    modality: ClassVar[str]

    @property
    def feature(self) -> Feature: ...

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Learn what encoding needs.

        Args:
            chunks: streams the training values; may be called several times; never holds them all.
            options: the field's options; an unknown key raises InputError naming the known ones.
            root: the folder that relative paths in the values start from.
        """
        ...

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """Encode rows; [row, *feature.shape] of feature.dtype. Never raises for a bad row."""
        ...

    def decode(self, array: np.ndarray[Any, Any]) -> Values:
        """The raw values an array stands for, as nearly as the encoding keeps them."""
        ...

    def state(self) -> dict[str, Json]:
        """All of it as JSON."""
        ...

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        ...


def token_lengths(array: np.ndarray[Any, Any], padding: int = 0) -> np.ndarray[Any, Any]:
    """int32 [row]: tokens of each row up to the last one that is no padding (which stands at the end only).

    Args:
        array: [row, length], also one that lies on disk: it is read a part at a time.
        padding: the token that pads.
    """
    places = np.arange(1, array.shape[1] + 1, dtype=np.int32)
    lengths = np.zeros(len(array), np.int32)
    for start in range(0, len(array), 8192):
        part = np.asarray(array[start : start + 8192])
        lengths[start : start + 8192] = ((part != padding) * places).max(axis=1, initial=0)
    return lengths
