"""The loop's promises: exact resume, the finite check, exact accumulation, schedules, checkpoints without pickle."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lamina.choose.hardware import Hardware
from lamina.data.examples import Examples
from lamina.errors import InputError
from lamina.learn import checkpoint, finder, optimizers, prefetch
from lamina.learn.batch import Batch, Loss, Source
from lamina.learn.engine import Engine, NonFiniteLossError
from lamina.learn.loader import Loader
from lamina.learn.loop import Limits, Status, fit
from lamina.learn.prefetch import Prefetched
from lamina.learn.record import Record, read
from lamina.learn.schedules import CURVES, Schedule
from lamina.learn.threads import TRY_STEPS
from lamina.methods.supervised import Supervised
from lamina.modalities import token_lengths
from lamina.plan import OptimizerPlan, Plan, SchedulePlan, TrainingPlan
from lamina.steps.learner import answers, task_loss
from lamina.steps.pace import measured
from lamina.steps.prepare import Prepared

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor = self.body(inputs["x"])
        return result


def squared(output: torch.Tensor, batch: Batch) -> Loss:
    error = (output[:, 0] - batch.targets["y"]) ** 2
    weight = torch.ones_like(error) if batch.weight is None else batch.weight
    return Loss((error * weight).sum(), weight.sum())


def examples(rows: int = 64) -> Examples:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 4)).astype(np.float32)
    return Examples({"x": x, "y": (x @ np.array([1.0, -2, 0.5, 0])).astype(np.float32)}, rows)


def loader(batch_size: int = 16, rows: int = 64, **extra: Any) -> Loader:
    return Loader(examples(rows), np.arange(rows), ["x"], ["y"], batch_size, seed=3, **extra)


def method(optimizer: str = "adamw", ema: float = 0.9) -> Supervised:
    torch.manual_seed(7)
    network = Net()
    plan = OptimizerPlan(name=optimizer, learning_rate=0.01)
    groups = [{"params": list(network.parameters()), "weight_decay": 0.01}]
    return Supervised(network, squared, optimizers.build(groups, plan), ema=ema)


def score(learner: Supervised) -> Any:
    def evaluate() -> dict[str, float]:
        with learner.evaluating() as network:
            batch = next(iter(loader(64).once()))
            return {"negative_error": -float(squared(network(batch.inputs), batch).sum)}

    return evaluate


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adagrad"])
def test_fused_steps_are_those_of_plain_loops(name: str, momentum: float) -> None:
    if name == "nesterov" and not momentum:
        pytest.skip("it asks for momentum")
    generator = torch.Generator().manual_seed(0)
    begin = [
        torch.randn(5, 3, generator=generator),
        torch.randn(3, generator=generator),
        torch.randn((), generator=generator),
    ]
    ways = []
    for fused in (True, False):
        weights = [nn.Parameter(value.clone()) for value in begin]
        groups = [{"params": weights[:1], "weight_decay": 0.1}, {"params": weights[1:], "lr": 0.5}]
        (optimizer,) = optimizers.build(groups, OptimizerPlan(name=name, learning_rate=0.1, momentum=momentum))
        assert all(group["fused"] for group in optimizer.param_groups)
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = fused, False
        for _ in range(5):
            for weight, value in zip(weights, begin, strict=True):
                weight.grad = weight.detach() * value
            optimizers.take_step(optimizer)
        ways.append(weights)
    for one, other in zip(*ways, strict=True):
        torch.testing.assert_close(one, other)


class StopError(Exception):
    """Stands for a killed process."""


class Killed(Loader):
    """Gives batches up to a step, then dies as a killed process would: nothing after it runs."""

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        for step, batch in super().batches(start):
            if step == self.weight_stop:
                raise StopError
            yield step, batch

    weight_stop = 23


@pytest.mark.parametrize("name", sorted(optimizers.BUILDERS))
def test_resume_after_a_kill_is_bit_exact(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where batches are made ahead by a thread."""
    limits = Limits(every=10, save_seconds=0.0)
    monkeypatch.setattr(prefetch, "LEAST", 0)

    def train(source: Source, folder: Path) -> Supervised:
        learner = method(name)
        schedule = Schedule.over(40, SchedulePlan())
        torch.manual_seed(1)
        fit(
            learner, source, schedule, Engine(CPU, clip=1.0), limits=limits, evaluate=score(learner), folder=folder
        )  # fmt: skip
        return learner

    whole = train(loader(), tmp_path / "whole")
    with pytest.raises(StopError):
        train(Prefetched(Killed(examples(), np.arange(64), ["x"], ["y"], 16, seed=3)), tmp_path / "killed")
    torch.manual_seed(99)
    resumed = train(Prefetched(loader()), tmp_path / "killed")
    final = [checkpoint.read(tmp_path / name / "000000040.safetensors") for name in ("whole", "killed")]
    packed = [checkpoint.pack({key: state[key] for key in ("method", "random", "schedule")}) for state in final]
    assert packed[0][1] == packed[1][1]
    for key, value in packed[0][0].items():
        assert torch.equal(value, packed[1][0][key]), key
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[key]), key


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    log, limits = tmp_path / "log.jsonl", Limits(save_seconds=0, log_steps=1)

    def train(steps: int) -> Status:
        return fit(
            method(), loader(), Schedule.over(steps, SchedulePlan()), Engine(CPU),
            limits=limits, record=Record(log), folder=tmp_path / "checkpoints",
        )  # fmt: skip

    train(10)
    newest = sorted((tmp_path / "checkpoints").glob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    assert train(12).step == 10, "the schedule of the checkpoint before counts"
    assert [entry["step"] for entry in read(log)] == list(range(1, 11)), "no step is told twice"


def test_a_training_begins_once_and_a_checkpoint_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done before the first step is not done again where a sound checkpoint goes on, and is where none does."""
    events: list[str] = []

    def told(name: str, call: Any) -> Any:
        def told_call(*given: Any) -> Any:
            events.append(name)
            return call(*given)

        return told_call

    monkeypatch.setattr(checkpoint.Checkpoints, "newest", told("read", checkpoint.Checkpoints.newest))

    def train(steps: int) -> list[str]:
        events.clear()
        learner = method()
        monkeypatch.setattr(learner, "update", told("step", learner.update))
        fit(
            learner, loader(), Schedule.over(steps, SchedulePlan()), Engine(CPU), folder=tmp_path,
            begin=told("begin", lambda: None),
        )  # fmt: skip
        return list(events)

    assert train(2) == ["read", "begin", "step", "step"]
    assert train(2) == ["read"]
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert train(1) == ["read", "begin", "step"]


def test_a_bad_batch_stops_before_the_update_and_names_its_rows() -> None:
    data = examples()
    data.arrays["x"][5] = np.inf
    learner = method(ema=0)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    batch = Loader(data, np.arange(64), ["x"], ["y"], 16).batch(np.array([4, 5, 6]))
    with pytest.raises(NonFiniteLossError) as caught:
        learner.update(batch, Engine(CPU, step=12))
    assert caught.value.rows == (4, 5, 6)
    assert "step 12" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())


@pytest.mark.parametrize("parts", [2, 3, 5, 16])
def test_accumulation_gives_the_gradient_of_the_whole_batch(parts: int) -> None:
    generator = np.random.default_rng(1)
    weights = generator.uniform(size=64).astype(np.float32)
    batch = loader(weight=weights).batch(np.arange(16))
    gradients = []
    for accumulation in (1, parts):
        learner = method(ema=0)
        learner.network.eval()
        Engine(CPU, accumulation=accumulation).descend(learner.loss, batch, learner.optimizers)
        gradients.append([parameter.grad for parameter in learner.network.parameters()])
    for one, many in zip(*gradients, strict=True):
        torch.testing.assert_close(one, many)


@pytest.mark.parametrize("blended", [False, True])
def test_accumulation_changes_nothing_where_rows_lack_some_of_their_targets(blended: bool) -> None:
    """A target is normalised by its known rows in the whole batch; those of a part alone may be few, or none."""

    class Task:
        def loss(self, output: torch.Tensor, target: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
            return (output[:, 0] - target) ** 2

    generator = np.random.default_rng(2)
    x = torch.from_numpy(generator.normal(size=(7, 4)).astype(np.float32))
    targets = {name: torch.from_numpy(generator.normal(size=7).astype(np.float32)) for name in ("a", "b")}
    targets["a"][:4] = torch.nan
    targets["b"][[0, 2]] = torch.nan
    weight = torch.from_numpy(generator.uniform(size=7).astype(np.float32))
    batch = Batch(torch.arange(7), {"x": x}, targets, weight)
    if blended:
        other = {name: target.flip(0) for name, target in targets.items()}
        batch = Batch(torch.arange(7), {"x": x}, targets, weight, other, torch.full((7,), 0.7))
    judged = task_loss(cast(Prepared, SimpleNamespace(tasks={"a": Task(), "b": Task()})), Plan())
    found = []
    for parts in (1, 2, 3, 7):
        torch.manual_seed(0)
        network = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)

        def loss(part: Batch, network: nn.Module = network) -> Loss:
            outputs = network(part.inputs["x"])
            return judged({"a": outputs[:, :1], "b": outputs[:, 1:]}, part)

        metrics = Engine(CPU, accumulation=parts).descend(loss, batch, [optimizer])
        found.append([network.weight, *(metrics[name] for name in ("loss", "loss.a", "loss.b"))])
    for cut in found[1:]:
        for one, other_one in zip(found[0], cut, strict=True):
            torch.testing.assert_close(one, other_one)


def test_parts_of_a_batch_are_of_nearly_equal_size() -> None:
    batch = loader().batch(np.arange(10))
    sizes = {number: [len(part) for part in batch.parts(number)] for number in (1, 4, 7, 12)}
    assert sizes == {1: [10], 4: [2, 3, 2, 3], 7: [1, 1, 2, 1, 2, 1, 2], 12: [1] * 10}
    assert torch.cat([part.rows for part in batch.parts(4)]).tolist() == list(range(10))


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_batch_in_which_no_row_counts_changes_nothing(clip: float) -> None:
    weights = np.zeros(64, np.float32)
    weights[20:] = 1
    learner = method(ema=0)
    engine = Engine(CPU, clip=clip)
    learner.update(loader(weight=weights).batch(np.arange(16, 32)), engine)
    before = checkpoint.pack(learner.state())
    assert float(learner.update(loader(weight=weights).batch(np.arange(16)), engine)["loss"]) == 0
    after = checkpoint.pack(learner.state())
    assert before[1] == after[1]
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_no_number_stops_before_the_update(clip: float) -> None:
    learner = method(ema=0)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}

    def loss(batch: Batch) -> Loss:
        found = learner.loss(batch)
        # The root of 0 is 0, and its slope is infinite.
        return Loss(found.sum + (0 * next(learner.network.parameters())).abs().sum().sqrt(), found.weight)

    with pytest.raises(NonFiniteLossError, match="gradient is not finite"):
        Engine(CPU, clip=clip).descend(loss, loader().batch(np.arange(16)), learner.optimizers)
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())


def test_clipping_shortens_a_long_gradient_and_leaves_a_short_one_as_it_is() -> None:
    batch = loader().batch(np.arange(16))

    def gradient(clip: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        learner = method(ema=0)
        learner.network.eval()
        told = Engine(CPU, clip=clip).descend(learner.loss, batch, learner.optimizers)
        parts = [parameter.grad for parameter in learner.network.parameters()]
        return torch.cat([part.flatten() for part in parts if part is not None]), told

    whole, told = gradient(0)
    assert "norm" not in told
    norm = float(whole.norm())
    short, told = gradient(2 * norm)
    assert torch.equal(short, whole)
    assert float(told["norm"]) == pytest.approx(norm)
    cut, told = gradient(norm / 4)
    torch.testing.assert_close(cut, whole / 4, rtol=1e-4, atol=1e-7)
    assert float(told["norm"]) == pytest.approx(norm)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
@pytest.mark.parametrize("fits", [16, 7, 1, 0])
def test_too_little_memory_cuts_the_batch_and_changes_nothing_else(fits: int, error: RuntimeError) -> None:
    batch = loader().batch(np.arange(16))
    wanted, learner, engine = method(ema=0), method(ema=0), Engine(CPU)
    for one in (wanted, learner):
        one.network.eval()
    Engine(CPU).descend(wanted.loss, batch, wanted.optimizers)

    def loss(part: Batch) -> Loss:
        found = learner.loss(part)
        if len(part) > fits:
            # As late as can be: the parts before have left their gradients already.
            raise error
        return found

    if not fits:
        with pytest.raises(InputError, match="A single example needs more memory"):
            engine.descend(loss, batch, learner.optimizers)
        return
    engine.descend(loss, batch, learner.optimizers)
    assert engine.accumulation == {16: 1, 7: 4, 1: 16}[fits]
    for one, other in zip(wanted.network.parameters(), learner.network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_loss_that_compares_examples_refuses_accumulation() -> None:
    learner = method(ema=0)

    def contrast(batch: Batch) -> Loss:
        value = learner.loss(batch)
        return Loss(value.sum, value.weight, decomposes=False)

    with pytest.raises(InputError, match="cannot be cut"):
        Engine(CPU, accumulation=2).descend(contrast, loader().batch(np.arange(16)), learner.optimizers)


@pytest.mark.parametrize("name", sorted(CURVES))
def test_schedules_warm_up_and_never_exceed_one(name: str) -> None:
    schedule = Schedule.over(100, SchedulePlan(name=name, warmup=0.1))
    factors = [schedule.factor(step) for step in range(101)]
    assert 0 < factors[0] < 0.2
    assert factors[10] == pytest.approx(1.0, abs=0.05)
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(factors[10:]))


def test_known_points_of_the_curves() -> None:
    def at(name: str, step: int, **options: float) -> float:
        return Schedule.over(90, SchedulePlan(name=name, warmup=0, options=options)).factor(step)

    assert at("step", 29) == 1
    assert at("step", 31) == pytest.approx(0.1)
    assert at("step", 61) == pytest.approx(0.01)
    assert at("exponential", 45) == pytest.approx(0.1)
    assert at("inverse_time", 90) == pytest.approx(0.1)
    assert at("inverse_time", 45, decay=1) == pytest.approx(1 / 1.5)
    assert at("cosine", 45) == pytest.approx(0.5)
    assert at("linear", 90) == 0


def test_plateau_lowers_the_rate_when_nothing_improves() -> None:
    schedule = Schedule.over(100, SchedulePlan(name="plateau", warmup=0, options={"patience": 1, "factor": 0.5}))
    for loss in (1.0, 0.9, 0.95, 0.95):
        schedule.observe(loss)
    assert schedule.factor(50) == 0.5


@given(st.integers(2, 1000), st.data())
def test_a_shortened_schedule_still_ends_low_and_stays_continuous(steps: int, data: Any) -> None:
    schedule = Schedule.over(steps, SchedulePlan(name="cosine", warmup=0))
    now = data.draw(st.integers(0, steps - 1))
    factor = schedule.factor(now)
    schedule.shorten(now, data.draw(st.integers(0, steps)))
    assert schedule.factor(now) == pytest.approx(factor)
    assert schedule.factor(schedule.steps) == pytest.approx(0, abs=1e-9)


def test_training_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(number) for number in range(100_000))
    monkeypatch.setattr("lamina.learn.loop.time.monotonic", lambda: next(clock))
    record = Record(None)
    status = fit(
        method(), loader(), Schedule.over(5000, SchedulePlan()), Engine(CPU),
        limits=Limits(seconds=500.0, log_steps=5), record=record,
    )  # fmt: skip
    assert record.of("shortened")
    assert status.step < 5000
    assert status.seconds <= 500 * 1.05


def test_training_ends_earlier_where_the_answers_after_it_turn_out_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(scoring: float) -> float:
        clock = iter(float(number) for number in range(100_000))
        monkeypatch.setattr("lamina.learn.loop.time.monotonic", lambda: next(clock))
        status = fit(
            method(), loader(), Schedule.over(5000, SchedulePlan()), Engine(CPU),
            limits=Limits(every=10, seconds=500.0, log_steps=5, after=100.0, scoring=scoring),
            evaluate=lambda: {"score": 1.0},
        )  # fmt: skip
        return status.seconds

    # Each look at this clock takes a second, and so does an evaluation.
    assert seconds(0.0) == pytest.approx(500, rel=0.05)
    assert seconds(1.0) == pytest.approx(500, rel=0.05)
    assert seconds(0.25) == pytest.approx(400, rel=0.05)


def test_training_goes_on_where_the_time_allows_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(seconds: float, most: int) -> int:
        clock = iter(float(number) for number in range(100_000))
        monkeypatch.setattr("lamina.learn.loop.time.monotonic", lambda: next(clock))
        limits = Limits(seconds=seconds, log_steps=5, most_steps=most)
        status = fit(method(), loader(), Schedule.over(50, SchedulePlan()), Engine(CPU), limits=limits)
        assert not seconds or status.seconds <= seconds * 1.05
        return status.step

    assert steps(0.0, 90) == 50, "without a budget there is nothing to fill"
    assert steps(5000.0, 0) == 50
    assert steps(5000.0, 90) == 90
    assert 50 < steps(300.0, 5000) < 5000


def test_equal_scores_keep_the_later_weights() -> None:
    learner = method(ema=0)
    scores = iter([1.0, 1.0, 0.5, 1.0, 1.0, 1.0])
    limits = Limits(every=4, patience=3)
    status = fit(
        learner, loader(), Schedule.over(24, SchedulePlan()), Engine(CPU), limits=limits,
        evaluate=lambda: {"score": next(scores)},
    )  # fmt: skip
    # An equal score is kept, and yet it is no progress.
    assert (status.stopped, status.step, status.best_step) == ("patience", 16, 16)


def test_early_stopping_keeps_the_best() -> None:
    learner = method(ema=0)
    scores = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    kept: list[dict[str, torch.Tensor]] = []

    def evaluate() -> dict[str, float]:
        kept.append({name: value.clone() for name, value in learner.network.state_dict().items()})
        return {"score": next(scores)}

    limits = Limits(every=4, patience=2)
    status = fit(learner, loader(), Schedule.over(100, SchedulePlan()), Engine(CPU), limits=limits, evaluate=evaluate)
    assert (status.stopped, status.step, status.best) == ("patience", 16, 3.0)
    assert all(torch.equal(value, kept[1][name]) for name, value in learner.network.state_dict().items())


def test_batches_are_a_function_of_seed_and_step() -> None:
    source = loader(rows=50)
    first = [batch.rows.tolist() for _, batch in zip(range(9), (b for _, b in source.batches(0)), strict=False)]
    later = next(source.batches(5))[1].rows.tolist()
    assert later == first[5]
    seen = [row for batch in first[:3] for row in batch]
    assert len(seen) == len(set(seen)), "no row twice in an epoch"
    assert first[0] != first[3], "epochs differ"


def test_sequences_are_cut_to_the_longest_of_the_batch() -> None:
    tokens = np.zeros((100, 64), np.int32)
    for row in range(100):
        tokens[row, : 1 + row // 2] = 5
    lengths = token_lengths(tokens)
    assert lengths.tolist() == [1 + row // 2 for row in range(100)]
    source = Loader(
        Examples({"t": tokens}, 100), np.arange(100), ["t"], [], 10, lengths=lengths, padded=frozenset({"t"})
    )
    widths = [
        batch.inputs["t"].shape[1] for _, batch in zip(range(10), (b for _, b in source.batches(0)), strict=False)
    ]
    assert min(widths) == 8
    assert max(widths) == 56
    assert sum(widths) < 10 * 40


def test_answers_to_sequences_of_like_lengths_are_put_back_in_order() -> None:
    rows, batch_size = 1300, 5
    lengths = np.random.default_rng(0).integers(1, 65, rows).astype(np.int32)
    tokens = (np.arange(64) < lengths[:, None]) * np.arange(1, rows + 1, dtype=np.int32)[:, None]
    chosen = np.random.default_rng(1).permutation(rows)[:1201]
    source = Loader(
        Examples({"t": tokens}, rows), chosen, ["t"], [], batch_size, lengths=lengths, padded=frozenset({"t"})
    )
    widths = [batch.inputs["t"].shape[1] for _, batch in source.by_length()]
    assert sum(widths) < 0.7 * sum(batch.inputs["t"].shape[1] for batch in source.once())
    places = np.concatenate([places for places, _ in source.by_length()])
    assert np.array_equal(np.sort(places), np.arange(len(chosen)))

    class Sums(nn.Module):
        def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"y": inputs["t"].sum(dim=1).reshape(-1, 1, 1)}

    task = SimpleNamespace(width=1, combine=lambda output: output[:, 0])
    found = answers(cast(Any, Sums()), source, cast(Any, {"y": task}), Engine(CPU))["y"]
    assert np.array_equal(found[:, 0], tokens[chosen].sum(axis=1))


leaves = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.text(max_size=5))
trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.lists(part, max_size=3), st.dictionaries(st.one_of(st.text(max_size=3), st.integers(0, 3)), part, max_size=3)
    ),
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=5), trees))
def test_any_state_survives_packing(state: dict[str, Any]) -> None:
    state = {**state, "tensor": torch.arange(3)}
    result = checkpoint.unpack(*checkpoint.pack(state))
    assert torch.equal(result.pop("tensor"), state.pop("tensor"))
    assert result == state


def test_the_finder_leaves_everything_as_it_was_and_finds_a_useful_rate() -> None:
    learner = method("sgd", ema=0)
    before = checkpoint.pack(learner.state())
    rate, curve = finder.find_rate(learner, loader(), Engine(CPU), high=10.0)
    after = checkpoint.pack(learner.state())
    assert before[1] == after[1]
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert rate is not None
    assert 1e-3 < rate < 1.0
    assert curve[0][0] == pytest.approx(1e-6)


@pytest.mark.parametrize(("noise", "fall", "found"), [(0.0, 0.2, True), (0.05, 0.5, True), (0.3, 0.0, False)])
def test_the_finder_takes_no_noise_for_learning(noise: float, fall: float, found: bool) -> None:
    """By chance the smoothed loss of few rows is lowest where the rate is, and nothing can be learned at all."""
    rates = np.geomspace(1e-6, 1.0, 80)
    learned = 1 - fall * np.clip((np.log10(rates) + 4) / 2.5, 0, 1) + np.where(rates > 0.2, rates, 0)
    chosen = []
    for seed in range(20):
        losses = learned + np.random.default_rng(seed).normal(0, noise, 80)
        curve, smoothed = [], 0.0
        for number, (rate, loss) in enumerate(zip(rates, losses, strict=True)):
            smoothed = 0.9 * smoothed + 0.1 * loss
            curve.append((float(rate), smoothed / (1 - 0.9 ** (number + 1))))
        chosen.append(finder.choose(curve))
    if found:
        assert all(rate is not None and 3e-3 < rate < 0.3 for rate in chosen)
    else:
        assert sum(rate is None for rate in chosen) > 14


@pytest.mark.parametrize("wanted", [True, False])
def test_the_rate_is_found_where_it_is_asked_for_whatever_learns(wanted: bool) -> None:
    learner = SimpleNamespace(
        method=method("sgd", ema=0), source=loader(), engine=Engine(CPU), validation_scores=lambda: {"score": 1.0}
    )
    plan = Plan(training=TrainingPlan(threads=1, find_rate=wanted))
    machine = Hardware(CPU, 1, False, "")
    found, reasons, _ = measured(plan, learner, machine, {"training.epochs"}, 0.0, lambda scoring: 0.0)
    assert (found.optimizer.learning_rate != plan.optimizer.learning_rate) is wanted
    assert ("optimizer.learning_rate" in reasons) is wanted


def test_networks_that_thaw_are_measured_as_they_are_when_all_of_them_learns() -> None:
    """At the beginning, when the head alone learns, a step may take a third of the time."""
    seen: list[float] = []
    learning = method("sgd", ema=0)
    learning._thaw = seen.append
    learner = SimpleNamespace(
        method=learning, source=loader(), engine=Engine(CPU), validation_scores=lambda: {"score": 1.0}
    )
    measured(Plan(), learner, Hardware(CPU, 1, False, ""), set(), 0.0, lambda scoring: 0.0)
    assert set(seen) == {1.0}
    assert learner.engine.progress == 0.0


def test_the_most_epochs_that_were_asked_for_stay() -> None:
    learner = SimpleNamespace(
        method=method("sgd", ema=0), source=loader(), engine=Engine(CPU), validation_scores=lambda: {"score": 1.0}
    )
    plan = Plan(training=TrainingPlan(threads=1, epochs=2.0, most_epochs=77.0))
    for fixed, most in (({"training.most_epochs"}, 77.0), (set(), 2.0)):
        found, _, _ = measured(plan, learner, Hardware(CPU, 1, False, ""), fixed, 0.0, lambda scoring: 0.0)
        assert found.training.most_epochs == most


def test_whatever_learns_is_tried_in_bf16_and_is_afterwards_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path))
    engine, own = Engine(CPU), method()
    learner = SimpleNamespace(
        method=own,
        source=loader(),
        engine=engine,
        steps_in=lambda epochs: 400,
        validation_scores=lambda: {"score": 1.0},
    )
    pace = {"fp32": 1.0, "bf16": 0.3}
    monkeypatch.setattr("lamina.choose.hardware.seconds_per_call", lambda *_, **__: pace[engine.precision])
    before, plan = checkpoint.pack(own.state()), Plan(training=TrainingPlan(threads=1))
    found, reasons, _ = measured(plan, learner, Hardware(CPU, 1, True, ""), set(), 0.0, lambda scoring: 0.0)
    assert found.training.precision == engine.precision == "bf16"
    assert "3.3 times the pace of fp32 here, and in 4 updates" in reasons["training.precision"]
    after = checkpoint.pack(own.state())
    assert after[1] == before[1]
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        optimizers.build([], OptimizerPlan(name="adamww"))
    assert "'adamw'" in caught.value.fix
    with pytest.raises(InputError) as caught:
        Schedule.over(3, SchedulePlan(name="cosin"))
    assert "'cosine'" in caught.value.fix


def test_training_learns() -> None:
    learner = method()
    start = -score(learner)()["negative_error"]
    fit(learner, loader(), Schedule.over(400, SchedulePlan()), Engine(CPU, clip=1.0))
    end = -score(learner)()["negative_error"]
    assert end < start / 10
    assert math.isfinite(end)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine of two cores whose time passes by the batch, as `seconds(threads, now)` says."""
    found = SimpleNamespace(now=0.0, threads=2, seconds=lambda threads, now: 0.1)
    monkeypatch.setattr("torch.get_num_threads", lambda: found.threads)
    monkeypatch.setattr("torch.set_num_threads", lambda number: setattr(found, "threads", number))
    monkeypatch.setattr("lamina.learn.loop.time.monotonic", lambda: found.now)
    return found


def timed(clock: SimpleNamespace) -> Loader:
    class Timed(Loader):
        def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
            for step, batch in super().batches(start):
                clock.now += clock.seconds(clock.threads, clock.now)
                yield step, batch

    return Timed(examples(), np.arange(64), ["x"], ["y"], 16)


@pytest.mark.parametrize("log_steps", [1, 20])
def test_a_busy_machine_costs_threads_and_a_free_one_gives_them_back(log_steps: int, clock: SimpleNamespace) -> None:
    """With two threads the pace falls to a tenth for a while: training falls back to one, and later returns."""
    clock.seconds = lambda threads, now: {1: 0.1, 2: 1.0 if 5 < now < 150 else 0.06}[threads]
    record, limits = Record(None), Limits(seconds=400.0, log_steps=log_steps, threads=2)
    schedule = Schedule.over(3500, SchedulePlan())
    status = fit(method(), timed(clock), schedule, Engine(CPU), limits=limits, record=record)
    assert [entry["threads"] for entry in record.of("threads")] == [1, 2]
    assert status.step > 0.9 * 3500, "the steps that were given up are taken again"
    assert status.seconds < 400


def test_threads_that_were_taken_at_the_beginning_are_tried_later(clock: SimpleNamespace) -> None:
    clock.threads = 1
    clock.seconds = lambda threads, now: {1: 0.1, 2: 1.0 if now < 100 else 0.06}[threads]
    record, limits = Record(None), Limits(log_steps=20, threads=2)
    status = fit(method(), timed(clock), Schedule.over(3000, SchedulePlan()), Engine(CPU), limits=limits, record=record)
    changes = [(entry["threads"], entry["step"]) for entry in record.of("threads")]
    assert [number for number, _ in changes] == [2]
    assert changes[0][1] > 1000, "the first try, after a minute, found them taken"
    assert status.threads == 2
    assert status.seconds < 0.9 * 3000 * 0.1


def test_a_try_costs_a_few_steps_only(clock: SimpleNamespace) -> None:
    clock.threads = 1
    clock.seconds = lambda threads, now: {1: 0.1, 2: 1.0}[threads]
    limits = Limits(log_steps=20, threads=2)
    status = fit(method(), timed(clock), Schedule.over(3000, SchedulePlan()), Engine(CPU), limits=limits)
    tries = 3  # after one minute, two more, four more
    assert status.threads == 0
    assert 3000 * 0.1 < status.seconds <= 3000 * 0.1 + tries * (TRY_STEPS + 1) * 1.0


def test_cores_lent_to_other_work_are_tried_as_soon_as_it_ends(clock: SimpleNamespace) -> None:
    """For 130 s the second core is at the baselines: no try in all that time, and one straight after."""
    clock.threads, tried = 1, []

    def seconds(threads: int, now: float) -> float:
        if threads == 2:
            tried.append(now)
        return {1: 0.1, 2: 0.06}[threads]

    clock.seconds = seconds
    record, limits = Record(None), Limits(log_steps=20, threads=2, shared=lambda: clock.now < 130)
    fit(method(), timed(clock), Schedule.over(3000, SchedulePlan()), Engine(CPU), limits=limits, record=record)
    assert [entry["threads"] for entry in record.of("threads")] == [2]
    assert 130 <= tried[0] < 130 + 20 * 0.1 + 1e-6


def test_threads_stay_where_they_were_asked_for(clock: SimpleNamespace) -> None:
    clock.seconds = lambda threads, now: {1: 0.1, 2: 1.0 if now > 5 else 0.06}[threads]
    record = Record(None)
    fit(method(), timed(clock), Schedule.over(300, SchedulePlan()), Engine(CPU), limits=Limits(), record=record)
    assert clock.threads == 2
    assert not list(record.of("threads"))


def test_slow_evaluations_cost_no_threads(clock: SimpleNamespace) -> None:
    """An evaluation takes as long as a hundred steps, and is not mistaken for a busy machine."""

    def evaluate() -> dict[str, float]:
        clock.now += 10.0
        return {"score": 1.0}

    record, limits = Record(None), Limits(every=100, seconds=150.0, log_steps=20, threads=2)
    status = fit(
        method(), timed(clock), Schedule.over(5000, SchedulePlan()), Engine(CPU), limits=limits, evaluate=evaluate,
        record=record,
    )  # fmt: skip
    assert not record.of("threads")
    assert all(entry["examples_per_second"] == pytest.approx(160) for entry in record.of("train"))
    assert status.seconds < 150 + 2 * 10, "they count for the budget, though"


@pytest.mark.parametrize("log_steps", [1, 20])
def test_a_slow_first_step_shortens_nothing(log_steps: int, clock: SimpleNamespace) -> None:
    """Compiling takes a minute, and the rest of the time suffices."""
    times = itertools.chain([60.0], itertools.repeat(0.01))
    clock.seconds = lambda threads, now: next(times)
    record, limits = Record(None), Limits(seconds=100.0, log_steps=log_steps)
    fit(method(), timed(clock), Schedule.over(2000, SchedulePlan()), Engine(CPU), limits=limits, record=record)
    assert not record.of("shortened")


def test_what_has_come_to_its_end_is_not_lengthened(clock: SimpleNamespace) -> None:
    """The machine is free a moment before the end: the rate is at its lowest, and more steps would change nothing."""
    clock.seconds = lambda threads, now: 10.0 if now < 800 else 0.01
    limits = Limits(seconds=1030.0, log_steps=20, most_steps=5000)
    assert fit(method(), timed(clock), Schedule.over(100, SchedulePlan()), Engine(CPU), limits=limits).step == 100


def test_optimizers_step_save_and_load_without_the_compiler() -> None:
    """Importing PyTorch's compiler takes as long as importing all else: training must not begin with that."""
    program = """
import sys, torch
from lamina.learn import optimizers
from lamina.plan import OptimizerPlan
for name in optimizers.BUILDERS:
    weight = torch.nn.Parameter(torch.ones(4, 4))
    (found,) = optimizers.build([{"params": [weight]}], OptimizerPlan(name=name))
    found.zero_grad()
    (weight**2).sum().backward()
    optimizers.take_step(found)
    assert float(weight.detach().max()) < 1, name
    found.load_state_dict(found.state_dict())
assert "torch._dynamo" not in sys.modules
print("all")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "all\n", done.stderr


@pytest.mark.parametrize("name", sorted(optimizers.BUILDERS))
def test_steps_are_those_of_pytorch(name: str) -> None:
    weights = [nn.Parameter(torch.linspace(-1, 1, 16).reshape(4, 4)) for _ in range(2)]
    first, second = (optimizers.build([{"params": [weight]}], OptimizerPlan(name=name))[0] for weight in weights)
    for _ in range(3):
        for weight in weights:
            weight.grad = weight.detach() ** 2
        optimizers.take_step(first)
        second.step()
        assert torch.equal(*weights)


def test_hooks_of_a_step_are_called() -> None:
    weight, called = nn.Parameter(torch.ones(2)), []
    (optimizer,) = optimizers.build([{"params": [weight]}], OptimizerPlan(name="sgd"))
    optimizer.register_step_post_hook(lambda *given: called.append(True))
    optimizers.take_step(optimizer)
    assert called == [True]
