"""What every task keeps, over every task in the folder."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from lamina import registry
from lamina.data.schema import Field, Values
from lamina.errors import InputError
from lamina.tasks import Task

Array = np.ndarray[Any, Any]


def column(*values: Any) -> Values:
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array


SAMPLES: dict[str, tuple[str, Values]] = {
    "classify": ("category", column(*["no", "yes", "perhaps"] * 20)),
    "regress": ("number", column(*[str(value) for value in np.linspace(3, 80, 60).round(2)])),
    "tag": ("set", column(*["red|blue", "blue", "green|red", "green"] * 15)),
}
"""A target for each task: its modality, and values."""

NAMES = tuple(
    name
    for name in registry.names("tasks")
    if hasattr(task := registry.module("tasks", name).Task, "loss") and not hasattr(task, "layout")
)
"""Tasks whose answers are vectors for what is in a column; the others have tests of their own."""
OTHERS = {
    *("anomaly", "cluster", "control", "embed", "few_shot", "forecast", "generate", "recommend", "restore", "segment"),
    *("caption", "detect", "restyle", "transcribe", "translate", "write"),
}


def test_every_task_has_a_sample() -> None:
    assert set(NAMES) == set(SAMPLES)
    assert set(registry.names("tasks")) == {*NAMES, *OTHERS}


def fitted(name: str, values: Values | None = None) -> Task:
    modality, sample = SAMPLES[name]
    chosen = sample if values is None else values
    task: Task = registry.module("tasks", name).Task.fit(
        Field("what", modality, role="target"), lambda: [chosen[:13], chosen[13:]], {}
    )
    return task


def encoded(task: Task) -> Array:
    return task.encode(SAMPLES[task.task][1]).array


def learned(task: Task, target: Array, steps: int = 150) -> torch.Tensor:
    """Outputs [row, 2 members, width] that gradient descent on the task's loss finds."""
    output = torch.zeros(len(target), 2, task.width, requires_grad=True)
    optimizer = torch.optim.Adam([output], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        task.loss(output, torch.from_numpy(target), {}).sum().backward()
        optimizer.step()
    return output.detach()


@pytest.mark.parametrize("name", NAMES)
def test_it_suits_its_own_modality_and_no_other(name: str) -> None:
    for other in NAMES:
        field = Field("what", SAMPLES[other][0], role="target")
        description = registry.module("modalities", field.modality).describe(SAMPLES[other][1])
        recognition = registry.module("tasks", name).suits(field, description)
        assert (recognition is not None) == (name == other)
        if recognition is not None:
            assert 0 < recognition.confidence <= 1
            assert recognition.reason


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_one_finite_number_a_row_and_descends_to_right_answers(name: str) -> None:
    task = fitted(name)
    target = encoded(task)
    start = task.loss(torch.zeros(len(target), 2, task.width), torch.from_numpy(target), {})
    assert start.shape == (len(target),)
    assert torch.isfinite(start).all()
    output = task.combine(learned(task, target)).numpy()
    assert output.shape == (len(target), task.width)
    answers = task.decode(output)
    again = task.encode(answers[""])
    assert not again.errors
    np.testing.assert_allclose(again.array, target, atol=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_output(name: str) -> None:
    task = fitted(name)
    output = torch.randn(60, 3, task.width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    task.loss(output, torch.from_numpy(encoded(task)), {}).sum().backward()
    assert output.grad is not None
    assert (output.grad != 0).flatten(0, 1).any(dim=0).all()
    assert torch.isfinite(output.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_one_member_answers_for_itself_and_equal_members_alike(name: str) -> None:
    task = fitted(name)
    one = torch.randn(7, 1, task.width, generator=torch.Generator().manual_seed(0))
    alone = task.decode(task.combine(one).numpy())
    three = task.decode(task.combine(one.expand(7, 3, task.width)).numpy())
    assert list(alone) == list(three)
    for suffix, values in alone.items():
        if values.dtype == object:
            assert values.tolist() == three[suffix].tolist()
        else:
            np.testing.assert_allclose(values, three[suffix], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_primary_score_comes_first_and_prefers_right_answers(name: str) -> None:
    task = fitted(name)
    target = encoded(task)
    right = task.combine(learned(task, target)).numpy()
    wrong = np.roll(right, 1, axis=0)
    good, bad = task.scores(right, target), task.scores(wrong, target)
    assert list(good) == list(bad)
    for score in good:
        first, second = good[score].value, bad[score].value
        assert first > second if good[score].higher_is_better else first < second, score
    assert task.row_losses(wrong, target).mean() > task.row_losses(right, target).mean()
    assert task.row_losses(wrong, target).shape == (len(target),)


@pytest.mark.parametrize("name", NAMES)
def test_the_scorer_agrees_with_the_scores(name: str) -> None:
    task = fitted(name)
    target = encoded(task)
    output = np.random.default_rng(0).normal(0, 1, (len(target), task.width))
    scores = task.scores(output, target)
    weighted = task.scorer(output, target)(np.full((2, len(target)), 3.0))
    assert list(weighted) == list(scores)
    for score, values in weighted.items():
        assert values.shape == (2,)
        np.testing.assert_allclose(values, scores[score].value)
        only = task.scorer(output, target, score)(np.ones((1, len(target))))
        assert list(only) == [score]
        np.testing.assert_allclose(only[score], values[:1])


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_json_before_and_after_calibration(name: str) -> None:
    task = fitted(name)
    target = encoded(task)
    output = np.random.default_rng(0).normal(0, 2, (len(target), task.width)).astype(np.float32)
    for own in (task, task.calibrated(output, target)):
        again = registry.module("tasks", name).Task.restore(json.loads(json.dumps(own.state())))
        assert again == own
        for suffix, values in own.decode(output).items():
            assert values.tolist() == again.decode(output)[suffix].tolist()
    assert task.calibrated(output, target) != task
    assert task.calibrated(output, target).uncalibrated() == task


@pytest.mark.parametrize("name", NAMES)
def test_fitting_does_not_depend_on_chunks_and_nothing_is_empty_safe(name: str) -> None:
    task = fitted(name)
    modality, sample = SAMPLES[name]
    whole = registry.module("tasks", name).Task.fit(Field("what", modality, role="target"), lambda: [sample], {})
    for key, value in whole.state().items():
        assert task.state()[key] == (pytest.approx(value) if isinstance(value, float) else value)
    empty = task.encode(sample[:0])
    assert len(empty.array) == 0
    assert empty.array.dtype == task.encode(sample).array.dtype
    for values in task.decode(np.zeros((0, task.width), np.float32)).values():
        assert len(values) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", [None, "", float("nan"), b"\xff\xfe", "\x00", object(), [], {"a": 1}, 1e400, True])
def test_any_value_encodes_or_is_an_error_of_its_row(name: str, odd: Any) -> None:
    task = fitted(name)
    sample = SAMPLES[name][1]
    mixed = task.encode(column(sample[0], odd, sample[1]))
    assert len(mixed.array) == 3
    assert set(mixed.errors) <= {1}
    np.testing.assert_array_equal(mixed.array[[0, 2]], task.encode(sample[:2]).array)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_or_no_value_names_the_target_and_the_fix(name: str) -> None:
    modality, sample = SAMPLES[name]
    field = Field("what", modality, role="target")
    with pytest.raises(InputError, match="what") as caught:
        registry.module("tasks", name).Task.fit(field, lambda: [sample], {"primry": "x"})
    assert "primary" in caught.value.fix
    with pytest.raises(InputError, match="what") as caught:
        registry.module("tasks", name).Task.fit(field, lambda: [column(None, None, "")], {})
    assert caught.value.fix


def test_tasks_need_numpy_only() -> None:
    code = (
        "import sys\n"
        "from lamina import registry\n"
        "for name in registry.names('tasks'): registry.module('tasks', name)\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'pandas', 'polars', 'pyarrow', 'lightgbm'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
