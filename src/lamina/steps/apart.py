"""All five steps of a way that reads its data otherwise than row by row: what such ways share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from lamina import run as runs
from lamina.choose import hardware
from lamina.data.schema import Chunk, Field, Json
from lamina.data.tables import Table
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results, Seal, TargetResult
from lamina.learn.loop import Status
from lamina.modalities import Encoder
from lamina.model import card, golden
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.finish import Clock, Course
from lamina.steps.pace import Allowance
from lamina.steps.request import Request
from lamina.steps.sealing import prove_and_write, sealed_parts
from lamina.steps.settings import check_wishes
from lamina.steps.train import carry_out
from lamina.tasks import Answering

Array = np.ndarray[Any, Any]
LISTED = 200
"""Rows that the results list; all are counted."""
Ended = tuple[Run, Results, Status]


class Choosing(Protocol):
    """Step 3: the plan with everything that needs no measuring, and all of it."""

    def decided(self, request: Request, prepared: Any, plan: Plan, given: Plan | None) -> Plan: ...

    def choose(
        self, request: Request, prepared: Any, plan: Plan, narrator: Narrator, *, began: float, given: Plan | None
    ) -> tuple[Plan, Allowance]: ...


@dataclass(frozen=True)
class Way:
    """The steps of one way.

    Attributes:
        prepare: step 2, from the plan, the run and the narrator.
        choosing: the module of step 3.
        build: from a plan, what was prepared and a device to what learns.
        test: step 5.
        samples: what learns also shows what it makes by then, at every validation, in a folder: its `samples`.
    """

    prepare: Callable[[Plan, Run, Narrator], Any]
    choosing: Choosing
    build: Callable[[Plan, Any, torch.device], Any]
    test: Callable[[Course, Any, Any], Results]
    samples: bool = False


def train(
    way: Way, request: Request, plan: Plan, narrator: Narrator, *, began: float, clock: Clock, meter: EnergyMeter,
    given: Plan | None,
) -> Ended:  # fmt: skip
    """Steps 2 to 5 of a new run.

    Args:
        plan: with data, schema and task decided in step 1.
        given: a whole plan of the user's to follow.
    """
    clock.lap("understand")
    fresh = request.out is None or not Path(request.out).exists()
    run = runs.create(request.out, request.name)
    try:
        run.write_status(state="preparing", command=request.command, seconds=clock.seconds)
        prepared = way.prepare(plan, run, narrator)
        # What is wrong with the wishes is found before any time is spent on them.
        wished = way.choosing.decided(request, prepared, plan, given)
        check_wishes(wished, request)
        way.build(wished, prepared, torch.device("cpu"))
        clock.lap("prepare")
        plan, allowed = way.choosing.choose(request, prepared, plan, narrator, began=began, given=given)
        clock.lap("choose")
        run.write_status(state="training", seconds=clock.seconds, allowed=asdict(allowed), base=str(request.base))
        run.write_plan(plan)
    except BaseException:
        run.discard(folder=fresh)
        raise
    return _learn_and_test(way, run, plan, prepared, narrator, clock, meter, allowed)


def resume(way: Way, run: Run, plan: Plan, narrator: Narrator, *, clock: Clock, meter: EnergyMeter) -> Ended:
    """Go on with a run from its newest checkpoint, with the data it was started with."""
    prepared = way.prepare(plan, run, narrator)
    allowed = Allowance(**run.status().get("allowed", {}))
    return _learn_and_test(way, run, plan, prepared, narrator, clock, meter, allowed)


def _learn_and_test(
    way: Way, run: Run, plan: Plan, prepared: Any, narrator: Narrator, clock: Clock, meter: EnergyMeter,
    allowed: Allowance,
) -> Ended:  # fmt: skip
    narrator.step("Train")
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    learner = way.build(plan, prepared, hardware.detect().device)
    if way.samples:
        learner.samples = run.folder / "samples"
    ended, record = carry_out(learner, plan, run, narrator, allowed, scored=True)
    if way.samples:
        learner.samples = None
    clock.trained(run, ended)
    results = way.test(Course(plan, run, narrator, ended, record, clock, meter), prepared, learner)
    return run, results, ended


def network_document(network: Any) -> dict[str, Any]:
    """Size and stages of a network whose own part is its `network`."""
    stages = [[name, sum(value.numel() for value in module.parameters())] for name, module in network.stages()]
    return {
        "parameters": sum(value.numel() for value in network.parameters()),
        "summary": type(network.network).__name__,
        "stages": stages,
        "notes": [],
    }


def rows_document(plan: Plan, table: Table, dropped: Sequence[tuple[int, str]]) -> dict[str, Json]:
    """What the `data` part of all results says of rows and columns."""
    return {
        "rows": len(table),
        "dropped": [{"row": row, "place": table.place(row), "reason": reason} for row, reason in dropped[:LISTED]],
        "dropped_count": len(dropped),
        "unreadable": [{"place": place, "reason": reason} for place, reason in table.unreadable[:LISTED]],
        "fields": [
            {"name": field.name, "modality": field.modality, "role": field.role, "reason": field.reason, "summary": {}}
            for field in plan.schema
        ],
        "fingerprint": plan.data.fingerprint,
        "source": plan.data.train,
    }


@dataclass(frozen=True)
class Documents:
    """What the card of a sealed model says besides the scores: as in `Results`."""

    data: Mapping[str, Json]
    network: Mapping[str, Json]
    versions: Mapping[str, str]


def seal(
    course: Course, module: nn.Module, fields: Mapping[str, Field], encoders: Mapping[str, Encoder], task: Answering,
    found: TargetResult, documents: Documents, examples: Chunk, chunks: Iterable[Chunk], outputs: Array,
) -> Seal:  # fmt: skip
    """Export, seal beside, prove on raw rows, and only then give the file its name.

    Args:
        module: the network, in evaluation mode.
        fields, encoders: of the sealed model's inputs.
        examples: raw rows that are kept in the file.
        chunks, outputs: raw rows to prove it on, and the network's outputs for them.

    Raises:
        LaminaError: the sealed model answers otherwise than the network; there is then no model file.
    """
    description = card.build(
        replace(course.plan, schema=tuple(fields.values())), documents.data, [found], documents.versions,
        created=time.strftime("%Y-%m-%d"), golden=golden.USUAL, network=documents.network,
    )  # fmt: skip
    sealed = sealed_parts(module, fields, encoders, {task.name: task}, description, examples, None)
    return prove_and_write(course.run, sealed, chunks, None, {task.name: outputs})[1]
