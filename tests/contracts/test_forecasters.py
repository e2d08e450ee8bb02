"""The contract of a forecaster, for every file in `lamina/networks/forecasters`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from lamina import registry
from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.modalities._tracks import CENTER, SPREAD
from lamina.model.export import export
from lamina.networks.blocks.options import read_options
from lamina.networks.forecasters import Shape
from lamina.networks.forecasters._forecaster import WINDOW, Forecaster, forecaster
from lamina.tasks.forecast import QUANTILES, Task

FOLDER = "networks/forecasters"
NAMES = registry.names(FOLDER)
LENGTH, HORIZON, CHANNELS = 22, 6, 10
FEATURES = {
    WINDOW: Feature(
        "series", (LENGTH + HORIZON, CHANNELS), "float32",
        details={"horizon": HORIZON, "past": [0, 1, 5, 6, 7, 8, 9], "future": [5, 6, 7]},
    ),
    "kind": Feature("category", (), "int32", 5),
    "size": Feature("numbers", (2,), "float32"),
}  # fmt: skip


def fresh(name: str, seed: int = 0, features: dict[str, Feature] | None = None, **options: Any) -> Forecaster:
    module = registry.module(FOLDER, name)
    torch.manual_seed(seed)
    chosen = read_options(module.Options, options, "network")
    return forecaster("sold", features or FEATURES, torch.zeros(HORIZON, LENGTH), module, chosen, len(QUANTILES))


def windows(rows: int, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    window = torch.randn(rows, LENGTH + HORIZON, CHANNELS, generator=draw)
    window[:, :, CENTER] = torch.randn(rows, 1, generator=draw) * 100
    window[:, :, SPREAD] = torch.rand(rows, 1, generator=draw) + 0.5
    kind = torch.randint(0, 5, (rows,), generator=draw, dtype=torch.int32)
    return {WINDOW: window, "kind": kind, "size": torch.randn(rows, 2, generator=draw)}


def pinball(found: Tensor, truth: Tensor) -> Tensor:
    shares, above = torch.tensor(QUANTILES), truth.unsqueeze(2) - found
    return torch.maximum(shares * above, (shares - 1) * above).mean()


@pytest.mark.parametrize("name", NAMES)
def test_quantiles_ascend_and_follow_level_and_size_of_the_window(name: str) -> None:
    network, inputs = fresh(name).eval(), windows(7)
    found = network(inputs)["sold"]
    assert found.shape == (7, 1, HORIZON * len(QUANTILES))
    steps = found.reshape(7, HORIZON, len(QUANTILES))
    assert (steps.diff(dim=2) > 0).all()
    moved = {**inputs, WINDOW: inputs[WINDOW].clone()}
    moved[WINDOW][:, :, CENTER] = moved[WINDOW][:, :, CENTER] * 3 + 7
    moved[WINDOW][:, :, SPREAD] *= 3
    center = inputs[WINDOW][:, 0, CENTER].reshape(-1, 1, 1)
    torch.testing.assert_close(
        network(moved)["sold"].reshape_as(steps), (steps - center) * 3 + center * 3 + 7, rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_eight_windows_by_heart(name: str) -> None:
    network, inputs = fresh(name, dropout=0.0), windows(8)
    truth = torch.randn(8, HORIZON, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    first = float(pinball(network.normalised(inputs)["sold"], truth).detach())
    for _ in range(300):
        optimizer.zero_grad()
        loss = pinball(network.normalised(inputs)["sold"], truth)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.15 * first


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_weight(name: str) -> None:
    network = fresh(name)
    for parameter in network.parameters():
        # Away from weights that begin at zero.
        torch.nn.init.normal_(parameter, std=0.1) if parameter.ndim else parameter.data.fill_(0.1)
    network.normalised(windows(64))["sold"].square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert (parameter.grad != 0).any(), key


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_network_and_rows_answer_for_themselves(name: str) -> None:
    one, same, other = fresh(name).eval(), fresh(name).eval(), fresh(name, seed=1).eval()
    inputs = windows(5)
    found = one(inputs)["sold"]
    assert torch.equal(found, same(inputs)["sold"])
    assert not torch.equal(found, other(inputs)["sold"])
    alone = one({key: value[2:3] for key, value in inputs.items()})["sold"]
    torch.testing.assert_close(alone[0], found[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_of_the_future_and_of_the_series_counts(name: str) -> None:
    network, inputs = fresh(name).eval(), windows(3)
    found = network(inputs)["sold"]
    ahead = inputs[WINDOW].clone()
    ahead[:, LENGTH:, 6] += 1
    unseen = inputs[WINDOW].clone()
    unseen[:, LENGTH:, [0, 1, 4, 8, 9]] += 5
    assert not torch.equal(network({**inputs, WINDOW: ahead})["sold"], found)
    assert not torch.equal(network({**inputs, "kind": (inputs["kind"] + 1) % 5})["sold"], found)
    assert torch.equal(network({**inputs, WINDOW: unseen})["sold"], found), "the future of the past's channels was read"


@pytest.mark.parametrize("name", NAMES)
def test_the_exported_network_answers_alike(name: str) -> None:
    network, inputs = fresh(name).eval(), windows(9, seed=3)
    exported = export(network, FEATURES, {"sold": Task("sold", HORIZON)})
    session = onnxruntime.InferenceSession(exported.network)
    feed = {exported.inputs[key]: value.numpy() for key, value in inputs.items()}
    (found,) = session.run(None, feed)
    np.testing.assert_allclose(found, network(inputs)["sold"][:, 0].detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("length", "horizon"), [(2, 1), (3, 9)])
def test_any_window_will_do_without_anything_known_besides(name: str, length: int, horizon: int) -> None:
    module = registry.module(FOLDER, name)
    network = module.build(Shape(length, horizon, past=2, future=0, about=0, outputs=5), module.Options()).eval()
    found = network(torch.randn(4, length, 2), torch.zeros(4, horizon, 0), torch.zeros(4, 0))
    assert found.shape == (4, horizon, 5)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_names_the_fix(name: str) -> None:
    with pytest.raises(InputError, match="dropuot") as caught:
        fresh(name, dropuot=0.1)
    assert "dropout" in caught.value.fix
