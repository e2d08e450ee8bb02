"""Step 5 without answers: judge by labels where there are any, show, seal, prove, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lamina.data.schema import Json
from lamina.evaluate.results import Results
from lamina.model import card, golden
from lamina.steps import shown
from lamina.steps.finish import Course, versions_of
from lamina.steps.prepare import Prepared, read
from lamina.steps.sealing import prove_and_write, sealed_parts
from lamina.steps.test import example_rows, raw_test_rows
from lamina.steps.unlabelled.labels import Labels
from lamina.steps.unlabelled.learner import Learner, Named, asked
from lamina.steps.unlabelled.questions import question
from lamina.steps.unlabelled.trained import Trained


def test(
    course: Course,
    prepared: Prepared,
    learner: Learner,
    labels: Labels | None,
    ordinary: str | None,
    *,
    base: Path,
) -> Results:
    """Score, seal, prove, show, report."""
    plan, run, narrator = course.plan, course.run, course.narrator
    narrator.step("Test")
    name, task = asked(plan)
    trained = Trained(plan, prepared, learner, labels, ordinary, course.seconds, base)
    done = question(task).tested(trained)
    found = done.result
    for sentence in (*done.said, *(finding.text for finding in done.findings)):
        narrator.say(sentence)
    course.tell(found)
    data, versions = shown.data_document(plan, prepared, read(run).get("summaries", {})), versions_of(plan, run)
    network = network_document(learner)
    description = card.build(
        plan, data, [found], versions, created=time.strftime("%Y-%m-%d"), golden=golden.USUAL, network=network
    )
    fields = {name: prepared.schema[name] for name in prepared.encoders}
    with learner.method.evaluating() as module:
        parts_of_file = sealed_parts(
            Named(module, name), fields, prepared.encoders, {name: done.task}, {**description, **done.facts},
            *example_rows(prepared),
        )  # fmt: skip
    _, seal = prove_and_write(run, parts_of_file, raw_test_rows(prepared), prepared.table.root, {name: done.outputs})
    course.tell_seal(seal, "test rows answered again from their raw values")
    return course.finish(
        (found,),
        seal,
        data=data,
        network=network,
        versions=versions,
        audit=(*prepared.findings, *done.findings),
        exhibits=done.exhibits,
    )


def network_document(learner: Learner) -> dict[str, Json]:
    """Size and stages of what is sealed."""
    sealed: Any = learner.method.sealed
    stages = [[stage.name, sum(value.numel() for value in stage.module.parameters())] for stage in sealed.body.stages()]
    families = ", ".join(type(part).__name__ for part in sealed.body.networks.values())
    parameters = sum(value.numel() for value in sealed.parameters())
    return {"parameters": parameters, "summary": families, "stages": stages, "notes": list(learner.notes)}
