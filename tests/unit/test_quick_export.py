"""Exporting in one trace: where it is possible, where it is left to PyTorch, and that the answers are the network's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.onnx._internal.exporter import _fx_passes

from lamina.modalities import Feature
from lamina.model.export import export
from lamina.tasks.regress import Task

FEATURES = {"picture": Feature("image", (6, 6, 1), "uint8"), "number": Feature("numbers", (2,), "float32")}


class Usual(nn.Module):
    """Casts, squares, normalises, turns, compares, and changes in place what nothing else reads."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.norm, self.active = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True)
        self.larger, self.head = nn.ConvTranspose2d(3, 3, 2, 2, 1, output_padding=1), nn.Linear(5, 2)
        self.drop = nn.Dropout2d(0.5)
        assert self.norm.running_mean is not None
        nn.init.normal_(self.norm.running_mean)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        seen = self.drop(
            self.larger(self.active(self.norm(self.map(inputs["picture"].float().permute(0, 3, 1, 2) / 255))))
        )
        number = 1.5 - inputs["number"].to(torch.float64).square().float().to("cpu")
        inside = ((number > 0.1) & (number < 1)).float()
        joined = torch.cat([seen.square().mean(dim=(2, 3)), number * inside], 1)
        return {"y": (joined @ self.head.weight.T + self.head.bias)[:, None]}


class Changing(nn.Module):
    """Changes what is read again later."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        twice = inputs["number"] * 2
        first = twice[:, :1]
        first.add_(1)
        return {"y": self.head(twice)[:, None]}


@pytest.mark.parametrize(("network", "traced_anew"), [(Usual, 0), (Changing, 1)])
def test_the_graph_answers_as_the_network_does(
    network: type[nn.Module], traced_anew: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, called = _fx_passes.decompose_with_registry, []

    def counted(*given: Any) -> Any:
        called.append(given)
        return usual(*given)

    monkeypatch.setattr(_fx_passes, "decompose_with_registry", counted)
    torch.manual_seed(0)
    own, task = network().eval(), Task("y", "none", "mse", 0.0, 1.0, -9.0, 9.0)
    sealed = export(own, FEATURES, {"y": task})
    assert len(called) == traced_anew
    assert _fx_passes.decompose_with_registry is counted, "it is put back"
    random = np.random.default_rng(0)
    arrays = {
        "picture": random.integers(0, 256, (7, 6, 6, 1)).astype(np.uint8),
        "number": random.normal(size=(7, 2)).astype(np.float32),
    }
    (found,) = onnxruntime.InferenceSession(sealed.network).run(
        None, {sealed.inputs[name]: array for name, array in arrays.items()}
    )
    with torch.inference_mode():
        wanted = own({name: torch.from_numpy(array) for name, array in arrays.items()})["y"]
        np.testing.assert_allclose(found, task.combine(wanted).numpy(), atol=1e-5)
