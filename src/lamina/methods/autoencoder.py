"""Autoencoder: a row through a narrow vector and back; what does not come back well is strange.

Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks"; denoising as in Vincent et al.
2008, "Extracting and composing robust features with denoising autoencoders": parts of the row are hidden and must come
back all the same, so that the vector has to hold how fields and places hang together, and copying does not suffice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lamina.learn.batch import Batch
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_corruption import corrupt
from lamina.methods._unlabelled_learner import Objective, Unlabelled
from lamina.methods._unlabelled_moments import Surprise, flat
from lamina.modalities import Feature
from lamina.networks.assembly import Assembly
from lamina.networks.blocks.options import share, whole
from lamina.networks.decoders import Decoders

GIVES = ("anomaly", "embed", "cluster")


@dataclass(frozen=True)
class Options:
    """Settings of an autoencoder.

    Attributes:
        gives: what the sealed module gives.
        bottleneck: width of the narrow vector.
        hidden: units of each of the two layers between it and the decoders.
        noise: share of fields, patches, steps and tokens that are hidden during training; 0: a plain autoencoder.
    """

    gives: Literal["anomaly", "embed"] = "anomaly"
    bottleneck: int = whole(32)
    hidden: int = whole(256)
    noise: float = share(0.1)


class Autoencoder(Objective):
    """Body, bottleneck, a hidden part, decoders; the loss is the mean of the fields' mean errors.

    Args:
        body: without heads.
        features: of the fields it reads.
    """

    def __init__(self, body: Assembly, features: Mapping[str, Feature], options: Options) -> None:
        super().__init__(body)
        self.features, self.options = dict(features), options
        self.bottleneck = nn.Linear(body.output.width, options.bottleneck)
        self.hidden = nn.Sequential(
            nn.Linear(options.bottleneck, options.hidden),
            nn.ReLU(),
            nn.Linear(options.hidden, options.hidden),
            nn.ReLU(),
        )
        self.decoders = Decoders(options.hidden, features, channels=options.gives == "anomaly")
        if options.gives == "anomaly":
            self.places = dict(self.decoders.grids)
            self.surprise = Surprise([int(torch.Size(grid).numel()) for grid in self.places.values()])
            self.statistics = tuple(f"surprise.{name}" for name, _ in self.surprise.named_buffers())

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"embedding": [row, 1, bottleneck]} or {"anomaly": [row, 1, 1 + places]}, as the options say."""
        if self.options.gives == "embed":
            return {"embedding": self.bottleneck(self.embed(inputs)).unsqueeze(1)}
        return {"anomaly": self.surprise(self.measure(inputs)).unsqueeze(1)}

    def measure(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, places of all fields]: how badly each comes back."""
        return flat(self.decoders.errors(self.outputs(inputs), inputs))

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The decoders' predictions by field."""
        found: dict[str, Tensor] = self.decoders(self.hidden(self.bottleneck(self.embed(inputs))))
        return found

    def prepare(self, batch: Batch) -> Batch:
        """Parts of the inputs hidden; the targets are the inputs as they were."""
        if not self.options.noise:
            return Batch(batch.rows, batch.inputs, batch.inputs, batch.weight)
        hidden = corrupt(batch.inputs, self.features, self.options.noise, least=False)
        return Batch(batch.rows, hidden.inputs, batch.inputs, batch.weight)

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean error over each row's fields."""
        errors = self.decoders.errors(outputs, batch.targets)
        each = {name: error.reshape(len(error), -1).mean(dim=1) for name, error in errors.items()}
        metrics = {f"error.{name}": error.mean() for name, error in each.items()} if 1 < len(each) <= 10 else {}
        return torch.stack(list(each.values())).mean(dim=0), metrics

    def follow(self, measured: Tensor) -> None:
        """The errors of rows as they are, at rest: what the sealed module's scores are counted from."""
        self.surprise.follow(measured)


def reads(features: Mapping[str, Feature]) -> bool:
    """Any fields."""
    return bool(features)


def build(setting: Setting, options: Options) -> Unlabelled:
    """The method, with fresh weights from PyTorch's generator."""
    return Unlabelled(Autoencoder(setting.body(), setting.features, options).to(setting.device), setting)
