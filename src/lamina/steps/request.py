"""What the user asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lamina.errors import InputError
from lamina.plan import LARGEST_SEED, Plan, as_toml


@dataclass(frozen=True)
class Request:
    """A training request, as given on the command line or from Python.

    Attributes:
        data: a path, URL or data frame.
        test: a second source that is for testing only.
        also: sources of more rows, which only training learns from.
        split: a column that says which part a row belongs to.
        targets: the target columns.
        task: the task's name for all targets, or "" to choose.
        budget: seconds for all five steps; 0 for no limit.
        seed: of everything random; None for that of the plan that is followed, or 0.
        out: the run folder, or None for `runs/NAME`.
        sets: `key=value` changes to the plan.
        plan: a plan.toml to follow, or None.
        weights: first weights: "PATH" or "FIELD=PATH".
        command: how the user said it, for the report.
        base: the folder that relative paths start from.
        began: when the budget began to count, on the monotonic clock; 0 for when the steps begin.
        time, group: of a forecast, the columns that say when and which series; "" to find them.
        horizon: of a forecast, how many steps ahead.
    """

    data: Any
    test: Any = None
    split: str = ""
    targets: tuple[str, ...] = ()
    task: str = ""
    budget: float = 0.0
    seed: int | None = None
    out: str | None = None
    sets: tuple[str, ...] = ()
    plan: str | None = None
    weights: tuple[str, ...] = ()
    command: str = ""
    base: Path = field(default_factory=Path.cwd)
    began: float = 0.0
    time: str = ""
    group: str = ""
    horizon: int = 0
    also: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """A name for the run: the data's."""
        if isinstance(self.data, str | Path):
            path = Path(str(self.data).split("#")[0].split("?")[0].rstrip("/"))
            stem = path.name.split(".")[0] or path.resolve().name
            if stem in ("train", "metadata", "data", "training") and path.resolve().parent.name:
                return path.resolve().parent.name
            return stem
        return "data"


@dataclass(frozen=True)
class Sources:
    """What a run's rows are read from: data, test data or None, and data that only training learns from."""

    data: Any = None
    test: Any = None
    also: tuple[Any, ...] = ()


def source(given: Any) -> Any:
    """Data as a request has it: paths as text."""
    return str(given) if isinstance(given, Path) else given


def sources(given: Any) -> tuple[Any, ...]:
    """What may be given alone or as several: in a tuple, or in a list, unless that is one of rows.

    >>> sources("made"), sources(["made", "more"]), sources([{"x": 1}]), sources(None)
    (('made',), ('made', 'more'), ([{'x': 1}],), ())
    """
    if given is None:
        return ()
    rows = isinstance(given, list) and all(isinstance(part, Mapping) for part in given)
    return tuple(map(source, given)) if isinstance(given, list | tuple) and not rows else (source(given),)


ELSEWHERE = {
    "data.train": "Name the data as the command's first argument.",
    "data.test": "Write --test DATA.",
    "data.also": "Write --also DATA.",
    "data.fingerprint": "Leave it out: it is computed from the data.",
    "budget": "Write --budget TIME.",
    "seed": "Write --seed NUMBER.",
    "name": "The run is named after its data; its folder after --out.",
    "version": "Leave it out.",
    "reasons": "Leave it out.",
}
"""Parts of the plan that `--set` does not change, and what to do instead."""


def check(request: Request) -> None:
    """Find what is wrong with the request alone, before any data is read.

    Raises:
        InputError: an impossible seed, a name that is not UTF-8, two ways to say which rows test, or a `--set` that is
            no assignment, names no setting or has a wrong value.
    """
    _check_names(request)
    if not 0 <= (request.seed or 0) <= LARGEST_SEED:
        raise InputError(
            f"The seed is {request.seed}.", where="--seed", fix=f"Give a whole number from 0 to {LARGEST_SEED}."
        )
    if request.test is not None and request.split:
        raise InputError(
            "--test gives the test rows, and --split names the column that says which they are.",
            where="--split",
            fix="Leave one of them out.",
        )
    for item in request.sets:
        key, equals, _ = item.partition("=")
        key = key.strip()
        if equals and (key in ELSEWHERE or key.startswith("reasons.")):
            raise InputError(f"--set cannot change {key!r}.", where="--set", fix=ELSEWHERE.get(key, "Leave it out."))
        # These name columns, targets and inputs, which are known later.
        if not (equals and key.startswith(("schema.", "network.", "task."))):
            Plan().with_set([item])


def _check_names(request: Request) -> None:
    """Names of files can be any bytes, but what the plan and the sealed model keep is text."""
    kept = {
        "DATA": [request.data], "--test": [request.test], "--also": request.also, "--split": [request.split],
        "--target": request.targets, "--set": request.sets, "--weights": request.weights, "--time": [request.time],
        "--group": [request.group],
    }  # fmt: skip
    for option, names in kept.items():
        for name in names:
            shown = str(name).encode(errors="backslashreplace").decode() if isinstance(name, str | Path) else ""
            if shown and shown != str(name):
                raise InputError(f"{shown} is not valid UTF-8.", where=option, fix="Rename it, and give the new name.")


def followed(request: Request, given: Plan, sets: Iterable[str] = (), **more: Any) -> Request:
    """The request with what it leaves open taken from the plan it follows: all that any kind of data has.

    Args:
        sets: further settings of the plan's; what the request sets itself comes after them.
        more: parts of the request that are the plan's.
    """
    options = [
        f"task.{name}.{key}={as_toml(value)}"
        for name, part in given.task.items()
        for key, value in part.options.items()
    ]
    return replace(
        request,
        budget=request.budget or given.budget,
        seed=given.seed if request.seed is None else request.seed,
        sets=(*sets, *options, *request.sets),
        **more,
    )


def shares(given: Plan) -> list[str]:
    """How much of the rows a plan holds out, and how many bad ones it bears, as settings."""
    data = given.data
    return [f"data.{name}={getattr(data, name)}" for name in ("test_share", "validation_share", "bad_rows")]


def restored(kind: str, task: str) -> tuple[str, tuple[str, ...]]:
    """(The task, settings) where pictures of a `kind` are to be made better ("": none); that is a task by itself.

    Raises:
        InputError: another task is asked for as well.
    """
    if kind and task not in ("", "restore"):
        raise InputError(
            f"--restore {kind} is a task of its own, and --task {task} another.",
            where="--restore",
            fix="Leave out one of them.",
        )
    return ("restore", (f"task.restored.kind={kind}",)) if kind else (task, ())


UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str | float) -> float:
    """A duration such as "90s", "5m", "1h30m" or a number of seconds.

    >>> seconds("1h30m")
    5400.0

    Raises:
        InputError: it is none, or not above zero.
    """
    if isinstance(text, int | float):
        value = float(text)
    elif not isinstance(text, str):
        raise InputError(f"The budget {text!r} is no duration.", where="--budget", fix="Write 90s, 5m or 1h30m.")
    else:
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip().lower())
        whole = re.fullmatch(r"(\s*\d+(?:\.\d+)?\s*[smhd]?)+", text.strip().lower())
        if not whole:
            raise InputError(f"The budget {text!r} is no duration.", where="--budget", fix="Write 90s, 5m or 1h30m.")
        value = sum(float(number) * UNITS[unit or "s"] for number, unit in parts)
    if not value > 0:
        raise InputError(f"The budget {text!r} leaves no time.", where="--budget", fix="Write 90s, 5m or 1h30m.")
    return value


def apply_weights(request: Request) -> Request:
    """The request with the settings that given weights need of the encoders (a pretrained text network's tokenizer)."""
    sets = list(request.sets)
    for item in request.weights:
        name, equals, path = item.rpartition("=")
        if not path.strip():
            raise InputError(
                f"--weights {item!r} names no file.", where="--weights", fix="Write --weights COLUMN=PATH."
            )
        folder = Path(path) if Path(path).is_absolute() else request.base / path
        if not folder.exists():
            raise InputError(
                f"There are no weights at {path}.", where="--weights", fix="Give a folder or file that exists."
            )
        if (folder / "tokenizer.json").exists():
            if not equals:
                raise InputError(
                    f"Which column shall the weights in {path} read?",
                    where="--weights",
                    fix=f"Name the text column: --weights COLUMN={path}",
                )
            sets += [f"schema.{name}.modality=text", f'schema.{name}.tokenizer="{folder / "tokenizer.json"}"']
    return replace(request, sets=tuple(sets))
