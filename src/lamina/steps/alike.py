"""Fields encoded as an earlier run did, whose weights are gone on with: its network knows no other numbers.

A tokenizer fitted anew gives other numbers to tokens, and a scale fitted anew other values to numbers; what the earlier
network learned of them would be lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lamina import registry
from lamina.data import encoding
from lamina.data.schema import Field
from lamina.data.tables import Table
from lamina.errors import InputError
from lamina.modalities import Encoder
from lamina.modalities.category import UNKNOWN
from lamina.narrate import Narrator
from lamina.run import Run
from lamina.steps.request import Request
from lamina.steps.understand import Understood

LIKE = "like"
"""The option of a field that names the prepared.json, or the folder, of the run whose encoder it shall have."""
ANYWHERE = ("image", "audio")
"""Modalities whose numbers mean the same in every run; sizes and lengths are better chosen anew."""
MOST_UNKNOWN = 0.05
"""The share of values that the earlier run may not have known, for its categories to be kept."""
LOOKED_AT = 4_096


def encoded_alike(request: Request, understood: Understood, narrator: Narrator) -> Understood:
    """With the fields that an earlier run read under the same name encoded as in that run, if its weights are given.

    A field that is read with other options now than then is encoded anew.
    """
    plan, table = understood.plan, understood.table
    fields = {field.name: field for field in plan.schema}
    for item in request.weights:
        name, _, path = item.rpartition("=")
        run = Run((request.base / Path(path).expanduser()).resolve())
        if not run.prepared.is_file() or not run.plan_file.is_file():
            continue
        earlier = {field.name: field for field in run.plan().schema}
        known = _states(run.prepared)
        taken = [
            field.name
            for field in fields.values()
            if field.role == "input" and field.name in known and name in ("", field.name)
            if field.modality not in ANYWHERE and _alike(earlier[field.name], field)
            if _knows(_restored(field, known[field.name], run.prepared), field, table, understood.learned)
        ]
        for one in taken:
            fields[one] = replace(fields[one], options={**fields[one].options, LIKE: str(run.prepared)})
        if taken:
            narrator.say(f"encoded as in the run {path}, whose weights are given: {', '.join(taken)}")
    return replace(understood, plan=replace(plan, schema=tuple(fields.values())))


def encoder_of(field: Field) -> Encoder | None:
    """The encoder that the field's option `like` names; None without it.

    Raises:
        InputError: there is no such run, or it has no such field.
    """
    if LIKE not in field.options:
        return None
    file = Path(str(field.options[LIKE])).expanduser()
    file = Run(file).prepared if file.is_dir() else file
    if not file.is_file():
        raise InputError(
            f"{field.name!r} shall be encoded as in an earlier run, and there is none at {field.options[LIKE]}.",
            where=f"schema.{field.name}.{LIKE}",
            fix="Give a run's folder, or leave it out: then the encoder is fitted anew.",
        )
    known = _states(file)
    if field.name not in known:
        raise InputError(
            f"The run {file.parent} reads no {field.name!r}: it reads {', '.join(known) or 'nothing like it'}.",
            where=f"schema.{field.name}.{LIKE}",
            fix="Choose another run, or leave it out: then the encoder is fitted anew.",
        )
    return _restored(field, known[field.name], file)


def _alike(earlier: Field, field: Field) -> bool:
    """Was a field read then as it is now?"""
    options = {key: value for key, value in earlier.options.items() if key != LIKE}
    now = (field.modality, len(field.columns), dict(field.options))
    return (earlier.modality, len(earlier.columns), options) == now


def _states(file: Path) -> dict[str, Mapping[str, Any]]:
    """The encoders' states by field; none of a run that prepares something else than rows.

    Raises:
        InputError: the file is damaged.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return dict(document.get("encoders", {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"The run's prepared.json cannot be read: {error}.",
            where=str(file),
            fix="Put it back from a copy, or choose another run.",
        ) from None


def _restored(field: Field, state: Mapping[str, Any], file: Path) -> Encoder:
    try:
        found: Encoder = registry.module("modalities", field.modality).Encoder.restore(state)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"The run's encoder of {field.name!r} is not one of {field.modality} values, or is damaged.",
            where=str(file),
            fix=f"Choose another run, or say how {field.name!r} is to be read: --set schema.{field.name}.modality=...",
        ) from None
    return found


def _knows(encoder: Encoder, field: Field, table: Table, rows: np.ndarray[Any, Any]) -> bool:
    """Of categories: does the earlier run know nearly all that occur at `rows`? Of anything else, yes."""
    if field.modality != "category":
        return True
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(np.int64)]
    values = next(encoding.stream(table, field, some)())
    return float(np.mean(encoder.encode(values, table.root).array == UNKNOWN)) <= MOST_UNKNOWN
