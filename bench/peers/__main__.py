"""The same job with Lamina and with what a user would pick instead, side by side.

    python -m bench peers --data DATA [--only JOB] [--tools NAME ...] [--rounds 5] [--more] [--watched 1]
                          [--environments FOLDER]

Every tool runs as a program of its own in an environment of its own (made here on the first call, with the same
PyTorch), round by round in turn, from raw files to answers for the test rows, which are scored here, all in the same
way. The programs lie in `_programs/`, each as its tool's documentation would have it; tools that train a given network
train the same one, with the same recipe and number of passes.

Seconds to the wanted score come from rounds of their own (--watched), in which peers answer the test rows after every
pass, with the clock stopped; one that tells of no passes has it at its end, in every round. Lamina's come from every
round too: what it scores on its own validation part while it trains, which is its time.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from bench import _machine, _plot
from bench.install import packages_mb

BEFORE = ("understand", "prepare", "choose")
PROGRAMS = Path(__file__).parent / "_programs"
ROOT = Path(__file__).parents[2]
PINNED = ("torch", "numpy")
"""Packages that every environment has in the version that Lamina is tested with."""
FASTAI = (
    *("fastcore", "fasttransform", "fastdownload", "fastprogress", "plum-dispatch<2.10", "cloudpickle", "matplotlib"),
    *("pandas", "requests", "pyyaml", "scikit-learn", "spacy<4", "packaging", "torch", "pillow"),
)
"""What fastai asks for, but for torchvision."""


@dataclass(frozen=True)
class Peer:
    """A tool, and how it is installed and started.

    Attributes:
        program: under `_programs/`, without ".py".
        packages: what pip installs.
        alone: what pip installs without what it asks for, because that does not work here.
        tells: the package whose version is told.
        environment: variables for its process.
    """

    program: str
    packages: tuple[str, ...]
    tells: str
    alone: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What all tools do.

    Attributes:
        data: the folder under DATA with the raw files.
        epochs: passes over the data of those that train a network of their own making.
        seconds: the time limit of those that take one.
        score: of (true, answered) test values.
        lower: is a lower score better?
        truth: the test rows' values, in the order that programs answer in.
        wanted: the score that "seconds to the score" is about.
        words: what `lamina train` is told besides.
        named: the score's name in Lamina's results.
        by_row: is an answer about one row of the test file? Else the score is that of Lamina's own test.
    """

    data: str
    epochs: int
    seconds: float
    lower: bool
    score: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], float]
    truth: Callable[[Path], np.ndarray[Any, Any]]
    wanted: float
    words: tuple[str, ...]
    peers: Mapping[str, Peer]
    named: str
    by_row: bool = True


def _classes_of_files(data: Path) -> np.ndarray[Any, Any]:
    places = sorted(place for place in (data / "test").iterdir() if place.is_dir())
    return np.array([place.name for place in places for _ in place.glob("*.png")])


def _numbers_of(column: str) -> Callable[[Path], np.ndarray[Any, Any]]:
    def numbers(data: Path) -> np.ndarray[Any, Any]:
        with (data / "test.csv").open(encoding="utf-8", newline="") as file:
            return np.array([float(row[column]) for row in csv.DictReader(file)])

    return numbers


def _rmse(truth: np.ndarray[Any, Any], answers: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(((truth - answers) ** 2).mean()))


def _mae(truth: np.ndarray[Any, Any], answers: np.ndarray[Any, Any]) -> float:
    return float(np.abs(truth - answers).mean())


def _accuracy(truth: np.ndarray[Any, Any], answers: np.ndarray[Any, Any]) -> float:
    return float((truth == answers).mean())


TEXTBOOK = ("torch", "pillow", "pandas")
PICTURES = {
    "textbook PyTorch": Peer("pictures/textbook", TEXTBOOK, "torch"),
    "Lightning": Peer("pictures/with_lightning", ("torch", "pillow", "lightning"), "lightning"),
    "Hugging Face Trainer": Peer(
        "pictures/with_transformers", ("torch", "pillow", "transformers", "accelerate"), "transformers"
    ),
    "fastai": Peer("pictures/with_fastai", FASTAI, "fastai", alone=("fastai",)),
    "Keras (JAX)": Peer(
        "pictures/with_keras", ("keras", "jax", "pillow"), "keras", environment={"KERAS_BACKEND": "jax"}
    ),
    "Keras (PyTorch)": Peer(
        "pictures/with_keras", ("keras", "torch", "pillow"), "keras", environment={"KERAS_BACKEND": "torch"}
    ),
}
TABLE = {
    "LightGBM": Peer("table/with_lightgbm", ("lightgbm", "pandas", "scikit-learn"), "lightgbm"),
    "AutoGluon": Peer("table/with_autogluon", ("autogluon.tabular[lightgbm,catboost,xgboost]",), "autogluon.tabular"),
    "textbook PyTorch": Peer("table/textbook", TEXTBOOK, "torch"),
}
TEXT = {
    "scikit-learn": Peer("text/with_sklearn", ("scikit-learn",), "scikit-learn"),
    "textbook PyTorch": Peer("text/textbook", TEXTBOOK, "torch"),
}
FORECAST = {
    "N-HiTS (NeuralForecast)": Peer(
        "forecast/with_neuralforecast", ("neuralforecast", "torch", "pandas"), "neuralforecast"
    ),
}
JOBS = {
    "pictures": Job(
        "fashion-mnist-small", 12, 0, False, _accuracy, _classes_of_files, 0.88,
        ("--set", "training.epochs=12"), PICTURES, "accuracy",
    ),
    "table": Job(
        "diamonds", 30, 180, True, _rmse, _numbers_of("price"), 540,
        ("--test", "{data}/test.csv", "--target", "price", "--budget", "3m"), TABLE, "rmse",
    ),
    "text": Job(
        "movie-sentences", 10, 0, True, _mae, _numbers_of("score"), 1.12,
        ("--test", "{data}/test.csv", "--target", "score", "--budget", "2m"), TEXT, "mae",
    ),
    "forecast": Job(
        "elecdemand", 0, 300, True, _mae, _numbers_of("demand"), 0.247,
        ("--test", "{data}/test.csv", "--target", "demand", "--horizon", "48", "--budget", "5m",
         "--set", 'task.known=["workday", "temperature"]'), FORECAST, "mae", by_row=False,
    ),
}  # fmt: skip


@dataclass
class Usage:
    """What a process and those that it started took."""

    wall: float = 0.0
    processor: float = 0.0
    peak_mb: float = 0.0
    lines: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    output: str = ""


def measured(command: Sequence[str | Path], environment: Mapping[str, str]) -> Usage:
    """Run a command to its end.

    Raises:
        SystemExit: it failed.
    """
    used, begin = Usage(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=dict(environment))
        watching = threading.Thread(target=_watch, args=(process.pid, used), daemon=True)
        watching.start()
        assert process.stdout is not None
        for line in process.stdout:
            used.output += line
            if line.startswith("{"):
                used.lines.append((time.perf_counter() - begin, _facts(line)))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        used.wall, used.processor = time.perf_counter() - begin, usage.ru_utime + usage.ru_stime
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(map(str, command))}\n{used.output}\n{said.read()}")
    return used


def _facts(line: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return found


def _watch(pid: int, used: Usage) -> None:
    """Note the largest memory of a process and its children: what is shared between them counts once."""
    while (total := _memory_kb(pid)) > 0:
        used.peak_mb = max(used.peak_mb, total / 1024)
        time.sleep(0.2)


def _memory_kb(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return own + sum(_memory_kb(int(child)) for child in children)


def environment_of(name: str, peer: Peer, folder: Path) -> tuple[Path, float]:
    """(Python of the tool's environment, MB of its packages); made on the first call."""
    place = folder / name.lower().replace(" ", "-").replace("(", "").replace(")", "")
    python = place / "bin" / "python"
    ready, asked = place / "ready.json", [*peer.packages, *peer.alone]
    known = json.loads(ready.read_text()) if ready.exists() else {}
    if known.get("packages") != asked:
        print(f"making the environment of {name} in {place}", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        bare = packages_mb(place)
        pins = place / "pins.txt"
        lines = (ROOT / "constraints.txt").read_text().splitlines()
        pins.write_text("\n".join(line for line in lines if line.partition("==")[0] in PINNED))
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", pins]
        subprocess.run([*pip, "numpy", *peer.packages], check=True)
        if peer.alone:
            subprocess.run([*pip, "--no-deps", *peer.alone], check=True)
        known = {"packages": asked, "MB": packages_mb(place) - bare}
        ready.write_text(json.dumps(known))
    return python, known["MB"]


def _version(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def run_peer(
    peer: Peer, python: Path, job: Job, data: Path, seed: int, watched: bool = False
) -> dict[str, float | None]:
    """One run of a peer: its figures; of a watched one only when the wanted score was reached, None where never."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "answers.npy"
        paths = f"{PROGRAMS}{os.pathsep}{(PROGRAMS / peer.program).parent}"
        command = [python, PROGRAMS / f"{peer.program}.py", "--data", data / job.data, "--out", out]
        command += ["--epochs", str(job.epochs), "--seconds", str(job.seconds), "--seed", str(seed)]
        command += ["--threads", str(len(os.sched_getaffinity(0)))]
        command += ["--watched"] if watched else []
        used = measured(command, {**os.environ, "PYTHONPATH": paths, **peer.environment})
        answers = np.load(out)
        if watched:
            return {"seconds to the score": _seconds_to_score(job, used, answers, data / job.data, out.parent)}
    passes = [(at, facts) for at, facts in used.lines if "examples" in facts]
    paces = [facts["examples"] / facts["seconds"] for _, facts in passes]
    before = passes[0][0] - passes[0][1]["seconds"] if passes else None
    return {
        "score": job.score(job.truth(data / job.data), answers),
        "seconds": used.wall,
        "seconds until training": before,
        "examples a second": statistics.median(paces[1:] or paces) if paces else None,
        "processor seconds": used.processor,
        "peak MB": used.peak_mb,
    }


def _seconds_to_score(job: Job, used: Usage, answers: np.ndarray[Any, Any], files: Path, place: Path) -> float | None:
    """Of a watched run: from its start to the end of the first pass after which the score was as wanted."""
    truth, aside = job.truth(files), 0.0
    for at, facts in used.lines:
        if "answers" in facts:
            aside += facts["answering"]
            if _reached(job, job.score(truth, np.load(place / facts["answers"]))):
                return float(at - aside)
    return used.wall - aside if _reached(job, job.score(truth, answers)) else None


def run_lamina(job: Job, data: Path, seed: int) -> dict[str, float | None]:
    """One run of Lamina, all five steps: `lamina train`, with nothing known from earlier runs."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        files = data / job.data
        train = files / "train.csv" if (files / "train.csv").exists() else files
        words = [word.format(data=files) for word in job.words]
        command = [sys.executable, "-m", "lamina", "train", str(train), *words]
        command += ["--seed", str(seed), "--out", str(out), "--json", "--quiet"]
        used = measured(command, {**os.environ, "LAMINA_CACHE": f"{place}/cache"})
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        results = json.loads((out / "results.json").read_text())
        own = results["targets"][0]["scores"]
        score = job.score(job.truth(files), _answers(out, files)) if job.by_row else own[job.named]["value"]
    paces = [entry["examples_per_second"] for entry in log if entry["kind"] == "train"]
    spent = results["cost"]["seconds"]
    before = used.wall - sum(spent.values()) + sum(spent[step] for step in BEFORE)
    told = [entry for entry in log if entry["kind"] == "validation" and job.named in entry]
    soonest = next((before + entry["seconds"] for entry in told if _reached(job, entry[job.named])), None)
    if not told and _reached(job, score):
        # It validates by another score.
        soonest = used.wall
    return {
        "score": score,
        "seconds": used.wall,
        "seconds to the score": soonest,
        "seconds until training": before,
        "examples a second": statistics.median(paces[len(paces) // 4 :]),
        "processor seconds": used.processor,
        "peak MB": used.peak_mb,
    }


def _answers(run: Path, files: Path) -> np.ndarray[Any, Any]:
    """The sealed model's answers to the test rows, in the order of `Job.truth`."""
    test = files / "test.csv" if (files / "test.csv").exists() else files / "test"
    model = lamina.load(run)
    rows = model.predict(str(test)).to_rows()
    if test.is_dir():
        rows = sorted(rows, key=lambda row: Path(row["path"]).parts)
    return np.array([row[model.targets[0]] for row in rows])


@dataclass
class Rounds:
    """A tool's runs so far: their figures, and when each of those that tell had the wanted score, None for never."""

    runs: list[dict[str, float | None]] = field(default_factory=list)
    soon: list[float | None] = field(default_factory=list)


def compare(
    job: Job,
    data: Path,
    seeds: Sequence[int],
    watched: Sequence[int],
    environments: Path,
    known: Mapping[str, Rounds],
) -> dict[str, Any]:
    """All tools in turn, round by round: figures by tool.

    Args:
        seeds: of the rounds.
        watched: seeds of those that tell when the wanted score was reached.
        known: by tool, what earlier calls measured; all that is measured is added.
    """
    pythons = {name: environment_of(name, job.peers[name], environments) for name in known if name in job.peers}
    for seed in sorted({*seeds, *watched}):
        for name, rounds in known.items():
            if seed in seeds:
                if name == "Lamina":
                    run = run_lamina(job, data, seed)
                    rounds.soon.append(run.pop("seconds to the score"))
                else:
                    run = run_peer(job.peers[name], pythons[name][0], job, data, seed)
                    if _tells_of_no_passes(run):
                        rounds.soon.append(run["seconds"] if _reached(job, float(run["score"] or 0)) else None)
                rounds.runs.append(run)
                print(seed, name, _rounded(run), flush=True)
            if seed in watched and name in pythons and not any(map(_tells_of_no_passes, rounds.runs)):
                found = run_peer(job.peers[name], pythons[name][0], job, data, seed, watched=True)
                rounds.soon.append(found["seconds to the score"])
            print(seed, name, "to the score:", rounds.soon[-1:], flush=True)
    return {"wanted": job.wanted, "epochs": job.epochs, "tools": {
        name: _figures(job, rounds) | ({} if name not in pythons else {
            "version": _version(pythons[name][0], job.peers[name].tells), "installed MB": pythons[name][1],
        })
        for name, rounds in known.items()
    }}  # fmt: skip


def _tells_of_no_passes(run: Mapping[str, float | None]) -> bool:
    return run["seconds until training"] is None


def earlier_rounds(job: str, tools: Sequence[str]) -> dict[str, Rounds]:
    """What the kept result of a job holds of each tool.

    Raises:
        SystemExit: it holds no single rounds, or is of other tools.
    """
    found = _machine.kept(f"peers-{job}").get("tools", {})
    if set(found) != set(tools) or any("runs" not in part for part in found.values()):
        raise SystemExit(f"peers-{job}.json holds no rounds of {', '.join(tools)} to add to: leave out --more")
    return {name: Rounds(found[name]["runs"], found[name]["soon"]["each"]) for name in tools}


def _rounded(found: Mapping[str, float | None]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in found.items() if value is not None}


def _figures(job: Job, rounds: Rounds) -> dict[str, Any]:
    """Spreads of a tool's runs, and each of them; of what it does not tell (its passes) none."""
    found: dict[str, Any] = {}
    runs, soon = rounds.runs, rounds.soon
    for key in runs[0]:
        told = [value for run in runs if (value := run[key]) is not None]
        found |= {key: _machine.spread(told)} if told else {}
    found["reached"] = sum(_reached(job, float(run["score"] or 0)) for run in runs)
    found["soon"] = {"of": len(soon), "seconds": [value for value in soon if value is not None], "each": soon}
    return found | {"runs": runs}


def _reached(job: Job, score: float) -> bool:
    return score <= job.wanted if job.lower else score >= job.wanted


def page(job: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows, name = [], job["job"]
    passes = f"{job['epochs']} passes over the data. " if job["epochs"] else ""
    order = sorted(job["tools"].items(), key=lambda item: item[1]["seconds"]["median"])
    for tool, part in order:
        rows.append((
            f"{tool} {part.get('version', '')}".strip(),
            f"{_machine.around(part['score'])}, reached {part['reached']} of {part['score']['n']}",
            _soonest(part),
            _machine.around(part["seconds"], ".0f"),
            *(_machine.around(part[key], form) if key in part else "" for key, form in TOLD),
            f"{part['processor seconds']['median']:.0f}",
            f"{part['peak MB']['median']:.0f}",
            f"{part['installed MB']:.0f}" if "installed MB" in part else "",
        ))  # fmt: skip
    head = ("tool", "score", "seconds to it", "seconds in all", *(key for key, _ in TOLD))
    spent = [(tool, part["seconds"]) for tool, part in order]
    plot = _plot.bars(f"peers-{name}", f"{name}: seconds from raw files to answers", spent, "Lamina")
    table = _machine.markdown((*head, "processor seconds", "peak MB", "installed MB"), rows)
    return (
        f"{passes}Score wanted: {job['wanted']:g}. Lamina's seconds hold all five steps; to the score, those until its "
        f"validation part had it.\n\n{plot}\n\n{table}"
    )


TOLD = (("seconds until training", ".1f"), ("examples a second", ".0f"))
"""What only tools tell that train in passes."""


def _soonest(part: Mapping[str, Any]) -> str:
    """When the wanted score was reached, and how often."""
    soon = part.get("soon", {"of": 0, "seconds": []})
    if not soon["of"]:
        return ""
    often = f"{len(soon['seconds'])} of {soon['of']}"
    return f"{statistics.median(soon['seconds']):.0f}, {often}" if soon["seconds"] else often


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench peers", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(JOBS), choices=list(JOBS), help="jobs")
    parser.add_argument("--tools", nargs="+", default=[], help="names of tools; default: all; the result is of these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--more", action="store_true", help="further rounds, beside those of the kept result")
    parser.add_argument("--watched", type=int, default=1, help="rounds that tell when the wanted score was reached")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-peers")
    arguments = parser.parse_args(words)
    data = arguments.data.resolve()
    for name in arguments.only:
        job = JOBS[name]
        tools = [tool for tool in ("Lamina", *job.peers) if tool in (arguments.tools or ["Lamina", *job.peers])]
        earlier = _machine.kept(f"peers-{name}") if arguments.more else {}
        known = earlier_rounds(name, tools) if arguments.more else {tool: Rounds() for tool in tools}
        first = max(len(rounds.runs) for rounds in known.values())
        seeds, watched = range(first, first + arguments.rounds), range(first, first + arguments.watched)
        found = compare(job, data, seeds, watched, arguments.environments.resolve(), known)
        print(_machine.keep(f"peers-{name}", {"job": name, **found} | _machine.before(earlier)))
    return 0
