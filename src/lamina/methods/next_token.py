"""Learns which token comes next: cross-entropy at every position of a text (Bengio et al. 2003), smoothed if wanted.

Label smoothing spreads a share of the wanted probability over all tokens (Szegedy et al. 2016), which makes
translations better and probabilities worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.stream import NEXT
from lamina.methods.next_item import groups
from lamina.methods.supervised import Supervised
from lamina.networks.blocks.options import share
from lamina.plan import OptimizerPlan

GIVES = ("write", "translate", "caption")


@dataclass(frozen=True)
class Options:
    """Settings of learning which token comes next.

    Attributes:
        smoothing: share of the wanted probability that is spread over all tokens.
    """

    smoothing: float = share(0.0)


def build(
    network: nn.Module, options: Options, optimizer: OptimizerPlan, ema: float = 0.0, *, padding: int = 0,
    thaw: Callable[[float], None] | None = None,
) -> Supervised:  # fmt: skip
    """The method, over a writer; what of it is frozen stays as it is, and is not kept with what is learned.

    A batch's target "next" is [row, step], `padding` where nothing is asked; it may be longer than what the network is
    shown.

    Args:
        thaw: called with the progress (0 to 1) before each step: gradual unfreezing.
    """

    learning = optimizers.build(groups(network, optimizer.weight_decay), optimizer)
    return Supervised(network, objective(options, padding), learning, ema=ema, thaw=thaw, fixed=_frozen(network))


def objective(options: Options, padding: int = 0) -> Callable[[Tensor | Mapping[str, Tensor], Batch], Loss]:
    """The loss of a writer's log-odds on a batch with such a target."""

    def loss(logits: Tensor | Mapping[str, Tensor], batch: Batch) -> Loss:
        assert isinstance(logits, Tensor)
        each = losses(logits, batch.targets[NEXT], options.smoothing, padding)
        return Loss(each.sum(), (batch.targets[NEXT][:, : each.shape[1]] != padding).sum())

    return loss


def _frozen(network: nn.Module) -> frozenset[str]:
    """Names of the weights that do not learn."""
    return frozenset(name for name, weight in network.named_parameters() if not weight.requires_grad)


def losses(logits: Tensor, following: Tensor, smoothing: float = 0.0, padding: int = 0) -> Tensor:
    """[row, step] cross-entropies in nats, 0 where nothing is asked.

    Args:
        logits: [row, step, token].
        following: int [row, step or more], the token that came next, or `padding`.
    """
    wanted = following[:, : logits.shape[1]].long()
    found = functional.cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), ignore_index=padding, reduction="none",
        label_smoothing=smoothing,
    )  # fmt: skip
    return found.reshape(wanted.shape)
