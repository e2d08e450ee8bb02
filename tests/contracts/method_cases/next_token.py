"""Eleven tokens in a circle: after each comes the next one, wherever a window begins."""

from __future__ import annotations

import numpy as np
import torch
from method_case import Case

from lamina.learn.loop import Learns
from lamina.learn.stream import TEXT, Stream
from lamina.methods.next_token import Options, build
from lamina.methods.supervised import Supervised
from lamina.networks.writers import decoder
from lamina.plan import OptimizerPlan

TOKENS, LENGTH = 11, 8


def _make(seed: int) -> tuple[Supervised, Stream]:
    torch.manual_seed(seed)
    circle = (1 + np.arange(400) % TOKENS).astype(np.int32)
    network = decoder.build(TOKENS + 1, LENGTH, 0, decoder.Options(width=16, depth=1, heads=2, dropout=0.1))
    method = build(network, Options(smoothing=0.05), OptimizerPlan("adamw", 0.01), ema=0.9)
    return method, Stream(circle, LENGTH, 8, seed=1)


def _distance(method: Learns) -> float:
    """The share of tokens after which another one than the next of the circle is the likeliest."""
    assert isinstance(method, Supervised)
    first = torch.arange(1, TOKENS + 1)
    with method.evaluating() as network:
        found = network({TEXT: first.unsqueeze(1).int()})[:, 0].argmax(dim=1)
    return float((found != first % TOKENS + 1).float().mean())


CASE = Case(_make, _distance, 0.05, 150)
