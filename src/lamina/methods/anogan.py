"""What a generator of ordinary pictures cannot make is strange: f-AnoGAN.

Schlegl et al. 2019, "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks". First a
generator learns to make ordinary pictures from noise, against a critic (here with the loss of
`lamina.methods.adversarial`). Then both stand still, and an encoder learns to find the noise that a picture is made
from ("izi_f", the variant that the paper recommends). What comes back otherwise than it was is strange: by its pixels,
which also say where, and by what the critic sees in them. The paper adds the two with a fixed weight; here each counts
in standard deviations of what is usual, as in the other methods that say where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.learn.batch import Batch
from lamina.learn.engine import Engine
from lamina.methods import _generative, adversarial
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_learner import Objective, Unlabelled
from lamina.methods._unlabelled_moments import Surprise
from lamina.modalities import Feature
from lamina.networks.adversarial.critic import Critic
from lamina.networks.adversarial.generator import NOISE, Generator
from lamina.networks.assembly import Assembly
from lamina.networks.blocks.options import positive, share, whole
from lamina.networks.decoders.places import PICTURE_PLACES, averaging
from lamina.plan import OptimizerPlan

GIVES = ("anomaly",)

MADE = "made"
AVERAGED = 0.995
"""Decay of the generator's running average, which the encoder learns on: that of some hundred steps."""


@dataclass(frozen=True)
class Options:
    """Settings of an encoder on a generator.

    Attributes:
        game: share of the training in which generator and critic learn; the encoder learns in the rest.
        noise: numbers that a picture is made from.
        width: channels of the generator's largest map.
        critic: channels of the critic's largest map.
        rate: highest learning rate of generator and critic.
        seen: weight of what the critic sees, beside the pixels, in the encoder's loss.
    """

    game: float = share(0.5)
    noise: int = whole(64)
    width: int = whole(16)
    critic: int = whole(32)
    rate: float = positive(1e-3)
    seen: float = positive(1.0)


class Mapped(Objective):
    """Encoder, a generator, and the convolutions of a critic; nothing in here changes the last two.

    Args:
        body: of the encoder, without heads.
        field: of the pictures.
        shape: (height, width, channels).
    """

    def __init__(self, body: Assembly, field: str, shape: tuple[int, int, int], options: Options) -> None:
        super().__init__(body)
        self.field, self.options = field, options
        self.head = nn.Linear(body.output.width, options.noise)
        self.generator = Generator(shape, options.noise, 0, options.width).requires_grad_(False).eval()
        self.critic = Critic(shape, 0, options.critic).stages.requires_grad_(False).eval()
        rows, columns = (min(PICTURE_PLACES, side) for side in shape[:2])
        self.places = {field: (rows, columns)}
        self.register_buffer("down", averaging(shape[0], rows), persistent=False)
        self.register_buffer("across", averaging(shape[1], columns), persistent=False)
        self.surprise = Surprise([rows * columns, 1])
        self.statistics = tuple(f"surprise.{name}" for name, _ in self.surprise.named_buffers())

    def train(self, mode: bool = True) -> Mapped:
        """Only the encoder trains: the generator makes every picture by itself, as it will when it is sealed."""
        super().train(mode)
        self.generator.eval()
        return self

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"anomaly": [row, 1, 1 + places]}: the score, then how far off each place of the picture is."""
        return {"anomaly": self.surprise(self.measure(inputs))[:, :-1].unsqueeze(1)}

    def measure(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, places + 1]: the squared error of the pixels by place, then that of what the critic sees."""
        pixels, seen = self._errors(self.outputs(inputs)[MADE].float(), self._real(inputs))
        places = torch.einsum("ph,nhw,qw->npq", self.down, pixels, self.across)
        return torch.cat([places.flatten(1), seen.unsqueeze(1)], dim=1)

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pictures that the encoder's noise makes, [row, channel, height, width] from -1 to 1."""
        return {MADE: self.generator({NOISE: self.head(self.embed(inputs))})}

    def prepare(self, batch: Batch) -> Batch:
        """The targets are the pictures themselves."""
        return Batch(batch.rows, batch.inputs, batch.inputs, batch.weight)

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean error of the pixels, and that of what the critic sees as a share of it."""
        pixels, seen = self._errors(outputs[MADE], self._real(batch.targets))
        mean = pixels.flatten(1).mean(dim=1)
        return mean + self.options.seen * seen, {"pixels": mean.mean(), "seen": seen.mean()}

    def _errors(self, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """(Squared errors of the pixels [row, height, width], of what the critic sees [row], as a share of itself)."""
        known, found = (self.critic(pictures).flatten(1) for pictures in (real, made))
        apart = (known - found).square().mean(dim=1)
        return (made - real).square().mean(dim=1), apart / known.square().mean(dim=1).clamp_min(1e-6)

    def _real(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return (inputs[self.field].float() / 127.5 - 1).permute(0, 3, 1, 2)

    def follow(self, measured: Tensor) -> None:
        """The errors of rows at rest: what the sealed module's scores are counted from."""
        self.surprise.follow(measured)


class AnoGan(Unlabelled):
    """First the game of generator and critic, then the encoder; keeps `lamina.learn.loop.Learns` and `Describes`.

    Args:
        objective: on the setting's device.
        game: generator and critic while they learn.
    """

    def __init__(self, objective: Mapped, game: adversarial.Adversarial, setting: Setting) -> None:
        super().__init__(objective, setting)
        self.game, self.mapped = game, objective
        self.optimizers = [*self.optimizers, *game.optimizers]
        self._adopt()

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """One step of the game, or when its share of the training is over, one of the encoder."""
        if engine.progress >= self.mapped.options.game:
            return super().update(batch, engine)
        metrics = self.game.update(batch, engine)
        self._adopt()
        return metrics

    @torch.no_grad()
    def _adopt(self) -> None:
        """Take the game's generator, averaged, and its critic, also into the average of what is sealed."""
        parts = {"generator": self.game.average, "critic": self.game.network.critic.stages.state_dict()}
        taken = {f"{part}.{name}": value for part, weights in parts.items() for name, value in weights.items()}
        for weights in (self.mapped.state_dict(), self.average or {}):
            for name in weights.keys() & taken.keys():
                weights[name].copy_(taken[name])

    def state(self) -> dict[str, Any]:
        # The game's optimizers are among the method's own.
        game = {name: value for name, value in self.game.state().items() if name != "optimizers"}
        return {**super().state(), "game": game}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        theirs = state["optimizers"][-len(self.game.optimizers) :]
        self.game.restore({**state["game"], "optimizers": theirs})


def reads(features: Mapping[str, Feature]) -> bool:
    """One field of pictures."""
    return adversarial.reads(features)


def build(setting: Setting, options: Options) -> AnoGan:
    """The method, with fresh weights from PyTorch's generator."""
    ((field, feature),) = setting.features.items()
    shape = (feature.shape[0], feature.shape[1], feature.shape[2])
    objective = Mapped(setting.body(), field, shape, options).to(setting.device)
    rates = OptimizerPlan("adam", options.rate, weight_decay=0.0, momentum=0.0, beta2=0.99)
    playing = _generative.Setting(field, shape, 0, rates, AVERAGED, 0.0, setting.device)
    asked = adversarial.Options(noise=options.noise, width=options.width, critic=options.critic)
    return AnoGan(objective, adversarial.build(playing, asked), setting)
