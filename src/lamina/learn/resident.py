"""Encoded examples in an accelerator's own memory: each batch is gathered where it is used, and nothing else moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamina.data.examples import Examples, blocks

SHARE = 0.25
"""Of the memory that is free once the network is there; the rest is for activations."""
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
"""What PyTorch gathers on every device."""


@dataclass(frozen=True)
class Resident:
    """Arrays of all rows, on a device.

    Attributes:
        device: where they are.
        arrays: by field or target name, [row, ...].
    """

    device: torch.device
    arrays: Mapping[str, Tensor]

    def take(self, names: Sequence[str], rows: Tensor, widths: Mapping[str, int]) -> dict[str, Tensor]:
        """The named arrays at `rows`, int64 on the device: [len(rows), ...] each.

        Args:
            widths: how much of the second axis is wanted, by name, where not all of it.
        """
        found = {}
        for name in names:
            array = self.arrays[name]
            width = widths.get(name)
            found[name] = (array if width is None else array[:, :width]).index_select(0, rows)
        return found


def resident(examples: Examples, names: Sequence[str], device: torch.device, most: float) -> Resident | None:
    """The named arrays on the device; None where they would take more than `most` bytes of it, or cannot lie there."""
    arrays = {name: examples.arrays[name] for name in names}
    if sum(array.nbytes for array in arrays.values()) > most:
        return None
    if any(array.dtype.name not in DTYPES for array in arrays.values()):
        return None
    return Resident(device, {name: _moved(array, device) for name, array in arrays.items()})


def free_bytes(device: torch.device) -> float:
    """Of the device's memory; 0 where that cannot be known."""
    known = device.type == "cuda" and torch.cuda.is_available()
    return float(torch.cuda.mem_get_info(device)[0]) if known else 0.0


def _moved(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], device: torch.device) -> Tensor:
    """A copy in pieces: the whole of a mapped array may be larger than the computer's memory."""
    found = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, device=device)
    for part in blocks(array):
        found[part] = torch.from_numpy(np.array(array[part]))
    return found
