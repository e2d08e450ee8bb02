"""What a run took: memory, and energy measured where the machine counts it, else estimated and called so.

An accelerator's energy is in neither figure.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

CORE_WATTS = 10.0
"""A server core's share of its processor's power at full load, for the estimate."""
MEMORY_WATTS_PER_GIB = 0.375
"""Power of memory in use (the CodeCarbon project's figure: 3 W for 8 GiB)."""
MOST_WATTS = 500.0
"""More than a processor draws: a counter that goes round may have done so unseen after its range at this power."""
COUNTERS = Path("/sys/class/powercap")
WHOLE_BOARD = "psys"


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (1024 if sys.platform != "darwin" else 2**20)


def counters() -> dict[str, int]:
    """The processor's own energy counters (RAPL), in microjoules, where they can be read."""
    return _read("energy_uj")


def ranges() -> dict[str, int]:
    """At how many microjoules each counter begins anew."""
    return _read("max_energy_range_uj")


def _read(entry: str) -> dict[str, int]:
    """Processor to the value of one of its entries."""
    found = {}
    for file in COUNTERS.glob(f"intel-rapl:?/{entry}"):
        try:
            name = file.with_name("name")
            # A laptop's whole board is counted beside its processor, which is part of it.
            if not (name.exists() and name.read_text().strip() == WHOLE_BOARD):
                found[str(file.parent)] = int(file.read_text())
        except (OSError, ValueError):
            continue
    return found


class EnergyMeter:
    """Energy since it was made; `note` is said with it, e.g. that the run had begun before."""

    def __init__(self, note: str = "") -> None:
        self._note = f"; {note}" if note else ""
        self._start = counters()
        self._cpu, self._begin = _cpu_seconds(), time.monotonic()

    def watt_hours(self) -> tuple[float, str]:
        """(watt-hours, how they were found): "measured ..." or "estimated ...", in words."""
        passed = time.monotonic() - self._begin
        joules = self._counted(passed)
        if joules is not None:
            how = "measured by the processors' own counters (RAPL), with all else that ran on them"
            return joules / 3600, how + self._note
        used = _cpu_seconds() - self._cpu
        memory = MEMORY_WATTS_PER_GIB * peak_memory_mb() / 1024
        without = "that last so long" if self._start else "that can be read"
        return (used * CORE_WATTS + passed * memory) / 3600, (
            f"estimated: {used:.0f} core-seconds at {CORE_WATTS:g} W a core and the memory in use; "
            f"this machine has no energy counters {without}{self._note}"
        )

    def _counted(self, passed: float) -> float | None:
        """Joules since the start; None where a counter is not there, or may have gone round more than once."""
        now, whole = counters(), ranges()
        joules = 0.0
        for name, start in self._start.items():
            least = whole.get(name, 0)
            if name not in now or least < passed * MOST_WATTS * 1e6:
                return None
            joules += (now[name] - start if now[name] >= start else now[name] - start + least) / 1e6
        return joules if self._start else None


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
