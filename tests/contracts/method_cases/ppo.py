"""The first of two observed numbers says by its sign which of two actions is rewarded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import Env, spaces
from method_case import Case
from torch import nn

from lamina.environments.spaces import open_world
from lamina.environments.vector import Vector
from lamina.learn.collector import Collector
from lamina.learn.loop import Learns
from lamina.methods import ppo
from lamina.methods._control import Setting
from lamina.networks.assembly import build_assembly
from lamina.networks.assembly.observed import Observed
from lamina.plan import NetworkPlan, OptimizerPlan


class Signs(Env[Any, Any]):
    """Three steps, of which the last is at times cut off."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == (self.shown[0] > 0))
        self.steps += 1
        cut = self.shown[1] > 0.5
        return self._look(), reward, self.steps == 3 and not cut, self.steps == 3 and cut, {}

    def _look(self) -> Any:
        self.shown = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.shown


def _make(seed: int) -> tuple[ppo.Ppo, Collector]:
    world = open_world("method_cases.ppo:Signs")
    features = {name: encoder.feature for name, encoder in world.encoders.items()}
    plan = {"observation": NetworkPlan("dense", tuple(features), {"width": 16})}

    def network(heads: Mapping[str, int], *, action: bool = False) -> nn.Module:
        return Observed(build_assembly(plan, features, heads), features)

    def copies(number: int) -> Vector:
        return Vector(world, number, seed)

    torch.manual_seed(seed)
    setting = Setting(world, copies, network, OptimizerPlan("adam", 0.01), 0, seed, torch.device("cpu"))
    return ppo.build(setting, ppo.Options(copies=4, horizon=16, minibatches=2))


def _distance(method: Learns) -> float:
    """The mean chance of the wrong action."""
    assert isinstance(method, ppo.Ppo)
    shown = np.random.default_rng(0).uniform(-1, 1, (256, 2)).astype(np.float32)
    right = torch.from_numpy((shown[:, 0] > 0).astype(np.int64))
    with method.evaluating() as policy:
        chance = policy({"observation": torch.from_numpy(shown)})["action"][:, 0].softmax(dim=1)
    return float(1 - chance.gather(1, right.unsqueeze(1)).mean())


CASE = Case(_make, _distance, 0.1, 60)
