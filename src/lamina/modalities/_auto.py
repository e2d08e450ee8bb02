"""Options whose default is found from the data ("auto"), checked."""

from __future__ import annotations

from collections.abc import Mapping

from lamina.data.schema import Json
from lamina.errors import InputError
from lamina.modalities._options import read_options


def settings(modality: str, options: Mapping[str, Json], defaults: Mapping[str, Json]) -> dict[str, Json]:
    """`defaults` with the field's options over them.

    Raises:
        InputError: an option that is not among the defaults; the error names the nearest.
    """
    read_options(modality, options, dict.fromkeys(defaults))
    return {**defaults, **options}


def within(modality: str, name: str, value: Json, low: float, high: float) -> float:
    """`value` as a number from `low` to `high`.

    Raises:
        InputError: it is none, or outside.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
    if not low <= number <= high:
        raise InputError(
            f"The option {name!r} of the modality {modality!r} is {value!r}.",
            fix=f"Give a number from {low:g} to {high:g}.",
        )
    return number


def whole(modality: str, name: str, value: Json, low: int, high: int) -> int:
    """`value` as a whole number from `low` to `high`.

    Raises:
        InputError: it is none, or outside.
    """
    number = within(modality, name, value, low, high)
    if number != int(number):
        raise InputError(
            f"The option {name!r} of the modality {modality!r} is {value!r}.",
            fix=f"Give a whole number from {low} to {high}.",
        )
    return int(number)
