"""Every baseline that suits, on the same rows as the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamina.baselines import BaselineAnswers, BaselineFeatures, Clock
from lamina.registry import module, names
from lamina.tasks import Task

Array = np.ndarray[Any, Any]

SHARES = {
    "dummy": 0.0,
    "linear": 1.0,
    "trees": 1.5,
    "histogram_trees": 0.75,
    "neighbors": 0.75,
    "biases": 0.1,
    "item_neighbors": 0.75,
    "empty_map": 0.0,
    "threshold": 0.25,
}
"""How the time is divided; a baseline not listed gets 1."""


def _share(name: str) -> float:
    return SHARES.get(name, 1.0)


Kept = Callable[[Sequence[BaselineAnswers], Sequence[str]], None]
"""Takes the answers so far, and the titles of the baselines that are still to come."""
ROWS_PER_THREAD = 2_000


def suited(kinds: set[str], task: str, rows: int) -> list[str]:
    """The names of the baselines that suit."""
    return [name for name in names("baselines") if module("baselines", name).suits(kinds, task, rows)]


def reads(name: str, features: BaselineFeatures) -> bool:
    """Does the baseline suit these very features, where their kinds do not say all?"""
    found = getattr(module("baselines", name), "reads", None)
    return found is None or bool(found(features))


def fitting(task: Task, kinds: set[str], train: BaselineFeatures) -> list[str]:
    """The names of the baselines that will be fitted, cheapest first: time may end."""
    chosen = [name for name in suited(kinds, task.task, train.rows) if reads(name, train)]
    return sorted(chosen, key=_share)


def titles(names: Sequence[str]) -> list[str]:
    """What the reader knows baselines as."""
    return [str(module("baselines", name).TITLE) for name in names]


def compare(
    task: Task,
    kinds: set[str],
    train: tuple[BaselineFeatures, Array],
    validation: tuple[BaselineFeatures, Array],
    asked: BaselineFeatures,
    *,
    seed: int = 0,
    seconds: float = 60.0,
    threads: int = 1,
    clock: Clock = time.monotonic,
    told: Callable[[str], None] = lambda line: None,
    kept: Kept = lambda answers, to_come: None,
) -> tuple[BaselineAnswers, ...]:
    """Fit every suited baseline and answer `asked`, usually the test rows.

    Args:
        kinds: the feature kinds of the inputs.
        train, validation: features and encoded targets; rows without a target are left out.
        seconds: for all of them together, approximately.
        clock: by which they are told.
        told: gets one line a baseline when it is done.
        kept: gets what there is when a baseline is done.
    """
    chosen = fitting(task, kinds, train[0])
    total = sum(map(_share, chosen)) or 1.0
    answers: list[BaselineAnswers] = []
    start = clock()
    # With few rows, threads wait for each other longer than they work; on a busy machine many times longer.
    threads = min(threads, max(1, train[0].rows // ROWS_PER_THREAD))
    for number, name in enumerate(chosen, 1):
        baseline = module("baselines", name)
        begin = clock()
        if begin - start > seconds and _share(name):
            told(f"{baseline.TITLE}: left out, the time for baselines is used up")
            continue
        fitted = baseline.fit(
            *train,
            task,
            validation=validation,
            seed=seed,
            seconds=min(seconds * _share(name) / total, max(seconds - (begin - start), 1.0)),
            threads=threads,
            clock=clock,
        )
        output = fitted.answer(asked)
        spent = clock() - begin
        # The baseline's probabilities are calibrated like the network's: scores compare like with like.
        own = task.uncalibrated().calibrated(fitted.answer(validation[0]), validation[1])
        answers.append(BaselineAnswers(baseline.TITLE, output, spent, own, fitted.note))
        kept(answers, titles(chosen[number:]))
        told(f"{baseline.TITLE}: {spent:.1f} s" + (f" ({fitted.note})" if fitted.note else ""))
    return tuple(answers)
