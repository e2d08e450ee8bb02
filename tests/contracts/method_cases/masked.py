"""Four categories that are always equal: where one is of another row, the others tell what it was."""

from __future__ import annotations

import numpy as np
import torch
from method_case import Case

from lamina.data.examples import Examples
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_learner import Unlabelled
from lamina.methods.masked import Options, build
from lamina.modalities import Feature
from lamina.networks.assembly import build_body
from lamina.plan import NetworkPlan, OptimizerPlan

FEATURES = {name: Feature("category", (), "int32", size=6) for name in ("one", "two", "three", "four")}


def _rows() -> Loader:
    same = (2 + np.arange(32) % 4).astype(np.int32)
    return Loader(Examples(dict.fromkeys(FEATURES, same), 32), np.arange(32), list(FEATURES), [], 32, seed=1)


def _make(seed: int) -> tuple[Unlabelled, Loader]:
    torch.manual_seed(seed)
    plan = {"main": NetworkPlan("mlp", tuple(FEATURES), {"width": 32, "depth": 1})}
    setting = Setting(
        FEATURES, lambda: build_body(plan, FEATURES), dict, OptimizerPlan("adamw", 0.02), 0.5, torch.device("cpu")
    )
    return build(setting, Options(share=0.1, hidden=32)), _rows()


def _distance(method: Learns) -> float:
    """The error of a field of another value than the three others."""
    assert isinstance(method, Unlabelled)
    return float(method.judge(_rows().batch(np.arange(32))).mean())


CASE = Case(_make, _distance, 0.15, 200)
