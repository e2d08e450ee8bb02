"""Normalisation of vectors over a batch that may be a single row."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation (Ioffe & Szegedy 2015) of [batch, width].

    One row has no deviation: in training too it is normalised by the running statistics, which it does not change.
    """

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or values.shape[0] > 1:
            return super().forward(values)
        return functional.batch_norm(
            values, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
