"""Step 5 without answers: judge by labels where there are any, show, seal, prove, report."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.choose import hardware
from lamina.data.schema import Json
from lamina.evaluate.cost import EnergyMeter, peak_memory_mb
from lamina.evaluate.results import Cost, Exhibit, Interval, Results, TargetResult, to_json
from lamina.evaluate.verdict import verdict
from lamina.learn.loop import Status
from lamina.learn.record import Record
from lamina.model import card, golden
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.report.write import write_report
from lamina.run import Run
from lamina.steps import shown
from lamina.steps.learner import loader
from lamina.steps.prepare import Prepared, read
from lamina.steps.sealing import prove_and_write, sealed_parts
from lamina.steps.test import Clock, example_rows, pace, raw_test_rows, thinned, versions_of
from lamina.steps.unlabelled import judge, simple
from lamina.steps.unlabelled.labels import Labels, of_ordinary, usual
from lamina.steps.unlabelled.learner import Learner, outputs, task_of, untrained
from lamina.tasks import anomaly, embed

Array = np.ndarray[Any, Any]

SHOWN, LIKE = 10, 6
"""Rows in a gallery, and how many of the most alike are shown beside each."""


def test(
    plan: Plan,
    prepared: Prepared,
    learner: Learner,
    labels: Labels | None,
    ordinary: str | None,
    run: Run,
    narrator: Narrator,
    *,
    ended: Status,
    record: Record,
    clock: Clock,
    meter: EnergyMeter,
    base: Path,
) -> Results:
    """Score, seal, prove, show, report."""
    narrator.step("Test")
    parts, task = prepared.split, task_of(plan, learner)
    trained, validation = of_ordinary(parts, labels, ordinary)
    if isinstance(task, anomaly.Task):
        task = task.calibrated(outputs(learner, task, loader(plan, prepared, validation)))
    answered = outputs(learner, task, loader(plan, prepared, parts.test))
    seconds = sum(clock.seconds.values())
    if isinstance(task, anomaly.Task):
        label = ordinary or (usual(labels, parts.train) if labels is not None else None)
        found = _detected(plan, prepared, task, answered, trained, labels, label, seconds)
    else:
        found = _described(plan, prepared, learner, task, answered, labels, seconds, base)
    for name, score in found.scores.items():
        sure = f" (95% interval {score.low:.4g} to {score.high:.4g})" if math.isfinite(score.low) else ""
        narrator.say(f"{name.replace('_', ' ')} {score.value:.4g}{sure}")
    narrator.say(f"verdict: {found.verdict}")
    data, versions = shown.data_document(plan, prepared, read(run).get("summaries", {})), versions_of(plan, run)
    network = network_document(learner)
    description = card.build(
        plan, data, [found], versions, created=time.strftime("%Y-%m-%d"), golden=golden.USUAL, network=network
    )
    fields = {name: prepared.schema[name] for name in prepared.encoders}
    with learner.method.evaluating() as module:
        parts_of_file = sealed_parts(
            module, fields, prepared.encoders, {task.name: task}, description, *example_rows(prepared)
        )
    _, seal = prove_and_write(run, parts_of_file, raw_test_rows(prepared), prepared.table.root, {task.name: answered})
    narrator.say(
        f"sealed: {seal.rows:,} test rows answered again from their raw values, {seal.same_answers:.0%} the same, "
        f"largest difference {seal.largest_difference:.1g}"
    )
    exhibits = _strangest(prepared, task, answered) if isinstance(task, anomaly.Task) else _alike(prepared, answered)
    clock.lap("test")
    energy, how = meter.watt_hours()
    results = Results(
        name=plan.name,
        created=time.strftime("%Y-%m-%d %H:%M:%S"),
        data=data,
        targets=(found,),
        audit=prepared.findings,
        explanations=(),
        seal=seal,
        cost=Cost(dict(clock.seconds), energy, how, peak_memory_mb(), pace(record)),
        curves={"train": thinned(record.of("train")), "validation": record.of("validation")},
        network=network,
        versions=versions,
        stopped=ended.stopped,
        exhibits=exhibits,
    )
    run.write_json(run.results, to_json(results))
    path = write_report(run)
    narrator.say(f"sealed model: {run.model}")
    narrator.say(f"report:       {path}")
    return results


def network_document(learner: Learner) -> dict[str, Json]:
    """Size and stages of what is sealed."""
    sealed: Any = learner.method.sealed
    stages = [[stage.name, sum(value.numel() for value in stage.module.parameters())] for stage in sealed.body.stages()]
    families = ", ".join(type(part).__name__ for part in sealed.body.networks.values())
    parameters = sum(value.numel() for value in sealed.parameters())
    return {"parameters": parameters, "summary": families, "stages": stages, "notes": list(learner.notes)}


def _described(
    plan: Plan,
    prepared: Prepared,
    learner: Learner,
    task: embed.Task,
    answered: Array,
    labels: Labels | None,
    seconds: float,
    base: Path,
) -> TargetResult:
    """What the vectors are good for: labels guessed from them, beside the same network untrained and plain vectors."""
    parts = prepared.split
    spread = float(answered.std(axis=0).mean() * math.sqrt(task.width))
    figures = {"spread": Interval(spread, math.nan, math.nan)}
    fallen = " The vectors hardly differ: training has collapsed." if spread < judge.COLLAPSED else ""
    if labels is None:
        text = (
            "There are no labels to judge by (name a column of them with --target: nothing learns from it); "
            f"the vectors fill {spread:.0%} of their space.{fallen}"
        )
        return TargetResult(task.name, "embed", figures, text, "even")
    codes, _ = labels.codes(np.concatenate([parts.train, parts.test]))
    known, truth = codes[: len(parts.train)], codes[len(parts.train) :]
    kept = np.flatnonzero(truth >= 0)
    own = outputs(learner, task, loader(plan, prepared, parts.train))
    judged = judge.probes("", own, known, answered[kept], truth[kept], plan.seed, seconds)
    fresh = untrained(plan, prepared, hardware.detect().device, base)
    blank = [outputs(fresh, task, loader(plan, prepared, rows)) for rows in (parts.train, parts.test)]
    others = [judge.probes("the same network untrained", blank[0], known, blank[1][kept], truth[kept], plan.seed)]
    plain, tested, rows = simple.vectors(prepared, parts.train, parts.test, plan.seed)
    places = np.searchsorted(parts.train, rows)
    others.append(judge.probes("plain features", plain, known[places], tested[kept], truth[kept], plan.seed))
    scores, compared = judge.compared(judged, others, len(kept), plan.seed)
    primary = next(iter(scores))
    kind, text = verdict(primary, scores[primary], seconds, compared, len(kept))
    text = f"Judged by {labels.name}, which nothing was learned from. {text}{fallen}"
    return TargetResult(task.name, "embed", {**scores, **figures}, text, kind, compared)


def _detected(
    plan: Plan,
    prepared: Prepared,
    task: anomaly.Task,
    answered: Array,
    trained: Array,
    labels: Labels | None,
    label: str | None,
    seconds: float,
) -> TargetResult:
    """How well strange rows are told from ordinary ones, where labels say which they are."""
    parts, alarms = prepared.split, answered[:, 0] > task.threshold
    if labels is None or label is None:
        text = (
            f"There are no labels to judge by (name a column of them with --target: nothing learns from it). "
            f"{alarms.mean():.1%} of the test rows raise an alarm; {task.rate:.1%} of ordinary rows were to."
        )
        figures = {"alarms": Interval(float(alarms.mean()), math.nan, math.nan, False)}
        return TargetResult(task.name, "anomaly", figures, text, "even")
    values = labels.values[parts.test]
    kept = np.flatnonzero(values != None)  # noqa: E711  (element by element)
    strange = values[kept] != label
    if not strange.any() or strange.all():
        text = f"The labels cannot judge: {'all' if strange.all() else 'none'} of the test rows are strange by them."
        figures = {"alarms": Interval(float(alarms.mean()), math.nan, math.nan, False)}
        return TargetResult(task.name, "anomaly", figures, text, "even")
    own = judge.detections("", answered[kept, 0], strange, seconds)
    plain, tested, _ = simple.vectors(prepared, trained, parts.test, plan.seed)
    others = []
    for name, (score, took) in (
        ("an isolation forest", simple.isolation(plain, tested, plan.seed)),
        ("nearest neighbors", simple.nearest(plain, tested)),
    ):
        others.append(judge.detections(name, score[kept], strange, took))
    scores, compared = judge.compared(own, others, len(kept), plan.seed)
    primary = next(iter(scores))
    kind, text = verdict(primary, scores[primary], seconds, compared, len(kept))
    found, false = float(alarms[kept][strange].mean()), float(alarms[kept][~strange].mean())
    scores["found"] = Interval(found, math.nan, math.nan)
    scores["false_alarms"] = Interval(false, math.nan, math.nan, False)
    text = (
        f"{text} At its threshold it finds {found:.0%} of the strange rows (not {label}) and raises a false alarm for "
        f"{false:.1%} of the ordinary ones."
    )
    return TargetResult(task.name, "anomaly", scores, text, kind, compared)


def _strangest(prepared: Prepared, task: anomaly.Task, answered: Array) -> tuple[Exhibit, ...]:
    """The strangest and the most ordinary test rows, and all scores in order."""
    scores, rows = answered[:, 0], prepared.split.test
    order = np.argsort(-scores, kind="stable")
    found = []
    for title, places in (("The strangest test rows", order[:SHOWN]), ("The most ordinary ones", order[::-1][:SHOWN])):
        pictures, lines = _looks(prepared, rows[places], [f"score {scores[place]:.3g}" for place in places])
        found.append(Exhibit(title, "The strangest first." if title.startswith("The s") else "", pictures, (), lines))
    text = f"Every test row's score, the highest first; an alarm is raised from {task.threshold:.4g} on."
    found.append(Exhibit("Scores of the test rows", text, (), tuple(map(float, np.sort(scores)[::-1]))))
    return tuple(found)


def _alike(prepared: Prepared, answered: Array) -> tuple[Exhibit, ...]:
    """Some test rows, each with the test rows that are most like it."""
    rows = prepared.split.test
    if len(rows) < 2:
        return ()
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(SHOWN // 2, len(rows))).astype(np.int64))
    found = []
    for number, place in enumerate(chosen, 1):
        likeness = answered @ answered[place]
        likeness[place] = np.inf
        nearest = np.argsort(-likeness, kind="stable")[: LIKE + 1]
        notes = ["asked for" if other == place else f"likeness {likeness[other]:.2f}" for other in nearest]
        pictures, lines = _looks(prepared, rows[nearest], notes)
        found.append(Exhibit(f"Most alike, {number}", "The first is the one asked for.", pictures, (), lines))
    return tuple(found)


def _looks(prepared: Prepared, rows: Array, notes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(Pictures of the rows, or where they have none a line for each)."""
    one = shown.show(prepared, rows)
    pictures: list[str] = []
    lines: list[str] = []
    for number, note in enumerate(notes):
        place, inputs = one(number)
        images = [part["value"] for part in inputs.values() if part["modality"] == "image" and part["value"]]
        if images:
            pictures.append(images[0])
        else:
            lines.append(f"{place} ({note}): {_brief(inputs)}")
    return tuple(pictures), tuple(lines)


def _brief(inputs: Mapping[str, Mapping[str, str]]) -> str:
    return "; ".join(f"{name} {part['value'][:80]}" for name, part in list(inputs.items())[:8])
