"""What a request holds as raw rows, and answers as JSON."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.errors import InputError
from lamina.model.pictures import png
from lamina.model.rows import RawChunk, Rows
from lamina.model.runtime import BATCH, Model
from lamina.model.steps import opened

FILES = ("image", "audio", "video")
"""Modalities whose values are files. From a request only their content is taken: a name would let a stranger read what
lies on the server."""
FORM = 'Send {"rows": [{...}, ...]}: a row is its values by column, files in base64.'


@dataclass(frozen=True)
class Asked:
    """The rows of one request.

    Attributes:
        rows: raw.
        count: of the rows that were sent; a model of series may answer with more lines, or fewer.
        alone: whether an answer depends on all rows of the request, so that they are never answered with others'.
    """

    rows: Rows
    count: int
    alone: bool


def asked(document: Json, model: Model, most: int) -> Asked:
    """The rows in a request's JSON.

    Args:
        most: how many rows a request may have.

    Raises:
        InputError: it has another form, too many rows, none, or lacks a column that the model needs.
    """
    rows = document.get("rows") if isinstance(document, Mapping) else document
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise InputError("The request has no list of rows.", where="the body", fix=FORM)
    if not rows:
        raise InputError("The request has no rows.", where='"rows"', fix=FORM)
    if len(rows) > most:
        raise InputError(
            f"The request has {len(rows):,} rows; {most:,} are the most that are taken at once.",
            where='"rows"',
            fix="Send them in several requests, or start the server with a larger --most-rows.",
        )
    errors: dict[int, str] = {}
    files = [column for item in model.inputs.values() if item.field.modality in FILES for column in item.field.columns]
    contents = [_with_contents(row, files, number, errors) for number, row in enumerate(rows)] if files else rows
    return _asked(opened(contents, model, BATCH), len(rows), errors)


def of_file(content: bytes, model: Model) -> Asked:
    """The one row that a file is, for a model that reads files and nothing else.

    Raises:
        InputError: the model reads other columns.
    """
    fields = [item.field for item in model.inputs.values()]
    if len(model.columns) != 1 or fields[0].modality not in FILES:
        raise InputError(
            f"A file alone is no row: the model reads {', '.join(map(repr, model.columns))}.",
            where="the body",
            fix=FORM,
        )
    return _asked(opened([{model.columns[0]: content}], model, BATCH), 1, {})


def _asked(found: Rows, count: int, errors: Mapping[int, str]) -> Asked:
    alone = type(found) is not Rows or found.lines is not None
    # A list: rows that could not be answered with others' are answered once more.
    return Asked(replace(found, chunks=list(_told(found, errors))) if errors or not alone else found, count, alone)


def _with_contents(
    row: Mapping[str, Any], files: Sequence[str], number: int, errors: dict[int, str]
) -> Mapping[str, Any]:
    """The row with its files' contents; what is no content is missing, and told in `errors`."""
    found = dict(row)
    for column in files:
        value = found.get(column)
        if value is None or value == "":
            continue
        try:
            found[column] = _content(value)
        except ValueError as error:
            found[column] = None
            errors[number] = f"{column}: {error}"
    return found


def _content(value: Json) -> bytes:
    """A file in base64, plainly, as a data URL, or as {"base64": ...}.

    Raises:
        ValueError: it is none of these.
    """
    text = value.get("base64") if isinstance(value, Mapping) else value
    if not isinstance(text, str):
        raise ValueError(f"a value of type {type(value).__name__} is no file in base64")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not a file in base64 (names of files are not read here)") from None


def _told(chunks: Iterable[RawChunk], errors: Mapping[int, str]) -> Iterator[RawChunk]:
    """The chunks, with what was wrong with their rows."""
    first = 0
    for chunk in chunks:
        inside = {row - first: reason for row, reason in errors.items() if first <= row < first + len(chunk)}
        yield RawChunk(chunk.values, len(chunk), {**chunk.errors, **inside})
        first += len(chunk)


def answer(value: Any) -> Json:
    """An answer as JSON: pictures as data URLs of PNG files, what is not finite as null."""
    if isinstance(value, np.ndarray):
        if value.ndim >= 2 and value.dtype.kind == "u":
            return f"data:image/png;base64,{base64.b64encode(png(value)).decode('ascii')}"
        return [answer(part) for part in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {str(name): answer(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [answer(part) for part in value]
    return str(value)
