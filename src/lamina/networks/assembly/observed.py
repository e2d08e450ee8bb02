"""A network for observations: numbers are normalised inside it, by what has been observed so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks.assembly import Assembly

LEAST_OF_REACH = 1e-2
"""Of a deviation within bounds, as a share of that of the bounds: what did not move yet may move later."""
LARGEST = 10.0
"""Standard deviations beyond which a normalised number is clipped."""


class Normalizer(nn.Module):
    """Numbers [..., width] to mean 0 and standard deviation 1 by running moments, which are saved with the weights.

    Moments of batches are merged as in Chan, Golub & LeVeque (1983).
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        normal = (values.float() - self.mean) * torch.rsqrt(self.variance + 1e-8)
        return normal.clamp(-LARGEST, LARGEST)

    @torch.no_grad()
    def follow(self, values: Tensor) -> None:
        """Count these observations in."""
        values = values.float().flatten(0, -2)
        count = float(len(values))
        variance, mean = torch.var_mean(values, dim=0, correction=0)
        total = self.count + count
        apart = mean - self.mean
        self.variance.copy_(
            (self.variance * self.count + variance * count + apart.square() * self.count * count / total) / total
        )
        self.mean.add_(apart * (count / total))
        self.count.copy_(total)

    @torch.no_grad()
    def widen(self, reach: Sequence[float]) -> None:
        """Count on what was not observed yet, where these moments are to stay.

        What acts at random hardly leaves the place where it began; what it learns to do later goes farther. A
        deviation becomes the geometric mean of itself and `reach`, the one within the bounds, or twice as large where
        there are no bounds.
        """
        far = torch.tensor(list(reach), dtype=torch.float32, device=self.variance.device)
        seen = self.variance.sqrt()
        bounded = torch.isfinite(far)
        known = torch.where(bounded, far, 1.0)
        least = torch.where(bounded, LEAST_OF_REACH * known, seen)
        wide = torch.where(bounded, (torch.maximum(seen, least) * known).sqrt(), 2 * seen)
        self.variance.copy_(torch.maximum(wide, seen).square())


class Observed(nn.Module):
    """An assembly behind normalisers of its fields of numbers and series.

    Args:
        assembly: from encoded inputs to outputs by head.
        features: of the fields it reads.
        plain: fields that are left as they are.
    """

    def __init__(
        self, assembly: Assembly, features: Mapping[str, Feature], plain: frozenset[str] = frozenset()
    ) -> None:
        super().__init__()
        self.assembly = assembly
        self.fields = [
            name for name, feature in features.items() if feature.kind in ("numbers", "series") and name not in plain
        ]
        self.normalizers = nn.ModuleList(Normalizer(features[name].shape[-1]) for name in self.fields)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by head, [row, 1, width]."""
        known = dict(inputs)
        for name, normalizer in zip(self.fields, self.normalizers, strict=True):
            known[name] = normalizer(inputs[name])
        outputs: dict[str, Tensor] = self.assembly(known)
        return outputs

    def follow(self, inputs: Mapping[str, Tensor]) -> None:
        """Count these observations into the normalisers."""
        for name, normalizer in zip(self.fields, self.normalizers, strict=True):
            cast(Normalizer, normalizer).follow(inputs[name])

    def widen(self, reach: Mapping[str, Sequence[float]]) -> None:
        """Count on what was not observed yet, see `Normalizer.widen`."""
        for name, normalizer in zip(self.fields, self.normalizers, strict=True):
            if name in reach:
                cast(Normalizer, normalizer).widen(reach[name])

    def head(self, name: str) -> nn.Linear:
        """The last layer of one of the outputs."""
        return cast(nn.Linear, self.assembly.layer(f"heads.{name}"))
