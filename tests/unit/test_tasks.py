"""Tasks: encoding, losses, combining members, calibration, decoding and scores, against references."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from lamina.data.schema import Field
from lamina.errors import InputError, LaminaError
from lamina.modalities._frame import Frame
from lamina.model import runtime
from lamina.tasks import MOST_OUTPUTS, _scores, check_width, classify, detect, regress, tag


def column(*values: Any) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def chunks_of(values: np.ndarray[Any, Any], size: int = 7) -> Any:
    return lambda: (values[at : at + size] for at in range(0, len(values), size))


def classes(values: np.ndarray[Any, Any], **options: Any) -> classify.Task:
    return classify.Task.fit(Field("answer", "category", role="target"), chunks_of(values), options)


def numbers(values: np.ndarray[Any, Any], **options: Any) -> regress.Task:
    return regress.Task.fit(Field("price", "number", role="target"), chunks_of(values), options)


def tags(values: np.ndarray[Any, Any], **options: Any) -> tag.Task:
    return tag.Task.fit(Field("topics", "set", role="target"), chunks_of(values), options)


def test_labels_are_in_numeric_order_and_the_same_for_typed_and_text_values() -> None:
    typed = classes(np.array([10, 9, 2, 10, 9, 2]))
    text = classes(column("10", "9.0", " 2", "10", "9", "2"))
    assert typed.labels == text.labels == ("2", "9", "10")
    assert typed == text
    assert classes(column(True, False, True, False)).labels == classes(column("True", "false", "TRUE", "False")).labels


def test_missing_and_unknown_classes_are_errors_of_their_rows() -> None:
    encoded = classes(column("b", "a", "b", "a")).encode(column("a", None, "c", "b"))
    assert encoded.array.dtype == np.int64
    assert encoded.array.tolist() == [0, -1, -1, 1]
    assert set(encoded.errors) == {1, 2}
    assert "missing" in encoded.errors[1]
    assert "'c'" in encoded.errors[2]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (column("a", "a", "a"), "one class only: 'a'"),
        (column(None, None), "no value"),
        (column(*map(str, "abcdefgh")), "8 classes in 8 training rows"),
    ],
)
def test_targets_that_cannot_be_classified_are_refused(values: Any, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        classes(values)
    assert "answer" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "fix"),
    [({"primry": "auc"}, "primary"), ({"primary": "acuracy"}, "accuracy"), ({"threshold": 2}, "between 0 and 1")],
)
def test_wrong_options_name_the_nearest(options: dict[str, Any], fix: str) -> None:
    with pytest.raises(InputError) as caught:
        classes(column("a", "b", "a", "b"), **options)
    assert fix in caught.value.fix


def test_a_set_target_leads_to_the_task_tag() -> None:
    with pytest.raises(InputError, match="sets of labels") as caught:
        classify.Task.fit(Field("topics", "set", role="target"), chunks_of(column("a|b", "b")), {})
    assert "tag" in caught.value.fix


def test_the_primary_score_follows_the_training_frequencies() -> None:
    assert classes(column(*"ab" * 10)).primary == "accuracy"
    assert classes(column(*("a" * 14 + "b" * 6))).primary == "auc"
    assert classes(column(*"abc" * 10)).primary == "accuracy"
    assert classes(column(*("a" * 16 + "bbcc"))).primary == "macro_f1"
    rare = classes(column(*("a" * 14 + "b" * 6)), primary="log_loss")
    assert next(iter(rare.scores(np.zeros((2, 2)), np.array([0, 1])))) == "log_loss"
    assert rare.labels[rare.positive] == "b"


def test_cross_entropy_equals_pytorch_with_smoothing_weights_and_soft_targets() -> None:
    task = classes(column(*"abc" * 4))
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(5, 2, 3, generator=generator)
    target = torch.tensor([0, 1, 2, 1, 0])
    cross = torch.nn.functional.cross_entropy

    def reference(**settings: Any) -> torch.Tensor:
        return torch.stack([cross(output[:, m], target, reduction="none", **settings) for m in range(2)]).mean(0)

    torch.testing.assert_close(task.loss(output, target, {}), reference())
    torch.testing.assert_close(task.loss(output, target, {"label_smoothing": 0.1}), reference(label_smoothing=0.1))
    weights = [1.0, 2.0, 0.5]
    torch.testing.assert_close(
        task.loss(output, target, {"class_weights": weights}), reference(weight=torch.tensor(weights))
    )
    soft = torch.nn.functional.one_hot(target, 3).float()
    for options in ({}, {"label_smoothing": 0.1}, {"class_weights": weights}):
        torch.testing.assert_close(
            task.loss(output, soft, {"soft": True, **options}), task.loss(output, target, options)
        )


def test_losses_are_computed_in_float32_whatever_comes_in() -> None:
    output = torch.tensor([[[60.0, -60.0]]], dtype=torch.bfloat16)
    assert classes(column(*"abab")).loss(output, torch.tensor([1]), {}).dtype == torch.float32
    assert numbers(np.arange(10.0)).loss(output, torch.tensor([1.0]), {}).dtype == torch.float32


def test_members_answer_with_their_mean_probability() -> None:
    output = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1))
    combined = classes(column(*"abc" * 4)).combine(output)
    torch.testing.assert_close(combined.exp(), torch.softmax(output, -1).mean(1))
    tagged = tags(column("a|b", "b|c", "c", "a")).combine(output)
    torch.testing.assert_close(torch.sigmoid(tagged), torch.sigmoid(output).mean(1))


def test_temperature_undoes_overconfidence() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (4000, 3))
    probability = np.exp(_scores.log_softmax(logits))
    target = np.array([generator.choice(3, p=row) for row in probability])
    task = classes(column(*"abc" * 4)).calibrated(logits * 3, target)
    assert task.scale == pytest.approx(3, rel=0.1)
    raw = task.uncalibrated().row_losses(logits * 3, target).mean()
    assert task.row_losses(logits * 3, target).mean() < raw
    assert np.array_equal(task.answers(logits * 3), task.uncalibrated().answers(logits * 3))


def test_a_perfect_validation_part_keeps_the_temperature_finite() -> None:
    logits = np.eye(2)[np.arange(50) % 2] * 5
    task = classes(column(*"abab")).calibrated(logits, np.arange(50) % 2)
    assert 0.04 < task.scale <= 1


def test_conformal_sets_cover_what_they_promise() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 1, (6000, 4))
    probability = np.exp(_scores.log_softmax(logits))
    target = np.array([generator.choice(4, p=row) for row in probability])
    task = classes(column(*"abcd" * 4)).calibrated(logits[:3000], target[:3000])
    member = task.set_members(logits[3000:])
    covered = member[np.arange(3000), target[3000:]].mean()
    assert 0.88 < covered < 0.92
    sets = task.sets(logits[3000:])
    assert all(label in inside for label, inside in zip(task.decode(logits[3000:])[""], sets, strict=True))


def test_conformal_sets_of_rows_that_are_all_alike_hold_the_class_on_the_edge() -> None:
    task = classes(column(*"abc" * 4))
    for seed in range(20):
        generator = np.random.default_rng(seed)
        chances = generator.dirichlet([1, 1, 1])
        logits = np.log(chances).astype(np.float32)[None].repeat(100, axis=0)
        target = generator.choice(3, 100, p=chances)
        member = task.calibrated(logits, target).set_members(logits)
        assert member[np.arange(100), target].mean() >= classify.COVERAGE


def test_few_validation_rows_promise_no_conformal_set() -> None:
    logits, target = np.eye(3)[[0, 1, 2]] * 5, np.arange(3)
    member = classes(column(*"abc" * 4)).calibrated(logits, target).set_members(logits)
    assert member.all()


def test_decoded_probabilities_belong_to_the_answers() -> None:
    task = classes(column("no", "yes", "no", "yes"))
    answers = task.decode(np.array([[2.0, 0.0], [0.0, 1.0]], dtype=np.float32))
    assert list(answers) == ["", ".p", ".p.no", ".p.yes"]
    assert answers[""].tolist() == ["no", "yes"]
    np.testing.assert_allclose(answers[".p"], [answers[".p.no"][0], answers[".p.yes"][1]])
    np.testing.assert_allclose(answers[".p.no"] + answers[".p.yes"], 1)


def test_a_threshold_moves_the_answer_and_can_be_chosen_for_f1() -> None:
    generator = np.random.default_rng(2)
    values = column(*("a" * 90 + "b" * 10))
    output = np.log(np.array([[0.7, 0.3]]))
    assert classes(values).decode(output)[""].tolist() == ["a"]
    assert classes(values, threshold=0.2).decode(output)[""].tolist() == ["b"]
    target = (generator.random(2000) < 0.1).astype(np.int64)
    logit = generator.normal(0, 1, 2000) + 2 * target - 3
    both = np.stack([np.zeros(2000), logit], axis=1)
    plain = classes(values).calibrated(both, target)
    chosen = classes(values, threshold="f1").calibrated(both, target)
    assert chosen.scores(both, target)["f1"].value > plain.scores(both, target)["f1"].value


def test_scoring_rows_without_a_class_is_our_fault() -> None:
    with pytest.raises(LaminaError, match="without a known class"):
        classes(column(*"abab")).scores(np.zeros((2, 2)), np.array([0, -1]))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10_000), st.booleans())
def test_class_scores_equal_scikit_learn(width: int, seed: int, coarse: bool) -> None:
    generator = np.random.default_rng(seed)
    task = classes(column(*("abcde"[:width] * 5)), primary="accuracy")
    logits = generator.normal(0, 1, (60, width))
    logits = np.round(logits) if coarse else logits
    target = np.r_[np.arange(width), generator.integers(0, width, 60 - width)]
    found = {name: score.value for name, score in task.scores(logits, target).items()}
    answer, probability = logits.argmax(axis=1), task.probabilities(logits)
    expected = {
        "accuracy": metrics.accuracy_score(target, answer),
        "balanced_accuracy": metrics.balanced_accuracy_score(target, answer),
        "mcc": metrics.matthews_corrcoef(target, answer),
        "log_loss": metrics.log_loss(target, probability, labels=range(width)),
    }
    if width == 2:
        logit = logits[:, 1] - logits[:, 0]
        expected["auc"] = metrics.roc_auc_score(target, logit)
        expected["average_precision"] = metrics.average_precision_score(target, logit)
        expected["f1"] = metrics.f1_score(target, answer)
        expected["brier"] = metrics.brier_score_loss(target, probability[:, 1])
    else:
        expected["macro_f1"] = metrics.f1_score(target, answer, average="macro")
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_weighting_rows_equals_repeating_them(seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 4, 30)
    counts[:4] = 1
    target = np.r_[0, 1, 0, 1, generator.integers(0, 2, 26)]
    logits = np.round(generator.normal(0, 1, (30, 2)), 1)
    again = np.repeat(np.arange(30), counts)
    task = classes(column(*"abab"))
    weighted = task.scorer(logits, target)(counts[None].astype(float))
    for name, score in task.scores(logits[again], target[again]).items():
        assert weighted[name][0] == pytest.approx(score.value), name
    regression = numbers(np.linspace(10, 20, 30))
    output, truth = generator.normal(0, 1, (30, 2)), generator.normal(0, 1, 30)
    weighted = regression.scorer(output, truth)(counts[None].astype(float))
    for name, score in regression.scores(output[again], truth[again]).items():
        assert weighted[name][0] == pytest.approx(score.value), name


def test_numbers_round_trip_and_bad_ones_are_errors() -> None:
    task = numbers(column("1,000", "$2,000", "3000", None, "4e3"))
    assert task.transform == "none"
    encoded = task.encode(column("1000", 2500.0, "abc", None, np.inf))
    assert encoded.array.dtype == np.float32
    np.testing.assert_allclose(task.original(encoded.array[:2]), [1000, 2500], rtol=1e-6)
    assert set(encoded.errors) == {2, 3, 4}
    assert "'abc'" in encoded.errors[2]


def test_the_logarithm_is_taken_of_positive_skewed_targets_only() -> None:
    generator = np.random.default_rng(0)
    skewed = generator.lognormal(3, 1, 500)
    assert numbers(skewed).transform == "log"
    assert numbers(skewed, transform="none").transform == "none"
    assert numbers(generator.normal(100, 5, 500)).transform == "none"
    assert numbers(np.r_[skewed, 0.0]).transform == "none"
    np.testing.assert_allclose(numbers(skewed).original(numbers(skewed).encode(skewed).array), skewed, rtol=1e-5)
    with pytest.raises(InputError, match="no logarithm"):
        numbers(np.r_[skewed, -1.0], transform="log")


@pytest.mark.parametrize(("values", "named"), [(column("x", "y"), "no number"), (np.full(9, 2.0), "one value only")])
def test_targets_without_numbers_are_refused(values: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        numbers(values)


def test_the_scale_does_not_pull_at_the_location() -> None:
    task = numbers(np.arange(10.0))
    output = torch.tensor([[[0.5, 0.0]], [[0.5, -2.0]]], requires_grad=True)
    task.loss(output, torch.tensor([0.0, 0.0]), {}).sum().backward()
    assert output.grad is not None
    torch.testing.assert_close(output.grad[:, 0, 0], torch.tensor([1.0, 1.0]))
    assert output.grad[0, 0, 1] > 0 > output.grad[1, 0, 1]


@pytest.mark.parametrize(("name", "expected"), [("mse", 4.0), ("mae", 2.0), ("huber", 1.5)])
def test_losses_of_the_location(name: str, expected: float) -> None:
    task = numbers(np.arange(10.0), loss=name)
    output = torch.tensor([[[2.0, math.log(2.0)]]])
    found = task.loss(output, torch.tensor([0.0]), {})
    scale = regress.SCALE_SHARE * 2 * (1 + math.log(2.0))
    assert found.item() == pytest.approx(expected + scale, rel=1e-5)


def test_intervals_cover_what_they_promise_and_follow_the_scale() -> None:
    generator = np.random.default_rng(3)
    spread = np.exp(generator.normal(0, 0.7, 6000))
    target = (generator.normal(0, 1, 6000) * spread * 0.3).astype(np.float32)
    output = np.stack([np.zeros(6000), np.log(spread)], axis=1)
    task = numbers(generator.normal(0, 1, 500)).calibrated(output[:3000], target[:3000])
    for level in regress.LEVELS:
        low, high = task.intervals(output[3000:], level)
        truth = task.original(target[3000:])
        assert ((truth >= low) & (truth <= high)).mean() == pytest.approx(level, abs=0.025)
    answers = task.decode(output[3000:])
    assert (answers[".low"] <= answers[""]).all()
    assert (answers[""] <= answers[".high"]).all()
    width = answers[".high"] - answers[".low"]
    assert np.corrcoef(width, spread[3000:])[0, 1] > 0.9


def test_the_correction_undoes_the_bias_of_transforming_back() -> None:
    generator = np.random.default_rng(4)
    values = generator.lognormal(2, 1.0, 4000)
    task = numbers(values)
    target = task.encode(values).array
    output = np.zeros((4000, 2))
    fitted = task.calibrated(output, target)
    assert fitted.correction == pytest.approx(math.exp(0.5), rel=0.15)
    assert fitted.scores(output, target)["rmse"].value < task.scores(output, target)["rmse"].value


def test_answers_stay_in_the_sensible_range() -> None:
    task = numbers(np.linspace(10, 20, 50))
    answers = task.answers(np.array([[100.0, 0.0], [-100.0, 0.0]]))
    assert answers.tolist() == [25.0, 5.0]
    assert numbers(np.linspace(1, 20, 50)).answers(np.array([[-100.0, 0.0]])).tolist() == [0.0]


def test_number_scores_equal_scikit_learn() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(100, 10, 200)
    task = numbers(values)
    target = task.encode(values).array
    output = np.stack([target + generator.normal(0, 0.3, 200), np.zeros(200)], axis=1)
    found = {name: score.value for name, score in task.scores(output, target).items()}
    truth, answer = task.original(target), task.answers(output)
    assert found == pytest.approx(
        {
            "rmse": metrics.root_mean_squared_error(truth, answer),
            "mae": metrics.mean_absolute_error(truth, answer),
            "r2": metrics.r2_score(truth, answer),
            "median_ae": metrics.median_absolute_error(truth, answer),
            "mape": metrics.mean_absolute_percentage_error(truth, answer),
        }
    )
    assert "mape" not in numbers(values - 100).scores(output, target)


def test_labels_round_trip_in_the_form_of_the_training_data() -> None:
    task = tags(column("red|blue", "blue", "green|red", None, "blue"))
    encoded = task.encode(column("red|green", "blue", None, "purple"))
    assert set(encoded.errors) == {2, 3}
    assert "'purple'" in encoded.errors[3]
    answers = task.decode((encoded.array[:2] * 2 - 1) * 5)
    assert answers[""].tolist() == ["green|red", "blue"]
    assert set(answers) == {"", ".p", ".p.red", ".p.green", ".p.blue"}
    lists = tags(column(["red", "blue"], ["blue"], ["green"], ["red"]))
    assert lists.decode((lists.encode(column(["red", "blue"])).array * 2 - 1) * 5)[""].tolist() == [["blue", "red"]]


def test_tag_loss_equals_pytorch() -> None:
    task = tags(column("a|b", "b|c", "c", "a"))
    output = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0))
    target = (torch.rand(6, 3, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    both = target[:, None].expand(6, 2, 3)
    binary = torch.nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(task.loss(output, target, {}), binary(output, both, reduction="none").mean((1, 2)))


def test_tag_scores_equal_scikit_learn() -> None:
    task = tags(column("a|b", "b|c", "c", "a"))
    generator = np.random.default_rng(6)
    output, target = generator.normal(0, 1, (50, 3)), (generator.random((50, 3)) > 0.6).astype(np.float32)
    found = {name: score.value for name, score in task.scores(output, target).items()}
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(target, output >= 0, average="micro"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(target, output >= 0, average="macro"))
    assert found["exact_match"] == pytest.approx(metrics.accuracy_score(target, output >= 0))
    assert found["mean_ap"] == pytest.approx(metrics.average_precision_score(target, output, average="macro"))


def test_a_label_that_neither_occurs_nor_is_given_leaves_macro_f1_alone() -> None:
    task = tags(column("a|b", "b|c", "c", "a"))
    target = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=np.float32)
    assert task.scores(8 * target - 4, target)["macro_f1"].value == 1
    nothing = np.zeros((3, 3), dtype=np.float32)
    assert task.scores(nothing - 4, nothing)["macro_f1"].value == 0


def test_r2_of_replicates_without_the_only_row_that_differs_is_not_defined() -> None:
    truth = np.zeros(40)
    truth[0] = 37.3
    score = _scores.r_squared(truth + 0.1, truth)
    without, whole = np.ones((1, 40)), np.ones((1, 40))
    without[0, 0] = 0
    assert np.isnan(score(without))[0]
    assert 0.9 < score(whole)[0] < 1


def test_a_tag_target_that_never_varies_is_refused() -> None:
    with pytest.raises(InputError, match="the same labels"):
        tags(column("a|b", "a|b", "b|a"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False, width=32), min_size=3, max_size=40, unique=True))
def test_any_numbers_decode_to_themselves(values: list[float]) -> None:
    array = np.array(values)
    spread = array.max() - array.min()
    task = numbers(array)
    output = np.stack([task.encode(array).array, np.zeros(len(array))], axis=1)
    np.testing.assert_allclose(task.decode(output)[""], array, atol=1e-5 * spread + 1e-30, rtol=1e-4)


def test_states_survive_json_and_temperature_search_brackets_its_optimum() -> None:
    from lamina.tasks._calibrate import scale_by

    task = classes(column(*"abab"))
    assert classify.Task.restore(json.loads(json.dumps(task.state()))) == task
    assert scale_by(lambda value: (value - math.log(3)) ** 2, 100) == pytest.approx(3, rel=1e-4)
    assert scale_by(lambda value: (value - 1) ** 2, 5) == 1.0
    quantiles = [regress.conformal_quantile(np.arange(100.0), level) for level in regress.LEVELS]
    assert all(first < second for first, second in pairwise(quantiles))


def test_no_more_outputs_are_trained_than_a_sealed_model_may_have() -> None:
    """Eighty classes at every fourth pixel of 512 x 512 are opened again; what would not be is told beforehand."""
    frame = Frame(512, 512, "pad")
    labels = tuple(map(str, range(80)))
    task = detect.Task("boxes", labels, (1,) * 80, 80, "picture", frame, 40, finest=4, levels=4)
    assert 1_800_000 < task.width < MOST_OUTPUTS
    check_width(task, ["picture"])
    assert runtime._task("boxes", {"task": "detect", "state": task.state()}, "model").width == task.width
    larger = dataclasses.replace(task, frame=Frame(1024, 1024, "pad"))
    with pytest.raises(InputError) as caught:
        check_width(larger, iter(["picture"]))
    assert "outputs a row" in caught.value.what
    assert "schema.picture.size=256" in caught.value.fix
    assert "task.boxes.finest=8" in caught.value.fix
    with pytest.raises(InputError, match="damaged"):
        runtime._task("boxes", {"task": "detect", "state": larger.state()}, "model")
