from __future__ import annotations

import itertools
import math
import mmap
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from lamina.choose import hardware
from lamina.data.examples import Examples
from lamina.learn import loader as loading
from lamina.learn.loader import Loader
from lamina.plan import Plan
from lamina.steps.learner import shuffled
from lamina.steps.prepare import Prepared

ROWS, BATCH, CLASSES = 6000, 50, 10
Array = np.ndarray[Any, Any]


@pytest.fixture
def mapped(tmp_path: Path) -> Examples:
    """Rows of 128 bytes that lie on the disk, one class after the other."""
    file = tmp_path / "x.npy"
    np.save(file, np.repeat(np.arange(ROWS, dtype=np.int64)[:, None], 16, axis=1))
    return Examples({"x": np.load(file, mmap_mode="r"), "y": np.arange(ROWS) // (ROWS // CLASSES)}, ROWS)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 rows a block, 64 blocks a stretch."""
    monkeypatch.setattr(loading, "BLOCK", 10 * 136)
    monkeypatch.setattr(loading, "MIXED", 64)


def loader(examples: Examples, rows: Array | None = None, **extra: Any) -> Loader:
    rows = np.arange(ROWS) if rows is None else rows
    return Loader(examples, rows, ["x"], ["y"], BATCH, seed=4, shuffle="blocks", **extra)


def epoch_of(source: Loader, number: int) -> list[Array]:
    batches = itertools.islice(source.batches(number * source.steps), source.steps)
    return [batch.rows.numpy() for _, batch in batches]


@pytest.mark.usefixtures("small_blocks")
def test_every_row_comes_once_an_epoch_and_batches_are_a_function_of_seed_and_step(mapped: Examples) -> None:
    rows = np.random.default_rng(0).permutation(ROWS)[:5000]
    source = loader(mapped, rows)
    first, second = epoch_of(source, 0), epoch_of(source, 1)
    for batches in (first, second):
        assert np.array_equal(np.sort(np.concatenate(batches)), np.sort(rows))
    assert not np.array_equal(first[0], second[0])
    step, batch = next(source.batches(source.steps + 7))
    assert step == source.steps + 7
    assert np.array_equal(batch.rows, second[7])
    assert np.array_equal(batch.inputs["x"][:, 3], second[7])


@pytest.mark.usefixtures("small_blocks")
def test_rows_that_lie_class_by_class_are_mixed(mapped: Examples) -> None:
    shares = []
    for rows in epoch_of(loader(mapped), 0):
        counts = np.bincount(mapped.arrays["y"][rows], minlength=CLASSES)
        shares.append(counts)
        assert (counts > 0).sum() >= 6, "a batch of rows drawn at random has nearly all ten"
    table = np.array(shares)
    # Drawn at random, the number of a class in a batch has a deviation of 2.1 around 5.
    assert table.std(axis=0).mean() < 3.5
    far = np.abs(np.diff(np.concatenate(epoch_of(loader(mapped), 0))))
    assert np.median(far) > ROWS / 10, "what comes next lies elsewhere"


@pytest.mark.usefixtures("small_blocks")
def test_a_stretch_is_read_as_a_whole_before_its_first_batch(mapped: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[Array] = []
    monkeypatch.setattr(Examples, "expect", lambda self, names, rows: expected.append(rows))
    source = loader(mapped)
    for start in (0, 37, source.steps - 1):
        expected.clear()
        known: set[int] = set()
        for _, batch in itertools.islice(source.batches(start), source.steps - start):
            known = known.union(*(rows.tolist() for rows in expected))
            assert known.issuperset(batch.rows.tolist())
        assert all(len(rows) <= 64 * 10 for rows in expected)
        assert all((np.diff(np.sort(rows)) > 1).sum() < 64 for rows in expected), "blocks of neighbours"
        if start == 0:
            assert len(expected) == 10
            assert sum(map(len, expected)) == ROWS


@pytest.mark.usefixtures("small_blocks")
def test_blocks_with_lengths_and_chances(mapped: Examples) -> None:
    lengths = (1 + np.arange(ROWS) % 40).astype(np.int32)
    batches = epoch_of(loader(mapped, lengths=lengths), 0)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(ROWS))
    assert np.mean([np.ptp(lengths[rows]) for rows in batches]) < 10, "rows of like lengths"
    rare = np.where(np.arange(ROWS) < 60, 50.0, 1.0)
    source = loader(mapped, sampling=rare / rare.sum())
    drawn = np.concatenate(epoch_of(source, 0))
    assert len(drawn) == ROWS
    assert 0.25 < (drawn < 60).mean() < 0.42, "a third of the chances"


def test_few_rows_make_one_stretch(mapped: Examples) -> None:
    source = loader(mapped, np.arange(7))
    assert sorted(set(next(source.batches())[1].rows.tolist())) == list(range(7))
    assert len(epoch_of(loader(mapped), 0)) == ROWS // BATCH


def test_what_is_expected_is_read_in_order_and_in_pieces(mapped: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    array = mapped.arrays["x"]
    fake = SimpleNamespace(madvise=lambda how, start, length: asked.append((start, start + length)))
    monkeypatch.setattr(array, "_mmap", fake)
    mapped.expect(["x", "y"], np.array([5999, 3, 4, 3, 5998]))
    assert [(start % mmap.PAGESIZE, end > start) for start, end in asked] == [(0, True)] * len(asked)
    assert asked == sorted(asked)
    covered = set(itertools.chain(*(range(start, end) for start, end in asked)))
    for row in (3, 4, 5998, 5999):
        assert covered.issuperset(range(128 + row * 128, 128 + (row + 1) * 128))
    assert max(covered) < 128 + ROWS * 128
    assert len(covered) < 20_000, "what lies between is left out"
    monkeypatch.undo()
    mapped.expect(["x"], np.arange(ROWS))
    mapped.expect(["x"], np.arange(0))


def test_the_plan_says_when_memory_does_not_hold_the_rows(mapped: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    split = SimpleNamespace(train=np.arange(5000))
    prepared = cast(Prepared, SimpleNamespace(examples=mapped, encoders={"x": None}, tasks={"y": None}, split=split))
    for free, how in ((math.inf, "rows"), (2 * 5000 * 128, "rows"), (2 * 5000 * 128 - 2, "blocks")):
        monkeypatch.setattr(hardware, "free_memory", lambda free=free: free)
        plan = shuffled(Plan(), prepared)
        assert plan.training.shuffle == how
        assert ("training.shuffle" in plan.reasons) == (how == "blocks")
    assert Plan().with_set(["training.shuffle=blocks"]).training.shuffle == "blocks"
