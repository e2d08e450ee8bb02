"""From encoded inputs, as they are stored, to float tensors that a network's first layer reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.networks import Level, Places


def only_field(family: str, accepts: Sequence[str], features: Mapping[str, Feature]) -> tuple[str, Feature]:
    """The one field that a family for images, text, sound or series reads.

    Raises:
        InputError: there is no field or more than one, or the field is of a kind that the family does not read.
    """
    check_fields(family, accepts, features)
    if len(features) != 1:
        raise InputError(
            f"The network {family!r} reads one field, not {len(features)}: {', '.join(features)}.",
            fix="Give every such field a network of its own.",
        )
    return next(iter(features.items()))


def check_fields(family: str, accepts: Sequence[str], features: Mapping[str, Feature]) -> None:
    """Raises InputError if there is no field, or one of a kind that the family does not read."""
    if not features:
        raise InputError(f"The network {family!r} has no fields to read.", fix="Name at least one input field.")
    for name, feature in features.items():
        if feature.kind not in accepts:
            raise InputError(
                f"The network {family!r} does not read {feature.kind}.",
                where=f"the field {name!r}",
                fix=f"It reads {', '.join(accepts)}; choose another network for this field.",
            )


class Pixels(nn.Module):
    """uint8 [batch, height, width, channel] to float32 [batch, channel, height, width], standardised.

    Mean and standard deviation, on the scale 0 to 255, are those of the training images in
    `feature.details`, or `mean` and `deviation` where they are given (pretrained networks).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, feature: Feature, mean: float | None = None, deviation: float | None = None) -> None:
        super().__init__()
        channels = feature.shape[2]
        means = [mean] * channels if mean is not None else feature.details.get("mean", [127.5] * channels)
        spread = [deviation] * channels if deviation is not None else feature.details.get("std", [64.0] * channels)
        scale = 1.0 / torch.tensor(spread, dtype=torch.float32).clamp_min(1.0)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", -torch.tensor(means, dtype=torch.float32) * scale, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        # Permuting a [batch, height, width, channel] array gives PyTorch's channels-last layout without a copy.
        return (images.float() * self.scale + self.shift).permute(0, 3, 1, 2)


class Codes(nn.Module):
    """uint8 [batch, height, width, channel] to float32 [batch, channel * kinds, height, width]: 1 for the value's kind.

    A value that is none of the kinds is 0 for all of them.
    """

    kinds: Tensor

    def __init__(self, kinds: int) -> None:
        super().__init__()
        self.register_buffer("kinds", torch.arange(kinds, dtype=torch.float32), persistent=False)

    def forward(self, grids: Tensor) -> Tensor:
        return (grids.float().unsqueeze(4) == self.kinds).float().flatten(3).permute(0, 3, 1, 2)


def levels_of(maps: Sequence[Tensor], feature: Feature) -> tuple[Level, ...]:
    """The levels of a pyramid from an example of its maps, [batch, channel, height, width] each, of such pictures."""
    return tuple(
        Level(int(one.shape[1]), max(1, round(feature.shape[0] / one.shape[2])), int(one.shape[2]), int(one.shape[3]))
        for one in maps
    )


def places_of(levels: Sequence[Level]) -> Places:
    """The places of a network that knows of a picture what its coarsest map holds."""
    return Places(levels[-1].channels, (levels[-1].height, levels[-1].width))


def lengths(kind: str, values: Tensor) -> Tensor:
    """int64 [batch]: how many steps of a sequence are no padding; at least 1, so that means stay defined.

    Tokens are padded with 0 and spectrograms with all-zero frames, at the end only; series are not padded.
    """
    steps = values.shape[1]
    if kind == "series":
        return torch.full_like(values[:, 0, 0], steps, dtype=torch.int64)
    used = values != 0 if kind == "tokens" else (values != 0).any(dim=2)
    position = torch.arange(1, steps + 1, device=values.device)
    return (used * position).amax(dim=1).clamp_min(1)


def steps_read(feature: Feature, longest: int) -> int:
    """How many steps of a sequence a network reads: all, but at most `longest` tokens of a text."""
    return min(feature.shape[0], longest) if feature.kind == "tokens" else feature.shape[0]


def within(length: Tensor, steps: int) -> Tensor:
    """bool [batch, steps]: True at the positions before each row's length."""
    return torch.arange(steps, device=length.device).unsqueeze(0) < length.unsqueeze(1)


def trimmed(kind: str, values: Tensor) -> Tensor:
    """`values` without the steps that are padding in every row of the batch.

    Only where that is free and changes no result: eagerly, on the CPU, for networks that mask padding.
    """
    if kind == "series" or values.device.type != "cpu" or torch.compiler.is_compiling() or not len(values):
        return values
    return values[:, : int(lengths(kind, values).max())]
