"""Step 5 for pictures that are turned: compare with real ones of the wanted class, seal, prove, show, report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.evaluate.generated import Moments, frechet
from lamina.evaluate.intervals import percentile, resampled, wilson
from lamina.evaluate.results import BaselineResult, Exhibit, Interval, Results, Seal, TargetResult
from lamina.evaluate.verdict import verdict
from lamina.model import card, golden
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import shown
from lamina.steps.finish import Course, versions_of
from lamina.steps.generate.exhibits import while_learning
from lamina.steps.generate.learner import MOST_COMPARED, some_of
from lamina.steps.generate.sheets import as_uri, sheet
from lamina.steps.generate.test import REPLICATES, distances, network_document
from lamina.steps.prepare import Prepared, read
from lamina.steps.restyle.learner import Learner, Sealing, outputs, turned
from lamina.steps.restyle.simple import Colors, transferred
from lamina.steps.sealing import prove_and_write, sealed_parts
from lamina.steps.test import example_rows, raw_rows
from lamina.steps.unlabelled.learner import asked
from lamina.tasks._fidelity import decibels

Array = np.ndarray[Any, Any]

SHOWN = 16
"""Test pictures in the report."""
ACROSS = 8
WHILE = "Each row from the same picture of the validation part, after {steps} steps."
PROVEN = 500
"""Test pictures that the sealed model must turn as the network does."""


def test(course: Course, prepared: Prepared, learner: Learner) -> Results:
    """Compare, seal, prove, show, report."""
    plan, run = course.plan, course.run
    course.narrator.step("Test")
    rows = some_of(learner.sides.rows(prepared.split.test, learner.sides.source), MOST_COMPARED)
    found = compared(plan, prepared, learner, rows, course.seconds)
    course.tell(found)
    data = shown.data_document(plan, prepared, read(run).get("summaries", {}))
    versions = versions_of(plan, run)
    seal = _sealed(plan, prepared, learner, rows, found, run, data, versions)
    course.tell_seal(seal, "test pictures turned again from their files")
    return course.finish(
        (found,),
        seal,
        data=data,
        network=_network(learner),
        versions=versions,
        audit=prepared.findings,
        exhibits=(_before_and_after(learner, rows), *while_learning(run, 2, WHILE)),
    )


@dataclass(frozen=True)
class _Tool:
    """Something that turns pictures, tried.

    Attributes:
        distances: of each replicate.
        scores: "frechet", "taken", "cycle_psnr".
        seconds: what it took.
    """

    distances: Array
    scores: dict[str, Interval]
    seconds: float


def compared(plan: Plan, prepared: Prepared, learner: Learner, rows: Array, seconds: float) -> TargetResult:
    """How near turned pictures come to real test pictures of the wanted class, beside what needs no training.

    Args:
        rows: test pictures that are turned.
        seconds: what all steps up to here took.
    """
    judge, sides, images, device = learner.judge, learner.sides, learner.images, learner.engine.device
    assert judge is not None
    real_rows = some_of(sides.rows(prepared.split.test, sides.result), MOST_COMPARED)
    real = judge.features(np.asarray(images[real_rows]), device)
    before = np.asarray(images[rows])
    weights, turned_weights = (
        np.concatenate(list(resampled(number, REPLICATES, plan.seed + more)))
        for more, number in enumerate((len(real), len(before)))
    )

    def tried(there: Callable[[Array], Array], back: Callable[[Array], Array]) -> _Tool:
        begin = time.monotonic()
        after = there(before)
        fidelity = decibels(back(after), before)
        took = time.monotonic() - begin
        distance, drawn = distances(real, judge.features(after, device), weights, turned_weights)
        share = float((judge.answers(after, device) == sides.class_of(sides.result)).mean())
        mean = float(fidelity.mean())
        low, high = percentile(mean, turned_weights @ fidelity / len(fidelity))
        scores = {
            "frechet": distance,
            "taken": Interval(share, *wilson(share, len(before))),
            "cycle_psnr": Interval(mean, low, high, True, "dB"),
        }
        return _Tool(drawn, scores, took)

    own = tried(lambda pictures: turned(learner, pictures), lambda pictures: turned(learner, pictures, back=True))
    colors = [Colors.of(_some_training(prepared, learner, code)) for code in (sides.source, sides.result)]
    others = {
        "the picture as it is": tried(np.copy, np.copy),
        "colors transferred": tried(
            lambda pictures: transferred(pictures, colors[1]), lambda pictures: transferred(pictures, colors[0])
        ),
    }
    baselines = tuple(
        BaselineResult(name, other.scores, other.seconds, _better(own, other)) for name, other in others.items()
    )
    scores = dict(own.scores)
    kind, text = verdict("frechet", scores["frechet"], seconds, baselines, min(len(real), len(before)))
    known = judge.features(_some_training(prepared, learner, sides.result, len(real)), device)
    floor = frechet(Moments.of(real), Moments.of(known))
    scores["frechet_of_real"] = Interval(floor, math.nan, math.nan, False)
    share, wanted = scores["taken"].value, sides.name(sides.result)
    text = (
        f"{text} Compared by features of a classifier that learned to tell the data's own classes apart: such figures "
        f"compare only here. It takes {share:.1%} of the turned pictures for {wanted!r}."
    )
    return TargetResult(asked(plan)[0], "restyle", scores, text, kind, baselines)


def _better(own: _Tool, other: _Tool) -> Interval:
    apart = other.scores["frechet"].value - own.scores["frechet"].value
    return Interval(apart, *percentile(apart, other.distances - own.distances))


def _some_training(prepared: Prepared, learner: Learner, code: int, most: int = MOST_COMPARED) -> Array:
    """Training pictures of a class."""
    return np.asarray(learner.images[some_of(learner.sides.rows(prepared.split.train, code), most)])


def _before_and_after(learner: Learner, rows: Array) -> Exhibit:
    """Some pictures, evenly spaced among the test rows: before, after, and after the way back."""
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SHOWN)).astype(np.int64))]
    lines = []
    for part in np.split(chosen, range(ACROSS, len(chosen), ACROSS)):
        before = np.asarray(learner.images[part])
        after = turned(learner, before)
        blank = np.full((ACROSS - len(part), *before.shape[1:]), 255, np.uint8)
        lines += [np.concatenate([one, blank]) for one in (before, after, turned(learner, after, back=True))]
    one, other = learner.task.given, learner.task.wanted
    return Exhibit(
        "Before and after",
        f"Test pictures, not chosen. From above: {one} as it is, turned into {other}, and turned back from that.",
        (as_uri(sheet(np.concatenate(lines), ACROSS)),),
    )


def _network(learner: Learner) -> dict[str, Json]:
    """Size and parts: of all that learned, one direction is sealed."""
    with learner.method.evaluating() as makers:
        return network_document(learner.network, makers.onward.parameters())


def _sealed(
    plan: Plan, prepared: Prepared, learner: Learner, rows: Array, found: TargetResult, run: Run,
    data: dict[str, Json], versions: dict[str, str],
) -> Seal:  # fmt: skip
    """Export, seal beside, prove on raw test pictures, and only then give the file its name."""
    task = learner.task
    rows = some_of(rows, PROVEN)
    fields = {task.source: prepared.schema[task.source]}
    description = card.build(
        replace(plan, schema=tuple(fields.values())), data, [found], versions, created=time.strftime("%Y-%m-%d"),
        golden=golden.USUAL, network=_network(learner),
    )  # fmt: skip
    with learner.method.evaluating() as makers:
        sealed = sealed_parts(
            Sealing(makers.onward, task), fields, prepared.encoders, {task.name: task}, description,
            *example_rows(prepared, rows),
        )  # fmt: skip
    answers = {task.name: outputs(learner, np.asarray(learner.images[rows]))}
    return prove_and_write(run, sealed, raw_rows(prepared, rows, task.width), prepared.table.root, answers)[1]
