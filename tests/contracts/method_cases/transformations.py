"""Pictures that are light at the top left: which way they were turned can be told."""

from __future__ import annotations

import numpy as np
import torch
from method_case import Case

from lamina.data.examples import Examples
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_learner import Unlabelled
from lamina.methods.transformations import Options, build
from lamina.modalities import Feature
from lamina.networks.assembly import build_body
from lamina.plan import NetworkPlan, OptimizerPlan

SIDE = 8
FEATURES = {"x": Feature("image", (SIDE, SIDE, 1), "uint8")}


def _pictures() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 60, (64, SIDE, SIDE, 1))
    pictures[:, :3, :3] += 180
    return pictures.astype(np.uint8)


def _rows() -> Loader:
    return Loader(Examples({"x": _pictures()}, 64), np.arange(64), ["x"], [], batch_size=32, seed=1)


def _make(seed: int) -> tuple[Unlabelled, Loader]:
    torch.manual_seed(seed)
    plan = {"main": NetworkPlan("resnet", ("x",), {"width": 8, "stages": 2})}
    setting = Setting(
        FEATURES, lambda: build_body(plan, FEATURES), dict, OptimizerPlan("adamw", 0.005), 0.5, torch.device("cpu")
    )
    return build(setting, Options(shift=0.0)), _rows()


def _distance(method: Learns) -> float:
    """How surprising the ways are in which they were turned; log 4 for who knows nothing."""
    assert isinstance(method, Unlabelled)
    rows = _rows()
    return float(method.judge(rows.batch(rows.rows)).mean())


CASE = Case(_make, _distance, 0.2, 60)
