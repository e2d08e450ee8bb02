"""What does privacy cost?

    python -m bench private --data DATA [--seeds 3]

The prices of diamonds, in the same time without privacy and with a smaller and smaller epsilon (delta as chosen): the
error on the test rows, beside that of always the same answer, and how many rows a second are learned from.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import _machine
from bench._run import whole_run

EPSILONS = (0.0, 8.0, 3.0, 1.0)
"""0: without."""
WORDS = ("--target", "price", "--budget", "2m", "--set", "network.name=mlp")


def measured(data: Path, epsilon: float, seed: int) -> dict[str, float]:
    """The figures of one run."""
    place = Path(tempfile.mkdtemp(prefix="lamina-bench-"))
    words = ("--test", str(data / "test.csv"), *WORDS, *(("--private", str(epsilon)) if epsilon else ()))
    done = whole_run(data / "train.csv", place / "run", seed, words)
    (target,) = json.loads((place / "run" / "results.json").read_text())["targets"]
    shutil.rmtree(place)
    dummy = next(found for found in target["baselines"] if found["name"] == "always the same answer")
    return {
        "root mean squared error": target["scores"]["rmse"]["value"],
        "always the same answer": dummy["scores"]["rmse"]["value"],
        "rows a second": done["cost"]["rows_per_second"],
    }


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows = [(name, *(_machine.around(part) for part in figures.values())) for name, figures in found.items()]
    head = ("epsilon", *next(iter(found.values())))
    return _machine.markdown(head, rows)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench private", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args(words)
    runs: dict[str, list[dict[str, float]]] = {f"{one:g}" if one else "without": [] for one in EPSILONS}
    for seed in range(arguments.seeds):
        for name, epsilon in zip(runs, EPSILONS, strict=True):
            runs[name].append(measured(arguments.data.resolve() / "diamonds", epsilon, seed))
            print(name, runs[name][-1], flush=True)
    print(_machine.keep("private", {
        name: {figure: _machine.spread([run[figure] for run in several]) for figure in several[0]}
        for name, several in runs.items()
    }))  # fmt: skip
    return 0
