"""What the first steps leave for the last one: the budget counts all five."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lamina.data.schema import Field, Schema
from lamina.steps.explanations import ROWS, answers_asked
from lamina.steps.finish import Course
from lamina.steps.pace import SEALING_SECONDS, TEST_SHARE, available


def _schema(*modalities: str) -> Schema:
    fields = [Field(f"x{number}", modality, role="input") for number, modality in enumerate(modalities)]
    return Schema((*fields, Field("y", "category", role="target")))


def test_no_budget_is_no_limit() -> None:
    assert available(0.0, 100.0) == 0.0


def test_slow_answers_shorten_training_by_what_they_take() -> None:
    quick, slow = available(600, 100, 1.0), available(600, 100, 130.0)
    assert quick == 600 - 100 - SEALING_SECONDS - TEST_SHARE * 600
    assert slow == 600 - 100 - SEALING_SECONDS - 130


def test_a_baseline_is_compared_with_the_training_alone() -> None:
    clock: Any = SimpleNamespace(seconds={"understand": 5.0, "prepare": 9.0, "choose": 2.0, "train": 10.0})
    nothing: Any = None
    assert Course(nothing, nothing, nothing, nothing, nothing, clock, nothing).seconds == 10.0


def test_something_is_always_left_for_training() -> None:
    assert available(60, 50, 500.0) == 2.0
    assert available(60, 70, 0.0) == 1.0


def test_answers_asked_grow_with_rows_until_the_sample_and_with_fields() -> None:
    one, table, pace = _schema("image"), _schema("number", "number", "number"), 1e6
    assert answers_asked(one, 10, pace) == answers_asked(one, 10_000, pace)
    assert answers_asked(table, 10, pace) < answers_asked(table, 500, pace) < answers_asked(table, ROWS, pace)
    assert answers_asked(table, ROWS, pace) == answers_asked(table, 100 * ROWS, pace)
    assert answers_asked(_schema("number", "number"), ROWS, pace) < answers_asked(table, ROWS, pace)


def test_a_slow_model_is_asked_less() -> None:
    table = _schema("number", "text")
    quick, slow, slowest = (answers_asked(table, 10 * ROWS, pace) for pace in (1e6, 100.0, 1.0))
    assert quick > slow > slowest
    # The fewest rows are asked whatever they cost: with less, no importance can be told.
    assert slowest == answers_asked(table, 10 * ROWS, 0.1)
