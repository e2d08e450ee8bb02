"""How many cores we may use: of the process, in the time that its container gives it on them. Imports nothing heavy."""

from __future__ import annotations

import math
import os
from pathlib import Path

TIME_SHARE = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of all cores together in a period, or "max", and the period's microseconds."""


def available() -> int:
    """The cores that this process may use, and no more than OMP_NUM_THREADS where the user has set it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    most = int(asked) if asked.isdecimal() and int(asked) > 0 else cores
    return min(cores, most, _time_share() or cores)


def limited() -> int:
    """As `available`; 0 where these are all that the machine has, which a library then may use as it sees fit."""
    cores = available()
    return cores if cores < (os.cpu_count() or 1) else 0


def _time_share() -> int:
    """The cores whose time a container may take (Linux control groups, version 2), rounded up; 0 for no limit.

    A container for two cores' time sees all the cores of its host; threads on all of them would be stopped together.
    """
    try:
        quota, period = TIME_SHARE.read_text().split()
        return max(math.ceil(int(quota) / int(period)), 1)
    except (OSError, ValueError, ZeroDivisionError):
        return 0
