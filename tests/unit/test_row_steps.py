"""Tables of which a batch uses few rows: gradients of those alone, and steps that are the same as all rows'."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.learn import checkpoint, optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.learn.row_steps import RowAdam
from lamina.methods.supervised import Supervised
from lamina.modalities import Feature
from lamina.networks.assembly import Assembly, build_assembly
from lamina.networks.blocks import rows
from lamina.networks.blocks.spelling import SpelledEmbedding
from lamina.networks.transfer.freezing import parameter_groups
from lamina.plan import NetworkPlan, OptimizerPlan

CPU = torch.device("cpu")
WORDS = ["", "?", *(f"w{number}{'ed' * (number % 3)}" for number in range(60))]
ADAM = OptimizerPlan("adamw", learning_rate=0.02)


def sparse(gradient: Tensor) -> Tensor:
    """The same, of the rows that are not all zero."""
    used = gradient.ne(0).any(dim=1).nonzero().squeeze(1)
    return torch.sparse_coo_tensor(
        used.unsqueeze(0), gradient[used], gradient.shape, is_coalesced=True, check_invariants=False
    )


def some_gradients(count: int) -> list[Tensor]:
    """Of a table [7, 3]: a row in two has none; one row has one at the first step and at the last."""
    torch.manual_seed(0)
    found = [torch.randn(7, 3) * (torch.rand(7, 1) < 0.5) for _ in range(count)]
    for number, gradient in enumerate(found):
        gradient[6] = 1.0 if number in (0, count - 1) else 0.0
    return found


def stepped(optimizer: torch.optim.Optimizer, table: nn.Parameter, gradients: list[Tensor]) -> Tensor:
    for gradient in gradients:
        table.grad = gradient.clone()
        optimizers.take_step(optimizer)
    return table.detach().clone()


@pytest.mark.parametrize("form", ["sparse", "dense", "by turns"])
def test_the_weights_are_those_of_adam_without_momentum(form: str) -> None:
    gradients = some_gradients(60)
    start = torch.randn(7, 3)
    told = [
        sparse(gradient) if form == "sparse" or (form == "by turns" and number % 2) else gradient
        for number, gradient in enumerate(gradients)
    ]
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    found = stepped(RowAdam([{"params": [ours]}], 0.01, 0.95), ours, told)
    wanted = stepped(torch.optim.Adam([theirs], 0.01, betas=(0.0, 0.95)), theirs, gradients)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert (found - start).ne(0).all()


def test_a_step_that_the_device_leaves_out_changes_nothing() -> None:
    gradients = some_gradients(4)
    table, other = (nn.Parameter(torch.ones(7, 3)) for _ in range(2))
    optimizer, plain = (RowAdam([{"params": [one]}], 0.01) for one in (table, other))
    assert optimizers.can_skip(optimizer)
    stepped(optimizer, table, gradients[:2])
    optimizer.found_inf, optimizer.grad_scale = torch.tensor(1.0), torch.tensor(2.0)
    before = table.detach().clone()
    assert torch.equal(stepped(optimizer, table, [torch.full((7, 3), torch.inf)]), before)
    optimizer.found_inf = torch.tensor(0.0)
    stepped(optimizer, table, [2 * gradients[2]])
    optimizer.found_inf = optimizer.grad_scale = None
    assert torch.equal(stepped(optimizer, table, gradients[3:]), stepped(plain, other, gradients))


def test_a_first_step_that_the_device_leaves_out_changes_nothing() -> None:
    table = nn.Parameter(torch.ones(7, 3))
    optimizer = RowAdam([{"params": [table]}], 0.01)
    optimizer.found_inf = torch.tensor(1.0)
    assert torch.equal(stepped(optimizer, table, [torch.full((7, 3), torch.nan)]), torch.ones(7, 3))
    optimizer.found_inf = torch.tensor(0.0)
    assert stepped(optimizer, table, [torch.ones(7, 3)]).lt(1).all()


def test_runs_of_older_versions_are_told_apart() -> None:
    """Before tables had steps of their own, there was one optimizer."""
    network = texts({"spellings": WORDS})
    groups = parameter_groups(network, weight_decay=0.1)
    method = Supervised(
        network, lambda answers, batch: Loss(torch.zeros(()), torch.ones(())), optimizers.build(groups, ADAM)
    )
    state = method.state()
    method.restore(state)
    with pytest.raises(InputError, match="older version of Lamina"):
        method.restore({**state, "optimizers": state["optimizers"][:1]})


def test_training_that_goes_on_is_the_same_to_the_bit() -> None:
    gradients = [sparse(gradient) for gradient in some_gradients(20)]
    table = nn.Parameter(torch.ones(7, 3))
    optimizer = RowAdam([{"params": [table]}], 0.01)
    stepped(optimizer, table, gradients[:9])
    kept = checkpoint.unpack(*checkpoint.pack(optimizer.state_dict()))
    again = nn.Parameter(table.detach().clone())
    loaded = RowAdam([{"params": [again]}], 0.01)
    loaded.load_state_dict(kept)
    assert torch.equal(stepped(optimizer, table, gradients[9:]), stepped(loaded, again, gradients[9:]))


def test_different_rows_are_those_of_unique() -> None:
    index = torch.randint(3, 40, (6, 5))
    used, place = rows.different(index, 50)
    for found, wanted in zip((used, place), torch.unique(index, return_inverse=True), strict=True):
        assert torch.equal(found, wanted)
    used, place = rows.different(index, 50, also=0)
    assert used[0] == 0
    assert torch.equal(used[place], index)


def texts(details: dict[str, object]) -> Assembly:
    """A bag of embeddings for texts of 12 words with one answer."""
    torch.manual_seed(1)
    feature = Feature("tokens", (12,), "int32", size=len(WORDS), details={"padding": 0, "unknown": 1, **details})
    network = build_assembly({"note": NetworkPlan("bag", ("note",), {"dropout": 0.0})}, {"note": feature}, {"y": 2})
    return network.train()


def gradients(network: Assembly, tokens: Tensor, apart: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """A loss and every gradient."""
    network.zero_grad(set_to_none=True)
    torch.manual_seed(2)
    with rows.apart(apart):
        loss = network({"note": tokens})["y"].square().sum()
        loss.backward()
    return loss, {name: cast(Tensor, one.grad) for name, one in network.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("details", [{}, {"spellings": WORDS}], ids=["tokens", "spelled"])
def test_gradients_of_used_rows_are_those_of_all(details: dict[str, object]) -> None:
    network = texts(details)
    tokens = torch.randint(1, len(WORDS), (5, 12))
    tokens[:, 9:] = 0
    loss, found = gradients(network, tokens, apart=True)
    same, wanted = gradients(network, tokens, apart=False)
    assert torch.equal(loss, same)
    assert found.keys() == wanted.keys()
    tables = {name for name, gradient in found.items() if gradient.is_sparse}
    assert tables == {name for name in found if "grams" in name}
    assert len(tables) == (5 if details else 4)
    assert not any(gradient.is_sparse for gradient in wanted.values())
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name].to_dense() if name in tables else found[name], gradient)


def test_no_run_of_letters_is_never_learned() -> None:
    spelled = SpelledEmbedding(["", "a", "bee"], 4, 1.0)
    with rows.apart():
        spelled(torch.tensor([[0, 2, 1]])).sum().backward()
    gradient = cast(Tensor, spelled.letters.weight.grad).to_dense()
    assert gradient.any()
    assert not gradient[0].any()


def trained(
    network: Assembly, plan: OptimizerPlan, able: bool, monkeypatch: pytest.MonkeyPatch, **how: float
) -> Assembly:
    """After five steps by the engine."""
    # Where the optimizer wants all rows, too: the engine spells them out for it.
    monkeypatch.setattr(Engine, "apart", lambda *_: rows.apart(able))
    engine = Engine(CPU, **how)  # type: ignore[arg-type]
    learning = optimizers.build(parameter_groups(network, weight_decay=0.1), plan)
    generator = torch.Generator().manual_seed(3)

    def loss(batch: Batch) -> Loss:
        answers = network(batch.inputs)["y"].square().flatten(1).sum(1)
        return Loss(answers.sum(), torch.tensor(float(len(batch))))

    for step in range(5):
        tokens = torch.randint(1, len(WORDS), (8, 12), generator=generator)
        torch.manual_seed(step)
        engine.descend(loss, Batch(torch.arange(8), {"note": tokens}, {}), learning, network)
    return network


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "muon"])
@pytest.mark.parametrize("how", [{}, {"clip": 0.1}, {"accumulation": 3}], ids=["plain", "clipped", "in parts"])
def test_the_engine_learns_the_same_by_rows(name: str, how: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = OptimizerPlan(name, learning_rate=0.02)
    details: dict[str, object] = {"spellings": WORDS}
    found = trained(texts(details), plan, True, monkeypatch, **how)
    wanted = trained(texts(details), plan, False, monkeypatch, **how)
    first = texts(details).state_dict()
    for key, value in wanted.state_dict().items():
        torch.testing.assert_close(found.state_dict()[key], value, rtol=1e-3, atol=1e-3)
    assert any(not torch.equal(first[key], value) for key, value in found.state_dict().items())


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_engine_asks_for_used_rows_where_an_optimizer_takes_them(name: str) -> None:
    network = texts({})
    learning = optimizers.build(parameter_groups(network), OptimizerPlan(name, learning_rate=0.01))

    def loss(batch: Batch) -> Loss:
        return Loss(network(batch.inputs)["y"].square().sum(), torch.tensor(float(len(batch))))

    Engine(CPU).descend(loss, Batch(torch.arange(2), {"note": torch.ones(2, 12, dtype=torch.int64)}), learning)
    sparse_ones = {one.grad.is_sparse for one in network.parameters() if one.grad is not None}
    assert sparse_ones == ({True, False} if name == "adamw" else {False})


def test_tables_have_no_momentum_and_only_where_adam_learns() -> None:
    groups = parameter_groups(texts({"spellings": WORDS}), weight_decay=0.1)
    assert sum(len(group["params"]) for group in groups if group["rows"]) == 5
    adam, tables = optimizers.build(groups, ADAM)
    assert isinstance(tables, RowAdam)
    assert not isinstance(adam, RowAdam)
    assert {group["initial_lr"] for group in tables.param_groups} == {ADAM.learning_rate}
    assert not any(isinstance(one, RowAdam) for one in optimizers.build(groups, OptimizerPlan("sgd")))
    only = [group for group in groups if group["rows"]]
    assert [type(one) for one in optimizers.build(only, ADAM)] == [RowAdam]


FREED = """
import json, resource, torch
from lamina.learn import memory
torch.set_num_threads(1)
told = memory.keep_freed()
def step():
    pieces = [torch.ones(9_000_000) for _ in range(2)]  # each more than the 32 MiB that may be kept without being told
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(json.dumps([told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]))
"""


@pytest.mark.skipif(
    not hasattr(os, "confstr") or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="no GNU C library"
)
def test_memory_that_a_step_frees_is_there_for_the_next() -> None:
    def faults(**environment: str) -> tuple[bool, int]:
        clean = {key: value for key, value in os.environ.items() if "MALLOC" not in key and key != "GLIBC_TUNABLES"}
        done = subprocess.run(
            [sys.executable, "-c", FREED], env=clean | environment, capture_output=True, text=True, check=True
        )
        told, count = json.loads(done.stdout)
        return told, count

    (told, few), (own, many) = faults(), faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert told
    assert not own
    assert 4 * few < many
