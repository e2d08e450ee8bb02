"""What is it in the other language? The answer is a text for each text; learned from pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from lamina.data.schema import Field, Json
from lamina.modalities import Recognition
from lamina.tasks._options import check_names
from lamina.tasks._written import OPTIONS, TextAnswer, check_search

WAY = "written"
"""All five steps are in `lamina/steps/written/`: the rows are read in a way of their own."""


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """A column of texts is more often a reason than an answer: the task has to be asked for."""
    return None


def check_options(options: Mapping[str, Json], target: str) -> None:
    """Raises InputError for an unknown option, or one that is of the wrong kind or out of range."""
    check_names(options, OPTIONS, target)
    check_search(options, target)


@dataclass(frozen=True)
class Task(TextAnswer):
    """A text for each text."""

    task: ClassVar[str] = "translate"
    reads: ClassVar[str] = "text"
