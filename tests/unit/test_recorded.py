"""Recorded operations: the same answers for other values, nothing needless, and refusals where that cannot be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lamina.learn.recorded import CannotRecordError, Recording, recorded

Function = Callable[..., Sequence[Tensor]]
MOST = 1000


def weighed(values: Tensor, weights: Tensor) -> Sequence[Tensor]:
    """A value and its gradients, through views, broadcasts, a constant and an operation of several answers."""
    weights = weights.detach().requires_grad_()
    hidden = functional.linear(values, weights).view(-1, 2, 2).transpose(1, 2).flatten(1)
    normal = functional.layer_norm(hidden, (4,)) * torch.tensor(3.0)
    first, second = normal.chunk(2, dim=1)
    total = functional.huber_loss(first.relu(), second.sigmoid(), reduction="sum") + torch.log1p(values.square()).sum()
    return total.detach(), *torch.autograd.grad(total, [weights])


def written_to(values: Tensor, weights: Tensor) -> Sequence[Tensor]:
    """Writes to what it made, also through a view: what looks repeated is not."""
    one, two = values * 2.0, values * 2.0
    one[:, 0] = 0.0
    two.add_(weights[0, 0])
    before = one + two
    one.mul_(3.0)
    return before, one + two, one


def twice(values: Tensor, weights: Tensor) -> Sequence[Tensor]:
    """Answers twice with the same numbers, which whoever asked may write to."""
    return values + 1.0, values + 1.0, (values @ weights.t()).exp() + (values @ weights.t()).exp()


def mixed(values: Tensor, weights: Tensor) -> Sequence[Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        return (functional.linear(values, weights).float(),)


FUNCTIONS: list[Function] = [weighed, written_to, twice, mixed]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_the_answers_are_those_of_the_function_for_other_values_too(function: Function) -> None:
    drawn = torch.Generator().manual_seed(0)
    code, answer = recorded(function, [torch.randn(3, 4, generator=drawn), torch.randn(4, 4, generator=drawn)], MOST)
    assert len(answer) == len(function(torch.ones(3, 4), torch.ones(4, 4)))
    for _ in range(3):
        arrays = torch.randn(3, 4, generator=drawn), torch.randn(4, 4, generator=drawn)
        kept = [array.clone() for array in arrays]
        found, expected = code(*arrays), function(*arrays)
        assert len(found) == len(expected)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert all(torch.equal(one, other) for one, other in zip(arrays, kept, strict=True))


def test_answers_share_no_memory_and_repeated_operations_run_once() -> None:
    arrays = torch.randn(3, 4), torch.randn(4, 4)
    code, _ = recorded(twice, arrays, MOST)
    one, other, _ = code(*arrays)
    one.zero_()
    assert not torch.equal(one, other)
    seen = Recording()
    for array in arrays:
        seen.value(array)
    with seen:
        code(*arrays)
    names = [call.operation._schema.name for call in seen.calls]
    assert names.count("aten::mm") == 1
    assert names.count("aten::exp") == 1


def test_random_numbers_are_drawn_anew_as_the_function_would() -> None:
    values = torch.ones(50, 4)

    def noisy(values: Tensor) -> Sequence[Tensor]:
        return functional.dropout(values, 0.5), torch.randn_like(values) + torch.randn_like(values)

    code, _ = recorded(noisy, [values], MOST)
    assert not torch.equal(code(values)[0], code(values)[0])
    torch.manual_seed(1)
    found = code(values)
    torch.manual_seed(1)
    assert all(torch.equal(one, other) for one, other in zip(found, noisy(values), strict=True))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_networks_can_be_recorded(kind: type[nn.Module]) -> None:
    network = kind(3, 5, batch_first=True)
    names = [name for name, _ in network.named_parameters()]

    def read(values: Tensor, *weights: Tensor) -> Sequence[Tensor]:
        leaves = [weight.detach().requires_grad_() for weight in weights]
        answer = torch.func.functional_call(network, dict(zip(names, leaves, strict=True)), (values,))[0]
        total = answer.square().sum()
        return total.detach(), *torch.autograd.grad(total, leaves)

    weights = [weight.detach() for weight in network.parameters()]
    code, _ = recorded(read, [torch.randn(2, 6, 3), *weights], MOST)
    values = torch.randn(2, 6, 3)
    for one, other in zip(code(values, *weights), read(values, *weights), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


OUTSIDE = torch.ones(4)
REFUSED: dict[str, Function] = {
    "looks at a value": lambda values: (values * 2 if values.sum() > 0 else values,),
    "asks for a number": lambda values: (values * values.sum().item(),),
    "asks whether they are equal": lambda values: (values * torch.equal(values, values + 1),),
    "as many as there are": lambda values: (values[values > 0],),
    "a tensor from elsewhere": lambda values: (values + OUTSIDE,),
    "too many calls": lambda values: (sum((values + number for number in range(MOST)), values),),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_another_list_for_other_values_is_refused(name: str) -> None:
    with pytest.raises(CannotRecordError):
        recorded(REFUSED[name], [torch.randn(4)], MOST)


def test_the_compiler_is_not_loaded_for_it() -> None:
    """It takes seconds and more than a hundred megabytes."""
    code = (
        "import sys, torch\n"
        "from lamina.learn.recorded import recorded\n"
        "recorded(lambda values: (values + 1,), [torch.ones(2)], 9)\n"
        "assert not {'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
