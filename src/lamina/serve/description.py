"""What a model reads and answers, for people and for programs that write clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina import __version__
from lamina.data.schema import Json
from lamina.model.forecast import long_table, window_of
from lamina.model.rows import FILES
from lamina.model.runtime import Input, Model
from lamina.model.steps import cut_of

TOLD = ("task", "scores", "verdict", "labels")
"""What is told of a target in the model's card."""
FEW = 50
"""A category with more values than so many is typed, not chosen; they are not told."""


def of(name: str, model: Model) -> dict[str, Json]:
    """A model's columns, answers and card, without anything of the rows that it was made from."""
    card = model.card
    targets = card.get("targets", {})
    reads, of_series = _reads(model)
    return {
        "name": name,
        "created": card.get("created", ""),
        "licence": card.get("licence", "not stated"),
        "reads": reads,
        "rows": "the steps of series, in order" if of_series else "each by itself",
        "answers": list(model.answer_columns),
        "targets": {
            target: {key: value for key, value in dict(targets.get(target, {})).items() if key in TOLD}
            | {"task": task.task}
            for target, task in model.tasks.items()
        },
        "limits": card.get("limits", []),
    }


def openapi(models: Mapping[str, Model]) -> dict[str, Json]:
    """The server in OpenAPI's words (3.1)."""
    paths: dict[str, Json] = {
        "/health": {"get": {"summary": "Is it ready?", "responses": {"200": {"description": "It is."}}}},
        "/models": {"get": {"summary": "What models there are", "responses": {"200": {"description": "Their cards"}}}},
    }
    for name, model in models.items():
        paths[f"/models/{name}/predict"] = {"post": _predict(name, model)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lamina", "version": __version__, "description": "Sealed models that answer rows"},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _predict(name: str, model: Model) -> dict[str, Json]:
    reads, _ = _reads(model)
    row = {"type": "object", "properties": {column["column"]: _schema(column) for column in reads}}
    content: dict[str, Json] = {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["rows"],
                "properties": {"rows": {"type": "array", "items": row}},
            }
        }
    }
    if len(reads) == 1 and reads[0]["modality"] in FILES:
        content[f"{reads[0]['modality']}/*"] = {"schema": {"type": "string", "format": "binary"}}
    answer = {"type": "object", "properties": {column: {} for column in (*model.answer_columns, "error")}}
    answers = {
        "type": "object",
        "properties": {"model": {"type": "string"}, "answers": {"type": "array", "items": answer}},
    }
    failed = {
        "400": "The request is wrong: the error says what, where, and the fix.",
        "401": "The token is missing or wrong.",
        "413": "More is sent than is taken at once.",
        "415": "The body is of a type that is not read.",
        "503": "Too many rows wait; ask again in a second.",
    }
    return {
        "summary": f"Rows for {name}; a row that cannot be read has an error instead of answers",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The answers, in order", "content": {"application/json": {"schema": answers}}},
            **{status: {"description": text} for status, text in failed.items()},
        },
    }


def _reads(model: Model) -> tuple[list[dict[str, Json]], bool]:
    """(The columns that a request's rows have, whether the rows are steps of series rather than each by itself)"""
    cut, long, window = cut_of(model), long_table(model, []), window_of(model)
    if cut is not None:
        return [{"column": column, "modality": "number"} for column in cut.columns], True
    if long is not None and window is not None:
        known = {window[1].time: "time", window[1].target: "number", window[1].group: "category"}
        return [{"column": column, "modality": known.get(column, "")} for column in long.columns], True
    return [column for item in model.inputs.values() for column in _columns(item)], False


def _columns(item: Input) -> list[dict[str, Json]]:
    """The columns of an input; of a category with few values those too."""
    levels: Any = getattr(item.encoder, "levels", ())
    values = {"values": sorted(levels)} if item.field.modality == "category" and 0 < len(levels) <= FEW else {}
    return [{"column": column, "modality": item.field.modality, **values} for column in item.field.columns]


def _schema(column: Mapping[str, Json]) -> dict[str, Json]:
    if column["modality"] in FILES:
        return {"type": ["string", "null"], "contentEncoding": "base64", "description": column["modality"]}
    if "values" in column:
        return {"description": "category", "examples": column["values"]}
    return {"description": column["modality"]}
