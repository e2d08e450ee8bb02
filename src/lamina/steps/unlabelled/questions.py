"""What the tasks without answers differ in: how they are checked, learned, tested and shown; one module each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lamina.data.schema import Json
from lamina.modalities import Feature
from lamina.steps.unlabelled import describe, detect, group
from lamina.steps.unlabelled.trained import Tested, Trained


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

    def seconds(self, options: Mapping[str, Json], rows: int) -> float:
        """What testing takes beyond the network's answers and the share of a budget that is kept back anyway."""
        ...

    def tested(self, trained: Trained) -> Tested:
        """All that the fifth step finds out before the model is sealed."""
        ...


def question(task: str) -> Question:
    """The module of a task without answers."""
    questions: dict[str, Question] = {"anomaly": detect, "cluster": group, "embed": describe}
    return questions[task]
