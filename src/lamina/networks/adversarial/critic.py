"""The other side: how real a picture looks."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from lamina.networks.adversarial import growth

SMALLEST = 3.5
"""The last map has at least this side."""
WIDEST = 8


class Halve(nn.Module):
    """Halve the map, then look at it. No normalisation: it would tie the gradients of a batch's pictures together."""

    def __init__(self, inner: int, outer: int, looks: bool) -> None:
        super().__init__()
        self.down = nn.Conv2d(inner, outer, 4, stride=2, padding=1)
        self.look = nn.Conv2d(outer, outer, 3, padding=1) if looks else None

    def forward(self, values: Tensor) -> Tensor:
        """[row, inner, height, width] to [row, outer, height / 2, width / 2]."""
        values = nn.functional.leaky_relu(self.down(values), 0.2)
        if self.look is None:
            return values
        return nn.functional.leaky_relu(values + self.look(values), 0.2)


class Critic(nn.Module):
    """A convolutional network with one answer; a class is asked for by projection (Miyato & Koyama 2018, "cGANs with
    projection discriminator").

    Args:
        shape: (height, width, channels) of a picture.
        classes: 0 for none.
        width: channels of the largest map.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int, looks: bool = True) -> None:
        super().__init__()
        _, halvings = growth(*shape[:2], SMALLEST)
        widths = [shape[2], *(min(width * 2**number, width * WIDEST) for number in range(halvings))]
        self.stages = nn.Sequential(*(Halve(inner, outer, looks and inner > 4) for inner, outer in pairwise(widths)))
        side = list(shape[:2])
        for _ in range(halvings):
            side = [length // 2 for length in side]
        flat = widths[-1] * math.prod(side)
        self.exit = nn.Linear(flat, widths[-1])
        self.real = nn.Linear(widths[-1], 1)
        self.known = nn.Embedding(classes, widths[-1]) if classes else None

    def forward(self, pictures: Tensor, classes: Tensor | None = None) -> Tensor:
        """[row]: higher is more real; pictures [row, channel, height, width] from -1 to 1, classes int64 [row]."""
        vector = nn.functional.leaky_relu(self.exit(self.stages(pictures).flatten(1)), 0.2)
        answer: Tensor = self.real(vector)[:, 0]
        if self.known is not None and classes is not None:
            answer = answer + (self.known(classes) * vector).sum(dim=1) / math.sqrt(vector.shape[1])
        return answer
