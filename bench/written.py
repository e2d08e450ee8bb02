"""Texts that are written, beside what a textbook has for the same time.

    python -m bench written --data DATA [NAME ...] [--seeds 1] [--hurry 1]

Jobs: shakespeare (bits per byte of three plays, beside n-grams, xz, and a GPT over bytes as nanoGPT has it, which
trains as long as Lamina's whole command takes) and bible-en-es (BLEU and chrF of Spanish verses, beside the source as
it is, word by word and the commonest words; ten translations are kept). DATA is a folder with the data sets.
`--hurry 4` gives each a quarter of its time, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import _machine
from bench._run import whole_run
from bench.peers.__main__ import PROGRAMS
from bench.unlabelled import ONE_THREAD, of_target, page, with_baselines

SECONDS = {"shakespeare": 1800.0, "bible-en-es": 2400.0}


def shakespeare(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """Bits per byte of the test plays: Lamina, what it compares itself with, and a textbook's GPT in the same time."""
    folder, out = data / "shakespeare", place / "run"
    words = ("--test", str(folder / "test.txt"), "--task", "write", *ONE_THREAD)
    budget = SECONDS["shakespeare"] / hurry
    done = whole_run(folder / "train.txt", out, seed, (*words, "--budget", f"{budget:.0f}s"))
    found = of_target(out)
    program = PROGRAMS / "writing" / "textbook.py"
    line = [sys.executable, str(program), str(folder / "train.txt"), str(folder / "test.txt")]
    seconds = done["wall seconds"]
    told = subprocess.run([*line, f"{seconds:.1f}", str(seed), "1"], check=True, capture_output=True, text=True)
    textbook = json.loads(told.stdout)
    return {
        "bits per byte": {**with_baselines(found, "bits_per_byte"), "textbook GPT": textbook["bits per byte"]},
        "wall seconds": seconds,
        "textbook's steps": textbook["steps"],
        "by heart": found["scores"]["memorised"]["value"],
    }


def bible(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """BLEU and chrF of Spanish from English."""
    out = place / "run"
    words = ("--task", "translate", "--target", "es", "--budget", f"{SECONDS['bible-en-es'] / hurry:.0f}s")
    whole_run(data / "bible-en-es" / "verses.csv", out, seed, (*words, *ONE_THREAD))
    found = of_target(out)
    results = json.loads((out / "results.json").read_text())
    shown = next(item["lines"] for item in results["exhibits"] if item["title"] == "Translations")
    scores: dict[str, Any] = {score: with_baselines(found, score) for score in ("bleu", "chrf")}
    return {**scores, "judged": results["data"]["judged"], "samples": dict(enumerate(shown))}


JOBS: dict[str, Callable[[Path, Path, int, float], dict[str, Any]]] = {"shakespeare": shakespeare, "bible-en-es": bible}


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench written", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(JOBS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--hurry", type=float, default=1.0)
    parser.add_argument("--more", action="store_true", help="further seeds, beside those of the kept result")
    arguments = parser.parse_args(words)
    if wrong := [name for name in arguments.names if name not in JOBS]:
        parser.error(f"there is no job {wrong[0]!r}; there are {', '.join(JOBS)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in arguments.names or JOBS:
        earlier = _machine.kept(f"written-{name}") if arguments.more else {}
        runs = list(earlier.get("runs", []))
        for seed in range(len(runs), len(runs) + arguments.seeds):
            place = Path(tempfile.mkdtemp(prefix=f"written-{name}-"))
            runs.append(JOBS[name](arguments.data.resolve(), place, seed, arguments.hurry))
            shutil.rmtree(place)
        print(page({"runs": runs}), flush=True)
        if arguments.hurry == 1:
            _machine.keep(f"written-{name}", {"seeds": len(runs), "runs": runs} | _machine.before(earlier))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
