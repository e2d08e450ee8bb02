"""Kill -9 at random moments of a run, resume each, compare the final weights bit for bit: `python -m bench resume`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import _machine


@dataclass(frozen=True)
class Data:
    """What is trained on; `sets` fix the epochs, so that no clock decides anything."""

    path: str
    target: tuple[str, ...]
    sets: tuple[str, ...]


ALWAYS = ("training.threads=1", "training.precision=fp32", "training.checkpoint_seconds=0.05", "training.keep=last")


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows = []
    for name, part in found.items():
        kills = part["kills"]
        states = Counter(kill["state"] for kill in kills)
        where = ", ".join(f"{count} while {state}" for state, count in states.items())
        same = sum(kill["same weights"] for kill in kills)
        rows.append((name, f"{part['uninterrupted seconds']:.0f}", f"{len(kills)}: {where}", f"{same} of {len(kills)}"))
    return _machine.markdown(("data", "seconds uninterrupted", "kills", "same final weights, bit for bit"), rows)


def main(words: Sequence[str] = ()) -> int:
    """Exit code 0 if every resumed run ended with the weights of the uninterrupted one."""
    parser = argparse.ArgumentParser(prog="bench resume", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with fashion-mnist-small")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("credit", "fashion-mnist-small"))
    arguments = parser.parse_args(list(words))
    from lamina.demo import sets

    every = {
        "credit": Data(str(sets()["table"].path), ("--target", "Status"), ("training.epochs=3",)),
        "fashion-mnist-small": Data(
            str(arguments.data / "fashion-mnist-small"), (), ("training.epochs=1", "training.batch_size=128")
        ),
    }
    document: dict[str, object] = {}
    for name, data in every.items():
        if arguments.only in (None, name):
            document[name] = _tried(name, data, arguments.times, random.Random(arguments.seed))
    print(_machine.keep("resume", document), file=sys.stderr)
    same = [row["same weights"] for part in document.values() for row in part["kills"]]  # type: ignore[index]
    return 0 if all(same) else 1


def _tried(name: str, data: Data, times: int, random_moments: random.Random) -> dict[str, object]:
    """Kill and resume `times` runs of one data set."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        begin = time.monotonic()
        _finish(_train(data, folder / "reference"), folder / "reference")
        whole = time.monotonic() - begin
        reference, (first, last) = _weights(folder / "reference"), _training(folder / "reference", whole)
        print(f"{name}: {whole:.1f} s uninterrupted, trains from {first:.1f} to {last:.1f} s")
        print(f"{'kill after s':>12}  {'state':10}  {'checkpoint':>10}  same weights")
        # In turn: within the training, which is short beside the rest here, and anywhere in the run.
        spans = ((first, last), (0.0, whole))
        kills = [
            _killed(data, folder / str(number), random_moments.uniform(*spans[number % 2]), reference)
            for number in range(times)
        ]
        return {"uninterrupted seconds": whole, "weights": reference, "kills": kills}


def _killed(data: Data, run: Path, moment: float, reference: str) -> dict[str, object]:
    process = subprocess.Popen(_train(data, run), stderr=subprocess.DEVNULL, env=_environment(run))
    try:
        process.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    begun = (run / "plan.toml").exists()
    steps = sorted(int(file.stem) for file in (run / "checkpoints").glob("0*.safetensors"))
    state = "finished" if process.returncode == 0 else "training" if begun else "preparing"
    if begun and (run / "weights.safetensors").exists() and state == "training":
        state = "testing"
    again = [sys.executable, "-m", "lamina", "resume", str(run), "--quiet"] if begun else _train(data, run)
    _finish(again, run)
    same = _weights(run) == reference
    shutil.rmtree(run)
    shutil.rmtree(_cache(run), ignore_errors=True)
    checkpoint = steps[-1] if steps else 0
    print(f"{moment:12.2f}  {state:10}  {checkpoint:10,}  {'yes' if same else 'NO'}", flush=True)
    return {"after seconds": round(moment, 2), "state": state, "checkpoint": checkpoint, "same weights": same}


def _train(data: Data, run: Path) -> list[str]:
    words = ["train", data.path, *data.target, "--out", str(run), "--quiet", "--set", *ALWAYS, *data.sets]
    return [sys.executable, "-m", "lamina", *words]


def _finish(command: Sequence[str], run: Path) -> None:
    subprocess.run(command, check=True, env=_environment(run))


def _environment(run: Path) -> dict[str, str]:
    """One thread, and a cache of the run's own: what another run found out must not shorten it."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "LAMINA_CACHE": str(_cache(run))}


def _cache(run: Path) -> Path:
    return run.with_name(f"cache of {run.name}")


def _weights(run: Path) -> str:
    return hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()


def _training(run: Path, whole: float) -> tuple[float, float]:
    """When training began and ended, in seconds since the command; from the run's own account."""
    seconds = json.loads((run / "status.json").read_text())["seconds"]
    after = seconds["train"] + seconds["test"]
    return max(whole - after, 0.0), max(whole - seconds["test"], 0.0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
