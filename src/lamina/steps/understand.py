"""Step 1: what is in the data, and what is asked."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lamina import registry
from lamina.data.examples import cache_folder
from lamina.data.long_series import WindowTable
from lamina.data.recognise import recognise, visible
from lamina.data.schema import Field, Json, Schema
from lamina.data.tables import Table, concatenate, open_table
from lamina.environments import is_environment
from lamina.errors import InputError, nearest
from lamina.modalities._canonical import object_array
from lamina.narrate import Narrator
from lamina.plan import DataPlan, Plan, TaskPlan, from_document, from_text, to_document
from lamina.run import Run, check_same
from lamina.steps import also, long, pairing, tiling
from lamina.steps.known import Question, question_of
from lamina.steps.pairing import paired
from lamina.steps.request import Request, Sources
from lamina.tasks import outlined

SAMPLE = 20_000
"""Rows that summaries are made of."""
UNDERSTOOD = "understood.json"


@dataclass(frozen=True)
class Understood:
    """The table, what its columns are, and the task of each target.

    Attributes:
        table: all rows: the data's, test data given separately, and those that only training learns from.
        boundary: the first row of the test data given separately, or None.
        plan: with data, schema and task decided.
        summaries: what is in each field, by name.
    """

    table: Table
    boundary: int | None
    plan: Plan
    summaries: Mapping[str, Mapping[str, Json]]

    @property
    def schema(self) -> Schema:
        return Schema(self.plan.schema)

    @property
    def learned(self) -> np.ndarray[Any, Any]:
        """The rows that are not known to be test rows."""
        return visible(self.table, self.schema, np.arange(self.table.own if self.boundary is None else self.boundary))


def open_data(data: Any, test: Any, tasks: Iterable[str] = ()) -> tuple[Table, int | None]:
    """The table of all rows, read for these tasks, and where the separate test rows begin."""
    cache, outlines = cache_folder() / "tables", outlined(tasks)
    table = open_table(data, cache, outlines=outlines)
    if test is None or test == "":
        return table, None
    held_out = open_table(test, cache, outlines=outlines)
    return concatenate(table, held_out), len(table)


def opened_again(run: Run, plan: Plan, given: Sources) -> tuple[Table, int | None]:
    """As `open_data`, for a run that is gone on with.

    Raises:
        InputError: it is other data than the run was started with.
    """
    tasks = [part.name for part in plan.task.values()]
    table, boundary = long.again(plan, *open_data(given.data, given.test, tasks))
    table = pairing.again(plan, also.appended(table, also.opened(given.also, tasks), plan))
    check_same(run, plan, table.fingerprint)
    return table, None if boundary is None else table.boundary


IN_MEMORY = "in memory: "


def place_of(data: Any) -> str:
    """Where data comes from, as the plan has it: its path or URL, or "in memory: DataFrame"."""
    return str(data) if isinstance(data, str | Path) else IN_MEMORY + type(data).__name__


def understand(request: Request, narrator: Narrator) -> Understood:
    """Read the data, recognise columns and tasks; nothing is fitted yet."""
    narrator.step("Understand")
    if request.task and hasattr(registry.module("tasks", request.task), "ENVIRONMENT"):
        raise InputError(
            f"The task {request.task!r} is for an environment, not for rows.",
            where="--task",
            fix="Leave it out, or name an environment as the data, e.g. gym:CartPole-v1.",
        )
    if request.task and (command := getattr(registry.module("tasks", request.task), "ADAPTED", "")):
        raise InputError(
            f"The task {request.task!r} is not trained: it answers from a few examples, on top of a sealed encoder.",
            where="--task",
            fix=f"Train an encoder with --task embed, then run: {command}",
        )
    raw, boundary = open_data(request.data, request.test, (request.task,))
    more = also.opened(request.also, (request.task,))
    table, request = paired(request, raw)
    boundary = None if boundary is None else table.boundary
    narrator.say(f"{table.name}: {len(table):,} rows, {len(table.columns)} columns")
    if table.unreadable:
        narrator.say(f"{len(table.unreadable)} places could not be read; the report lists them")
    for note in table.notes:
        narrator.say(note)
    check_columns([request.split] if request.split else [], table.columns, "--split")
    cut = long.read(request, table, boundary)
    if cut is not None:
        if more:
            raise InputError(
                f"{table.name} is one long series: windows of it are learned from, not rows.",
                where="--also",
                fix="Leave --also out, or take rows as they are: --set task.window=0",
            )
        (request, table, why), boundary = cut, None
        narrator.say(f"{why}; {len(table):,} of them")
    plan, summaries = _known(request, table, boundary) or _found(request, table, boundary)
    plan = replace(plan, name=request.name, seed=request.seed or 0, budget=request.budget)
    plan = plan.with_set(item for item in request.sets if item.split(".")[0] in ("data", "task", "seed"))
    plan, table = tiling.tiled(pairing.reasoned(plan, table), table, boundary)
    boundary = None if boundary is None else table.boundary
    if isinstance(table, WindowTable) and cut is not None:
        plan = long.planned(plan, table, why)
    if plan.data.column:
        check_columns([plan.data.column], [field.name for field in plan.schema], "data.column")
    if more:
        table = pairing.again(plan, also.appended(raw, more, plan))
        plan = also.planned(plan, table, [place_of(source) for source in request.also])
    _tell(narrator, plan, summaries)
    return Understood(table, boundary, plan, summaries)


def _found(request: Request, table: Table, boundary: int | None) -> tuple[Plan, dict[str, Mapping[str, Json]]]:
    """(Plan with data, schema and tasks; summaries), from looking at the rows; kept for the next run."""
    rows = None if boundary is None else np.arange(boundary)
    schema = recognise(table, request.targets, overrides(request), rows=rows, judged=bool(unlabelled(request.task)))
    tasks, reasons = _tasks(request, schema, table)
    schema = _read_by(schema, tasks)
    summaries = summarise(table, schema)
    schema, sized = _sized(table, schema, tasks, rows)
    reasons |= sized
    data = _data_plan(request, table, schema, boundary)
    plan = Plan(data=data, schema=schema.fields, task=tasks, reasons=reasons)
    document = {"plan": to_document(plan), "summaries": summaries}
    _question(request, table, boundary).write({UNDERSTOOD: json.dumps(document).encode()})
    return plan, summaries


def _sized(
    table: Table, schema: Schema, tasks: Mapping[str, TaskPlan], rows: np.ndarray[Any, Any] | None
) -> tuple[Schema, dict[str, str]]:
    """The schema with the pictures' size where a task knows which it needs and the user did not say one; reasons."""
    reasons: dict[str, str] = {}
    wanted = {
        name: module.picture_size
        for name, part in tasks.items()
        if hasattr(module := registry.module("tasks", part.name), "picture_size")
    }
    open_pictures = [field for field in schema.inputs if field.modality == "image" and "size" not in field.options]
    for name, size_of in wanted.items():
        seen = Schema(tuple(field for field in schema if field in open_pictures or field.name == name))
        told = summarise(table, seen, visible(table, schema, rows)) if open_pictures else {}
        for field in open_pictures:
            found = size_of(told[name], told[field.name])
            if found is not None:
                schema = schema.changed(field.name, options={**field.options, "size": list(found[0])})
                reasons[f"schema.{field.name}.size"] = found[1]
    return schema, reasons


def _known(request: Request, table: Table, boundary: int | None) -> tuple[Plan, dict[str, Mapping[str, Json]]] | None:
    """What `_found` found in an earlier run, or None."""
    content = _question(request, table, boundary).read(UNDERSTOOD)
    if content is None:
        return None
    document = json.loads(content)
    return from_document(document["plan"]), document["summaries"]


def _question(request: Request, table: Table, boundary: int | None) -> Question:
    """All that decides what columns and tasks are taken for."""
    return question_of(
        fingerprint=table.fingerprint,
        boundary=boundary,
        places=[place_of(request.data), None if request.test is None else place_of(request.test)],
        targets=request.targets,
        task=request.task,
        split=request.split,
        sets=[item for item in request.sets if item.startswith("schema.")],
    )


def overrides(request: Request) -> dict[str, dict[str, Any]]:
    """`--set schema.NAME.KEY=VALUE` and `--split COLUMN` as the recogniser takes them."""
    document: dict[str, dict[str, Any]] = {}
    attributes = {"modality", "role"}
    for item in request.sets:
        key, equals, value = item.partition("=")
        if not equals or not key.startswith("schema."):
            continue
        name, _, attribute = key.removeprefix("schema.").rpartition(".")
        if not name:
            raise InputError(f"--set {item!r} names no column's setting.", fix="Write schema.COLUMN.modality=category")
        name, attribute = name.removesuffix(".options"), attribute
        entry = document.setdefault(name, {})
        if attribute in attributes:
            entry[attribute] = value.strip().strip('"')
        else:
            entry.setdefault("options", {})[attribute] = from_text(value.strip())
    if request.split:
        document.setdefault(request.split, {})["role"] = "split"
    return document


def _data_plan(request: Request, table: Table, schema: Schema, boundary: int | None) -> DataPlan:
    """How rows will be divided, from what the user gave and what the columns are."""
    train, test = place_of(request.data), "" if request.test is None else place_of(request.test)
    plan = DataPlan(train=train, test=test, fingerprint=table.fingerprint)
    for role, way in (("split", "column"), ("group", "group"), ("time", "time")):
        fields = schema.with_role(role)  # type: ignore[arg-type]
        if fields and boundary is None:
            return replace(plan, split=way, column=fields[0].name)
    if boundary is not None:
        return replace(plan, split="given")
    labelled = bool(request.task and schema.with_role("label"))
    by_label = labelled and getattr(registry.module("tasks", request.task), "STRATIFIED", False)
    categorical = by_label or any(field.modality in ("category", "set") for field in schema.targets)
    return replace(plan, split="stratified" if categorical else "random")


def summarise(table: Table, schema: Schema, among: np.ndarray[Any, Any] | None = None) -> dict[str, Mapping[str, Json]]:
    """What is in each field, from a sample of rows, of those in `among` or of all."""
    total = len(table) if among is None else len(among)
    rows = np.unique(np.linspace(0, total - 1, min(total, SAMPLE)).astype(np.int64))
    rows = rows if among is None else among[rows]
    return {field.name: _described(field, table, rows) for field in schema if field.role != "ignore"}


def _described(field: Field, table: Table, rows: np.ndarray[Any, Any]) -> Mapping[str, Json]:
    """What is in one field at `rows`."""
    media = field.modality in ("image", "audio")
    # Headers of files are read for a summary: a few hundred tell enough.
    chosen = rows[:: max(1, len(rows) // 300)] if media else rows
    values = field.values(table.take(chosen, list(field.columns)))
    if media and table.root is not None:
        values = object_array(_absolute(value, table) for value in values)
    found: Mapping[str, Json] = registry.module("modalities", field.modality).describe(values)
    return found


def _absolute(value: Any, table: Table) -> Any:
    return str(table.root / value) if isinstance(value, str) and table.root is not None else value


def _tasks(request: Request, schema: Schema, table: Table) -> tuple[dict[str, TaskPlan], dict[str, str]]:
    """The task of each target, with the reason; of a task without targets, its own answer's."""
    if answer := unlabelled(request.task):
        return {answer: TaskPlan(request.task)}, {f"task.{answer}": f"{request.task}: you asked for it"}
    tasks: dict[str, TaskPlan] = {}
    reasons: dict[str, str] = {}
    for field in schema.targets:
        asked = "tag" if request.task == "classify" and field.modality == "set" else request.task
        name, reason = (asked, "you asked for it") if asked else _suited(field, table)
        tasks[field.name] = TaskPlan(name)
        reasons[f"task.{field.name}"] = f"{name}: {reason}"
    return tasks, reasons


def _read_by(schema: Schema, tasks: Mapping[str, TaskPlan]) -> Schema:
    """Without the inputs that a task does not read, where it says what it does (`READS` of its module).

    Such a task's target is no class, however few different texts there are.
    """
    for plan in tasks.values():
        reads = getattr(registry.module("tasks", plan.name), "READS", None)
        if reads is None:
            continue
        fields = []
        for field in schema:
            if field.role == "target" and field.modality == "category":
                field = replace(field, modality="text", reason=f"texts, as the task {plan.name} needs")
            elif field.role == "input" and field.modality not in reads:
                kinds = " and ".join(sorted(reads))
                field = replace(field, role="ignore", reason=f"the task {plan.name} reads {kinds} only")
            fields.append(field)
        schema = Schema(tuple(fields))
        if not schema.inputs:
            kinds = " or ".join(sorted(reads))
            raise InputError(
                f"The task {plan.name!r} reads {kinds}, and no column holds that.",
                where="--task",
                fix=f"Name the column with --set schema.COLUMN.modality={reads[0]}, or choose another task.",
            )
    return schema


def unlabelled(task: str) -> str:
    """What the answer of a task that needs no target is called; "" of any other task."""
    return str(getattr(registry.module("tasks", task), "UNLABELLED", "")) if task else ""


def way_of(request: Request, given: Plan | None = None) -> str:
    """The way that the data or a task has all five steps for itself in, or "".

    Raises:
        InputError: options of a forecast are given with another task.
    """
    return "control" if is_environment(request.data) else apart(_tasks_of(request, given))


def _tasks_of(request: Request, given: Plan | None) -> list[str]:
    """The tasks that are wanted by name, by a plan that is followed, or by a horizon.

    Raises:
        InputError: options of a forecast are given with another task.
    """
    tasks = [request.task] if request.task else [part.name for part in given.task.values()] if given else []
    if not tasks and request.horizon:
        tasks = ["forecast"]
    for option, wish in (("--horizon", request.horizon), ("--time", request.time), ("--group", request.group)):
        if wish and "forecast" not in tasks:
            raise InputError(
                f"{option} is for forecasts{f', not for the task {request.task!r}' if request.task else ''}.",
                where=option,
                fix="Leave it out, or ask for a forecast: --task forecast --horizon N",
            )
    return tasks


def apart(tasks: Iterable[str]) -> str:
    """The way that one of the tasks has all five steps for itself in (its module's WAY), or ""."""
    found = (str(getattr(registry.module("tasks", name), "WAY", "")) for name in tasks)
    return next(filter(None, found), "")


def later(tasks: Iterable[str]) -> str:
    """The way that one of the tasks has steps 3 to 5 for itself in (its module's LATER), or ""."""
    found = (str(getattr(registry.module("tasks", name), "LATER", "")) for name in tasks)
    return next(filter(None, found), "")


def several_right(plan: Plan) -> bool:
    """May the same inputs have several right answers, one in each row (`SEVERAL` of a task's module)?"""
    return any(getattr(registry.module("tasks", part.name), "SEVERAL", False) for part in plan.task.values())


def _suited(field: Field, table: Table) -> tuple[str, str]:
    description = _described(field, table, np.arange(min(len(table), SAMPLE)))
    suited = []
    for name in registry.names("tasks"):
        recognition = registry.module("tasks", name).suits(field, description)
        if recognition is not None:
            suited.append((recognition.confidence, name, recognition.reason))
    if not suited:
        raise InputError(
            f"No task answers a target like {field.name!r}, which holds {field.modality} values.",
            where=field.name,
            fix="Choose another --target, or say what it is with --set schema."
            + f"{field.name}.modality=category (or number).",
        )
    _, name, reason = max(suited)
    return name, reason


def check_roles(
    settings: Mapping[str, Mapping[str, Any]], roles: Collection[str], task: str, fix: str = "Leave it out."
) -> None:
    """Raise InputError for what a task that finds out itself what columns are for cannot do: all but giving `roles`."""
    for name, changes in settings.items():
        for key, value in changes.items():
            if key != "role" or value not in roles:
                raise InputError(
                    f"The task {task!r} has no setting schema.{name}.{key}={value}.", where="--set", fix=fix
                )


def check_columns(wanted: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise InputError for the first wanted column that is not known."""
    names = list(known)
    for name in wanted:
        if name not in names:
            raise InputError(f"There is no column {name!r}.", where=where, fix=nearest(name, names))


def _tell(narrator: Narrator, plan: Plan, summaries: Mapping[str, Mapping[str, Json]]) -> None:
    shown = [field for field in plan.schema if field.role != "ignore"]
    for field in shown[:25]:
        role = "" if field.role == "input" else f"  [{field.role}]"
        narrator.say(f"{field.name}: {field.modality}{role} - {field.reason}")
    if len(shown) > 25:
        narrator.say(f"... and {len(shown) - 25} more; `lamina inspect` shows all")
    left_out = [field for field in plan.schema if field.role == "ignore"]
    for field in left_out[:10]:
        narrator.say(f"{field.name}: left out - {field.reason}")
    for target in plan.task:
        narrator.say(f"task for {target}: {plan.reasons[f'task.{target}']}")
    for key, reason in plan.reasons.items():
        if key.startswith("schema."):
            narrator.say(f"size of {key.removeprefix('schema.').removesuffix('.size')}: {reason}")
        if key.startswith("task.") and key.endswith((".window", ".parts")):
            narrator.say(f"{key.rpartition('.')[2]}: {reason}")
