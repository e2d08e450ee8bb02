"""Step 1: which columns say when, which series, how much, and what else is known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lamina.data.column_roles import split_reason
from lamina.data.schema import Field, Json, Role, Values
from lamina.data.tables import Table
from lamina.errors import InputError, nearest
from lamina.modalities._canonical import canonical
from lamina.modalities._covariate import MOST_LEVELS, UNREADABLE, Covariate
from lamina.modalities._grid import clock_of
from lamina.modalities._number_text import decimal_of, read_numbers
from lamina.narrate import Narrator
from lamina.networks.forecasters._forecaster import WINDOW
from lamina.plan import Plan, TaskPlan, as_toml
from lamina.steps.request import Request
from lamina.steps.understand import check_columns, check_roles, open_data, overrides, place_of
from lamina.tasks.forecast import COVERAGE, check_options

SAMPLE = 50_000
"""Rows that columns are recognised from."""
READABLE = 0.98
"""Share of values that must be moments in a column of time."""
CONSTANT = 0.98
"""Share of series within which a column must not vary to describe them."""
_SAID_ELSEWHERE = "Columns are named by --time, --group and the lists task.known, task.past and task.static."
DEFAULTS: Mapping[str, Json] = {
    "time": "",
    "group": "",
    "horizon": 0,
    "history": 0,
    "season": 0,
    "known": [],
    "coverage": list(COVERAGE),
    "spacing": "",
    "combine": "last",
}

_TIME = re.compile(r"time|date|(?:^|[_\-. ])(?:day|ts|when|at|hour|week|month|quarter|year|period)(?:$|[_\-. ])", re.I)


@dataclass(frozen=True)
class Understood:
    """The table, where test rows that were given apart begin, and a plan that says what each column is for."""

    table: Table
    boundary: int | None
    plan: Plan


def understand(request: Request, narrator: Narrator) -> Understood:
    """Read the data and recognise its columns.

    Raises:
        InputError: an option is wrong or names no column, or there is no column of time or of numbers to forecast.
    """
    narrator.step("Understand")
    target = _target(request)
    task = {target: TaskPlan("forecast")}
    plan = Plan(name=request.name, seed=request.seed or 0, budget=request.budget, task=task)
    given = {"time": request.time, "group": request.group, "horizon": request.horizon}
    words = [f"task.{name}={as_toml(value)}" for name, value in given.items() if value]
    plan = plan.with_set([*(item for item in request.sets if item.split(".")[0] in ("data", "task", "seed")), *words])
    check_options(plan.task[target].options, target)
    if not plan.task[target].options.get("horizon"):
        raise InputError("How many steps shall be forecast?", where="--horizon", fix="Say so: --horizon 24")
    table, boundary = open_data(request.data, request.test)
    narrator.say(f"{table.name}: {len(table):,} rows, {len(table.columns)} columns")
    settings = overrides(request)
    check_columns(settings, table.columns, "--set schema")
    check_roles(
        settings, ("ignore",), "forecast", f"{_SAID_ELSEWHERE} Any can be set aside: schema.COLUMN.role=ignore."
    )
    ignored = {name for name, changes in settings.items() if changes.get("role") == "ignore"}
    fields, options = recognise(table, target, plan.task[target].options, ignored)
    data = replace(
        plan.data, train=place_of(request.data), test="" if request.test is None else place_of(request.test),
        fingerprint=table.fingerprint, split="time" if boundary is None else "given", column=options["time"],
    )  # fmt: skip
    reason = f"forecast: {'you asked for it' if request.task else 'you gave a horizon'}"
    plan = replace(
        plan, data=data, schema=fields, task={target: TaskPlan("forecast", options)}, reasons={f"task.{target}": reason}
    )
    for field in fields:
        role = "" if field.role in ("input", "ignore") else f"  [{field.role}]"
        narrator.say(f"{field.name}: {'left out' if field.role == 'ignore' else field.modality}{role} - {field.reason}")
    return Understood(table, boundary, plan)


def _target(request: Request) -> str:
    """The one target.

    Raises:
        InputError: there is none or several, or another wish that makes no sense for a forecast.
    """
    if len(request.targets) != 1:
        raise InputError(
            f"A forecast is of one column; {len(request.targets)} are named.", where="--target",
            fix="Name one: --target COLUMN. For several, put them below each other, with --group COLUMN.",
        )  # fmt: skip
    fixes = {
        "--also": (request.also, "Put more series below the others, in one table: --group COLUMN tells them apart."),
        "--split": (request.split, "Leave it out: the latest part tests. Or give the test part with --test FILE."),
        "--weights": (request.weights, "Leave it out: forecasters start from scratch."),
    }
    for option, (given, fix) in fixes.items():
        if given:
            raise InputError(f"The task 'forecast' takes no {option}.", where=option, fix=fix)
    return request.targets[0]


def recognise(
    table: Table, target: str, given: Mapping[str, Json], ignored: set[str] | frozenset[str] = frozenset()
) -> tuple[tuple[Field, ...], dict[str, Json]]:
    """(Every column with its role and reason, the task's options with all columns named).

    Args:
        given: options of the user's; what they name is not looked for.
        ignored: columns that are for nothing.

    Raises:
        InputError: a named column is not there, the target holds no numbers, or no column holds times.
    """
    check_columns([target], table.columns, "--target")
    options: dict[str, Json] = {**DEFAULTS, **given}
    for name in ("time", "group"):
        check_columns([options[name]] if options[name] else [], table.columns, f"--{name}")
    for name in ("known", "past", "static"):
        check_columns(options.get(name, ()), table.columns, f"task.options.{name}")
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), SAMPLE)).astype(np.int64))
    values = table.take(rows)
    _check_target(target, values[target])
    options["time"] = options["time"] or _time(values, target)
    _check_time(options["time"], values)
    named = {target, *(options[name] for name in ("time", "group")), *ignored}
    if not options["group"]:
        free = [name for name in table.columns if name not in named]
        options["group"] = _group(table, values, options["time"], free, options["combine"] != "last")
        named.add(options["group"])
    lists = [name for key in ("known", "past", "static") for name in options.get(key, ())]
    free = [
        name for name in table.columns
        if name not in named and name not in lists and not split_reason(name, values[name])
    ]  # fmt: skip
    keys = canonical(values[options["group"]]) if options["group"] else None
    kinds = {name: _kinds(keys, canonical(values[name])) for name in free} if keys is not None else {}
    if "static" not in given:
        # With as many values as there are series it would only be another name of theirs.
        options["static"] = [name for name, count in kinds.items() if 1 < count < len(set(keys))]  # type: ignore[arg-type]
    free = [name for name in free if not kinds.get(name)]
    if "past" not in given:
        options["past"] = [name for name in free if Covariate.fit(name, False, values[name]) is not None]
    _check_named(table, given, keys, values)
    _check_free(options, target)
    return tuple(_field(name, values[name], target, options) for name in table.columns), options


def _check_named(table: Table, given: Mapping[str, Json], keys: Values | None, values: Mapping[str, Values]) -> None:
    """Raises InputError for a column that was named for what it cannot tell; of those known in advance, encoding does.

    Args:
        keys, values: of a sample, which series each row belongs to (None where there is one only) and all columns.
    """
    for name in given.get("past", ()):
        whole = table.take(np.arange(len(table)), [name])[name]
        if Covariate.fit(name, False, whole, wanted=True) is None:
            raise InputError(
                f"{name!r} tells nothing: it is always the same, or no value comes twice.",
                where="task.past", fix="Leave it out of the list.",
            )  # fmt: skip
    for name in given.get("static", ()):
        kinds = _kinds(keys, canonical(values[name])) if keys is not None else 1
        if kinds < 2:
            reason = "it varies within them" if kinds == 0 else "all have the same"
            raise InputError(
                f"{name!r} cannot describe series: {reason if keys is not None else 'there is only one'}.",
                where="task.static", fix="Leave it out, or name it in task.known or task.past.",
            )  # fmt: skip


def _check_free(options: Mapping[str, Json], target: str) -> None:
    """Raises InputError for a column that is called what the sealed model calls its windows."""
    lists = [name for key in ("known", "past", "static") for name in options[key]]
    if WINDOW in (target, options["time"], options["group"], *lists):
        raise InputError(
            f"A column is called {WINDOW!r}, as the sealed model's input of whole windows is.",
            where=f"column {WINDOW}",
            fix=f"Give it another name, or leave it out where it is not needed: --set schema.{WINDOW}.role=ignore",
        )


def _check_target(target: str, values: Values) -> None:
    numbers, errors = read_numbers(values, decimal_of([values]))
    if not np.isfinite(numbers).any() or len(errors) > max(UNREADABLE * len(values), 1):
        shown = next(iter(errors.values()), "all are missing")
        raise InputError(
            f"{len(errors):,} of {len(values):,} values of {target!r} are no numbers: {shown}.",
            where=target,
            fix="A forecast is of numbers: correct the values, or choose another --target.",
        )


def _time(values: Mapping[str, Values], target: str) -> str:
    """The first column of moments: one whose name says so before others."""
    free = [name for name in values if name != target]
    dates = [name for name in free if _share_read(values[name], dates=True) >= READABLE]
    named = [name for name in free if _TIME.search(name) and _share_read(values[name]) >= READABLE]
    found = [name for name in named if name in dates] or dates or named
    if found:
        return found[0]
    raise InputError(
        "No column holds the moments that the values are from.",
        where="--time",
        fix=f"Name it: --time COLUMN. There are: {', '.join(free) or 'none besides the target'}",
    )


def _share_read(values: Values, dates: bool = False) -> float:
    clock = clock_of(values)
    return 0.0 if dates and not clock.dates else 1 - len(clock.read(values)[1]) / max(len(values), 1)


def _check_time(name: str, values: Mapping[str, Values]) -> None:
    share = _share_read(values[name])
    if share < 1 - UNREADABLE:
        others = [other for other in values if other != name and _share_read(values[other], dates=True) >= READABLE]
        raise InputError(
            f"Only {share:.0%} of the values of {name!r} can be read as moments.",
            where="--time",
            fix=f"Name a column of dates or numbers: {nearest(name, others) if others else 'there is none.'}",
        )


def _group(table: Table, values: Mapping[str, Values], time: str, free: Sequence[str], combined: bool) -> str:
    """The column that tells series apart, where moments come again; "" where they do not, or none tells.

    Asked of all rows: in a sample, moments that come again may come once.

    Args:
        values: of a sample; a column that does not tell its rows apart is not looked at further.
        combined: rows of one step are combined, so none has to tell.
    """
    stamps = _whole(table, time)
    if len(set(stamps)) > 0.9 * len(stamps):
        return ""
    shown = canonical(values[time])
    for name in free:
        some = canonical(values[name])
        if len(set(some)) < 2 or len(set(zip(some, shown, strict=True))) < len(some):
            continue
        keys = _whole(table, name)
        if len(set(keys)) < 0.5 * len(keys) and len(set(zip(keys, stamps, strict=True))) == len(keys):
            return name
    if combined:
        return ""
    raise InputError(
        f"Moments of {time!r} come several times, and no column tells series apart.",
        where="--group",
        fix="Name the column that says which series a row belongs to: --group COLUMN; or have rows of one step "
        "combined: --set task.combine=sum, or mean",
    )


def _whole(table: Table, name: str) -> list[str | None]:
    """All of a column's values as texts."""
    return list(canonical(table.take(np.arange(len(table)), [name])[name]).tolist())


def _kinds(keys: Values, texts: Values) -> int:
    """How many values a column has that is constant within each series; 0 where it is not."""
    found: dict[str, set[str]] = {}
    for key, text in zip(keys, texts, strict=True):
        if key is not None and text is not None:
            found.setdefault(key, set()).add(text)
    constant = [next(iter(kinds)) for kinds in found.values() if len(kinds) == 1]
    return len(set(constant)) if len(constant) >= CONSTANT * len(set(keys)) else 0


def _field(name: str, values: Values, target: str, options: Mapping[str, Json]) -> Field:
    """What a column is for, and why."""
    roles: dict[str, tuple[str, Role, str]] = {
        options["group"]: ("category", "group", "tells series apart"),
        options["time"]: ("time", "time", "when"),
        target: ("number", "target", f"its next {options['horizon']} values are forecast"),
    }
    if name in roles and name:
        modality, role, reason = roles[name]
        return Field(name, modality, role, reason=reason)
    errors = read_numbers(values, decimal_of([values]))[1]
    kind = "number" if len(errors) <= UNREADABLE * len(values) else "category"
    reasons = {
        "known": "known in advance for the steps that are forecast: you said so",
        "past": "known up to now only; if it is known in advance: --set task.known=" + f"'[\"{name}\"]'",
        "static": "describes the series: constant within each",
    }
    for key, reason in reasons.items():
        if name in options[key]:
            return Field(name, kind, reason=reason)
    return Field(name, "text", "ignore", reason=f"one value, as many as series, or more than {MOST_LEVELS} texts")
