"""Step 2: divide the rows, look for trouble, fit encoders on the training part, encode everything once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lamina import registry
from lamina.data import encoding
from lamina.data.added import told
from lamina.data.audit import AuditFinding, audit
from lamina.data.examples import Examples, cache_folder, trim_cache
from lamina.data.findings import places
from lamina.data.schema import Field, Json, Schema, Values
from lamina.data.split import Split, split
from lamina.data.tables import Table
from lamina.data.target_values import MAY_LACK, lacks
from lamina.errors import InputError
from lamina.modalities import Encoded, Encoder
from lamina.modalities._number_text import decimal_in, read_numbers
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import also
from lamina.steps.alike import encoder_of
from lamina.steps.known import question
from lamina.steps.understand import Understood, several_right
from lamina.tasks import LaidOut, Stated, Task, check_width, encode_target

Array = np.ndarray[Any, Any]
VERSION = 1
SPLIT = "split.safetensors"
LARGE = ("image", "audio", "frames")
"""Modalities of inputs on which answers of many numbers lie."""


@dataclass(frozen=True)
class Prepared:
    """Everything training and testing need of the data.

    Attributes:
        table: all rows, raw.
        split: row numbers of the three parts; rows that could not be encoded are in none.
        encoders: by input field.
        tasks: by target.
        examples: all rows, encoded.
        findings: of the audit.
        dropped: (row, reason) of every row that is in no part.
        weight: float32 [row], or None.
    """

    table: Table
    schema: Schema
    split: Split
    encoders: Mapping[str, Encoder]
    tasks: Mapping[str, Task]
    examples: Examples
    findings: tuple[AuditFinding, ...]
    dropped: tuple[tuple[int, str], ...]
    weight: Array | None = None


def prepare(understood: Understood, run: Run, narrator: Narrator) -> Prepared:
    """Split, audit, fit, encode; the fitted parts are kept in the run folder."""
    narrator.step("Prepare")
    table, plan = understood.table, understood.plan
    _check_unreadable(table, plan)
    schema = understood.schema
    asked = question(plan)
    known = asked.read(SPLIT)
    if known is not None:
        parts = Split.from_bytes(known)
    else:
        parts = split(table, schema, plan.data, plan.seed, test_from=understood.boundary)
    narrator.say(
        f"{len(parts.train):,} rows to train, {len(parts.validation):,} to validate, {len(parts.test):,} to test "
        f"({parts.how}: {parts.reason})"
    )
    if found := also.sources(plan, table, parts.train):
        for sentence in (told(found), *also.left_out(table, parts)):
            narrator.say(sentence)
    if asked.take(run, run.prepared.name):
        narrator.say("encoders and audit: as an earlier run found them for the same data and settings")
        encoders, tasks = restored(run, plan, schema)
        examples = _encoded(table, schema, encoders, tasks, narrator)
        findings = _findings(run)
    else:
        encoders, tasks = _fit(table, schema, plan, parts)
        examples = _encoded(table, schema, encoders, tasks, narrator)
        findings = tuple(audit(table, schema, parts, examples=examples, several=several_right(plan)))
        for field in schema.inputs:
            if _suited(plan, field) and (frame := getattr(encoders[field.name], "frame", None)) is not None:
                narrator.say(
                    f"{field.name}: {frame.height} x {frame.width} pixels ({frame.resize}), large because every part "
                    f"of an answer has its place there; --set schema.{field.name}.size=SIDE sets another size"
                )
        document = {
            "version": VERSION,
            "encoders": {name: encoder.state() for name, encoder in encoders.items()},
            "tasks": {name: task.state() for name, task in tasks.items()},
            "findings": [vars(finding) for finding in findings],
            "summaries": dict(understood.summaries),
        }
        run.write_json(run.prepared, document)
        asked.keep(run, run.prepared.name)
        asked.write({SPLIT: parts.to_bytes()})
    for finding in findings:
        if finding.severity != "note":
            narrator.say(f"{finding.severity}: {finding.text}" + (f" {finding.fix}" if finding.fix else ""))
    return _finish(table, schema, plan, parts, encoders, tasks, examples, findings, narrator)


def _check_unreadable(table: Table, plan: Plan) -> None:
    """Too many rows and files that the readers could not read stop the run."""
    bad, total = len(table.unreadable), len(table) + len(table.unreadable)
    if bad > plan.data.bad_rows * total:
        raise InputError(
            f"{bad:,} of {total:,} rows cannot be read, more than the {plan.data.bad_rows:.1%} allowed.",
            where="; ".join(f"{place}: {reason}" for place, reason in table.unreadable[:3]),
            fix="Correct them, or allow more with --set data.bad_rows=0.2",
        )


def prepared_again(
    run: Run, plan: Plan, table: Table, boundary: int | None, narrator: Narrator, *, parts: Split | None = None
) -> Prepared:
    """What `prepare` gave when the run was started, from the run folder and the same data.

    Args:
        parts: the rows of the three parts, where they are at hand: dividing rows anew takes time.
    """
    schema = Schema(plan.schema)
    encoders, tasks = restored(run, plan, schema)
    if parts is None:
        parts = split(table, schema, plan.data, plan.seed, test_from=boundary)
    examples = _encoded(table, schema, encoders, tasks, narrator)
    return _finish(table, schema, plan, parts, encoders, tasks, examples, _findings(run), narrator)


def _findings(run: Run) -> tuple[AuditFinding, ...]:
    return tuple(AuditFinding(**{**item, "rows": tuple(item["rows"])}) for item in read(run)["findings"])


def restored(run: Run, plan: Plan, schema: Schema) -> tuple[dict[str, Encoder], dict[str, Task]]:
    """A run's fitted encoders by input field, and its tasks by target.

    Raises:
        InputError: prepared.json is damaged, or the run's examples are no rows of a table.
    """
    learned_from = {"recommend": "histories of interactions", "forecast": "windows of series"}
    other = next((learned_from[part.name] for part in plan.task.values() if part.name in learned_from), "")
    if other:
        raise InputError(
            f"The run {run.folder} learned from {other}: this is for runs that learned from rows.",
            where=str(run.folder),
            fix="Use its sealed model (lamina predict, lamina.load) or its network (lamina.api.network).",
        )
    document = read(run)
    encoders = {
        name: registry.module("modalities", schema[name].modality).Encoder.restore(state)
        for name, state in document["encoders"].items()
    }
    tasks = {
        name: registry.module("tasks", plan.task[name].name).Task.restore(state)
        for name, state in document["tasks"].items()
    }
    return encoders, tasks


def read(run: Run) -> dict[str, Json]:
    """The run's prepared.json."""
    try:
        document = json.loads(run.prepared.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"The run's prepared.json cannot be read: {error}.",
            where=str(run.folder),
            fix="The run was stopped before it was prepared: start it again with `lamina train`.",
        ) from None
    parts = ("encoders", "tasks", "findings")
    if not isinstance(document, dict) or not all(part in document for part in parts):
        raise InputError(
            f"The run's prepared.json is damaged: it does not hold {', '.join(parts)}.",
            where=str(run.folder),
            fix="Put it back from a copy, or start the run again with `lamina train`.",
        )
    return document


def _fit(table: Table, schema: Schema, plan: Plan, parts: Split) -> tuple[dict[str, Encoder], dict[str, Task]]:
    """Encoders and tasks, fitted on the training rows only; what is asked, on those that rows for testing are like."""
    encoders: dict[str, Encoder] = {}
    rows = table.some(parts.train)
    for field in schema.inputs:
        if (earlier := encoder_of(field)) is not None:
            encoders[field.name] = earlier
            continue
        kind = registry.module("modalities", field.modality).Encoder
        options = {**_suited(plan, field), **field.options}
        encoders[field.name] = _named(
            field, lambda kind=kind, field=field, options=options: kind.fit(
                encoding.stream(table, field, rows), options, table.root
            )
        )  # fmt: skip
    tasks: dict[str, Task] = {}
    own = parts.train[parts.train < table.own]
    # Tasks without a target are fitted by nothing but the network.
    for field in schema.targets:
        asked = plan.task[field.name]
        module = registry.module("tasks", asked.name)
        tasks[field.name] = _named(
            field, lambda module=module, field=field, asked=asked: module.Task.fit(
                field, encoding.stream(table, field, own), asked.options,
                **({"inputs": encoders, "root": table.root} if hasattr(module.Task, "layout") else {}),
            )
        )  # fmt: skip
        check_width(tasks[field.name], (item.name for item in schema.inputs if item.modality in LARGE))
    return encoders, tasks


def _suited(plan: Plan, field: Field) -> dict[str, Json]:
    """Options of an input's encoder that the tasks ask for (`INPUTS` of their modules)."""
    found: dict[str, Json] = {}
    for asked in plan.task.values():
        found |= getattr(registry.module("tasks", asked.name), "INPUTS", {}).get(field.modality, {})
    return found


def _named(field: Field, fit: Any) -> Any:
    """`fit()`, with the field's name put into an InputError that lacks it."""
    try:
        return fit()
    except InputError as error:
        if error.where and field.name in error.where:
            raise
        raise InputError(
            error.what, where=f"column {field.name}" + (f", {error.where}" if error.where else ""), fix=error.fix
        ) from None


@dataclass(frozen=True)
class Beside:
    """A task whose answers lie on the inputs, as what encodes rows: it is handed their raw values besides its own.

    Attributes:
        task: the task.
        own: how many columns the target itself has; the others are those of `fields`, in order.
        fields: the input fields.
    """

    task: Task
    own: int
    fields: tuple[Field, ...]

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """Of values [row, column]."""
        columns = {place: values[:, place] for place in range(values.shape[1])}
        target, inputs, start = self._joined(columns, 0, self.own), {}, self.own
        for field in self.fields:
            inputs[field.name] = self._joined(columns, start, len(field.columns))
            start += len(field.columns)
        return encode_target(self.task, target, inputs, root)

    def state(self) -> dict[str, Json]:
        """The task's."""
        return self.task.state()

    @staticmethod
    def _joined(columns: Mapping[int, Values], start: int, number: int) -> Values:
        return columns[start] if number == 1 else np.stack([columns[start + more] for more in range(number)], axis=1)


@dataclass(frozen=True)
class Partly:
    """A task beside others, as what encodes rows: where its answer is missing, a row counts for the others."""

    task: Task

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """As the task's, but a missing answer is no error: it is NaN, or no class (-1)."""
        found = self.task.encode(values, root)
        missing = lacks(values, getattr(self.task, "decimal", None))
        if np.issubdtype(found.array.dtype, np.floating):
            found.array[missing] = np.nan
        return Encoded(found.array, {row: why for row, why in found.errors.items() if not missing[row]})

    def state(self) -> dict[str, Json]:
        """The task's, told apart from that of a task alone."""
        return {**self.task.state(), "partly": True}


def target_part(schema: Schema, name: str, task: Task) -> tuple[Field, Any]:
    """What a target is encoded from, and by what."""
    field = schema[name]
    if not isinstance(task, LaidOut):
        partly = len(schema.targets) > 1 and field.modality in MAY_LACK
        return field, Partly(task) if partly else task
    columns = (*field.columns, *(column for item in schema.inputs for column in item.columns))
    return replace(field, columns=columns), Beside(task, len(field.columns), schema.inputs)


def _encoded(
    table: Table, schema: Schema, encoders: Mapping[str, Encoder], tasks: Mapping[str, Task], narrator: Narrator
) -> Examples:
    """All rows, encoded, from the cache where it has them."""
    folder = cache_folder() / "examples"
    everything: dict[str, tuple[Field, Any]] = {name: (schema[name], part) for name, part in encoders.items()}
    everything.update({name: target_part(schema, name, part) for name, part in tasks.items()})
    found = encoding.encode(table, everything, folder, lambda done, total: narrator.progress("encoded", done, total))
    trim_cache(folder)
    return found


def _finish(
    table: Table,
    schema: Schema,
    plan: Plan,
    parts: Split,
    encoders: Mapping[str, Encoder],
    tasks: Mapping[str, Task],
    examples: Examples,
    findings: tuple[AuditFinding, ...],
    narrator: Narrator,
) -> Prepared:
    for task in tasks.values():
        for sentence in task.stated() if isinstance(task, Stated) else ():
            narrator.say(sentence)
    parts, dropped = _without_errors(parts, examples, table, plan)
    if dropped:
        narrator.say(f"{len(dropped):,} rows are left out; the report lists them with their reasons")
    return Prepared(
        table, schema, parts, encoders, tasks, examples, findings, dropped, _weights(table, schema, parts.train)
    )


def _without_errors(
    parts: Split, found: Examples, table: Table, plan: Plan
) -> tuple[Split, tuple[tuple[int, str], ...]]:
    """The split without rows that could not be encoded; too many of them stop the run."""
    used = np.concatenate([parts.train, parts.validation, parts.test])
    bad = np.intersect1d(used, np.fromiter(found.errors, np.int64, len(found.errors)))
    if len(bad) > plan.data.bad_rows * len(used):
        first = "; ".join(f"{table.place(int(row))}: {found.errors[int(row)]}" for row in bad[:3])
        raise InputError(
            f"{len(bad):,} of {len(used):,} rows cannot be used, more than the {plan.data.bad_rows:.1%} allowed.",
            where=first,
            fix="Correct them, leave the column out (--set schema.COLUMN.role=ignore), "
            "or allow more with --set data.bad_rows=0.2",
        )
    dropped = [*parts.dropped, *((int(row), found.errors[int(row)]) for row in bad)]
    kept = replace(
        parts,
        train=np.setdiff1d(parts.train, bad),
        validation=np.setdiff1d(parts.validation, bad),
        test=np.setdiff1d(parts.test, bad),
    )
    return kept, tuple(sorted(dropped))


def _weights(table: Table, schema: Schema, train: Array) -> Array | None:
    """float32 [row] from the column with role "weight", 0 where a row that is not for training has none; or None."""
    fields = schema.with_role("weight")
    if not fields:
        return None
    values, name = encoding.stream(table, fields[0]), fields[0].name
    decimal = decimal_in(fields[0].options, values())
    parts: list[Array] = []
    for chunk in values():
        numbers, unreadable = read_numbers(chunk, decimal)
        if unreadable:
            row = min(unreadable)
            raise InputError(
                f"The weight {name!r} cannot be read: {unreadable[row]}.",
                where=f"column {name}, {table.place(sum(map(len, parts)) + row)}",
                fix=f"Correct it, or leave it out with --set schema.{name}.role=ignore",
            )
        parts.append(numbers)
    weight = np.concatenate(parts).astype(np.float32)
    missing = train[np.isnan(weight[train])]
    if len(missing):
        raise InputError(
            f"The weight {name!r} is missing in {len(missing):,} of {len(train):,} training rows.",
            where=f"column {name}, {'; '.join(places(table, missing[:3]))}",
            fix="Write 1 for a usual row and 0 for one that shall not be learned from, "
            f"or leave the weights out with --set schema.{name}.role=ignore",
        )
    weight = np.nan_to_num(weight)
    negative = np.flatnonzero(weight < 0)
    if len(negative) or not weight[train].any():
        what = f"is negative in {len(negative):,} rows" if len(negative) else "is zero in every training row"
        raise InputError(
            f"The weight {name!r} {what}.",
            where=f"column {name}" + (f", first in {table.place(int(negative[0]))}" if len(negative) else ""),
            fix=f"Correct it, or leave it out with --set schema.{name}.role=ignore",
        )
    return np.asarray(weight)
