"""Task "anomaly" after training: the threshold, how well strange rows are told from ordinary ones, the strangest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.data.split import Split
from lamina.evaluate import judge
from lamina.evaluate.judged import compared
from lamina.evaluate.results import Exhibit, TargetResult
from lamina.evaluate.verdict import verdict
from lamina.modalities import Feature
from lamina.steps.prepare import Prepared
from lamina.steps.unlabelled import simple
from lamina.steps.unlabelled.labels import of_ordinary
from lamina.steps.unlabelled.looks import SHOWN, looks
from lamina.steps.unlabelled.scored import Scored, scored
from lamina.steps.unlabelled.trained import NO_LABELS, Effort, Tested, Trained, plain_figure
from lamina.tasks import anomaly

Array = np.ndarray[Any, Any]


def check(options: Mapping[str, Json], rows: int) -> None:
    """Raises InputError for an option or value that does not exist; rows: to learn from."""
    anomaly.check_options(options)


def method(features: Mapping[str, Feature]) -> str:
    """What reads any fields and tells in which of them the strangeness lies."""
    return "autoencoder"


def effort(options: Mapping[str, Json], parts: Split, judged: bool) -> Effort:
    """No more answers than those of the validation and test parts; the simpler tools are quick."""
    return Effort()


def tested(trained: Trained) -> Tested:
    """Scores of the test rows; ordinary validation rows say from where on they are alarming."""
    parts, learner = trained.prepared.split, trained.learner
    ordinary_rows, validation = of_ordinary(parts, trained.labels, trained.ordinary)
    places = tuple((field, tuple(grid)) for field, grid in learner.method.places.items())
    view = scored(trained.prepared, trained.labels)
    task = anomaly.Task(trained.name, places, float(trained.options.get("rate", 0.01)), cut=view.cut)
    task = task.calibrated(view.of(validation, trained.outputs(task, validation)[:, 0])[:, None])
    answered = trained.outputs(task, parts.test)
    scores, strange, facts = view.of(parts.test, answered[:, 0]), None, dict[str, Json]()
    if trained.labels is not None:
        values, usual = view.labels(parts.test), trained.ordinary or view.ordinary(parts.train)
        strange = (values != None) & (values != usual)  # noqa: E711  (element by element)
        facts = {"judged_by": {"column": trained.labels.name, "ordinary": usual}}
    result = _judged(trained, task, scores, view, ordinary_rows)
    exhibits = _strangest(trained.prepared, answered[:, 0])
    return Tested(task, answered, result, (*view.exhibits(task, parts.test, scores, strange), *exhibits), facts)


def _judged(trained: Trained, task: anomaly.Task, answered: Array, view: Scored, ordinary_rows: Array) -> TargetResult:
    """How well the strange is told from the ordinary, where labels say which is which."""
    parts, noun, alarms = trained.prepared.split, view.noun, answered > task.threshold
    figures = {"alarms": plain_figure(float(alarms.mean()), higher_is_better=False)}
    if trained.labels is None:
        text = (
            f"{NO_LABELS}. "
            f"{alarms.mean():.1%} of the test {noun}s raise an alarm; {task.rate:.1%} of ordinary {noun}s were to."
        )
        return TargetResult(task.name, "anomaly", figures, text, "even")
    label = trained.ordinary or view.ordinary(parts.train)
    values = view.labels(parts.test)
    kept = np.flatnonzero(values != None)  # noqa: E711  (element by element)
    strange = values[kept] != label
    if not strange.any() or strange.all():
        share = "all" if strange.all() else "none"
        text = f"The labels cannot judge: {share} of the test {noun}s are strange by them."
        return TargetResult(task.name, "anomaly", figures, text, "even")
    scores, baselines = _compared(trained, answered, view, ordinary_rows, kept, strange)
    primary = next(iter(scores))
    kind, text = verdict(primary, scores[primary], trained.seconds, baselines, len(kept))
    scores |= judge.alarmed(alarms[kept], strange, trained.plan.seed, view.block)
    scores |= view.figures(alarms[kept], strange, answered[kept])
    text = (
        f"{text} At its threshold it finds {scores['found'].value:.0%} of the strange {noun}s (not {label}) and raises "
        f"a false alarm for {scores['false_alarms'].value:.1%} of the ordinary ones."
    )
    return TargetResult(task.name, "anomaly", scores, text, kind, baselines)


def _compared(
    trained: Trained, answered: Array, view: Scored, ordinary_rows: Array, kept: Array, strange: Array
) -> tuple[Any, Any]:
    """(Scores on those `kept` of the test part, the simpler tools compared)."""
    parts, seed = trained.prepared.split, trained.plan.seed
    own = judge.detections("", answered[kept], strange, trained.seconds)
    plain, tested_on, _ = simple.vectors(trained.prepared, ordinary_rows, parts.test, seed)
    others = []
    for name, (score, took) in (
        ("an isolation forest", simple.isolation(plain, tested_on, seed)),
        ("nearest neighbors", simple.nearest(plain, tested_on)),
    ):
        others.append(judge.detections(name, view.of(parts.test, score)[kept], strange, took))
    return compared(own, others, len(kept), seed, block=view.block)


def _strangest(prepared: Prepared, scores: Array) -> tuple[Exhibit, ...]:
    """The strangest and the most ordinary test rows."""
    rows = prepared.split.test
    order = np.argsort(-scores, kind="stable")
    found = []
    for title, places in (("The strangest test rows", order[:SHOWN]), ("The most ordinary ones", order[::-1][:SHOWN])):
        pictures, lines = looks(prepared, rows[places], [f"score {scores[place]:.3g}" for place in places])
        found.append(Exhibit(title, "The strangest first." if title.startswith("The s") else "", pictures, (), lines))
    return tuple(found)
