"""Tables of which a batch uses few rows: their gradient can be of those rows alone.

A table of vectors for words has many times the rows that a batch's texts use. Its gradient is zero everywhere else, and
to write those zeros down, and to step over them, takes longer than all the rest of a step. PyTorch's own sparse
embeddings cannot weigh the parts of a row, as members that share a table do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_apart = False


@contextmanager
def apart(wanted: bool = True) -> Iterator[None]:
    """Within, gradients of tables are sparse: they tell the used rows alone (`torch.sparse_coo_tensor`, coalesced
    where a table is used once). The values are the same. It holds for the forward pass and the backward pass, which
    may compute the forward pass again."""
    global _apart
    before, _apart = _apart, wanted
    try:
        yield
    finally:
        _apart = before


class ByRows(nn.Module):
    """A table [row, width] of which a batch uses few rows."""

    weight: Tensor
    padding_idx: int | None

    def used(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [...] as (places [...] in the vectors, vectors [used row, width]): the whole table, or what is used."""
        if not _apart or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return index, self.weight
        used, place = different(index, len(self.weight), self.padding_idx)
        vectors: Tensor = _Picked.apply(self.weight, used)  # type: ignore[no-untyped-call]
        return place, vectors


class Table(ByRows, nn.Embedding):
    """An embedding, looked up row by row: [...] to [..., width]."""

    def forward(self, index: Tensor) -> Tensor:
        place, vectors = self.used(index)
        return nn.functional.embedding(place, vectors)


class Sums(ByRows, nn.EmbeddingBag):
    """Sums of vectors: rows [bag, row] to [bag, width]; row 0 stands for none, and is not learned."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows, width, mode="sum", padding_idx=0)

    def forward(self, index: Tensor) -> Tensor:  # type: ignore[override]
        # Places are in the order of the rows, so that row 0 is always the first.
        place, vectors = self.used(index)
        return nn.functional.embedding_bag(place, vectors, mode="sum", padding_idx=0)


class _Picked(torch.autograd.Function):
    """Some rows of a table, each once, with a gradient that tells them alone."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return torch.sparse_coo_tensor(
            rows.unsqueeze(0), gradient, ctx.shape, is_coalesced=True, check_invariants=False
        ), None


def different(index: Tensor, rows: int, also: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows [...], less than `rows`, as (the different ones in order, the place [...] of each among them).

    As `torch.unique`, but counted rather than sorted.

    Args:
        also: a row that is always among them.
    """
    seen = torch.zeros(rows, dtype=torch.bool, device=index.device)
    seen[index.reshape(-1)] = True
    if also is not None:
        seen[also] = True
    place = seen.cumsum(0).sub_(1)
    return seen.nonzero().squeeze(1), place[index]
