"""All five steps, one after the other, and going on with them where they stopped; one way for each kind of data.

What needs PyTorch is imported when it comes to that: until then the data is read, and what is wrong with it is told at
once.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lamina import ahead, launched
from lamina import plan as plans
from lamina import run as runs
from lamina.data.tables import Table
from lamina.environments import is_environment
from lamina.errors import InputError
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.files import CannotWriteError
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import alike, long, prepare, understand
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request, Sources, apply_weights, check, followed, shares
from lamina.steps.settings import check_used

if TYPE_CHECKING:
    from lamina.learn.loop import Status
    from lamina.steps.pace import Allowance

Ended = tuple[Run, Results, "Status"]
"""A finished run, what it found out, and where its training ended."""
READIED = ("generate",)
"""Ways that change how the data is read before it is prepared."""


class Clock:
    """Seconds spent in each step."""

    def __init__(self, begin: float, seconds: Mapping[str, float] | None = None) -> None:
        self.last, self.seconds = begin, dict(seconds or {})

    def lap(self, step: str) -> None:
        """What has passed since the last lap belongs to `step`."""
        now = time.monotonic()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self.last
        self.last = now

    def trained(self, run: Run, ended: Status) -> None:
        """Training has ended; its time is counted over all its processes."""
        self.seconds["train"] = ended.seconds
        self.last = time.monotonic()
        run.write_status(state="trained", seconds=self.seconds)


def train(request: Request, narrator: Narrator) -> Ended:
    """A new run, from the data to the sealed model. Of several processes only the first one comes back from it.

    Raises:
        InputError: the data or the request is wrong, or what is asked is not trained in several processes.
    """
    with _met():
        return _train(request, narrator)


def _met() -> AbstractContextManager[None]:
    """Within, this process trains: alone, or as the first of several (`together.met`)."""
    if launched.place() is None:
        return nullcontext()
    from lamina.steps import together

    return together.met(_of_the_run)


def _check_alone(way: str) -> None:
    """Refuse a kind of training that goes on in one process only.

    Args:
        way: "answered" where rows have answers to learn from.

    Raises:
        InputError: it is another one, and this is one of several processes.
    """
    place = launched.place()
    if place is not None and way != "answered":
        raise InputError(
            f"Lamina was started as one of {place.size} processes (WORLD_SIZE); what has no answers to learn from, or "
            "answers that are texts, forecasts or ratings, is trained in one.",
            where="WORLD_SIZE",
            fix="Start it once, without a launcher; for several devices a run for each, with CUDA_VISIBLE_DEVICES and "
            "--out of its own.",
        )


def _of_the_run(run: Run, plan: Plan) -> tuple[Table, int | None]:
    """The data that another process, which leads, has begun a run with."""
    return data_of(run, plan, Sources(None, None, ()))


def _train(request: Request, narrator: Narrator) -> Ended:
    began = request.began or time.monotonic()
    check(request)
    runs.check_out(request.out)
    ahead.load_torch()
    clock, meter = Clock(began), EnergyMeter()
    given = plans.read(Path(request.plan)) if request.plan else None
    if given is not None and given.data.also and not request.also:
        narrator.say(f"the plan learned from more rows: again with --also {' --also '.join(given.data.also)}")
    if apart := understand.way_of(request, given):
        _check_alone(apart)
        check_used(apart, request, given)
        way = _session(apart)
        return _closed(way.train(request, narrator, began=began, clock=clock, meter=meter, given=given))
    asked = request
    if given is not None:
        request = following(request, given)
    request = apply_weights(request)
    understood = alike.encoded_alike(request, understand.understand(request, narrator), narrator)
    _check_alone(_way_of(understood.plan))
    check_used(_way_of(understood.plan), asked, given)
    if _way_of(understood.plan) in READIED:
        understood = _way(understood.plan).readied(understood, narrator)
    clock.lap("understand")
    fresh = request.out is None or not Path(request.out).exists()
    run = runs.create(request.out, request.name)
    try:
        run.write_status(state="preparing", command=request.command, seconds=clock.seconds)
        prepared = prepare.prepare(understood, run, narrator)
        way = _way(understood.plan)
        plan, allowed = way.choose_all(
            request, prepared, understood.plan, run, narrator, clock=clock, began=began, given=given
        )
        # The plan comes last: where there is a plan, resuming finds everything else as well.
        run.write_status(state="training", seconds=clock.seconds, allowed=asdict(allowed), base=str(request.base))
        run.write_plan(plan)
    except BaseException:
        # Without a plan there is nothing to resume: the same command must find its folder free again.
        run.discard(folder=fresh)
        raise
    return _finished(way, run, plan, prepared, narrator, clock, meter, allowed, request.base)


def resume(folder: str | Path, narrator: Narrator, given: Sources) -> Ended:
    """Go on with a run from its newest checkpoint. Of several processes only the first one comes back from it.

    Args:
        given: data in place of what the run was started with.

    Raises:
        InputError: there is no run, or the data is not what the run was started with.
    """
    with _met():
        return _resume(folder, narrator, given)


def _resume(folder: str | Path, narrator: Narrator, given: Sources) -> Ended:
    began, meter = time.monotonic(), EnergyMeter("only since the run was resumed")
    run = runs.find(folder)
    plan, status = run.plan(), run.status()
    ahead.load_torch()
    _check_alone("control" if is_environment(plan.data.train) else _way_of(plan))
    clock = Clock(began, {step: float(value) for step, value in status.get("seconds", {}).items()})
    if is_environment(plan.data.train):
        return _closed(_session("control").resume(run, plan, narrator, clock=clock, meter=meter))
    if apart := understand.apart(part.name for part in plan.task.values()):
        again = _given_again(run, plan, given)
        return _closed(_session(apart).resume(run, plan, again, narrator, clock=clock, meter=meter))
    table, boundary = data_of(run, plan, given)
    narrator.step("Prepare")
    prepared = prepare.prepared_again(run, plan, table, boundary, narrator)
    way = _way(plan)
    from lamina.steps.pace import Allowance

    allowed = Allowance(**status.get("allowed", {}))
    base = Path(status.get("base", "."))
    return _finished(way, run, plan, prepared, narrator, clock, meter, allowed, base)


def _way(plan: Plan) -> ModuleType:
    """The module with steps 3 to 5 for what the plan asks: `choose_all` and `train_and_test`."""
    way = _way_of(plan)
    with ahead.uncollected():
        return importlib.import_module("lamina.steps.answered") if way == "answered" else _session(way)


def _way_of(plan: Plan) -> str:
    """What that way is called."""
    names = {part.name for part in plan.task.values()}
    return understand.later(names) or ("unlabelled" if any(map(understand.unlabelled, names)) else "answered")


def _session(way: str) -> ModuleType:
    """The module of a way, imported only when it is gone: together they would delay every training."""
    return importlib.import_module(f"lamina.steps.{way}.session")


def _finished(
    way: ModuleType,
    run: Run,
    plan: Plan,
    prepared: Prepared,
    narrator: Narrator,
    clock: Clock,
    meter: EnergyMeter,
    allowed: Allowance,
    base: Path,
) -> Ended:
    try:
        results, ended = way.train_and_test(
            run, plan, prepared, narrator, clock=clock, meter=meter, allowed=allowed, base=base
        )
    except CannotWriteError as error:
        fix = f"Free disk space; `lamina resume {run.folder}` then goes on from what is saved."
        raise InputError(error.what, where=error.where, fix=fix) from error
    return _closed((run, results, ended))


def _closed(done: Ended) -> Ended:
    run, results, ended = done
    state = "interrupted" if ended.stopped == "interrupted" else "done"
    run.write_status(state=state, seconds=dict(results.cost.seconds))
    return done


def data_of(run: Run, plan: Plan, given: Sources) -> tuple[Table, int | None]:
    """A run's data, read again from where it was, or from what the user gives in its place.

    Raises:
        InputError: it was a data frame and is not given, it is other data, or an environment.
    """
    return understand.opened_again(run, plan, _given_again(run, plan, given))


def _given_again(run: Run, plan: Plan, given: Sources) -> Sources:
    """All data as it is opened.

    Raises:
        InputError: it was a data frame and is not given, or it is an environment.
    """
    if is_environment(plan.data.train):
        raise InputError(
            f"The run {run.folder} learned in an environment: there are no rows to look at.",
            fix=f"See how it does in fresh episodes: lamina test {run.model} {plan.data.train}",
        )
    base = Path(run.status().get("base", "."))
    also = given.also or (None,) * len(plan.data.also)
    known = {"data": [plan.data.train], "test": [plan.data.test], "also": plan.data.also}
    for name, found in (("data", [given.data]), ("test", [given.test]), ("also", also)):
        for one, place in zip(found, known[name], strict=False):
            if one is None and place.startswith(understand.IN_MEMORY):
                raise InputError(
                    f"The run {run.folder} was trained on a data frame, which is not on disk.",
                    fix=f"Give the frame again, from Python: lamina.resume(run, {name}=frame)",
                )
    return Sources(
        given.data if given.data is not None else _from_base(plan.data.train, base),
        given.test if given.test is not None else _from_base(plan.data.test, base) or None,
        given.also or tuple(_from_base(place, base) for place in plan.data.also),
    )


def _from_base(place: str, base: Path) -> str:
    """A path as the run was given it, whatever folder we are in now; URLs stay."""
    return place if not place or "://" in place or Path(place).is_absolute() else str(base / place)


def following(request: Request, given: Plan) -> Request:
    """The request with what it leaves open taken from the plan it follows.

    Raises:
        InputError: weights are given, which the plan says for itself.
    """
    if request.weights:
        raise InputError(
            "A plan says itself which weights its networks begin with.",
            where="--weights",
            fix="Write them into the plan, as weights of [network.NAME], or leave out --plan.",
        )
    alone = [field for field in given.schema if len(field.columns) == 1]
    sets = [f"schema.{field.name}.modality={field.modality}" for field in alone]
    sets += [f"schema.{field.name}.role={field.role}" for field in alone if field.role != "label"]
    sets += [
        f"schema.{field.name}.{key}={plans.as_toml(value)}"
        for field in given.schema
        for key, value in field.options.items()
    ]
    names = {part.name for part in given.task.values()}
    if len(names) > 1:
        sets += [f"task.{target}.name={part.name}" for target, part in given.task.items()]
    # A task without answers has no column to predict, perhaps one to be judged by.
    judged = any(map(understand.unlabelled, names))
    targets = tuple(field.name for field in given.schema if field.role == "label") if judged else tuple(given.task)
    return followed(
        request,
        given,
        [*shares(given), *_division(request, given), *sets],
        task=request.task or (names.pop() if len(names) == 1 else ""),
        targets=request.targets or targets,
    )


def _division(request: Request, given: Plan) -> list[str]:
    """How a plan divides the rows, as settings; what the request says itself of it, or of roles, comes first."""
    by_role = any(item.startswith("schema.") and ".role" in item for item in request.sets)
    series = any(part.name == long.TASK and part.options.get("window") for part in given.task.values())
    if request.test is not None or request.split or by_role or series or given.data.split in ("given", "column"):
        return []
    return [f"data.split={given.data.split}", f"data.column={plans.as_toml(given.data.column)}"]
