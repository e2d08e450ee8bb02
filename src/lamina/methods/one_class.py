"""One-class description: a network that brings what is usual close to one point; what stays far from it is strange.

Ruff et al. 2018, "Deep one-class classification" (Deep SVDD). A network with biases could answer with that point
whatever it reads, and would have collapsed: there are none here, and the point keeps away from 0 (propositions 1 and 2
of the paper). That was weighed against terms that hold the rows apart, as VICReg has one (Bardes et al. 2022; for this
purpose Chong et al. 2020, "Simple and effective prevention of mode collapse in deep one-class classification"): they
push usual rows outwards, beyond the strange ones, and cost up to half of the ranking on the tables and pictures tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.learn.batch import Batch
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_learner import Objective, Unlabelled
from lamina.methods._unlabelled_moments import Moments
from lamina.modalities import Feature
from lamina.networks.assembly import Assembly
from lamina.networks.blocks.options import whole

GIVES = ("anomaly",)

APART = 0.5
"""How far the point is from 0 in each direction, at least, in standard deviations of the first rows."""


@dataclass(frozen=True)
class Options:
    """Settings of a one-class description.

    Attributes:
        width: of the vectors in which distances are measured.
    """

    width: int = whole(32)


class OneClass(Objective):
    """Body and a linear map without biases; the loss is the mean squared distance to the centre.

    The metric "spread" is the standard deviation of a batch's vectors as a share of the first batch's. It falls slowly
    to some hundredths; where it falls to 0, the description has collapsed and tells no row from another.

    Args:
        body: without heads; its biases are set to 0 and stay so, unless they come from training elsewhere: then they
            stay as they are.
    """

    least = (0.001, 0.0)
    statistics = ("centre", "scale", "begun", "usual.mean", "usual.variance", "usual.followed")
    centre: Tensor
    scale: Tensor
    begun: Tensor

    def __init__(self, body: Assembly, options: Options) -> None:
        super().__init__(body)
        for name, parameter in body.named_parameters():
            if name.rpartition(".")[2].startswith("bias"):
                parameter.requires_grad_(False)
                if not body.pretrained:
                    nn.init.zeros_(parameter)
        self.head = nn.Linear(body.output.width, options.width, bias=False)
        self.usual = Moments(1)
        self.register_buffer("centre", torch.zeros(options.width))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"anomaly": [row, 1, 1]}: the distance in standard deviations above the mean of training rows."""
        return {"anomaly": self.usual(self.measure(inputs)).unsqueeze(1)}

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The vectors [row, width]."""
        return {"vectors": self.head(self.embed(inputs))}

    def vectors(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, width]: all in one point, no distance would tell rows apart."""
        return self.outputs(inputs)["vectors"]

    def spread(self, vectors: Tensor) -> Tensor:
        """As a share of the first batch's."""
        return _spread(vectors.float()) / self.scale

    def measure(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, 1]: the distance to the centre."""
        return self._distance(self.outputs(inputs)["vectors"]).unsqueeze(1)

    def _distance(self, vectors: Tensor) -> Tensor:
        """[row]: the mean square over the directions, in units of the first rows' spread."""
        return ((vectors.float() - self.centre) / self.scale).square().mean(dim=1)

    def begin(self, batch: Batch) -> None:
        """The first batch fixes the centre, its mean."""
        if self.begun:
            return
        vectors = self.outputs(batch.inputs)["vectors"].float()
        self.scale.copy_(_spread(vectors).clamp_min(1e-6))
        centre, least = vectors.mean(dim=0), APART * self.scale
        self.centre.copy_(torch.where(centre.abs() < least, torch.where(centre < 0, -least, least), centre))
        self.begun.fill_(True)

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The distances, and "spread"."""
        return self._distance(outputs["vectors"]), {"spread": self.spread(outputs["vectors"].detach())}

    def follow(self, measured: Tensor) -> None:
        """The distances of rows at rest: what the sealed module's scores are counted from."""
        self.usual.follow(measured)


def _spread(vectors: Tensor) -> Tensor:
    """The standard deviation over rows, of all directions together."""
    return vectors.var(dim=0, correction=0).mean().sqrt()


def reads(features: Mapping[str, Feature]) -> bool:
    """Any fields."""
    return bool(features)


def build(setting: Setting, options: Options) -> Unlabelled:
    """The method, with fresh weights from PyTorch's generator."""
    return Unlabelled(OneClass(setting.body(), options).to(setting.device), setting)
