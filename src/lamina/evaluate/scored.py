"""What `lamina test` tells of a sealed model: how much was scored, how much could not be, and the scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lamina.errors import InputError, nearest
from lamina.evaluate.results import Fairness, Interval, to_json

ROWS = "rows"


@dataclass(frozen=True)
class Scored:
    """Scores of a sealed model.

    Attributes:
        rows: how many `unit`.
        errors: how many `error_unit` could not be scored; where both are the same, they are among the rows.
        targets: scores by target and name.
        unit, error_unit: what is counted.
        given: how many `unit` there were, where only the first ones were scored; else 0.
        notes: sentences on what the scores mean.
        fairness: by target, the figures by groups of columns that were asked for.
    """

    rows: int
    errors: int
    targets: Mapping[str, Mapping[str, Interval]]
    unit: str = ROWS
    error_unit: str = ROWS
    given: int = 0
    notes: tuple[str, ...] = ()
    fairness: Mapping[str, tuple[Fairness, ...]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """{"rows", "errors", "counted": {"rows", "errors"}, "targets": {target: {score: {"value", "low", ...}}}}."""
        return {
            "rows": self.rows,
            "errors": self.errors,
            "counted": {"rows": self.unit, "errors": self.error_unit},
            **({"given": self.given} if self.given else {}),
            **({"fairness": to_json(self.fairness)} if self.fairness else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            "targets": {
                target: {name: asdict(score) for name, score in scores.items()}
                for target, scores in self.targets.items()
            },
        }


def check_columns(wanted: tuple[str, ...], columns: tuple[str, ...], where: str) -> None:
    """Raise InputError for the first wanted column that the data does not have."""
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise InputError(
            f"The data has no column {missing[0]!r}.",
            where=where,
            fix=f"Scoring needs the inputs and the targets. {nearest(missing[0], columns)}",
        )
