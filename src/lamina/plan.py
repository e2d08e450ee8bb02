"""The whole run as one typed value: `plan.toml` on disk. An unknown key is an error."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from lamina.data.schema import Field
from lamina.errors import InputError, nearest

VERSION = 1
LARGEST_SEED = 2**31 - 1
MOST_THREADS = 1024


ABOVE: dict[str, float] = {
    **dict.fromkeys(("training.epochs", "optimizer.learning_rate", "optimizer.layer_decay"), 0.0),
    **dict.fromkeys(("data.test_share", "data.validation_share"), 0.0),
}
LEAST: dict[str, float] = {
    **dict.fromkeys(("training.batch_size", "training.accumulation", "training.evaluations"), 1),
    **dict.fromkeys(
        (
            "training.steps",
            "training.most_epochs",
            "training.clip",
            "training.threads",
            "training.workers",
            "training.ema",
            "training.patience",
        ),
        0,
    ),
    **dict.fromkeys(("training.label_smoothing", "training.mixup", "training.cutmix"), 0),
    **dict.fromkeys(("optimizer.weight_decay", "optimizer.momentum", "optimizer.beta2"), 0),
    **dict.fromkeys(("schedule.warmup", "schedule.final", "data.bad_rows"), 0),
    **dict.fromkeys(("training.checkpoint_seconds", "seed", "budget"), 0),
    "version": 1,
}
BELOW: dict[str, float] = dict.fromkeys(
    ("training.ema", "training.label_smoothing", "optimizer.momentum", "optimizer.beta2", "schedule.warmup"), 1.0
) | dict.fromkeys(("data.test_share", "data.validation_share"), 1.0)
MOST: dict[str, float] = {
    **dict.fromkeys(("optimizer.layer_decay", "schedule.final", "data.bad_rows"), 1.0),
    # The libraries that draw at random take no larger seed, and those that compute die of too many threads.
    "seed": LARGEST_SEED,
    "training.threads": MOST_THREADS,
}
"""What a setting can be, by its dotted key; the others can be any finite number."""


@dataclass(frozen=True)
class DataPlan:
    """Where the examples come from and how they are divided.

    Attributes:
        train: the data as the user named it.
        test: a second source that is only for testing, or "".
        also: sources of more rows, which only training learns from.
        split: how test rows were chosen: "given", "column", "random", "stratified", "time", "group".
        column: the column of the split, group or time, where there is one.
        test_share: share of rows held out for testing where no test data was given.
        validation_share: share of the remaining rows held out for choices, calibration and early stopping.
        fingerprint: hash of the raw data; resume refuses other data.
        bad_rows: the largest share of unreadable rows that a run accepts.
    """

    train: str = ""
    test: str = ""
    also: tuple[str, ...] = ()
    split: str = "stratified"
    column: str = ""
    test_share: float = 0.2
    validation_share: float = 0.1
    fingerprint: str = ""
    bad_rows: float = 0.01


@dataclass(frozen=True)
class NetworkPlan:
    """A network for one group of inputs.

    Attributes:
        name: a file in `lamina/networks`.
        fields: the input fields it reads.
        options: the family's options.
        weights: where its first weights come from: "" (random), a Lamina run, a Hugging Face folder or a state dict.
        frozen: "none", "all", "gradual" (unfreeze from the top) or "lora".
        rank, strength: of the low-rank adapters of "lora"; None for the usual ones (`lamina.networks.transfer`).
        rate: factor of the optimizer's learning rate for this network.
        fingerprint: hash of the content of `weights`, where a run needs them again; None where it does not.
    """

    name: str = ""
    fields: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    frozen: Literal["none", "all", "gradual", "lora"] = "none"
    rank: int | None = None
    strength: float | None = None
    rate: float = 1.0
    fingerprint: str | None = None


@dataclass(frozen=True)
class TaskPlan:
    """What is asked of one target: a file in `lamina/tasks`, and its options."""

    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerPlan:
    """A name in `lamina.learn.optimizers` and its usual settings."""

    name: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    beta2: float = 0.999
    layer_decay: float = 1.0
    """Factor of the learning rate from each stage to the one before it (1: the same everywhere)."""


@dataclass(frozen=True)
class SchedulePlan:
    """A name in `lamina.learn.schedules`; `warmup` is the share of all steps."""

    name: str = "one_cycle"
    warmup: float = 0.1
    final: float = 0.0
    """Learning rate at the end as a share of the highest."""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingPlan:
    """How the loop runs.

    Attributes:
        epochs: passes over the training part.
        steps: steps in the environment, where the data is one; there are then no epochs.
        most_epochs: passes that training is lengthened to where the budget leaves time for more (0: none).
        batch_size: examples for one optimizer step.
        accumulation: parts into which a batch is cut to save memory.
        clip: largest norm of the gradient (0: no clipping).
        precision: "fp32" or "bf16".
        compile: let torch.compile turn the network into machine code of its own before training.
        threads: CPU threads for training.
        workers: processes that step the copies of an environment; 0: the process that trains does.
        ema: decay of the running average of weights that is evaluated and sealed (0: none).
        patience: evaluations without improvement before stopping early (0: never).
        evaluations: how many times the validation part is scored during the run.
        label_smoothing, mixup, cutmix: regularisation of classification.
        augment: augmentations by field name, passed to `lamina.learn.augment`.
        balance: "none", "weights" or "sampling" against uneven classes.
        shuffle: "rows", or "blocks" of neighbours where memory does not hold the encoded rows.
        find_rate: run the learning-rate finder before training.
        keep: which weights are tested and sealed: "best" by validation score, or "last".
        checkpoint_seconds: at most so much work is lost when the process dies.
    """

    epochs: float = 10.0
    steps: int = 0
    most_epochs: float = 0.0
    batch_size: int = 128
    accumulation: int = 1
    clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    threads: int = 0
    workers: int = 0
    ema: float = 0.0
    patience: int = 0
    evaluations: int = 10
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    augment: Mapping[str, Any] = field(default_factory=dict)
    balance: Literal["none", "weights", "sampling"] = "none"
    shuffle: Literal["rows", "blocks"] = "rows"
    find_rate: bool = False
    keep: Literal["best", "last"] = "best"
    checkpoint_seconds: float = 30.0


@dataclass(frozen=True)
class MethodPlan:
    """A file in `lamina/methods`, and its options."""

    name: str = "supervised"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PrivacyPlan:
    """What weights may tell of a single training row (`lamina.learn.privacy`).

    Attributes:
        epsilon: how much, at most (differential privacy); 0: nothing is promised.
        delta: the chance that it is more; 0 chooses a tenth of one in as many as there are training rows.
        clip: the largest length of a row's gradient.
        noise: on the sum of a batch's gradients, in such lengths; found from the others.
    """

    epsilon: float = 0.0
    delta: float = 0.0
    clip: float = 1.0
    noise: float = 0.0


@dataclass(frozen=True)
class Plan:
    """All decisions of one run, and why each was taken."""

    version: int = VERSION
    name: str = ""
    seed: int = 0
    budget: float = 0.0
    """Seconds for all five steps; 0: no limit."""
    data: DataPlan = field(default_factory=DataPlan)
    schema: tuple[Field, ...] = ()
    task: Mapping[str, TaskPlan] = field(default_factory=dict)
    network: Mapping[str, NetworkPlan] = field(default_factory=dict)
    method: MethodPlan = field(default_factory=MethodPlan)
    optimizer: OptimizerPlan = field(default_factory=OptimizerPlan)
    schedule: SchedulePlan = field(default_factory=SchedulePlan)
    training: TrainingPlan = field(default_factory=TrainingPlan)
    privacy: PrivacyPlan = field(default_factory=PrivacyPlan)
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why: the decision's dotted key to a sentence for the user."""

    def with_set(self, assignments: Iterable[str]) -> Plan:
        """The plan after `--set key=value` assignments, e.g. `network.depth=6` or `optimizer.name=sgd`.

        A value is read as TOML where it can be and as text otherwise. `network.KEY` without a network's
        name goes to the only network there is, and a key that is none of its attributes to its options;
        the same for `task`.

        Raises:
            InputError: an unknown key, a value of the wrong type, or no `=`.
        """
        document = to_document(self)
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals or not key.strip():
                raise InputError(
                    f"--set {assignment!r} is no assignment.", fix="Write key=value, e.g. --set training.epochs=5"
                )
            _assign(document, key.strip(), from_text(text.strip()))
        return from_document(document, where="--set")


def from_text(text: str) -> Any:
    """A value from TOML text, or the text itself where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(document: dict[str, Any], key: str, value: Any) -> None:
    path = key.split(".")
    if path[0] in ("network", "task") and len(path) >= 2:
        parts = document[path[0]]
        # An option may be called as the only target is: no part of a plan is a plain value.
        plain = len(path) == 2 and not isinstance(value, dict)
        if len(parts) == 1 and (plain or path[1] not in parts):
            path.insert(1, next(iter(parts)))
        if path[1] not in parts:
            known = "network inputs" if path[0] == "network" else "targets"
            rest = ".".join(path[1:])
            choices = ", ".join(f"{path[0]}.{name}.{rest}" for name in parts)
            raise InputError(f"--set {key}: there are several {known}.", fix=f"Name one: {choices}")
        attributes = {item.name for item in dataclasses.fields(NetworkPlan if path[0] == "network" else TaskPlan)}
        if len(path) == 3 and path[2] not in attributes:
            path.insert(2, "options")
    if path[0] == "schema" and len(path) >= 3:
        fields = {item["name"]: item for item in document["schema"]}
        name = path[1]
        if name not in fields:
            raise InputError(f"--set {key}: there is no column {name!r}.", fix=nearest(name, fields))
        document, path = fields[name], path[2:]
        if path[0] not in {item.name for item in dataclasses.fields(Field)}:
            path.insert(0, "options")
    if path[0] in ("method", "schedule") and len(path) == 2:
        kind = MethodPlan if path[0] == "method" else SchedulePlan
        if path[1] not in {item.name for item in dataclasses.fields(kind)}:
            path.insert(1, "options")
    place = document
    for step in path[:-1]:
        following = place.setdefault(step, {})
        if not isinstance(following, dict):
            raise InputError(f"--set {key}: {step!r} has no parts.", fix=f"Write --set {step}=VALUE")
        place = following
    place[path[-1]] = value


def to_document(value: Any) -> Any:
    """Dataclasses to nested dicts and lists, as TOML has them; None is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((item.name, getattr(value, item.name)) for item in dataclasses.fields(value))
        return {name: to_document(part) for name, part in pairs if part is not None}
    if isinstance(value, Mapping):
        return {str(key): to_document(part) for key, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [to_document(part) for part in value]
    return value


def from_document(document: Mapping[str, Any], where: str = "plan.toml") -> Plan:
    """The inverse of `to_document`, checked.

    Raises:
        InputError: an unknown key (with the nearest known one), a wrong type, or a newer version.
    """
    version = document.get("version", VERSION)
    if isinstance(version, int) and version > VERSION:
        raise InputError(
            f"The plan has version {version}; this Lamina reads up to {VERSION}.", where=where, fix="Update Lamina."
        )
    plan = _build(Plan, document, where, "")
    assert isinstance(plan, Plan)
    return plan


def _build(kind: Any, value: Any, where: str, key: str) -> Any:
    """`value` as the annotated type `kind`; `key` is the dotted place, for the error."""

    def wrong(wanted: str) -> InputError:
        return InputError(f"{key or 'the plan'} is {value!r}.", where=where, fix=f"It must be {wanted}.")

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise wrong("a table of keys and values")
        hints = typing.get_type_hints(kind)
        known = [item.name for item in dataclasses.fields(kind)]
        for name in value:
            if name not in known:
                dotted = f"{key}.{name}" if key else name
                raise InputError(f"There is no setting {dotted!r}.", where=where, fix=nearest(name, known))
        parts = {
            name: _build(hints[name], part, where, f"{key}.{name}" if key else name) for name, part in value.items()
        }
        return kind(**parts)
    if origin is UnionType:
        # What is None stands in no document.
        return _build(arguments[0], value, where, key)
    if origin is Literal:
        if value not in arguments:
            raise wrong("one of " + ", ".join(map(str, arguments)))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise wrong("a list")
        return tuple(_build(arguments[0], part, where, f"{key}[{number}]") for number, part in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise wrong("a table of keys and values")
        return {name: _build(arguments[1], part, where, f"{key}.{name}") for name, part in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _in_range(float(value), key, wrong)
    if kind in (int, bool, str):
        if type(value) is not kind:
            raise wrong({int: "a whole number", bool: "true or false", str: "text"}[kind])
        return _in_range(value, key, wrong) if kind is int else value
    if kind is float:
        raise wrong("a number")
    return value


def _in_range(value: float, key: str, wrong: Callable[[str], InputError]) -> float:
    """`value`, if the setting `key` can have it."""
    if not math.isfinite(value):
        raise wrong("a finite number")
    if key in ABOVE and not value > ABOVE[key]:
        raise wrong(f"above {ABOVE[key]:g}")
    if key in LEAST and not value >= LEAST[key]:
        raise wrong(f"at least {LEAST[key]:g}")
    if key in BELOW and not value < BELOW[key]:
        raise wrong(f"below {BELOW[key]:g}")
    if key in MOST and not value <= MOST[key]:
        raise wrong(f"at most {MOST[key]:.12g}")
    return value


def read(path: Path) -> Plan:
    """Read `plan.toml`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no plan at {path}.", fix="Give a run's plan.toml.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a plan.", fix=f"Did you mean {path / 'plan.toml'}?") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The plan is not valid TOML: {error}.", where=str(path), fix="Correct it there.") from None
    return from_document(document, where=str(path))


def to_toml(plan: Plan) -> str:
    """The plan as TOML that a person can read and change; reasons stand beside the settings they are for."""
    document = to_document(plan)
    reasons = document.pop("reasons")
    lines: list[str] = []
    _write_table(document, "", reasons, lines)
    if reasons:
        lines += ["", "[reasons]", *(f"{_key(name)} = {as_toml(text)}" for name, text in reasons.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _write_table(table: Mapping[str, Any], prefix: str, reasons: Mapping[str, str], lines: list[str]) -> None:
    def is_tables(part: Any) -> bool:
        return isinstance(part, list) and bool(part) and all(isinstance(item, dict) for item in part)

    for name, part in table.items():
        if not isinstance(part, dict) and not is_tables(part):
            lines.append(f"{_key(name)} = {as_toml(part)}")
    for name, part in table.items():
        dotted = f"{prefix}.{_key(name)}" if prefix else _key(name)
        if isinstance(part, dict) and part:
            lines += ["", f"[{dotted}]"]
            _write_table(part, dotted, reasons, lines)
        elif is_tables(part):
            for item in part:
                lines += ["", f"[[{dotted}]]", *(f"{_key(inner)} = {as_toml(value)}" for inner, value in item.items())]


def _key(name: str) -> str:
    return (
        name
        if name and all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in name)
        else _quote(name)
    )


def _quote(text: str) -> str:
    """A TOML basic string."""
    named = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(named.get(c) or (c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in text) + '"'


def as_toml(value: Any) -> str:
    """A value as TOML text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_toml(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {as_toml(part)}" for name, part in value.items()) + "}"
    return repr(value)
