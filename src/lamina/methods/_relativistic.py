"""What makers and critics of pictures share: the loss of their game, and the running average that is sealed.

A real and a made picture are judged against each other (relativistic pairing, Jolicoeur-Martineau 2018, "The
relativistic discriminator: a key element missing from standard GAN"), and the critic's slope is held near zero on both
(Mescheder et al. 2018, "Which training methods for GANs do actually converge?"); together they are the loss of Huang et
al. 2024 (R3GAN).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from lamina.networks.adversarial.critic import Critic


def scaled(pictures: Tensor) -> Tensor:
    """Encoded pictures, uint8 [row, height, width, channel], as networks see them: [row, channel, height, width] from
    -1 to 1."""
    return (pictures.float() / 127.5 - 1).permute(0, 3, 1, 2)


def fooling(critic: Critic, real: Tensor, made: Tensor, classes: Tensor | None = None) -> Tensor:
    """The maker's loss, [row]: how much more real a real picture looks than the one made beside it."""
    with torch.no_grad():
        known = critic(real, classes)
    return functional.softplus(known - critic(made, classes)).float()


def telling(
    critic: Critic, real: Tensor, made: Tensor, penalty: float, classes: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The critic's loss, [row]: how much less real a real picture looks than a made one, and how steep its answers are.

    Args:
        penalty: weight of the squared slope on real and on made pictures; 0 leaves it out.

    Returns:
        The loss, and as scalars without gradient how far the two are "apart" and the squared "slope".
    """
    shown = torch.cat([real, made])
    shown.requires_grad_(penalty > 0)
    answers = critic(shown, None if classes is None else torch.cat([classes, classes])).float()
    high, low = answers.chunk(2)
    each = functional.softplus(low - high)
    metrics = {"apart": (high - low).detach().mean()}
    if penalty > 0:
        (slope,) = torch.autograd.grad(answers.sum(), shown, create_graph=True)
        of_real, of_made = slope.float().square().sum(dim=(1, 2, 3)).chunk(2)
        steep = of_real + of_made
        each = each + penalty / 2 * steep
        metrics["slope"] = steep.detach().mean() / 2
    return each, metrics


def seen(real: Tensor, made: Tensor, translate: float) -> tuple[Tensor, Tensor]:
    """What a critic is shown of pairs of pictures: as they are, or shifted alike by up to this share of a side (Zhao et
    al. 2020, "Differentiable augmentation for data-efficient GAN training")."""
    most = [round(translate * side) for side in real.shape[2:]]
    return shifted((real, made), most) if max(most) else (real, made)


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


@contextmanager
def untouched(critic: nn.Module) -> Iterator[None]:
    """The critic only passes gradients on: its own would cost as much again."""
    critic.requires_grad_(False)
    try:
        yield
    finally:
        critic.requires_grad_(True)


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers in memory of their own."""
    return {name: value.clone() for name, value in weights.items()}


@torch.no_grad()
def follow(average: Mapping[str, Tensor], network: nn.Module, ema: float, steps: int) -> None:
    """Move a running average of a network's weights (Yazici et al. 2019, "The unusual effectiveness of averaging in GAN
    training"), sooner in the first steps; what is counted is copied."""
    decay = min(ema, (1 + steps) / (10 + steps))
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


@contextmanager
def at_rest(network: nn.Module, average: Mapping[str, Tensor]) -> Iterator[None]:
    """A network with the averaged weights, in evaluation mode, without gradients; afterwards as it was."""
    training, own = network.training, copied(network.state_dict())
    network.load_state_dict(dict(average))
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.load_state_dict(own)
        network.train(training)
