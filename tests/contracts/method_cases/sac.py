"""The first of two observed numbers is the best action; the further from it, the smaller the reward."""

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
from lamina.learn.loop import Learns
from lamina.learn.replay import Replay
from lamina.methods import sac
from lamina.methods._control import Setting
from lamina.modalities import Feature
from lamina.networks.assembly import build_assembly
from lamina.networks.assembly.observed import Observed
from lamina.plan import NetworkPlan, OptimizerPlan


class Follow(Env[Any, Any]):
    """Three steps, of which the last is at times cut off."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = -float((action[0] / 2 - 0.8 * self.shown[0]) ** 2)
        self.steps += 1
        cut = bool(self.shown[1] > 0.5)
        return self._look(), reward, self.steps == 3 and not cut, self.steps == 3 and cut, {}

    def _look(self) -> Any:
        self.shown = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.shown


def _make(seed: int) -> tuple[sac.SoftActorCritic, Replay]:
    world = open_world("method_cases.sac:Follow")
    seen = {name: encoder.feature for name, encoder in world.encoders.items()}

    def network(heads: Mapping[str, int], *, action: bool = False) -> nn.Module:
        features = {**seen, **({"action": Feature("numbers", (1,), "float32")} if action else {})}
        plan = {"observation": NetworkPlan("dense", tuple(features), {"width": 32, "activation": "relu"})}
        return Observed(build_assembly(plan, features, heads), features, frozenset({"action"}))

    torch.manual_seed(seed)
    setting = Setting(
        world, lambda number: Vector(world, number, seed), network, OptimizerPlan("adam", 0.005), 4000, seed,
        torch.device("cpu"),
    )  # fmt: skip
    options = sac.Options(copies=4, warmup=32, batch_size=32, updates=0.5, discount=0.5, target_rate=0.05)
    return sac.build(setting, options)


def _distance(method: Learns) -> float:
    """The mean distance from the best action."""
    assert isinstance(method, sac.SoftActorCritic)
    shown = np.random.default_rng(0).uniform(-1, 1, (256, 2)).astype(np.float32)
    return float(np.abs(method.act({"observation": shown})[:, 0] - 0.8 * shown[:, 0]).mean())


CASE = Case(_make, _distance, 0.1, 600)
