"""A bright square on dark grounds, and on light ones: of a turned picture the ground changes and the square stays."""

from __future__ import annotations

import numpy as np
import torch
from method_case import Case

from lamina.data.examples import Examples
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.learn.unpaired import Unpaired
from lamina.methods._generative import RESULT, SOURCE, Setting
from lamina.methods._relativistic import scaled
from lamina.methods.cycle import Cycle, Options, build
from lamina.plan import OptimizerPlan

SIDE, EACH = 8, 48
DARK, BRIGHT, SQUARE = 40, 170, 250


def _pictures(ground: int, seed: int) -> np.ndarray:
    """uint8 [row, height, width, channel]; the square is anywhere."""
    random = np.random.default_rng(seed)
    pictures = ground + random.normal(0, 4, (EACH, SIDE, SIDE, 1))
    for picture, (row, column) in zip(pictures, random.integers(0, SIDE - 2, (EACH, 2)), strict=True):
        picture[row : row + 3, column : column + 3] = SQUARE
    return pictures.clip(0, 255).astype(np.uint8)


def _make(seed: int) -> tuple[Cycle, Unpaired]:
    torch.manual_seed(seed)
    pictures = np.concatenate([_pictures(DARK, 0), _pictures(BRIGHT, 1)])
    optimizer = OptimizerPlan("adam", 0.003, weight_decay=0.0, momentum=0.0, beta2=0.99)
    setting = Setting("x", (SIDE, SIDE, 1), 0, optimizer, 0.9, 0.0, torch.device("cpu"))
    examples = Examples({"x": pictures}, len(pictures))
    first, second = (Loader(examples, np.arange(EACH) + more * EACH, ["x"], [], 8, seed=1 + more) for more in range(2))
    method = build(setting, Options(width=4, depth=1, critic=4))
    return method, Unpaired(first, second, (SOURCE, RESULT))


def _distance(method: Learns) -> float:
    """How far turned pictures lie from the same ones on the other ground, as a share of white; there and back."""
    assert isinstance(method, Cycle)
    apart = []
    with method.evaluating() as makers:
        for maker, one, other in ((makers.onward, DARK, BRIGHT), (makers.back, BRIGHT, DARK)):
            before = _pictures(one, 2).astype(np.int64)
            truth = np.where(before > (BRIGHT + SQUARE) // 2, before, before + other - one)
            made = (maker(scaled(torch.from_numpy(before))).permute(0, 2, 3, 1).numpy() + 1) * 127.5
            apart.append(np.abs(made - truth).mean() / 255)
    return float(np.mean(apart))


CASE = Case(_make, _distance, 0.07, 150)
