"""Checks a task's options: an unknown name or value is answered with the known ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamina.data.schema import Json
from lamina.errors import InputError, nearest


def check_names(options: Mapping[str, Json], known: Sequence[str], target: str) -> None:
    """Raises InputError if an option's name is not among `known`."""
    for name in options:
        if name not in known:
            raise InputError(
                f"The task of target {target!r} has no option {name!r}.",
                where=f"task.{target}.options",
                fix=nearest(name, known),
            )


def choice(options: Mapping[str, Json], name: str, known: Sequence[str], default: str, target: str) -> str:
    """The option's value, one of `known`.

    Raises:
        InputError: another value.
    """
    value = options.get(name, default)
    if value not in known:
        raise InputError(
            f"Option {name!r} of target {target!r} is {value!r}.",
            where=f"task.{target}.options.{name}",
            fix=nearest(str(value), known),
        )
    return str(value)
