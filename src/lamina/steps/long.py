"""One long series for the task "anomaly": read as windows, which every step after this one takes for rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from lamina.data.long_series import WindowTable, Wishes, windowed
from lamina.data.tables import Table
from lamina.errors import InputError
from lamina.plan import Plan, TaskPlan, from_text
from lamina.steps.request import Request
from lamina.tasks import anomaly

TASK = "anomaly"
OPTIONS = ("window", "stride", "series")


def read(request: Request, table: Table, boundary: int | None) -> tuple[Request, WindowTable, str] | None:
    """(The request for the windows, their table, why), where the data is one long series; else None.

    What the request says of the series' own columns is used here, and nobody else has to know them.

    Raises:
        InputError: wrong options, or the data is to be read as one series and cannot be.
    """
    if request.task != TASK:
        return None
    given = _options(request.sets)
    anomaly.check_options({name: value for name, value in given.items() if name in OPTIONS})
    data = Plan().with_set(item for item in request.sets if item.startswith("data.")).data
    found = windowed(table, boundary, _wishes(given, request.targets, _aside(request.sets)), data.test_share)
    if found is None:
        return None
    if request.split:
        raise InputError(
            f"{table.name} is one long series, which is divided by time.",
            where="--split",
            fix="Leave it out, give the later part with --test, or take rows as they are: --set task.window=0",
        )
    windows, reason = found
    sets = tuple(item for item in request.sets if _column(item, table.columns) in ("", *windows.columns))
    return replace(request, sets=sets, targets=request.targets[:1]), windows, reason


def again(plan: Plan, table: Table, boundary: int | None) -> tuple[Table, int | None]:
    """A run's data as it was read when the run was started."""
    part = plan.task.get(TASK, TaskPlan())
    if not part.options.get("window"):
        return table, boundary
    labels = tuple(field.name for field in plan.schema if field.role == "label")
    found = windowed(table, boundary, _wishes(part.options, labels, ()), plan.data.test_share)
    assert found is not None, "a window is asked for"
    return found[0], None


def planned(plan: Plan, windows: WindowTable, reason: str) -> Plan:
    """The plan with all that decides how the series is cut."""
    name, part = next(iter(plan.task.items()))
    cut = windows.cut
    chosen = {"window": cut.length, "stride": cut.stride, "series": list(cut.columns)}
    task = {name: replace(part, options={**part.options, **chosen})}
    return replace(plan, task=task, reasons={**plan.reasons, f"task.{name}.window": reason})


def _options(sets: Iterable[str]) -> dict[str, Any]:
    """What `--set` says of the task's options."""
    pairs = [item.partition("=")[::2] for item in sets if item.startswith("task.")]
    return {key.strip().rpartition(".")[2]: from_text(value.strip()) for key, value in pairs}


def _wishes(options: Any, labels: tuple[str, ...], aside: tuple[str, ...]) -> Wishes:
    normal, series = options.get("normal"), options.get("series")
    return Wishes(
        window=options.get("window"),
        stride=options.get("stride"),
        columns=None if series is None else tuple(series),
        normal=None if normal is None else str(normal),
        labels=labels,
        aside=aside,
    )


def _column(item: str, columns: tuple[str, ...]) -> str:
    """The column of the raw table that a `--set` is about; "" if it is about none."""
    key = item.partition("=")[0].strip()
    return next((name for name in columns if key.startswith(f"schema.{name}.")), "")


def _aside(sets: Iterable[str]) -> tuple[str, ...]:
    """Columns that the user sets aside."""
    keys = [item.partition("=")[0].strip() for item in sets if item.partition("=")[2].strip().strip('"') == "ignore"]
    return tuple(key.removeprefix("schema.").removesuffix(".role") for key in keys if key.endswith(".role"))
