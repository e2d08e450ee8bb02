"""One text for one value, however it arrived: typed (Parquet, data frames) or as text (CSV)."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

import numpy as np

from lamina.data.schema import Values

MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "?"})
"""Spellings (case-folded) that mean "no value" in any column. "none" and "-" are not among them: they
are real levels of many categories ("alarm: none", "strand: -")."""

_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_INSTANT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?)?")

_EASY = frozenset({str, type(None), int, float, bytes})
"""Types whose equality as dictionary keys is the equality of what they mean (bool is not: True == 1)."""


class _Memo(dict[Any, Any]):
    """A dictionary that computes what it does not yet know."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def __missing__(self, key: Any) -> Any:
        result = self[key] = self.function(key)
        return result


def column(values: Values) -> Values:
    """Any raw values as one column: 1-D, dtype float, int, bool, datetime64 or object (rows of a 2-D array: lists)."""
    array = values if isinstance(values, np.ndarray) else object_array(values)
    if array.ndim > 1:
        return object_array(array.tolist())
    if array.ndim == 0:
        array = array.reshape(1)
    return array.astype(object) if array.dtype.kind in "US" else array


def object_array(items: Iterable[Any]) -> Values:
    """A 1-D object array of `items`, also where they are lists of one length."""
    items = list(items)
    array = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        array[row] = item
    return array


def map_distinct(values: Values, function: Callable[[Any], Any], dtype: Any = object) -> np.ndarray[Any, Any]:
    """`function` of every value, [row] of `dtype`, computed once for each distinct value."""
    array = column(values)
    if array.dtype.kind != "O":
        distinct, inverse = np.unique(array, return_inverse=True)
        typed = array.dtype.kind in "mM" or (array.dtype.kind == "f" and array.dtype.itemsize < 8)
        items = distinct if typed else distinct.tolist()  # 0.1 as float32 must not become 0.10000000149
        return np.fromiter((function(item) for item in items), dtype=dtype, count=len(distinct))[inverse]
    items = array.tolist()
    memo = _Memo(function)
    if set(map(type, items)) <= _EASY:
        return np.fromiter(map(memo.__getitem__, items), dtype=dtype, count=len(items))
    results = (memo[item] if type(item) is str else function(item) for item in items)
    return np.fromiter(results, dtype=dtype, count=len(items))


def canonical(values: Values) -> Values:
    """The canonical text of each value, object [row] of str or None (missing).

    3, 3.0, "3", " 3 " and "3.0" give "3"; True, "True" and "TRUE" give "true"; 2020-01-31 gives the same text
    as a date and as text. Numbers with leading zeros ("007") are codes and stay as they are; so does letter case.
    """
    return map_distinct(values, canonical_value)


def canonical_value(value: Any) -> str | None:
    """The canonical text of one value; None if it is missing."""
    if value is None or isinstance(value, str):
        return None if value is None else _canonical_text(value)
    if isinstance(value, np.timedelta64):  # to NumPy an integer
        return _canonical_text(str(value))
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return _integer_text(int(value))
    if isinstance(value, np.float32 | np.float16):
        return _float_text(float(str(value)))
    if isinstance(value, float | np.floating):
        return _float_text(float(value))
    if isinstance(value, bytes | bytearray):
        return _canonical_text(bytes(value).decode("utf-8", errors="replace"))
    if isinstance(value, date):
        return _canonical_text(value.isoformat())
    if isinstance(value, list | tuple | np.ndarray | set | frozenset):
        if isinstance(value, set | frozenset):
            parts = sorted(map(str, value))
        else:
            parts = value.tolist() if isinstance(value, np.ndarray) else list(value)
        return json.dumps(parts, default=str, ensure_ascii=False)
    return _canonical_text(str(value))


def _canonical_text(text: str) -> str | None:
    text = unicodedata.normalize("NFC", text).strip()
    lower = text.casefold()
    if lower in MISSING:
        return None
    if lower in ("true", "false"):
        return lower
    if text[0] not in "-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return "0" if text == "-0" else text
    if _NUMBER.fullmatch(text):
        number = float(text)
        return text if np.isinf(number) else _float_text(number)
    instant = _INSTANT.fullmatch(text)
    return _instant_text(*instant.groups()) if instant else text


def _instant_text(day: str, minute: str | None, second: str | None, fraction: str | None) -> str:
    """ISO text without the parts that say nothing: midnight, and zeros after the decimal point."""
    fraction = (fraction or "").rstrip("0")
    second = second or "00"
    if not fraction and second == "00" and minute in (None, "00:00"):
        return day
    return f"{day}T{minute}:{second}" + (f".{fraction}" if fraction else "")


def _integer_text(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # Python refuses to print integers of thousands of digits.
        return hex(number)


def _float_text(number: float) -> str | None:
    if np.isnan(number):
        return None
    if abs(number) < 1e21 and number == int(number):
        return str(int(number))
    return repr(number)
