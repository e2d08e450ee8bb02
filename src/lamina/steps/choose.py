"""Step 3: network, optimizer, schedule, batch size, threads and epochs, each with its reason, into plan.toml."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal, Protocol

import torch
from torch import nn

from lamina import registry
from lamina.choose import hardware
from lamina.choose import networks as choose_networks
from lamina.choose import training as choose_training
from lamina.errors import InputError, nearest
from lamina.learn import checkpoint
from lamina.learn.batch import Source
from lamina.learn.engine import Engine
from lamina.learn.finder import find_rate
from lamina.learn.schedules import Schedule
from lamina.narrate import Narrator
from lamina.networks.heads import reads
from lamina.plan import NetworkPlan, Plan
from lamina.steps.explanations import answers_asked
from lamina.steps.inform import remember
from lamina.steps.learner import Learner, build, preparation
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.tasks import Choosy, LaidOut, classify, layout_of

TEST_SHARE = 0.05
"""The least share of the budget that is kept for the fifth step, besides a fixed time for sealing."""
SEALING_SECONDS = 20.0
CLEARLY_FASTER = 1.1
SAME_LOSS = 0.03
"""A batch's loss in bf16 and in fp32 may be so far apart, relatively; bf16 has 8 bits of precision."""
TRY_COMPILING = {False: 3600.0, True: 120.0}
"""Seconds of training from which on compiling is tried, without and with a GPU: on processors it takes about a minute
and has gained nothing for small convolutional networks."""
NO_OPTIONS = "It has none: leave that out."


class Batches(Source, Protocol):
    """Batches of examples that are numbered."""

    @property
    def rows(self) -> Any: ...

    @property
    def batch_size(self) -> int: ...


class Measured(Protocol):
    """What is measured of a learner."""

    engine: Engine

    @property
    def source(self) -> Batches: ...

    @property
    def validation(self) -> Batches: ...

    @property
    def method(self) -> Any: ...

    @property
    def network(self) -> nn.Module: ...

    def steps_in(self, epochs: float) -> int: ...


@dataclass(frozen=True)
class Allowance:
    """The time for training; it is kept in the run's status, for resuming.

    Attributes:
        seconds: what training may take; 0 for no limit.
        after: what the answers of the fifth step will take at the present pace.
        scoring: what scoring the validation part once takes at that pace.
    """

    seconds: float = 0.0
    after: float = 0.0
    scoring: float = 0.0


def choose(
    request: Request, prepared: Prepared, plan: Plan, narrator: Narrator, *, began: float, given: Plan | None = None
) -> tuple[Plan, Allowance]:
    """Fill in all that the plan leaves open.

    Args:
        plan: with data, schema and task decided.
        began: when the budget began to run, by `time.monotonic`.
        given: a whole plan of the user's to follow; only what depends on the machine is decided anew.

    Returns:
        The plan, and the time for training.
    """
    narrator.step("Choose")
    hardware.keep_freed_memory()
    machine = hardware.detect()
    plan, reasons, sets = _decided(request, prepared, plan, given)
    learner = build(plan, prepared, machine.device, request.base)
    remember(learner, plan, prepared)
    for note in learner.notes:
        narrator.say(note)
    keys = _keys(sets)
    # A whole plan that was given says how to train; what the user has set by hand stays as well.
    fixed = keys | ({"training.precision"} if given is not None else set())
    plan, measured, allowed = measure(plan, learner, machine, fixed, prepared, began)
    reasons.update(measured)
    if given is None and not keys & {"optimizer.learning_rate", "training.find_rate"}:
        steps = learner.steps_in(plan.training.epochs)
        rate = choose_training.gentler(plan.optimizer.learning_rate, steps)
        if rate < plan.optimizer.learning_rate:
            reasons["optimizer.learning_rate"] = f"{rate:g}: there is time for {steps} steps only, so smaller ones"
            plan = replace(plan, optimizer=replace(plan.optimizer, learning_rate=rate))
    plan = replace(plan, reasons=reasons)
    _tell(narrator, plan, learner, reasons)
    return plan, allowed


def check(request: Request, prepared: Prepared, plan: Plan, given: Plan | None = None) -> Plan:
    """Find what is wrong with the wishes for networks and training before any time is spent on baselines.

    Returns:
        The plan with everything that needs no measuring.

    Raises:
        InputError: a name, option or value that does not exist, or weights that do not fit.
    """
    decided, _, _ = _decided(request, prepared, plan, given)
    if hasattr(registry.module("methods", decided.method.name), "suits"):
        raise InputError(
            f"The method {decided.method.name!r} learns by acting in an environment, not from rows.",
            where="method.name",
            fix="Leave it out, or name an environment as the data, e.g. gym:CartPole-v1.",
        )
    for option in decided.method.options:
        raise InputError(
            f"The method {decided.method.name!r} has no option {option!r}.", where="method", fix=NO_OPTIONS
        )
    Schedule.over(1, decided.schedule)
    learner = build(decided, prepared, torch.device("cpu"), request.base)
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    prepare = preparation(decided, features, {name: layout_of(task) for name, task in prepared.tasks.items()})
    if prepare is not None:
        _, batch = next(learner.source.batches(0))
        prepare(batch)
    return decided


def _decided(
    request: Request, prepared: Prepared, plan: Plan, given: Plan | None
) -> tuple[Plan, dict[str, str], list[str]]:
    """(The plan with everything that needs no measuring, the reasons, the `--set`s that apply to it)."""
    asked: dict[str, NetworkPlan] = {}
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    rows = len(prepared.split.train)
    reasons = dict(plan.reasons)
    if given is not None:
        plan = replace(
            given,
            data=plan.data,
            schema=plan.schema,
            task=plan.task,
            budget=plan.budget,
            seed=plan.seed,
            name=plan.name,
        )
    else:
        asked = networks_asked(request, list(choose_networks.groups(features)))
        classes = any(isinstance(task, classify.Task) for task in prepared.tasks.values())
        accelerated = hardware.detect().device.type != "cpu"
        wanted = {reads(layout_of(task)) for task in prepared.tasks.values()} - {"vector"}
        layouts = {layout_of(task).kind for task in prepared.tasks.values()}
        choosy = next((task for task in prepared.tasks.values() if isinstance(task, Choosy)), None)
        networks, why = choose_networks.choose(
            features, rows, asked, request.base, classify=classes, accelerated=accelerated, wanted=wanted,
            preferred=choosy.family if choosy else None, layouts=layouts,
        )  # fmt: skip
        optimizer, schedule, training, more = choose_training.choose(networks, features, rows, classes, layouts)
        if choosy is not None:
            training = replace(training, augment={name: dict(choosy.augmentation) for name in features})
        networks, rate, for_scratch = choose_training.rates(networks, classes)
        if rate:
            optimizer = replace(optimizer, learning_rate=rate)
            more["optimizer.learning_rate"] = f"{rate:g}: {for_scratch}"
        reasons.update(why)
        reasons.update(more)
        plan = replace(plan, network=networks, optimizer=optimizer, schedule=schedule, training=training)
    early = {"data", "task", "seed", "schema"}
    sets = [item for item in request.sets if item.split(".")[0].split("=")[0] not in early]
    if given is None:
        # Apart from those beside them: with two networks, "network.dropout" could mean either.
        own = Plan(network={key: part for key, part in plan.network.items() if key in asked})
        own = own.with_set(item for item in sets if of_inputs(item, asked))
        plan = replace(plan, network={**plan.network, **own.network})
        plan = plan.with_set(item for item in sets if not of_inputs(item, asked))
    else:
        plan = plan.with_set(sets)
    reasons.update({item.partition("=")[0]: "you asked for it" for item in sets})
    return plan, reasons, sets


def available(budget: float, spent: float, testing: float = 0.0) -> float:
    """Seconds for training; 0 for no limit.

    Args:
        budget, spent: seconds in all, and those that are gone.
        testing: seconds that the answers of the fifth step take, as measured.
    """
    if not budget:
        return 0.0
    left = budget - spent
    return max(left - SEALING_SECONDS - max(TEST_SHARE * budget, testing), 0.2 * left, 1.0)


def _keys(sets: list[str]) -> set[str]:
    return {item.partition("=")[0].strip() for item in sets}


def networks_asked(request: Request, keys: list[str]) -> dict[str, NetworkPlan]:
    """What the user says about networks: `--set network...` and `--weights`."""
    plan = Plan(network={key: NetworkPlan() for key in keys})
    plan = plan.with_set(item for item in request.sets if of_inputs(item, keys))
    asked: dict[str, NetworkPlan] = dict(plan.network)
    for item in request.weights:
        key, path = weights_for(item, keys)
        asked[key] = replace(asked[key], weights=path)
    return asked


def of_inputs(item: str, networks: Collection[str]) -> bool:
    """Is a `--set` about the network of an input, rather than about one beside it, or about something else?"""
    beside = tuple(f"network.{choose_networks.companion(name)}." for name in networks)
    return item.startswith("network.") and not item.startswith(beside)


def weights_for(item: str, keys: list[str]) -> tuple[str, str]:
    """(network, path) of one --weights argument: "FIELD=PATH", or "PATH" for the only network that is no table's."""
    name, equals, path = item.partition("=")
    if equals:
        if name not in keys:
            raise InputError(f"There is no network {name!r}.", where="--weights", fix=nearest(name, keys))
        return name, path
    rich = [key for key in keys if not key.startswith(choose_networks.TABLE)] or keys
    if len(rich) != 1:
        raise InputError(
            f"Several networks could take the weights in {item}.",
            where="--weights",
            fix=f"Say which: --weights {rich[0]}={item}",
        )
    return rich[0], item


def measure(
    plan: Plan,
    learner: Measured,
    machine: hardware.Hardware,
    fixed: set[str],
    prepared: Prepared | None,
    began: float,
    *,
    answers: int = 0,
    testing: float = 0.0,
) -> tuple[Plan, dict[str, str], Allowance]:
    """Threads, precision, learning rate where wanted, and epochs, from steps really taken; all is put back afterwards.

    Args:
        fixed: the settings that are not to be decided here.
        prepared: what the fifth step asks answers of; None where `answers` are all.
        began: when the budget began to run.
        answers: of the network that the fifth step asks for besides the usual ones.
        testing: seconds that it takes besides answers.

    Returns:
        The plan, reasons, and the time for training.
    """
    reasons: dict[str, str] = {}
    saved = checkpoint.pack({"method": learner.method.state(), "random": checkpoint.random_state()})
    numbers = count()

    def step() -> None:
        # Different batches: sequences differ in length, and so in cost.
        _, batch = next(learner.source.batches(next(numbers)))
        learner.method.update(batch, learner.engine)

    for optimizer in learner.method.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    threads, pace = plan.training.threads, 0.0
    if not threads:
        threads, tried = hardware.best_threads(step, machine.cores)
        times = ", ".join(f"{number}: {time * 1000:.0f} ms" for number, time in tried.items())
        reasons["training.threads"] = f"measured, milliseconds a step with each number of threads: {times}"
        pace = tried[threads]
    torch.set_num_threads(threads)
    pace = pace or hardware.seconds_per_call(step, calls=7, most=4.0)
    precision = plan.training.precision
    if machine.fast_bf16 and precision == "fp32" and "training.precision" not in fixed:
        precision, pace, reasons["training.precision"] = _faster_precision(learner, step, pace)
    if plan.training.compile:
        _check_compiles(step)
    elif "training.compile" not in fixed:
        wanted = learner.steps_in(plan.training.epochs) * pace
        seconds = available(plan.budget, time.monotonic() - began) or choose_training.DEFAULT_SECONDS
        if min(wanted, seconds) >= TRY_COMPILING[learner.engine.device.type != "cpu"]:
            compiled, pace, reasons["training.compile"] = _compiled(learner, step, pace, min(wanted, seconds) / pace)
            plan = replace(plan, training=replace(plan.training, compile=compiled))
    answer = _seconds_per_answer(learner)
    state = checkpoint.unpack(*saved)
    learner.method.restore(state["method"])
    checkpoint.restore_random_state(state["random"])
    learner.engine.precision = precision
    training = replace(plan.training, threads=threads, precision=precision)
    if training.find_rate:
        rate, _ = find_rate(learner.method, learner.source, learner.engine)
        plan = replace(plan, optimizer=replace(plan.optimizer, learning_rate=rate))
        reasons["optimizer.learning_rate"] = "found by the range test: a third of the rate where the loss is lowest"
    usual = 0 if prepared is None else _answers_asked(prepared, 1 / answer)
    after = testing + (answers + usual) * answer
    scoring = len(learner.validation.rows) * answer
    seconds = available(plan.budget, time.monotonic() - began, after)
    if "training.epochs" not in fixed:
        # Scoring the validation part takes time as well.
        share = 1 + training.evaluations * scoring / max(learner.steps_in(training.epochs) * pace, 1e-9)
        training = replace(training, most_epochs=training.epochs)
        training, reasons["training.epochs"] = choose_training.fit_epochs(
            training, len(learner.source.rows), pace * min(share, 1.5), seconds or choose_training.DEFAULT_SECONDS
        )
    return replace(plan, training=training), reasons, Allowance(seconds, after, scoring)


def _answers_asked(prepared: Prepared, pace: float) -> int:
    """How many answers the fifth step asks for, here and of the sealed model, if they come at this pace."""
    split = prepared.split
    explained = sum(not isinstance(task, LaidOut) for task in prepared.tasks.values())
    asked = answers_asked(prepared.schema, len(split.test), pace) if explained else 0
    return len(split.validation) + 2 * len(split.test) + asked


def _seconds_per_answer(learner: Measured) -> float:
    """The time of one example's answer, from a few batches."""
    engine, numbers = learner.engine, count()

    def answer() -> None:
        _, batch = next(learner.source.batches(next(numbers)))
        learner.network(batch.to(engine.device).inputs)

    with learner.method.evaluating():
        return hardware.seconds_per_call(answer, calls=3, most=2.0) / learner.source.batch_size


def _faster_precision(
    learner: Measured, step: Callable[[], None], pace: float
) -> tuple[Literal["fp32", "bf16"], float, str]:
    """(precision, seconds a step with it, reason): bf16 where it is clearly faster and computes the same loss.

    Args:
        step: takes a step with the learner's engine.
        pace: seconds a step in fp32.
    """
    losses: list[float] = []
    kinds: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    for learner.engine.precision in kinds:
        # The same batch, and the same draws of dropout and augmentation.
        torch.manual_seed(0)
        _, batch = next(learner.source.batches(0))
        losses.append(float(learner.method.update(batch, learner.engine)["loss"]))
    faster = hardware.seconds_per_call(step, calls=7, most=4.0)
    apart = abs(losses[1] - losses[0]) / max(abs(losses[0]), 1e-6)
    gain = pace / faster
    found = f"bf16 has {gain:.1f} times the pace of fp32 here, and a loss that differs by {apart:.1%}"
    if gain >= CLEARLY_FASTER and apart <= SAME_LOSS:
        return "bf16", faster, f"bf16, measured: {found}"
    return "fp32", pace, f"fp32, measured: {found}"


def _check_compiles(step: Callable[[], None]) -> None:
    """Take a step with the compiled network that the user asked for.

    Raises:
        InputError: it cannot be compiled here.
    """
    try:
        step()
    except Exception as error:
        if not hardware.compiler_error(error):
            raise
        raise InputError(
            f"The network cannot be compiled here: {_first_line(error)}",
            where="training.compile",
            fix="Leave it out, or install a C++ compiler (g++).",
        ) from None


def _compiled(learner: Measured, step: Callable[[], None], pace: float, steps: float) -> tuple[bool, float, str]:
    """(whether to compile, seconds a step then, reason): where so many steps save more than compiling takes.

    Args:
        step: takes a step with the learner's method.
        pace: seconds a step without.
    """
    plain, begin = learner.method.forward, time.perf_counter()
    learner.method.forward = torch.compile(learner.network)
    try:
        step()
        once = time.perf_counter() - begin
        faster = hardware.seconds_per_call(step, calls=7, most=4.0)
    except Exception as error:
        if not hardware.compiler_error(error):
            raise
        learner.method.forward = plain
        return False, pace, f"not compiled, for that fails here: {_first_line(error)}"
    found = f"compiling took {once:.0f} s, a step then {faster * 1000:.0f} ms instead of {pace * 1000:.0f}"
    if (pace - faster) * steps > once:
        return True, faster, f"compiled, measured: {found}"
    learner.method.forward = plain
    return False, pace, f"not compiled, measured: {found}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _tell(narrator: Narrator, plan: Plan, learner: Learner, reasons: Mapping[str, str]) -> None:
    parameters = sum(parameter.numel() for parameter in learner.network.parameters())
    for key, part in plan.network.items():
        narrator.say(f"network for {key}: {reasons.get(f'network.{key}.name', part.name)}")
    narrator.say(f"{parameters:,} weights")
    measured = ("training.batch_size", "training.threads", "training.precision", "training.compile", "training.epochs")
    for key in ("optimizer", "schedule", *measured):
        if key in reasons:
            narrator.say(f"{key.removeprefix('training.').replace('_', ' ')}: {reasons[key]}")
