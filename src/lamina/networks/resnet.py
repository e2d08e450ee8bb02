"""Residual convolutional network for images, spectrograms and series, sized to its input.

Early downsampling keeps most work on small maps (14 x 14 for 28 x 28 images): on a CPU this gives the best
accuracy for the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.networks import Level, OutputShape, Places
from lamina.networks.blocks.depth import StochasticDepth, chances
from lamina.networks.blocks.fields import Pixels, lengths, levels_of, only_field, places_of, within
from lamina.networks.blocks.norm import BatchNorm
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.pooling import MapPooling, pool_map

ACCEPTS = ("image", "spectrogram", "series")
GIVES = ("pyramid",)


@dataclass(frozen=True)
class Options:
    """Sizes of a residual network.

    Attributes:
        width: channels of the first stage; every further stage has twice as many, up to `widest`.
        widest: most channels of a stage.
        stages: how many stages; each but the first halves the map. 0: from the input's size.
        blocks: residual blocks in each stage.
        halvings: how often the stem halves the map before the first stage. -1: from the input's size.
        kernel: size of the convolutions; 0: 3 for images and spectrograms, 7 for series.
        dropout: on the pooled vector.
        stochastic_depth: chance of leaving out the last block; earlier blocks proportionally less.
        squeeze_excite: weigh channels by their global content (Hu et al. 2018).
        pooling: how the last map becomes a vector; "statistics" (mean and deviation over time in each range of
            bands) for spectrograms.
    """

    width: int = whole(32)
    widest: int = whole(512)
    stages: int = whole(0, least=0)
    blocks: int = whole(1)
    halvings: int = whole(-1, least=-1)
    kernel: int = whole(0, least=0)
    dropout: float = share(0.0)
    stochastic_depth: float = share(0.0)
    squeeze_excite: bool = False
    pooling: MapPooling = "mixed"


class SqueezeExcite(nn.Module):
    """Channels weighed by a small network on their means (Hu et al. 2018); shape kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // 8)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, values: Tensor) -> Tensor:
        weights: Tensor = self.gate(values.mean(tuple(range(2, values.ndim))))
        return values * weights.reshape(*weights.shape, *([1] * (values.ndim - 2)))


class Block(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016); the shortcut of a halving block averages (He et al. 2019)."""

    def __init__(
        self, dimensions: int, inner: int, outer: int, kernel: int, halve: bool, squeeze: bool, skipped: float
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_convolution(dimensions, inner, outer, kernel, 2 if halve else 1),
            nn.ReLU(inplace=True),
            *_convolution(dimensions, outer, outer, kernel, 1),
        )
        if squeeze:
            self.branch.append(SqueezeExcite(outer))
        if skipped:
            self.branch.append(StochasticDepth(skipped))
        self.shortcut = nn.Sequential()
        if halve:
            pool = nn.AvgPool2d if dimensions == 2 else nn.AvgPool1d
            self.shortcut.append(pool(2, ceil_mode=True, count_include_pad=False))
        if inner != outer:
            self.shortcut.extend(_convolution(dimensions, inner, outer, 1, 1))

    def forward(self, values: Tensor) -> Tensor:
        return torch.relu(self.branch(values) + self.shortcut(values))


def _convolution(dimensions: int, inner: int, outer: int, kernel: int, stride: int) -> list[nn.Module]:
    """A convolution without bias and its normalisation."""
    kind: Any = nn.Conv2d if dimensions == 2 else nn.Conv1d
    norm: Any = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm1d
    layer = kind(inner, outer, kernel, stride, (kernel - 1) // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return [layer, norm(outer)]


def _stem(
    dimensions: int, channels: int, width: int, kernel: int, halvings: int, side: int, coarse: bool = False
) -> nn.Sequential:
    """Convolutions that halve the map `halvings` times; a map that is small already is halved by pooling.

    Where it is `coarse` and halves three times, one wide convolution takes the first two at once: half the cost of
    the whole network would be in maps that large.
    """
    if halvings == 0:
        return nn.Sequential(*_convolution(dimensions, channels, width, kernel, 1), nn.ReLU(inplace=True))
    layers: list[nn.Module] = []
    begin = 0
    if coarse and halvings > 2:
        out = max(width // 2, 16)
        layers += [*_convolution(dimensions, channels, out, 2 * kernel + 1, 4), nn.ReLU(inplace=True)]
        channels, begin = out, 2
    for number in range(begin, halvings):
        out = width if number == halvings - 1 else max(width // 2, 16)
        small = number == 0 and side <= 40
        layers += _convolution(dimensions, channels, out, kernel, 1 if small else 2)
        if small:
            pool: Any = nn.MaxPool2d if dimensions == 2 else nn.MaxPool1d
            layers.insert(1, pool(2, ceil_mode=True))
        layers.append(nn.ReLU(inplace=True))
        channels = out
    return nn.Sequential(*layers)


def halvings_for(side: int, dimensions: int) -> int:
    """How often the stem halves: images to a map of 12 to 24, at most three times; series of over 256 steps."""
    most = 24 if dimensions == 2 else 256
    return min(3, max(0, math.ceil(math.log2(side / most))))


def stages_for(side: int, dimensions: int) -> int:
    """How many stages for a map of `side` after the stem: the last one about 4 wide."""
    return 3 if dimensions == 1 else min(4, max(2, math.ceil(math.log2(max(side, 4) / 4)) + 1))


class ResNet(nn.Module):
    """Stem, stages of residual blocks, pooling; one image, spectrogram or series field.

    A spectrogram is an image of one channel; its padded frames are left out of the pooling.
    """

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        self.field, self.kind, self.pooling = name, feature.kind, options.pooling
        dimensions = 1 if feature.kind == "series" else 2
        side = feature.shape[0] if dimensions == 1 else min(feature.shape[:2])
        channels = {"image": feature.shape[-1], "series": feature.shape[-1]}.get(feature.kind, 1)
        kernel = options.kernel or (3 if dimensions == 2 else 7)
        if kernel % 2 == 0:
            raise InputError(f"The kernel is {kernel}.", where=name, fix="Give an odd number, such as 3.")
        halvings = options.halvings if options.halvings >= 0 else halvings_for(side, dimensions)
        self.pixels = Pixels(feature) if feature.kind == "image" else None
        coarse = feature.kind == "spectrogram"
        self.stem = _stem(dimensions, channels, options.width, kernel, halvings, side, coarse)
        stages = options.stages or stages_for(math.ceil(side / 2**halvings), dimensions)
        self.reduction = 2 ** (halvings + stages - 1)
        skipped = chances(options.stochastic_depth, stages * options.blocks)
        self.blocks = nn.ModuleList()
        width = options.width
        for number in range(stages * options.blocks):
            stage, place = divmod(number, options.blocks)
            outer = min(options.width * 2**stage, max(options.widest, options.width))
            halve = stage > 0 and place == 0
            self.blocks.append(Block(dimensions, width, outer, kernel, halve, options.squeeze_excite, skipped[number]))
            width = outer
        channels = width
        self.norm: nn.Module = nn.Identity()
        if options.pooling == "statistics":
            across = 1 if dimensions == 1 else math.ceil(feature.shape[1] / self.reduction)
            width *= 2 * across
            # Means and deviations differ in size.
            self.norm = BatchNorm(width)
        self.dropout = nn.Dropout(options.dropout)
        self.output = OutputShape(width)

        if self.pixels is not None:
            # Only a picture has one: a network of series or sounds lacks the attribute, and so is not `Pyramidal`.
            self.levels = self._levels(feature)
            self.places = places_of(self.levels)
        else:
            # Every halving rounds up.
            steps, *bands = (math.ceil(side / self.reduction) for side in feature.shape)
            self.places = Places(channels * (bands[0] if self.kind == "spectrogram" else 1), (steps,))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, width]."""
        return self._read(inputs)[0]

    def local(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the last map: [batch, row, column, channel] of a picture, else [batch, step, width]
        with all bands of a sound in one vector."""
        vector, values = self._read(inputs)
        return vector, values.permute(0, 2, 3, 1) if self.pixels is not None else values.movedim(2, 1).flatten(2)

    def _read(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The vector [batch, 1, width], and the last map [batch, channel, ...]."""
        values = inputs[self.field]
        mask = None
        if self.pixels is not None:
            values = self.pixels(values)
        elif self.kind == "spectrogram":
            used = lengths(self.kind, values)
            values = values.float().unsqueeze(3).permute(0, 3, 1, 2)
            # Every halving rounds up, so a row's share of the last map is its length, divided and rounded up.
            mask = (used + self.reduction - 1) // self.reduction
        else:
            values = values.float().transpose(1, 2)
        values = self.stem(values)
        for block in self.blocks:
            values = block(values)
        pooled = pool_map(values, self.pooling, None if mask is None else within(mask, values.shape[2]))
        vector: Tensor = self.dropout(self.norm(pooled))
        return vector.unsqueeze(1), values

    def pyramid(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The picture, the stem's maps and those of the stages, each just before the next halving."""
        assert self.pixels is not None
        return list(self._maps(self.pixels(inputs[self.field])))

    def without_vector(self) -> None:
        """The pooled vector's normalisation."""
        self.norm = nn.Identity()

    def _maps(self, values: Tensor) -> Iterator[Tensor]:
        yield values
        picture = previous = values
        for layer in (*self.stem, *self.blocks):
            values = layer(values)
            if previous is not picture and values.shape[2:] != previous.shape[2:]:
                yield previous
            previous = values
        yield values

    def _levels(self, feature: Feature) -> tuple[Level, ...]:
        """What `pyramid` gives, found by trying: the stem halves in several ways."""
        assert self.pixels is not None
        training = self.training
        self.eval()
        with torch.no_grad():
            maps = list(self._maps(self.pixels(torch.zeros(1, *feature.shape))))
        self.train(training)
        return levels_of(maps, feature)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """stem, block1, block2, ..., and pool, where the pooled vector is normalised."""
        body = [("stem", self.stem), *((f"block{number}", block) for number, block in enumerate(self.blocks, 1))]
        return [*body, ("pool", self.norm)] if self.pooling == "statistics" else body


def build(features: Mapping[str, Feature], options: Options) -> ResNet:
    """A residual network for the one image, spectrogram or series field in `features`."""
    return ResNet(*only_field("resnet", ACCEPTS, features), options)
