"""Batches of windows that are cut from long sequences: every epoch at other places, a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from lamina.learn.batch import Batch

Array = np.ndarray[Any, Any]
HISTORY, NEXT, WEIGHT = "history", "next", "weight"
CONTEXT = 4
"""A window that begins amid a sequence asks nothing of its first positions: one part in so many is only read."""


@dataclass(frozen=True)
class Windows:
    """Sequences of codes above 0, whose next code is to be told at every position.

    A batch's inputs hold "history" int32 [row, step], padded with 0 at the end and only as long as its rows need, and
    the arrays of `about`; its target "next" is int32 [row, 1 + step]: what comes before any, after one, after two
    codes, ...; 0 where nothing is asked, and "weight", float32 of that shape, says how much each counts.
    Windows of one sequence overlap by what is only read, so that every code is asked for once in an epoch.

    Attributes:
        codes: int32, all sequences one after the other.
        starts: int64 [sequence + 1], where each begins, and the end of the last.
        length: of the histories, at most.
        batch_size: windows a batch.
        seed: of cutting and shuffling.
        weights: float32, how much each code counts as an answer.
        about: arrays [sequence, ...] that belong to a whole sequence.
    """

    pure: ClassVar[bool] = True

    codes: Array
    weights: Array
    starts: Array
    length: int
    batch_size: int
    about: Mapping[str, Array]
    seed: int = 0

    @property
    def context(self) -> int:
        """Codes at the beginning of a window amid a sequence that are only read."""
        return self.length // CONTEXT

    @property
    def each(self) -> int:
        """Codes that a full window asks for, amid a sequence."""
        return self.length + 1 - self.context

    @property
    def steps(self) -> int:
        """Batches in an epoch, about: how many windows there are depends on where they are cut."""
        return max(1, round(self._expected / self.batch_size))

    @property
    def _expected(self) -> float:
        lengths = np.diff(self.starts)
        return float(np.where(lengths > 0, np.maximum(lengths / self.each, 1.0), 0.0).sum())

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from `start`, for ever; the same from any start."""
        step = start
        while True:
            epoch, position = divmod(step, self.steps)
            cuts = self._cut(epoch)
            for number in range(position, self.steps):
                # Parts of nearly equal size, so that every window comes once although their number varies.
                first, last = (len(cuts) * place // self.steps for place in (number, number + 1))
                yield step, self._batch(cuts[first : max(last, first + 1)])
                step += 1

    def _cut(self, epoch: int) -> Array:
        """int64 [window, 3]: the sequence, the first code that is asked for and the end, shuffled."""
        generator = np.random.default_rng([self.seed, epoch])
        starts, ends = self.starts[:-1], self.starts[1:]
        lengths = ends - starts
        long = lengths > self.length + 1
        # From the end backwards: the last window of a long sequence asks for any number of codes, those before it for
        # as many as they can, and the first, at the sequence's beginning, may be short.
        last = np.zeros(len(lengths), np.int64)
        last[long] = generator.integers(1, self.each + 1, long.sum())
        full = np.maximum(-(-(lengths - last - self.length - 1) // self.each), 0)
        counts = np.where(long, full + 2, lengths > 0)
        sequence = np.repeat(np.arange(len(lengths)), counts)
        place = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)
        stop = ends[sequence] - np.where(place > 0, last[sequence] + (place - 1) * self.each, 0)
        asks = np.where(place > 0, self.each, last[sequence])
        first = np.where(place == counts[sequence] - 1, starts[sequence], stop - asks)
        return generator.permutation(np.stack([sequence, first, stop], axis=1), axis=0)

    def _batch(self, cuts: Array) -> Batch:
        sequence, first, stop = (cuts[:, place : place + 1] for place in range(3))
        begin = np.maximum(self.starts[sequence], stop - self.length - 1)
        # Multiples of 8 keep the number of different shapes small.
        longest = min(self.length, -(-max(int((stop - begin).max()) - 1, 1) // 8) * 8)
        places = begin + np.arange(longest + 1)
        here = np.minimum(places, len(self.codes) - 1)
        codes = self.codes[here]
        asked = (places >= first) & (places < stop)
        history = np.where(places < stop - 1, codes, 0)[:, :-1]
        inputs = {HISTORY: torch.from_numpy(np.ascontiguousarray(history, np.int32))}
        inputs |= {name: torch.from_numpy(array[cuts[:, 0]]) for name, array in self.about.items()}
        targets = {
            NEXT: torch.from_numpy(np.where(asked, codes, 0).astype(np.int32, copy=False)),
            WEIGHT: torch.from_numpy(np.where(asked, self.weights[here], 0).astype(np.float32, copy=False)),
        }
        return Batch(torch.from_numpy(cuts[:, 0].copy()), inputs, targets)

    def state(self) -> dict[str, Any]:
        """Nothing: every batch follows from the seed and the step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None
