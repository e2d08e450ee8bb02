"""What the tasks without answers differ in: how they are checked, learned, tested and shown; one module each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lamina.data.schema import Json
from lamina.data.split import Split
from lamina.modalities import Feature
from lamina.steps.unlabelled import describe, detect, group
from lamina.steps.unlabelled.trained import Effort, Tested, Trained


class Question(Protocol):
    """One task's own part in steps 3 and 5."""

    def check(self, options: Mapping[str, Json], rows: int) -> None:
        """Raises InputError for options that no run could follow.

        Args:
            rows: training rows.
        """
        ...

    def method(self, features: Mapping[str, Feature]) -> str:
        """The method for such inputs, where the user names none."""
        ...

    def effort(self, options: Mapping[str, Json], parts: Split, judged: bool) -> Effort:
        """What `tested` takes.

        Args:
            judged: there are labels to judge by.
        """
        ...

    def tested(self, trained: Trained) -> Tested:
        """All that the fifth step finds out before the model is sealed."""
        ...


def question(task: str) -> Question:
    """The module of a task without answers."""
    questions: dict[str, Question] = {"anomaly": detect, "cluster": group, "embed": describe}
    return questions[task]
