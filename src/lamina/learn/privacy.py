"""Differential privacy (Dwork et al. 2006): what weights tell of a single training row is bounded, and counted.

Training goes by DP-SGD (Abadi et al. 2016, "Deep learning with differential privacy"): each row is in a batch by a
chance of its own (Poisson sampling), the gradient of each row alone is cut to a length, and noise of that scale is
added to their sum. The accountant bounds what T such steps tell together by Rényi divergences (Mironov 2017) of the
sampled Gaussian mechanism (Mironov, Talwar & Zhang 2019, for whole orders), and turns them into (epsilon, delta) as in
Canonne, Kamath & Steinke (2020, Proposition 12). Of two neighboring data sets one has a row that the other has not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.learn import memory
from lamina.learn.batch import Batch, Loss

ORDERS = (*range(2, 65), *range(72, 257, 8), 320, 384, 512, 768, 1024)
"""Of Rényi divergences, among which the best bound is taken."""
LEAST_NOISE, MOST_NOISE = 0.2, 1e4
"""Standard deviations of the noise, in lengths of a gradient, between which one is looked for."""
NUMBERS = 2**26
"""Numbers of gradients of single rows that are held at once, about."""
SECRET_BYTES = 32


def divergence(rate: float, noise: float, order: int) -> float:
    """Rényi divergence of a whole order of one step of the sampled Gaussian mechanism.

    Args:
        rate: chance of a row to be in a batch.
        noise: standard deviation, in the largest length of a row's gradient.
    """
    if rate == 0:
        return 0.0
    if rate == 1:
        return order / (2 * noise**2)
    terms = [
        math.lgamma(order + 1) - math.lgamma(k + 1) - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-rate) + k * math.log(rate) + k * (k - 1) / (2 * noise**2)
        for k in range(order + 1)
    ]  # fmt: skip
    most = max(terms)
    return (most + math.log(sum(math.exp(term - most) for term in terms))) / (order - 1)


def epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    """How much `steps` steps tell of a row at most, but for a chance of `delta`."""
    found = math.inf
    for order in ORDERS:
        bound = steps * divergence(rate, noise, order)
        bound += math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        found = min(found, bound)
    return max(found, 0.0)


def noise_for(wanted: float, rate: float, steps: int, delta: float) -> float:
    """The least noise with which `steps` steps tell at most `wanted`, to three digits, rounded up.

    Raises:
        InputError: no noise suffices.
    """
    low, high = LEAST_NOISE, MOST_NOISE
    if epsilon(rate, high, steps, delta) > wanted:
        raise InputError(
            f"No noise makes epsilon as small as {wanted:g} in {steps:,} steps, with delta {delta:g}.",
            where="privacy.epsilon",
            fix="Ask for more (1 to 10 are usual), or for a larger privacy.delta.",
        )
    while high / low > 1.0005:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if epsilon(rate, middle, steps, delta) <= wanted else (middle, high)
    digits = 10.0 ** (math.floor(math.log10(high)) - 3)
    return float(math.ceil(high / digits) * digits)


def draws(secret: bytes, *what: int | str) -> np.random.Generator:
    """A generator that only who knows the secret can repeat; another one for each use and step."""
    words = hashlib.blake2b("/".join(map(str, what)).encode(), key=secret, digest_size=32).digest()
    return np.random.default_rng(np.frombuffer(words, np.uint32))


def sampled(secret: bytes, step: int, rows: np.ndarray[Any, Any], rate: float) -> np.ndarray[Any, Any]:
    """The rows of a step's batch, each of `rows` by a chance of its own."""
    return rows[draws(secret, "rows", step).random(len(rows)) < rate]


@dataclass
class Private:
    """How the gradient of a batch is made private.

    Attributes:
        clip: the largest length of a row's gradient.
        noise: standard deviation of the noise on their sum, in such lengths.
        expected: rows that a batch has on average, which the sum is divided by: how many it really has is a secret.
        secret: of the noise.
        one_by_one: whether rows go through the network alone, for it cannot be differentiated for many at once.
        most: numbers of gradients of single rows that are held at once, about; fewer where memory does not suffice.
    """

    clip: float
    noise: float
    expected: float
    secret: bytes = field(repr=False)
    one_by_one: bool = False
    most: int = NUMBERS

    def gradient(
        self,
        loss: Callable[[Batch], Loss],
        batch: Batch,
        network: nn.Module,
        parameters: Sequence[nn.Parameter],
        step: int,
    ) -> tuple[Tensor, Tensor, bool]:
        """Put the private gradient of the mean into `parameters`.

        Returns:
            The sum and the weight of the losses, not private; and whether all losses and gradients are finite.
        """
        numbers = max(sum(one.numel() for one in parameters), 1)
        while True:
            rows = max(self.most // numbers, 1)
            try:
                sums, total, weight = self._sums(loss, batch, network, parameters, rows)
                break
            except (RuntimeError, MemoryError) as error:
                if not memory.out_of_memory(error) or rows == 1:
                    raise
            # Outside of `except`: the error holds the tensors of the part that failed.
            self.most = min(self.most, len(batch) * numbers) // 4
            memory.release(batch.rows.device)
        generator = draws(self.secret, "noise", step)
        for one, found in zip(parameters, sums, strict=True):
            drawn = torch.from_numpy(generator.standard_normal(one.shape, np.float32)).to(one.device)
            one.grad = (found + self.noise * self.clip * drawn) / self.expected
        finite = bool(torch.isfinite(total)) and all(bool(torch.isfinite(found).all()) for found in sums)
        return total, weight, finite

    def _sums(
        self,
        loss: Callable[[Batch], Loss],
        batch: Batch,
        network: nn.Module,
        parameters: Sequence[nn.Parameter],
        rows: int,
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """(The sum of all rows' gradients, each cut to its length; of the losses; of the weights), `rows` at a time."""
        sums = [torch.zeros_like(one) for one in parameters]
        total = weight = torch.zeros((), device=batch.rows.device)
        for part in batch.parts(-(-len(batch) // rows)) if len(batch) else ():
            for gradients, value, weighs in self._each(loss, part, network, parameters):
                total, weight = total + value, weight + weighs
                lengths = torch.stack([one.flatten(1).norm(dim=1) for one in gradients]).norm(dim=0)
                shares = (self.clip / lengths.clamp_min(1e-12)).clamp_max(1)
                for place, one in enumerate(gradients):
                    sums[place] += torch.tensordot(shares, one, dims=1)
        return sums, total, weight

    def _each(
        self, loss: Callable[[Batch], Loss], batch: Batch, network: nn.Module, parameters: Sequence[nn.Parameter]
    ) -> Iterator[tuple[list[Tensor], Tensor, Tensor]]:
        """(Gradients of single rows, [row, ...] by parameter; sums of losses and weights), some rows at a time."""
        if not self.one_by_one:
            try:
                found = _together(loss, batch, network, parameters)
            except (RuntimeError, NotImplementedError, ValueError) as error:
                if memory.out_of_memory(error):
                    raise
                # It draws, branches or calls what PyTorch does not know for many rows at once.
                self.one_by_one = True
            else:
                yield found
                return
        for row in range(len(batch)):
            value = loss(_alone(batch.part(row, row + 1)))
            if value.sum.requires_grad:
                gradients = torch.autograd.grad(value.sum, parameters, materialize_grads=True)
                yield [one[None] for one in gradients], value.sum.detach(), value.weight.detach()


class _Judged(nn.Module):
    """A network and the loss that calls it, as one function of the network's weights."""

    def __init__(self, network: nn.Module, loss: Callable[[Batch], Loss]) -> None:
        super().__init__()
        self.network, self._loss = network, loss

    def forward(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        found = self._loss(batch)
        return found.sum, (found.sum, found.weight)


def _together(
    loss: Callable[[Batch], Loss], batch: Batch, network: nn.Module, parameters: Sequence[nn.Parameter]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Gradients of all rows in one pass (`torch.func.vmap`): [row, ...] by parameter."""
    judged = _Judged(network, loss)
    names = {id(one): name for name, one in judged.named_parameters()}
    arrays, build = _arrays(batch)

    def one_row(weights: dict[str, Tensor], row: list[Tensor]) -> Any:
        return torch.func.functional_call(judged, weights, (build([value[None] for value in row]),))

    weights = {names[id(one)]: one.detach() for one in parameters}
    each = torch.func.vmap(torch.func.grad(one_row, has_aux=True), in_dims=(None, 0), randomness="different")
    found, (sums, weighs) = each(weights, arrays)
    return [found[names[id(one)]] for one in parameters], sums.sum(), weighs.sum()


def _alone(batch: Batch) -> Batch:
    """A row that is no part of a larger batch, whose weights would count for it."""
    return replace(batch, whole=None)


def _arrays(batch: Batch) -> tuple[list[Tensor], Callable[[list[Tensor]], Batch]]:
    """All tensors of a batch, and what makes a batch of others in their places."""
    if batch.other is not None or batch.share is not None:
        raise ValueError("blends of two rows have no rows of their own")
    inputs, targets = list(batch.inputs), list(batch.targets)
    weighted = batch.weight is not None
    arrays = [batch.rows, *batch.inputs.values(), *batch.targets.values(), *([batch.weight] if weighted else [])]

    def build(values: list[Tensor]) -> Batch:
        first, last = 1 + len(inputs), 1 + len(inputs) + len(targets)
        return Batch(
            values[0],
            dict(zip(inputs, values[1:first], strict=True)),
            dict(zip(targets, values[first:last], strict=True)),
            values[last] if weighted else None,
        )

    return [value for value in arrays if value is not None], build


def without_statistics(network: nn.Module) -> int:
    """Replace batch normalisation, in which rows of a batch meet, by group normalisation (Wu & He 2018).

    Returns:
        How many layers that were.
    """
    count = 0
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                channels = child.num_features
                groups = next(
                    number for number in (32, 16, 8, 4, 2, 1) if channels % number == 0 and number <= channels
                )
                setattr(module, name, nn.GroupNorm(groups, channels, eps=child.eps))
                count += 1
    return count
