"""A run's state in one safetensors file: tensors as tensors, everything else as JSON. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lamina.errors import InputError
from lamina.files import write_bytes

VERSION = "1"


def pack(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Nested dicts and lists with tensors at the leaves: (the tensors by path, the rest as JSON)."""
    tensors: dict[str, Tensor] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            tensors[path] = value.detach().cpu().contiguous().clone()
            return {"$tensor": path}
        if isinstance(value, Mapping):
            # Optimizers number their parameters: JSON has text keys only, so remember which were numbers.
            return {
                "$map": [[key, walk(part, f"{path}/{key}")] for key, part in value.items()],
            }
        if isinstance(value, list | tuple):
            return [walk(part, f"{path}/{number}") for number, part in enumerate(value)]
        return value

    return tensors, json.dumps(walk(state, ""))


def unpack(tensors: Mapping[str, Tensor], document: str) -> dict[str, Any]:
    """The inverse of `pack` (tuples come back as lists)."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if "$tensor" in value:
                return tensors[value["$tensor"]]
            return {key: walk(part) for key, part in value["$map"]}
        if isinstance(value, list):
            return [walk(part) for part in value]
        return value

    result = walk(json.loads(document))
    assert isinstance(result, dict)
    return result


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` beside, sync, rename."""
    tensors, document = pack(state)
    write_bytes(path, save(tensors, metadata={"lamina": VERSION, "state": document}))


def read(path: Path) -> dict[str, Any]:
    """Read what `write` wrote.

    Raises:
        InputError: the file is missing, damaged, or from a newer Lamina.
    """
    try:
        content = path.read_bytes()
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        if int(metadata["lamina"]) > int(VERSION):
            raise InputError(f"{path.name} is from a newer Lamina.", where=str(path), fix="Update Lamina.")
        return unpack(tensors, metadata["state"])
    except FileNotFoundError:
        raise InputError(f"There is no checkpoint at {path}.", fix="Start the run again with `lamina train`.") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"The checkpoint {path.name} is damaged: {error}.",
            where=str(path.parent),
            fix="Delete it; `lamina resume` then takes the one before it.",
        ) from None


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
