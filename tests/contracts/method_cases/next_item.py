"""Twelve items in a circle: after each comes the next one, wherever somebody began."""

from __future__ import annotations

import numpy as np
import torch
from method_case import Case

from lamina.learn.loop import Learns
from lamina.learn.windows import Windows
from lamina.methods.next_item import NextItem, Options, build
from lamina.networks.recommenders import two_tower
from lamina.networks.recommenders._items import Items
from lamina.networks.recommenders._recommender import ANSWER, HISTORY, About, Recommender
from lamina.plan import OptimizerPlan

ITEMS, STEPS = 12, 6


def _circles() -> Windows:
    codes = np.concatenate([(start + np.arange(9)) % ITEMS + 1 for start in range(ITEMS)]).astype(np.int32)
    starts = np.arange(ITEMS + 1, dtype=np.int64) * 9
    return Windows(codes, np.ones(len(codes), np.float32), starts, STEPS, 8, {}, seed=1)


def _make(seed: int) -> tuple[NextItem, Windows]:
    torch.manual_seed(seed)
    kinds = torch.eye(3)[torch.arange(ITEMS) % 3]
    items = Items(torch.full((ITEMS,), 9.0), kinds, 16, hidden=0.1)
    network = two_tower.build(STEPS, two_tower.Options(width=16, hidden=32, dropout=0.1))
    recommender = Recommender(items, About({}, 16), network, STEPS, repeat=False)
    return build(recommender, Options(negatives=8), OptimizerPlan("adamw", 0.01), ema=0.9), _circles()


def _distance(method: Learns) -> float:
    """The share of histories of two items after which another item than the next one is the first."""
    assert isinstance(method, NextItem)
    first = torch.arange(ITEMS)
    history = torch.stack([first + 1, (first + 1) % ITEMS + 1], dim=1)
    with method.evaluating() as network:
        found = network({HISTORY: torch.nn.functional.pad(history, (0, STEPS)).int()})[ANSWER][:, 0].argmax(dim=1)
    return float((found != (first + 2) % ITEMS).float().mean())


CASE = Case(_make, _distance, 0.1, 300, frozenset({"items.counts", "items.features"}))
