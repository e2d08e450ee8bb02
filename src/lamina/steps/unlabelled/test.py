"""Step 5 without answers: judge by labels where there are any, show, seal, prove, report."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from lamina.data.schema import Json
from lamina.evaluate.cost import EnergyMeter, peak_memory_mb
from lamina.evaluate.results import Cost, Results, to_json
from lamina.evaluate.scores import title
from lamina.learn.loop import Status
from lamina.learn.record import Record
from lamina.model import card, golden
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.report.write import write_report
from lamina.run import Run
from lamina.steps import shown
from lamina.steps.prepare import Prepared, read
from lamina.steps.sealing import prove_and_write, sealed_parts
from lamina.steps.test import Clock, example_rows, pace, raw_test_rows, thinned, versions_of
from lamina.steps.unlabelled.labels import Labels
from lamina.steps.unlabelled.learner import Learner, Named, asked
from lamina.steps.unlabelled.questions import question
from lamina.steps.unlabelled.trained import Trained


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
    name, task = asked(plan)
    trained = Trained(plan, prepared, learner, labels, ordinary, sum(clock.seconds.values()), base)
    done = question(task).tested(trained)
    found = done.result
    for sentence in done.said:
        narrator.say(sentence)
    for score_name, score in found.scores.items():
        sure = f" (95% interval {score.low:.4g} to {score.high:.4g})" if math.isfinite(score.low) else ""
        narrator.say(f"{title(score_name)} {score.value:.4g}{sure}")
    narrator.say(f"verdict: {found.verdict}")
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
    narrator.say(
        f"sealed: {seal.rows:,} test rows answered again from their raw values, {seal.same_answers:.0%} the same, "
        f"largest difference {seal.largest_difference:.1g}"
    )
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
        exhibits=done.exhibits,
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
