"""Batches of pictures and what is written about them, token by token: a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from lamina.learn.batch import Batch
from lamina.learn.loader import Loader
from lamina.learn.stream import NEXT, TEXT

SOURCE = "source"


@dataclass(frozen=True)
class Captioned:
    """Examples of a loader with one input and one target, whose tokens are to be told one after the other.

    A batch's inputs are "source", the pictures, and "text" [row, step], what each token is told after; its target
    "next" [row, step] is that token. Both are as long as the longest text of the batch.

    Attributes:
        loader: of pictures, and of tokens [row, step + 1] between two that mark a text's ends.
        padding: what stands where there is no token.
    """

    pure: ClassVar[bool] = True

    loader: Loader
    padding: int = 0

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.loader.steps

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from `start`, for ever; the same from any start."""
        for step, batch in self.loader.batches(start):
            yield step, self._told(batch)

    def once(self) -> Iterator[Batch]:
        """Every row once, in order: for evaluation."""
        for batch in self.loader.once():
            yield self._told(batch)

    def _told(self, batch: Batch) -> Batch:
        (pictures,), (tokens,) = batch.inputs.values(), batch.targets.values()
        longest = max(1, int((tokens[:, 1:] != self.padding).sum(dim=1).max())) if len(tokens) else 1
        following = tokens[:, 1 : 1 + longest]
        # What marks the end is told, and nothing after it.
        text = torch.where(following == self.padding, self.padding, tokens[:, :longest])
        return replace(batch, inputs={SOURCE: pictures, TEXT: text}, targets={NEXT: following})

    def state(self) -> dict[str, Any]:
        """Nothing: every batch follows from the seed and the step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None
