"""From a picture to another of the same size: down, residual blocks, and up again by transposed convolutions."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from lamina.networks.adversarial.critic import Halve
from lamina.networks.adversarial.generator import Stage
from lamina.networks.edsr import Block

HALVED = ((64, 2), (16, 1))
"""(Least longer side of a picture, how often its map is halved): blocks on small maps cost less and see farther."""
FIRST = 5
"""Side of the first and the last kernel, which lie on few channels."""


def halvings(height: int, width: int) -> int:
    """How often the map of such a picture is halved.

    >>> halvings(64, 48), halvings(28, 28), halvings(8, 8)
    (2, 1, 0)
    """
    return next((times for least, times in HALVED if max(height, width) >= least), 0)


class Translator(nn.Module):
    """The generator of Zhu et al. 2017 ("Unpaired image-to-image translation using cycle-consistent adversarial
    networks", after Johnson et al. 2016), of stages that are here already: strided convolutions, the residual blocks of
    EDSR, and transposed convolutions with batch normalisation.

    Args:
        shape: (height, width, channels) of a picture.
        width: channels of the largest map; they double where it is halved.
        depth: residual blocks.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, depth: int) -> None:
        super().__init__()
        self.size, times = shape, halvings(*shape[:2])
        widths = [width * 2**number for number in range(times + 1)]
        self.entry = nn.Conv2d(shape[2], width, FIRST, padding=FIRST // 2)
        self.down = nn.Sequential(*(Halve(inner, outer, False) for inner, outer in pairwise(widths)))
        self.blocks = nn.Sequential(*(Block(widths[-1], 1.0) for _ in range(depth)))
        self.up = nn.Sequential(*(Stage(inner, outer, False) for inner, outer in pairwise(widths[::-1])))
        for stage in self.up:
            _even(stage.up)  # type: ignore[arg-type]
        self.exit = nn.Conv2d(width, shape[2], FIRST, padding=FIRST // 2)
        # Sides that cannot be halved evenly grow by copies of the edge, which are cut off again.
        self.rest = [-side % 2**times for side in shape[:2]]

    def forward(self, pictures: Tensor) -> Tensor:
        """[row, channel, height, width] from -1 to 1, both."""
        values = pictures.contiguous(memory_format=torch.channels_last)
        if any(self.rest):
            values = functional.pad(values, (0, self.rest[1], 0, self.rest[0]), mode="replicate")
        values = functional.leaky_relu(self.entry(values), 0.2)
        picture: Tensor = torch.tanh(self.exit(self.up(self.blocks(self.down(values)))))
        return picture[:, :, : self.size[0], : self.size[1]]


@torch.no_grad()
def _even(layer: nn.ConvTranspose2d) -> None:
    """Begin as a bilinear enlargement: random kernels would draw a checkerboard, which takes long to unlearn (Odena et
    al. 2016, "Deconvolution and checkerboard artifacts")."""
    ramp = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    layer.weight.copy_(layer.weight.mean(dim=(2, 3), keepdim=True) * layer.kernel_size[0] * ramp[:, None] * ramp)
