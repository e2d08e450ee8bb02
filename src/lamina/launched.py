"""Which of several processes this is, as a launcher such as torchrun tells it. Imports nothing heavy."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lamina.errors import InputError


@dataclass(frozen=True)
class Place:
    """Which of several processes this is.

    Attributes:
        rank: among all; 0 leads.
        size: how many there are.
        local: among those on this machine.
        beside: how many there are on this machine.
    """

    rank: int
    size: int
    local: int
    beside: int

    def share(self, count: int) -> slice:
        """Which of `count` rows of a batch are this process's."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)


def place() -> Place | None:
    """As a launcher tells it (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE); None for a process that is alone.

    Raises:
        InputError: it tells of several processes, but not which one this is, or where they meet.
    """
    size = _number("WORLD_SIZE", 1)
    if size <= 1:
        return None
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise InputError(
            f"This is one of {size} processes (WORLD_SIZE), but {', '.join(missing)} is not set.",
            where="the environment",
            fix="Start them with a launcher: torchrun --nproc-per-node 2 -m lamina train ...; where WORLD_SIZE is left "
            "from something else: unset WORLD_SIZE",
        )
    found = Place(_number("RANK", 0), size, _number("LOCAL_RANK", 0), max(_number("LOCAL_WORLD_SIZE", 1), 1))
    if not 0 <= found.rank < size:
        raise InputError(f"RANK is {found.rank} of {size} processes.", where="the environment", fix="See the launcher.")
    return found


def _number(name: str, without: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else without
