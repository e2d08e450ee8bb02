"""How soon does training begin, the first and the second time on the same data?

    python -m bench again --data DATA [--rounds 3]

A run with an empty cache, then one with another network on the same data; the seconds of the steps before training, and
of starting Python besides.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import _machine
from bench._run import whole_run

JOBS: dict[str, tuple[str, ...]] = {
    "fashion-mnist-small": (),
    "spam/train.jsonl": ("--test", "{data}/spam/test.jsonl", "--target", "label"),
    "diamonds/train.csv": ("--test", "{data}/diamonds/test.csv", "--target", "price"),
}
STEPS = ("understand", "prepare", "choose")
SHORT = ("--set", "training.epochs=0.01")
CHANGE = "optimizer.weight_decay=0.02"


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows = [
        (name, time, *(_machine.around(part[time][step], ".1f") for step in (*STEPS, "all")))
        for name, part in found.items()
        for time in ("first", "second")
    ]
    return _machine.markdown(("data", "run", *(f"{step}, s" for step in STEPS), "until training, s"), rows)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench again", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(words)
    data, found = arguments.data.resolve(), {}
    for name, job in JOBS.items():
        seconds: dict[str, dict[str, list[float]]] = {
            time: {step: [] for step in (*STEPS, "all")} for time in ("first", "second")
        }
        for _ in range(arguments.rounds):
            folder = Path(tempfile.mkdtemp(prefix="lamina-bench-"))
            options = [word.format(data=data) for word in job] + list(SHORT)
            for time, more in (("first", []), ("second", [CHANGE])):
                run = whole_run(data / name, folder / time, 0, [*options, *more], folder / "cache")
                spent = run["cost"]["seconds"]
                for step in STEPS:
                    seconds[time][step].append(spent[step])
                seconds[time]["all"].append(sum(spent[step] for step in STEPS))
            shutil.rmtree(folder)
        found[name] = {time: {step: _machine.spread(values) for step, values in part.items()}
                       for time, part in seconds.items()}  # fmt: skip
        print(name, {time: round(part["all"]["median"], 1) for time, part in found[name].items()}, flush=True)
    print(_machine.keep("again", found))
    return 0
