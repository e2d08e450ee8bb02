"""What a request holds as raw rows, and answers as JSON."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.errors import InputError
from lamina.modalities._files import is_missing
from lamina.model.pictures import png
from lamina.model.rows import FILES, RawChunk, Rows
from lamina.model.runtime import BATCH, Model
from lamina.model.steps import opened

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
    return _asked(opened(rows, model, BATCH), model, len(rows))


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
    return _asked(opened([{model.columns[0]: content}], model, BATCH), model, 1)


def _asked(found: Rows, model: Model, count: int) -> Asked:
    alone = type(found) is not Rows or found.lines is not None
    files = {column for item in model.inputs.values() if item.field.modality in FILES for column in item.field.columns}
    chunks = (_with_contents(chunk, files) for chunk in found)
    # A list: rows that could not be answered with others' are answered once more.
    return Asked(replace(found, chunks=chunks if alone else list(chunks)), count, alone)


def _with_contents(chunk: RawChunk, files: Set[str]) -> RawChunk:
    """The rows with their files' contents; what is no content is missing, and told of its row.

    Of the columns as they are read, however a request has written them: the name of a file would let a stranger read
    what lies on the server.
    """
    values, errors = dict(chunk.values), dict(chunk.errors)
    for column in files & values.keys():
        contents = values[column] = values[column].astype(object)
        for row, value in enumerate(contents):
            if isinstance(value, bytes) or is_missing(value):
                continue
            try:
                contents[row] = _content(value)
            except ValueError as error:
                contents[row] = None
                errors[row] = f"{column}: {error}"
    return RawChunk(values, len(chunk), errors)


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
