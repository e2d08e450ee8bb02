"""Several networks' vectors as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.networks import OutputShape
from lamina.networks.blocks.options import share, whole


@dataclass(frozen=True)
class FuseOptions:
    """How networks are fused.

    Attributes:
        width: that every network's vector is projected to, and of the fused vector.
        dropout: on the fused vector.
        modality_dropout: chance that a network's vector is left out for a row during training (Neverova
            et al. 2016), so that none is relied on alone; at least one is always kept.
    """

    width: int = whole(128)
    dropout: float = share(0.1)
    modality_dropout: float = share(0.0)


class Fuse(nn.Module):
    """Vectors [batch, member, width] of several networks to one, through projections and a hidden layer.

    Networks with one member are repeated to match an ensemble's; of two ensembles of different sizes the
    smaller answers with its members' mean.
    """

    def __init__(self, shapes: Sequence[OutputShape], options: FuseOptions) -> None:
        super().__init__()
        self.members = max(shape.members for shape in shapes)
        self.chance = options.modality_dropout
        self.projections = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(shape.width), nn.Linear(shape.width, options.width), nn.GELU())
            for shape in shapes
        )
        self.hidden = nn.Sequential(
            nn.Linear(options.width * len(shapes), options.width), nn.GELU(), nn.Dropout(options.dropout)
        )
        self.output = OutputShape(options.width, self.members)

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """[batch, member, width]."""
        parts = []
        for vector, project in zip(vectors, self.projections, strict=True):
            if vector.shape[1] not in (1, self.members):
                vector = vector.mean(1, keepdim=True)
            parts.append(project(vector).expand(-1, self.members, -1))
        if self.training and self.chance:
            kept = torch.rand(parts[0].shape[0], len(parts), device=parts[0].device) >= self.chance
            kept = kept | ~kept.any(dim=1, keepdim=True)
            parts = [part * kept[:, number, None, None] for number, part in enumerate(parts)]
        fused: Tensor = self.hidden(torch.cat(parts, dim=2))
        return fused
