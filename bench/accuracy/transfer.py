"""Few pictures of each class, with and without weights learned elsewhere: what does transfer gain?

    python -m bench transfer --data DATA [--seeds 3] [--budget 2m]

From DATA/stamps, for each seed, 20 pictures of every category that has at least 30 are drawn to train on; all others
of these categories test, except variants (flower1, flower2) of a picture that trains. Both runs see the same pictures
for the same time; one begins with DATA/weights-efficientnet-lite0.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import _machine
from bench._run import whole_run

EACH = 20
LEAST = 30
WEIGHTS = "weights-efficientnet-lite0"
WAYS = ("from scratch", "with weights")


def variant_of(file: str) -> str:
    """The picture that a numbered or lettered file is a variant of: folder/flower for folder/flower2.png."""
    folder, _, name = file.rpartition("/")
    stem = name.rpartition(".")[0]
    bare = re.sub(r"[-_ ]?(\d+|(?<=[-_ ])[a-z])$", "", stem)
    return f"{folder}/{bare if len(bare) > 2 else stem}"


def draw(stamps: Path, seed: int) -> dict[str, list[tuple[str, str]]]:
    """{"train": [(file, class)], "test": [...]}; whole groups of variants train until a class has its 20."""
    with (stamps / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["file"], row["category"]) for row in csv.DictReader(file)]
    classes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, label in rows:
        classes[label][variant_of(path)].append(path)
    found: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    chance = random.Random(seed)
    for label, groups in sorted(classes.items()):
        if sum(map(len, groups.values())) < LEAST:
            continue
        names = sorted(groups)
        chance.shuffle(names)
        taken = 0
        for name in names:
            part = "train" if taken < EACH else "test"
            # Of a group that would be too many, the rest is left out altogether.
            paths = sorted(groups[name])[: EACH - taken] if part == "train" else groups[name]
            taken += len(paths) if part == "train" else 0
            found[part] += [(path, label) for path in paths]
    return found


def lay_out(stamps: Path, parts: dict[str, list[tuple[str, str]]], folder: Path) -> None:
    """folder/part/class/picture.png, as `lamina train` reads it."""
    for part, rows in parts.items():
        for path, label in rows:
            place = folder / part / label / path.replace("/", "_")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stamps / path, place)


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows = [(way, found[way]["n"], _machine.around(found[way], ".1%")) for way in (*WAYS, "gain")]
    text = _machine.markdown(("stamps", "seeds", "accuracy, median (least to most)"), rows)
    train, test = found["runs"][0]["train"], found["runs"][0]["test"]
    return (
        f"{found['each']} pictures a class, {train} to train on and {test} to test, {found['budget']} each.\n\n{text}"
    )


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench transfer", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", default="2m")
    arguments = parser.parse_args(words)
    data = arguments.data.resolve()
    scores: dict[str, list[float]] = {way: [] for way in WAYS}
    runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory(prefix="lamina-bench-") as keep:
            pictures = Path(keep) / "pictures"
            parts = draw(data / "stamps", seed)
            lay_out(data / "stamps", parts, pictures)
            for way in WAYS:
                more = ["--weights", str(data / WEIGHTS)] if way == WAYS[1] else []
                run = whole_run(
                    pictures, Path(keep) / way.replace(" ", "-"), seed, ["--budget", arguments.budget, *more]
                )
                target = next(iter(run["targets"].values()))
                scores[way].append(target["scores"]["accuracy"]["value"])
                size = {part: len(rows) for part, rows in parts.items()}
                runs.append({"seed": seed, "way": way, **size, "verdict": target["verdict"],
                             "wall seconds": round(run["wall seconds"], 1)})  # fmt: skip
                print(f"seed {seed}, {way}: accuracy {scores[way][-1]:.3f}", flush=True)
    found: dict[str, Any] = {way: {"accuracy": values, **_machine.spread(values)} for way, values in scores.items()}
    gains = [with_ - without for without, with_ in zip(*(scores[way] for way in WAYS), strict=True)]
    found["gain"] = _machine.spread(gains)
    path = _machine.keep("transfer", {**found, "budget": arguments.budget, "each": EACH, "runs": runs})
    print("; ".join(f"{name} {part['median']:.3f} ({part['least']:.3f} to {part['most']:.3f})"
                    for name, part in found.items()) + f"; {path.name}")  # fmt: skip
    return 0
