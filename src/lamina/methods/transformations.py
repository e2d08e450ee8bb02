"""Which way was the picture turned? What is usual is known well enough to tell; what is strange is not.

Golan & El-Yaniv 2018, "Deep anomaly detection using geometric transformations": a classifier learns, on ordinary
pictures only, to tell by which of some transformations a picture was changed. How badly it does for all of them says
how strange a picture is. It finds what is another kind of thing; what is an ordinary thing with a fault in one place is
for the autoencoder, which also says where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from lamina.learn.batch import Batch
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_learner import Objective, Unlabelled
from lamina.modalities import Feature
from lamina.networks.assembly import Assembly
from lamina.networks.blocks.options import share

GIVES = ("anomaly",)

MOST_SHIFTED = 40 * 40
"""Pixels of a picture up to which shifts are among the transformations: each is one more look at every row."""
TARGET = "transformation"


@dataclass(frozen=True)
class Options:
    """Settings of the classifier of transformations.

    Attributes:
        shift: how far pictures are moved along each axis, as a share of their side; 0 for turning and mirroring only.
    """

    shift: float = share(0.25)


class Transformations(Objective):
    """Body and a head that names the transformation.

    Args:
        body: without heads.
        field: of the pictures.
        feature: of the field.
    """

    pixels: Tensor

    def __init__(self, body: Assembly, field: str, feature: Feature, options: Options) -> None:
        super().__init__(body)
        self.field = field
        height, width, _ = feature.shape
        shifts = options.shift if height * width <= MOST_SHIFTED else 0.0
        self.register_buffer("pixels", transformations(height, width, shifts), persistent=False)
        self.head = nn.Linear(body.output.width, len(self.pixels))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"anomaly": [row, 1, 1]}: the mean over all transformations of -log p of the right one."""
        pictures = inputs[self.field]
        number, (height, width, channels) = len(self.pixels), pictures.shape[1:]
        every = pictures.flatten(1, 2).index_select(1, self.pixels.flatten())
        turned = every.reshape(-1, height, width, channels)
        told = self.head(self.embed({self.field: turned})).float().log_softmax(dim=1)
        right = told.reshape(-1, number, number).diagonal(dim1=1, dim2=2)
        return {"anomaly": -right.mean(dim=1)[:, None, None]}

    def prepare(self, batch: Batch) -> Batch:
        """Each picture changed by one of them, and by which."""
        pictures = batch.inputs[self.field]
        which = torch.randint(0, len(self.pixels), (len(batch),), device=pictures.device)
        flat = pictures.flatten(1, 2)
        places = self.pixels[which].unsqueeze(2).expand(-1, -1, flat.shape[2])
        turned = flat.gather(1, places).reshape(pictures.shape)
        return Batch(batch.rows, {**batch.inputs, self.field: turned}, {TARGET: which}, batch.weight)

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log-odds [row, transformation]."""
        return {TARGET: self.head(self.embed(inputs))}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy, and the share that is told right."""
        odds, which = outputs[TARGET], batch.targets[TARGET]
        told = (odds.argmax(dim=1) == which).float().mean()
        return nn.functional.cross_entropy(odds, which, reduction="none"), {"told": told}


def transformations(height: int, width: int, shift: float) -> Tensor:
    """int64 [transformation, height * width]: from where in the picture each pixel is taken; the first changes nothing.

    A square is turned by quarters, any other picture mirrored along its axes; with a shift each of these is moved to
    the eight sides as well, where the edge is repeated.

    >>> transformations(1, 3, 0.0).tolist()
    [[0, 1, 2], [2, 1, 0], [0, 1, 2], [2, 1, 0]]
    """
    grid = torch.arange(height * width).reshape(height, width)
    if height == width:
        turned = [torch.rot90(grid, quarters) for quarters in range(4)]
    else:
        turned = [grid, grid.flip(1), grid.flip(0), grid.flip(0, 1)]
    down, across = (max(1, round(shift * side)) for side in (height, width)) if shift else (0, 0)
    moves = list(product((0, -down, down), (0, -across, across))) if shift else [(0, 0)]
    return torch.stack([_moved(picture, *move).flatten() for picture in turned for move in moves])


def _moved(grid: Tensor, down: int, across: int) -> Tensor:
    rows = (torch.arange(grid.shape[0]) - down).clamp(0, grid.shape[0] - 1)
    columns = (torch.arange(grid.shape[1]) - across).clamp(0, grid.shape[1] - 1)
    return grid[rows][:, columns]


def reads(features: Mapping[str, Feature]) -> bool:
    """One field of pictures."""
    return len(features) == 1 and all(feature.kind == "image" for feature in features.values())


def build(setting: Setting, options: Options) -> Unlabelled:
    """The method, with fresh weights from PyTorch's generator."""
    (field, feature) = next(iter(setting.features.items()))
    return Unlabelled(Transformations(setting.body(), field, feature, options).to(setting.device), setting)
