"""The network that Lamina chooses for grey pictures of 28 x 28, in plain PyTorch: for peers that train PyTorch modules.

A test compares it with Lamina's own, weight by weight and answer by answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128)


def convolution(inner: int, outer: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return [layer, nn.BatchNorm2d(outer)]


class Block(nn.Module):
    def __init__(self, inner: int, outer: int, halve: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *convolution(inner, outer, 3, 2 if halve else 1), nn.ReLU(inplace=True), *convolution(outer, outer, 3)
        )
        self.shortcut = nn.Sequential()
        if halve:
            self.shortcut.append(nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False))
        if inner != outer:
            self.shortcut.extend(convolution(inner, outer, 1))

    def forward(self, values: Tensor) -> Tensor:
        return torch.relu(self.branch(values) + self.shortcut(values))


class ResNet(nn.Module):
    """[batch, 1, 28, 28], standardised, to [batch, class]."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        first, norm = convolution(1, WIDTHS[0], 3)
        self.stem = nn.Sequential(first, nn.MaxPool2d(2, ceil_mode=True), norm, nn.ReLU(inplace=True))
        widths = (WIDTHS[0], *WIDTHS)
        self.blocks = nn.Sequential(
            *(
                Block(inner, outer, number > 0)
                for number, (inner, outer) in enumerate(zip(widths, WIDTHS, strict=False))
            )
        )
        self.head = nn.Linear(WIDTHS[-1], classes)

    def forward(self, pictures: Tensor) -> Tensor:
        values = self.blocks(self.stem(pictures))
        answers: Tensor = self.head((values.mean((2, 3)) + values.amax((2, 3))) / 2)
        return answers
