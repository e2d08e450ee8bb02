"""Explanations of the sealed model for the report: which fields matter, and what decided single answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.data.schema import Json, Schema
from lamina.evaluate.results import Explanation
from lamina.explain.contributions import EVALUATIONS, ORDERS
from lamina.explain.explain import explain
from lamina.explain.permutation import REPEATS, importance
from lamina.modalities._canonical import object_array
from lamina.model import golden
from lamina.model.runtime import Model
from lamina.steps import shown
from lamina.steps.prepare import Prepared
from lamina.tasks import LaidOut

Array = np.ndarray[Any, Any]
EXAMPLES = 3
COVERABLE = ("image", "text", "audio", "series")
"""Modalities of which single parts are covered to see what the answer loses."""
ROWS = 1000
FEWEST_ROWS = 100
SHUFFLING_SECONDS = 30.0
"""The importance of fields is measured on ROWS test rows at most, on fewer where their answers would take longer."""
COVERED = 225
"""Answers that show which parts of a picture, text, sound or series decided one answer, at most."""


def answers_asked(schema: Schema, rows: int, pace: float) -> int:
    """About how many answers `explanations` asks for with so many test rows, of a model that gives `pace` a second."""
    fields, wide = len(schema.inputs), sum(field.modality in COVERABLE for field in schema.inputs)
    one = COVERED * wide
    shuffled = 0
    if fields > 1:
        one += min(EVALUATIONS, 2 * ORDERS * golden.USUAL * (fields + 1))
        shuffled = _rows_shuffled(fields, rows, pace) * (1 + REPEATS * fields)
    return shuffled + min(rows, EXAMPLES) * len(schema.targets) * one


def _rows_shuffled(fields: int, rows: int, pace: float) -> int:
    in_time = int(pace * SHUFFLING_SECONDS / (1 + REPEATS * fields))
    return min(rows, max(FEWEST_ROWS, min(ROWS, in_time)))


def explanations(prepared: Prepared, model: Model, rows: Array, seed: int, *, pace: float) -> tuple[Explanation, ...]:
    """Importance of the fields and some explained test rows, for each target that is answered with a vector.

    Args:
        rows: the test rows.
        pace: answers that the sealed model gives a second.
    """
    targets = tuple(name for name, task in model.tasks.items() if not isinstance(task, LaidOut))
    if not targets:
        return ()
    generator = np.random.default_rng(seed)
    schema = prepared.schema
    columns = [column for field in (*schema.inputs, *schema.targets) for column in field.columns]
    some = np.sort(generator.choice(rows, _rows_shuffled(len(schema.inputs), len(rows), pace), replace=False))
    drops: Mapping[str, Mapping[str, Any]] = {}
    if len(model.inputs) > 1:
        drops = importance(model, prepared.table.take(some, columns), seed=seed, root=prepared.table.root)
    chosen = generator.choice(rows, min(len(rows), EXAMPLES), replace=False)
    found: dict[str, list[Mapping[str, Json]]] = {name: [] for name in targets}
    for row in chosen.tolist():
        raw = {name: values[0] for name, values in prepared.table.take(np.array([row]), columns).items()}
        explained = explain(model, raw, prepared.table.root, targets=targets, seed=seed)
        for name, one in explained["targets"].items():
            found[name] += _examples(prepared, row, raw, one, explained["fields"])
    return tuple(Explanation(name, dict(drops.get(name, {})), tuple(found[name])) for name in targets)


def _examples(
    prepared: Prepared, row: int, raw: Mapping[str, Any], one: Mapping[str, Json], fields: Mapping[str, Json]
) -> list[Mapping[str, Json]]:
    """One explained row as the report shows it: fields together, then each picture, text, sound or series.

    Args:
        fields: what the network saw of each, as `explain` tells it.
    """
    about = {"row": row, "answer": str(one["answer"])}
    found: list[Mapping[str, Json]] = []
    if one.get("contributions"):
        parts = {f"{item['field']} = {_brief(item['value'])}": item["contribution"] for item in one["contributions"]}
        found.append({**about, "field": "", "modality": "table", "value": None, "contributions": parts})
    for name, detail in one.get("details", {}).items():
        field = prepared.schema[name]
        value = field.values({column: object_array([raw[column]]) for column in field.columns})[0]
        if detail["kind"] == "image":
            # Places are those of the picture as the network saw it: bordered, cut or stretched.
            seen = {"modality": "image", "value": shown.thumbnail(fields[name]["picture"])}
        else:
            seen = shown.shown_value(field, value, prepared.table.root)
        # Of a long text the report shows the beginning only; its words are cut from the whole.
        parts = _parts(detail, "" if value is None else str(value))
        found.append({**about, "field": name, **seen, "contributions": parts})
    return found


def _parts(detail: Mapping[str, Json], text: str) -> Json:
    """What the report draws: a grid for a picture, [word, weight] pairs for a text, shares by time for the rest."""
    if detail["kind"] == "image":
        return detail["heat"]
    if detail["kind"] == "tokens":
        return [[text[item["start"] : item["end"]], item["contribution"]] for item in detail["words"]]
    return [item["contribution"] for item in detail["times"]]


def _brief(value: Json) -> str:
    text = str(value)
    return text if len(text) <= 30 else text[:27] + "..."
