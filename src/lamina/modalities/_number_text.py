"""Numbers as people write them: thousands separators, currency and percent signs, decimal commas."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lamina.data.schema import Json, Values
from lamina.modalities._canonical import MISSING, column, map_distinct

LARGEST = 1e300
"""Beyond this a number counts as infinite, so that differences of two numbers never overflow."""

_MISSING = MISSING | {"none", "-", "--", "–", "—", ".", "missing", "unknown"}
_SIGNS = "$€£¥₹%"
_CODES = ("USD", "EUR", "GBP", "CHF", "JPY")
_SPACES = "'’  \u202f "
_BODY = {
    ".": re.compile(rf"(?:[1-9][0-9]{{0,2}}(?:([,{_SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*)|[0-9]+)?(?:\.[0-9]*)?"),
    ",": re.compile(rf"(?:[1-9][0-9]{{0,2}}(?:([.{_SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*)|[0-9]+)?(?:,[0-9]*)?"),
}
_DRESSED = re.compile(rf"[0-9.,{_SPACES}\s()+\-\u2212{_SIGNS}e{''.join(_CODES)}]*", re.IGNORECASE)
"""What numbers with signs around them are written with: most texts that are none end at their first letter."""
_EXPONENT = re.compile(r"(.*[0-9.,])[eE]([+-]?[0-9]{1,4})")
_PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def number_of(value: Any, decimal: str = ".") -> float:
    """One value as a number; NaN where it is missing or cannot be read."""
    if isinstance(value, str):
        return _from_text(value.strip(), decimal)
    if value is None or isinstance(value, list | tuple | dict | set | np.ndarray | np.datetime64 | np.timedelta64):
        return math.nan
    if isinstance(value, np.float32 | np.float16):
        value = float(str(value))
    if isinstance(value, bool | np.bool_ | int | float | np.integer | np.floating):
        try:
            number = float(value)
        except OverflowError:
            return math.nan
        return number if abs(number) <= LARGEST else math.nan
    if isinstance(value, bytes | bytearray):
        return _from_text(bytes(value).decode("utf-8", errors="replace").strip(), decimal)
    return _from_text(str(value), decimal)  # decimal.Decimal, fractions of other libraries


def _from_text(text: str, decimal: str) -> float:
    if decimal == "." and _PLAIN.fullmatch(text):
        number = float(text)
        return number if abs(number) <= LARGEST else math.nan
    lower = text.casefold()
    if lower in ("true", "false"):
        return 1.0 if lower == "true" else 0.0
    if lower in _MISSING:
        return math.nan
    return _from_decorated(text, decimal)


def _from_decorated(text: str, decimal: str) -> float:
    """A number with signs around it: "(1,200)", "-$5", "12 %", "1.2e3 EUR"."""
    if not _DRESSED.fullmatch(text):
        return math.nan
    sign, body, exponent = _undressed(text)
    match = _BODY[decimal].fullmatch(body)
    if not match or not any(letter.isdigit() for letter in body):
        return math.nan
    if match[1]:
        body = body.replace(match[1], "")
    number = sign * float(f"{body.replace(',', '.')}e{exponent}")
    return number if abs(number) <= LARGEST else math.nan


def _undressed(text: str) -> tuple[float, str, str]:
    """Sign, digits with their separators, and exponent of a number with signs around it; no digits after two signs.

    >>> _undressed("(1.234,50 EUR)")
    (-1.0, '1.234,50', '0')
    """
    sign = 1.0
    if text.startswith("(") and text.endswith(")"):
        sign, text = -1.0, text[1:-1].strip()
    text = text.replace("\u2212", "-")
    for _ in range(2):  # the sign may stand before or after the currency
        if text[:1] in "+-" and text:
            sign, text = (-sign if text[0] == "-" else sign), text[1:].lstrip()
            if text[:1] in "+-":
                return sign, "", "0"
        text = _without_unit(text)
    exponent = _EXPONENT.fullmatch(text)
    return (sign, exponent[1], exponent[2]) if exponent else (sign, text, "0")


def _without_unit(text: str) -> str:
    for unit in _CODES:
        if text[:3].upper() == unit:
            return text[3:].lstrip()
        if text[-3:].upper() == unit:
            return text[:-3].rstrip()
    if text[:1] and text[0] in _SIGNS:
        return text[1:].lstrip()
    return text[:-1].rstrip() if text[-1:] and text[-1] in _SIGNS else text


def problem_of(value: Any) -> str | None:
    """Why `number_of` gave NaN: None where the value is simply missing."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return None
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else f"cannot read the date {value} as a number"
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", errors="replace")
    if isinstance(value, int | float | np.integer | np.floating):
        return "the number is infinite or beyond 1e300"
    text = str(value).strip()
    if text.casefold() in _MISSING:
        return None
    if text.casefold().lstrip("+-") in ("inf", "infinity") or _PLAIN.fullmatch(text):
        return "the number is infinite or beyond 1e300"
    return f"cannot read {text if len(text) <= 40 else text[:40] + '…'!r} as a number"


def read_numbers(values: Values, decimal: str = ".") -> tuple[np.ndarray[Any, Any], dict[int, str]]:
    """(float64 [row] with NaN where there is no number, the reason by row where there was a value)."""
    array = column(values)
    if array.dtype.kind in "iub":
        return array.astype(np.float64), {}
    plain = _plain(array, decimal)
    if plain is None:
        numbers = map_distinct(array, lambda value: number_of(value, decimal), np.float64)
    else:
        numbers = plain
        numbers[~(np.abs(numbers) <= LARGEST)] = np.nan
    # -0.0, which equals 0.0, is made 0.0: else it would depend on which of them comes first in the column.
    numbers += 0.0
    empty = np.flatnonzero(np.isnan(numbers))
    reasons = map_distinct(array[empty], problem_of)
    return numbers, {int(row): reason for row, reason in zip(empty, reasons, strict=True) if reason}


def parse_plain(texts: list[str]) -> np.ndarray[Any, Any] | None:
    """float64 of plain decimal texts ("nan" and the like are gaps); None if any of them is something else."""
    if not all(_PLAIN.fullmatch(text) or text.casefold() in _MISSING for text in texts):
        return None
    return np.array([number_of(text) for text in texts])


def _plain(array: Values, decimal: str) -> np.ndarray[Any, Any] | None:
    """The fast way, for columns that are typed or hold nothing but plain texts such as "-1.5e3"; else None."""
    if array.dtype.kind == "f" and array.dtype.itemsize >= 8:
        return array.astype(np.float64)
    if array.dtype.kind != "O" or decimal != ".":
        return None
    items = array.tolist()
    if not set(map(type, items)) <= {str, type(None)}:
        return None
    letters = "".join(filter(None, items))
    if "_" in letters or not letters.isascii():  # float() would read these, people do not
        return None
    try:
        return array.astype(np.float64)
    except ValueError:
        return None


def decimal_in(options: Mapping[str, Json], chunks: Iterable[Values]) -> str:
    """The decimal sign that a field's options say, or that of the column."""
    said = options.get("decimal")
    return str(said) if said in _BODY else decimal_of(chunks)


def decimal_of(chunks: Iterable[Values]) -> str:
    """The decimal sign of a column: "," only where some value can mean nothing else and none speaks for a point.

    "1,5", "0,123" and "1.234,5" can only have a decimal comma; "1,234" may be a thousand.
    """
    comma = False
    for values in chunks:
        array = column(values)
        if array.dtype.kind != "O":
            continue
        for item in {item for item in array.tolist() if type(item) is str}:
            if ("," not in item and "." not in item) or not _DRESSED.fullmatch(item):
                continue
            text = _undressed(item.strip())[1]
            if not any(letter.isdigit() for letter in text):  # "." stands for a missing value
                continue
            as_point = _BODY["."].fullmatch(text)
            as_comma = _BODY[","].fullmatch(text)
            comma = comma or bool(as_comma and not as_point)
            if as_point and not as_comma:
                return "."
    return "," if comma else "."
