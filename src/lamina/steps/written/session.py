"""The five steps for texts that are written, one after the other; and going on with them where they stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lamina import run as runs
from lamina.choose import hardware
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.learn.loop import Status
from lamina.narrate import Narrator
from lamina.plan import Plan, as_toml
from lamina.run import Run
from lamina.steps.choose import Allowance
from lamina.steps.finish import Clock, Course
from lamina.steps.request import Request
from lamina.steps.train import carry_out
from lamina.steps.written import choose, judge_pairs, judge_texts, pairs, texts
from lamina.steps.written.choose import Extent
from lamina.steps.written.learner import Learner, Material, build

Ended = tuple[Run, Results, Status]


@dataclass(frozen=True)
class Way:
    """What the two tasks differ in.

    Attributes:
        understand: from the request to (plan, raw data).
        again: the raw data of a run that is gone on with: from plan, data, test data.
        prepare: from plan, raw data, run, narrator and a known tokenizer ("" for none) to the material.
        extent: how much there is to learn.
        test: the fifth step.
    """

    understand: Callable[[Request, Narrator], tuple[Plan, Any]]
    again: Callable[[Plan, Any, Any], Any]
    prepare: Callable[..., Any]
    extent: Callable[[Any], Extent]
    test: Callable[[Course, Any, Learner], Results]


WAYS = {
    "write": Way(texts.understand, texts.again, texts.prepare, texts.extent, judge_texts.test),
    "translate": Way(pairs.understand, pairs.again, pairs.prepare, pairs.extent, judge_pairs.test),
}


def train(
    request: Request, narrator: Narrator, *, began: float, clock: Clock, meter: EnergyMeter, given: Plan | None
) -> Ended:
    """All five steps; ends with a sealed model that writes, and a report."""
    if given is not None:
        request = _following(request, given)
    way = WAYS[request.task]
    plan, raw = way.understand(request, narrator)
    clock.lap("understand")
    fresh = request.out is None or not Path(request.out).exists()
    run = runs.create(request.out, request.name)
    try:
        run.write_status(state="preparing", command=request.command, seconds=clock.seconds)
        material = way.prepare(plan, raw, run, narrator)
        extent = way.extent(material)
        choose.check(request, material, extent, plan, given)
        clock.lap("prepare")
        plan, allowed = choose.choose(request, material, extent, plan, narrator, began=began, given=given)
        clock.lap("choose")
        run.write_status(state="training", seconds=clock.seconds, allowed=asdict(allowed), base=str(request.base))
        run.write_plan(plan)
    except BaseException:
        run.discard(folder=fresh)
        raise
    return _learn_and_test(way, run, plan, material, narrator, clock, meter, allowed)


def _following(request: Request, given: Plan) -> Request:
    """The request with what it leaves open taken from the plan it follows."""
    (name, part), *_ = given.task.items()
    sets = [f"task.{name}.{key}={as_toml(value)}" for key, value in part.options.items()]
    return replace(
        request,
        task=part.name,
        targets=request.targets or ((name,) if part.name == "translate" else ()),
        split=request.split or (given.data.column if given.data.split == "column" else ""),
        budget=request.budget or given.budget,
        seed=request.seed or given.seed,
        sets=(*sets, *request.sets),
    )


def resume(
    run: Run, plan: Plan, data: Any, test: Any, narrator: Narrator, *, clock: Clock, meter: EnergyMeter
) -> Ended:
    """Go on with a run from its newest checkpoint, with the data it was started with.

    Raises:
        InputError: the data has changed.
    """
    way = WAYS[next(iter(plan.task.values())).name]
    raw = way.again(plan, data, test)
    runs.check_same(run, plan, raw.fingerprint)
    known = next(iter(json.loads(run.prepared.read_text(encoding="utf-8"))["tasks"].values()))
    material = way.prepare(plan, raw, run, narrator, tokenizer=str(known["tokenizer"]))
    allowed = Allowance(**run.status().get("allowed", {}))
    return _learn_and_test(way, run, plan, material, narrator, clock, meter, allowed)


def _learn_and_test(
    way: Way, run: Run, plan: Plan, material: Material, narrator: Narrator, clock: Clock, meter: EnergyMeter,
    allowed: Allowance,
) -> Ended:  # fmt: skip
    narrator.step("Train")
    hardware.keep_freed_memory()
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    learner = build(plan, material, hardware.detect().device)
    learner.samples = run.folder / "samples"
    ended, record = carry_out(learner, plan, run, narrator, allowed, scored=True)
    clock.trained(run, ended)
    learner.samples = None
    results = way.test(Course(plan, run, narrator, ended, record, clock, meter), material, learner)
    return run, results, ended
