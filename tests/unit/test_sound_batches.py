from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from lamina import registry
from lamina.data.examples import Examples
from lamina.modalities import Feature
from lamina.plan import NetworkPlan, Plan, TrainingPlan
from lamina.steps.learner import rows_loader
from lamina.steps.prepare import Prepared

ROWS, FRAMES, BANDS = 400, 48, 8
FEATURE = Feature("spectrogram", (FRAMES, BANDS), "float16")
TRIMMING = [name for name in registry.names("networks") if hasattr(registry.module("networks", name), "TRIMS")]
SMALL: dict[str, dict[str, Any]] = {"conformer": {"width": 16, "heads": 2, "depth": 1, "channels": 4}}


def prepared(lengths: np.ndarray[Any, Any]) -> Prepared:
    sounds = np.random.default_rng(0).normal(size=(ROWS, FRAMES, BANDS)).astype(np.float16)
    sounds[np.arange(FRAMES) >= lengths[:, None]] = 0
    arrays: dict[str, np.ndarray[Any, Any]] = {"sound": sounds, "word": np.zeros(ROWS, np.int64)}
    return cast(
        Prepared,
        SimpleNamespace(
            examples=Examples(arrays, ROWS), encoders={"sound": SimpleNamespace(feature=FEATURE)},
            tasks={"word": SimpleNamespace(width=2)}, weight=None,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("networks", "alike"), [(("recurrent",), True), (("recurrent", "resnet"), False)])
def test_sounds_of_like_lengths_come_together_where_all_networks_leave_padding_out(
    networks: tuple[str, ...], alike: bool
) -> None:
    lengths = np.random.default_rng(1).integers(1, FRAMES + 1, ROWS)
    plan = Plan(
        network={name: NetworkPlan(name, ("sound",)) for name in networks}, training=TrainingPlan(batch_size=10)
    )
    chosen = np.random.default_rng(2).permutation(ROWS)[:330]
    loader = rows_loader(plan, prepared(lengths), chosen, 10)
    spreads = []
    for step, batch in loader.batches():
        assert batch.inputs["sound"].shape == (10, FRAMES, BANDS), "room for what augmentation makes longer"
        spreads.append(np.ptp(lengths[batch.rows]))
        if step == loader.steps - 1:
            break
    assert (np.mean(spreads) < 5) == alike
    places = np.concatenate([places for places, _ in loader.by_length()])
    assert (places.tolist() == list(range(330))) != alike


@pytest.mark.parametrize(
    "name", [name for name in TRIMMING if "spectrogram" in registry.module("networks", name).TRIMS]
)
def test_padding_that_all_rows_share_costs_nothing_and_changes_nothing(name: str) -> None:
    module = registry.module("networks", name)
    torch.manual_seed(0)
    network = module.build({"sound": FEATURE}, module.Options(**SMALL.get(name, {}))).eval()
    sounds = torch.zeros(3, FRAMES, BANDS, dtype=torch.float16)
    for row, length in enumerate((20, 7, 13)):
        sounds[row, :length] = torch.randn(length, BANDS).half()
    read: list[int] = []
    network.stages()[0][1].register_forward_pre_hook(lambda module, given: read.append(given[0].shape[1]))
    whole, cut = network({"sound": sounds}), network({"sound": sounds[:, :20]})
    assert read == [20, 20]
    assert torch.equal(whole, cut)
    alone = network({"sound": sounds[1:2]})
    assert read[-1] == 7
    assert torch.allclose(alone[0], whole[1], atol=1e-5)


def test_what_trims_says_so_of_kinds_that_it_reads() -> None:
    for name in TRIMMING:
        module = registry.module("networks", name)
        assert set(module.TRIMS) <= set(module.ACCEPTS) & {"tokens", "spectrogram"}
