"""Turning pictures: the task's answers and options, the makers' and critics' losses, batches of two sets, colors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from memory_table import MemoryTable
from torch import nn
from torch.nn import functional

from lamina.data.examples import Examples
from lamina.data.schema import Field, Schema
from lamina.data.split import split
from lamina.errors import InputError
from lamina.learn.batch import Batch
from lamina.learn.loader import Loader
from lamina.learn.unpaired import Unpaired
from lamina.methods import cycle
from lamina.methods._generative import RESULT, SOURCE, Setting
from lamina.methods._relativistic import telling
from lamina.networks.adversarial.critic import Critic
from lamina.networks.adversarial.translator import Translator
from lamina.plan import DataPlan, OptimizerPlan
from lamina.steps.restyle.simple import Colors, transferred
from lamina.tasks import Mapped, restyle

TASK = restyle.Task("restyled", "photo", 4, 6, 3, "pad", "summer", "winter")


def test_an_answer_is_a_picture_and_its_state_survives() -> None:
    assert isinstance(TASK, Mapped)
    assert restyle.Task.restore(json.loads(json.dumps(TASK.state()))) == TASK
    output = np.random.default_rng(0).random((2, TASK.width)).astype(np.float32)
    (picture, _) = TASK.decode(output)[""]
    assert picture.shape == (4, 6, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, TASK.pictures(output)[0])
    np.testing.assert_allclose(picture[1, 2], TASK.averaged(output)[0][:, 1, 2] * 255, atol=0.51)
    assert TASK.agreement(output, output + 1e-4).holds
    assert not TASK.agreement(output, output + 0.01).holds


def test_classes_are_named_as_the_labels_write_them() -> None:
    assert restyle.classes_asked({"source": 3, "result": "7.0"}) == ("3", "7")
    with pytest.raises(InputError, match="summer") as caught:
        restyle.classes_asked({"source": "summer", "result": "summer"})
    assert "different" in caught.value.fix


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (33, 20, 3), (64, 66, 3), (5, 5, 1)])
def test_a_translator_keeps_every_size(shape: tuple[int, int, int]) -> None:
    translator = Translator(shape, 4, 1)
    turned = translator(torch.rand(2, shape[2], *shape[:2]) * 2 - 1)
    assert turned.shape == (2, shape[2], *shape[:2])
    assert turned.abs().max() <= 1
    turned.sum().backward()
    assert all(weight.grad is not None for weight in translator.parameters())


def method(**options: float) -> cycle.Cycle:
    torch.manual_seed(0)
    setting = Setting("x", (8, 8, 1), 0, OptimizerPlan("adam", 1e-3), 0.9, 0.0, torch.device("cpu"))
    return cycle.build(setting, cycle.Options(width=4, depth=1, critic=4, **options))  # type: ignore[arg-type]


def real(rows: int = 5) -> Batch:
    random = torch.Generator().manual_seed(1)
    values = {name: torch.rand(rows, 1, 8, 8, generator=random) * 2 - 1 for name in (SOURCE, RESULT)}
    return Batch(torch.arange(rows), values)


class Shift(nn.Module):
    """Makes every value larger by the same."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures + self.by


def test_the_makers_loss_is_made_of_what_the_paper_says() -> None:
    """Two shifts: onward by 0.3 and back by 0.1 lose 0.2 on either way, and change by as much as they shift."""
    found, batch = method(cycle=4.0, identity=0.25), real()
    found.network.makers.onward, found.network.makers.back = Shift(0.3), Shift(-0.1)  # type: ignore[assignment]
    loss = found.loss(batch)
    assert loss.metrics["cycle"] == pytest.approx(0.2, abs=1e-6)
    assert loss.metrics["identity"] == pytest.approx((0.3 + 0.1) / 2, abs=1e-6)
    critics, source, result = found.network.critics, batch.inputs[SOURCE], batch.inputs[RESULT]
    game = functional.softplus(critics.of_result(result) - critics.of_result(source + 0.3))
    game = game + functional.softplus(critics.of_source(source) - critics.of_source(result - 0.1))
    wanted = game + 4.0 * 0.4 + 4.0 * 0.25 * 0.4
    torch.testing.assert_close(loss.sum, wanted.sum())
    alone = method(cycle=4.0, identity=0.0).loss(batch)
    assert "identity" not in alone.metrics


def test_loss_of_the_parts_is_that_of_the_whole() -> None:
    found, batch = method(), real(6)
    found.network.eval()
    parts = [found.loss(part).sum for part in batch.parts(3)]
    torch.testing.assert_close(torch.stack(parts).sum(), found.loss(batch).sum)


def test_the_critics_slope_is_counted_on_real_and_on_made_pictures() -> None:
    torch.manual_seed(0)
    critic, batch = Critic((8, 8, 1), 0, 4), real()
    one, other = batch.inputs[SOURCE], batch.inputs[RESULT]
    plain, metrics = telling(critic, one, other, 0.0)
    torch.testing.assert_close(plain, functional.softplus(critic(other) - critic(one)))
    assert "slope" not in metrics
    held, _ = telling(critic, one, other, 3.0)
    steep = 0.0
    for pictures in (one, other):
        asked = pictures.clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(asked).sum(), asked)
        steep = steep + slope.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(held, plain + 3.0 / 2 * steep)


def test_critics_see_pictures_of_their_own_class() -> None:
    """A critic of results that answers with a picture's mean tells light results from dark turned pictures."""
    found = method()
    light, dark = torch.full((3, 1, 8, 8), 0.5), torch.full((3, 1, 8, 8), -0.5)

    class Mean(nn.Module):
        def forward(self, pictures: torch.Tensor, classes: None = None) -> torch.Tensor:
            return pictures.mean(dim=(1, 2, 3))

    found.network.critics.of_result, found.network.critics.of_source = Mean(), Mean()  # type: ignore[assignment]
    found.steps = 1
    batch = Batch(torch.arange(3), {SOURCE: dark, RESULT: light, cycle.TURNED: dark, cycle.RETURNED: dark})
    loss = found.critic_loss(batch)
    wanted = functional.softplus(torch.tensor(-1.0)) + functional.softplus(torch.tensor(0.0))
    assert float(loss.sum / loss.weight) == pytest.approx(float(wanted), abs=1e-6)
    assert float(loss.metrics["apart"]) == pytest.approx(0.5, abs=1e-6)


def unpaired(first: int = 12, second: int = 6) -> Unpaired:
    values = np.arange(first + second)
    examples = Examples({"x": values}, len(values))
    one, other = (
        Loader(examples, rows, ["x"], [], 3, seed) for seed, rows in enumerate((values[:first], values[first:]))
    )
    return Unpaired(one, other, (SOURCE, RESULT))


def test_unpaired_batches_are_the_same_from_any_step() -> None:
    source = unpaired()
    assert source.steps == 4
    whole = [batch for _, batch in zip(range(9), (batch for _, batch in source.batches()), strict=False)]
    step, batch = next(source.batches(7))
    assert step == 7
    for name in (SOURCE, RESULT):
        assert torch.equal(batch.inputs[name], whole[7].inputs[name])
    assert sorted(torch.cat([batch.inputs[SOURCE] for batch in whole[:4]]).tolist()) == list(range(12))
    for start in (0, 2):
        seen = torch.cat([batch.inputs[RESULT] for batch in whole[start : start + 2]])
        assert sorted(seen.tolist()) == list(range(12, 18)), "the smaller set begins anew"
    equal = [batch.inputs for _, (_, batch) in zip(range(8), unpaired(12, 12).batches(), strict=False)]
    pairs = [set(zip(inputs[SOURCE].tolist(), inputs[RESULT].tolist(), strict=True)) for inputs in equal]
    assert len(set.union(*pairs[:4]) & set.union(*pairs[4:])) < 6, "nothing belongs to anything"


@pytest.mark.parametrize("channels", [1, 3])
def test_transferred_colors_have_the_mean_and_spread_of_the_class(channels: int) -> None:
    random = np.random.default_rng(0)
    scale = np.array([1.0, 0.8, 0.6])[:channels]
    one = (90 + 25 * random.normal(size=(6, 16, 16, 1)) * scale).clip(20, 240).astype(np.uint8)
    other = (150 + 12 * random.normal(size=(9, 16, 16, 1)) * scale).clip(20, 240).astype(np.uint8)
    wanted = Colors.of(other)
    turned = transferred(one, wanted)
    found = Colors.of(turned)
    np.testing.assert_allclose(found.mean, wanted.mean, atol=0.01)
    np.testing.assert_allclose(found.spread, wanted.spread, atol=0.01)
    again = transferred(one[:1], Colors.of(one[:1]))
    assert np.abs(again.astype(int) - one[:1]).max() <= 1, "its own colors leave a picture as it is"
    flat = transferred(np.full((1, 4, 4, channels), 80, np.uint8), wanted)
    assert flat.std(axis=(1, 2)).max() == 0


def test_labels_give_each_class_its_share_where_that_is_asked_for() -> None:
    labels = np.array(["many"] * 90 + ["few"] * 10, dtype=object)
    table = MemoryTable({"x": np.arange(100).astype(str).astype(object), "kind": labels})
    schema = Schema((Field("x", "number"), Field("kind", "category", "label", ("kind",))))
    for seed in range(5):
        parts = split(table, schema, DataPlan(split="stratified"), seed)
        assert (labels[parts.test] == "few").sum() == 2
    drawn = [(labels[split(table, schema, DataPlan(split="random"), seed).test] == "few").sum() for seed in range(8)]
    assert len(set(drawn)) > 1
