"""All about one target on the test rows, from arrays: scores, baselines, verdict, calibration, gaps, mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lamina.baselines import BaselineAnswers
from lamina.data.schema import Field, Json, Values
from lamina.evaluate.calibration import class_calibration, label_calibration
from lamina.evaluate.conformal import interval_coverage, level_points, set_coverage
from lamina.evaluate.fairness import fairness
from lamina.evaluate.intervals import bootstrap_scores
from lamina.evaluate.results import BaselineResult, Interval, Mistake, TargetResult
from lamina.evaluate.scores import better_by, digits, interval
from lamina.evaluate.slices import Inputs
from lamina.evaluate.slices import slices as subgroup_scores
from lamina.evaluate.verdict import verdict
from lamina.tasks import Counted, Described, Score, Task, classify, regress, right_rows, tag

Array = np.ndarray[Any, Any]
Show = Callable[[int], tuple[str, Mapping[str, Mapping[str, str]]]]
"""A position among the test rows to (place, inputs by field as in `Mistake`)."""

POINTS = 200
"""Points of a ROC or precision-recall curve."""
SCATTER = 1000


def assess(
    task: Task,
    output: Array,
    target: Array,
    baselines: Sequence[BaselineAnswers] = (),
    seconds: float = 0.0,
    slices: Inputs | None = None,
    mistake: Show | None = None,
    rows: Array | None = None,
    suspects: frozenset[int] = frozenset(),
    worst: int = 12,
    seed: int = 0,
    units: Array | None = None,
    judged: Mapping[str, tuple[Field, Values]] = MappingProxyType({}),
) -> TargetResult:
    """Put everything about one target together.

    Args:
        task: calibrated on the validation part.
        output, target: [row, width] and encoded targets of the test rows; rows without a target are left out.
        baselines: on the same rows.
        seconds: what training the network took, for the verdict.
        slices: gives raw values of some test rows, for subgroups; None for no subgroups.
        mistake: gives place and inputs of a test row, for the worst mistakes.
        rows: [row] numbers to name rows by; default 0, 1, ...
        suspects: positions whose label is suspect.
        worst: how many of the worst rows to keep.
        units: [row], equal for rows that are parts of one picture; None where all are independent.
        judged: name to (field, raw values of these rows) of the columns by which fairness is measured.
    """
    tasks: dict[str, Task] = {"": task, **{item.name: item.task or task.uncalibrated() for item in baselines}}
    outputs = {"": output, **{item.name: item.output for item in baselines}}
    drawn = bootstrap_scores(
        {name: own.scorer(outputs[name], target) for name, own in tasks.items()}, len(target), seed, units=units
    )
    plain = {name: own.scores(outputs[name], target) for name, own in tasks.items()}
    figures = {name: _intervals(plain[name], drawn[name], len(target)) for name in tasks}
    primary = next(iter(plain[""]))
    compared = tuple(
        BaselineResult(
            item.name,
            figures[item.name],
            item.seconds,
            better_by(
                primary,
                plain[""][primary],
                plain[item.name][primary],
                drawn[""][primary],
                drawn[item.name][primary],
                right_rows((tasks[""], outputs[""]), (tasks[item.name], outputs[item.name]), target),
            ),
            item.note,
        )
        for item in baselines
    )
    kind, text = verdict(primary, figures[""][primary], seconds, compared, len(target))
    return TargetResult(
        target=task.name,
        task=task.task,
        scores=figures[""],
        verdict=text,
        verdict_kind=kind,
        baselines=compared,
        slices=subgroup_scores(task, output, target, slices, seed) if slices else (),
        fairness=fairness(task, output, target, judged, seed),
        mistakes=_mistakes(task, output, target, rows, mistake, suspects, worst),
        **_details(task, output, target, seed),
    )


def _intervals(plain: Mapping[str, Score], drawn: Mapping[str, Array], rows: int) -> dict[str, Interval]:
    return {name: interval(name, score, drawn[name], rows) for name, score in plain.items()}


def _details(task: Task, output: Array, target: Array, seed: int) -> dict[str, Any]:
    """What only tasks of one kind have."""
    if isinstance(task, classify.Task):
        return {
            "confusion": confusion(task, output, target),
            "calibration": class_calibration(task, output, target),
            "coverage": set_coverage(task, output, target),
            "curves": curves(task, output, target) if task.width == 2 else None,
        }
    if isinstance(task, tag.Task):
        return {"calibration": label_calibration(task, output, target)}
    if isinstance(task, regress.Task):
        return {
            "calibration": {"points": level_points(task, output, target)},
            "coverage": interval_coverage(task, output, target),
            "scatter": scatter(task, output, target, seed),
        }
    return {}


def confusion(task: classify.Task, output: Array, target: Array) -> dict[str, Json]:
    """{"labels", "counts": [[expected][answered]]}."""
    classes = task.width
    counts = np.bincount(target * classes + task.answers(output), minlength=classes * classes)
    return {"labels": list(task.labels), "counts": counts.reshape(classes, classes).tolist()}


def curves(task: classify.Task, output: Array, target: Array) -> dict[str, Json]:
    """ROC [[false positive rate, true positive rate], ...] and [[recall, precision], ...] of the rarer class."""
    score = np.asarray(output)[:, task.positive].astype(np.float64) - np.asarray(output)[:, 1 - task.positive]
    order = np.argsort(-score, kind="stable")
    found = (target == task.positive)[order]
    ends = np.flatnonzero(np.r_[score[order][1:] != score[order][:-1], True])
    hits, falls = np.cumsum(found)[ends], np.cumsum(~found)[ends]
    if not len(ends) or not hits[-1] or not falls[-1]:
        return {"roc": [], "pr": []}
    roc = np.stack([np.r_[0, falls / falls[-1]], np.r_[0, hits / hits[-1]]], axis=1)
    precise = np.stack([hits / hits[-1], hits / (hits + falls)], axis=1)
    return {"roc": _thinned(roc), "pr": _thinned(precise), "positive": task.labels[task.positive]}


def _thinned(points: Array) -> list[list[float]]:
    """At most POINTS of the curve's points, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(points) - 1, POINTS).round().astype(int))
    return [[round(float(x), 5), round(float(y), 5)] for x, y in points[chosen].tolist()]


def scatter(task: regress.Task, output: Array, target: Array, seed: int = 0) -> dict[str, Json]:
    """Expected and answered numbers of at most 1,000 test rows drawn at random."""
    chosen = np.arange(len(target))
    if len(target) > SCATTER:
        chosen = np.sort(np.random.default_rng(seed).choice(len(target), SCATTER, replace=False))
    return {
        "expected": task.original(target[chosen]).tolist(),
        "answered": task.answers(output[chosen]).tolist(),
    }


def _mistakes(
    task: Task,
    output: Array,
    target: Array,
    rows: Array | None,
    show: Show | None,
    suspects: frozenset[int],
    count: int,
) -> tuple[Mistake, ...]:
    """The rows with the largest loss, the worst first; rows answered rightly are not among them."""
    losses = task.row_losses(output, target)
    wrong = np.flatnonzero(losses > 0 if isinstance(task, Described) else _wrong(task, output, target))
    worst = wrong[np.argsort(-losses[wrong], kind="stable")][:count]
    answers = {} if isinstance(task, Described) else task.decode(output[worst])
    found = []
    for position, row in enumerate(worst.tolist()):
        place, inputs = show(row) if show else ("", {})
        if isinstance(task, Described):
            expected, answered = task.described(np.asarray(output[row]), np.asarray(target[row]))
        else:
            expected, answered = _truth(task, target[row]), _shown(answers[""][position])
        found.append(
            Mistake(
                row=int(rows[row]) if rows is not None else row,
                place=place,
                inputs=inputs,
                expected=expected,
                answered=answered,
                loss=float(losses[row]),
                probability=float(answers[".p"][position]) if ".p" in answers else None,
                suspect_label=row in suspects,
            )
        )
    return tuple(found)


def _wrong(task: Task, output: Array, target: Array) -> Array:
    return ~task.right(output, target) if isinstance(task, Counted) else np.ones(len(target), dtype=bool)


def _truth(task: Task, target: Array) -> str:
    if isinstance(task, classify.Task):
        return task.labels[int(target)]
    if isinstance(task, tag.Task):
        return _shown(sorted(task.labels[place] for place in np.flatnonzero(np.asarray(target) > 0.5)))
    if isinstance(task, regress.Task):
        return _shown(float(task.original(np.asarray(target))))
    return str(target)


def _shown(answer: Any) -> str:
    if isinstance(answer, float | np.floating):
        number = float(answer)
        return f"{number:,.1f}" if abs(number) >= 1000 else digits(number)
    return ", ".join(answer) if isinstance(answer, list) else str(answer)
