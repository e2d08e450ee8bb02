"""Files appear whole or not at all, whatever ends the writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.files import CannotWriteError, replacing, write_bytes


def broken_off(file: Path, end: type[BaseException]) -> None:
    with replacing(file) as beside:
        beside.write_bytes(b"ne")
        raise end


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError])
def test_what_ends_the_writing_leaves_the_old_file_and_no_half_one(tmp_path: Path, end: type[BaseException]) -> None:
    file = tmp_path / "results.json"
    write_bytes(file, b"old")
    with pytest.raises(end):
        broken_off(file, end)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_place_that_cannot_be_written_names_the_fix(tmp_path: Path) -> None:
    with pytest.raises(CannotWriteError, match=r"Cannot write results\.json") as caught:
        write_bytes(tmp_path / "nowhere" / "results.json", b"new")
    assert "folder" in caught.value.fix
    (tmp_path / "folder").mkdir()
    with pytest.raises(CannotWriteError):
        write_bytes(tmp_path / "folder", b"new")
    assert [place.name for place in tmp_path.iterdir()] == ["folder"]
