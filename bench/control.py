"""Learning to act, beside stable-baselines3: mean return of fresh episodes, and steps a second while it learns.

    python -m bench control [NAME ...] [--seeds 3] [--peer-seeds 3] [--environments FOLDER]

Both use one thread, the same environment and networks of one size; each has the settings that its own authors
recommend, and as many steps unless these say otherwise (then the table does). They run in turn, seed by seed.
Playing episodes during training, by which Lamina chooses and the other only tells when it was good enough, does not
count in the steps a second; it does in Lamina's seconds, and in those until the wanted return, but not in the other's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import _machine
from bench.peers.__main__ import PROGRAMS, Peer, environment_of

SB3 = Peer("control/sb3", ("stable-baselines3", "gymnasium", "box2d", "pygame", "torch", "numpy"), "stable-baselines3")


@dataclass(frozen=True)
class Job:
    """What is learned.

    Attributes:
        world: a Gymnasium id.
        method: ppo, dqn or sac.
        steps: in the environment.
        wanted: the mean return to reach.
        sets: what Lamina is told besides.
        peer_steps: where its authors recommend another number of steps; 0 for as many as Lamina.
        work: how much each learns in a step in the environment.
    """

    world: str
    method: str
    steps: int
    wanted: float
    sets: tuple[str, ...] = ()
    peer_steps: int = 0
    work: str = ""


JOBS = {
    "cartpole-ppo": Job(
        "CartPole-v1", "ppo", 100_000, 475,
        work="Lamina takes a step of the optimizer, on 256 rows, in 43 steps; the other one, on 256, in 13",
    ),
    "cartpole-dqn": Job(
        "CartPole-v1", "dqn", 50_000, 475, ("method.updates=0.125", "optimizer.learning_rate=0.0015"),
        work="Lamina learns from a batch of 128 in eight steps, the other from one of 64 in two",
    ),
    "lunarlander-ppo": Job(
        "LunarLander-v3", "ppo", 1_000_000, 200,
        work="Lamina takes a step of the optimizer, on 256 rows, in 43 steps; the other one, on 64, in 16",
    ),
    "lunarlander-dqn": Job(
        "LunarLander-v3", "dqn", 300_000, 200, ("method.steps=1",), 100_000,
        "Lamina learns from a batch of 128 in four steps, the other from one of 128 in each",
    ),
    "pendulum-sac": Job(
        "Pendulum-v1", "sac", 20_000, -180,
        work="Lamina learns from a batch of 256 in four steps, the other from one of 256 in each",
    ),
}  # fmt: skip


def lamina_run(job: Job, seed: int) -> dict[str, Any]:
    """One run; {"seconds", "steps", "steps_per_second", "mean_return", "seconds_to_wanted"}."""
    folder = Path(tempfile.mkdtemp(prefix="control-"))
    line = [
        *(sys.executable, "-m", "lamina", "train", f"gym:{job.world}", "--seed", str(seed), "--quiet"),
        *("--out", str(folder / "run"), "--set", f"method.name={job.method}", f"training.steps={job.steps}"),
        *("training.threads=1", *job.sets),
    ]
    subprocess.run(line, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    results = json.loads((folder / "run" / "results.json").read_text())
    log = [json.loads(entry) for entry in (folder / "run" / "log.jsonl").read_text().splitlines()]
    shutil.rmtree(folder)
    validations = [entry for entry in log if entry["kind"] == "validation"]
    reached = [entry["seconds"] for entry in validations if entry["mean_return"] >= job.wanted]
    steps, seconds = results["data"]["steps"], results["cost"]["seconds"]["train"]
    return {
        "seconds": seconds,
        "steps": steps,
        "steps_per_second": steps / (seconds - sum(entry["seconds"] for entry in log if entry["kind"] == "aside")),
        "mean_return": results["targets"][0]["scores"]["mean_return"]["value"],
        "seconds_to_wanted": reached[0] if reached else None,
        "random": results["targets"][0]["baselines"][0]["scores"]["mean_return"]["value"],
    }


def peer_run(python: Path, job: Job, seed: int) -> dict[str, Any]:
    """One run of stable-baselines3."""
    line = [
        str(python),
        str(PROGRAMS / "control" / "sb3.py"),
        job.world,
        job.method,
        str(job.peer_steps or job.steps),
        str(seed),
        str(job.wanted),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(line, check=True, env=environment, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def summary(job: Job, lamina: Sequence[dict[str, Any]], peer: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians and spreads of both."""
    found: dict[str, Any] = {"job": vars(job), "seeds": len(lamina)}
    for name, runs in (("lamina", lamina), ("stable-baselines3", peer)):
        if runs:
            found[name] = {
                key: _machine.spread([run[key] for run in runs])
                for key in ("mean_return", "steps_per_second", "seconds")
            }
            found[name]["runs"] = list(runs)
    if peer:
        pairs = zip(lamina, peer, strict=False)
        ratios = [one["steps_per_second"] / other["steps_per_second"] for one, other in pairs]
        found["pace ratio"] = _machine.spread(ratios)
    return found


def page(found: dict[str, Any]) -> str:
    """A row for each tool."""
    job, rows = found["job"], []
    for name in ("lamina", "stable-baselines3"):
        if name in found:
            tool = found[name]
            reached = [run["seconds_to_wanted"] for run in tool["runs"] if run.get("seconds_to_wanted") is not None]
            known = any("seconds_to_wanted" in run for run in tool["runs"])
            sooner = f"{max(reached):.0f} at most, " if reached else ""
            sooner = f"{sooner}{len(reached)} of {len(tool['runs'])}" if known else "-"
            cells = (_machine.around(tool[key]) for key in ("mean_return", "steps_per_second", "seconds"))
            steps = f"{tool['runs'][0]['steps']:,}"
            rows.append((name, steps, *cells, sooner))
    head = (f"{job['world']}, {job['method']}", "steps", "mean return", "steps a second", "seconds")
    table = _machine.markdown((*head, f"seconds until {job['wanted']:g}"), rows)
    pace = f"\n\nSteps a second, ratio: {_machine.around(found['pace ratio'])}." if "pace ratio" in found else ""
    peer = found.get("stable-baselines3", {"runs": []})["runs"]
    fewer = f" ({len(peer)} of stable-baselines3)" if 0 < len(peer) < found["seeds"] else ""
    work = next(
        (known.work for known in JOBS.values() if (known.world, known.method) == (job["world"], job["method"])), ""
    )
    return f"{table}\n\n{found['seeds']} seeds{fewer}.{pace} {work}: steps are not equal work."


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench control", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(JOBS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--peer-seeds", type=int, help="of the peer, which takes longer; as many as Lamina's unless said"
    )
    parser.add_argument("--environments", default=".venv-peers", help="where the peer's environment is made")
    parser.add_argument("--alone", action="store_true", help="Lamina without the peer")
    arguments = parser.parse_args(words)
    wrong = [name for name in arguments.names if name not in JOBS]
    if wrong:
        parser.error(f"there is no job {wrong[0]!r}; there are {', '.join(JOBS)}")
    python = None if arguments.alone else environment_of("stable-baselines3", SB3, Path(arguments.environments))[0]
    for name in arguments.names or JOBS:
        job, own, other = JOBS[name], [], []
        for seed in range(arguments.seeds):
            own.append(lamina_run(job, seed))
            print(name, seed, "lamina", own[-1], flush=True)
            if python is not None and seed < (arguments.peer_seeds or arguments.seeds):
                other.append(peer_run(python, job, seed))
                print(name, seed, "stable-baselines3", other[-1], flush=True)
        _machine.keep(f"control-{name}", summary(job, own, other))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
