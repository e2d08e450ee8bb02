"""Heads for answers that are no vector: what they read, what they give, and who is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from lamina import registry
from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.model.export import export
from lamina.networks import Pyramidal, efficientnet
from lamina.networks.assembly import Assembly, build_assembly
from lamina.networks.efficientnet import EfficientNet
from lamina.plan import NetworkPlan
from lamina.tasks import Layout

PICTURE = Feature("image", (37, 50, 3), "uint8", details={"mean": [100.0] * 3, "std": [50.0] * 3})
NUMBERS = Feature("numbers", (4,), "float32")
FAMILIES = ("resnet", "convolutional", "efficientnet")
MAP = Layout("map", (3, 37, 50), {"decoder_width": 8})


def made(family: str, layout: Layout = MAP, options: Mapping[str, Any] | None = None, side: int = 0) -> Assembly:
    torch.manual_seed(0)
    feature = Feature("image", (side, side, 3), "uint8", details=PICTURE.details) if side else PICTURE
    plan = NetworkPlan(family, ("picture",), options=dict(options or {}))
    return build_assembly({"picture": plan}, {"picture": feature}, {"mask": layout})


def pictures(rows: int, height: int = 37, width: int = 50) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"picture": torch.randint(0, 256, (rows, height, width, 3), generator=generator, dtype=torch.uint8)}


def test_every_kind_of_layout_has_a_head_that_says_what_it_reads() -> None:
    assert {"vector", "map"} <= set(registry.names("networks/heads"))
    for name in registry.names("networks/heads"):
        assert registry.module("networks/heads", name).READS in ("vector", "pyramid", "sequence")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_levels_are_what_the_pyramid_gives(family: str) -> None:
    network = made(family).network("picture")
    assert isinstance(network, Pyramidal)
    maps = network.pyramid(pictures(2))
    found = [(one.shape[1], one.shape[2], one.shape[3]) for one in maps]
    assert found == [(level.channels, level.height, level.width) for level in network.levels]
    assert found[0][1:] == (37, 50)
    assert [level.stride for level in network.levels] == sorted(level.stride for level in network.levels)


@pytest.mark.parametrize("side", [9, 16, 33])
def test_pictures_too_small_for_all_halvings_have_fewer_levels(side: int) -> None:
    network = made("efficientnet", Layout("map", (2, side, side)), side=side).network("picture")
    assert isinstance(network, EfficientNet)
    with torch.inference_mode():
        maps = network.eval().pyramid(pictures(1, side, side))
    assert [tuple(one.shape[1:]) for one in maps] == [(one.channels, one.height, one.width) for one in network.levels]


@pytest.mark.parametrize(
    ("family", "upsampling"),
    [(family, "interpolate") for family in FAMILIES] + [("resnet", "transposed")],
)
def test_gradients_reach_every_weight_and_the_exported_graph_agrees(
    family: str, upsampling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One block of each stage: more of them are in the contract of networks.
    monkeypatch.setattr(efficientnet, "STAGES", tuple((1, *stage[1:]) for stage in efficientnet.STAGES))
    layout = Layout("map", (3, 37, 50), {"decoder_width": 8, "upsampling": upsampling})
    assembly = made(family, layout)
    output = assembly(pictures(4))["mask"]
    assert output.shape == (4, 1, 3 * 37 * 50)
    (output * torch.randn(output.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    without = [name for name, weight in assembly.named_parameters() if weight.grad is None]
    assert without == []
    assembly.eval()
    exported = export(assembly, {"picture": PICTURE}, {"mask": Flat(layout.size)})  # type: ignore[dict-item]
    session = onnxruntime.InferenceSession(exported.network, providers=["CPUExecutionProvider"])
    inputs = pictures(3)
    with torch.inference_mode():
        wanted = assembly(inputs)["mask"][:, 0].numpy()
    (found,) = session.run([exported.outputs["mask"]], {exported.inputs["picture"]: inputs["picture"].numpy()})
    np.testing.assert_allclose(found, wanted, atol=1e-3 * float(wanted.std()))


@pytest.mark.parametrize("family", ["resnet", "edsr", "convolutional", "efficientnet"])
@pytest.mark.parametrize("side", [16, 28, 48])
def test_the_first_level_is_the_picture_itself_however_small(family: str, side: int) -> None:
    network: Any = made(family, Layout("picture", (3, side, side)), side=side).eval().network("picture")
    inputs = pictures(1, side, side)
    with torch.inference_mode():
        maps = network.pyramid(inputs)
        assert torch.equal(maps[0], network.pixels(inputs["picture"]))
    assert [tuple(one.shape[1:]) for one in maps] == [(one.channels, one.height, one.width) for one in network.levels]


class Flat:
    """What export asks of a task."""

    task, name = "flat", "mask"

    def __init__(self, width: int) -> None:
        self.width = width

    def combine(self, output: torch.Tensor) -> torch.Tensor:
        return output.float().mean(dim=1)


def test_a_decoder_learns_where_something_is() -> None:
    assembly = made("resnet", Layout("map", (1, 37, 50), {"decoder_width": 4}), {"width": 8})
    picture = torch.zeros(4, 37, 50, 3, dtype=torch.uint8)
    wanted = torch.zeros(4, 37, 50)
    for row, (top, left) in enumerate([(2, 3), (20, 30), (10, 41), (28, 8)]):
        picture[row, top : top + 7, left : left + 6] = 255
        wanted[row, top : top + 7, left : left + 6] = 1
    optimizer = torch.optim.Adam(assembly.parameters(), 0.02)
    for _ in range(40):
        loss = nn.functional.binary_cross_entropy_with_logits(
            assembly({"picture": picture})["mask"].reshape(4, 37, 50), wanted
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found = assembly({"picture": picture})["mask"].reshape(4, 37, 50) > 0
    assert float((found == wanted.bool()).float().mean()) > 0.98


def test_a_map_can_be_a_multiple_of_the_picture() -> None:
    assembly = made("resnet", Layout("map", (3, 74, 100)))
    assert assembly(pictures(2))["mask"].shape == (2, 1, 3 * 74 * 100)


def test_vectors_and_maps_stand_beside_each_other() -> None:
    plan = NetworkPlan("resnet", ("picture",))
    assembly = build_assembly({"picture": plan}, {"picture": PICTURE}, {"mask": MAP, "class": 5})
    found = assembly(pictures(2))
    assert found["mask"].shape == (2, 1, MAP.size)
    assert found["class"].shape == (2, 1, 5)


@pytest.mark.parametrize(
    ("plans", "layout", "words"),
    [
        ({"table": NetworkPlan("mlp", ("numbers",))}, MAP, "resnet"),
        (
            {"picture": NetworkPlan("resnet", ("picture",)), "table": NetworkPlan("mlp", ("numbers",))},
            MAP,
            "role=ignore",
        ),
        ({"picture": NetworkPlan("resnet", ("picture",))}, Layout("map", MAP.shape, {"depth": 3}), "decoder_width"),
        ({"picture": NetworkPlan("resnet", ("picture",))}, Layout("map", MAP.shape, {"upsampling": "x"}), "transposed"),
    ],
)
def test_who_cannot_answer_is_refused_with_a_fix(plans: dict[str, NetworkPlan], layout: Layout, words: str) -> None:
    with pytest.raises(InputError) as raised:
        build_assembly(plans, {"picture": PICTURE, "numbers": NUMBERS}, {"mask": layout})
    assert words in str(raised.value)
