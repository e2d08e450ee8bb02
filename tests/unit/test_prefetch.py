from __future__ import annotations

import itertools
import threading
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from lamina.data.buffers import LEAST, MOST, Buffers
from lamina.data.examples import Examples
from lamina.learn.batch import Batch
from lamina.learn.loader import Loader
from lamina.learn.prefetch import Prefetched, ahead

WIDTH = 40_000
CPU = torch.device("cpu")


def loader(rows: int = 30, batch_size: int = 10, width: int = WIDTH) -> Loader:
    x = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    return Loader(Examples({"x": x, "y": np.arange(rows)}, rows), np.arange(rows), ["x"], ["y"], batch_size, seed=2)


def threads() -> int:
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


class Breaks:
    """Gives large batches up to a step, then an error."""

    pure = True

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        for step, batch in loader().batches(start):
            if step == 4:
                raise ValueError("the disk is gone")
            yield step, batch

    def state(self) -> dict[str, Any]:
        return {"drawn": 7}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.restored = state


@pytest.mark.parametrize("start", [0, 5])
def test_batches_made_ahead_are_those_of_the_source(start: int) -> None:
    source = loader()
    plain = itertools.islice(source.batches(start), 8)
    made = itertools.islice(Prefetched(source).batches(start), 8)
    for (step, batch), (other, again) in zip(plain, made, strict=True):
        assert step == other
        assert torch.equal(batch.rows, again.rows)
        assert torch.equal(batch.inputs["x"], again.inputs["x"])
        assert torch.equal(batch.targets["y"], again.targets["y"])


def test_the_thread_ends_with_the_iteration() -> None:
    for _ in Prefetched(loader()).batches():
        assert threads() == 1
        break
    assert threads() == 0

    def interrupted() -> None:
        for step, _ in Prefetched(loader()).batches():
            if step == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert threads() == 0


def test_an_error_is_raised_where_the_batch_is_asked_for() -> None:
    seen: list[int] = []
    with pytest.raises(ValueError, match="the disk is gone") as caught:
        seen.extend(step for step, _ in Prefetched(Breaks()).batches())
    assert seen == [0, 1, 2, 3]
    told = [frame.line for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert 'raise ValueError("the disk is gone")' in told
    assert threads() == 0


def test_small_batches_need_no_thread() -> None:
    for step, _ in Prefetched(loader(width=3)).batches():
        assert threads() == 0
        if step == 4:
            break


def test_the_state_is_that_of_the_source() -> None:
    source = Breaks()
    made = Prefetched(source)
    made.restore(made.state())
    assert source.restored == {"drawn": 7}


def test_batches_are_made_ahead_where_a_core_is_free_and_they_are_pure() -> None:
    source = loader()
    assert isinstance(ahead(source, CPU, 1, 2), Prefetched)
    assert ahead(source, CPU, 2, 2) is source
    assert ahead(source, CPU, 1, 1) is source
    assert ahead(source, torch.device("cuda"), 16, 16) == Prefetched(source, pinned=True)
    impure = Breaks()
    impure.pure = False
    assert ahead(impure, CPU, 1, 2) is impure


def test_memory_is_used_again_once_no_batch_lies_in_it() -> None:
    source = loader()
    places = set()
    for step, batch in source.batches():
        places.add(batch.inputs["x"].data_ptr())
        del batch
        if step == 20:
            break
    assert len(places) == 1


@pytest.mark.parametrize("made", [lambda source: source, Prefetched])
def test_a_batch_that_is_kept_stays_as_it_is(made: Any) -> None:
    source = loader()
    batches = [batch for _, batch in itertools.islice(made(source).batches(), 3 * MOST)]
    for batch in batches:
        assert np.array_equal(batch.inputs["x"].numpy(), source.examples.arrays["x"][batch.rows.numpy()])
    views = [batch.inputs["x"][3, 5:].view(-1) for _, batch in itertools.islice(made(source).batches(), 3 * MOST)]
    rows = [int(batch.rows[3]) for _, batch in itertools.islice(source.batches(), 3 * MOST)]
    for row, view in zip(rows, views, strict=True):
        assert np.array_equal(view.numpy(), source.examples.arrays["x"][row, 5:])


def test_memory_serves_other_shapes_as_far_as_it_is_large_enough() -> None:
    buffers, number = Buffers(), np.dtype(np.float32)
    assert buffers.room("x", (LEAST // 8,), number) is None
    first = buffers.room("x", (LEAST, 2), number)
    assert first is not None
    place, other = first.ctypes.data, buffers.room("x", (LEAST,), number)
    assert other is not None
    assert other.ctypes.data != place
    del first, other
    smaller = buffers.room("x", (3, LEAST // 2), number)
    assert smaller is not None
    assert smaller.shape == (3, LEAST // 2)
    assert smaller.ctypes.data == place


@pytest.mark.parametrize("order", ["C", "F"])
def test_gathered_rows_are_cut_and_lie_without_gaps(order: Any) -> None:
    array = np.asarray(np.random.default_rng(0).normal(size=(50, 300, 40)).astype(np.float32), order=order)
    examples, rows = Examples({"x": array}, 50), np.array([4, 49, 4, 0] * 20)
    for width in (300, 17):
        found = examples.take(["x"], rows, widths={"x": width}, buffers=Buffers())["x"]
        assert found.flags.c_contiguous
        assert np.array_equal(found, array[rows, :width])
    for buffers in (None, Buffers()):
        with pytest.raises(IndexError):
            examples.take(["x"], np.array([50] * 80), buffers=buffers)
        assert np.array_equal(examples.take(["x"], -rows - 1, buffers=buffers)["x"], array[-rows - 1])
