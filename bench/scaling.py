"""Do the costs grow no faster than the rows?

    python -m bench scaling --data DATA [--rounds 3]

One epoch on 1,000, 10,000 and 100,000 flights, all else equal; the exponent of a power law is fitted to the seconds of
each step (1: twice the rows take twice the time). What every run needs whatever its rows, such as starting Python, lies
in the seconds too and only lowers the exponent, so that between the two larger sizes is told besides.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars

from bench import _machine
from bench._run import whole_run

SIZES = (1_000, 10_000, 100_000)
STEPS = ("understand", "prepare", "train", "test")
WANTED = 1.05
SETS = (
    "training.epochs=1",
    "training.evaluations=1",
    "training.batch_size=256",
    "training.threads=1",
    "network.members=16",
    "network.width=128",
)
IGNORED = (
    *(f"schema.{name}.role=ignore" for name in ("dep_time", "dep_delay", "arr_time", "air_time")),
    "data.bad_rows=0.1",
)
"""What is known only when the flight is over."""


def flights(data: Path, target: Path, rows: int) -> Path:
    """So many of the flights, evenly drawn over the year."""
    table = polars.read_parquet(data / "flights" / "train.parquet")
    table[np.linspace(0, len(table) - 1, rows).astype(int)].write_parquet(target)
    return target


def exponent(seconds: Mapping[int, float]) -> float:
    """The slope of log seconds over log rows, by least squares."""
    rows, spent = np.log(list(seconds)), np.log([max(value, 1e-3) for value in seconds.values()])
    return float(np.polyfit(rows, spent, 1)[0])


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows = [
        (step, *(f"{part['seconds'][str(size)]:.1f}" for size in SIZES), f"{part['exponent']:.2f}",
         f"{part['exponent of the larger']:.2f}")
        for step, part in found["steps"].items()
    ]  # fmt: skip
    head = ("step", *(f"{size:,} rows, s" for size in SIZES), "exponent", f"from {SIZES[1]:,} rows on")
    return f"{_machine.markdown(head, rows)}\n\nMedians of {found['rounds']} rounds; wanted: at most {found['wanted']}."


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench scaling", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(words)
    spent: dict[int, dict[str, list[float]]] = {size: {step: [] for step in STEPS} for size in SIZES}
    with tempfile.TemporaryDirectory(prefix="lamina-bench-") as place:
        files = {size: flights(arguments.data.resolve(), Path(place) / f"{size}.parquet", size) for size in SIZES}
        for seed, size in itertools.product(range(arguments.rounds), SIZES):
            words = ["--target", "arr_delay", "--set", *SETS, *IGNORED]
            run = whole_run(files[size], Path(place) / f"{size}-{seed}", seed, words)
            for step in STEPS:
                spent[size][step].append(run["cost"]["seconds"][step])
    found = {}
    for step in STEPS:
        seconds = {size: statistics.median(spent[size][step]) for size in SIZES}
        larger = {size: seconds[size] for size in SIZES[1:]}
        found[step] = {
            "seconds": {str(size): value for size, value in seconds.items()},
            "exponent": exponent(seconds),
            "exponent of the larger": exponent(larger),
        }
        print(step, {size: round(value, 1) for size, value in seconds.items()}, round(exponent(seconds), 2), flush=True)
    print(_machine.keep("scaling", {"rounds": arguments.rounds, "wanted": WANTED, "steps": found}))
    return 0
