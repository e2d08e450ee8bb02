"""Step 5: fresh episodes, opened only now; seal and prove the sealed policy; film it; report."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lamina.data.schema import Chunk, Json
from lamina.environments import TEST_SEED, World
from lamina.environments.play import Played, film
from lamina.evaluate.intervals import percentile, resampled
from lamina.evaluate.results import BaselineResult, Exhibit, Interval, Results, Seal, TargetResult
from lamina.evaluate.scores import digits
from lamina.evaluate.verdict import FEW_ROWS, verdict
from lamina.learn.loop import Status
from lamina.model import card, golden
from lamina.narrate import Narrator
from lamina.networks.assembly import Assembly
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.control.choose import TESTED
from lamina.steps.control.player import VALIDATION_EPISODES, Player, task_of
from lamina.steps.control.prepare import TEST_EPISODES, Simpler
from lamina.steps.control.understand import ACTION
from lamina.steps.finish import Course, versions_of
from lamina.steps.pace import SEALING_SECONDS
from lamina.steps.sealing import prove_and_write, sealed_parts
from lamina.tasks.control import Task

Array = np.ndarray[Any, Any]
PRIMARY = "mean_return"
PROVEN = 2000
"""Observations of the test episodes that the sealed policy must answer as the trained one does."""
REPLICATES = 2000
FILMED = 30.0
"""Seconds at most for the film of an episode."""


def test(
    course: Course,
    world: World,
    player: Player,
    simpler: Sequence[Simpler],
) -> Results:
    """Play the test episodes, compare, seal, prove, film, report."""
    plan, run, narrator = course.plan, course.run, course.narrator
    narrator.step("Test")
    wanted = episodes_of(simpler)
    played = player.play(wanted, player.seed_of(TEST_SEED), keep=PROVEN, seconds=_seconds(course))
    found = assessed(world, played, simpler, course.seconds, plan.seed)
    told = episodes_told(plan, len(played.returns), course.record.of("validation"))
    narrator.say(told)
    course.tell(found)
    data, versions = data_document(plan, world, course.ended, player, told), versions_of(plan, run)
    task = task_of(player.method, ACTION, world)
    sealed = _sealed(plan, world, player, task, found, played, run, data, versions)
    course.tell_seal(sealed, "observations answered again from their raw values")
    exhibits = _exhibits(world, player, played, narrator, TESTED * plan.budget or FILMED)
    return course.finish(
        (found,),
        sealed,
        data=data,
        network=network_document(player),
        versions=versions,
        exhibits=exhibits,
    )


def _seconds(course: Course) -> float:
    """For the test episodes: what the budget leaves, with time to seal the policy kept back."""
    budget = course.plan.budget
    left = budget - sum(course.clock.seconds.values()) - SEALING_SECONDS
    return max(left, TESTED * budget) if budget else math.inf


def episodes_told(plan: Plan, tested: int, validations: Sequence[Mapping[str, Any]]) -> str:
    """How many episodes were played, and why they are fewer than usual.

    Args:
        validations: the log's entries.
    """
    validated = [int(entry["episodes"]) for entry in validations]
    text = f"{tested} fresh episodes"
    if validated:
        fewest, most = min(validated), max(validated)
        text += f", and {fewest if fewest == most else f'{fewest} to {most}'} in each of {len(validated)} validations"
    usual = tested >= TEST_EPISODES and min(validated, default=VALIDATION_EPISODES) >= VALIDATION_EPISODES
    why = "the budget has no time for more" if plan.budget else "episodes take long here"
    return text if usual else f"{text} ({TEST_EPISODES} and {VALIDATION_EPISODES} where there is time: {why})"


def episodes_of(simpler: Sequence[Simpler]) -> int:
    """As many test episodes as the simpler policies played, so that all are compared on the same ones."""
    return min((len(item.returns) for item in simpler), default=TEST_EPISODES)


def assessed(world: World, played: Played, simpler: Sequence[Simpler], seconds: float, seed: int) -> TargetResult:
    """Mean return and length with intervals over episodes, and the verdict against the simpler policies.

    Args:
        seconds: what training the network took.
    """
    episodes = len(played.returns)
    weights = np.concatenate(list(resampled(episodes, REPLICATES, seed)))
    own = _mean(played.returns, weights)
    scores = {PRIMARY: own, "median_return": _median(played.returns, weights)}
    scores["worst_return"] = replace(own, value=float(played.returns.min()), low=math.nan, high=math.nan)
    scores["mean_length"] = _mean(played.lengths.astype(np.float64), weights)
    compared = tuple(
        BaselineResult(
            item.name,
            {PRIMARY: _mean(item.returns[:episodes], weights)},
            item.seconds,
            # The same seeds: the episodes begin alike, so differences are taken episode by episode.
            _mean(played.returns - item.returns[:episodes], weights),
        )
        for item in simpler
    )
    # Few rows would call for caution, but whole episodes are no rows: their interval says enough.
    kind, text = verdict(PRIMARY, own, seconds, compared, max(episodes, FEW_ROWS))
    if world.solved is not None:
        reached = own.value >= world.solved
        sure = own.low >= world.solved
        word = "It is solved" if sure else "It counts as solved" if reached else "It is not solved"
        text += (
            f" {word}: its makers ask for a mean return of {digits(world.solved)}, and {digits(own.value)} was reached."
        )
    return TargetResult(
        target=ACTION, task="control", scores=scores, verdict=text, verdict_kind=kind, baselines=compared
    )


def _mean(values: Array, weights: Array) -> Interval:
    low, high = percentile(float(values.mean()), weights @ values / len(values))
    return Interval(float(values.mean()), low, high)


def _median(values: Array, weights: Array) -> Interval:
    order = np.argsort(values)
    below = np.cumsum(weights[:, order], axis=1)
    drawn = values[order][(below >= len(values) / 2).argmax(axis=1)]
    low, high = percentile(float(np.median(values)), drawn)
    return Interval(float(np.median(values)), low, high)


def data_document(plan: Plan, world: World, ended: Status, player: Player, episodes: str) -> dict[str, Json]:
    """What the report says about the data."""
    fields = [
        {"name": field.name, "modality": field.modality, "role": field.role, "reason": field.reason, "summary": {}}
        for field in plan.schema
    ]
    return {
        "source": plan.data.train,
        "environment": True,
        "steps": round(ended.step * player.each),
        "longest": world.longest,
        "episodes": episodes,
        "fields": fields,
        "fingerprint": plan.data.fingerprint,
        "split": "training, choosing and testing have episodes of their own",
    }


def network_document(player: Player) -> dict[str, Json]:
    """Size and stages of the policy."""
    policy = player.method.policy
    parameters = sum(value.numel() for value in policy.parameters())
    assembly = next(module for module in policy.modules() if isinstance(module, Assembly))
    stages = [[stage.name, sum(value.numel() for value in stage.module.parameters())] for stage in assembly.stages()]
    families = ", ".join(type(part).__name__ for part in assembly.networks.values())
    return {"parameters": parameters, "summary": families, "stages": stages, "notes": []}


def _sealed(
    plan: Plan,
    world: World,
    player: Player,
    task: Task,
    found: TargetResult,
    played: Played,
    run: Run,
    data: dict[str, Json],
    versions: dict[str, str],
) -> Seal:
    """Export, seal beside, prove on raw observations, and only then give the file its name.

    Raises:
        LaminaError: the sealed policy acts otherwise than the trained one; there is then no model file.
    """
    with player.method.evaluating() as policy:
        outputs = _outputs(policy, played, task, player)
    raw = {name: _column(values) for name, values in played.raw.items()}
    rows = len(next(iter(raw.values())))
    kept = np.unique(np.linspace(0, rows - 1, min(golden.USUAL, rows)).astype(np.int64))
    description = card.of_policy(
        plan, found, versions, created=time.strftime("%Y-%m-%d"), golden=golden.USUAL,
        network=network_document(player), history=world.history, steps=int(data["steps"]),
    )  # fmt: skip
    sealed = sealed_parts(
        policy,
        {field.name: field for field in world.fields},
        world.encoders,
        {ACTION: task},
        description,
        {name: values[kept] for name, values in raw.items()},
        None,
    )
    return prove_and_write(run, sealed, _chunks(raw, rows), None, {ACTION: outputs})[1]


def _column(values: Sequence[Any]) -> Array:
    """Raw values as a column, whatever they are: NumPy would stack lists."""
    found = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        found[row] = value
    return found


def _chunks(raw: Chunk, rows: int, size: int = 512) -> list[Chunk]:
    return [{name: values[start : start + size] for name, values in raw.items()} for start in range(0, rows, size)]


def _outputs(policy: Any, played: Played, task: Task, player: Player) -> Array:
    """The trained policy's outputs for the observations kept, [row, width]."""
    import torch

    with torch.inference_mode():
        inputs = {name: torch.from_numpy(array).to(player.engine.device) for name, array in played.observations.items()}
        return np.asarray(task.combine(policy(inputs)[ACTION]).cpu().numpy())


def _exhibits(world: World, player: Player, played: Played, narrator: Narrator, seconds: float) -> tuple[Exhibit, ...]:
    """An episode as a moving picture, and the returns of all episodes."""
    found = []
    with player.method.evaluating():
        seed = player.seed_of(TEST_SEED)
        moving = film(world, player.method.act, seed, seconds=min(seconds, FILMED), tell=narrator.say)
    if moving is not None:
        uri = "data:image/gif;base64," + base64.b64encode(moving).decode("ascii")
        found.append(Exhibit("An episode of the policy", "The first of the test episodes.", (uri,)))
    ordered = np.sort(played.returns)
    found.append(
        Exhibit(
            "Returns of the test episodes", "Every episode's return, the worst first.", (), tuple(map(float, ordered))
        )
    )
    return tuple(found)
