"""How near does the loop come to the bare step, and how far is it from a textbook's loop?

    python -m bench speed --data DATA [--rounds 5] [--seconds 8]

For pictures (fashion-mnist as PNG files), a table (diamonds) and text (movie-sentences), with the very network that
Lamina chooses there, and for larger pictures (stamps, 64 pixels, five million weights), interleaved round by round:

- bare: forward, loss, backward, optimizer on batches that lie in memory; nothing else. The ceiling (not compiled).
- lamina: the whole loop on the encoded cache: shuffling, gathering, augmentation, finite check, clipping, averaging.
- textbook (pictures only): a Dataset that opens a PNG file with Pillow, two workers of a DataLoader, a loop, float32 in
  PyTorch's own layout of pictures, as tutorials have it; in a process of its own, whose memory is managed as it comes.
"""

from __future__ import annotations

import argparse
import collections
import copy
import csv
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from lamina.networks.blocks.fields import Pixels
from lamina.plan import SchedulePlan
from lamina.steps.learner import Learner

WORKERS = 2
FEWEST = 20
IN_MEMORY = 50
"""Batches that the bare step goes round: several, because texts differ in length."""
JOBS: dict[str, tuple[str, ...]] = {
    "pictures": ("fashion-mnist",),
    "pictures of 64 pixels": ("stamps", "--set", "network.width=128", "schema.path.size=64"),
    "table": ("diamonds/train.csv", "--target", "price"),
    "text": ("movie-sentences/train.csv", "--target", "score"),
}
Step = Callable[[], int]
"""Takes one step and gives the number of its examples."""


def in_folders(data: Path, place: Path) -> Path:
    """The stamps of categories with twenty or more, in one folder for each category."""
    with (data / "metadata.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    many = collections.Counter(row["category"] for row in rows)
    for row in rows:
        if many[row["category"]] >= FEWEST:
            file = data / row["file"]
            (place / row["category"]).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place / row["category"] / "-".join(Path(row["file"]).parts[1:]))
    return place


class Files(Dataset[tuple[Tensor, int]]):
    """PNG files in one folder for each class, opened one by one, of one size [height, width, channel]."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self.shape, self.mode = shape, "L" if shape[2] == 1 else "RGB"
        self.classes = sorted(place.name for place in folder.iterdir() if place.is_dir())
        self.files = [
            (file, number) for number, name in enumerate(self.classes) for file in folder.glob(f"{name}/*.png")
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file, label = self.files[index]
        with Image.open(file) as picture:
            pixels = picture.convert(self.mode)
            if pixels.size != (self.shape[1], self.shape[0]):
                pixels = pixels.resize((self.shape[1], self.shape[0]))
            return torch.from_numpy(np.array(pixels)).reshape(self.shape), label


def learner_of(data: Path, options: Sequence[str], place: Path) -> Learner:
    """What Lamina chooses for this data, after the shortest of trainings."""
    command = [sys.executable, "-m", "lamina", "train", str(data), *options, "--out", str(place), "--quiet"]
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
        with engine.apart(method.optimizers):
            with engine.autocast():
                loss = method.loss(batch)
            (loss.sum / loss.weight).backward()  # type: ignore[no-untyped-call]
        for optimizer in method.optimizers:
            optimizer.step()
        return len(batch)

    return step


def textbook(learner: Learner, folder: Path) -> Step:
    """As in tutorials: files, Dataset, DataLoader, AdamW as it comes, float32."""
    (field,), (target,) = learner.source.inputs, learner.source.targets
    files = Files(folder, tuple(next(iter(learner.source.batch(learner.source.rows[:1]).inputs.values())).shape[1:]))
    network = copy.deepcopy(learner.network)
    for layer in network.modules():
        if isinstance(layer, Pixels):
            # Lamina's pixels come channels-last; tutorials' ToTensor gives planes.
            layer.register_forward_hook(lambda *found: found[2].contiguous())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    loader = DataLoader(
        files, learner.source.batch_size, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
    )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    endless = batches()

    def step() -> int:
        images, labels = next(endless)
        network.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network({field: images})[target].flatten(0, 1), labels)
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


def textbook_rate(run: Path, folder: Path, seconds: float) -> float:
    """Of the textbook's loop, in another process."""
    # Lamina leaves the C library's settings alone where the environment has any; this one does nothing.
    environment = {**os.environ, "MALLOC_CHECK_": "0"}
    command = [sys.executable, "-m", "bench.speed", str(run), str(folder), str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


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
    for name, (place, *options) in JOBS.items():
        pictures = name.startswith("pictures")
        with tempfile.TemporaryDirectory(prefix="lamina-bench-") as temporary:
            data = arguments.data.resolve() / place
            if place == "stamps":
                data = in_folders(data, Path(temporary) / "stamps")
            run, folder = Path(temporary) / "run", data / "train" if (data / "train").is_dir() else data
            learner = learner_of(data, options, run)
            step = bare(learner)
            rates: dict[str, list[float]] = {way: [] for way in ("bare", *(["textbook"] if pictures else []), "lamina")}
            for _ in range(arguments.rounds):
                rates["bare"].append(rate(step, arguments.seconds))
                if pictures:
                    rates["textbook"].append(textbook_rate(run, folder, arguments.seconds))
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


if __name__ == "__main__":
    print(rate(textbook(api.learner(Path(sys.argv[1])), Path(sys.argv[2])), float(sys.argv[3])))
