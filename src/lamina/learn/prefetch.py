"""Batches made ahead by a thread, while the step before them is computed, or where they are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch

from lamina.learn.batch import Batch, Source
from lamina.learn.loader import Loader
from lamina.learn.resident import SHARE, free_bytes, resident

DEPTH = 2
"""Batches that wait."""
LEAST = 2**18
"""Bytes of a batch below which handing it over takes as long as making it."""


@dataclass(frozen=True)
class Prefetched:
    """The batches of `source`, made by one thread, up to two ahead.

    They must follow from the seed and the step alone: what is drawn for a batch from generators that training draws
    from too would come in another order. The thread ends with the iteration, however that ends; an error in it is
    raised where the batch is asked for.

    Attributes:
        pinned: put them into memory that an accelerator copies from by itself, while it computes.
    """

    source: Source
    pinned: bool = False

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from `start`; small batches are made where they are asked for."""
        made = self.source.batches(start)
        found = next(made, None)
        if found is None or found[1].bytes < LEAST:
            if found is not None:
                yield found
            yield from made
            return
        thread = ThreadPoolExecutor(1, "batches")
        try:
            waiting = deque(thread.submit(self._next, made) for _ in range(DEPTH))
            while found is not None:
                yield found
                # Nothing may hold the batch that is done with, or its memory could not be used again.
                found = None
                found = waiting.popleft().result()
                waiting.append(thread.submit(self._next, made))
        finally:
            thread.shutdown(cancel_futures=True)

    def _next(self, made: Iterator[tuple[int, Batch]]) -> tuple[int, Batch] | None:
        found = next(made, None)
        return (found[0], found[1].pinned()) if found is not None and self.pinned else found

    def state(self) -> dict[str, Any]:
        """That of the source."""
        return self.source.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.source.restore(state)


def ahead(source: Source, device: torch.device, threads: int, cores: int) -> Source:
    """`source`, from the accelerator's own memory where all examples fit; else made ahead where that pays: beside an
    accelerator, or where the training leaves a core free.

    Args:
        threads: that the training computes with.
        cores: that it may use.
    """
    if device.type != "cpu" and isinstance(source, Loader):
        held = resident(source.examples, source.names, device, SHARE * free_bytes(device))
        if held is not None:
            return replace(source, held=held)
    # On the only core, both would wait for each other.
    if not getattr(source, "pure", False) or cores < 2 or (device.type == "cpu" and threads >= cores):
        return source
    return Prefetched(source, pinned=device.type == "cuda")
