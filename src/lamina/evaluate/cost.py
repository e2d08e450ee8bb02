"""What a run took: memory, and energy measured where the machine counts it, else estimated and called so."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

CORE_WATTS = 10.0
"""A server core's share of its processor's power at full load, for the estimate."""
MEMORY_WATTS_PER_GIB = 0.375
"""Power of memory in use (the CodeCarbon project's figure: 3 W for 8 GiB)."""


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (1024 if sys.platform != "darwin" else 2**20)


def counters() -> dict[str, int]:
    """The processor's own energy counters (RAPL), in microjoules, where they can be read."""
    found = {}
    for file in Path("/sys/class/powercap").glob("intel-rapl:?/energy_uj"):
        try:
            found[str(file)] = int(file.read_text())
        except (OSError, ValueError):
            continue
    return found


class EnergyMeter:
    """Energy since it was made."""

    def __init__(self) -> None:
        self._start = counters()
        self._cpu = _cpu_seconds()

    def watt_hours(self) -> tuple[float, str]:
        """(watt-hours, how they were found): "measured ..." or "estimated ...", in words."""
        now = counters()
        joules = [now[name] - start for name, start in self._start.items() if now.get(name, -1) >= start]
        if joules:
            return sum(joules) / 3.6e9, "measured by the processor's own counters (RAPL), the whole machine"
        used = _cpu_seconds() - self._cpu
        watts = CORE_WATTS + MEMORY_WATTS_PER_GIB * peak_memory_mb() / 1024
        return used * watts / 3600, (
            f"estimated: {used:.0f} core-seconds at {CORE_WATTS:g} W a core and the memory in use; "
            "this machine has no readable energy counters"
        )


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
