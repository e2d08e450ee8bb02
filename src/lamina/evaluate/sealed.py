"""Scores of a sealed model on labelled data, or in the environment it acts in; NumPy and ONNX Runtime only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.errors import InputError
from lamina.evaluate import (
    sealed_captions,
    sealed_forecasts,
    sealed_histories,
    sealed_rows,
    sealed_texts,
    sealed_translations,
    sealed_unlabelled,
)
from lamina.evaluate.intervals import percentile, replicates, resampled
from lamina.evaluate.results import Interval
from lamina.evaluate.scored import Scored
from lamina.tasks import control

if TYPE_CHECKING:
    from lamina.model.runtime import Model

SCORERS: Mapping[str, Callable[[Model, Any, int], Scored]] = {
    "caption": sealed_captions.score,
    "forecast": sealed_forecasts.score,
    "translate": sealed_translations.score,
    "write": sealed_texts.score,
}
"""By task, where a row's answer is not scored beside a row's target."""

UNLABELLED: Mapping[str, Callable[[Model, Any, int, str, str], Scored]] = {
    "anomaly": sealed_unlabelled.score_anomaly,
    "embed": sealed_unlabelled.score_embed,
    "recommend": sealed_histories.score,
}
"""By task, where nothing that is asked for has a name: also of a column that judges, and the label of ordinary rows."""


def score_model(
    model: Model, data: Any, seed: int = 0, target: str = "", normal: str = "", by: Sequence[str] = ()
) -> dict[str, Any]:
    """Answer data that holds the true answers, and score what was answered.

    Args:
        data: a table or folder with the model's input columns and its targets; for a forecaster a long table whose
            series have values to be forecast; for a model that writes, texts.
        target: of a model that learned without answers, the column that judges: labels, or what was taken next.
        normal: of a detector, the label of ordinary rows.
        by: of classes and numbers, columns by whose groups answers are compared.

    Returns:
        {"rows", "errors", "counted": {"rows", "errors"}, "targets": {target: {score: {"value", "low", "high", ...}}}};
        "counted" says what the first two count. A row that cannot be answered, or whose target is missing or unknown to
        the model, counts as an error. "notes" are sentences on what the scores mean, where that needs any; "fairness"
        is what `by` asked for, by target.

    Raises:
        InputError: a column is missing, nothing could be scored, or no data can hold the true answers.
    """
    task = next(iter(model.tasks.values())).task
    if by and not any(item.task in ("classify", "regress") for item in model.tasks.values()):
        raise InputError(
            f"This model's task is {task}: groups are compared where the answer is a class or a number.",
            where=model.where,
            fix="Leave --by out.",
        )
    if task in UNLABELLED:
        return UNLABELLED[task](model, data, seed, target, normal).document()
    if target or normal:
        raise InputError(
            f"This model has targets of its own: {', '.join(model.labelled)}.",
            where=model.where,
            fix="Leave --target and --normal out.",
        )
    if by:
        return sealed_rows.score(model, data, seed, tuple(dict.fromkeys(by))).document()
    return SCORERS.get(task, sealed_rows.score)(model, data, seed).document()


def play_model(model: Model, name: str, episodes: int = 100, seed: int = 0) -> dict[str, Any]:
    """Let a sealed policy act in fresh episodes of an environment.

    Args:
        name: the environment, e.g. "gym:CartPole-v1".
        episodes: how many.
        seed: of the episodes.

    Returns:
        {"rows" (episodes), "errors": 0, "counted": ..., "targets": {target: {score: {"value", "low", "high", ...}}}}.

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
    score = Interval(float(returns.mean()), low, high)
    return Scored(len(returns), 0, {target: {"mean_return": score}}, "episodes", "episodes").document()
