"""Where memory does not suffice: the same gradient, statistics and draws, by less memory; and what is said of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lamina.data.examples import Examples
from lamina.errors import InputError
from lamina.learn import checkpoint, optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.learn.loader import Loader
from lamina.learn.loop import Limits, fit
from lamina.learn.memory import blocks
from lamina.learn.record import Record
from lamina.learn.schedules import Schedule
from lamina.methods.supervised import Supervised
from lamina.modalities import Feature
from lamina.narrate import Plain
from lamina.networks import resnet
from lamina.networks.assembly import Assembly, assemble
from lamina.networks.blocks.depth import StochasticDepth
from lamina.plan import OptimizerPlan, SchedulePlan
from lamina.steps.finish import normalised_over_parts
from lamina.steps.learner import answers
from lamina.tasks import Layout

CPU = torch.device("cpu")
ROWS, SIDE = 16, 16


class Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A computer of so little memory: counts the bytes of the tensors that were made in here and are alive."""

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most, self.held, self.peak = most, 0, 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and not func.overloadpacket.__name__.endswith("_"):
                self._count(tensor.untyped_storage())
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def freed(_: Any) -> None:
            self.held -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, freed)
        self.held += size
        self.peak = max(self.peak, self.held)
        if self.held > self.most:
            raise torch.OutOfMemoryError("tried to allocate")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.2),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), StochasticDepth(0.2),
        )  # fmt: skip

    def forward(self, values: Tensor) -> Tensor:
        return torch.relu(values + self.body(values))


class Net(nn.Module):
    """Statistics over the batch, and draws."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.exit = nn.Linear(8, 1)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        values = self.entry(inputs["x"])
        for block in self.blocks:
            values = block(values)
        answer: Tensor = self.exit(values.mean((2, 3)))[:, 0]
        return answer


def squared(output: Any, batch: Batch) -> Loss:
    error = (output - batch.targets["y"]) ** 2
    return Loss(error.sum(), torch.tensor(float(len(batch))))


def examples(rows: int = 64) -> Examples:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 3, SIDE, SIDE)).astype(np.float32)
    return Examples({"x": x, "y": x.mean((1, 2, 3))}, rows)


def loader(rows: int = 64) -> Loader:
    return Loader(examples(rows), np.arange(rows), ["x"], ["y"], ROWS, seed=3)


def method(network: nn.Module | None = None, **extra: Any) -> Supervised:
    if network is None:
        torch.manual_seed(0)
        network = Net()
    plan = OptimizerPlan(name="sgd", learning_rate=0.1)
    return Supervised(network, squared, optimizers.build([{"params": list(network.parameters())}], plan), **extra)


def stepped(
    engine: Engine, most: float = float("inf"), build: Callable[[], nn.Module] = Net
) -> tuple[list[Tensor], int]:
    """Gradients, buffers and the random state after a step in training mode with so much memory; the peak."""
    torch.manual_seed(0)
    learner = method(build())
    batch = loader().batch(np.arange(ROWS))
    learner.update(batch, Engine(CPU))
    memory = Bounded(most)
    with memory:
        learner.update(batch, engine)
    gradients = [weight.grad for weight in learner.network.parameters() if weight.grad is not None]
    return [*gradients, *learner.network.buffers(), torch.get_rng_state()], memory.peak


def same(one: list[Tensor], other: list[Tensor]) -> None:
    for value, wanted in zip(one, other, strict=True):
        torch.testing.assert_close(value, wanted)


def test_recomputing_takes_less_memory_and_changes_nothing() -> None:
    whole, most = stepped(Engine(CPU))
    again, less = stepped(Engine(CPU, recomputing=True))
    same(again, whole)
    assert less < 0.6 * most


def test_statistics_over_a_batch_stay_those_of_the_batch_where_memory_does_not_suffice() -> None:
    whole, most = stepped(Engine(CPU))
    engine = Engine(CPU)
    spared, _ = stepped(engine, 0.7 * most)
    assert (engine.recomputing, engine.accumulation, engine.normalised) == (True, 1, 0)
    same(spared, whole)


def test_what_is_cut_nevertheless_is_told_and_no_part_is_a_single_row() -> None:
    _, most = stepped(Engine(CPU))
    engine = Engine(CPU)
    stepped(engine, 0.25 * most)
    assert engine.recomputing
    assert engine.normalised == ROWS // engine.accumulation < ROWS
    with pytest.raises(InputError, match="single example"):
        stepped(engine := Engine(CPU), 1000)
    assert engine.accumulation == ROWS // 2
    stepped(engine := Engine(CPU, accumulation=ROWS))
    assert engine.normalised == 2


@pytest.mark.parametrize("late", [False, True])
def test_a_step_that_failed_leaves_no_trace(late: bool) -> None:
    """Neither in statistics nor in draws: they are taken again from where they were."""

    class Failing(Net):
        times = 0

        def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
            found = super().forward(inputs)
            Failing.times += 1
            if Failing.times == 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return found

    whole, _ = stepped(Engine(CPU))
    Failing.times = 0 if late else 5
    engine = Engine(CPU)
    found, _ = stepped(engine, build=Failing)
    assert engine.recomputing is late
    same(found, whole)


@pytest.mark.parametrize("what", ["vector", "map"])
def test_networks_of_pictures_are_recomputed_without_knowing_of_it(what: Literal["vector", "map"]) -> None:
    feature = Feature("image", (32, 32, 3), "uint8")
    layout = Layout("map", (2, 32, 32)) if what == "map" else Layout("vector", (2,))
    found = []
    for recomputing in (False, True):
        torch.manual_seed(0)
        body = resnet.build({"x": feature}, resnet.Options(width=8, dropout=0.1))
        network = assemble({"a": (body, ("x",))}, {"y": layout})
        pictures = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8)

        def loss(batch: Batch, network: nn.Module = network) -> Loss:
            return Loss(network(batch.inputs)["y"].square().sum(), torch.tensor(16.0))

        engine, memory = Engine(CPU, recomputing=recomputing), Bounded()
        with memory:
            engine.descend(
                loss, Batch(torch.arange(16), {"x": pictures}), [torch.optim.SGD(network.parameters(), 0.0)], network
            )
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        found.append(([*gradients, *network.buffers()], memory.peak))
    same(found[1][0], found[0][0])
    assert found[1][1] < 0.85 * found[0][1]


def test_a_block_that_changes_its_input_is_not_recomputed() -> None:
    class Changing(Net):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
                for _ in range(4)
            )

    whole, most = stepped(Engine(CPU), build=Changing)
    engine = Engine(CPU, recomputing=True)
    same(stepped(engine, build=Changing)[0], whole)
    assert not engine.recomputing
    stepped(engine, 0.7 * most, build=Changing)
    assert (engine.recomputing, engine.accumulation) == (False, 2)


def test_a_long_sequence_of_layers_is_taken_in_pieces() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            each = [(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)) for _ in range(5)]
            self.body = nn.Sequential(*(layer for layers in each for layer in layers), nn.Flatten(), nn.Dropout(0.2))

        def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
            answer: Tensor = self.body(inputs["x"]).mean(1)
            return answer

    network = Flat()
    assert list(blocks(network)) == [network.body]
    whole, most = stepped(Engine(CPU), build=Flat)
    again, less = stepped(Engine(CPU, recomputing=True), build=Flat)
    same(again, whole)
    assert less < 0.75 * most


def test_a_loss_that_compares_rows_is_recomputed_but_never_cut() -> None:
    class Apart(nn.Module):
        """No statistics, so cutting would come first."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Dropout(0.1)) for _ in range(6))

    def step(engine: Engine, most: float) -> tuple[list[Tensor], int]:
        torch.manual_seed(0)
        network = Apart()

        def loss(batch: Batch) -> Loss:
            values = batch.inputs["x"]
            for part in network.parts:
                values = part(values)
            return Loss(values.var(0).sum() * len(batch), torch.tensor(float(len(batch))), decomposes=False)

        batch = Batch(torch.arange(256), {"x": torch.randn(256, 64)})
        with Bounded(most) as memory:
            engine.descend(loss, batch, [torch.optim.SGD(network.parameters(), 0.0)], network)
        return [weight.grad for weight in network.parameters() if weight.grad is not None], memory.peak

    whole, most = step(Engine(CPU), float("inf"))
    engine = Engine(CPU)
    same(step(engine, 0.75 * most)[0], whole)
    assert (engine.recomputing, engine.accumulation) == (True, 1)
    with pytest.raises(InputError, match="batch_size"):
        step(Engine(CPU), 0.25 * most)


def test_answers_in_parts_are_those_of_whole_batches() -> None:
    engine, batch = Engine(CPU), loader().batch(np.arange(13))
    asked: list[int] = []

    def answer(part: Batch) -> Tensor:
        asked.append(len(part))
        if len(part) > 4:
            raise MemoryError
        return part.targets["y"] * 2

    for tried in ([13, 7, 4, 4, 4, 1], [4, 4, 4, 1]):
        asked.clear()
        found = list(engine.answers(answer, batch))
        assert asked == tried
        assert torch.cat([part.rows for part, _ in found]).tolist() == list(range(13))
        torch.testing.assert_close(torch.cat([answers for _, answers in found]), batch.targets["y"] * 2)

    def never(part: Batch) -> Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(InputError, match="single example"):
        list(engine.answers(never, batch))


def test_rows_are_evaluated_so_many_at_a_time_as_there_is_memory_for() -> None:
    class Small(nn.Module):
        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            if len(inputs["x"]) > 5:
                raise torch.OutOfMemoryError
            return {"y": inputs["x"].mean((1, 2, 3)).reshape(-1, 1, 1)}

    task: Any = SimpleNamespace(width=1, combine=lambda output: output[:, 0])
    engine, network = Engine(CPU), Small()
    found = answers(cast(Assembly, network), loader(), {"y": task}, engine)
    np.testing.assert_allclose(found["y"][:, 0], examples().arrays["y"], atol=1e-6)
    assert engine.together == 4


def test_other_errors_stay_as_they_are() -> None:
    def wrong(part: Batch) -> Any:
        raise RuntimeError("sizes do not match")

    batch = loader().batch(np.arange(4))
    with pytest.raises(RuntimeError, match="sizes"):
        list(Engine(CPU).answers(wrong, batch))
    with pytest.raises(RuntimeError, match="sizes"):
        Engine(CPU).prepared(batch, wrong)
    with pytest.raises(RuntimeError, match="sizes"):
        Engine(CPU).descend(wrong, batch, [])


def test_augmentation_and_optimizers_that_need_too_much_say_what_to_do() -> None:
    def enlarge(batch: Batch) -> Batch:
        raise torch.OutOfMemoryError

    batch = loader().batch(np.arange(4))
    with pytest.raises(InputError, match=r"batch_size"):
        method(prepare=enlarge).update(batch, Engine(CPU))

    class Greedy(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            raise torch.OutOfMemoryError

    learner = method()
    learner.optimizers = [Greedy(learner.network.parameters(), 0.1)]
    with pytest.raises(InputError, match=r"optimizer\.name=sgd"):
        learner.update(batch, Engine(CPU))


def test_a_batch_that_is_prepared_on_the_host_goes_to_the_device_in_parts() -> None:
    """The device called meta stands for one that is too small for a whole batch."""
    device = torch.device("meta")

    def double(batch: Batch) -> Batch:
        if batch.rows.device == device:
            raise torch.OutOfMemoryError
        return Batch(batch.rows, {"x": batch.inputs["x"] * 2}, batch.targets)

    engine, batch = Engine(device), loader().batch(np.arange(8))
    found = engine.prepared(batch, double)
    assert engine.hosted
    assert found.rows.device == CPU
    torch.testing.assert_close(found.inputs["x"], 2 * batch.inputs["x"])
    seen: list[tuple[int, str]] = []

    def loss(part: Batch) -> Loss:
        seen.append((len(part), part.inputs["x"].device.type))
        if len(part) > 4:
            raise torch.OutOfMemoryError
        raise StopIteration

    with pytest.raises(StopIteration):
        engine.descend(loss, found, [])
    assert seen == [(8, "meta"), (4, "meta")]


@pytest.mark.parametrize(("asked", "severity"), [(1, "warning"), (4, "note")])
def test_the_report_tells_what_batch_statistics_are_of(asked: int, severity: str) -> None:
    record = Record(None)
    entry = {"step": 2, "rows": 64, **Engine(CPU).spared(), "parts": 4, "asked": asked}
    record.write("memory", **entry)
    assert normalised_over_parts(record) == []
    record.write("memory", **{**entry, "normalised": 16})
    (finding,) = normalised_over_parts(record)
    assert finding.severity == severity
    assert "over 16 rows at a time" in finding.text


class StopError(Exception):
    """Stands for a killed process."""


def test_a_resumed_run_begins_with_what_was_found_to_fit(tmp_path: Path) -> None:
    """The same bits as without a kill, and the memory does not run out anew."""
    _, most = stepped(Engine(CPU))

    class Killed(Loader):
        def batches(self, start: int = 0) -> Any:
            for step, batch in super().batches(start):
                if step == 1:
                    raise StopError
                yield step, batch

    def train(source: Loader, folder: Path) -> tuple[Supervised, Record]:
        learner, record = method(), Record(None)
        torch.manual_seed(1)
        with Bounded(0.25 * most):
            fit(
                learner, source, Schedule.over(3, SchedulePlan()), Engine(CPU), record=record, folder=folder,
                limits=Limits(save_seconds=0.0),
            )  # fmt: skip
        return learner, record

    whole, record = train(loader(), tmp_path / "whole")
    (told,) = record.of("memory")
    assert (told["step"], told["recomputing"]) == (1, True)
    assert told["normalised"] == ROWS // told["parts"]
    data = examples()
    with pytest.raises(StopError):
        train(Killed(data, np.arange(64), ["x"], ["y"], ROWS, seed=3), tmp_path / "killed")
    resumed, record = train(loader(), tmp_path / "killed")
    assert record.of("memory") == []
    packed = [checkpoint.pack(learner.state()) for learner in (whole, resumed)]
    assert packed[0][1] == packed[1][1]
    assert all(torch.equal(value, packed[1][0][name]) for name, value in packed[0][0].items())


def test_a_checkpoint_from_before_is_gone_on_from(tmp_path: Path) -> None:
    class Once(Loader):
        def batches(self, start: int = 0) -> Any:
            yield from [next(super().batches(start))] if start == 0 else super().batches(start)

    schedule = Schedule.over(3, SchedulePlan())
    source = Once(examples(), np.arange(64), ["x"], ["y"], ROWS)
    fit(method(), source, schedule, Engine(CPU), folder=tmp_path, limits=Limits(save_seconds=0.0))
    (file,) = tmp_path.glob("*.safetensors")
    state = checkpoint.read(file)
    del state["engine"]
    checkpoint.write(file, state)
    engine = Engine(CPU, accumulation=2)
    assert fit(method(), source, Schedule.over(3, SchedulePlan()), engine, folder=tmp_path).step == 3
    assert engine.accumulation == 2


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"recomputing": True}, "activations computed again in the backward pass"),
        ({"parts": 4}, "each batch in 4 parts, which gives the same gradient"),
        ({"parts": 4, "normalised": 8}, "each batch in 4 parts; batch normalisation takes its statistics over 8 rows"),
        ({"together": 64}, "at most 64 rows evaluated together"),
        (
            {"parts": 2, "asked": 2, "normalised": 32},
            "as was asked for; batch normalisation takes its statistics over 32",
        ),
    ],
)
def test_how_memory_is_spared_is_told(found: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"kind": "memory", "step": 3, "rows": 64, **Engine(CPU).spared(), **found}
    Plain().show(entry)
    assert told in capsys.readouterr().err
