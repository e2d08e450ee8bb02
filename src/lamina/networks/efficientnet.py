"""EfficientNet-Lite0 to Lite4: a convolutional network for images that pretrained weights exist for.

Tan & Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks"; the Lite variants (TensorFlow
2020) have no squeeze-excite, ReLU6, and a stem and head of fixed width. Padding is TensorFlow's "same", so that weights
trained there give the same answers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.networks import Level, OutputShape
from lamina.networks.blocks.depth import StochasticDepth, chances
from lamina.networks.blocks.fields import Pixels, only_field, places_of
from lamina.networks.blocks.options import share, whole

ACCEPTS = ("image",)
GIVES = ("pyramid",)

SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2), "lite3": (1.2, 1.4), "lite4": (1.4, 1.8)}
"""Factors of (width, depth)."""

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""(blocks, kernel, stride, expansion, channels) of each stage at scale 1."""


@dataclass(frozen=True)
class Options:
    """Which EfficientNet-Lite.

    Attributes:
        variant: lite0 (4.7 million weights with its head) to lite4 (13 million).
        resize: side in pixels that images are scaled to inside the network; 0: as they are. Pretrained
            weights know pictures of 224 pixels: smaller ones profit from being enlarged.
        dropout: on the pooled vector.
        stochastic_depth: chance of leaving out the last block; earlier blocks proportionally less.
    """

    variant: Literal["lite0", "lite1", "lite2", "lite3", "lite4"] = "lite0"
    resize: int = whole(0, least=0)
    dropout: float = share(0.2)
    stochastic_depth: float = share(0.0)


class Convolution(nn.Module):
    """Convolution with "same" padding, normalisation and, where wanted, ReLU6; [batch, channel, height, width]."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, groups: int = 1, active: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, groups=groups, bias=False)
        # Each output of a grouped convolution feeds one group only: He's rule for the true number of connections.
        nn.init.normal_(self.conv.weight, std=math.sqrt(2.0 / (kernel * kernel * outer / groups)))
        self.norm = nn.BatchNorm2d(outer, eps=1e-3, momentum=0.01)
        self.kernel, self.stride, self.active = kernel, stride, active

    def forward(self, values: Tensor) -> Tensor:
        height, width = (self._padding(int(length)) for length in values.shape[2:])
        if any((*height, *width)):
            values = functional.pad(values, (*width, *height))
        values = self.norm(self.conv(values))
        return functional.relu6(values) if self.active else values

    def _padding(self, length: int) -> tuple[int, int]:
        """TensorFlow's: the output is length / stride rounded up, and the odd pixel comes last."""
        total = max((math.ceil(length / self.stride) - 1) * self.stride + self.kernel - length, 0)
        return total // 2, total - total // 2


class Block(nn.Module):
    """Inverted residual (Sandler et al. 2018): widen, convolve each channel, narrow; shortcut where shapes agree."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, expansion: int, skipped: float) -> None:
        super().__init__()
        middle = inner * expansion
        self.expand = Convolution(inner, middle, 1, 1) if expansion > 1 else None
        self.depthwise = Convolution(middle, middle, kernel, stride, groups=middle)
        self.project = Convolution(middle, outer, 1, 1, active=False)
        self.depth = StochasticDepth(skipped)
        self.shortcut = inner == outer and stride == 1

    def forward(self, values: Tensor) -> Tensor:
        branch: Tensor = values if self.expand is None else self.expand(values)
        branch = self.project(self.depthwise(branch))
        return torch.add(values, self.depth(branch)) if self.shortcut else branch


def channels_at(channels: int, factor: float) -> int:
    """Channels scaled and rounded to a multiple of 8, never below 90% of the exact number."""
    exact = channels * factor
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class EfficientNet(nn.Module):
    """Stem, seven stages, a last convolution, the mean over the map; one image field of 1 or 3 channels."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        if feature.shape[2] not in (1, 3):
            raise InputError(
                f"The network 'efficientnet' reads images of 1 or 3 channels, not {feature.shape[2]}.",
                where=f"the field {name!r}",
                fix="Set the field's option channels = 3.",
            )
        self.field, self.resize = name, options.resize
        self.pixels = Pixels(feature, mean=127.0, deviation=128.0)
        width_factor, depth_factor = SCALES[options.variant]
        self.stem = Convolution(3, 32, 3, 2)
        # The Lite variants keep the first and last stage's depth at every scale.
        counts = [
            blocks if number in (0, len(STAGES) - 1) else math.ceil(blocks * depth_factor)
            for number, (blocks, *_) in enumerate(STAGES)
        ]
        skipped = iter(chances(options.stochastic_depth, sum(counts)))
        inner = 32
        self.body = nn.ModuleList()
        for count, (_, kernel, stride, expansion, channels) in zip(counts, STAGES, strict=True):
            outer = channels_at(channels, width_factor)
            stage = nn.Sequential()
            for number in range(count):
                stage.append(Block(inner, outer, kernel, stride if number == 0 else 1, expansion, next(skipped)))
                inner = outer
            self.body.append(stage)
        self.last = Convolution(inner, 1280, 1, 1)
        self.dropout = nn.Dropout(options.dropout)
        self.output = OutputShape(1280)
        self.levels = self._levels(feature)
        self.places = places_of(self.levels)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, 1280]."""
        return self.local(inputs)[0]

    def local(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the last map, [batch, row, column, channel]."""
        *_, last = self._maps(self.pixels(inputs[self.field]))
        vector: Tensor = self.dropout(last.mean((2, 3)))
        return vector.unsqueeze(1), last.permute(0, 2, 3, 1)

    def pyramid(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The picture, enlarged where it is, and the last map of each size; the coarsest is the last convolution's."""
        return list(self._maps(self.pixels(inputs[self.field])))

    def without_vector(self) -> None:
        """There is nothing: the vector is the last map's mean."""

    def _maps(self, values: Tensor) -> Iterator[Tensor]:
        if self.resize:
            values = functional.interpolate(values, size=(self.resize, self.resize), mode="bilinear")
        previous = values = values.expand(-1, 3, -1, -1)
        for stage in (self.stem, *self.body, self.last):
            values = stage(values)
            if values.shape[2:] != previous.shape[2:]:
                yield previous
            previous = values
        yield values

    def _levels(self, feature: Feature) -> tuple[Level, ...]:
        """What `pyramid` gives: every halving rounds up."""
        sides = (self.resize, self.resize) if self.resize else feature.shape[:2]
        channels = [3, *(part[-1].project.conv.out_channels for part in self.body)]  # type: ignore[index]
        kept = [channels[0], channels[1], channels[2], channels[3], channels[5], self.output.width]
        found: list[Level] = []
        for number, width in enumerate(kept):
            height, across = (math.ceil(side / 2**number) for side in sides)
            level = Level(width, max(1, round(feature.shape[0] / height)), height, across)
            # What can be halved no more goes on to the next stage at its size.
            found = [*(one for one in found if (one.height, one.width) != (height, across)), level]
        return tuple(found)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """stem, stage1, ..., stage7, last."""
        body = [(f"stage{number}", stage) for number, stage in enumerate(self.body, 1)]
        return [("stem", self.stem), *body, ("last", self.last)]


def translate(network: EfficientNet, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dictionary with the names of lukemelas' EfficientNet-PyTorch under this module's names."""
    places = [f"body.{stage}.{block}" for stage, part in enumerate(network.body) for block in range(len(part))]  # type: ignore[arg-type]
    outside = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "last.conv", "_bn1": "last.norm"}
    inside = {
        "_expand_conv": "expand.conv",
        "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm",
        "_project_conv": "project.conv",
        "_bn2": "project.norm",
    }
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)", name)
        if found and found[1] is not None and int(found[1]) < len(places) and found[2] in inside:
            name = f"{places[int(found[1])]}.{inside[found[2]]}.{found[3]}"
        elif found and found[1] is None and found[2] in outside:
            name = f"{outside[found[2]]}.{found[3]}"
        renamed[name] = tensor
    return renamed


def recognises(names: Mapping[str, Tensor]) -> bool:
    """Is this state dictionary one that `translate` reads?"""
    return {"_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_conv_head.weight"} <= names.keys()


def variant_of(tensors: Mapping[str, Tensor]) -> str:
    """Which variant a state dictionary is for: they differ in the number of blocks and the width.

    Raises:
        InputError: it is none of them.
    """
    blocks = 1 + max(int(found[1]) for name in tensors if (found := re.match(r"_blocks\.(\d+)\.", name)))
    width = tensors["_conv_head.weight"].shape[1]
    squeezed = any("_se_reduce" in name for name in tensors)
    for variant, (width_factor, depth_factor) in SCALES.items():
        depth = sum(
            count if number in (0, len(STAGES) - 1) else math.ceil(count * depth_factor)
            for number, (count, *_) in enumerate(STAGES)
        )
        if (depth, channels_at(STAGES[-1][-1], width_factor)) == (blocks, width) and not squeezed:
            return variant
    raise InputError(
        f"These EfficientNet weights ({blocks} blocks, {width} channels) are of no Lite variant.",
        fix="Give weights of EfficientNet-Lite0 to Lite4.",
    )


def build(features: Mapping[str, Feature], options: Options) -> EfficientNet:
    """An EfficientNet-Lite for the one image field in `features`."""
    return EfficientNet(*only_field("efficientnet", ACCEPTS, features), options)
