"""What goes between this process and a worker: JSON, and arrays as plain bytes behind it. No pickle, so no code.

Pipes carry it. Shared memory would spare a copy or two of each observation, which takes 0.04 ms for a picture of
100 kB: little beside the steps that worker processes are for, and pipes are emptied, closed and noticed to be closed by
the system alone, whichever side dies.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from lamina.environments import Array

SIZES = struct.Struct("<QQ")
"""Bytes of the JSON, and of the arrays."""


def encoded(value: Any) -> bytes:
    """A message: numbers, texts, arrays, and mappings, lists and tuples of such; what else is there as an array.

    Raises:
        TypeError: something is none of these.
    """
    arrays: list[Array] = []
    tree = _packed(value, arrays)
    kinds = [[array.dtype.str, list(array.shape)] for array in arrays]
    head = json.dumps([tree, kinds]).encode()
    body = [array.tobytes() for array in arrays]
    return b"".join([SIZES.pack(len(head), sum(map(len, body))), head, *body])


def write(descriptor: int, message: bytes) -> None:
    """All of it, without a buffer that would have to be emptied when the pipe is closed.

    Raises:
        BrokenPipeError: the other side has closed the pipe.
    """
    left = memoryview(message)
    while left:
        left = left[os.write(descriptor, left) :]


def read(source: BinaryIO) -> Any:
    """The next message; its arrays cannot be written to.

    Raises:
        EOFError: the other side has closed the pipe.
    """
    head, body = SIZES.unpack(_exactly(source, SIZES.size))
    tree, kinds = json.loads(_exactly(source, head))
    data, arrays, begin = _exactly(source, body), [], 0
    for kind, shape in kinds:
        array: Array = np.ndarray(tuple(shape), np.dtype(kind), data, begin)
        arrays.append(array)
        begin += array.nbytes
    return _unpacked(tree, arrays)


def _exactly(source: BinaryIO, size: int) -> bytes:
    found = source.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _packed(value: Any, arrays: list[Array]) -> Any:
    """As JSON: a plain value as itself, anything else as [what it is, its content]."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        # Parts of observations are called by their keys as texts everywhere.
        return ["mapping", [[str(key), _packed(part, arrays)] for key, part in value.items()]]
    if isinstance(value, list | tuple):
        return ["list" if isinstance(value, list) else "tuple", [_packed(part, arrays) for part in value]]
    array = np.asarray(value)
    if array.dtype.hasobject:
        if not array.ndim:
            raise TypeError(f"{type(value).__name__} is neither a number nor an array")
        return _packed(array.tolist(), arrays)
    arrays.append(array)
    # A number of NumPy is told from an array of no axes, for it can be a key.
    return ["number" if isinstance(value, np.generic) else "array", len(arrays) - 1]


def _unpacked(tree: Any, arrays: list[Array]) -> Any:
    if not isinstance(tree, list):
        return tree
    kind, content = tree
    if kind == "mapping":
        return {key: _unpacked(part, arrays) for key, part in content}
    if kind in ("list", "tuple"):
        parts = [_unpacked(part, arrays) for part in content]
        return parts if kind == "list" else tuple(parts)
    return arrays[content][()] if kind == "number" else arrays[content]
