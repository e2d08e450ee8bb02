"""The task "control": from a policy's outputs to what the environment takes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from lamina.environments import Actions, is_environment
from lamina.errors import LaminaError
from lamina.model import parity
from lamina.tasks.control import Task

CHOICES = Actions("discrete", 3, start=5)
NUMBERS = Actions("continuous", 2, low=(-2.0, 0.0), high=(2.0, 1.0))
OPEN = Actions("continuous", 1, low=(-math.inf,), high=(math.inf,))


def test_a_discrete_action_is_the_highest_output_in_the_environments_own_count() -> None:
    answers = Task("action", CHOICES).decode(np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]], np.float32))
    assert answers[""].tolist() == [6, 5]
    assert list(answers) == ["", ".p.5", ".p.6", ".p.7"]
    np.testing.assert_allclose(sum(answers[f".p.{number}"] for number in (5, 6, 7)), 1)
    assert answers[".p.6"][0] == pytest.approx(math.exp(2) / (1 + math.exp(2) + math.exp(1)))


def test_values_of_actions_are_told_as_they_are() -> None:
    answers = Task("action", CHOICES, means="values").decode(np.array([[-4.0, 2.5, 1.0]]))
    assert answers[".value.6"].tolist() == [2.5]


def test_continuous_actions_are_scaled_to_their_bounds_and_clipped() -> None:
    answers = Task("action", NUMBERS).decode(np.array([[0.0, 0.0], [1.0, -1.0], [7.0, -9.0]], np.float32))
    assert answers[""].tolist() == [[0.0, 0.5], [2.0, 0.0], [2.0, 0.0]]
    assert answers[".1"].tolist() == [0.5, 0.0, 0.0]
    assert Task("action", OPEN).decode(np.array([[123.0]]))[""].tolist() == [123.0]


def test_squashing_is_part_of_the_exported_graph() -> None:
    output = torch.tensor([[[0.5, -2.0]]])
    np.testing.assert_allclose(Task("action", NUMBERS, squashes=True).combine(output), torch.tanh(output[:, 0]))
    np.testing.assert_allclose(Task("action", NUMBERS).combine(output), output[:, 0])


@pytest.mark.parametrize("actions", [CHOICES, NUMBERS, OPEN])
def test_its_state_is_strict_json(actions: Actions) -> None:
    task = Task("action", actions, "values", squashes=True)
    assert Task.restore(json.loads(json.dumps(task.state(), allow_nan=False))) == task


@pytest.mark.parametrize(
    "change", [{"means": "dreams"}, {"actions": {"kind": "quantum", "size": 1, "start": 0, "low": [], "high": []}}]
)
def test_a_damaged_state_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError)):
        Task.restore({**Task("action", CHOICES).state(), **change})


def test_a_sealed_policy_that_acts_otherwise_is_not_sealed() -> None:
    task, outputs = Task("action", CHOICES), np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert parity.compare({"action": outputs}, {"action": outputs + 1e-6}, {"action": task}).same_answers == 1
    with pytest.raises(LaminaError, match="differs"):
        parity.compare({"action": outputs}, {"action": outputs[:, ::-1].copy()}, {"action": task})


def test_what_names_an_environment() -> None:
    assert is_environment("gym:CartPole-v1")
    assert is_environment("my_package.worlds:make")
    for data in ("photos/", "loans.csv", "https://example.com/a.csv", "s3://bucket/x", "C:\\data\\x.csv", "gym:", 3):
        assert not is_environment(data)
