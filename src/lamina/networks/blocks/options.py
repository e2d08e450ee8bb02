"""Options of a network family: a frozen dataclass whose numbers know their range."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any, Literal

from lamina.errors import InputError, nearest


def whole(default: int, least: int = 1) -> int:
    """A whole-number option of at least `least`."""
    return dataclasses.field(default=default, metadata={"least": least})


def share(default: float) -> float:
    """An option from 0 to below 1, such as a dropout chance."""
    return dataclasses.field(default=default, metadata={"least": 0.0, "below": 1.0})


def positive(default: float) -> float:
    """An option above 0."""
    return dataclasses.field(default=default, metadata={"above": 0.0})


def read_options(kind: type[Any], given: Mapping[str, Any], where: str) -> Any:
    """`kind(**given)` with names, types and ranges checked.

    Args:
        kind: a dataclass of int, float, bool, str and Literal fields with defaults.
        given: values by name, as TOML has them.
        where: the dotted place of the options, for errors.

    Raises:
        InputError: an unknown name (with the nearest known one), a value of the wrong type or out of range.
    """
    fields = {item.name: item for item in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in given:
        if name not in fields:
            raise InputError(f"There is no option {name!r}.", where=where, fix=nearest(name, fields))
    values = {
        name: _checked(value, hints[name], fields[name].metadata, f"{where}.{name}") for name, value in given.items()
    }
    return kind(**values)


def _checked(value: Any, kind: Any, limits: Mapping[str, float], where: str) -> Any:
    def wrong(wanted: str) -> InputError:
        return InputError(f"{where.rpartition('.')[2]} is {value!r}.", where=where, fix=f"It must be {wanted}.")

    if typing.get_origin(kind) is Literal:
        if value not in typing.get_args(kind):
            raise wrong("one of " + ", ".join(map(str, typing.get_args(kind))))
        return value
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise wrong({int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind])
    if kind is float and not math.isfinite(value):
        raise wrong("a finite number")
    if "least" in limits and value < limits["least"]:
        raise wrong(f"at least {limits['least']}")
    if "above" in limits and value <= limits["above"]:
        raise wrong(f"above {limits['above']}")
    if "below" in limits and value >= limits["below"]:
        raise wrong(f"below {limits['below']}")
    return value
