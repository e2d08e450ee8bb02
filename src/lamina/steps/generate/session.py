"""Choose, train and test where pictures are to be made, once the data is prepared; and going on with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lamina.choose import hardware
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.files import write_bytes
from lamina.learn.loop import Status
from lamina.learn.record import Record
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.finish import Clock, Course
from lamina.steps.generate import choose, judging
from lamina.steps.generate.judging import Judge
from lamina.steps.generate.kind import Maker, kind_of
from lamina.steps.pace import Allowance
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.train import carry_out
from lamina.steps.understand import Understood
from lamina.steps.unlabelled.learner import asked


def readied(understood: Understood, narrator: Narrator) -> Understood:
    """Pictures in a size that can be learned to be made, where the user does not say which."""
    side = kind_of(understood.plan).side[hardware.detect().device.type != "cpu"]
    fields = []
    for field in understood.plan.schema:
        summary = understood.summaries.get(field.name, {})
        large = max(summary.get(axis, {}).get("max", 0) for axis in ("width", "height")) if summary else 0
        if field.modality == "image" and field.role == "input" and "size" not in field.options and large > side:
            narrator.say(
                f"{field.name}: made {side} pixels wide and high (--set schema.{field.name}.size=... for more)"
            )
            field = replace(field, options={**field.options, "size": side})
        fields.append(field)
    return replace(understood, plan=replace(understood.plan, schema=tuple(fields)))


def choose_all(
    request: Request,
    prepared: Prepared,
    plan: Plan,
    run: Run,
    narrator: Narrator,
    *,
    clock: Clock,
    began: float,
    given: Plan | None,
) -> tuple[Plan, Allowance]:
    """Check the wishes, fill in the plan."""
    choose.check(request, prepared, plan, given)
    clock.lap("prepare")
    chosen = choose.choose(request, prepared, plan, narrator, began=began, given=given)
    clock.lap("choose")
    return chosen


def train_and_test(
    run: Run,
    plan: Plan,
    prepared: Prepared,
    narrator: Narrator,
    *,
    clock: Clock,
    meter: EnergyMeter,
    allowed: Allowance,
    base: Path,
) -> tuple[Results, Status]:
    """Train the judge and the networks, or go on from the newest checkpoint; then test, seal and report."""
    learner, ended, record = learn(plan, prepared, run, narrator, allowed=allowed)
    clock.trained(run, ended)
    results = kind_of(plan).test(Course(plan, run, narrator, ended, record, clock, meter), prepared, learner)
    return results, ended


def trained(run: Run, plan: Plan, weights: Mapping[str, Tensor]) -> nn.Module:
    """A run's network with its final weights, at rest; needs no data."""
    return kind_of(plan).trained(run, plan, weights)


def learn(
    plan: Plan, prepared: Prepared, run: Run, narrator: Narrator, *, allowed: Allowance
) -> tuple[Maker, Status, Record]:
    """Train as planned, or go on from the newest checkpoint; arguments as of `lamina.steps.train.train`."""
    narrator.step("Train")
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    learner = kind_of(plan).build(plan, prepared, hardware.detect().device)
    learner.judge = judge_of(plan, learner, run)
    learner.sheets = run.folder / "sheets"
    status, record = carry_out(learner, plan, run, narrator, allowed, scored=learner.scored, place=prepared.table.place)
    return learner, status, record


def judge_of(plan: Plan, learner: Maker, run: Run) -> Judge:
    """The judge, trained on the training pictures; kept in the run's folder."""
    pictures, device = learner.pictures, learner.engine.device
    judge = judging.fresh(pictures.feature, len(pictures.classes), plan.seed, device)
    file = run.folder / "judge.safetensors"
    if file.exists():
        judge.load_state_dict(load_file(file, device=str(device)))
        return judge
    draw = judging.of_rows(learner.images, pictures.answers(), learner.judged)
    source = judging.Drawn(draw, bool(pictures.label), plan.seed)
    judging.trained(judge, source, int(plan.task[asked(plan)[0]].options["judge"]), learner.engine)
    write_bytes(file, save({name: value.cpu().contiguous() for name, value in judge.state_dict().items()}))
    return judge
