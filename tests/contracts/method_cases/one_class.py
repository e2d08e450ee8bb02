"""Rows of eight numbers that follow from two; where one number is another row's, the row is strange."""

from __future__ import annotations

import numpy as np
import torch
from method_case import Case

from lamina.data.examples import Examples
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_learner import Unlabelled
from lamina.methods.one_class import Options, build
from lamina.modalities import Feature
from lamina.networks.assembly import build_body
from lamina.plan import NetworkPlan, OptimizerPlan

FEATURES = {"x": Feature("numbers", (8,), "float32")}


def _numbers() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    random = np.random.default_rng(0)
    free, mixing = random.normal(size=(64, 2)), random.normal(size=(2, 8))
    return np.tanh(free @ mixing).astype(np.float32)


def _rows() -> Loader:
    return Loader(Examples({"x": _numbers()}, 64), np.arange(64), ["x"], [], batch_size=32, seed=1)


def _make(seed: int) -> tuple[Unlabelled, Loader]:
    torch.manual_seed(seed)
    plan = {"main": NetworkPlan("mlp", ("x",), {"width": 32, "depth": 1})}
    setting = Setting(
        FEATURES, lambda: build_body(plan, FEATURES), dict, OptimizerPlan("adamw", 0.005), 0.5, torch.device("cpu")
    )
    return build(setting, Options(width=16)), _rows()


def _distance(method: Learns) -> float:
    """Share of pairs of a usual and a strange row in which the usual one is taken for the stranger."""
    assert isinstance(method, Unlabelled)
    usual = _numbers()
    strange = np.where(np.random.default_rng(1).random(usual.shape) < 0.5, np.roll(usual, 7, axis=0), usual)
    with method.evaluating() as network:
        first, second = (network({"x": torch.from_numpy(x)})["anomaly"][:, 0, 0] for x in (usual, strange))
    return float((first[:, None] >= second).float().mean())


CASE = Case(
    _make, _distance, 0.1, 300, frozenset(name for name in _make(0)[0].weights() if name.split(".")[-1] == "bias")
)
