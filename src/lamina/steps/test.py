"""Step 5: score on the test part, opened only now; seal and prove the sealed file; explain; report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.audit_labels import suspect_labels
from lamina.data.examples import BLOCK, at, known_targets
from lamina.data.findings import AuditFinding
from lamina.data.schema import Chunk, Field, Json, Values
from lamina.evaluate.assess import assess
from lamina.evaluate.results import Results, Seal, TargetResult
from lamina.model import card, golden
from lamina.model.runtime import Model
from lamina.networks.transfer.freezing import merge_lora
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import private, shown
from lamina.steps.baselines import Answers, LeftOut
from lamina.steps.explanations import explanations
from lamina.steps.finish import SHOWN_SCORES, Course, versions_of
from lamina.steps.learner import Learner, answers, loader
from lamina.steps.prepare import Prepared, read
from lamina.steps.sealing import prove_and_write, sealed_parts
from lamina.tasks import LaidOut, Stated, Task, classify

Array = np.ndarray[Any, Any]


def test(
    course: Course,
    prepared: Prepared,
    learner: Learner,
    compared: Answers,
    left_out: LeftOut,
) -> Results:
    """Calibrate on the validation part, score on the test part, seal, prove, explain, report.

    Args:
        compared: the baselines' answers to the test rows.
        left_out: the baselines without any, with the reasons.
    """
    plan, run, narrator = course.plan, course.run, course.narrator
    narrator.step("Test")
    tasks, suspects = _calibrated(plan, prepared, learner)
    outputs = _outputs(plan, prepared, learner, prepared.split.test)
    found = _assessed(plan, prepared, tasks, outputs, compared, course.seconds)
    found = tuple(_openly(result, left_out.get(result.target, {})) for result in found)
    if private.wanted(plan):
        found = tuple(replace(result, verdict=f"{result.verdict} {private.UNBOUND}") for result in found)
    for result in found:
        course.tell(result, named=True, most=SHOWN_SCORES)
    data = shown.data_document(plan, prepared, read(run).get("summaries", {}))
    versions = versions_of(plan, run)
    promised = private.told(plan, learner, course.ended.step) if private.wanted(plan) else {}
    if promised:
        private.forget(run)
    model, sealed = _sealed(plan, prepared, learner, tasks, found, outputs, run, data, versions, promised)
    course.tell_seal(sealed, "test rows answered again from their raw values")
    explained = explanations(prepared, model, prepared.split.test, plan.seed, pace=sealed.rows_per_second)
    return course.finish(
        found,
        sealed,
        data=data,
        network=shown.network_document(learner),
        versions=versions,
        audit=(*([private.finding(promised)] if promised else []), *prepared.findings, *suspects),
        explanations=explained,
        exhibits=shown.exhibits(prepared, tasks, outputs),
    )


def _outputs(plan: Plan, prepared: Prepared, learner: Learner, rows: Array) -> dict[str, Array]:
    with learner.method.evaluating():
        return answers(learner.network, loader(plan, prepared, rows), prepared.tasks, learner.engine)


def _calibrated(plan: Plan, prepared: Prepared, learner: Learner) -> tuple[dict[str, Task], tuple[AuditFinding, ...]]:
    """Tasks that know temperature, thresholds and conformal quantiles; and the validation rows with suspect labels."""
    rows = prepared.split.validation
    if not len(rows):
        return dict(prepared.tasks), ()
    outputs = _outputs(plan, prepared, learner, rows)
    tasks: dict[str, Task] = {}
    findings: list[AuditFinding] = []
    for name, task in prepared.tasks.items():
        target = prepared.examples.arrays[name][rows]
        known = known_targets(target)
        tasks[name] = task.calibrated(at(outputs[name], known), at(target, known))
        if isinstance(task, classify.Task):
            probabilities = tasks[name].probabilities(outputs[name][known])  # type: ignore[attr-defined]
            suspects = rows[known][suspect_labels(probabilities, target[known])]
            findings += _suspect_finding(prepared, name, suspects, len(rows))
    return tasks, tuple(findings)


def _suspect_finding(prepared: Prepared, name: str, suspects: Array, rows: int) -> list[AuditFinding]:
    if not len(suspects):
        return []
    return [
        AuditFinding(
            "suspect label",
            "note",
            f"{len(suspects):,} of {rows:,} validation rows have a value of {name} that the network thinks is wrong.",
            len(suspects),
            tuple(prepared.table.place(int(row)) for row in suspects[:20]),
            "Look at the first of them; correct the labels that are wrong and train again.",
        )
    ]


def _assessed(
    plan: Plan,
    prepared: Prepared,
    tasks: Mapping[str, Task],
    outputs: Mapping[str, Array],
    compared: Answers,
    seconds: float,
) -> tuple[TargetResult, ...]:
    rows = prepared.split.test
    found = []
    for name, task in tasks.items():
        target = prepared.examples.arrays[name][rows]
        known = np.flatnonzero(known_targets(target))
        suspects: frozenset[int] = frozenset()
        if isinstance(task, classify.Task):
            suspects = frozenset(suspect_labels(task.probabilities(outputs[name][known]), target[known]).tolist())
        found.append(
            assess(
                task,
                at(outputs[name], known),
                at(target, known),
                [item.on(known) for item in compared.get(name, ())],
                seconds,
                partial(_raw, prepared, rows[known]),
                shown.show(prepared, rows[known]),
                rows[known],
                suspects,
                seed=plan.seed,
                units=rows[known] // prepared.table.times if prepared.table.times > 1 else None,
                judged=shown.audited(prepared, rows[known]),
            )
        )
    return tuple(found)


def _openly(result: TargetResult, missing: Mapping[str, str]) -> TargetResult:
    """The result whose verdict says what it was not compared with."""
    if not missing:
        return result
    named = ", ".join(f"{title} ({reason})" for title, reason in missing.items())
    return replace(result, verdict=f"{result.verdict} Not compared with {named}.")


def _raw(prepared: Prepared, rows: Array, chosen: Array) -> Mapping[str, tuple[Field, Values]]:
    """Name to (field, raw values) at some of `rows`."""
    return shown.slice_inputs(prepared, rows[chosen])


def _sealed(
    plan: Plan,
    prepared: Prepared,
    learner: Learner,
    tasks: Mapping[str, Task],
    found: tuple[TargetResult, ...],
    outputs: Mapping[str, Array],
    run: Run,
    data: Mapping[str, Json],
    versions: Mapping[str, str],
    promised: Mapping[str, Json],
) -> tuple[Model, Seal]:
    """Export, seal beside, prove on the raw test rows, and only then give the file its name.

    Args:
        promised: of a private training; its file holds no raw rows.

    Raises:
        LaminaError: the sealed model answers otherwise than the trained network; there is then no model file.
    """
    merge_lora(learner.network)
    learner.network.eval()
    description = card.build(
        plan, data, found, versions, created=time.strftime("%Y-%m-%d"), golden=0 if promised else golden.USUAL,
        network=shown.network_document(learner), privacy=promised,
    )  # fmt: skip
    for name, task in tasks.items():
        if isinstance(task, Stated):
            description["targets"][name]["stated"] = list(task.stated())
    fields = {name: prepared.schema[name] for name in prepared.encoders}
    examples = example_rows(prepared, prepared.split.test[:0] if promised else None)
    sealed = sealed_parts(learner.network.cpu(), fields, prepared.encoders, tasks, description, *examples)
    return prove_and_write(run, sealed, raw_test_rows(prepared), prepared.table.root, outputs)


def raw_test_rows(prepared: Prepared) -> Iterator[Chunk]:
    """The test rows' raw inputs, streamed in order."""
    laid_out = sum(task.width for task in prepared.tasks.values() if isinstance(task, LaidOut))
    return raw_rows(prepared, prepared.split.test, laid_out)


def raw_rows(prepared: Prepared, rows: Array, laid_out: int) -> Iterator[Chunk]:
    """Some rows' raw inputs, streamed in order.

    Args:
        laid_out: numbers of the answers to one row that are no vectors.
    """
    together = min(1024, max(1, BLOCK // (4 * laid_out))) if laid_out else 1024
    return (chunk for _, chunk in prepared.table.chunks(rows, _columns(prepared), together))


def example_rows(prepared: Prepared, among: Array | None = None) -> tuple[Chunk, Path | None]:
    """Some raw inputs of test rows, or of those `among` them, to be kept with the model, and the folder that their
    paths start from."""
    test = prepared.split.test if among is None else among
    rows = test[:: max(1, len(test) // golden.USUAL)][: golden.USUAL]
    return prepared.table.take(rows, _columns(prepared)), prepared.table.root


def _columns(prepared: Prepared) -> list[str]:
    return [column for name in prepared.encoders for column in prepared.schema[name].columns]
