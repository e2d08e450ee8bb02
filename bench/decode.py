"""How fast are raw files decoded, and how much does decoding once save?

    python -m bench decode --data DATA [--rounds 5]

The pictures of fashion-mnist-small (28 x 28 pixels) and of stamps (drawings of some 200 x 200), all PNG files, to
arrays of the size that Lamina trains on, round by round in turn:

- pillow: a plain loop over the files.
- dataloader: PyTorch's DataLoader with a worker for each core, over the same loop.
- lamina: encoding into the memory-mapped cache, everything written.
- again: one pass over the encoded pictures in shuffled batches, which is what every further epoch costs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench import _machine
from lamina.data import encoding
from lamina.data.examples import Examples
from lamina.data.schema import Field
from lamina.data.tables import open_table
from lamina.modalities import image

JOBS = {"fashion-mnist-small": "path", "stamps/metadata.csv": "file"}
"""Where the files are, and the column that names them."""
BATCH = 128


class Files(Dataset[Tensor]):
    """Pictures, opened one by one and resized."""

    def __init__(self, files: list[Path], height: int, width: int, mode: str) -> None:
        self.files, self.size, self.mode = files, (width, height), mode

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as picture:
            pixels = picture.convert(self.mode)
            resized = pixels if pixels.size == self.size else pixels.resize(self.size, Image.Resampling.BILINEAR)
            return torch.from_numpy(np.array(resized))


def measured(source: Path, column: str, place: Path) -> dict[str, float]:
    """Pictures a second, each way once."""
    table = open_table(str(source), place / "tables")
    assert table.root is not None
    field = Field(column, "image")
    rows = np.arange(len(table))
    encoder = image.Encoder.fit(encoding.stream(table, field, rows), {}, table.root)
    files = [table.root / name for name in table.take(rows, [column])[column]]
    loop = Files(files, encoder.height, encoder.width, "L" if encoder.channels == 1 else "RGB")
    found: dict[str, float] = {}

    begin = time.perf_counter()
    for index in range(len(loop)):
        loop[index]
    found["pillow"] = len(loop) / (time.perf_counter() - begin)

    begin = time.perf_counter()
    count = sum(len(batch) for batch in DataLoader(loop, BATCH, num_workers=len(os.sched_getaffinity(0))))
    found["dataloader"] = count / (time.perf_counter() - begin)

    begin = time.perf_counter()
    examples = encoding.encode(table, {column: (field, encoder)}, place / "examples")
    found["lamina"] = len(table) / (time.perf_counter() - begin)
    found["again"] = _pass(examples, column, len(table))
    return found


def _pass(examples: Examples, name: str, rows: int) -> float:
    order = np.random.default_rng(0).permutation(rows)
    begin = time.perf_counter()
    for start in range(0, rows, BATCH):
        examples.take([name], order[start : start + BATCH])
    return rows / (time.perf_counter() - begin)


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    names = ("pillow", "dataloader", "lamina", "again")
    rows = [(name, *(_machine.around(part[way], ".0f") for way in names)) for name, part in found.items()]
    head = (
        "pictures a second",
        "plain Pillow loop",
        "DataLoader",
        "Lamina, decoding once",
        "Lamina, every further pass",
    )
    return _machine.markdown(head, rows)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench decode", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(words)
    found = {}
    for name, column in JOBS.items():
        values: dict[str, list[float]] = {}
        # The first round brings the files into the system's memory.
        for number in range(arguments.rounds + 1):
            place = Path(tempfile.mkdtemp(prefix="lamina-bench-"))
            for way, rate in measured(arguments.data.resolve() / name, column, place).items():
                values.setdefault(way, []).extend([rate] if number else [])
            shutil.rmtree(place)
        found[name] = {way: _machine.spread(rates) for way, rates in values.items()}
        print(name, {way: round(part["median"]) for way, part in found[name].items()}, flush=True)
    print(_machine.keep("decode", found))
    return 0
