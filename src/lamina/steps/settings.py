"""Which settings of the plan each way of learning uses: one that would do nothing is refused, not ignored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from lamina.errors import InputError
from lamina.learn.schedules import Schedule
from lamina.plan import Plan, TrainingPlan
from lamina.steps.request import Request

WAYS: dict[str, str] = {
    "answered": "rows with answers",
    "unlabelled": "rows without answers",
    "generate": "pictures that are made or turned",
    "forecast": "forecasts",
    "recommend": "recommendations",
    "written": "texts that are written",
    "captioned": "captions of pictures",
    "control": "environments",
}
"""What is learned from, by the folder or module of `lamina.steps` that does it."""
ALL = frozenset(WAYS)
ROWS = frozenset(("answered", "unlabelled", "generate", "captioned"))
PASSES = ALL - {"control"}
ANSWERED = frozenset(("answered",))
LEARNED_ON = frozenset(("answered", "unlabelled", "written", "captioned"))
"""Ways whose networks can begin with given weights."""

USED: dict[str, frozenset[str]] = {
    **dict.fromkeys(("data.split", "data.column"), ROWS),
    **dict.fromkeys(("data.test_share", "data.validation_share"), PASSES),
    "data.bad_rows": PASSES - {"written"},
    **dict.fromkeys(("network.name", "network.options"), ALL - {"generate"}),
    **dict.fromkeys(("network.weights", "network.frozen"), LEARNED_ON),
    **dict.fromkeys(("network.rank", "network.strength"), frozenset(("answered", "written"))),
    "network.rate": frozenset(("answered", "captioned")),
    **dict.fromkeys(("optimizer.name", "optimizer.learning_rate", "optimizer.momentum", "optimizer.beta2"), ALL),
    "optimizer.weight_decay": ALL - {"generate", "control"},
    "optimizer.layer_decay": frozenset(("answered", "captioned")),
    **dict.fromkeys(
        (
            "training.accumulation", "training.clip", "training.precision", "training.threads", "training.patience",
            "training.evaluations", "training.keep", "training.checkpoint_seconds",
        ),
        ALL,
    ),
    **dict.fromkeys(
        ("training.epochs", "training.most_epochs", "training.batch_size", "training.ema", "training.find_rate"), PASSES
    ),
    **dict.fromkeys(("training.steps", "training.workers"), frozenset(("control",))),
    "training.shuffle": ROWS,
    **dict.fromkeys(("privacy.epsilon", "privacy.delta", "privacy.clip"), ANSWERED),
    "training.augment": frozenset(("answered", "unlabelled", "captioned")),
    **dict.fromkeys(
        (
            "training.compile", "training.label_smoothing", "training.mixup", "training.cutmix", "training.balance",
        ),
        ANSWERED,
    ),
}  # fmt: skip
"""The ways that use a setting; what is not here is checked where it is read."""
SWITCHES = ("compile", "label_smoothing", "mixup", "cutmix", "balance", "augment", "find_rate")
"""Settings of `training` that a plan has at their default unless they are wanted."""

OWN = ("name", "weights", "frozen", "rank", "strength", "rate")
"""Settings of a network that are not options of its family."""
SMOOTHED = ("classify", "segment", "tag")
WEIGHED = ("classify", "segment")
"""Tasks whose losses use `training.label_smoothing`, and weights of classes."""
SAMPLED = ("classify",)
"""Tasks by whose classes rows can be drawn."""
MOMENTUM = ("sgd", "nesterov", "adam", "adamw", "nadam", "radam")
BETA2 = ("adam", "adamw", "nadam", "radam", "muon")
"""Optimizers that use `optimizer.momentum` and `optimizer.beta2`."""
FINAL = ("exponential", "linear", "cosine", "one_cycle")
"""Schedules that use `schedule.final`."""


def check_used(way: str, request: Request, given: Plan | None = None) -> None:
    """Before any time is spent: no setting may be asked for that this way of learning does not use.

    Args:
        way: one of WAYS.
        given: a whole plan of the user's to follow; what Lamina itself writes into every plan is no wish.

    Raises:
        InputError: there is such a setting, with what it is for.
    """
    for key, setting in _asked(request.sets):
        if way not in USED.get(setting, ALL):
            raise _unused(key, setting, way, "Leave it out.")
    training = TrainingPlan() if given is None else given.training
    for name in SWITCHES:
        setting = f"training.{name}"
        if way not in USED[setting] and getattr(training, name) != getattr(TrainingPlan(), name):
            raise _unused(setting, setting, way, f"Take it out of the plan {request.plan}.")
    if given is not None and given.privacy.epsilon and way not in USED["privacy.epsilon"]:
        raise _unused("privacy.epsilon", "privacy.epsilon", way, f"Take it out of the plan {request.plan}.")


def check_wishes(plan: Plan, request: Request) -> None:
    """Of a plan with everything that needs no measuring: the schedule exists, and what it, optimizer, method and tasks
    are set to they use.

    Raises:
        InputError: there is no such schedule or it has no such option, or a setting would do nothing.
    """
    Schedule.over(1, plan.schedule)
    keys = {setting for _, setting in _asked(request.sets)}
    training, tasks = plan.training, [part.name for part in plan.task.values()]
    _check(keys, "optimizer.momentum", plan.optimizer.name, MOMENTUM, "optimizer")
    _check(keys, "optimizer.beta2", plan.optimizer.name, BETA2, "optimizer")
    _check(keys, "schedule.final", plan.schedule.name, FINAL, "schedule")
    if any(name in tasks for name in ("anomaly", "cluster", "embed")) and training.augment:
        _check(("training.augment",), "training.augment", plan.method.name, ("contrastive",), "method")
    if training.label_smoothing:
        _check_tasks("training.label_smoothing", tasks, SMOOTHED)
    if training.balance == "weights":
        _check_tasks("training.balance", tasks, WEIGHED)
    if training.balance == "sampling":
        _check_tasks("training.balance", tasks[:1], SAMPLED)


def _asked(sets: Collection[str]) -> Iterator[tuple[str, str]]:
    """(The key as it was given, the setting it is: without names of networks, fields and their augmentations)."""
    for item in sets:
        key = item.partition("=")[0].strip()
        parts = key.split(".")
        if parts[0] == "network" and len(parts) > 1:
            last = parts[1] if len(parts) == 2 else parts[2]
            yield key, f"network.{last if last in OWN else 'options'}"
        else:
            yield key, ".".join(parts[:2])


def _unused(key: str, setting: str, way: str, fix: str) -> InputError:
    users = [told for name, told in WAYS.items() if name in USED[setting]]
    shown = users[0] if len(users) == 1 else f"{', '.join(users[:-1])} and {users[-1]}"
    return InputError(f"The setting {key!r} does nothing for {WAYS[way]}: it is for {shown}.", where=key, fix=fix)


def _check(keys: Collection[str], setting: str, name: str, users: Sequence[str], what: str) -> None:
    if setting in keys and name not in users:
        raise InputError(
            f"The {what} {name!r} does not use {setting!r}: it is for {', '.join(users)}.",
            where=setting,
            fix=f"Leave it out, or choose another {what}: --set {what}.name={users[-1]}",
        )


def _check_tasks(setting: str, tasks: Collection[str], users: Collection[str]) -> None:
    if not set(tasks) & set(users):
        raise InputError(
            f"The setting {setting!r} is for the task {' or '.join(users)}; this is {', '.join(tasks)}.",
            where=setting,
            fix="Leave it out.",
        )
