"""Batches of encoded examples: a permutation and a gather, a pure function of (seed, step).

What is larger than memory is read in blocks: rows that lie next to each other on the disk come in the same stretch of
an epoch, mixed with those of many other blocks, so that each part of the disk is read once and in large pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from lamina.data.buffers import Buffers
from lamina.data.examples import Examples
from lamina.launched import Place
from lamina.learn.batch import Batch
from lamina.learn.privacy import sampled
from lamina.learn.resident import Resident

Array = np.ndarray[Any, Any]
WINDOW = 50
"""Rows of so many batches are sorted by length together, so that a batch is padded little."""
BLOCK = 2**20
"""Bytes of a block: read at once, they cost a disk little more than a single row."""
MIXED = 128
"""Blocks, from anywhere in the data, whose rows are shuffled together; they must find room in memory."""


@dataclass(frozen=True)
class Loader:
    """Examples of one part, shuffled anew every epoch.

    Attributes:
        examples: encoded arrays.
        rows: int64, the rows of this part.
        inputs, targets: which arrays are which.
        batch_size: examples per batch; the last, smaller batch of an epoch is left out when training.
        seed: of the shuffling.
        lengths: int32 [row] of the whole table for padded sequences, or None.
        shuffle: "rows", all of them anew, or "blocks", for rows that memory does not hold.
        sampling: float64, chance of each of `rows` to be drawn (with replacement), or None for each once.
        weight: float32 [row] of the whole table, or None.
    """

    pure: ClassVar[bool] = True

    examples: Examples
    rows: Array
    inputs: Sequence[str]
    targets: Sequence[str]
    batch_size: int
    seed: int = 0
    lengths: Array | None = None
    sampling: Array | None = None
    weight: Array | None = None
    padded: frozenset[str] = field(default_factory=frozenset)
    """Inputs whose second axis ends in padding: cut to the longest example of a batch."""
    shuffle: Literal["rows", "blocks"] = "rows"
    buffers: Buffers = field(default_factory=Buffers, repr=False, compare=False)
    """Where large batches lie, once earlier ones are gone."""
    place: Place | None = None
    """Of several processes: of each training batch then only this one's share is gathered, a part of the whole one."""
    secret: bytes = field(default=b"", repr=False)
    """Where training is private: of the draws of batches, in which each row is by a chance of its own."""
    held: Resident | None = None
    """The inputs and targets where training computes; None where batches are gathered in the computer's own memory."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return max(1, len(self.rows) // self.batch_size)

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from `start`, for ever; the same from any start."""
        step = start
        while self.secret:
            yield step, self.batch(sampled(self.secret, step, self.rows, self.batch_size / len(self.rows)))
            step += 1
        while True:
            epoch, position = divmod(step, self.steps)
            order, begins = self._order(epoch)
            reached = max(int(np.searchsorted(begins, position * self.batch_size, "right")) - 1, 0)
            for number in range(position, self.steps):
                upto = (number + 1) * self.batch_size
                while reached < len(begins) - 1 and begins[reached] < upto:
                    self.examples.expect(self.names, order[begins[reached] : begins[reached + 1]])
                    reached += 1
                yield step, self._share(order[number * self.batch_size : upto])
                step += 1

    def once(self) -> Iterator[Batch]:
        """Every row once, in order: for evaluation."""
        for start in range(0, len(self.rows), self.batch_size):
            yield self.batch(self.rows[start : start + self.batch_size])

    def by_length(self) -> Iterator[tuple[Array, Batch]]:
        """Every row once, those of like lengths together, with their places among `rows`: for answers to each."""
        span = WINDOW * self.batch_size
        for begin in range(0, len(self.rows), span):
            places = np.arange(begin, min(begin + span, len(self.rows)))
            if self.lengths is not None:
                places = places[np.argsort(self.lengths[self.rows[places]], kind="stable")]
            for start in range(0, len(places), self.batch_size):
                some = places[start : start + self.batch_size]
                yield some, self.batch(self.rows[some])

    def batch(self, rows: Array) -> Batch:
        """The examples at `rows` as tensors in memory, or on the device that holds them."""
        widths: dict[str, int] = {}
        if self.lengths is not None and len(rows):
            # Multiples of 8 keep the number of different shapes, and so of allocations, small.
            longest = max(8, -(-int(self.lengths[rows].max()) // 8) * 8)
            widths = dict.fromkeys(self.padded, longest)
        places = torch.from_numpy(np.asarray(rows, np.int64))
        weight = None if self.weight is None else torch.from_numpy(self.weight[rows])
        if self.held is not None:
            places = places.to(self.held.device)
            return Batch(
                rows=places,
                inputs=self.held.take(self.inputs, places, widths),
                targets=self.held.take(self.targets, places, {}),
                weight=None if weight is None else weight.to(self.held.device),
            )
        inputs = self.examples.take(self.inputs, rows, widths=widths, buffers=self.buffers)
        return Batch(
            rows=places,
            inputs=_tensors(inputs),
            targets=_tensors(self.examples.take(self.targets, rows, buffers=self.buffers)),
            weight=weight,
        )

    def _share(self, rows: Array) -> Batch:
        """What this process learns from of a batch; it knows the weights and targets of all of it."""
        if self.place is None:
            return self.batch(rows)
        whole = replace(self, inputs=[], padded=frozenset(), held=None, buffers=Buffers()).batch(rows)
        return replace(self.batch(rows[self.place.share(len(rows))]), whole=whole)

    @property
    def names(self) -> list[str]:
        """Of all arrays that batches are made of."""
        return [*self.inputs, *self.targets]

    def _order(self, epoch: int) -> tuple[Array, Array]:
        """The rows of an epoch, and the places in it between which they are read together, where they are."""
        generator = np.random.default_rng([self.seed, epoch])
        order, begins = self.rows, np.zeros(0, np.int64)
        if self.sampling is not None:
            order = generator.choice(self.rows, len(self.rows), p=self.sampling)
        if self.shuffle == "blocks":
            order, begins = self._in_blocks(np.sort(order), generator)
        elif self.sampling is None:
            order = generator.permutation(self.rows)
        if len(order) < self.batch_size:
            return np.resize(order, self.batch_size), begins[:0]
        order = order[: self.steps * self.batch_size]
        return order if self.lengths is None else self._bucketed(order, generator), begins

    def _in_blocks(self, rows: Array, generator: np.random.Generator) -> tuple[Array, Array]:
        """Blocks of neighbours are drawn in any order, and the rows of each MIXED of them are shuffled together."""
        each = sum(self.examples.bytes_each(name) for name in self.names)
        size = max(1, BLOCK // max(each, 1))
        blocks = max(1, -(-len(rows) // size))
        stretches = -(-blocks // MIXED)
        # Small numbers are sorted in one pass.
        stretch = (generator.permutation(blocks) * stretches // blocks).astype(np.min_scalar_type(stretches))
        places = generator.permutation(len(rows))
        stretch = stretch[places // size]
        ends = np.cumsum(np.bincount(stretch, minlength=stretches))
        return rows[places[np.argsort(stretch, kind="stable")]], np.append(0, ends)

    def _bucketed(self, order: Array, generator: np.random.Generator) -> Array:
        """Sort by length within windows, then shuffle the batches, so that order still says nothing about length.

        Batches of blocks stay in their window: elsewhere they would be read from the disk one row at a time.
        """
        assert self.lengths is not None
        span = WINDOW * self.batch_size
        parts = [order[start : start + span] for start in range(0, len(order), span)]
        parts = [part[np.argsort(self.lengths[part], kind="stable")].reshape(-1, self.batch_size) for part in parts]
        together = parts if self.shuffle == "blocks" else [np.concatenate(parts)]
        return np.concatenate([generator.permutation(batches, axis=0).reshape(-1) for batches in together])

    def state(self) -> dict[str, Any]:
        """Nothing: every batch follows from the seed and the step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
