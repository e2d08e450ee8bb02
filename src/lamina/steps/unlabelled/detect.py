"""Task "anomaly" after training: the threshold, how well strange rows are told from ordinary ones, the strangest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lamina.data.schema import Json, Values
from lamina.data.split import Split
from lamina.evaluate import judge
from lamina.evaluate.judged import compared
from lamina.evaluate.results import Exhibit, TargetResult
from lamina.evaluate.verdict import verdict
from lamina.modalities import Feature
from lamina.steps.prepare import Prepared
from lamina.steps.unlabelled import collapse, simple
from lamina.steps.unlabelled.labels import of_ordinary
from lamina.steps.unlabelled.looks import SHOWN, heat_maps, listed, looks
from lamina.steps.unlabelled.scored import Scored, scored
from lamina.steps.unlabelled.trained import NO_LABELS, Effort, Tested, Trained, plain_figure
from lamina.tasks import anomaly
from lamina.tasks._where import Scale, strength

Array = np.ndarray[Any, Any]

SMOOTHED = 3
"""A step's score is that of so large a part of a window around it, a third. What is strange usually lasts, and errors
within it come and go: of anomalies put into an ordinary series more is found the wider this is, up to here, and little
is lost of such as last for a few steps only (`bench/unlabelled.py`, "series")."""


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
    encoders = trained.prepared.encoders
    task = anomaly.Task(trained.name, places, float(trained.options.get("rate", 0.01)), cut=view.cut)
    if view.cut is None:
        scales = {field: scale for field, grid in places if grid and (scale := Scale.of(encoders[field])) is not None}
        task = replace(task, scales=scales)
    else:
        task = replace(task, local=bool(places), around=_around(view.cut.length) if places else 0)
    task = task.calibrated(task.scores_of(view.read(task, validation, trained.outputs(task, validation)))[:, None])
    answered = trained.outputs(task, parts.test)
    read, strange, facts = view.read(task, parts.test, answered), None, dict[str, Json]()
    scores = task.scores_of(read)
    if trained.labels is not None:
        values, usual = view.labels(parts.test), trained.ordinary or view.ordinary(parts.train)
        strange = (values != None) & (values != usual)  # noqa: E711  (element by element)
        facts = {"judged_by": {"column": trained.labels.name, "ordinary": usual}}
    result = _judged(trained, task, scores, view, ordinary_rows)
    exhibits = _strangest(trained.prepared, task, answered)
    apart = trained.learner.apart()
    if apart is not None:
        text = f"{result.verdict} {apart.sentence}".rstrip()
        result = replace(result, verdict=text, scores={**result.scores, "spread": plain_figure(apart.spread)})
    found = collapse.findings("" if apart is None else apart.sentence)
    shown = (*view.exhibits(task, parts.test, read, strange), *exhibits)
    return Tested(task, answered, result, shown, facts, findings=found)


def _around(length: int) -> int:
    """Steps to either side of one, so that together they are at most a third of a window of so many."""
    return max(length // SMOOTHED - 1, 0) // 2


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


def _strangest(prepared: Prepared, task: anomaly.Task, outputs: Array) -> tuple[Exhibit, ...]:
    """The strangest and the most ordinary test rows, and where in their pictures, sounds and series it lies."""
    rows, scores = prepared.split.test, task.strangeness(outputs)
    order = np.argsort(-scores, kind="stable")
    parts = {field: part for field, part in task.parts(outputs).items() if part.ndim > 1}
    # One scale for all that is shown: an ordinary row has a strangest place as well.
    largest = {field: float(np.maximum(part[order[:SHOWN]], 0).max(initial=0)) for field, part in parts.items()}
    found = []
    for title, places in (("The strangest test rows", order[:SHOWN]), ("The most ordinary ones", order[::-1][:SHOWN])):
        notes = _noted(prepared, task, rows[places], outputs[places])
        pictures, lines = looks(prepared, rows[places], notes)
        text = "The strangest first." if title.startswith("The s") else ""
        if parts:
            text += " The bluer a place, the stranger it is: " + ", ".join(parts) + "."
            pictures = tuple(
                picture
                for field, part in parts.items()
                for picture in _heated(prepared, rows[places], field, part[places], largest[field])
            )
            lines = listed(prepared, rows[places], notes)
        found.append(Exhibit(title, text.strip(), pictures, (), lines))
    return tuple(found)


def _heated(prepared: Prepared, rows: Array, field: str, part: Array, largest: float) -> tuple[str, ...]:
    """Pictures of one field with its places' strangeness over it; of a series of several channels the strangest one."""
    heat, channels = np.maximum(part, 0), ()
    if prepared.encoders[field].feature.kind == "series" and part.ndim == 3:
        channel = strength(part.transpose(0, 2, 1).reshape(-1, part.shape[1])).reshape(len(part), -1).argmax(axis=1)
        heat, channels = np.take_along_axis(heat, channel[:, None, None], 2)[:, :, 0], tuple(channel.tolist())
    return heat_maps(prepared, rows, field, heat, largest, channels)


def _noted(prepared: Prepared, task: anomaly.Task, rows: Array, outputs: Array) -> list[str]:
    """The score of each row and where it is strange, as the sealed model will tell it."""
    fields = [prepared.schema[name] for name in prepared.encoders]
    raw = prepared.table.take(rows, [column for field in fields for column in field.columns])
    answer = task.decode(outputs) | task.placed(
        outputs, {field.name: field.values(raw) for field in fields}, prepared.table.root
    )
    return [f"score {answer['.score'][row]:.3g}{_where(answer, row)}" for row in range(len(rows))]


def _where(answer: Mapping[str, Values], row: int) -> str:
    """ ", in FIELD" or ", at PLACE", or both; "" where the answer does not tell.

    >>> _where({".where": [{"first": 3, "last": 7}]}, 0)
    ', at steps 3 to 7'
    """
    if ".where" not in answer:
        return ""
    place = answer[".where"][row]
    if isinstance(place, str):
        inside = answer.get(f".{place}.where")
        return f", in {place}" + ("" if inside is None else f" {_told(inside[row])}")
    return f", at {_told(place)}"


def _told(place: Mapping[str, Json]) -> str:
    if "x" in place:
        right, bottom = place["x"] + place["width"], place["y"] + place["height"]
        return f"{place['x']} to {right} across and {place['y']} to {bottom} down"
    if "start" in place:
        return f"{place['start']:g} to {place['end']:g} s"
    channel = f", channel {place['channel']}" if "channel" in place else ""
    return f"steps {place['first']} to {place['last']}{channel}"
