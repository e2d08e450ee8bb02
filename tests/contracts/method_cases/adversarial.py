"""Dark pictures with a light left side, and light ones with a dark left side: each class must be made as it is."""

from __future__ import annotations

import numpy as np
import torch
from method_case import Case

from lamina.data.examples import Examples
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods._generative import CLASS, Setting
from lamina.methods.adversarial import Adversarial, Options, build
from lamina.networks.adversarial.generator import NOISE
from lamina.plan import OptimizerPlan

SIDE, CODES = 12, np.array([2, 3])


def _pictures() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    codes = np.repeat(CODES, 48)
    left = np.where(codes == CODES[0], 210, 40)[:, None, None]
    pictures = np.broadcast_to(250 - left, (len(codes), SIDE, SIDE)).copy()
    pictures[:, :, : SIDE // 2] = left
    noisy = pictures + random.normal(0, 8, pictures.shape)
    return noisy.clip(0, 255).astype(np.uint8)[:, :, :, None], codes.astype(np.int64)


def _make(seed: int) -> tuple[Adversarial, Loader]:
    torch.manual_seed(seed)
    pictures, codes = _pictures()
    optimizer = OptimizerPlan("adam", 0.003, weight_decay=0.0, momentum=0.0, beta2=0.99)
    setting = Setting("x", (SIDE, SIDE, 1), 4, optimizer, 0.9, 0.1, torch.device("cpu"))
    rows = Loader(
        Examples({"x": pictures, CLASS: codes}, len(codes)), np.arange(len(codes)), ["x"], [CLASS], 32, seed=1
    )
    return build(setting, Options(noise=4, width=4, critic=8)), rows


def _distance(method: Learns) -> float:
    """How far the mean made picture of each class lies from the mean real one, as a share of white."""
    assert isinstance(method, Adversarial)
    pictures, codes = _pictures()
    noise = torch.randn(64, method.noise, generator=torch.Generator().manual_seed(0))
    apart = []
    with method.evaluating() as generator:
        for code in CODES:
            made = (generator({NOISE: noise, CLASS: torch.full((64,), int(code))}).mean(dim=0)[0].numpy() + 1) * 127.5
            apart.append(np.abs(made - pictures[codes == code].mean(axis=0)[:, :, 0]).mean() / 255)
    return float(np.mean(apart))


CASE = Case(_make, _distance, 0.08, 200)
