"""Rows of six numbers that follow from two, and a category that follows from one: they must come back."""

from __future__ import annotations

import numpy as np
import torch
from method_case import Case

from lamina.data.examples import Examples
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_learner import Unlabelled
from lamina.methods.autoencoder import Options, build
from lamina.modalities import Feature
from lamina.networks.assembly import build_body
from lamina.plan import NetworkPlan, OptimizerPlan

FEATURES = {"x": Feature("numbers", (6,), "float32"), "sign": Feature("category", (), "int32", size=4)}


def _rows() -> Loader:
    random = np.random.default_rng(0)
    free = random.normal(size=(32, 2))
    x = np.tanh(free @ random.normal(size=(2, 6))).astype(np.float32)
    arrays = {"x": x, "sign": (2 + (free[:, 0] > 0)).astype(np.int32)}
    return Loader(Examples(arrays, 32), np.arange(32), list(FEATURES), [], batch_size=16, seed=1)


def _make(seed: int) -> tuple[Unlabelled, Loader]:
    torch.manual_seed(seed)
    plan = {"main": NetworkPlan("mlp", tuple(FEATURES), {"width": 32, "depth": 1})}
    setting = Setting(
        FEATURES, lambda: build_body(plan, FEATURES), dict, OptimizerPlan("adamw", 0.01), 0.5, torch.device("cpu")
    )
    return build(setting, Options(bottleneck=3, hidden=32)), _rows()


def _distance(method: Learns) -> float:
    assert isinstance(method, Unlabelled)
    return float(method.judge(_rows().batch(np.arange(32))).mean())


CASE = Case(_make, _distance, 0.15, 200)
