"""Rows of four numbers that mean something and four that each view draws anew: the embedding must leave those out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from method_case import Case
from torch import Tensor

from lamina.data.examples import Examples
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_learner import Unlabelled
from lamina.methods.contrastive import Options, build
from lamina.modalities import Feature
from lamina.networks.assembly import build_body
from lamina.plan import NetworkPlan, OptimizerPlan

FEATURES = {"x": Feature("numbers", (4,), "float32"), "chance": Feature("numbers", (4,), "float32")}


def _rows() -> Loader:
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=(64, 4)).astype(np.float32) for name in FEATURES}
    return Loader(Examples(arrays, 64), np.arange(64), list(FEATURES), [], batch_size=64, seed=1)


def _view(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {**inputs, "chance": torch.randn_like(inputs["chance"])}


def _make(seed: int) -> tuple[Unlabelled, Loader]:
    torch.manual_seed(seed)
    plan = {"main": NetworkPlan("mlp", tuple(FEATURES), {"width": 32, "depth": 1, "dropout": 0.0})}
    setting = Setting(
        FEATURES, lambda: build_body(plan, FEATURES), _view, OptimizerPlan("adamw", 0.005), 0.5, torch.device("cpu")
    )
    return build(setting, Options(hidden=32, width=16, swap=0.0)), _rows()


def _distance(method: Learns) -> float:
    """How far two views of a row lie apart in the embedding, as a share of how far two rows do (squares)."""
    assert isinstance(method, Unlabelled)
    inputs = _rows().batch(np.arange(64)).inputs
    with method.evaluating() as network, torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = (network(_view(inputs))["embedding"][:, 0] for _ in range(2))
    return float((first - second).square().mean() / (first - first.roll(1, 0)).square().mean())


CASE = Case(_make, _distance, 0.1, 150)
