"""What is learned without answers is good for: probes, few labels, anomalies, search, pictures made and turned.

    python -m bench unlabelled --data DATA [NAME ...] [--seeds 1] [--more] [--hurry 1]

Jobs: one-class (each class of fashion-mnist-small in turn is ordinary, the others are strange; by what cannot be put
together again) and one-class-turned (by whether it can be told how a picture was turned), series (kdd-tsad-135, step
by step; and 36 anomalies of six kinds injected into its ordinary part, semi-synthetic), table (credit), pretraining
(fashion-mnist: probes, then 1% and 10% of the labels beside scratch), photos (stamps searched by EfficientNet-Lite0),
pictures (fashion-mnist made from noise), made (what made ones bring a classifier of few), restyle (sneakers of
fashion-mnist-small turned into ankle boots). DATA is a folder with the data sets.
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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import lamina
from bench import _machine
from bench._injected import cases, mean_aucs, spikes
from bench._run import whole_run

ONE_THREAD = ("--set", "training.threads=1")
NEAR = 100
"""An anomaly counts as found if the strangest step is at most so many steps away (the UCR archive's own rule)."""
TOP = 5
ORDINARY = slice(3200, 4700)
"""Steps of kdd-tsad-135's test part, after its anomaly, into which others are injected."""


def of_target(out: Path) -> dict[str, Any]:
    """What the report says of the answer."""
    found: dict[str, Any] = json.loads((out / "results.json").read_text())["targets"][0]
    return found


def with_baselines(found: dict[str, Any], score: str) -> dict[str, float]:
    """A score of the network and of all it is compared with."""
    others = {item["name"]: item["scores"][score]["value"] for item in found["baselines"]}
    return {"lamina": found["scores"][score]["value"], **others}


def one_class(
    data: Path, place: Path, seed: int, hurry: float, sets: Sequence[str] = ("method.name=autoencoder",)
) -> dict[str, Any]:
    """AUC with each class ordinary, by class, and the means."""
    folder = data / "fashion-mnist-small"
    runs: dict[str, dict[str, float]] = {}
    for name in sorted(path.name for path in (folder / "train").iterdir()):
        out = place / name
        words = ("--test", str(folder / "test"), "--task", "anomaly", "--budget", f"{90 / hurry:.0f}s")
        whole_run(folder / "train", out, seed, (*words, *ONE_THREAD, f"task.normal={name}", *sets))
        runs[name] = with_baselines(of_target(out), "auc")
        print(name, runs[name], flush=True)
    tools = next(iter(runs.values()))
    return {"mean AUC": {tool: float(np.mean([run[tool] for run in runs.values()])) for tool in tools}, "runs": runs}


def series(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """AUC over steps, and whether the strangest lies at the anomaly. No point adjustment: it makes chance look good
    (Kim et al. 2022, "Towards a rigorous evaluation of time-series anomaly detection")."""
    folder, out = data / "kdd-tsad-135", place / "run"
    words = ("--test", str(folder / "test.csv"), "--task", "anomaly", "--target", "is_anomaly")
    whole_run(
        folder / "train.csv", out, seed, (*words, "--budget", f"{300 / hurry:.0f}s", *ONE_THREAD, "task.normal=0")
    )
    command = [sys.executable, "-m", "lamina", "predict", str(out), str(folder / "test.csv"), "--out"]
    subprocess.run([*command, str(place / "answers.csv")], check=True, capture_output=True)
    scores = pl.read_csv(place / "answers.csv")["anomaly.score"].to_numpy()
    at = np.flatnonzero(pl.read_csv(folder / "test.csv")["is_anomaly"].to_numpy())
    strangest = int(scores.argmax())
    train, test = (pl.read_csv(folder / f"{part}.csv")["value"].to_numpy() for part in ("train", "test"))
    model, ordinary = lamina.load(out / "model.lamina"), test[ORDINARY]
    return {
        "auc": with_baselines(of_target(out), "auc"),
        "mean AUC of injected anomalies": mean_aucs(model, "value", train, cases(ordinary)),
        "mean AUC of injected spikes": mean_aucs(model, "value", train, spikes(ordinary)),
        "strangest step": strangest,
        "anomaly": [int(at[0]), int(at[-1])],
        "found": bool(at[0] - NEAR <= strangest <= at[-1] + NEAR),
    }


def table(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """AUC of bad credits when only good ones were learned from."""
    out = place / "run"
    words = ("--test", str(data / "credit" / "test.csv"), "--task", "anomaly", "--target", "Status")
    whole_run(
        data / "credit" / "train.csv", out, seed,
        (*words, "--budget", f"{60 / hurry:.0f}s", *ONE_THREAD, "task.normal=good"),
    )  # fmt: skip
    return {"auc": with_baselines(of_target(out), "auc")}


def cells(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """AUC of malignant samples when benign ones were learned from: the Wisconsin data that scikit-learn brings along
    (569 samples, 30 measures of cell nuclei; Street et al. 1993), another fifth for testing with each seed."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer(as_frame=True)
    frame = found.data.assign(diagnosis=[str(found.target_names[target]) for target in found.target])
    frame.to_csv(place / "cells.csv", index=False)
    out = place / "run"
    words = ("--task", "anomaly", "--target", "diagnosis", "--budget", f"{60 / hurry:.0f}s")
    whole_run(place / "cells.csv", out, seed, (*words, *ONE_THREAD, "task.normal=benign"))
    return {"auc": with_baselines(of_target(out), "auc")}


def some_labels(source: Path, place: Path, share: float, seed: int) -> Path:
    """A folder with so many of each class's pictures."""
    random = np.random.default_rng(seed)
    for kind in sorted(source.iterdir()):
        files = sorted(kind.iterdir())
        (place / kind.name).mkdir(parents=True)
        for chosen in random.choice(len(files), round(share * len(files)), replace=False):
            (place / kind.name / files[chosen].name).symlink_to(files[chosen])
    return place


def pretraining(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """Probes of what was learned without labels; then some of the labels, from there and from scratch.

    1% of the labels are few enough for the draw to matter: three draws, in pairs.
    """
    folder, out = data / "fashion-mnist", place / "run"
    words = ("--test", str(folder / "test"), "--task", "embed", "--budget", f"{1500 / hurry:.0f}s")
    whole_run(folder / "train", out, seed, (*words, *ONE_THREAD))
    found = of_target(out)
    result: dict[str, Any] = {
        score: with_baselines(found, score) for score in ("knn_accuracy", "probe_accuracy") if score in found["scores"]
    }
    for share, seconds, draws in ((0.01, 150, 3), (0.1, 300, 1)):
        accuracy: dict[str, list[float]] = {"from there": [], "from scratch": []}
        for draw in range(draws):
            few = some_labels(folder / "train", place / f"few-{share}-{draw}", share, seed + draw)
            for how, more in (("from there", ("--weights", str(out))), ("from scratch", ())):
                tried = place / f"{share}-{draw}-{how.replace(' ', '-')}"
                words = ("--test", str(folder / "test"), "--budget", f"{seconds / hurry:.0f}s")
                whole_run(few, tried, seed + draw, (*words, *more, *ONE_THREAD))
                accuracy[how].append(of_target(tried)["scores"]["accuracy"]["value"])
        result[f"accuracy with {share:.0%} of the labels"] = {
            f"{how}, draw {number}": value for how, all_of in accuracy.items() for number, value in enumerate(all_of, 1)
        }
        print(share, accuracy, flush=True)
    return result


def photos(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """Of the five train stamps most like each test stamp, how many are of its category; beside chance."""
    rows = pl.read_csv(data / "stamps" / "metadata.csv")
    parts = {}
    for part in ("train", "test"):
        for file, category in rows.filter(pl.col("split") == part).select("file", "category").iter_rows():
            target = place / part / category / file.replace("/", "_")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(data / "stamps" / file)
        parts[part] = rows.filter(pl.col("split") == part)["category"].to_list()
    weights = next((data / "weights-efficientnet-lite0").glob("*.pth"))
    words = ("--test", str(place / "test"), "--task", "embed", "--budget", f"{240 / hurry:.0f}s")
    out = place / "run"
    whole_run(
        place / "train", out, seed,
        (*words, "--weights", str(weights), *ONE_THREAD, "network.path.frozen=all", "training.epochs=1"),
    )  # fmt: skip
    line = [sys.executable, "-m", "lamina", "search", str(out), str(place / "train"), str(place / "test")]
    done = subprocess.run([*line, "--top", str(TOP), "--json"], check=True, capture_output=True, text=True)
    queries = json.loads(done.stdout)["queries"]

    def category(name: str) -> str:
        return Path(name).parent.name

    right = [np.mean([category(item["name"]) == category(one["query"]) for item in one["found"]]) for one in queries]
    shares = {name: parts["train"].count(name) / len(parts["train"]) for name in set(parts["test"])}
    return {
        "precision at 5": float(np.mean(right)),
        "queries": len(right),
        "by chance": float(np.mean([shares[name] for name in parts["test"]])),
    }


def pictures(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """Fréchet distance, precision, recall, and the accuracy of a classifier that saw made pictures only."""
    folder, out = data / "fashion-mnist", place / "run"
    words = ("--test", str(folder / "test"), "--task", "generate", "--budget", f"{1800 / hurry:.0f}s")
    whole_run(folder / "train", out, seed, (*words, *ONE_THREAD))
    found = of_target(out)
    scores = {name: item["value"] for name, item in found["scores"].items()}
    return {"scores": scores, "a normal distribution": found["baselines"][0]["scores"]["frechet"]["value"]}


def made(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """What made pictures bring a classifier of few: a generator learns from a tenth of the training pictures and makes
    five times as many; a classifier learns from that tenth alone and with the made ones, for the same time, and is
    tested on real ones."""
    folder, out, added = data / "fashion-mnist-small", place / "generator", place / "made"
    few = some_labels(folder / "train", place / "few", 0.1, seed)
    test = ("--test", str(folder / "test"))
    whole_run(few, out, seed, (*test, "--task", "generate", "--budget", f"{900 / hurry:.0f}s", *ONE_THREAD))
    each = 5 * sum(1 for _ in few.glob("*/*")) // sum(1 for _ in few.iterdir())
    line = [sys.executable, "-m", "lamina", "generate", str(out), "--out", str(added), "--each", str(each)]
    subprocess.run(line, check=True, capture_output=True)
    accuracy: dict[str, float] = {}
    for how, more in (("real ones", ()), ("real and made ones", ("--also", str(added)))):
        tried = place / how.replace(" ", "-")
        whole_run(few, tried, seed, (*test, "--budget", f"{150 / hurry:.0f}s", *more, *ONE_THREAD))
        accuracy[how] = of_target(tried)["scores"]["accuracy"]["value"]
    return {
        "accuracy of a classifier of": accuracy,
        "made ones bring, points": 100 * (accuracy["real and made ones"] - accuracy["real ones"]),
        "frechet": of_target(out)["scores"]["frechet"]["value"],
    }


def restyle(data: Path, place: Path, seed: int, hurry: float) -> dict[str, Any]:
    """Fréchet distance of sneakers turned into ankle boots, how many are taken for such, how well they come back."""
    folder, out = data / "fashion-mnist-small", place / "run"
    words = ("--test", str(folder / "test"), "--task", "restyle", "--budget", f"{1200 / hurry:.0f}s")
    classes = ("task.restyled.source=sneaker", "task.restyled.result=ankle-boot")
    whole_run(folder / "train", out, seed, (*words, *ONE_THREAD, *classes))
    found = of_target(out)
    own = ("frechet", "taken", "cycle_psnr")
    return {
        **{score: with_baselines(found, score) for score in own},
        "frechet of real": found["scores"]["frechet_of_real"]["value"],
    }


JOBS: dict[str, Callable[[Path, Path, int, float], dict[str, Any]]] = {
    "one-class": one_class,
    "one-class-turned": partial(one_class, sets=("method.name=transformations",)),
    "series": series,
    "table": table,
    "table-cells": cells,
    "photos": photos,
    "pretraining": pretraining,
    "pictures": pictures,
    "made": made,
    "restyle": restyle,
}


def figures(run: dict[str, Any], before: str = "") -> dict[str, Any]:
    """All figures of a run by their path."""
    found: dict[str, Any] = {}
    for name, value in run.items():
        path = f"{before}, {name}" if before else name
        found |= figures(value, path) if isinstance(value, dict) else {path: value}
    return found


def page(found: dict[str, Any]) -> str:
    """A row for each figure: median, least and most over the seeds; samples are the first seed's."""
    runs = [figures(run) for run in found["runs"]]
    rows = []
    for name, value in runs[0].items():
        values = [run[name] for run in runs]
        if isinstance(value, float):
            told = _machine.around(_machine.spread(values))
        else:
            told = value if name.startswith("samples") else ", ".join(map(str, values))
        rows.append((name, told))
    return _machine.markdown(("figure", f"median (least to most) of {len(runs)} seeds"), rows)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench unlabelled", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(JOBS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--hurry", type=float, default=1.0)
    parser.add_argument("--more", action="store_true", help="further seeds, beside those of the kept result")
    arguments = parser.parse_args(words)
    wrong = [name for name in arguments.names if name not in JOBS]
    if wrong:
        parser.error(f"there is no job {wrong[0]!r}; there are {', '.join(JOBS)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in arguments.names or JOBS:
        earlier = _machine.kept(f"unlabelled-{name}") if arguments.more else {}
        runs = list(earlier.get("runs", []))
        for seed in range(len(runs), len(runs) + arguments.seeds):
            place = Path(tempfile.mkdtemp(prefix=f"unlabelled-{name}-"))
            runs.append(JOBS[name](arguments.data.resolve(), place, seed, arguments.hurry))
            print(name, seed, json.dumps(runs[-1]), flush=True)
            if name not in ("pictures", "made"):
                shutil.rmtree(place)
        if arguments.hurry == 1:
            _machine.keep(f"unlabelled-{name}", {"seeds": len(runs), "runs": runs} | _machine.before(earlier))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
