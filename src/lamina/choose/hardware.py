"""What the machine offers, by measurement: device, precision, threads, memory."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lamina import cores, launched

GROUP, MACHINE, OWN = Path("/sys/fs/cgroup"), Path("/proc/meminfo"), Path("/proc/self/status")
"""Where Linux tells how much memory the container, the machine and this process have."""


@dataclass(frozen=True)
class Hardware:
    """The machine as training sees it."""

    device: torch.device
    cores: int
    fast_bf16: bool
    description: str


def detect() -> Hardware:
    """Look at the machine: an accelerator if there is one, else the CPU; of several processes here, each has its share
    of the cores, for threads of two on the same core wait for each other."""
    place = launched.place()
    number = max(1, cores.available() // (1 if place is None else place.beside))
    if torch.cuda.is_available():
        fast = torch.cuda.get_device_capability()[0] >= 8
        return Hardware(torch.device("cuda"), number, fast, f"{torch.cuda.get_device_name()}, {number} CPU cores")
    flags = _cpu_flags()
    fast = bool({"amx_bf16", "avx512_bf16"} & flags)
    return Hardware(torch.device("cpu"), number, fast, f"{_cpu_name()}, {number} cores")


def _cpu_flags() -> set[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "CPU"


def seconds_per_call(
    call: Callable[[], object], calls: int = 5, most: float = 3.0, hopeless: float = float("inf"), warm: bool = False
) -> float:
    """The median time of `call`, with all that it asks of an accelerator, after one call to warm up.

    Stops early after `most` seconds, and after the first call that takes longer than `hopeless`.

    Args:
        warm: such calls have just been made: none is needed to warm up.
    """
    if not warm:
        _finish(call)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < calls and time.perf_counter() - begin < most and (not times or times[-1] < hopeless):
        start = time.perf_counter()
        _finish(call)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _finish(call: Callable[[], object]) -> None:
    """Call, and wait until the accelerator has done what was asked: kernels run behind Python's back."""
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def products(precision: Literal["high", "highest"]) -> Iterator[None]:
    """How a GPU multiplies matrices of fp32 numbers in here: "high" in TF32, with 10 bits of each number's fraction and
    a sum in fp32, many times as fast on tensor cores; "highest" with all 23. Nothing changes without a GPU."""
    if not torch.cuda.is_available():
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def own_memory() -> int:
    """Bytes that this process holds for itself, files that are mapped left out; 0 where the system does not tell."""
    return _kibibytes(OWN, "RssAnon") or 0


def free_memory() -> float:
    """Bytes that may still be taken, of the machine's and its container's (Linux control groups, version 2); infinite
    where the system does not tell. What is kept of files counts as free: it is given up where it is needed."""
    free = _kibibytes(MACHINE, "MemAvailable")
    return min(math.inf if free is None else float(free), _left_by_container())


def _left_by_container() -> float:
    try:
        most = int((GROUP / "memory.max").read_text())
    except (OSError, ValueError):
        return math.inf
    try:
        taken = int((GROUP / "memory.current").read_text())
        kept = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
        files = int(kept.get("active_file", 0)) + int(kept["inactive_file"])
    except (OSError, ValueError, KeyError):
        return most
    return max(most - max(taken - files, 0), 0)


def _kibibytes(file: Path, name: str) -> int | None:
    """Bytes of an entry that is told in KiB; None where there is none."""
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        return 1024 * int(lines[name].split()[0])
    except (OSError, ValueError, KeyError):
        return None


def forget_peak(device: torch.device) -> None:
    """What `peak_share` tells begins here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_share(device: torch.device) -> float:
    """The share of a GPU's memory, as far as others leave it to us, that tensors have taken at most."""
    if device.type != "cuda":
        return 0.0
    there_is = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return torch.cuda.max_memory_allocated(device) / max(there_is, 1)


def compiler_error(error: BaseException) -> bool:
    """Is it torch.compile that failed, for want of a C++ compiler for instance, rather than the network?"""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"TorchDynamoException", "InductorError", "BackendCompilerFailed"})


def best_threads(
    call: Callable[[], object], cores: int, again: Callable[[], object] = lambda: None
) -> tuple[int, dict[int, float]]:
    """The number of threads with which `call` is fastest: (threads, seconds by number tried).

    On a busy machine two threads that wait for each other can be many times slower than one, so this is
    measured rather than assumed; several must win over one by 2%.

    Args:
        again: called before each number is tried, so that all are tried on the same.
    """
    tried: dict[int, float] = {}
    number = 1
    while number <= cores:
        torch.set_num_threads(number)
        hopeless = 1.5 * min(tried.values()) if tried else float("inf")
        again()
        tried[number] = seconds_per_call(call, hopeless=hopeless)
        number = cores if number < cores < number * 2 else number * 2
    best = preferred(tried)
    torch.set_num_threads(best)
    return best, tried


def preferred(tried: Mapping[int, float]) -> int:
    """The best number of threads, by seconds or multiples of them; several must win over one by 2%."""
    return min(tried, key=lambda threads: tried[threads] * (1 + 0.02 * (threads > 1)))
