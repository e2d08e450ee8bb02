"""The first of two observed numbers says by its sign which of two actions is rewarded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from method_case import Case
from torch import nn

from lamina.environments.spaces import open_world
from lamina.environments.vector import Vector
from lamina.learn.loop import Learns
from lamina.learn.replay import Replay
from lamina.methods import dqn
from lamina.methods._control import Setting
from lamina.networks.assembly import build_assembly
from lamina.networks.assembly.observed import Observed
from lamina.plan import NetworkPlan, OptimizerPlan


def _make(seed: int) -> tuple[dqn.DeepQ, Replay]:
    world = open_world("method_cases.ppo:Signs")
    features = {name: encoder.feature for name, encoder in world.encoders.items()}
    plan = {"observation": NetworkPlan("dense", tuple(features), {"width": 16, "activation": "relu"})}

    def network(heads: Mapping[str, int], *, action: bool = False) -> nn.Module:
        return Observed(build_assembly(plan, features, heads), features)

    torch.manual_seed(seed)
    setting = Setting(
        world, lambda number: Vector(world, number, seed), network, OptimizerPlan("adam", 0.01), 4000, seed,
        torch.device("cpu"),
    )  # fmt: skip
    options = dqn.Options(
        copies=4, warmup=32, batch_size=32, updates=0.5, discount=0.5, steps=2, priority=0.6, target_rate=0.05
    )
    return dqn.build(setting, options)


def _distance(method: Learns) -> float:
    """The share of wrong actions."""
    assert isinstance(method, dqn.DeepQ)
    shown = np.random.default_rng(0).uniform(-1, 1, (256, 2)).astype(np.float32)
    return float((method.act({"observation": shown}) != (shown[:, 0] > 0)).mean())


CASE = Case(_make, _distance, 0.1, 300)
