"""Eight rows whose first number's sign is asked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from method_case import Case
from torch import nn

from lamina.data.examples import Examples
from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods.supervised import Supervised
from lamina.plan import OptimizerPlan


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor = self.body(inputs["x"])
        return result


def _eight() -> Loader:
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    y = np.sign(x[:, 0]).astype(np.float32)
    return Loader(Examples({"x": x, "y": y}, 8), np.arange(8), ["x"], ["y"], batch_size=4, seed=1)


def _squared(output: torch.Tensor, batch: Batch) -> Loss:
    error = (output[:, 0] - batch.targets["y"]) ** 2
    return Loss(error.sum(), torch.tensor(float(len(error))))


def _make(seed: int) -> tuple[Supervised, Loader]:
    torch.manual_seed(seed)
    network = _Net()
    groups = [{"params": list(network.parameters())}]
    return Supervised(network, _squared, optimizers.build(groups, OptimizerPlan("adamw", 0.02)), ema=0.5), _eight()


def _distance(method: Learns) -> float:
    assert isinstance(method, Supervised)
    with method.evaluating() as network:
        batch = _eight().batch(np.arange(8))
        return float(_squared(network(batch.inputs), batch).sum) / 8


CASE = Case(_make, _distance, 0.05, 400)
