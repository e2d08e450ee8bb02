"""The contract of a baseline: a simpler tool on the same rows, one file here. Only the training side uses them.

A module `lamina/baselines/NAME.py` offers

- `TITLE`: its name for the reader, e.g. "gradient-boosted trees";
- `suits(kinds, task, rows) -> bool`: does it make sense for these feature kinds and this task's name?
- `reads(features) -> bool`, where kinds do not say all: does it make sense for these very features?
- `fit(train, target, task, *, validation, seed, seconds, threads, clock) -> Baseline`.

A baseline learns from the training part only; the validation part is for early stopping and for choosing
a strength, as it is for the network. `seconds` is kept approximately: by fewer rows, which `note` says, or
by fewer rounds, as `clock` tells the time. Its answers have the form of the network's outputs for the task,
so the same decoding and the same scores serve both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from lamina.tasks import Task

Array = np.ndarray[Any, Any]
Clock = Callable[[], float]
"""Seconds since some moment: `time.monotonic`, or of work only, `time.thread_time`, where others use the cores too."""


@dataclass(frozen=True)
class Block:
    """One field's simple features.

    Attributes:
        field: the field's name.
        kind: what `array` is:
            "numbers": float32 [row, width], NaN where missing;
            "codes":   int32   [row], levels 0 to size - 1;
            "texts":   object  [row] of str;
            "media":   float32 [row, width], statistics of a picture, a sound or a series.
        size: of "codes", how many levels.
        raw: of "media", float32 [row, width], the thing itself on a coarse grid, for distances.
    """

    field: str
    kind: Literal["numbers", "codes", "texts", "media"]
    array: Array
    size: int = 0
    raw: Array | None = None

    def take(self, rows: Array) -> Block:
        """The block at `rows`."""
        return replace(self, array=self.array[rows], raw=None if self.raw is None else self.raw[rows])


@dataclass(frozen=True)
class Rows:
    """Some rows of an encoded array, which may lie on disk; they are read when they are wanted."""

    array: Array
    rows: Array

    def take(self, places: Array) -> Array:
        """The rows at some places among them, in memory."""
        return np.asarray(self.array[self.rows[places]])


@dataclass(frozen=True)
class BaselineFeatures:
    """Simple features of some rows, one block a field.

    Attributes:
        pictures: the encoded pictures by field, for answers that lie on them; there are no blocks then.
    """

    blocks: tuple[Block, ...]
    rows: int
    pictures: Mapping[str, Rows] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Block]:
        """The blocks of these kinds."""
        return [block for block in self.blocks if block.kind in kinds]

    def take(self, rows: Array) -> BaselineFeatures:
        """The features at `rows`."""
        pictures = {name: Rows(part.array, part.rows[rows]) for name, part in self.pictures.items()}
        return BaselineFeatures(tuple(block.take(rows) for block in self.blocks), len(rows), pictures)


class Baseline(Protocol):
    """A fitted baseline."""

    @property
    def note(self) -> str:
        """What was simplified to save time, for the reader, or ""."""
        ...

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width], in the form of the network's outputs for the task."""
        ...


@dataclass(frozen=True)
class BaselineAnswers:
    """What a baseline answered on the test rows.

    Attributes:
        name: for the reader, e.g. "gradient-boosted trees".
        output: [row, width] in the form of the network's.
        seconds: time to fit and answer.
        task: the target's task calibrated on this baseline's validation outputs; without it, uncalibrated.
        note: what was simplified to save time, or "".
    """

    name: str
    output: Array
    seconds: float
    task: Task | None = None
    note: str = ""

    def on(self, rows: Array) -> BaselineAnswers:
        """The answers at `rows`."""
        return replace(self, output=self.output[rows])
