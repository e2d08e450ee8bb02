"""Which task a target asks for."""

from __future__ import annotations

from collections.abc import Mapping

from lamina.data.schema import Field, Json
from lamina.errors import InputError, nearest
from lamina.registry import module, names


def task_for(field: Field, description: Mapping[str, Json], asked: str = "") -> tuple[str, str]:
    """The task's name for a target, and why: the one asked for, or the one that suits best.

    Args:
        field: the target.
        description: what its modality's `describe` said, e.g. {"distinct": 2, ...}.
        asked: the user's `--task`, or "". "classify" for a set of labels leads to "tag".

    Raises:
        InputError: there is no such task, or none suits.
    """
    if asked:
        if asked not in names("tasks"):
            raise InputError(f"There is no task called {asked!r}.", fix=nearest(asked, names("tasks")))
        if asked == "classify" and field.modality == "set":
            return "tag", "classifying a set of labels is tagging: every label is a yes or no"
        return asked, "asked for"
    found = {name: module("tasks", name).suits(field, description) for name in names("tasks")}
    suited = {name: recognition for name, recognition in found.items() if recognition is not None}
    if not suited:
        raise InputError(
            f"No task suits the target {field.name!r}, which is of modality {field.modality!r}.",
            fix=f"Choose another target, or say what it is: --set schema.{field.name}.modality=category",
        )
    best = max(sorted(suited), key=lambda name: suited[name].confidence)
    return best, suited[best].reason
