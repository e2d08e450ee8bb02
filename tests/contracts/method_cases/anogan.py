"""Dark pictures with a light corner, here or there: they can be made again, and one with the light elsewhere cannot."""

from __future__ import annotations

import numpy as np
import torch
from method_case import Case

from lamina.data.examples import Examples
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods._unlabelled import Setting
from lamina.methods.anogan import AnoGan, Options, build
from lamina.modalities import Feature
from lamina.networks.assembly import build_body
from lamina.plan import NetworkPlan, OptimizerPlan

SIDE = 12
FEATURES = {"x": Feature("image", (SIDE, SIDE, 1), "uint8")}


def _pictures() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 20, (64, SIDE, SIDE, 1))
    pictures[:32, :6, :6] += 200
    pictures[32:, 6:, 6:] += 200
    return pictures.astype(np.uint8)


def _rows() -> Loader:
    return Loader(Examples({"x": _pictures()}, 64), np.arange(64), ["x"], [], batch_size=32, seed=1)


def _make(seed: int) -> tuple[AnoGan, Loader]:
    torch.manual_seed(seed)
    plan = {"main": NetworkPlan("resnet", ("x",), {"width": 8, "stages": 2})}
    setting = Setting(
        FEATURES, lambda: build_body(plan, FEATURES), dict, OptimizerPlan("adamw", 0.005), 0.5, torch.device("cpu")
    )
    return build(setting, Options(noise=4, width=4, critic=8, rate=0.003)), _rows()


def _distance(method: Learns) -> float:
    """The mean squared error of the pixels, from -1 to 1, of what the encoder's noise makes."""
    assert isinstance(method, AnoGan)
    rows = _rows()
    batch = rows.batch(rows.rows)
    with method.evaluating() as mapped:
        errors = mapped.measure(batch.inputs)[:, :-1]  # type: ignore[operator]
    return float(errors.mean())


CASE = Case(_make, _distance, 0.15, 240)
