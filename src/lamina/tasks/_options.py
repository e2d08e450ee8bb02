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


def check_judge(options: Mapping[str, Json]) -> None:
    """Raises InputError if "judge", the steps in which a classifier learns to judge, is no number of steps."""
    steps = options.get("judge", 1)
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise InputError(
            f"The steps of the classifier that judges are {steps!r}.",
            where="task.options.judge",
            fix="Give a whole number of at least 1, e.g. 500.",
        )
