"""Columns that are not for learning from: splits, folds, row weights, identifiers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lamina.data.schema import Values
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import decimal_of, read_numbers

CONSTANT = "the same value in every row"
EMPTY = "no value in any row"
IDENTIFIER = "an identifier"
"""Beginnings of the reasons for leaving a column out; the audit counts by them."""

_ID_NAME = re.compile(
    r"(?:^|[_\-. ])(?:id|ids|uuid|guid|idx|index|rowid|row|rownum|rownames|hash|md5|sha1|sha256|checksum|serial|pk)$"
    r"|^unnamed: ?\d+$|^(?:row|record|case|obs|observation)[_\-. ]?(?:no|nr|num|number)$",
    re.IGNORECASE,
)
_CAMEL_ID = re.compile(r"[a-z0-9]I[dD]$|^I[dD]$")
_SPLIT_NAME = re.compile(r"^(?:split|fold|subset|partition|dataset_split|data_split|set_type|usage)$", re.IGNORECASE)
_WEIGHT_NAME = re.compile(r"^(?:sample|row|case|instance|survey)[_\-. ]?weights?$", re.IGNORECASE)
_TIME_NAME = re.compile(r"year|month|week|day|date|time|hour|minute|second|step|epoch|period|age", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_HEX = re.compile(r"(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,128}")
_INTEGER = re.compile(r"-?[0-9]+")

_PARTS = {
    **dict.fromkeys(("train", "training", "tr", "fit", "learn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "develop", "development", "tune"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "te", "holdout", "hold-out", "held-out", "heldout"), "test"),
}
_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})
FEWEST = 10
"""Fewer rows than this say nothing about whether values repeat."""


def is_id_name(name: str) -> bool:
    """Whether a column's name is an identifier's: id, user_id, PassengerId, uuid, ..."""
    return bool(_ID_NAME.search(name) or _CAMEL_ID.search(name))


def parts_of(name: str, values: Values) -> list[str | None]:
    """ "train", "validation" or "test" for each value; None where it is missing; the text itself where unknown.

    Yes and no (1 and 0) are understood under a name such as is_test or in_training.
    """
    flags = _flags(name)
    return [None if text is None else {**_PARTS, **flags}.get(text.casefold(), text) for text in canonical(values)]


def _flags(name: str) -> dict[str, str]:
    lower = name.casefold()
    if "test" in lower or "holdout" in lower:
        yes, no = "test", "train"
    elif "valid" in lower:
        yes, no = "validation", "train"
    elif "train" in lower:
        yes, no = "train", "test"
    else:
        return {}
    return {**dict.fromkeys(_YES, yes), **dict.fromkeys(_NO, no)}


def split_reason(name: str, values: Values) -> str:
    """Why this column says which part a row belongs to; "" if it does not."""
    if not _SPLIT_NAME.search(name):
        return ""
    found = set(parts_of(name, values)) - {None}
    if not found or not found <= set(_PARTS.values()):
        return ""
    order = [part for part in ("train", "validation", "test") if part in found]
    return f"says which part a row belongs to ({', '.join(order)})"


def fold_reason(name: str, texts: Values) -> str:
    """Why this column only numbers the folds of a cross-validation; "" if it does not."""
    present = {text for text in texts if text is not None}
    folds = len(present) <= 20 and all(_INTEGER.fullmatch(text) for text in present)
    if re.fullmatch(r"(?:k_?)?folds?", name, re.IGNORECASE) and folds:
        return "numbers of cross-validation folds say nothing about the row"
    return ""


def is_weight(name: str, texts: Values) -> bool:
    """Whether numbers under this name are weights of rows: sample_weight, instance_weight, ..."""
    numbers, errors = read_numbers(texts, decimal_of([texts]))
    found = numbers[~np.isnan(numbers)]
    return bool(_WEIGHT_NAME.search(name) and not errors and len(found) and (found >= 0).all())


def is_whole(texts: Values) -> bool:
    """Whether every value present is a whole number."""
    return all(text is None or _INTEGER.fullmatch(text) for text in texts)


def identifier_reason(name: str, texts: Values, rows: np.ndarray[Any, Any]) -> str:
    """Why this column only names the row; "" if it may say something about it.

    Every value is different, and that is more than chance: the name says so, the numbers count the rows, or the
    texts are all UUIDs, hashes or of one shape ("A-00017").

    Args:
        texts: canonical texts of a sample.
        rows: the row numbers of the sample.
    """
    present = [text for text in texts if text is not None]
    if len(present) < FEWEST or len(set(present)) < 0.999 * len(present):
        return ""
    unique = f"{IDENTIFIER}: every value is different"
    if is_whole(texts):
        if is_id_name(name):
            return f"{unique}, and the name says so"
        counts = not _TIME_NAME.search(name) and _count_rows(texts, rows)
        return f"{unique}, and they count the rows" if counts else ""
    if _all_numbers(present) or any(len(text.split(maxsplit=1)) > 1 for text in present):
        return ""
    if is_id_name(name):
        return f"{unique}, and the name says so"
    if all(_UUID.fullmatch(text) for text in present):
        return f"{unique}, and all are UUIDs"
    if all(_HEX.fullmatch(text) for text in present) and len({len(text) for text in present}) == 1:
        return f"{unique}, and all are hashes"
    shapes = {_shape(text) for text in present}
    if len(shapes) == 1 and "9" in next(iter(shapes)) and max(map(len, present)) <= 64:
        return f"{unique}, and all are like {present[0]!r}"
    return ""


def _count_rows(texts: Values, rows: np.ndarray[Any, Any]) -> bool:
    if any(text is None for text in texts):
        return False
    return len({int(text) - int(row) for text, row in zip(texts, rows, strict=True)}) == 1


def _all_numbers(present: list[str]) -> bool:
    values = np.empty(len(present), dtype=object)
    values[:] = present
    return not read_numbers(values, decimal_of([values]))[1]


def _shape(text: str) -> str:
    """Letters as a, digits as 9, runs shortened: "A-00017" gives "a-9"."""
    return re.sub(r"[0-9]+", "9", re.sub(r"[^\W\d_]+", "a", text))
