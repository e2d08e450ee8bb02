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
from torch.nn import functional

from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.methods._generative import CLASS, Setting
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
        self.average = {name: value.clone() for name, value in pair.generator.state_dict().items()}

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """One step of the critic, then one of the generator, on the same real pictures."""
        batch, pair = self._unnamed(batch.to(engine.device)), self.network
        pair.train()
        real, classes = self._real(batch), dict(batch.targets)
        with torch.no_grad():
            made = pair.generator(self._start(batch))
        judged = engine.descend(
            self.critic_loss, Batch(batch.rows, {REAL: real, MADE: made}, classes), self.critic_steps
        )
        # The critic only passes gradients on: its own would cost as much again.
        pair.critic.requires_grad_(False)
        try:
            drawn = Batch(batch.rows, {REAL: real, NOISE: self._start(batch)[NOISE]}, classes)
            fooled = engine.descend(self.loss, drawn, self.generator_steps)
        finally:
            pair.critic.requires_grad_(True)
        self.steps += 1
        self._follow()
        found = {"loss": fooled["loss"], "critic": judged["loss"], "apart": judged["apart"]}
        return {**found, **({"slope": judged["slope"]} if "slope" in judged else {})}

    def loss(self, batch: Batch) -> Loss:
        """The generator's: how much more real a real picture looks than the one made beside it."""
        pair, classes = self.network, batch.targets.get(CLASS)
        made = pair.generator({NOISE: batch.inputs[NOISE], **batch.targets})
        real, made = self._shown(batch.inputs[REAL], made)
        with torch.no_grad():
            known = pair.critic(real, classes)
        each = functional.softplus(known - pair.critic(made, classes)).float()
        return Loss(each.sum(), torch.tensor(float(len(each)), device=each.device))

    def critic_loss(self, batch: Batch) -> Loss:
        """The critic's: how much less real a real picture looks than a made one, and how steep its answers are."""
        classes = batch.targets.get(CLASS)
        shown = torch.cat(self._shown(batch.inputs[REAL], batch.inputs[MADE]))
        penalised = self.steps % self.options.every == 0
        shown.requires_grad_(penalised)
        answers = self.network.critic(shown, None if classes is None else torch.cat([classes, classes])).float()
        real, made = answers.chunk(2)
        each = functional.softplus(made - real)
        metrics = {"apart": (real - made).detach().mean()}
        if penalised:
            (slope,) = torch.autograd.grad(answers.sum(), shown, create_graph=True)
            steep = sum(slope.float().square().sum(dim=(1, 2, 3)).chunk(2))
            assert isinstance(steep, Tensor)
            each = each + self.options.every * self.options.penalty / 2 * steep
            metrics["slope"] = steep.detach().mean() / 2
        return Loss(each.sum(), torch.tensor(float(len(each)), device=each.device), metrics)

    def _real(self, batch: Batch) -> Tensor:
        pictures = batch.inputs[self.setting.field]
        return (pictures.float() / 127.5 - 1).permute(0, 3, 1, 2)

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
        most = [round(self.setting.translate * side) for side in real.shape[2:]]
        return shifted((real, made), most) if max(most) else (real, made)

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.setting.ema, (1 + self.steps) / (10 + self.steps))
        for name, value in self.network.generator.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def weights(self) -> dict[str, Tensor]:
        """The generator's averaged weights."""
        return self.average

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put `weights` (as from `weights`) into the generator, and into the average."""
        self.network.generator.load_state_dict(dict(weights))
        self.average = {name: value.clone() for name, value in weights.items()}

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The generator at rest with the averaged weights; afterwards as it was."""
        generator = self.network.generator
        training, own = generator.training, {name: value.clone() for name, value in generator.state_dict().items()}
        generator.load_state_dict(self.average)
        generator.eval()
        try:
            with torch.inference_mode():
                yield generator
        finally:
            generator.load_state_dict(own)
            generator.train(training)

    def state(self) -> dict[str, Any]:
        return {
            "pair": dict(self.network.state_dict()),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["pair"])
        self.average = {name: value.clone() for name, value in state["average"].items()}
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.steps = state["steps"]


def shifted(pictures: tuple[Tensor, Tensor], most: list[int]) -> tuple[Tensor, Tensor]:
    """Each pair of pictures, [row, channel, height, width], moved by the same number of pixels, at most `most` along
    each axis; what comes in is the edge. Draws from PyTorch's generator."""
    rows, _, height, width = pictures[0].shape
    device = pictures[0].device
    places = []
    for side, reach in zip((height, width), most, strict=True):
        moved = torch.randint(-reach, reach + 1, (rows, 1), device=device)
        places.append((torch.arange(side, device=device) + moved).clamp(0, side - 1))
    row = torch.arange(rows, device=device)[:, None, None]
    one, other = (
        values.permute(0, 2, 3, 1)[row, places[0][:, :, None], places[1][:, None, :]].permute(0, 3, 1, 2)
        for values in pictures
    )
    return one, other


def reads(features: Mapping[str, Feature]) -> bool:
    """One field of pictures."""
    return len(features) == 1 and all(feature.kind == "image" for feature in features.values())


def build(setting: Setting, options: Options) -> Adversarial:
    """The method, with fresh weights from PyTorch's generator."""
    return Adversarial(Pair(setting, options).to(setting.device), setting, options)
