"""Whole jobs from raw files to sealed models, several seeds each, with the figures they must reach.

    python -m bench accuracy --data DATA [NAME ...] [--seeds 3]

DATA is a folder with the data sets; see docs/benchmarks.md for where each comes from.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

import lamina
from bench import _machine
from bench._run import whole_run
from lamina.tasks._edits import edit_distances
from lamina.tasks._transcripts import normalised


@dataclass(frozen=True)
class Job:
    """One data set, how it is trained, and what it must reach.

    Attributes:
        data: path below the data folder.
        arguments: of `lamina train`; {data} stands for the data folder.
        score: which score counts.
        must: the least (or, for errors, the most) it must be; None where it is only stated.
        ahead: must the network be at least as good as every baseline on the same rows? If not, the verdict must
            only say how it is.
        made: makes the data folder that is used from the one that is given and an empty one.
        besides: what to measure of a finished run besides, by tool: of its folder and the data folder.
        beyond: a baseline, and by how much of the score the network must at least be better than it.
    """

    data: str
    arguments: tuple[str, ...]
    score: str
    must: float | None = None
    ahead: bool = False
    made: Callable[[Path, Path], None] | None = None
    besides: Callable[[Path, Path], dict[str, float]] | None = None
    beyond: tuple[str, float] | None = None


def signs(data: Path, made: Path) -> None:
    """The sentences with the sign of their score instead of it; those with a score of 0 have none."""
    folder = made / "movie-sentences"
    folder.mkdir(parents=True)
    for part in ("train.csv", "test.csv"):
        table = pl.read_csv(data / "movie-sentences" / part).filter(pl.col("score") != 0)
        sign = pl.when(pl.col("score") > 0).then(pl.lit("positive")).otherwise(pl.lit("negative"))
        table.select("text", sign.alias("sign")).write_csv(folder / part)
    (made / "weights-minilm").symlink_to(data / "weights-minilm")


def scenes(data: Path, made: Path) -> None:
    """Pictures and the masks of their classes side by side."""
    for part in ("train", "test"):
        (made / "scenes" / part).mkdir(parents=True)
        (made / "scenes" / part / "images").symlink_to(data / "stamps-detection" / part)
        (made / "scenes" / part / "masks").symlink_to(data / "stamps-detection" / "masks" / part / "semantic")


def cut_out(data: Path, made: Path) -> None:
    """The things of the scenes, each cut out by its true box with a tenth around it: only their names are asked."""
    scenes = data / "stamps-detection"
    for part in ("train", "test"):
        document = json.loads((scenes / "annotations" / f"instances_{part}.json").read_text())
        names = {found["id"]: found["name"] for found in document["categories"]}
        files = {found["id"]: found["file_name"] for found in document["images"]}
        for thing in document["annotations"]:
            x, y, width, height = thing["bbox"]
            half = 0.6 * max(width, height)
            middle = (x + width / 2, y + height / 2)
            edges = [round(one - half) for one in middle] + [round(one + half) for one in middle]
            folder = made / "things" / part / names[thing["category_id"]]
            folder.mkdir(parents=True, exist_ok=True)
            with Image.open(scenes / part / Path(files[thing["image_id"]]).name) as picture:
                picture.convert("RGB").crop(edges).resize((96, 96)).save(folder / f"{thing['id']}.png")
    (made / "weights-efficientnet-lite0").symlink_to(data / "weights-efficientnet-lite0")


COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
CALLED = {
    "animals": ("animal", "animals"), "plants": ("plant", "plants"), "vehicles": ("vehicle", "vehicles"),
    "clothes": ("piece of clothing", "pieces of clothing"), "food": ("piece of food", "pieces of food"),
    "household": ("household thing", "household things"), "town": ("thing from town", "things from town"),
}  # fmt: skip
"""What one thing of a category is called, and several."""


def described(data: Path, made: Path) -> None:
    """Scenes with a sentence that says how many things of which kind are in them, the most first."""
    scenes, rows = data / "stamps-detection", list[dict[str, str]]()
    (made / "described").mkdir(parents=True)
    for part in ("train", "test"):
        (made / "described" / part).symlink_to(scenes / part)
        document = json.loads((scenes / "annotations" / f"instances_{part}.json").read_text())
        names = {found["id"]: found["name"] for found in document["categories"]}
        things: dict[int, Counter[str]] = {found["id"]: Counter() for found in document["images"]}
        for thing in document["annotations"]:
            things[thing["image_id"]][names[thing["category_id"]]] += 1
        for found in document["images"]:
            counted = sorted(things[found["id"]].items(), key=lambda item: (-item[1], item[0]))
            several = [f"{COUNTS[number]} {CALLED[name][number > 1]}" for name, number in counted]
            text = " and ".join([*([", ".join(several[:-1])] if several[1:] else []), several[-1]])
            rows.append({"picture": f"{part}/{Path(found['file_name']).name}", "text": text, "split": part})
    pl.DataFrame(rows).write_csv(made / "described" / "captions.csv")
    (made / "weights-efficientnet-lite0").symlink_to(data / "weights-efficientnet-lite0")


def sign_right(run: Path, data: Path) -> dict[str, float]:
    """In how many sentences that have a sign the answered score has the same, for the network and every baseline."""
    file = data / "movie-sentences" / "test.csv"
    scores = pl.read_csv(file)["score"].to_numpy()
    answered = {
        "network": np.array([row["score"] for row in lamina.load(run / "model.lamina").predict(file).to_rows()])
    }
    tasks = {found["name"]: found["task"] for found in json.loads((run / "baselines.json").read_text())["score"]}
    with np.load(run / "baselines.npz") as outputs:
        for name, task in tasks.items():
            answered[name] = outputs[f"score/{name}"][:, 0] * task["spread"] + task["center"]
    signed = scores != 0
    return {name: float(np.mean(((values > 0) == (scores > 0))[signed])) for name, values in answered.items()}


def without_digits(run: Path, data: Path) -> dict[str, float]:
    """Word error rate on the test clips whose text has no digits, which a recogniser would have to spell as written.

    A clip that the model refuses, as it is longer than it hears, counts as if nothing was understood.
    """
    folder = data / "speech-en"
    rows = pl.read_csv(folder / "metadata.csv").filter(pl.col("split") == "test", ~pl.col("text").str.contains(r"\d"))
    model = lamina.load(run / "model.lamina")
    answers = [
        row["text"] or "" for row in model.predict([{"file": str(folder / name)} for name in rows["file"]]).to_rows()
    ]
    truths = [normalised(text).split() for text in rows["text"]]
    edits = edit_distances(truths, [text.split() for text in answers])
    return {"network": float(edits.sum() / sum(map(len, truths)))}


def ap_and_pace(run: Path, data: Path) -> dict[str, float]:
    """COCO's AP, what is found whatever its name, which of that is named rightly, and how many pictures a second the
    sealed model answers, from file to boxes."""
    results = json.loads((run / "results.json").read_text())
    scores = results["targets"][0]["scores"]
    return {
        "AP": scores["ap"]["value"],
        "found": scores["boxes_found"]["value"],
        "of these named rightly": scores["boxes_named"]["value"],
        "pictures a second": results["seal"]["rows_per_second"],
    }


LOWER_IS_BETTER = ("mae", "rmse", "mase", "word_error")
JOBS: dict[str, Job] = {
    "fashion-mnist": Job("fashion-mnist", ("--budget", "15m"), "accuracy", 0.93),
    "fashion-mnist-4m": Job("fashion-mnist", ("--budget", "4m"), "accuracy", 0.91),
    "fashion-mnist-small": Job("fashion-mnist-small", ("--budget", "4m"), "accuracy", 0.875),
    "spam": Job("spam/train.jsonl", ("--test", "{data}/spam/test.jsonl", "--target", "label", "--budget", "3m",
        "--set", "schema.id.role=ignore"), "accuracy", 0.99),
    "movie-sentences": Job("movie-sentences/train.csv", ("--test", "{data}/movie-sentences/test.csv",
        "--target", "score", "--budget", "2m"), "mae", 1.163, True, besides=sign_right),
    "movie-sentences-minilm": Job("movie-sentences/train.csv", ("--test", "{data}/movie-sentences/test.csv",
        "--target", "score", "--budget", "15m", "--weights", "text={data}/weights-minilm"), "mae", 1.0, True,
        besides=sign_right),
    "movie-sentences-sign": Job("movie-sentences/train.csv", ("--test", "{data}/movie-sentences/test.csv",
        "--target", "sign", "--budget", "2m"), "accuracy", None, True, signs),
    "movie-sentences-sign-minilm": Job("movie-sentences/train.csv", ("--test", "{data}/movie-sentences/test.csv",
        "--target", "sign", "--budget", "15m", "--weights", "text={data}/weights-minilm"), "accuracy", 0.84, True,
        signs),
    "credit": Job("credit/train.csv", ("--test", "{data}/credit/test.csv", "--target", "Status",
        "--budget", "90s"), "auc", None),
    "hmda": Job("hmda/train.csv", ("--test", "{data}/hmda/test.csv", "--target", "deny", "--budget", "90s"),
        "auc", None),
    "lending-club": Job("lending-club/train.csv", ("--test", "{data}/lending-club/test.csv", "--target", "Class",
        "--budget", "2m"), "auc", None),
    "diamonds": Job("diamonds/train.csv", ("--test", "{data}/diamonds/test.csv", "--target", "price",
        "--budget", "6m"), "rmse", None, True),
    "flights": Job("flights/train.parquet", ("--test", "{data}/flights/test.parquet", "--target", "arr_delay",
        "--budget", "5m", "--set", "schema.dep_time.role=ignore", "schema.dep_delay.role=ignore",
        "schema.arr_time.role=ignore", "schema.air_time.role=ignore", "data.bad_rows=0.1"), "mae"),
    # Semi-synthetic scenes: cut-outs of real things pasted on photographs; the test scenes show things of their own.
    "stamps-detection": Job("stamps-detection", ("--budget", "60m",
        "--weights", "path={data}/weights-efficientnet-lite0"), "ap50", 0.80, True, besides=ap_and_pace),
    "stamps-detection-scratch": Job("stamps-detection", ("--budget", "40m"), "ap50", None, True, besides=ap_and_pace),
    # What names alone can reach: the places are given, as no detector has them.
    "stamps-detection-names": Job("things", ("--budget", "15m",
        "--weights", "path={data}/weights-efficientnet-lite0"), "balanced_accuracy", None, True, cut_out),
    "movielens": Job("movielens", ("--target", "rating", "--budget", "4m"), "rmse", 0.87, True),
    "movielens-next": Job("movielens", ("--task", "recommend", "--budget", "4m"), "recall@10", None, True),
    "spoken-language": Job("spoken-language", ("--budget", "3m"), "accuracy", None, True),
    "speech-en": Job("speech-en/metadata.csv", ("--target", "text", "--task", "transcribe", "--budget", "20m"),
        "word_error", None, True, besides=without_digits),
    "speech-nl": Job("speech-nl/metadata.csv", ("--target", "text", "--task", "transcribe", "--budget", "30m"),
        "word_error", None, True),
    "gunpoint": Job("gunpoint/train.csv", ("--test", "{data}/gunpoint/test.csv", "--target", "label",
        "--budget", "60s"), "accuracy", None, True),
    "elecdemand": Job("elecdemand/train.csv", ("--test", "{data}/elecdemand/test.csv", "--target", "demand",
        "--horizon", "48", "--budget", "10m", "--set", 'task.known=["workday", "temperature"]'), "mae", 0.247, True),
    "us-employment": Job("us-employment/train.csv", ("--test", "{data}/us-employment/test.csv", "--target", "employed",
        "--time", "month", "--group", "series_id", "--horizon", "12", "--budget", "10m"), "mase", None, True),
    "osuleaf": Job("osuleaf/train.csv", ("--test", "{data}/osuleaf/test.csv", "--target", "label",
        "--budget", "90s"), "accuracy", None, True),
    "nuclei": Job("nuclei", ("--target", "mask", "--budget", "2m"), "dice", 0.85),
    "scenes": Job("scenes", ("--target", "mask", "--budget", "15m"), "mean_iou", made=scenes),
    "fashion-mnist-small-x2": Job("fashion-mnist-small", ("--restore", "super-resolution", "--budget", "4m"), "psnr",
        None, True, beyond=("bicubic enlargement", 1.0)),
    "stamps-captions": Job("stamps/metadata.csv", ("--task", "caption", "--target", "caption", "--budget", "6m",
        "--weights", "{data}/weights-efficientnet-lite0"), "cider"),
    # Semi-synthetic: the scenes' boxes say what the sentences tell.
    "scenes-captions": Job("described/captions.csv", ("--task", "caption", "--target", "text", "--budget", "15m",
        "--weights", "{data}/weights-efficientnet-lite0"), "cider", None, True, described),
    "stamps-colourise": Job("stamps", ("--restore", "colourise", "--budget", "4m"), "psnr"),
}  # fmt: skip


def train(job: Job, name: str, data: Path, seed: int, keep: Path) -> dict[str, Any]:
    """One run of a job."""
    if job.made is not None:
        made = keep / f"data of {name}"
        if not made.exists():
            job.made(data, made)
        data = made
    arguments = [argument.format(data=data, name=name) for argument in job.arguments]
    folder = keep / f"{name}-{seed}"
    found = whole_run(data / job.data, folder, seed, arguments)
    found["target"] = json.loads((folder / "results.json").read_text())["targets"][0]
    if job.besides is not None:
        found["besides"] = job.besides(folder, data)
    return found


def reached(job: Job, found: Mapping[str, Any]) -> bool:
    """Does a summary reach what the job must reach? Asked anew of kept results: what must be reached may change."""
    value, kinds = found["median"], found.get("verdict kinds", [])
    enough = job.must is None or (value <= job.must if job.score in LOWER_IS_BETTER else value >= job.must)
    far = job.beyond is None or found["median beyond"] >= job.beyond[1]
    return enough and far and not (job.ahead and "baseline" in kinds)


def summary(job: Job, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and spread of the score over seeds, the verdicts, the parity and the time."""
    targets = [run["target"] for run in runs]
    values = [target["scores"][job.score]["value"] for target in targets]
    besides: dict[str, Any] = {}
    if job.besides is not None:
        words = job.besides.__name__.replace("_", " ")
        found = {name: [run["besides"][name] for run in runs] for name in runs[0]["besides"]}
        besides["besides"] = {words: found}
    if job.beyond is not None:
        by = [value - _of_baseline(target, job) for value, target in zip(values, targets, strict=True)]
        besides |= {f"beyond {job.beyond[0]}": by, "median beyond": float(np.median(by))}
    return {
        "score": job.score,
        "values": values,
        **_machine.spread(values),
        "all scores": _every_score([target["scores"] for target in targets]),
        "baselines": {
            found["name"]: _every_score([target["baselines"][number]["scores"] for target in targets])
            for number, found in enumerate(targets[0]["baselines"])
        },
        "verdict kinds": [target["verdict_kind"] for target in targets],
        "verdicts": [target["verdict"] for target in targets],
        "same answers as sealed": [run["seal"]["same_answers"] for run in runs],
        "largest difference": max(run["seal"]["largest_difference"] for run in runs),
        "wall seconds": [round(run["wall seconds"], 1) for run in runs],
        "peak memory MB": [round(run["cost"]["peak_memory_mb"]) for run in runs],
        "command": command(job),
        **besides,
    }


def with_earlier(earlier: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """A summary of a job's kept seeds and of further ones."""
    joined = {key: _joined(earlier[key], value) if key in earlier else value for key, value in found.items()}
    joined |= _machine.spread(joined["values"])
    joined["largest difference"] = max(earlier["largest difference"], found["largest difference"])
    if "median beyond" in found:
        (lead,) = (values for name, values in joined.items() if name.startswith("beyond "))
        joined["median beyond"] = float(np.median(lead))
    return joined | _machine.before(earlier)


def _joined(earlier: Any, found: Any) -> Any:
    """Lists, which are by seed, one after the other, in dictionaries, too."""
    if isinstance(found, list):
        return [*earlier, *found]
    if isinstance(found, dict):
        return {key: _joined(earlier[key], value) for key, value in found.items() if key in earlier}
    return found


def _every_score(scores: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Every score of the runs, by name."""
    return {name: [each[name]["value"] for each in scores] for name in scores[0]}


def _of_baseline(target: Mapping[str, Any], job: Job) -> float:
    """The score of the baseline that a job must be better than."""
    assert job.beyond is not None
    scores = {found["name"]: found["scores"] for found in target["baselines"]}
    return float(scores[job.beyond[0]][job.score]["value"])


def command(job: Job) -> str:
    """How a job is run."""
    return " ".join(("lamina train DATA", *job.arguments))


def wanted(job: Job) -> str:
    """What a job must reach, in words."""
    return str(job.must) if job.beyond is None else f"be {job.beyond[1]:g} beyond {job.beyond[0]}"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench accuracy", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(JOBS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--more", action="store_true", help="further seeds, beside those of the kept result")
    arguments = parser.parse_args(words)
    for name in arguments.names or JOBS:
        earlier = _machine.kept(f"accuracy-{name}") if arguments.more else {}
        if earlier and earlier["command"] != command(JOBS[name]):
            parser.error(f"accuracy-{name}.json was made by another command: {earlier['command']}; leave out --more")
        keep, known = Path(tempfile.mkdtemp(prefix="lamina-bench-")), earlier.get("n", 0)
        seeds = range(known, known + arguments.seeds)
        found = summary(JOBS[name], [train(JOBS[name], name, arguments.data.resolve(), seed, keep) for seed in seeds])
        found = with_earlier(earlier, found) if earlier else found
        shutil.rmtree(keep)
        path = _machine.keep(f"accuracy-{name}", found)
        mark = "reached" if reached(JOBS[name], found) else "NOT reached"
        print(f"{name}: {found['score']} {found['median']:.4f} ({found['least']:.4f} to {found['most']:.4f}, "
              f"n={found['n']}), must {wanted(JOBS[name])}: {mark}; {path.name}")  # fmt: skip
    return 0
