"""What is left of the pace where something else keeps one core busy?

    python -m bench busy --data DATA [--rounds 5] [--seconds 20]

The whole loop on pictures (fashion-mnist-small) in a process of its own, in turn on the quiet machine and beside a
process that does nothing but compute.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import _machine

if TYPE_CHECKING:
    from collections.abc import Iterator

WANTED = 0.4


def compute() -> None:
    """Keep a core busy."""
    while True:
        sum(range(1000))


@contextmanager
def busy() -> Iterator[None]:
    """One process that computes, for as long as the block runs."""
    process = multiprocessing.Process(target=compute, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def pace(data: Path, seconds: float) -> float:
    """Examples a second of `lamina train`'s loop, from its log."""
    with tempfile.TemporaryDirectory(prefix="lamina-bench-") as place:
        run = Path(place) / "run"
        command = [sys.executable, "-m", "lamina", "train", str(data), "--out", str(run), "--quiet"]
        sets = ["training.epochs=1000", "network.width=32", "schedule.name=constant"]
        subprocess.run(
            [*command, "--budget", f"{seconds + 60:.0f}s", "--set", *sets], check=True, capture_output=True
        )  # fmt: skip
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    paces = [entry["examples_per_second"] for entry in log if entry["kind"] == "train"]
    return statistics.median(paces[len(paces) // 4 :])


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows = [(name, _machine.around(found[name], ".0f")) for name in ("quiet", "one core busy")]
    text = _machine.markdown(("the machine is", "examples a second"), rows)
    return f"{text}\n\n{found['share']:.0%} of the quiet pace are left; wanted: at least {found['wanted']:.0%}."


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench busy", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args(words)
    data = arguments.data.resolve() / "fashion-mnist-small"
    values: dict[str, list[float]] = {"quiet": [], "one core busy": []}
    for _ in range(arguments.rounds):
        values["quiet"].append(pace(data, arguments.seconds))
        with busy():
            values["one core busy"].append(pace(data, arguments.seconds))
        print({name: [round(value) for value in part] for name, part in values.items()}, flush=True)
    spreads = {name: _machine.spread(part) for name, part in values.items()}
    share = spreads["one core busy"]["median"] / spreads["quiet"]["median"]
    print(_machine.keep("busy", {**spreads, "share": share, "wanted": WANTED}))
    return 0
