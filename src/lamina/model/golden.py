"""Golden examples: a few raw rows sealed with the model, and the answers it gave; checked by `lamina doctor MODEL`.

They also serve as the background that explanations compare a row with. They are part of the file: whoever
has the model can read these rows.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Chunk, Json, Values
from lamina.model.graph import damaged
from lamina.model.rows import FILES
from lamina.tasks import LaidOut, Measured

if TYPE_CHECKING:
    from lamina.model.format import Sealed
    from lamina.model.runtime import Model

MOST = 64
USUAL = 16
"""Rows that a training run keeps in the file."""
TOLERANCE = 1e-3
ROUNDED = 0.02
"""How far rounding moves the numbers of an answer of several parts, such as boxes: they are told to hundredths."""
LARGE_ANSWERS = 1_000_000
"""Outputs of answers that are no vector, of all golden examples together, about."""
LARGEST = 64 << 20
"""Letters of all golden examples together, as JSON: of a file with more than twice as many, nothing would be read."""
_LARGEST_FILE = 4 << 20


def sealed_with(model: Model, chunk: Chunk, root: Path | None = None) -> Sealed:
    """What the model is, with the rows of `chunk` (at most `MOST`) that it can answer as golden examples.

    Pictures and sounds named by a path are kept as their files' bytes, up to 4 MiB each. A row with which the examples
    would grow beyond `LARGEST` is left out.
    """
    files = {column for item in model.inputs.values() if item.field.modality in FILES for column in item.field.columns}
    rows = []
    for row in range(min(len(next(iter(chunk.values()))), MOST)):
        values = {column: _kept(chunk[column][row], column in files, root) for column in model.columns}
        if all(value is not _TOO_LARGE for value in values.values()):
            rows.append(values)
    large = sum(task.width for task in model.tasks.values() if isinstance(task, LaidOut))
    rows = rows[: max(1, LARGE_ANSWERS // large)] if large else rows
    answers = model.predict(rows)
    golden, left = {"rows": list[Json](), "answers": list[Json]()}, LARGEST
    for values, answer in zip(rows, answers, strict=True):
        if answer["error"] is not None:
            continue
        raw = {name: _packed(value) for name, value in values.items()}
        told = {name: _answer(value) for name, value in answer.items() if name != "error"}
        size = len(json.dumps([raw, told]))
        if size <= left:
            left -= size
            golden["rows"].append(raw)
            golden["answers"].append(told)
    return replace(model.sealed, golden=golden)


def rows_of(model: Model) -> list[dict[str, Any]]:
    """The golden rows' raw values by column.

    Raises:
        InputError: they are damaged.
    """
    try:
        return [
            {str(name): _unpacked(value) for name, value in row.items()} for row in model.sealed.golden.get("rows", [])
        ]
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise damaged(f"The golden examples are damaged: {type(error).__name__} {error}.", model.where) from None


def check(model: Model) -> dict[str, Json]:
    """Answer the golden examples anew and compare: {"rows", "agree", "sound", "differences"}."""
    rows, expected = rows_of(model), model.sealed.golden.get("answers", [])
    if not isinstance(expected, list) or len(expected) != len(rows):
        raise damaged("The golden answers are not as many as the examples.", model.where)
    differences = []
    for number, (answer, wanted) in enumerate(zip(model.predict(rows), expected, strict=True)):
        wrong = _difference(answer, wanted, _units(model, answer))
        if wrong:
            differences.append({"row": number, **wrong})
    return {
        "rows": len(rows),
        "agree": len(rows) - len(differences),
        "sound": not differences,
        "differences": differences,
    }


def first_answer(model: Model) -> dict[str, Json]:
    """One golden example, shown briefly, and the model's answer to it."""
    rows = rows_of(model)[:1]
    if not rows:
        return {"input": {}, "answer": {}}
    answer = {name: value for name, value in model.predict(rows)[0].items() if name != "error" or value is not None}
    return {"input": {name: _brief(value) for name, value in rows[0].items()}, "answer": answer}


def _units(model: Model, answer: Mapping[str, Any]) -> dict[str, float]:
    """By column, what its numbers' differences are measured by: a millionth is much where all are as small."""
    units = {}
    for name, task in model.tasks.items():
        if isinstance(task, Measured) and answer.get(name) is not None:
            suffixes = task.decode(np.zeros((1, task.width), np.float32))
            spreads = task.spreads({suffix: answer[name + suffix] for suffix in suffixes})
            units.update({name + suffix: spread for suffix, spread in spreads.items()})
    return units


def _difference(answer: Mapping[str, Any], wanted: Json, units: Mapping[str, float]) -> dict[str, Json]:
    if not isinstance(wanted, Mapping):
        return {"column": "", "expected": str(wanted), "answered": ""}
    for name, value in wanted.items():
        found = answer.get(name)
        if not _agree(found, value, units.get(name)):
            return {"column": name, "expected": value, "answered": found}
    return {}


def _agree(found: Json, wanted: Json, unit: float | None = None, least: float = TOLERANCE) -> bool:
    """Are two answers the same, numbers within `TOLERANCE` units? Without a unit: within `least`, or of their size."""
    if isinstance(found, list) and isinstance(wanted, list):
        pairs = zip(found, wanted, strict=False)
        return len(found) == len(wanted) and all(_agree(one, other, unit, least) for one, other in pairs)
    if isinstance(wanted, Mapping) and "array" in wanted:
        return isinstance(found, np.ndarray) and _alike(found, _unpacked(wanted))
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        same = found.keys() == wanted.keys()
        return same and all(_agree(found[name], part, unit, ROUNDED) for name, part in wanted.items())
    if isinstance(found, float) and isinstance(wanted, float):
        if unit is not None:
            return abs(found - wanted) <= TOLERANCE * unit
        return math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=least)
    return bool(found == wanted)


def _answer(value: Any) -> Json:
    return _packed(value) if isinstance(value, np.ndarray) else value


def _alike(found: Values, wanted: Values) -> bool:
    """Maps differ in a few pixels on the edge between two answers, where another processor rounds otherwise."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if found.dtype.kind == "f":
        return bool(np.allclose(found, wanted, TOLERANCE, TOLERANCE))
    return float(np.mean(found != wanted)) <= TOLERANCE


_TOO_LARGE = object()


def _kept(value: Any, is_file: bool, root: Path | None) -> Any:
    """A path becomes the file's bytes, so that the example does not depend on where it was sealed."""
    if not is_file or not isinstance(value, str):
        return value
    path = (root or Path()) / value
    try:
        return path.read_bytes() if path.stat().st_size <= _LARGEST_FILE else _TOO_LARGE
    except OSError:
        return _TOO_LARGE


def _packed(value: Any) -> Json:
    if isinstance(value, np.generic) and value.dtype.kind != "M":
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, np.ndarray):
        target = io.BytesIO()
        np.save(target, value, allow_pickle=False)
        return {"array": base64.b64encode(target.getvalue()).decode("ascii")}
    if isinstance(value, list | tuple):
        return {"list": [_packed(part) for part in value]}
    return str(value)


def _unpacked(value: Json) -> Any:
    if not isinstance(value, dict):
        return value
    if "list" in value:
        return [_unpacked(part) for part in value["list"]]
    if "bytes" in value:
        return base64.b64decode(value["bytes"], validate=True)
    return _array(base64.b64decode(value["array"], validate=True))


def _array(content: bytes) -> Values:
    """An .npy array; its header may not promise more than there is."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an unknown version of .npy")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError("an array that is not of the size it declares")
    file.seek(0)
    return np.asarray(np.load(file, allow_pickle=False))


def _brief(value: Any) -> Json:
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    if isinstance(value, np.ndarray):
        return f"(array of {' x '.join(map(str, value.shape))})"
    return value if not isinstance(value, str) or len(value) <= 200 else value[:200] + "…"
