"""What networks take from one look at the training rows before their first step."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from lamina.data.examples import Examples
from lamina.learn.engine import Engine
from lamina.learn.loader import Loader
from lamina.modalities import Feature
from lamina.networks import Informed
from lamina.networks.assembly import build_assembly
from lamina.networks.bag import LEAST_EFFECT, Bag, Effects, GramMean
from lamina.plan import NetworkPlan, Plan, TrainingPlan
from lamina.steps import inform as steps
from lamina.steps.learner import Learner, _class_weights, build
from lamina.steps.prepare import Prepared
from lamina.tasks import classify, regress

CPU = torch.device("cpu")
TEXT = Feature("tokens", (4,), "int32", size=20)


def a_bag() -> Bag:
    torch.manual_seed(0)
    plans = {"text": NetworkPlan("bag", ("text",), {"members": 2, "width": 4})}
    return cast(Bag, build_assembly(plans, {"text": TEXT}, {"y": 1}).network("text"))


def test_an_effect_is_the_mean_pull_of_the_texts_drawn_to_zero() -> None:
    effects = Effects(5, 1, CPU)
    # Token 1 stands in the first two texts, in one of them twice; 3 in one; a 0 is padding.
    tokens = torch.tensor([[1, 1, 2], [1, 0, 0], [3, 2, 0]])
    effects.add(tokens, tokens != 0, torch.tensor([[1.0], [2.0], [-3.0]]))
    assert effects.texts[:, 0].tolist() == [0, 2, 2, 1, 0]
    assert effects.of_each()[:, 0].tolist() == pytest.approx([0, 3 / 3, -2 / 3, -3 / 2, 0])


def test_batches_add_up_to_the_whole() -> None:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 20, (30, 4), generator=generator)
    pull = torch.randn(30, 3, generator=generator)
    whole, parts = Effects(20, 3, CPU), Effects(20, 3, CPU)
    whole.add(tokens, tokens != 0, pull)
    for start in range(0, 30, 7):
        some = slice(start, start + 7)
        parts.add(tokens[some], tokens[some] != 0, pull[some])
    assert torch.equal(whole.texts, parts.texts)
    assert torch.allclose(whole.of_each(), parts.of_each(), atol=1e-6)


def test_words_that_tell_the_answer_count_for_more_from_the_start() -> None:
    bag = a_bag()
    # 5 is in all texts that pull up, 6 in all that pull down, 7 in both alike.
    tokens = torch.tensor([[5, 7, 0, 0], [6, 7, 0, 0]] * 50)
    pull = torch.tensor([[1.0], [-1.0]] * 50)
    before = {name: value.clone() for name, value in bag.state_dict().items() if "importance" not in name}
    bag.inform([({"text": tokens}, pull)])
    words, pairs = (cast(GramMean, gram).importance.weight for gram in bag.grams)
    assert words[5].tolist() == pytest.approx([math.log(LEAST_EFFECT + 50 / 51)] * 2)
    assert torch.equal(words[5], words[6])
    assert words[7].tolist() == pytest.approx([math.log(LEAST_EFFECT)] * 2)
    assert (pairs > math.log(LEAST_EFFECT) + 0.1).any(dim=1).sum() == 2, "the pairs 5 7 and 6 7"
    assert all(torch.equal(bag.state_dict()[name], value) for name, value in before.items())


def test_a_bag_may_see_no_rows() -> None:
    bag = a_bag()
    bag.inform([])
    assert not cast(GramMean, bag.grams[0]).importance.weight.any()


def a_learner(pretrained: bool = False) -> tuple[Learner, Prepared]:
    """Two targets, a class and a number, the last number missing; word 5 goes with the class."""
    rows = 40
    kind = np.arange(rows) % 2
    number = np.linspace(-2, 2, rows).astype(np.float32)
    number[-1] = np.nan
    tokens = np.stack([5 + kind, np.full(rows, 9), np.zeros(rows), np.zeros(rows)], axis=1).astype(np.int32)
    arrays: dict[str, Any] = {"text": tokens, "kind": kind, "number": number}
    tasks = {
        "kind": classify.Task("kind", ("a", "b"), (20, 20), "accuracy"),
        "number": regress.Task("number", "none", "huber", 0.0, 1.0, -2.0, 2.0),
    }
    plans = {"text": NetworkPlan("bag", ("text",), {"members": 2, "width": 4})}
    network = build_assembly(plans, {"text": TEXT}, {name: task.width for name, task in tasks.items()})
    network.pretrained = {"text"} if pretrained else set()
    examples = Examples(arrays, rows)
    prepared = SimpleNamespace(
        examples=examples, split=SimpleNamespace(train=np.arange(rows)), tasks=tasks, encoders={}, weight=None
    )
    source = Loader(examples, np.arange(rows), ["text"], list(tasks), 8)
    learner = SimpleNamespace(network=network, tasks=tasks, engine=Engine(CPU), source=source)
    return cast(Learner, learner), cast(Prepared, prepared)


def test_pulls_of_all_targets_are_centred_and_of_one_size() -> None:
    learner, prepared = a_learner()
    pull = steps.pulls(learner, prepared, np.arange(40))
    assert pull.shape == (40, 4)
    assert torch.allclose(pull.mean(dim=0), torch.zeros(4), atol=1e-6)
    assert float(pull.pow(2).sum(dim=1).mean()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(pull[::2, 0], -pull[::2, 1]), "one class's gain is the other's loss"
    assert float(pull[38, 2]) > 0 > float(pull[0, 2]), "upwards where the number is large"
    assert abs(float(pull[39, 2])) < float(pull[38, 2]), "a missing number does not pull"


@pytest.mark.parametrize("pretrained", [False, True])
def test_networks_with_given_weights_keep_them(pretrained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, prepared = a_learner(pretrained)
    monkeypatch.setattr(steps, "loader", lambda plan, prepared, rows: learner.source)
    part = learner.network.network("text")
    assert isinstance(part, Informed)
    steps.inform(learner, cast(Any, None), prepared)
    words = cast(GramMean, cast(Bag, part).grams[0]).importance.weight
    if pretrained:
        assert not words.any()
    else:
        assert words[5, 0].item() > words[9, 0].item()


def test_rows_of_weight_zero_teach_nothing() -> None:
    """Not in the batches, where blends and statistics would hold them; not before the first step; not as a class."""
    found = []
    for weighted in (True, False):
        torch.manual_seed(0)
        learner, prepared = a_learner()
        weight = (np.arange(40) % 4 > 0).astype(np.float32)
        prepared.encoders = {"text": SimpleNamespace(feature=TEXT)}  # type: ignore[misc, dict-item]
        prepared.split.validation = np.arange(0)  # type: ignore[misc]
        if weighted:
            prepared.weight = weight  # type: ignore[misc]
        else:
            prepared.split.train = np.flatnonzero(weight)  # type: ignore[misc]
        plan = Plan(network={"text": NetworkPlan("bag", ("text",), {"members": 2, "width": 4})})
        plan = replace(plan, training=TrainingPlan(batch_size=4, balance="weights"))
        steps.inform(learner, plan, prepared)
        words = cast(GramMean, cast(Bag, learner.network.network("text")).grams[0]).importance.weight
        source = build(plan, prepared, torch.device("cpu"), Path()).source
        found.append((words.detach(), source.rows, _class_weights(prepared, "kind")))
    (words, rows, classes), (wanted, wanted_rows, wanted_classes) = found
    assert torch.equal(words, wanted)
    assert rows.tolist() == wanted_rows.tolist()
    assert classes == wanted_classes == pytest.approx([1.5, 0.75])
