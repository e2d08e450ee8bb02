"""Step 1: what is observed in the environment, and what can be done there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lamina.data.schema import Field
from lamina.environments import COPY_SEED, tabular, use_seed
from lamina.environments import World as World
from lamina.environments.play import play
from lamina.environments.spaces import codes_seen, open_world, small_pictures
from lamina.errors import InputError, nearest
from lamina.narrate import Narrator
from lamina.plan import DataPlan, Plan, TaskPlan
from lamina.steps.request import Request

ACTION = "action"
"""What the answer of a policy is called."""
OPTIONS = ("history", "codes")
LOOKED_AT, LOOKED_LONG = 2, 25
"""Episodes that are looked at, and their steps, to tell grids of codes from pictures."""


@dataclass(frozen=True)
class Understood:
    """The environment, and a plan that says what is observed and asked."""

    world: World
    plan: Plan


def understand(request: Request, narrator: Narrator) -> Understood:
    """Open the environment and look at its spaces."""
    narrator.step("Understand")
    _check(request)
    name = str(request.data)
    plan = Plan(
        name=_short(name), seed=request.seed or 0, budget=request.budget, task={ACTION: TaskPlan("control")},
        data=DataPlan(train=name, split="episodes"),
    )  # fmt: skip
    plan = plan.with_set(item for item in request.sets if item.split(".")[0] == "task")
    world = opened(plan, request.base)
    if "codes" not in plan.task[ACTION].options and small_pictures(world):
        plan = _with_codes(plan, world)
        world = opened(plan, request.base)
    answer = Field(ACTION, "vector" if world.actions.kind == "continuous" else "category", "target", reason=_can(world))
    plan = replace(
        plan,
        schema=(*world.fields, answer),
        data=replace(plan.data, fingerprint=fingerprint(world)),
        reasons={f"task.{ACTION}": "control: the data is an environment to act in"},
    )
    goal = "" if world.solved is None else f", solved at a mean return of {world.solved:g}"
    narrator.say(f"{name}: an environment to act in{goal}")
    for field in plan.schema:
        narrator.say(f"{field.name}: {field.modality}{'  [target]' * (field.role == 'target')} - {field.reason}")
    return Understood(world, plan)


def opened(plan: Plan, base: Path) -> World:
    """The environment that a plan names.

    Raises:
        InputError: it cannot be opened, or an option of the task is wrong.
    """
    options = plan.task[ACTION].options
    for option in options:
        if option not in OPTIONS:
            raise InputError(
                f"The task control has no option {option!r}.", where="task.options", fix=nearest(option, OPTIONS)
            )
    history = options.get("history", 1)
    if type(history) is not int or not 1 <= history <= 1024:
        raise InputError(
            f"The history is {history!r}.", where="task.options.history", fix="Give a whole number from 1 to 1024."
        )
    codes = options.get("codes")
    if codes is not None and (type(codes) is not int or not 0 <= codes <= 256 or codes == 1):
        raise InputError(
            f"The number of codes is {codes!r}.",
            where="task.options.codes",
            fix="Give a whole number from 2 to 256, or 0 where small pictures are pictures like others.",
        )
    return open_world(plan.data.train, history=history, base=base, codes=codes)


def _with_codes(plan: Plan, world: World) -> Plan:
    """The plan with the number of codes that a few steps of random actions show in small pictures, 0 for none."""
    random = tabular.random_policy(world, 0)
    seed = use_seed(plan.seed, COPY_SEED)
    played = play(world, random, LOOKED_AT, seed, most_steps=LOOKED_LONG, keep=LOOKED_AT * LOOKED_LONG)
    task = plan.task[ACTION]
    options = {**task.options, "codes": codes_seen(world, played.observations) or 0}
    return replace(plan, task={ACTION: replace(task, options=options)})


def fingerprint(world: World) -> str:
    """A hash of what is observed and what can be done: going on with another environment is refused."""
    document = {
        "name": world.name,
        "fields": [asdict(field) for field in world.fields],
        "actions": [
            world.actions.kind,
            world.actions.size,
            *map(repr, (*world.actions.low, *world.actions.high, *world.actions.sizes)),
        ],
        "history": world.history,
    }
    return hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16).hexdigest()


def _check(request: Request) -> None:
    """Find wishes that make no sense for an environment."""
    if request.task and request.task != "control":
        raise InputError(
            f"An environment cannot be asked for the task {request.task!r}.", where="--task", fix="Leave it out."
        )
    given = {
        "--target": request.targets,
        "--test": request.test,
        "--also": request.also,
        "--split": request.split,
        "--weights": request.weights,
        "--time": request.time,
        "--group": request.group,
        "--horizon": request.horizon,
    }
    for option, value in given.items():
        if value:
            raise InputError(f"An environment takes no {option}.", where=option, fix="Leave it out.")
    for item in request.sets:
        if item.startswith(("schema.", "data.")):
            raise InputError(f"An environment has no setting {item!r}.", where="--set", fix="Leave it out.")


def _short(name: str) -> str:
    """A name for the run: "CartPole-v1" of "gym:CartPole-v1?sutton_barto_reward=true"."""
    return name.partition(":")[2].partition("?")[0].rpartition("/")[2] or "environment"


def _can(world: World) -> str:
    actions = world.actions
    if actions.sizes:
        parts = " x ".join(map(str, actions.sizes))
        return f"{len(actions.sizes)} choices are made at each step: one of {actions.size} combinations ({parts})"
    if actions.kind == "discrete":
        return f"one of {actions.size} actions is chosen at each step"
    bounds = "; ".join(f"{low:g} to {high:g}" for low, high in zip(actions.low[:4], actions.high[:4], strict=True))
    return f"{actions.size} numbers at each step ({bounds}{', ...' * (actions.size > 4)})"
