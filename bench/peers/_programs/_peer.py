"""What every peer's script shares: its arguments, what it tells, how raw files are listed. Standard library and NumPy.

A peer is started as a program of its own, in an environment of its own; it prints a JSON line when its libraries are
loaded and after every pass over the data, and leaves its answers to the test rows in a file. The one who started it
takes the time, counts memory and processor seconds, and scores the answers. With --watched it answers after every pass
as well, and tells how long that took, which is not its time.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Job:
    """What is asked of a peer."""

    data: Path
    epochs: int
    seed: int
    threads: int
    seconds: float
    out: Path
    watched: bool
    passes: int = 0

    def tell(self, **facts: Any) -> None:
        """Print facts as a line of JSON."""
        print(json.dumps(facts), flush=True)

    def epoch(self, examples: int, seconds: float, answer: Callable[[], np.ndarray[Any, Any]]) -> None:
        """Tell of a pass over the data: how many examples in how many seconds of training alone.

        `answer` gives the answers to the test rows, and leaves the network as it was.
        """
        begin, facts = time.perf_counter(), dict[str, Any]()
        if self.watched:
            self.passes += 1
            place = self.out.with_name(f"pass-{self.passes}.npy")
            np.save(place, answer(), allow_pickle=False)
            facts = {"answers": place.name, "answering": time.perf_counter() - begin}
        self.tell(examples=examples, seconds=seconds, **facts)


class Watch:
    """Seconds since it was last asked."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def __call__(self) -> float:
        now = time.perf_counter()
        passed, self.last = now - self.last, now
        return passed


def serve(work: Callable[[Job], np.ndarray[Any, Any]]) -> None:
    """Read the arguments, do the work, keep the answers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--watched", action="store_true")
    asked = parser.parse_args()
    job = Job(asked.data, asked.epochs, asked.seed, asked.threads, asked.seconds, asked.out, asked.watched)
    job.tell(ready=True)
    answers = work(job)
    np.save(asked.out, answers, allow_pickle=False)


def pictures(folder: Path) -> tuple[list[Path], list[int], list[str]]:
    """(files, their classes' numbers, classes) of a folder of class folders, in order."""
    classes = sorted(place.name for place in folder.iterdir() if place.is_dir())
    found = [(file, number) for number, name in enumerate(classes) for file in sorted((folder / name).glob("*.png"))]
    return [file for file, _ in found], [number for _, number in found], classes


def rows(file: Path) -> list[dict[str, str]]:
    """A table of CSV."""
    with file.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))
