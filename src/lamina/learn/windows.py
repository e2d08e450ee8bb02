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

    A batch's inputs hold "history" int32 [row, length], padded with 0 at the end, and the arrays of `about`; its target
    "next" is int32 [row, 1 + length]: what comes before any, after one, after two codes, ...; 0 where nothing is asked,
    and "weight", float32 of that shape, says how much each counts.
    Windows of one sequence overlap by what is only read, so that every code is asked for once in an epoch.

    Attributes:
        codes: int32, all sequences one after the other.
        starts: int64 [sequence + 1], where each begins, and the end of the last.
        length: of the histories.
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
        found = []
        for sequence, (start, end) in enumerate(zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)):
            # From the end backwards: the first window, at the sequence's beginning, is the one that may be short.
            stop = end
            size = int(generator.integers(1, self.each + 1)) if end - start > self.length + 1 else self.length + 1
            while stop > start:
                first = start if stop - start <= self.length + 1 else max(start, stop - size)
                found.append((sequence, first, stop))
                stop, size = first, self.each
        return generator.permutation(np.array(found, np.int64), axis=0)

    def _batch(self, cuts: Array) -> Batch:
        history = np.zeros((len(cuts), self.length), np.int32)
        following = np.zeros((len(cuts), self.length + 1), np.int32)
        weight = np.zeros(following.shape, np.float32)
        for row, (sequence, first, stop) in enumerate(cuts.tolist()):
            begin = max(int(self.starts[sequence]), stop - self.length - 1)
            codes = self.codes[begin:stop]
            history[row, : len(codes) - 1] = codes[:-1]
            following[row, first - begin : len(codes)] = codes[first - begin :]
            weight[row, first - begin : len(codes)] = self.weights[first:stop]
        inputs = {HISTORY: torch.from_numpy(history)}
        inputs |= {name: torch.from_numpy(array[cuts[:, 0]]) for name, array in self.about.items()}
        targets = {NEXT: torch.from_numpy(following), WEIGHT: torch.from_numpy(weight)}
        return Batch(torch.from_numpy(cuts[:, 0].copy()), inputs, targets)

    def state(self) -> dict[str, Any]:
        """Nothing: every batch follows from the seed and the step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None
