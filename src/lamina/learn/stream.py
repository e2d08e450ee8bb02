"""Batches of windows of one long text: every epoch cut at other places, a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from lamina.learn.asked import asked
from lamina.learn.batch import Batch

Array = np.ndarray[Any, Any]
TEXT, NEXT = "text", "next"


@dataclass(frozen=True)
class Stream:
    """Tokens in order, whose next one is to be told at every position.

    A batch's input is "text" int32 [row, length], its target "next" of the same shape: the token that follows each.
    An epoch begins at a place drawn at random, so that windows are never cut twice at the same places.

    Attributes:
        tokens: int32 [token].
        length: of a window.
        batch_size: windows a batch.
        seed: of cutting and shuffling.
    """

    pure: ClassVar[bool] = True

    tokens: Array
    length: int
    batch_size: int
    seed: int = 0

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return max(1, self._windows // self.batch_size)

    @property
    def _windows(self) -> int:
        # One window less than there would be room for: what is left is the range that an epoch can begin in.
        return max(1, (len(self.tokens) - 1) // self.length - 1)

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from `start`, for ever; the same from any start."""
        step = start
        while True:
            epoch, position = divmod(step, self.steps)
            places = self._places(epoch)
            for number in range(position, self.steps):
                yield step, self._batch(places[number * self.batch_size : (number + 1) * self.batch_size])
                step += 1

    def _places(self, epoch: int) -> Array:
        """int64 [window]: where each begins, shuffled."""
        generator = np.random.default_rng([self.seed, epoch])
        room = len(self.tokens) - 1 - self._windows * self.length
        first = int(generator.integers(0, max(room, 0) + 1))
        places = first + self.length * generator.permutation(self._windows)
        return np.resize(places, max(len(places), self.batch_size))

    def _batch(self, places: Array) -> Batch:
        windows = self.tokens[places[:, None] + np.arange(self.length + 1)]
        return batch_of(places, windows[:, :-1], windows[:, 1:])

    def state(self) -> dict[str, Any]:
        """Nothing: every batch follows from the seed and the step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None


def scored(tokens: Array, length: int, batch_size: int, padding: int = 0) -> Iterator[Batch]:
    """Windows in order that ask for every token but the first once (`lamina.learn.asked`).

    A batch's rows are the places of the first tokens that are asked for; where "next" is `padding` nothing is asked.
    """
    windows = asked(tokens, length, padding)
    for start in range(0, len(windows), batch_size):
        some = windows.at(slice(start, start + batch_size))
        yield batch_of(some.first, some.text, some.following)


def batch_of(rows: Array, text: Array, following: Array, **more: Array) -> Batch:
    """A batch of texts [row, step] and of what comes next, and of more inputs."""
    arrays = {TEXT: text, **more}
    return Batch(
        rows=torch.from_numpy(np.asarray(rows, np.int64)),
        inputs={name: torch.from_numpy(np.ascontiguousarray(array, np.int32)) for name, array in arrays.items()},
        targets={NEXT: torch.from_numpy(np.ascontiguousarray(following, np.int32))},
    )
