"""Contrastive learning: two views of a row should mean the same, and different rows should not.

"vicreg": Bardes, Ponce & LeCun 2022, "VICReg: variance-invariance-covariance regularization for self-supervised
learning"; "simclr": Chen et al. 2020, "A simple framework for contrastive learning of visual representations". Both on
a projector that is thrown away afterwards. In tables, another row's values stand in for some fields of each view
(Bahri et al. 2022, "SCARF: self-supervised contrastive learning using random feature corruption").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lamina.learn.batch import Batch
from lamina.methods._unlabelled import Setting, Views
from lamina.methods._unlabelled_corruption import PLAIN, swap
from lamina.methods._unlabelled_learner import Objective, Unlabelled, deviation
from lamina.modalities import Feature
from lamina.networks.assembly import Assembly
from lamina.networks.blocks.options import positive, share, whole

GIVES = ("embed", "cluster")

LEAST = 1e-4
"""Added to variances: the slope of the root at 0 has no bound."""


@dataclass(frozen=True)
class Options:
    """Settings of contrastive learning.

    Attributes:
        kind: "vicreg" asks for spread and uncorrelated projections, and is content with small batches; "simclr" asks
            that a row's other view be nearer than all other rows of the batch, the larger the better.
        hidden: units of the projector's two hidden layers.
        width: of the projections.
        swap: share of numbers and categories that are another row's in each view.
        temperature: of "simclr": the lower, the more the nearest other rows count.
        invariance, variance, covariance: weights of the parts of "vicreg".
    """

    kind: Literal["vicreg", "simclr"] = "vicreg"
    hidden: int = whole(512)
    width: int = whole(512)
    swap: float = share(0.3)
    temperature: float = positive(0.2)
    invariance: float = positive(25.0)
    variance: float = positive(25.0)
    covariance: float = positive(1.0)


class Contrastive(Objective):
    """Body and projector; what is sealed is the body's vector.

    Weights of rows are not used: the loss is one of pairs and of the whole batch.

    Args:
        body: without heads.
        features: of the fields it reads.
        views: a random view of encoded inputs that means the same.
    """

    decomposes = False

    def __init__(self, body: Assembly, features: Mapping[str, Feature], views: Views, options: Options) -> None:
        super().__init__(body)
        self.views, self.options = views, options
        self.plain = {name: feature for name, feature in features.items() if feature.kind in PLAIN}
        self.projector = nn.Sequential(
            nn.Linear(body.output.width, options.hidden, bias=False),
            nn.BatchNorm1d(options.hidden),
            nn.ReLU(),
            nn.Linear(options.hidden, options.hidden, bias=False),
            nn.BatchNorm1d(options.hidden),
            nn.ReLU(),
            nn.Linear(options.hidden, options.width, bias=False),
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"embedding": [row, 1, width]}."""
        return {"embedding": self.embed(inputs).unsqueeze(1)}

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The body's vectors and their projections, [row, width]."""
        vectors = self.embed(inputs)
        return {"vectors": vectors, "projections": self.projector(vectors)}

    def prepare(self, batch: Batch) -> Batch:
        """A batch of twice as many rows: a view of each, then another view of each."""
        pair = [self.views(swap(batch.inputs, self.plain, self.options.swap).inputs) for _ in range(2)]
        both = {name: torch.cat([pair[0][name], pair[1][name]]) for name in batch.inputs}
        return Batch(torch.cat([batch.rows, batch.rows]), both)

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """[row] of a prepared batch's first half, and "spread" (see `deviation`): near 0, all has collapsed."""
        first, second = outputs["projections"].chunk(2)
        options = self.options
        spread = {"spread": deviation(outputs["vectors"].chunk(2)[0])}
        if options.kind == "simclr":
            return simclr(first, second, options.temperature), spread
        return vicreg(first, second, options.invariance, options.variance, options.covariance), spread


def vicreg(
    first: Tensor, second: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """[row]: how far the two views' projections [row, width] lie apart, plus the batch's own part, the same in all.

    The batch's part asks that every output have a standard deviation of at least 1 and no covariance with another one
    (Bardes et al. 2022, equations 1 to 6).
    """
    apart = (first - second).square().mean(dim=1)
    narrow, tied = torch.zeros_like(apart[0]), torch.zeros_like(apart[0])
    for views in (first, second):
        number, width = views.shape
        narrow = narrow + functional.relu(1 - (_variance(views) + LEAST).sqrt()).mean() / 2
        centred = views - views.mean(dim=0)
        covariances = centred.transpose(0, 1) @ centred / max(number - 1, 1)
        tied = tied + (covariances.square().sum() - covariances.diagonal().square().sum()) / width
    return invariance * apart + variance * narrow + covariance * tied


def _variance(values: Tensor) -> Tensor:
    """Of each column; 0 where there is one row."""
    return (values - values.mean(dim=0)).square().sum(dim=0) / max(len(values) - 1, 1)


def simclr(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """[row]: the cross-entropy of finding a view's other view among all views of the batch, by the cosine between
    projections [row, width] (Chen et al. 2020, equation 1, "NT-Xent"); the mean over the row's two views."""
    number = len(first)
    views = functional.normalize(torch.cat([first, second]), dim=1)
    alike = views @ views.transpose(0, 1) / temperature
    itself = torch.eye(2 * number, dtype=torch.bool, device=alike.device)
    place = torch.arange(2 * number, device=alike.device)
    each = functional.cross_entropy(
        alike.masked_fill(itself, float("-inf")), (place + number) % (2 * number), reduction="none"
    )
    return (each[:number] + each[number:]) / 2


def reads(features: Mapping[str, Feature]) -> bool:
    """Any fields that have more than one view: of a table, at least two."""
    return len(features) > 1 or any(feature.kind not in PLAIN for feature in features.values())


def build(setting: Setting, options: Options) -> Unlabelled:
    """The method, with fresh weights from PyTorch's generator."""
    objective = Contrastive(setting.body(), setting.features, setting.views, options)
    return Unlabelled(objective.to(setting.device), setting)
