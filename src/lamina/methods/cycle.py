"""Two makers and two critics: pictures of one class become like those of another, and can be turned back.

Zhu et al. 2017, "Unpaired image-to-image translation using cycle-consistent adversarial networks" (CycleGAN). No
picture has a counterpart in the other class, so what keeps a turned picture's content is that the way back must lead to
where it came from (cycle consistency), and that a picture which is of the wanted class already is left as it is
(identity). The game of makers and critics is that of `lamina.methods.adversarial`: with a relativistic loss and held
slopes it settles without the paper's memory of earlier pictures. What is sealed is a running average of the maker of
one direction.
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
from lamina.methods._generative import RESULT, SOURCE, Setting
from lamina.methods._relativistic import at_rest, copied, follow, fooling, scaled, seen, telling, untouched
from lamina.modalities import Feature
from lamina.networks.adversarial.critic import Critic
from lamina.networks.adversarial.translator import Translator
from lamina.networks.blocks.options import positive, share, whole

GIVES = ("restyle",)
TURNED, RETURNED = "turned", "returned"
"""Made pictures of the result's class, and of the source's, in the critics' batches."""


@dataclass(frozen=True)
class Options:
    """Settings of a cycle.

    Attributes:
        width: channels of the makers' largest map.
        depth: residual blocks of each maker.
        critic: channels of the critics' largest map.
        looks: a residual convolution at each size of the critics' maps.
        cycle: weight of what does not come back as it was, as a mean absolute error of values from -1 to 1.
        identity: weight of what is changed though it is of the wanted class already, as a share of `cycle`; 0 for none.
        penalty: weight of the critics' squared slope.
        every: steps from one penalty to the next.
    """

    width: int = whole(16)
    depth: int = whole(4)
    critic: int = whole(32)
    looks: bool = True
    cycle: float = positive(10.0)
    identity: float = share(0.5)
    penalty: float = positive(0.5)
    every: int = whole(4)


class Makers(nn.Module):
    """From the source's class to the result's, and back."""

    def __init__(self, shape: tuple[int, int, int], options: Options) -> None:
        super().__init__()
        self.onward = Translator(shape, options.width, options.depth)
        self.back = Translator(shape, options.width, options.depth)


class Critics(nn.Module):
    """One for each class: is it a real picture of it?"""

    def __init__(self, shape: tuple[int, int, int], options: Options) -> None:
        super().__init__()
        self.of_result = Critic(shape, 0, options.critic, options.looks)
        self.of_source = Critic(shape, 0, options.critic, options.looks)


class Circle(nn.Module):
    """Makers and critics."""

    def __init__(self, setting: Setting, options: Options) -> None:
        super().__init__()
        self.makers = Makers(setting.shape, options)
        self.critics = Critics(setting.shape, options)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The source's pictures turned, [row, channel, height, width] from -1 to 1."""
        turned: Tensor = self.makers.onward(scaled(inputs[SOURCE]))
        return turned


class Cycle:
    """Owns makers, critics and an optimizer for each; keeps `lamina.learn.loop.Learns` and `Turns`.

    Args:
        circle: on the setting's device.
    """

    def __init__(self, circle: Circle, setting: Setting, options: Options) -> None:
        self.network, self.setting, self.options = circle, setting, options
        self.maker_steps = optimizers.build([{"params": list(circle.makers.parameters())}], setting.optimizer)
        self.critic_steps = optimizers.build([{"params": list(circle.critics.parameters())}], setting.optimizer)
        self.optimizers = [*self.maker_steps, *self.critic_steps]
        self.steps = 0
        self.average = copied(circle.makers.state_dict())

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """One step of the critics, then one of the makers, on the same real pictures."""
        batch, circle = batch.to(engine.device), self.network
        circle.train()
        real = {name: scaled(batch.inputs[name]) for name in (SOURCE, RESULT)}
        with torch.no_grad():
            made = {TURNED: circle.makers.onward(real[SOURCE]), RETURNED: circle.makers.back(real[RESULT])}
        judged = engine.descend(self.critic_loss, Batch(batch.rows, {**real, **made}), self.critic_steps)
        with untouched(circle.critics):
            fooled = engine.descend(self.loss, Batch(batch.rows, real), self.maker_steps)
        self.steps += 1
        follow(self.average, circle.makers, self.setting.ema, self.steps)
        return {**fooled, "critic": judged["loss"], **{name: judged[name] for name in judged if name in SHOWN}}

    def loss(self, batch: Batch) -> Loss:
        """The makers': whether they fool the critics, what does not come back, and what need not have been changed."""
        circle, options = self.network, self.options
        onward, back = circle.makers.onward, circle.makers.back
        source, result = batch.inputs[SOURCE], batch.inputs[RESULT]
        turned, returned = onward(source), back(result)
        each = fooling(circle.critics.of_result, *seen(result, turned, self.setting.translate))
        each = each + fooling(circle.critics.of_source, *seen(source, returned, self.setting.translate))
        lost = _error(back(turned), source) + _error(onward(returned), result)
        each = each + options.cycle * lost
        metrics = {"cycle": lost.detach().mean() / 2}
        if options.identity > 0:
            changed = _error(onward(result), result) + _error(back(source), source)
            each = each + options.cycle * options.identity * changed
            metrics["identity"] = changed.detach().mean() / 2
        return Loss(each.sum(), torch.tensor(float(len(each)), device=each.device), metrics)

    def critic_loss(self, batch: Batch) -> Loss:
        """The critics', each on pictures of its class; with their penalty every few steps."""
        options, critics, inputs = self.options, self.network.critics, batch.inputs
        penalty = options.every * options.penalty if self.steps % options.every == 0 else 0.0
        pairs = ((critics.of_result, RESULT, TURNED), (critics.of_source, SOURCE, RETURNED))
        (one, told), (other, more) = (
            telling(critic, *seen(inputs[real], inputs[made], self.setting.translate), penalty)
            for critic, real, made in pairs
        )
        each = one + other
        metrics = {name: (value + more[name]) / 2 for name, value in told.items()}
        return Loss(each.sum(), torch.tensor(float(len(each)), device=each.device), metrics)

    def weights(self) -> dict[str, Tensor]:
        """Both makers' averaged weights."""
        return self.average

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put `weights` (as from `weights`) into the makers, and into the average."""
        self.network.makers.load_state_dict(dict(weights))
        self.average = copied(weights)

    @contextmanager
    def evaluating(self) -> Iterator[Makers]:
        """Both makers at rest with the averaged weights; afterwards as they were."""
        with at_rest(self.network.makers, self.average):
            yield self.network.makers

    def state(self) -> dict[str, Any]:
        return {
            "circle": dict(self.network.state_dict()),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["circle"])
        self.average = copied(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.steps = state["steps"]


SHOWN = ("apart", "slope")
"""Of the critics' metrics, what is logged."""


def _error(answer: Tensor, truth: Tensor) -> Tensor:
    """The mean absolute error of each picture, [row]."""
    return (answer.float() - truth).abs().mean(dim=(1, 2, 3))


def reads(features: Mapping[str, Feature]) -> bool:
    """One field of pictures."""
    return len(features) == 1 and all(feature.kind == "image" for feature in features.values())


def build(setting: Setting, options: Options) -> Cycle:
    """The method, with fresh weights from PyTorch's generator."""
    return Cycle(Circle(setting, options).to(setting.device), setting, options)
