"""Encoding into arrays on disk: what was interrupted is gone on with, what is damaged is done anew."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.data import encoding, origin
from lamina.data.examples import COMPLETE, LEFT_ALONE, Examples, trim_cache
from lamina.data.schema import Field, Values
from lamina.errors import InputError
from lamina.modalities import Encoded

ROWS = 5000


class Numbers:
    """A table of one column with the numbers of its rows; counts what was asked for."""

    columns = ("x",)
    root = None

    def __init__(self, fingerprint: str = "a") -> None:
        self.fingerprint = fingerprint
        self.given: list[int] = []

    def __len__(self) -> int:
        return ROWS

    def chunks(
        self, rows: np.ndarray[Any, Any] | None = None, columns: Sequence[str] | None = None, size: int = 4096
    ) -> Iterator[tuple[np.ndarray[Any, Any], dict[str, Values]]]:
        rows = np.arange(ROWS) if rows is None else rows
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            self.given += part.tolist()
            yield part, {"x": part.astype(object)}


class Squares:
    """Row 7 and row 4,500 cannot be encoded."""

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        errors = {place: "an odd one" for place, value in enumerate(values) if value in (7, 4500)}
        return Encoded(np.array([[value, value**2] for value in values], np.int64), errors)

    def state(self) -> dict[str, Any]:
        return {}


PARTS: encoding.Parts = {"x": (Field("x", "number", "input", ("x",), ""), Squares())}


def build(
    folder: Path, table: Numbers | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> Examples:
    return encoding.encode(table or Numbers(), PARTS, folder, progress)


def right(found: Examples) -> None:
    assert np.array_equal(found.arrays["x"], np.stack([np.arange(ROWS), np.arange(ROWS) ** 2], axis=1))
    assert found.errors == {7: "x: an odd one", 4500: "x: an odd one"}


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, after: int = 3000) -> Path:
    """A build that Ctrl-C ended after so many rows; what it left."""
    monkeypatch.setattr(encoding, "SAVE_SECONDS", 0.0)

    def stop(done: int, total: int) -> None:
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(folder, progress=stop)
    (left,) = folder.glob(".*.part")
    return left


def dead(left: Path) -> Path:
    """The same folder as a process that is no more left it."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return left.rename(left.with_name(left.name.replace(f".{os.getpid()}.", f".{gone.pid}.")))


def test_all_rows_once_and_none_again(tmp_path: Path) -> None:
    table = Numbers()
    right(build(tmp_path, table))
    assert table.given == list(range(ROWS))
    again = Numbers()
    right(build(tmp_path, again))
    assert again.given == []
    assert not list(tmp_path.glob(".*")), "nothing is left beside"


@pytest.mark.parametrize("process", ["the same", "another"])
def test_an_interrupted_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: str) -> None:
    left = interrupted(tmp_path, monkeypatch)
    if process == "another":
        dead(left)
    table = Numbers()
    right(build(tmp_path, table))
    assert table.given == list(range(3072, ROWS))
    assert not list(tmp_path.glob(".*"))


def test_another_process_at_work_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = interrupted(tmp_path, monkeypatch)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        theirs = left.rename(left.with_name(left.name.replace(f".{os.getpid()}.", f".{other.pid}.")))
        table = Numbers()
        right(build(tmp_path, table))
        assert other.stdin is not None
        other.stdin.close()
    assert len(table.given) == ROWS
    assert theirs.is_dir()


@pytest.mark.parametrize("damage", ["no array", "short array", "no progress", "half a progress", "odd progress"])
def test_a_damaged_build_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    left = interrupted(tmp_path, monkeypatch)
    array, progress = left / "0.npy", left / encoding.PROGRESS
    if damage == "no array":
        array.unlink()
    elif damage == "short array":
        np.save(array, np.zeros((3, 2), np.int64))
    elif damage == "no progress":
        progress.unlink()
    elif damage == "half a progress":
        progress.write_text(progress.read_text()[:10])
    else:
        progress.write_text(json.dumps([1]))
    table = Numbers()
    right(build(tmp_path, table))
    assert len(table.given) == ROWS


@pytest.mark.parametrize("moment", ["while this one encodes", "while this one puts its own there"])
def test_what_another_process_has_built_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    right(build(tmp_path / "theirs"))
    (theirs,) = (tmp_path / "theirs").iterdir()
    here = tmp_path / "here"

    def finish() -> None:
        if not (here / theirs.name).exists():
            shutil.copytree(theirs, here / theirs.name)

    if moment == "while this one encodes":
        found = build(here, progress=lambda done, total: finish())
    else:
        removed = shutil.rmtree

        def remove(place: Path, **options: Any) -> None:
            removed(place, **options)
            finish()

        monkeypatch.setattr(shutil, "rmtree", remove)
        found = build(here)
    right(found)
    assert (here / theirs.name / "0.npy").stat().st_mtime_ns == (theirs / "0.npy").stat().st_mtime_ns
    assert not list(here.glob(".*"))


def test_other_data_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = interrupted(tmp_path, monkeypatch)
    table = Numbers("b")
    right(build(tmp_path, table))
    assert len(table.given) == ROWS
    assert left.is_dir()


@pytest.mark.parametrize("what", ["code", "library"])
def test_other_code_and_other_libraries_make_another_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    right(build(tmp_path))
    if what == "code":
        monkeypatch.setattr(origin, "code", lambda *parts: "another")
    else:
        monkeypatch.setattr(origin, "versions", lambda libraries: ["99.0"])
    table = Numbers()
    right(build(tmp_path, table))
    assert len(table.given) == ROWS


def test_a_digest_of_code_changes_with_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    found = []
    for name, text in (("plan.py", "a"), ("plan.py", "b"), ("data/one.py", "b"), ("data/two.py", "b")):
        (tmp_path / name).write_text(text)
        found.append(origin.code.__wrapped__("plan.py", "data"))
    assert len(set(found)) == 4


def test_what_cannot_be_written_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoding, "_reserve", full)
    with pytest.raises(InputError, match="No space left") as caught:
        build(tmp_path)
    assert "LAMINA_CACHE" in caught.value.fix
    assert not list(tmp_path.glob(".*"))


def test_builds_long_left_alone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = interrupted(tmp_path, monkeypatch)
    new = old.with_name(".new.host.1.part")
    shutil.copytree(old, new)
    long_ago = time.time() - LEFT_ALONE - 60
    os.utime(old, (long_ago, long_ago))
    os.utime(new)
    trim_cache(tmp_path)
    assert new.is_dir()
    assert not old.exists()


def test_the_data_set_in_use_is_kept_however_large(tmp_path: Path) -> None:
    right(build(tmp_path, Numbers("a")))
    (first,) = tmp_path.iterdir()
    os.utime(first / COMPLETE, (1.0, 1.0))
    right(build(tmp_path, Numbers("b")))
    trim_cache(tmp_path, most=1)
    (left,) = tmp_path.iterdir()
    assert left != first


def test_what_vanishes_while_the_cache_is_trimmed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right(build(tmp_path, Numbers("a")))
    ended, removed = tmp_path / ".key.host.1.part", tmp_path / "other" / COMPLETE
    listed = Path.glob

    def glob(folder: Path, pattern: str) -> Iterator[Path]:
        yield from listed(folder, pattern)
        yield removed if pattern.endswith(COMPLETE) else ended

    monkeypatch.setattr(Path, "glob", glob)
    trim_cache(tmp_path, most=1)
