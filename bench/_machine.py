"""The machine and the versions behind a result, and how results are kept."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "onnxruntime", "numpy", "polars", "lightgbm", "scikit-learn")


def description() -> dict[str, Any]:
    """Processor, cores, memory, versions, load."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "cores used": len(os.sched_getaffinity(0)),
        "vector instructions": [flag for flag in known if f" {flag}" in flags],
        "python": platform.python_version(),
        "load before": os.getloadavg()[0],
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "date": time.strftime("%Y-%m-%d"),
    }


def spread(values: list[float]) -> dict[str, float]:
    """n, median, least and most."""
    return {"n": len(values), "median": statistics.median(values), "least": min(values), "most": max(values)}


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table for docs/benchmarks.md."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def around(found: Mapping[str, float], form: str = ".4g") -> str:
    """A spread as text: median (least to most)."""
    return f"{found['median']:{form}} ({found['least']:{form}} to {found['most']:{form}})"


def keep(name: str, document: dict[str, Any]) -> Path:
    """Write a result with the machine's description to bench/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": description(), **document}, indent=1) + "\n")
    return path


def kept(name: str) -> dict[str, Any]:
    """A result that was kept, or {}."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def before(earlier: Mapping[str, Any]) -> dict[str, Any]:
    """For a result to which an earlier one's runs belong: the machines of those."""
    return {"earlier machines": [earlier["machine"], *earlier.get("earlier machines", [])]} if earlier else {}
