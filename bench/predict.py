"""How near does predicting with a sealed model come to ONNX Runtime alone?

    python -m bench predict --data DATA [--rounds 5]

For pictures (fashion-mnist-small as PNG files), a table (diamonds) and text (movie-sentences), round by round in turn:

- raw: ONNX Runtime on arrays that are encoded already and lie in memory, in batches of one size; the ceiling.
- network: Lamina's runtime on the same arrays.
- encoders: reading and encoding the raw values alone.
- whole: `Model.stream` from the raw files to decoded answers; the next rows are encoded while the network runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import lamina
from bench import _machine
from lamina.model.rows import open_rows
from lamina.model.runtime import BATCH

JOBS: dict[str, tuple[tuple[str, ...], str]] = {
    "pictures": (("fashion-mnist-small",), "fashion-mnist-small/test"),
    "table": (("diamonds/train.csv", "--target", "price"), "diamonds/test.csv"),
    "text": (("movie-sentences/train.csv", "--target", "score"), "movie-sentences/test.csv"),
}
SHORT = ("--set", "training.epochs=0.02")
"""How well a model answers makes no difference to how fast it does."""


def model_of(data: Path, words: tuple[str, ...], place: Path) -> Any:
    """The model that Lamina seals for this data, hardly trained."""
    command = [
        sys.executable,
        "-m",
        "lamina",
        "train",
        str(data / words[0]),
        *words[1:],
        "--out",
        str(place),
        "--quiet",
    ]
    subprocess.run([*command, *SHORT], check=True, capture_output=True)
    return lamina.load(place)


def ways(model: Any, source: Path) -> tuple[dict[str, Callable[[], int]], int]:
    """What is timed, each giving the number of its rows; and that number."""
    whole_source = open_rows(str(source), model, BATCH, None)
    parts = [model.encode(chunk.values, whole_source.root)[0] for chunk in whole_source]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    count = len(next(iter(arrays.values())))
    session = onnxruntime.InferenceSession(model.sealed.network, providers=["CPUExecutionProvider"])
    size = model.fitting(BATCH)

    def raw() -> int:
        for begin in range(0, count, size):
            some = {model.sealed.inputs[name]: array[begin : begin + size] for name, array in arrays.items()}
            session.run(None, some)
        return count

    def network() -> int:
        model.outputs(arrays)
        return count

    def encoders() -> int:
        rows = open_rows(str(source), model, BATCH, None)
        return sum(len(chunk) for chunk in rows if model.encode(chunk.values, rows.root))

    def whole() -> int:
        return sum(part.rows for part in model.stream(open_rows(str(source), model, BATCH, None)))

    return {"raw": raw, "network": network, "encoders": encoders, "whole": whole}, count


def possible(network: float, encoders: float) -> float:
    """Rows a second of both: with a core for each the slower one's, on a single core one after the other."""
    if len(os.sched_getaffinity(0)) > 1:
        return min(network, encoders)
    return 1 / (1 / network + 1 / encoders)


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    names = ("raw", "network", "encoders", "whole")
    rows = [
        (name, *(_machine.around(part["rows a second"][way], ".0f") for way in names), f"{part['network of raw']:.0%}",
         f"{part['whole of raw']:.0%}", f"{part['whole of what is possible']:.0%}")
        for name, part in found.items()
    ]  # fmt: skip
    head = (
        "data",
        "ONNX Runtime alone, rows a second",
        "Lamina, encoded rows",
        "reading and encoding",
        "Lamina, raw files",
    )
    return _machine.markdown((*head, "encoded rows of raw", "raw files of raw", "raw files of what is possible"), rows)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench predict", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(words)
    data, found = arguments.data.resolve(), {}
    for name, (job, source) in JOBS.items():
        with tempfile.TemporaryDirectory(prefix="lamina-bench-") as place:
            model = model_of(data, job, Path(place) / "run")
            timed, _ = ways(model, data / source)
            rates: dict[str, list[float]] = {way: [] for way in timed}
            for _ in range(arguments.rounds + 1):
                for way, work in timed.items():
                    begin = time.perf_counter()
                    rates[way].append(work() / (time.perf_counter() - begin))
        # The first round warms up.
        spreads = {way: _machine.spread(values[1:]) for way, values in rates.items()}
        median = {way: part["median"] for way, part in spreads.items()}
        found[name] = {
            "rows a second": spreads,
            "network of raw": median["network"] / median["raw"],
            "whole of raw": median["whole"] / median["raw"],
            "whole of what is possible": median["whole"] / possible(median["raw"], median["encoders"]),
        }
        print(name, {way: round(value) for way, value in median.items()}, flush=True)
    print(_machine.keep("predict", found))
    return 0
