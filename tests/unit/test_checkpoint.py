"""Blocks are written once, found again, and missed when damaged; a kill at any moment leaves the last checkpoint."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import lamina.files
from lamina.errors import InputError
from lamina.files import CannotWriteError, replacing
from lamina.learn import checkpoint
from lamina.learn.checkpoint import Block, Checkpoints


class KilledError(Exception):
    """In place of kill -9."""


def state(step: int) -> dict[str, Any]:
    """Three blocks, the oldest of which is gone with every second step, and a number."""
    first = step // 2
    blocks = {
        number: Block(lambda number=number: {"x": torch.full((50,), number)}) for number in range(first, first + 3)
    }
    return {"step": step, "memory": {"blocks": blocks, "open": {"x": torch.arange(step)}}}


def same(found: dict[str, Any] | None, step: int) -> bool:
    if found is None:
        return False
    one, other = checkpoint.pack(found), checkpoint.pack(state(step))
    return one[1] == other[1] and all(torch.equal(one[0][name], other[0][name]) for name in other[0])


def files(folder: Path) -> tuple[list[str], list[str]]:
    """The checkpoints, and the blocks."""
    blocks = folder / checkpoint.BLOCKS
    return sorted(file.name for file in folder.iterdir() if file != blocks), sorted(
        file.name for file in blocks.iterdir()
    )


def on_writing(patch: pytest.MonkeyPatch, told: Callable[[Path], None]) -> None:
    """`told` is called before each file is written."""
    real = replacing

    @contextmanager
    def telling(path: Path) -> Iterator[Path]:
        told(path)
        with real(path) as beside:
            yield beside

    for module in (checkpoint, lamina.files):
        patch.setattr(module, "replacing", telling)


def test_blocks_are_written_once_and_kept_while_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, written = Checkpoints(tmp_path), list[Path]()
    on_writing(monkeypatch, written.append)
    for step in range(1, 11):
        kept.write(step, state(step))
        assert same(Checkpoints(tmp_path).newest(), step)
    assert files(tmp_path)[0] == ["000000009.safetensors", "000000010.safetensors"]
    # Those of step 9 are 4 to 6, of step 10 5 to 7; 8 blocks were needed in all.
    assert len(files(tmp_path)[1]) == 4
    assert len(written) == 10 + 8


def test_going_on_writes_no_block_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoints(tmp_path).write(2, state(2))
    before, going_on = files(tmp_path)[1], Checkpoints(tmp_path)
    found = going_on.newest()
    assert found is not None
    monkeypatch.setattr(checkpoint, "_written", None)
    going_on.write(3, {**found, "step": 3})
    assert files(tmp_path)[1] == before


@pytest.mark.parametrize("harm", ["missing", "other bytes", "cut off"])
def test_a_checkpoint_with_a_damaged_block_is_passed_over(tmp_path: Path, harm: str) -> None:
    kept = Checkpoints(tmp_path)
    kept.write(1, state(1))
    old = set(files(tmp_path)[1])
    kept.write(2, state(2))
    (new,) = set(files(tmp_path)[1]) - old
    block = tmp_path / checkpoint.BLOCKS / new
    content = block.read_bytes()
    if harm == "missing":
        block.unlink()
    else:
        block.write_bytes(content[:-1] + b"!" if harm == "other bytes" else content[:100])
    with pytest.raises(InputError, match=f"damaged.*{new}"):
        checkpoint.read(tmp_path / "000000002.safetensors")
    going_on = Checkpoints(tmp_path)
    assert same(going_on.newest(), 1)
    # What cannot be read is no spare: the one that was read is kept instead.
    going_on.write(3, state(3))
    assert files(tmp_path)[0] == ["000000001.safetensors", "000000003.safetensors"]
    assert same(Checkpoints(tmp_path).newest(), 3)


def test_a_block_that_was_deleted_meanwhile_is_written_again(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.write(2, state(2))
    for name in files(tmp_path)[1]:
        (tmp_path / checkpoint.BLOCKS / name).unlink()
    kept.write(3, state(3))
    assert same(Checkpoints(tmp_path).newest(), 3)


def test_a_kill_at_any_moment_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink, left = Path.unlink, 0

    def alive() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KilledError

    def writing(path: Path) -> None:
        if left == 0:
            path.with_name(f".{path.name}.1.part").write_bytes(b"half")
        alive()

    def deleting(path: Path, missing_ok: bool = False) -> None:
        alive()
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        on_writing(patch, writing)
        patch.setattr(Path, "unlink", deleting)
        for moment in range(60):
            folder, whole, left = tmp_path / str(moment), 0, moment
            kept = Checkpoints(folder)
            try:
                for step in range(1, 9):
                    kept.write(step, state(step))
                    whole = step
            except KilledError:
                pass
            going_on = Checkpoints(folder)
            found = going_on.newest()
            reached = 0 if found is None else found["step"]
            # Killed while old files were deleted, the new one counts already.
            assert reached in (whole, whole + 1)
            assert reached == 0 or same(found, reached)
            left = 1000
            going_on.write(reached + 1, state(reached + 1))
            named = {*(going_on._last or (None, {}))[1].values()}
            names = files(folder)
            assert names[0] == [f"{step:09d}.safetensors" for step in (reached, reached + 1) if step]
            assert named <= set(names[1])
            assert not [name for name in names[1] if name.endswith(".part")]
    assert whole == 8, "the last moments must be after the end"


@pytest.mark.parametrize("name", ["../000000001.safetensors", "/etc/passwd", "0" * 64])
def test_a_block_is_looked_for_in_its_folder_only(tmp_path: Path, name: str) -> None:
    file = tmp_path / "000000001.safetensors"
    checkpoint.write(file, state(1))
    document = checkpoint.pack(state(1), lambda place, block: "NAME")[1].replace('"NAME"', json.dumps(name))
    save_file(load_file(file), file, metadata={"lamina": checkpoint.VERSION, "state": document})
    with pytest.raises(InputError, match="damaged"):
        checkpoint.read(file)


def test_a_file_from_a_newer_lamina_says_so(tmp_path: Path) -> None:
    file = tmp_path / "000000001.safetensors"
    save_file({}, file, metadata={"lamina": str(int(checkpoint.VERSION) + 1), "state": "{}"})
    with pytest.raises(InputError, match="newer"):
        checkpoint.read(file)


def test_tensors_that_share_memory_come_back_as_they_were(tmp_path: Path) -> None:
    table = torch.arange(12.0).view(3, 4)
    shared = [table, table.t(), table[1:], table[:, 0], torch.tensor(3), torch.zeros(0), torch.zeros(0, 2)]
    checkpoint.write(tmp_path / "1.safetensors", {"shared": shared})
    for found, expected in zip(checkpoint.read(tmp_path / "1.safetensors")["shared"], shared, strict=True):
        assert torch.equal(found, expected)


def test_a_checkpoint_may_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "1.safetensors", {"x": torch.zeros(3)})
    (tmp_path / "other").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("1.safetensors", "other")]
    assert modes[0] == modes[1]


def test_the_reason_why_it_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "touch", lambda self: os.mkdir(self))
    with pytest.raises(CannotWriteError, match=os.strerror(errno.EISDIR)):
        checkpoint.write(tmp_path / "1.safetensors", {"x": torch.zeros(3)})
