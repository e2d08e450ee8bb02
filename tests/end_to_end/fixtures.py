"""Small data for the end-to-end tests, and finished runs that several of them look at."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lamina
from lamina.api import Trained
from lamina.cli import main
from lamina.demo import sets
from lamina.evaluate.results import from_json
from lamina.learn.checkpoint import Checkpoints
from lamina.run import Run
from lamina.steps.session import Clock

Row = Mapping[str, Any]
QUICK = {"training.epochs": 2, "training.threads": 1}


def environment(**more: str) -> dict[str, str]:
    """The environment of a subprocess: one thread, and this Python's commands first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path, **more}


def command(*words: str) -> list[str]:
    """`lamina ...` as a subprocess runs it."""
    return [sys.executable, "-m", "lamina", *words]


def run_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `lamina ...` in `folder` to its end."""
    return subprocess.run(command(*words), cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def run_here(folder: Path, *words: str) -> None:
    """Run `lamina ...` in `folder`, in this process, which must succeed: another would spend seconds on imports."""
    with contextlib.chdir(folder):
        assert main(list(words)) == 0


class BrokenOff(BaseException):
    """A run ends here, as suddenly as can be in the same process."""


def broken_off(folder: Path, run: Path, *words: str, step: float = 9) -> None:
    """Begin the run with `lamina WORDS` in `folder`, and break it off with its first checkpoint of `step` or later.

    In this process: what a kill leaves of files is shown where runs are killed; here it is what a checkpoint holds.
    """
    write = Checkpoints.write

    def write_and_end(self: Checkpoints, at: int, state: Mapping[str, Any]) -> None:
        write(self, at, state)
        if at >= step:
            raise BrokenOff

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "write", write_and_end)
        with contextlib.suppress(BrokenOff):
            run_here(folder, *words, "--out", str(run))
    assert saved(run, step)
    assert not (run / "model.lamina").exists()
    # What goes on from here must not draw on what this process happens to have left.
    torch.seed()


def broken_off_and_resumed(folder: Path, *words: str, step: float = 9) -> Path:
    """The run in `folder`/run that `lamina WORDS` began, was broken off after a step, and `lamina resume` ended."""
    broken_off(folder, folder / "run", *words, step=step)
    run_here(folder, "resume", "run")
    return folder / "run"


@contextlib.contextmanager
def kept_at(step: float, place: Path) -> Iterator[None]:
    """In here a run goes on to its end; `place` becomes what would be left of its folder, had it been broken off with
    its first checkpoint of `step` or later."""
    write = Checkpoints.write

    def write_and_keep(self: Checkpoints, at: int, state: Mapping[str, Any]) -> None:
        write(self, at, state)
        if at >= step and not place.exists():
            shutil.copytree(self.folder.parent, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "write", write_and_keep)
        yield
    assert saved(place, step)
    assert not (place / "model.lamina").exists()


def only_trained(folder: Path, run: Path, *words: str) -> None:
    """The run with `lamina WORDS` in `folder` to the end of its training: it is not tested, sealed or reported."""
    trained = Clock.trained

    def trained_and_end(self: Clock, *given: Any) -> None:
        trained(self, *given)
        raise BrokenOff

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clock, "trained", trained_and_end)
        with pytest.raises(BrokenOff):
            run_here(folder, *words, "--out", str(run))


def wait_until(process: subprocess.Popen[Any], when: Callable[[], bool]) -> None:
    """Until `when` holds, or the process has ended; looking too often would take the processor from the run."""
    while not when() and process.poll() is None:
        time.sleep(0.01)


def saved(run: Path, step: float = 0) -> bool:
    """Whether the run has written a checkpoint of `step` or later."""
    return any(int(file.stem) >= step for file in (run / "checkpoints").glob("0*.safetensors"))


def kill_at(process: subprocess.Popen[Any], run: Path, step: float = 0) -> None:
    """Kill the process as soon as its run has a checkpoint of `step` or later."""
    wait_until(process, lambda: saved(run, step))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def check_same(run: Path, whole: Path, *files: str) -> None:
    """Two runs ended with the same bits in their weights and other files, and had the same losses on the way."""
    for name in ("weights.safetensors", *files):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    losses = [[(entry["step"], entry.get("loss")) for entry in jsonl(path / "log.jsonl")] for path in (run, whole)]
    assert losses[0] == losses[1]


def same_when_broken_off(folder: Path, *words: str, step: float = 9, files: Sequence[str] = ()) -> Path:
    """The run in `folder`/run that `lamina WORDS` began, broken off and resumed to its sealed end: it has learned the
    same as the undisturbed one in `folder`/whole, which only trains.

    Args:
        step, files: as of `broken_off` and `check_same`.
    """
    only_trained(folder, folder / "whole", *words)
    run = broken_off_and_resumed(folder, *words, step=step)
    check_same(run, folder / "whole", *files)
    assert (run / "model.lamina").is_file()
    return run


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of JSON lines; every line must be one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def credit(folder: Path, train: int = 240, test: int = 80) -> Path:
    """Some of the applicants for credit that come with Lamina, with a column `split`."""
    rows = read_csv(sets()["table"].path)
    chosen = [row for row in rows if row["split"] == "train"][:train]
    chosen += [row for row in rows if row["split"] == "test"][:test]
    return write_csv(folder / "credit.csv", chosen)


def _classes(folder: Path, name: str, classes: int, train: int, test: int) -> Path:
    """A folder of some files of some classes of a shipped archive, in train/ and test/."""
    target = folder / name
    with zipfile.ZipFile(sets()[name].path) as archive:
        files: dict[tuple[str, str], list[str]] = defaultdict(list)
        for entry in archive.namelist():
            part, _, rest = entry.partition("/")
            if part in ("train", "test") and rest.count("/") == 1 and not rest.endswith("/"):
                files[part, rest.partition("/")[0]].append(entry)
        chosen = sorted({label for _, label in files})[:classes]
        for (part, label), entries in files.items():
            for entry in entries[: train if part == "train" else test] if label in chosen else []:
                place = target / entry
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(archive.read(entry))
    return target


def images(folder: Path) -> Path:
    """200 pictures of clothes of 4 classes to train, 40 to test."""
    return _classes(folder, "images", classes=4, train=50, test=10)


def sound(folder: Path) -> Path:
    """48 pieces of speech to train, 12 to test."""
    return _classes(folder, "sound", classes=2, train=24, test=6)


def text(folder: Path, train: int = 950, test: int = 200) -> Path:
    """A folder with train.csv and test.csv: so many sentences of film reviews."""
    target = folder / "reviews"
    target.mkdir()
    for part, rows in (("train", train), ("test", test)):
        every = read_csv(sets()["text"].path / f"{part}.csv")
        write_csv(target / f"{part}.csv", every[:: len(every) // rows][:rows])
    return target


def series(folder: Path, rows: int = 200) -> Path:
    """Columns t0 to t31: a sine or a square wave of some phase and frequency, with noise."""
    generator = np.random.default_rng(0)
    found = []
    for number in range(rows):
        angle = np.linspace(0, generator.uniform(6, 18), 32) + generator.uniform(0, 6)
        wave = np.sign(np.sin(angle)) if number % 2 else np.sin(angle)
        values = wave + generator.normal(0, 0.05, 32)
        cells = {f"t{step}": f"{value:.4f}" for step, value in enumerate(values)}
        found.append({**cells, "shape": "square" if number % 2 else "sine"})
    return write_csv(folder / "series.csv", found)


def tags(folder: Path, rows: int = 240) -> Path:
    """A set of labels that follows from three numbers."""
    generator = np.random.default_rng(0)
    found = []
    for x, y, z in generator.normal(size=(rows, 3)):
        labels = [name for name, holds in (("warm", x > 0), ("soft", y > 0), ("rare", x + z > 0.5)) if holds]
        found.append({"x": f"{x:.3f}", "y": f"{y:.3f}", "z": f"{z:.3f}", "tags": "|".join([*labels, "all"])})
    return write_csv(folder / "tags.csv", found)


def prices(folder: Path, rows: int = 300) -> Path:
    """A price that follows from two numbers and a category, and whether it is dear."""
    generator = np.random.default_rng(0)
    found = []
    for number, (x, y) in enumerate(generator.normal(size=(rows, 2))):
        price = 100 + 30 * x - 10 * y + 20 * (number % 3) + generator.normal() * 3
        row = {"size": f"{x:.3f}", "age": f"{y:.3f}", "kind": "abc"[number % 3]}
        found.append({**row, "price": f"{price:.2f}", "dear": "yes" if price > 120 else "no"})
    return write_csv(folder / "prices.csv", found)


def mixed(folder: Path, rows: int = 160) -> Path:
    """A number, a category, a date, a text and a picture, all of which tell something of the target."""
    generator = np.random.default_rng(0)
    found = []
    (folder / "pictures").mkdir()
    for number in range(rows):
        good = bool(generator.integers(2))
        pixels = generator.integers(0, 90, (12, 12, 3))
        pixels[..., 0 if good else 2] += 120
        name = f"pictures/{number:03d}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        words = generator.permutation(["the", "meal", "was", "very", "fine" if good else "awful", "today", "again"])
        found.append(
            {
                "weight": f"{generator.normal(1.0 if good else -1.0):.3f}",
                "city": ["Bern", "Basel", "Chur"][int(generator.integers(3))],
                "day": f"2024-{generator.integers(1, 13):02d}-{generator.integers(1, 29):02d}",
                "note": " ".join([*words, f"number {generator.integers(10_000)}"]),
                "photo": name,
                "verdict": "good" if good else "bad",
            }
        )
    return write_csv(folder / "mixed.csv", found)


@dataclass(frozen=True)
class Case:
    """One end-to-end run.

    Attributes:
        make: writes the data into a folder and returns what `train` is given.
        targets: to predict.
        tested: of the data, what is predicted with the sealed model.
        options: more `--set`s.
        floors: target to the least value of its primary score on the test part; NaN where so little training
            tells nothing.
    """

    make: Callable[[Path], Path]
    targets: tuple[str, ...]
    floors: Mapping[str, float]
    tested: str = "."
    options: Mapping[str, Any] = field(default_factory=dict)


SMALL = {"network.name": "mlp", "network.width": 32, "network.depth": 1, "training.epochs": 8}
CASES = {
    "images": Case(images, (), {"label": 0.6}, "test", {"training.epochs": 4}),
    "table": Case(credit, ("Status",), {"Status": 0.6}),
    "text": Case(text, ("sentiment",), {"sentiment": 0.5}, "test.csv", {"training.epochs": 4}),
    "sound": Case(sound, (), {"label": float("nan")}, "test"),
    "series": Case(series, ("shape",), {"shape": 0.8}),
    "tags": Case(tags, ("tags",), {"tags": 0.8}, options={"training.epochs": 12}),
    "several": Case(prices, ("price", "dear"), {"price": -25.0, "dear": 0.7}, options=SMALL),
    "regress": Case(prices, ("price",), {"price": -25.0}, options=SMALL | {"schema.dear.role": "ignore"}),
    "mixed": Case(mixed, ("verdict",), {"verdict": 0.8}),
}


@dataclass(frozen=True)
class Finished:
    """A finished run: its data, what is predicted, and what came out."""

    case: Case
    data: Path
    tested: Path
    trained: Trained

    @property
    def folder(self) -> Path:
        return self.trained.run.folder


@functools.cache
def finished(name: str, place: Path) -> Finished:
    """The run of a case, trained once for all tests, under `place`; of several processes by who asks first."""
    case = CASES[name]
    folder = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / f"case-{name}"
    made = folder / "data.txt"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            data = case.make(folder)
            lamina.train(data, case.targets, out=folder / "run", set={**QUICK, **case.options}, quiet=True)
            made.write_text(str(data))
    data, run = Path(made.read_text()), Run(folder / "run")
    trained = Trained(run, from_json(json.loads(run.results.read_text())))
    return Finished(case, data, data / case.tested if data.is_dir() else data, trained)
