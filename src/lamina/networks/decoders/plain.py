"""Decoders of fields with one place, numbers, categories, tokens; and of tokens one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lamina.modalities import Feature


class NumbersDecoder(nn.Module):
    """Numbers from a linear map; the error is the mean squared one of the standardised numbers.

    Where the last column says that the value is missing, its squared error is added and a missing value's own error
    is left out: what stands there means nothing.
    """

    grid: tuple[int, ...] = ()

    def __init__(self, width: int, feature: Feature) -> None:
        super().__init__()
        self.flag = bool(feature.details.get("flag")) and feature.shape[0] > 1
        self.out = nn.Linear(width, feature.shape[0])

    def forward(self, vector: Tensor) -> Tensor:
        """[row, width] to [row, columns]."""
        numbers: Tensor = self.out(vector)
        return numbers

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[row]."""
        target = target.float()
        squares = (prediction.float() - target).square()
        if not self.flag:
            return squares.mean(dim=1)
        return squares[:, :-1].mean(dim=1) * (1 - target[:, -1]) + squares[:, -1]


class CategoryDecoder(nn.Module):
    """A category's logits; the error is the cross-entropy as a share of a blind guess's, log(size).

    A blind guess of a standardised number has a mean squared error of 1 too, so that the fields of a row count alike.
    """

    grid: tuple[int, ...] = ()

    def __init__(self, width: int, feature: Feature) -> None:
        super().__init__()
        self.size = feature.size
        self.out = nn.Linear(width, feature.size)

    def forward(self, vector: Tensor) -> Tensor:
        """[row, width] to [row, size]."""
        logits: Tensor = self.out(vector)
        return logits

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[row]; a value out of range is an unknown one (0), as the networks read it."""
        index = target.long()
        index = torch.where((index >= 0) & (index < self.size), index, 0)
        chosen = prediction.float().log_softmax(dim=1).gather(1, index.unsqueeze(1))[:, 0]
        return -chosen / math.log(max(self.size, 2))


class TokensDecoder(nn.Module):
    """Which tokens occur in a text, in whatever order.

    The error is the cross-entropy of a softmax over the vocabulary against the text's different tokens in equal
    shares (Joulin et al. 2016, "Learning visual features from large weakly supervised data": with many possible labels
    it learns faster than a sigmoid for each), less the least that it can be, as a share of a blind guess's.
    """

    grid: tuple[int, ...] = ()
    without: Tensor

    def __init__(self, width: int, feature: Feature) -> None:
        super().__init__()
        self.size = feature.size
        details = feature.details
        without = torch.ones(feature.size)
        # Padding and the tokens that stand for no text are in every text, or say nothing of it.
        without[sorted({0, int(details.get("padding", 0)), *map(int, details.get("special", ()))})] = 0.0
        unknown = int(details.get("unknown", 1))
        # A text that nothing is known of is strange: its one unknown token must count.
        without[unknown] = float(unknown < feature.size and unknown != int(details.get("padding", 0)))
        self.register_buffer("without", without, persistent=False)
        self.out = nn.Linear(width, feature.size)

    def forward(self, vector: Tensor) -> Tensor:
        """[row, width] to [row, size]."""
        logits: Tensor = self.out(vector)
        return logits

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[row]; 0 for a text without tokens."""
        shares = prediction.float().log_softmax(dim=1)
        occurs = torch.zeros_like(shares).scatter(1, target.long(), 1.0) * self.without
        number = occurs.sum(dim=1)
        missed = -(occurs * shares).sum(dim=1) / number.clamp_min(1.0) - number.clamp_min(1.0).log()
        # Rounding may bring a perfect answer below zero.
        return torch.where(number > 0, missed.clamp_min(0.0), 0.0) / math.log(max(self.size, 2))


class EachTokenDecoder(nn.Module):
    """Which token stands at each step (Devlin et al. 2019, "BERT"); the error is the cross-entropy as a share of a
    blind guess's.

    Of most steps nobody asks, and logits of them all would not fit into memory: `errors` reads the vectors of those
    alone where `target` holds a token.
    """

    def __init__(self, width: int, feature: Feature, places: Sequence[int]) -> None:
        super().__init__()
        self.grid: tuple[int, ...] = tuple(places)
        self.padding = int(feature.details.get("padding", 0))
        self.size = feature.size
        self.out = nn.Linear(width, feature.size)

    def forward(self, vectors: Tensor) -> Tensor:
        """[row, step, width], as they are."""
        return vectors

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[row, step], for the steps that there are vectors of; 0 where nothing is asked."""
        target = target[:, : prediction.shape[1]].long()
        asked = target != self.padding
        missed = nn.functional.cross_entropy(self.out(prediction[asked]).float(), target[asked], reduction="none")
        return torch.zeros(target.shape, device=target.device).masked_scatter(asked, missed) / math.log(self.size)
