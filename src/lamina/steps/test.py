"""Step 5: score on the test part, opened only now; seal; prove that the sealed file answers the same; explain; report."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lamina import __version__
from lamina.choose import hardware
from lamina.data.audit_labels import suspect_labels
from lamina.data.schema import Json, Values
from lamina.evaluate.assess import assess
from lamina.evaluate.cost import EnergyMeter, peak_memory_mb
from lamina.evaluate.results import AuditFinding, Cost, Explanation, Results, Seal, TargetResult, to_json
from lamina.learn.loop import Status
from lamina.learn.record import Record
from lamina.model import card, export, format, parity, runtime
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import shown
from lamina.steps.learner import Learner, answers, loader
from lamina.steps.prepare import BaselineAnswers, Prepared
from lamina.tasks import Task, classify

Array = np.ndarray[Any, Any]
GOLDEN = 8
"""Golden examples kept in the sealed file."""


class Clock(Protocol):
    """Seconds by step."""

    seconds: dict[str, float]

    def lap(self, step: str) -> None: ...


def test(
    plan: Plan,
    prepared: Prepared,
    learner: Learner,
    baselines: Mapping[str, Sequence[BaselineAnswers]],
    run: Run,
    narrator: Narrator,
    *,
    ended: Status,
    record: Record,
    clock: Clock,
    meter: EnergyMeter,
) -> Results:
    """Calibrate on the validation part, score on the test part, seal, prove, explain, report."""
    narrator.step("Test")
    tasks = _calibrated(plan, prepared, learner)
    rows = prepared.split.test
    with learner.method.evaluating():
        outputs = answers(learner.network, loader(plan, prepared, rows), prepared.tasks, learner.engine)
    targets = prepared.examples.take(list(tasks), rows)
    found: list[TargetResult] = []
    for name, task in tasks.items():
        known = known_rows(targets[name])
        found.append(
            assess(
                task,
                outputs[name][known],
                targets[name][known],
                [item.on(known) for item in baselines.get(name, ())],
                slices=shown.slices(prepared, rows[known]),
                mistake=shown.mistake(prepared, name, rows[known]),
                seed=plan.seed,
            )
        )
    for result in found:
        _tell(narrator, result)
    sealed = _seal(plan, prepared, learner, tasks, found, outputs, run, narrator)
    explanations = shown.explanations(prepared, runtime.load(run.model), rows, plan.seed)
    clock.lap("test")
    findings = (*prepared.findings, *_suspects(plan, prepared, learner))
    energy, how = meter.watt_hours()
    results = Results(
        name=plan.name,
        created=time.strftime("%Y-%m-%d %H:%M:%S"),
        data=shown.data_document(plan, prepared),
        targets=tuple(found),
        audit=findings,
        explanations=explanations,
        seal=sealed,
        cost=Cost(dict(clock.seconds), energy, how, peak_memory_mb(), _pace(record)),
        curves={"train": record.of("train"), "validation": record.of("validation")},
        network=shown.network_document(learner),
        versions=_versions(plan, run),
        stopped=ended.stopped,
    )
    run.write_json(run.results, to_json(results))
    from lamina.report.write import write_report

    path = write_report(run)
    narrator.say(f"sealed model: {run.model}")
    narrator.say(f"report:       {path}")
    return results
