"""A generative adversarial network: one network makes pictures, another tells them from real ones.

The idea is Goodfellow et al. 2014, "Generative adversarial nets". The loss is that of Huang et al. 2024, "The GAN is
dead; long live the GAN! A modern GAN baseline" (R3GAN): a real and a made picture are judged against each other
(relativistic pairing, Jolicoeur-Martineau 2018), which leaves no reason to forget parts of the data, and the critic's
slope is held near zero on real and on made pictures (Mescheder et al. 2018, "Which training methods for GANs do
actually converge?", R1 and R2), which makes the game settle. Penalties are taken every few steps only, and weighed up
for it (Karras et al. 2020, "lazy regularization"). What is sealed is a running average of the generator (Yazici et al.
2019). With few pictures the critic sees them, real and made alike, shifted at random (Zhao et al. 2020,
"Differentiable augmentation for data-efficient GAN training").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.methods._generative import CLASS, Setting
from lamina.methods._relativistic import at_rest, copied, follow, fooling, scaled, seen, telling, untouched
from lamina.modalities import Feature
from lamina.networks.adversarial.critic import Critic
from lamina.networks.adversarial.generator import ANY, NOISE, Generator
from lamina.networks.blocks.options import positive, share, whole

GIVES = ("generate",)
REAL, MADE = "real", "made"


@dataclass(frozen=True)
class Options:
    """Settings of an adversarial network.

    Attributes:
        noise: numbers that a picture is made from.
        width: channels of the generator's largest map; smaller maps have more.
        critic: channels of the critic's largest map.
        looks: a residual convolution at each size of the map, in both.
        penalty: weight of the critic's squared slope.
        every: steps from one penalty to the next.
        unnamed: share of the pictures whose class is not said, so that a picture of any class can be asked for.
    """

    noise: int = whole(64)
    width: int = whole(16)
    critic: int = whole(32)
    looks: bool = True
    penalty: float = positive(0.5)
    every: int = whole(4)
    unnamed: float = share(0.1)


class Pair(nn.Module):
    """Generator and critic."""

    def __init__(self, setting: Setting, options: Options) -> None:
        super().__init__()
        self.generator = Generator(setting.shape, options.noise, setting.classes, options.width, options.looks)
        self.critic = Critic(setting.shape, setting.classes, options.critic, options.looks)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """As many pictures as there are rows, of the first class."""
        rows = next(iter(inputs.values()))
        noise = torch.randn(len(rows), self.generator.noise, device=rows.device)
        made: Tensor = self.generator({NOISE: noise, CLASS: torch.zeros(len(rows), device=rows.device)})
        return made


class Adversarial:
    """Owns generator, critic and an optimizer for each; keeps `lamina.learn.loop.Learns` and `Makes`.

    Args:
        pair: on the setting's device.
    """

    def __init__(self, pair: Pair, setting: Setting, options: Options) -> None:
        self.network, self.setting, self.options = pair, setting, options
        self.noise = options.noise
        self.generator_steps = optimizers.build([{"params": list(pair.generator.parameters())}], setting.optimizer)
        self.critic_steps = optimizers.build([{"params": list(pair.critic.parameters())}], setting.optimizer)
        self.optimizers = [*self.generator_steps, *self.critic_steps]
        self.steps = 0
        self.average = copied(pair.generator.state_dict())

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """One step of the critic, then one of the generator, on the same real pictures."""
        batch, pair = self._unnamed(batch.to(engine.device)), self.network
        pair.train()
        real, classes = scaled(batch.inputs[self.setting.field]), dict(batch.targets)
        with torch.no_grad():
            made = pair.generator(self._start(batch))
        judged = engine.descend(
            self.critic_loss, Batch(batch.rows, {REAL: real, MADE: made}, classes), self.critic_steps
        )
        with untouched(pair.critic):
            drawn = Batch(batch.rows, {REAL: real, NOISE: self._start(batch)[NOISE]}, classes)
            fooled = engine.descend(self.loss, drawn, self.generator_steps, pair.generator)
        self.steps += 1
        follow(self.average, pair.generator, self.setting.ema, self.steps)
        found = {"loss": fooled["loss"], "critic": judged["loss"], "apart": judged["apart"]}
        return {**found, **({"slope": judged["slope"]} if "slope" in judged else {})}

    def loss(self, batch: Batch) -> Loss:
        """The generator's (`lamina.methods._relativistic.fooling`)."""
        pair = self.network
        made = pair.generator({NOISE: batch.inputs[NOISE], **batch.targets})
        each = fooling(pair.critic, *self._shown(batch.inputs[REAL], made), batch.targets.get(CLASS))
        return Loss(each.sum(), torch.tensor(float(len(each)), device=each.device))

    def critic_loss(self, batch: Batch) -> Loss:
        """The critic's (`lamina.methods._relativistic.telling`), with its penalty every few steps."""
        options = self.options
        penalty = options.every * options.penalty if self.steps % options.every == 0 else 0.0
        real, made = self._shown(batch.inputs[REAL], batch.inputs[MADE])
        each, metrics = telling(self.network.critic, real, made, penalty, batch.targets.get(CLASS))
        return Loss(each.sum(), torch.tensor(float(len(each)), device=each.device), metrics)

    def _unnamed(self, batch: Batch) -> Batch:
        """Some classes left unsaid."""
        if CLASS not in batch.targets:
            return batch
        classes = batch.targets[CLASS]
        unsaid = torch.rand(len(classes), device=classes.device) < self.options.unnamed
        return Batch(batch.rows, batch.inputs, {CLASS: torch.where(unsaid, ANY, classes)})

    def _start(self, batch: Batch) -> dict[str, Tensor]:
        noise = torch.randn(len(batch), self.noise, device=batch.rows.device)
        return {NOISE: noise, **batch.targets}

    def _shown(self, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """What the critic sees: both pictures of a pair shifted alike."""
        return seen(real, made, self.setting.translate)

    def weights(self) -> dict[str, Tensor]:
        """The generator's averaged weights."""
        return self.average

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put `weights` (as from `weights`) into the generator, and into the average."""
        self.network.generator.load_state_dict(dict(weights))
        self.average = copied(weights)

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The generator at rest with the averaged weights; afterwards as it was."""
        with at_rest(self.network.generator, self.average):
            yield self.network.generator

    def state(self) -> dict[str, Any]:
        return {
            "pair": dict(self.network.state_dict()),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["pair"])
        self.average = copied(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.steps = state["steps"]


def reads(features: Mapping[str, Feature]) -> bool:
    """One field of pictures."""
    return len(features) == 1 and all(feature.kind == "image" for feature in features.values())


def build(setting: Setting, options: Options) -> Adversarial:
    """The method, with fresh weights from PyTorch's generator."""
    return Adversarial(Pair(setting, options).to(setting.device), setting, options)
