"""An encoder's options: known names only, with values of the right type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.data.schema import Json
from lamina.errors import InputError, nearest


def read_options(modality: str, options: Mapping[str, Json], defaults: Mapping[str, Json]) -> dict[str, Any]:
    """`defaults` overridden by `options`. A default of None takes any value; 0.0 takes whole numbers too.

    Raises:
        InputError: an unknown option (with the nearest known one), or a value of another type than its default.
    """
    for name, value in options.items():
        if name not in defaults:
            raise InputError(f"The modality {modality!r} has no option {name!r}.", fix=nearest(name, defaults))
        default = defaults[name]
        wanted: tuple[type, ...] = (int, float) if isinstance(default, float) else (type(default),)
        wrong_boolean = isinstance(value, bool) and not isinstance(default, bool)
        if default is not None and (wrong_boolean or not isinstance(value, wanted)):
            kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[wanted[-1]]
            raise InputError(f"The option {name!r} of the modality {modality!r} is {value!r}.", fix=f"Give {kind}.")
    return {**defaults, **options}


def choice(modality: str, name: str, value: str, known: tuple[str, ...]) -> str:
    """`value`, if it is one of `known`.

    Raises:
        InputError: it is not; the error names the nearest.
    """
    if value not in known:
        raise InputError(
            f"The option {name!r} of the modality {modality!r} is {value!r}.", fix=nearest(str(value), known)
        )
    return value


def positive(modality: str, name: str, value: float, least: float = 1) -> float:
    """`value`, if it is at least `least`.

    Raises:
        InputError: it is smaller.
    """
    if not value >= least:
        raise InputError(f"The option {name!r} of the modality {modality!r} is {value}.", fix=f"Give at least {least}.")
    return value
