"""What do smaller variants of a sealed model save, and what do they lose?

    python -m bench quantize --data DATA [--seeds 3]

Trains whole jobs with several seeds and runs `lamina quantize` on each. Pace is that of the network, on this machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import _machine
from bench._run import whole_run

JOBS: dict[str, tuple[str, ...]] = {
    "fashion-mnist-small": ("--budget", "4m"),
    "movie-sentences/train.csv": ("--test", "{data}/movie-sentences/test.csv", "--target", "score", "--budget", "2m"),
    "credit/train.csv": ("--test", "{data}/credit/test.csv", "--target", "Status", "--budget", "90s"),
}
COLUMNS = ("size", "pace", "same answers", "before", "after")


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows = [
        (
            name,
            kind,
            _machine.around(part["size"], ".0%"),
            _machine.around(part["pace"], ".2f"),
            _machine.around(part["same answers"], ".2%"),
            f"{part['score']} {_machine.around(part['before'])}",
            _machine.around(part["after"]),
        )
        for name, kinds in found.items()
        for kind, part in kinds.items()
    ]
    head = ("data", "kind", "size of the full model", "pace of the full model", "same answers", "full", "smaller")
    return _machine.markdown(head, rows)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench quantize", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args(words)
    data, found = arguments.data.resolve(), dict[str, Any]()
    for name, job in JOBS.items():
        values: dict[str, dict[str, Any]] = {}
        for seed in range(arguments.seeds):
            folder = Path(tempfile.mkdtemp(prefix="lamina-bench-"))
            whole_run(data / name, folder / "run", seed, [word.format(data=data) for word in job])
            command = [sys.executable, "-m", "lamina", "quantize", str(folder / "run"), "--json", "--quiet"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            for variant in json.loads(done.stdout)["variants"]:
                part = values.setdefault(variant["kind"], {column: [] for column in COLUMNS})
                (compared,) = variant["scores"].values()
                part["score"] = compared["score"]
                figures = (
                    variant["size"],
                    variant["pace"],
                    variant["same_answers"],
                    compared["before"],
                    compared["after"],
                )
                for column, value in zip(COLUMNS, figures, strict=True):
                    part[column].append(value)
            shutil.rmtree(folder)
        found[name] = {
            kind: {key: value if key == "score" else _machine.spread(value) for key, value in part.items()}
            for kind, part in values.items()
        }
        print(f"{name}\n{page({name: found[name]})}", flush=True)
    print(_machine.keep("quantize", found))
    return 0
