"""Scores of a sealed model on labelled data, or in the environment it acts in; NumPy and ONNX Runtime only."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.tables import read_chunks
from lamina.errors import InputError, nearest
from lamina.evaluate.intervals import bootstrap_scores, percentile, replicates, resampled
from lamina.evaluate.scores import interval
from lamina.tasks import Task, control, encode_target

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]


def score_model(model: Model, data: Any, seed: int = 0) -> dict[str, Any]:
    """Answer labelled data and score the answers.

    Args:
        data: a table or folder with the model's input columns and its targets.

    Returns:
        {"rows", "errors", "targets": {target: {score: {"value", "low", "high", ...}}}}; a row that cannot be
        answered, or whose target is missing or unknown to the model, counts as an error.

    Raises:
        InputError: a column is missing, or no row could be scored.
    """
    tasks, reader = model.labelled, read_chunks(data, labelled=True)
    missing = [name for name in (*model.columns, *tasks) if name not in reader.columns]
    if missing:
        raise InputError(
            f"The data has no column {missing[0]!r}.",
            where=reader.name,
            fix=f"Scoring needs the inputs and the targets. {nearest(missing[0], reader.columns)}",
        )
    outputs: dict[str, list[Array]] = {name: [] for name in tasks}
    targets: dict[str, list[Array]] = {name: [] for name in tasks}
    rows = bad = 0
    for chunk in reader:
        size = len(next(iter(chunk.values.values())))
        encoded, errors = model.encode(chunk.values, reader.root)
        answered = model.outputs(encoded)
        usable = np.ones(size, dtype=bool)
        usable[[*errors, *chunk.errors]] = False
        raw = {name: item.field.values(chunk.values) for name, item in model.inputs.items()}
        found = {name: encode_target(task, chunk.values[name], raw, reader.root) for name, task in tasks.items()}
        for one in found.values():
            usable[list(one.errors)] = False
        for name in tasks:
            outputs[name].append(answered[name][usable])
            targets[name].append(found[name].array[usable])
        rows += size
        bad += int(size - usable.sum())
    if rows == bad:
        raise InputError(
            "No row could be scored.", where=reader.name, fix="Check that the targets hold values the model knows."
        )
    scored = {
        name: _scores(tasks[name], np.concatenate(outputs[name]), np.concatenate(targets[name]), seed) for name in tasks
    }
    return {"rows": rows, "errors": bad, "targets": scored}


def play_model(model: Model, name: str, episodes: int = 100, seed: int = 0) -> dict[str, Any]:
    """Let a sealed policy act in fresh episodes of an environment.

    Args:
        name: the environment, e.g. "gym:CartPole-v1".
        episodes: how many.
        seed: of the episodes.

    Returns:
        {"rows" (episodes), "errors": 0, "targets": {target: {score: {"value", "low", "high", ...}}}}.

    Raises:
        InputError: the model is no policy, or the environment observes or offers other things than it knows.
    """
    from lamina.environments import LATER_SEED, use_seed
    from lamina.environments.play import play
    from lamina.environments.spaces import open_world

    (target, task), *_ = model.tasks.items()
    if not isinstance(task, control.Task):
        raise InputError(
            "This model answers questions about data; it does not act.",
            where=model.where,
            fix="Name data to test it on.",
        )
    world = open_world(name, history=int(model.card.get("data", {}).get("history", 1)))
    known = {field: item.encoder.feature for field, item in model.inputs.items()}
    if {field: encoder.feature for field, encoder in world.encoders.items()} != known or world.actions != task.actions:
        raise InputError(
            f"The policy was not made for {name}: it observes or does other things.",
            where=model.where,
            fix=f"It was trained in {model.card.get('data', {}).get('source')}.",
        )
    # The seed of a training, as such, would begin the very episodes that it learned from or chose by.
    fresh = use_seed(seed, LATER_SEED)
    returns = play(world, lambda seen: task.chosen(model.outputs(seen)[target]), episodes, fresh).returns
    weights = np.concatenate(list(resampled(len(returns), replicates(len(returns)), seed)))
    low, high = percentile(float(returns.mean()), weights @ returns / len(returns))
    score = {"value": float(returns.mean()), "low": low, "high": high, "higher_is_better": True, "unit": ""}
    return {"rows": len(returns), "errors": 0, "targets": {target: {"mean_return": score}}}


def _scores(task: Task, output: Array, target: Array, seed: int) -> dict[str, Any]:
    drawn = bootstrap_scores({"": task.scorer(output, target)}, len(target), seed)[""]
    return {
        score: asdict(interval(score, value, drawn[score], len(target)))
        for score, value in task.scores(output, target).items()
    }
