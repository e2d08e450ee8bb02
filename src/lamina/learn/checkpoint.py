"""A run's state in safetensors files: tensors as tensors, everything else as JSON. No pickle.

What a state holds as a `Block` (much, and never changed again) goes to disk once, into a file of its own; the
checkpoints from then on name it by the digest of its bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save, save_file
from torch import Tensor

from lamina.errors import InputError
from lamina.files import replacing, write_bytes

VERSION = "2"
"""Version 1 knew no blocks; it can be read."""
BLOCKS = "blocks"
"""The folder of the blocks, beside the checkpoints."""
DIGEST = 32
"""Bytes of a block's digest (BLAKE2b), of which its name is made: no name leads out of the folder."""
NAME = re.compile(rf"[0-9a-f]{{{2 * DIGEST}}}\.safetensors")


@dataclass(frozen=True)
class Block:
    """A part of a state that is the same in every state of the run that has one at its place.

    Attributes:
        tensors: gives its tensors by name; asked for only where they are written or put to use.
    """

    tensors: Callable[[], Mapping[str, Tensor]]


def pack(
    state: Mapping[str, Any],
    keep: Callable[[str, Block], str] | None = None,
    copy: Callable[[Tensor], Tensor] = Tensor.clone,
) -> tuple[dict[str, Tensor], str]:
    """Nested dicts and lists with tensors at the leaves: (the tensors by path, the rest as JSON).

    Args:
        keep: from a block's path and the block to the name by which it is found again; without, blocks are packed too.
        copy: what is packed of a tensor that lies in one piece in the CPU's memory; by default a copy, which later
            changes of the state do not reach.
    """
    tensors: dict[str, Tensor] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            tensors[path] = copy(value.detach().cpu().contiguous())
            return {"$tensor": path}
        if isinstance(value, Block):
            return {"$block": keep(path, value) if keep else walk(value.tensors(), path)}
        if isinstance(value, Mapping):
            # Optimizers number their parameters: JSON has text keys only, so remember which were numbers.
            return {
                "$map": [[key, walk(part, f"{path}/{key}")] for key, part in value.items()],
            }
        if isinstance(value, list | tuple):
            return [walk(part, f"{path}/{number}") for number, part in enumerate(value)]
        return value

    return tensors, json.dumps(walk(state, ""))


def unpack(
    tensors: Mapping[str, Tensor], document: str, find: Callable[[str, str], Block] | None = None
) -> dict[str, Any]:
    """The inverse of `pack` (tuples come back as lists).

    Args:
        find: from a block's path and name to the block.
    """

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            if "$tensor" in value:
                return tensors[value["$tensor"]]
            if "$block" in value:
                if isinstance(value["$block"], str) and find:
                    return find(path, value["$block"])
                inside = walk(value["$block"], path)
                return Block(lambda: inside)
            return {key: walk(part, f"{path}/{key}") for key, part in value["$map"]}
        if isinstance(value, list):
            return [walk(part, f"{path}/{number}") for number, part in enumerate(value)]
        return value

    result = walk(json.loads(document), "")
    assert isinstance(result, dict)
    return result


def write(path: Path, state: Mapping[str, Any], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Write `state` beside, sync, rename; before it, in the same way, the blocks that are not on disk yet.

    Args:
        known: names of the blocks that are there, by their paths in the state.

    Returns:
        The names of all blocks of the state, by their paths.
    """
    folder, names = path.parent / BLOCKS, dict[str, str]()

    def keep(place: str, block: Block) -> str:
        name = (known or {}).get(place)
        names[place] = name if name and (folder / name).is_file() else _written(folder, block)
        return names[place]

    # No copies: a state can take a good part of the memory.
    tensors, document = pack(state, keep, _Apart())
    with replacing(path) as beside:
        beside.touch()
        usual = beside.stat().st_mode
        try:
            save_file(tensors, beside, metadata={"lamina": VERSION, "state": document})
        except SafetensorError as error:
            # Its text is all that is left of the operating system's error.
            code = int(found[1]) if (found := re.search(r"os error (\d+)", str(error))) else errno.EIO
            raise OSError(code, os.strerror(code)) from error
        # The library puts a file of its own there, which none but its owner may read.
        beside.chmod(usual)
    return names


class NewerError(Exception):
    """A state that a newer Lamina has written."""


class _Apart:
    """Gives tensors as they are, but a copy of what shares memory with one before or is a part of something larger:
    a file of tensors cannot say so."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        whole = memory.nbytes() == tensor.nbytes and memory.data_ptr() not in self._seen
        self._seen.add(memory.data_ptr())
        return tensor if whole else tensor.clone()


def _written(folder: Path, block: Block) -> str:
    """The name under which the block now lies in the folder."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in block.tensors().items()})
    name = f"{hashlib.blake2b(content, digest_size=DIGEST).hexdigest()}.safetensors"
    folder.mkdir(exist_ok=True)
    write_bytes(folder / name, content)
    return name


def to_bytes(state: Mapping[str, Any]) -> bytes:
    """A state as one piece, as it goes to another process."""
    tensors, document = pack(state)
    return save(tensors, {"lamina": VERSION, "state": document})


def from_bytes(content: bytes, find: Callable[[str, str], Block] | None = None) -> dict[str, Any]:
    """The inverse of `to_bytes`.

    Args:
        find: as in `unpack`.

    Raises:
        SafetensorError, KeyError, ValueError: it is damaged.
        NewerError: it is from a newer Lamina.
    """
    tensors = load(content)
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    if int(metadata["lamina"]) > int(VERSION):
        raise NewerError
    return unpack(tensors, metadata["state"], find)


def read(path: Path) -> dict[str, Any]:
    """Read what `write` wrote.

    Raises:
        InputError: the file or one of its blocks is missing, damaged, or from a newer Lamina.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """(The state, the names of its blocks by their paths)."""
    names: dict[str, str] = {}

    def find(place: str, name: str) -> Block:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a block")
        file = path.parent / BLOCKS / name
        _check(file)
        names[place] = name
        return Block(partial(_loaded, file))

    try:
        return from_bytes(path.read_bytes(), find), names
    except NewerError:
        raise InputError(f"{path.name} is from a newer Lamina.", where=str(path), fix="Update Lamina.") from None
    except FileNotFoundError:
        raise InputError(f"There is no checkpoint at {path}.", fix="Start the run again with `lamina train`.") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"The checkpoint {path.name} is damaged: {error}.",
            where=str(path.parent),
            fix="Delete it; `lamina resume` then takes the one before it.",
        ) from None


def _check(file: Path) -> None:
    """Raises ValueError where a block is missing or not what was written."""
    try:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, partial(hashlib.blake2b, digest_size=DIGEST))
    except OSError as error:
        raise ValueError(f"its part {BLOCKS}/{file.name} cannot be read ({error.strerror})") from None
    if digest.hexdigest() != file.stem:
        raise ValueError(f"its part {BLOCKS}/{file.name} has other bytes than were written")


def _loaded(file: Path) -> dict[str, Tensor]:
    return load(file.read_bytes())


class Checkpoints:
    """The newest two checkpoints of a run in a folder, and the blocks that they name.

    A process that is killed at any moment leaves the last checkpoint whole: blocks are on disk before a checkpoint
    names them, and none is deleted before the checkpoints that name it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last: tuple[Path, dict[str, str]] | None = None

    def newest(self) -> dict[str, Any] | None:
        """The newest state that can be read, or None; a damaged one is passed over for the one before it."""
        for file in sorted(self.folder.glob("*.safetensors"), reverse=True):
            try:
                state, names = _read(file)
            except InputError:
                continue
            self._last = file, names
            return state
        return None

    def write(self, step: int, state: Mapping[str, Any]) -> None:
        """Keep the state after `step` steps and the one that was written or read before it, and no others."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before, known = self._last or (None, {})
        file = self.folder / f"{step:09d}.safetensors"
        names = write(file, state, known)
        self._last = file, names
        # What a killed process has left half written goes as well.
        for other in self.folder.iterdir():
            if other not in (file, before) and other.is_file():
                other.unlink(missing_ok=True)
        named = {*known.values(), *names.values()}
        for block in (self.folder / BLOCKS).glob("*"):
            if block.name not in named:
                block.unlink(missing_ok=True)


def random_state() -> dict[str, Any]:
    """PyTorch's random generators (the only global ones that training draws from)."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
