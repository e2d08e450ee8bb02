"""How near does the loop come to the bare step, and how far is it from a textbook's loop?

    python -m bench speed --data DATA [--rounds 5] [--seconds 8]

For pictures (fashion-mnist as PNG files), a table (diamonds) and text (movie-sentences), with the very network that
Lamina chooses there, interleaved round by round in one process:

- bare: forward, loss, backward, optimizer on batches that lie in memory; nothing else. The ceiling (not compiled).
- lamina: the whole loop on the encoded cache: shuffling, gathering, augmentation, finite check, clipping, averaging.
- textbook (pictures only): a Dataset that opens a PNG file with Pillow, a DataLoader, a loop, as tutorials have it.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench import _machine
from lamina import api
from lamina.learn.loop import Limits, fit
from lamina.learn.record import Record
from lamina.learn.schedules import Schedule
from lamina.plan import SchedulePlan
from lamina.steps.learner import Learner

IN_MEMORY = 50
"""Batches that the bare step goes round: several, because texts differ in length."""
JOBS: dict[str, tuple[str, ...]] = {
    "pictures": ("fashion-mnist",),
    "table": ("diamonds/train.csv", "--target", "price"),
    "text": ("movie-sentences/train.csv", "--target", "score"),
}
Step = Callable[[], int]
"""Takes one step and gives the number of its examples."""


class Files(Dataset[tuple[Tensor, int]]):
    """PNG files in one folder for each class, opened one by one."""

    def __init__(self, folder: Path) -> None:
        self.classes = sorted(place.name for place in folder.iterdir() if place.is_dir())
        self.files = [
            (file, number) for number, name in enumerate(self.classes) for file in folder.glob(f"{name}/*.png")
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file, label = self.files[index]
        with Image.open(file) as picture:
            return torch.from_numpy(np.array(picture)).reshape(picture.height, picture.width, -1), label


def learner_of(data: Path, job: tuple[str, ...], place: Path) -> Learner:
    """What Lamina chooses for this data, after the shortest of trainings."""
    command = [sys.executable, "-m", "lamina", "train", str(data / job[0]), *job[1:], "--out", str(place), "--quiet"]
    subprocess.run([*command, "--set", "training.epochs=0.02"], check=True, capture_output=True)
    return api.learner(place)


def bare(learner: Learner) -> Step:
    """The step alone."""
    batches = itertools.cycle(batch for _, batch in itertools.islice(learner.source.batches(0), IN_MEMORY))
    method, engine = learner.method, learner.engine

    def step() -> int:
        batch = next(batches)
        method.network.train()
        for optimizer in method.optimizers:
            optimizer.zero_grad(set_to_none=True)
        with engine.autocast():
            loss = method.loss(batch)
        (loss.sum / loss.weight).backward()  # type: ignore[no-untyped-call]
        for optimizer in method.optimizers:
            optimizer.step()
        return len(batch)

    return step


def textbook(learner: Learner, folder: Path) -> Step:
    """As in tutorials: files, Dataset, DataLoader, AdamW as it comes, float32."""
    files = Files(folder)
    (field,), (target,) = learner.source.inputs, learner.source.targets
    optimizer = torch.optim.AdamW(learner.network.parameters(), lr=1e-3)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from DataLoader(files, batch_size=learner.source.batch_size, shuffle=True, drop_last=True)

    endless = batches()

    def step() -> int:
        images, labels = next(endless)
        learner.network.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(learner.network({field: images})[target].flatten(0, 1), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
        return len(labels)

    return step


def rate(step: Step, seconds: float) -> float:
    """Examples a second, after a step to warm up."""
    step()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        count += step()
    return count / (time.perf_counter() - begin)


def lamina_rate(learner: Learner, seconds: float) -> float:
    """Examples a second of the whole loop, without evaluations and checkpoints."""
    begin = time.perf_counter()
    limits = Limits(seconds=seconds, keep_best=False, log_steps=10)
    schedule = Schedule.over(10**9, SchedulePlan("constant", 0.0))
    status = fit(learner.method, learner.source, schedule, learner.engine, limits=limits, record=Record(None))
    return status.step * learner.source.batch_size / (time.perf_counter() - begin)


def paired(rates: list[float], others: list[float]) -> dict[str, float]:
    """By how much one way is faster than another, round by round: what slows the machine for a while slows both."""
    return _machine.spread([one / other for one, other in zip(rates, others, strict=True)])


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    ways = ("bare", "textbook", "lamina")
    rows = [
        (
            name,
            part["threads"],
            part["precision"],
            *(
                _machine.around(rates[way], ".0f") if way in (rates := part["examples a second"]) else ""
                for way in ways
            ),
            _machine.around(part["of the bare step"], ".0%"),
        )
        for name, part in found.items()
    ]
    head = ("data", "threads", "precision", "bare step, examples a second", "textbook", "Lamina", "of the bare step")
    return _machine.markdown(head, rows)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench speed", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args(words)
    found: dict[str, Any] = {}
    for name, job in JOBS.items():
        with tempfile.TemporaryDirectory(prefix="lamina-bench-") as place:
            learner = learner_of(arguments.data.resolve(), job, Path(place) / "run")
        steps = {"bare": bare(learner)}
        if name == "pictures":
            steps["textbook"] = textbook(learner, arguments.data / job[0] / "train")
        rates: dict[str, list[float]] = {way: [] for way in (*steps, "lamina")}
        for _ in range(arguments.rounds):
            for way, step in steps.items():
                rates[way].append(rate(step, arguments.seconds))
            rates["lamina"].append(lamina_rate(learner, arguments.seconds))
        spreads = {way: _machine.spread(values) for way, values in rates.items()}
        share = paired(rates["lamina"], rates["bare"])
        found[name] = {
            "threads": torch.get_num_threads(),
            "precision": learner.engine.precision,
            "examples a second": spreads,
            "of the bare step": share,
        }
        if "textbook" in rates:
            found[name]["times the textbook"] = paired(rates["lamina"], rates["textbook"])
        print(
            *(name, {way: round(values["median"]) for way, values in spreads.items()}),
            f"{_machine.around(share, '.0%')} of the bare step",
            flush=True,
        )
    path = _machine.keep("speed", found)
    print(path)
    return 0
