"""Answers too large for memory lie on disk, and are computed with a part at a time."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lamina.data import examples
from lamina.data.examples import at, blocks, known_targets, room
from lamina.errors import InputError
from lamina.steps import baselines
from lamina.steps.learner import told


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is over a kilobyte is large, and parts have 256 bytes."""
    monkeypatch.setattr(examples, "IN_MEMORY", 1024)
    monkeypatch.setattr(examples, "BLOCK", 256)
    monkeypatch.setattr(baselines, "IN_MEMORY", 1024)
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("small")
def test_large_arrays_lie_on_disk_and_leave_nothing(tmp_path: Path) -> None:
    assert not isinstance(room((16, 16)), np.memmap)
    large = room((17, 16))
    assert isinstance(large, np.memmap)
    assert not large.any()
    large[3] = 7
    assert large[3].tolist() == [7] * 16
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("small")
def test_rows_of_large_arrays_stay_on_disk() -> None:
    large = room((40, 16))
    large[:] = np.arange(40)[:, None]
    assert at(large, np.ones(40, bool)) is large
    assert at(large, np.arange(40)) is large
    some = at(large, np.arange(40) % 2 == 0)
    assert isinstance(some, np.memmap)
    np.testing.assert_array_equal(some[:, 5], np.arange(0, 40, 2))
    few = np.arange(40)
    np.testing.assert_array_equal(at(few, np.array([3, 1])), [3, 1])
    parts = list(blocks(large))
    assert [part.stop - part.start for part in parts] == [4] * 10
    assert list(blocks(large, 5)) == [slice(0, 4), slice(4, 5)]
    assert list(blocks(large[:0])) == []


@pytest.mark.usefixtures("small")
def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="no room") as raised:
        room((1000, 1000))
    assert "LAMINA_CACHE" in (raised.value.fix or "")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("width", [3, 100])
def test_kept_answers_are_read_as_numpy_wrote_them(width: int, tmp_path: Path) -> None:
    """Small ones to the bit, large ones in half precision."""
    array = np.random.default_rng(0).normal(size=(20, width)).astype(np.float32)
    with zipfile.ZipFile(tmp_path / "kept.npz", "w") as archive:
        baselines._put(archive, "a/b.npy", array)
    with np.load(tmp_path / "kept.npz") as kept:
        wanted = kept["a/b"]
    with zipfile.ZipFile(tmp_path / "kept.npz") as archive:
        found = baselines._array(archive, "a/b.npy")
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(found, array, rtol=0 if width == 3 else 1e-3, atol=0 if width == 3 else 1e-3)


def test_a_target_is_known_if_any_part_of_it_is() -> None:
    steps = np.array([[3, -1, -1], [-1, -1, -1], [0, 1, 2]], np.int32)
    assert known_targets(steps).tolist() == [True, False, True]
    assert told(torch.from_numpy(steps))[1].tolist() == [True, False, True]
    boxes = np.full((2, 4, 5), np.nan, np.float32)
    boxes[1, 0] = 1
    assert known_targets(boxes).tolist() == [False, True]
    assert told(torch.from_numpy(boxes))[1].tolist() == [False, True]
    assert known_targets(np.zeros((3, 2, 2), np.uint8)).tolist() == [True] * 3
    assert known_targets(np.array([1.0, np.nan], np.float32)).tolist() == [True, False]
    assert known_targets(np.array([-1, 0])).tolist() == [False, True]
