"""Is peak memory flat when the data set grows tenfold on disk?

    python -m bench memory --data DATA

Trains on a table and on a folder of pictures, and on the same data ten times over (rows repeated with a running
number, pictures copied), each in a process of its own, with the same number of steps and the same batch size; compares
the processes' peaks.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import _machine

TIMES = 10
BATCH = "training.batch_size=128"
"""For many rows a larger batch is chosen, which takes memory of its own, whatever the size of the data."""


def table(data: Path, folder: Path, times: int) -> list[str]:
    """diamonds, `times` over; the price is moved by a little so that rows differ."""
    target = folder / f"diamonds-{times}.csv"
    with (data / "diamonds/train.csv").open() as source, target.open("w", newline="") as file:
        reader = csv.DictReader(source)
        writer = csv.DictWriter(file, reader.fieldnames or [])
        writer.writeheader()
        for row in reader:
            for copy in range(times):
                writer.writerow({**row, "table": float(row["table"]) + copy / 1000})
    return [str(target), "--target", "price"]


def pictures(data: Path, folder: Path, times: int) -> list[str]:
    """fashion-mnist-small's pictures, `times` over, as files."""
    for half in ("train", "test"):
        for source in sorted((data / "fashion-mnist-small" / half).glob("*/*.png")):
            for copy in range(times):
                target = folder / f"pictures-{times}" / half / source.parent.name / f"{copy}-{source.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    return [str(folder / f"pictures-{times}")]


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows = [
        (name, *(f"{part[key]:.0f}" for key in ("peak MB", "peak MB, 10 times the data")), f"{part['ratio']:.2f}")
        for name, part in found["results"].items()
    ]
    return _machine.markdown(("data", "peak MB", "with ten times the data", f"ratio ({found['must']})"), rows)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench memory", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args(words)
    found = {}
    for name, make in (("table", table), ("pictures", pictures)):
        peaks = []
        for times in (1, TIMES):
            with tempfile.TemporaryDirectory() as place:
                command = [sys.executable, "-m", "lamina", "train", *make(arguments.data, Path(place), times)]
                command += ["--out", f"{place}/run", "--json", "--quiet", "--set"]
                command += [f"training.epochs={2 / times}", BATCH]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks.append(json.loads(done.stdout)["cost"]["peak_memory_mb"])
        found[name] = {"peak MB": peaks[0], f"peak MB, {TIMES} times the data": peaks[1], "ratio": peaks[1] / peaks[0]}
        print(name, found[name])
    _machine.keep("memory", {"results": found, "must": "ratio at most 1.2"})
    return 0
