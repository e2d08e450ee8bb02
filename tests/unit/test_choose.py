"""What is chosen from data, machine and time: networks, batch sizes, epochs, rates, threads."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from lamina import cores
from lamina.choose import hardware, networks, training
from lamina.errors import InputError
from lamina.learn.engine import Engine, NonFiniteLossError
from lamina.modalities import Feature
from lamina.model import runtime
from lamina.plan import NetworkPlan, Plan, TrainingPlan
from lamina.steps.learner import Learner
from lamina.steps.measure import _check_compiles, _compiled
from lamina.steps.precision import precision_for
from lamina.steps.train import exactly

NUMBER = Feature("numbers", (1,), "float32")
CATEGORY = Feature("category", (), "int32", size=5)
IMAGE = Feature("image", (28, 28, 1), "uint8")
TEXT = Feature("tokens", (32,), "int32", size=1000)


def test_plain_columns_share_a_network_and_every_other_field_has_its_own() -> None:
    features = {"age": NUMBER, "photo": IMAGE, "job": CATEGORY, "note": TEXT}
    assert networks.groups(features) == {"table": ("age", "job"), "photo": ("photo",), "note": ("note",)}


def test_a_field_called_table_does_not_clash() -> None:
    assert set(networks.groups({"age": NUMBER, "table": IMAGE})) == {"table_columns", "table"}
    assert set(networks.groups({"table": NUMBER})) == {"table"}


@pytest.mark.parametrize(
    ("features", "rows", "family"),
    [
        ({"age": NUMBER}, 5000, "tabm"),
        ({"age": NUMBER}, 100, "mlp"),
        ({"photo": IMAGE}, 5000, "resnet"),
        ({"note": TEXT}, 5000, "bag"),
    ],
)
def test_each_kind_gets_a_family_with_a_reason(features: dict[str, Feature], rows: int, family: str) -> None:
    plans, reasons = networks.choose(features, rows, {})
    [(key, plan)] = plans.items()
    assert plan.name == family
    assert reasons[f"network.{key}.name"].startswith(f"{family}: ")


def test_the_users_network_is_kept_and_checked() -> None:
    plans, _ = networks.choose({"photo": IMAGE}, 5000, {"photo": NetworkPlan("transformer", options={"depth": 3})})
    assert plans["photo"].name == "transformer"
    assert plans["photo"].options["depth"] == 3
    with pytest.raises(InputError) as caught:
        networks.choose({"photo": IMAGE}, 5000, {"photo": NetworkPlan("tabm")})
    assert "resnet" in caught.value.fix


def test_a_family_that_gives_what_the_answer_needs_is_taken() -> None:
    plans, _ = networks.choose({"photo": IMAGE}, 5000, {}, wanted={"pyramid"})
    assert plans["photo"].name == "resnet"
    asked, _ = networks.choose({"photo": IMAGE}, 5000, {"photo": NetworkPlan("transformer")}, wanted={"pyramid"})
    assert asked["photo"].name == "transformer"
    able, why = networks._able("transformer", "usual", {"image"}, {"pyramid"})
    assert able == "convolutional"
    assert "pyramid" in why
    assert networks._able("bag", "usual", {"tokens"}, {"pyramid"}) == ("bag", "usual")


def test_many_long_sounds_are_made_small_early_and_few_or_short_ones_are_not() -> None:
    def options(frames: int, rows: int) -> dict[str, object]:
        plans, _ = networks.choose({"clip": Feature("spectrogram", (frames, 64), "float16")}, rows, {})
        return dict(plans["clip"].options)

    assert options(318, 2000) == {"pooling": "statistics", "halvings": 3, "stages": 3, "dropout": 0.3}
    assert options(98, 20_000) == {}
    assert options(318, 300) == {"dropout": 0.3}


@pytest.mark.parametrize(("rows", "size"), [(200, 8), (1000, 32), (6000, 128), (60_000, 128)])
def test_few_rows_get_small_batches(rows: int, size: int) -> None:
    plans = {"photo": NetworkPlan("resnet", ("photo",))}
    _, _, found, reasons = training.choose(plans, {"photo": IMAGE}, rows, classify=True)
    assert found.batch_size == size
    assert "training.batch_size" in reasons


def test_epochs_fit_into_the_time() -> None:
    plan = TrainingPlan(epochs=10, batch_size=100)
    whole, _ = training.fit_epochs(plan, 1000, 0.01, 100)
    assert whole.epochs == 10
    cut, reason = training.fit_epochs(plan, 1000, 1.0, 50)
    assert cut.epochs * 10 * 1.0 <= 50
    assert "fits into 50 s" in reason
    tiny, _ = training.fit_epochs(plan, 1000, 100.0, 1)
    assert tiny.epochs * 10 >= 1, "one step at least"


def test_pretrained_networks_decide_the_recipe() -> None:
    mixed = {"table": NetworkPlan("tabm"), "note": NetworkPlan("huggingface")}
    for classify in (True, False):
        assert training.recipe(mixed, classify) is training.RECIPES["huggingface"]


def test_pretrained_and_new_networks_learn_at_rates_of_their_own() -> None:
    pretrained, new = NetworkPlan("huggingface", ("note",), weights="somewhere"), NetworkPlan("bag", ("note",))
    found, rate, _ = training.rates({"note": pretrained, "words": new}, True)
    assert rate == training.FOR_CLASSES["bag"].optimizer.learning_rate
    usual = training.RECIPES["huggingface"].optimizer.learning_rate
    assert found["note"].rate * rate == pytest.approx(usual, rel=0.05)
    assert found["words"].rate == 1
    asked, _, _ = training.rates({"note": replace(pretrained, rate=0.5), "words": new}, True)
    assert asked["note"].rate == 0.5
    for same in ({"note": pretrained}, {"words": new}):
        assert training.rates(same, True) == (same, 0.0, "")


def test_long_texts_are_read_to_their_ends_beside_a_pretrained_network(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    given = {"note": NetworkPlan(weights=str(tmp_path))}
    long = {"note": replace(TEXT, shape=(1500,))}

    def chosen(features: dict[str, Feature], asked: dict[str, NetworkPlan], **machine: bool) -> dict[str, NetworkPlan]:
        return networks.choose(features, 5000, asked, classify=True, **machine)[0]

    plans = chosen(long, given)
    assert {name: (plan.name, plan.fields) for name, plan in plans.items()} == {
        "note": ("huggingface", ("note",)),
        "note+words": ("bag", ("note",)),
    }
    assert plans["note"].options["longest"] == networks.LONG_TEXT
    assert not plans["note+words"].weights
    assert chosen(long, given, accelerated=True)["note"].options["longest"] == networks.LONGEST_READ
    assert list(chosen({"note": replace(TEXT, shape=(400,))}, given, accelerated=True)) == ["note"]
    own = {"note": NetworkPlan(weights=str(tmp_path), options={"longest": 64})}
    assert chosen(long, own)["note"].options["longest"] == 64
    assert list(chosen({"note": replace(TEXT, shape=(100,))}, given)) == ["note"]
    named = {"note": NetworkPlan("huggingface", weights=str(tmp_path))}
    assert list(chosen(long, named)) == ["note"], "who names the network wants that one"


def test_few_texts_with_classes_are_learned_more_slowly_and_with_more_dropout() -> None:
    found = {}
    for classify in (True, False):
        plans, reasons = networks.choose({"note": TEXT}, 5000, {}, classify=classify)
        optimizer, _, _, _ = training.choose(plans, {"note": TEXT}, 5000, classify)
        found[classify] = (plans["note"].options.get("dropout", 0.3), -optimizer.learning_rate)
        assert "network.note.options" in reasons
    assert found[True] > found[False]
    many, _ = networks.choose({"note": TEXT}, networks.MANY_TEXTS, {}, classify=True)
    assert not many["note"].options


def test_few_short_texts_get_many_members_and_all_text_fields_equally_many() -> None:
    def members(texts: dict[str, Feature], rows: int) -> set[Any]:
        plans, _ = networks.choose(texts, rows, {}, classify=False)
        return {plan.options.get("members") for plan in plans.values()}

    long = replace(TEXT, shape=(1500,))
    assert members({"note": TEXT}, 5000) == {16}
    assert members({"note": TEXT, "title": TEXT}, 5000) == {16}
    assert members({"note": long, "title": TEXT}, 5000) == {None}


def test_pictures_that_are_seen_a_few_times_are_shifted_less() -> None:
    plans = {"photo": {"translate": 0.08, "flip": True}, "sound": {"gain": 4.0}}
    assert training.milder(plans, 60) == plans
    assert training.milder(plans, 15) == {"photo": {"translate": 0.02, "flip": True}, "sound": {"gain": 4.0}}
    assert training.milder(plans, 0.01)["photo"] == {"translate": 0.0, "flip": True}


def test_few_steps_get_a_gentler_rate() -> None:
    assert training.gentler(0.01, 4000) == 0.01
    assert training.gentler(0.01, 100) == 0.005
    assert training.gentler(0.01, 1) < 0.001


def test_a_bag_is_not_augmented_twice() -> None:
    for name, augmented in (("bag", False), ("transformer", True)):
        _, _, found, _ = training.choose({"note": NetworkPlan(name, ("note",))}, {"note": TEXT}, 5000, classify=True)
        assert ("note" in found.augment) is augmented


def given_to_runtime(monkeypatch: pytest.MonkeyPatch, threads: int = 0) -> int:
    """The threads that ONNX Runtime is told to use."""
    told: list[int] = []
    monkeypatch.setattr(
        "onnxruntime.InferenceSession", lambda network, options, **more: told.append(options.intra_op_num_threads)
    )
    runtime._session(b"", threads, "a test")
    return told[0]


@pytest.mark.parametrize(
    ("share", "number"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 8),
        ("max 100000", 8),
        ("", 8),
    ],
)
def test_a_container_has_the_cores_whose_time_it_gets(
    share: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpu.max"
    if share:
        file.write_text(share + "\n")
    monkeypatch.setattr(cores, "TIME_SHARE", file)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    # Training, reading files and the sealed model go by the same number.
    assert hardware.detect().cores == cores.available() == number
    assert cores.limited() == (0 if number == 8 else number)
    assert given_to_runtime(monkeypatch) == cores.limited()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert hardware.detect().cores == cores.limited() == 1
    assert given_to_runtime(monkeypatch, 3) == 3


def test_threads_that_wait_for_each_other_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now, threads, calls = [0.0], [1], []
    monkeypatch.setattr(hardware.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(hardware.torch, "set_num_threads", lambda number: threads.__setitem__(0, number))

    def work() -> None:
        calls.append(threads[0])
        now[0] += {1: 0.1, 2: 1.0, 4: 0.05}[threads[0]]

    best, tried = hardware.best_threads(work, 4)
    assert (best, threads[0]) == (4, 4)
    assert set(tried) == {1, 2, 4}
    assert calls.count(2) == 2, "a hopeless number is not measured to the end"


class Rounding:
    """A method of which each update's loss is 1 in fp32, and in bf16 as given; it counts the updates."""

    optimizers: tuple[torch.optim.Optimizer, ...] = ()

    def __init__(self, *losses: float) -> None:
        self.losses, self.taken = losses, 0

    def update(self, batch: object, engine: Engine) -> dict[str, torch.Tensor]:
        loss = 1.0 if engine.precision == "fp32" else self.losses[min(self.taken, len(self.losses) - 1)]
        self.taken += 1
        if isnan(loss):
            raise NonFiniteLossError("The loss is not a finite number", self.taken, [0])
        return {"loss": torch.tensor(loss)}

    def state(self) -> dict[str, int]:
        return {"taken": self.taken}

    def restore(self, state: dict[str, int]) -> None:
        self.taken = state["taken"]


@pytest.mark.parametrize(
    ("seconds", "losses", "chosen"),
    [
        (0.4, (1.01,), "bf16"),
        (0.95, (1.0,), "fp32"),
        (0.4, (1.2,), "fp32"),
        (0.4, (1.0, 1.0, 1.0, 1.05), "fp32"),
        (0.4, (1.0, nan), "fp32"),
    ],
    ids=["faster", "slower", "another loss", "another loss after some updates", "no number"],
)
def test_bf16_is_taken_where_it_is_faster_and_learns_the_same(
    monkeypatch: pytest.MonkeyPatch, seconds: float, losses: tuple[float, ...], chosen: str
) -> None:
    engine, method = Engine(torch.device("cpu")), Rounding(*losses)
    source = SimpleNamespace(batches=lambda start: ((number, None) for number in range(start, 9)))
    learner = cast(Learner, SimpleNamespace(engine=engine, method=method, source=source, steps_in=lambda epochs: 100))
    pace_in = {"fp32": 0.5, "bf16": seconds}
    monkeypatch.setattr("lamina.choose.hardware.seconds_per_call", lambda *_, **__: pace_in[engine.precision])
    able, plan = hardware.Hardware(torch.device("cpu"), 1, True, ""), Plan()
    precision, pace, reasons, found = precision_for(learner, plan, able, set(), lambda: None, 0.5)
    assert precision == engine.precision == chosen
    assert pace == pytest.approx(seconds if chosen == "bf16" else 0.5)
    assert reasons["training.precision"].startswith(f"{chosen}, measured: ")
    assert method.taken == 0
    # A few steps in each that agree with an earlier run are enough, whose figure is taken: it took more of them.
    pace_in["bf16"] *= 1.3
    again = precision_for(learner, plan, able, set(), lambda: None, 0.5, found)
    assert (again[0], again[3]) == (chosen, found)
    assert f"bf16 has {found.gain:.1f} times" in again[2]["training.precision"]
    assert "an earlier run found" in again[2]["training.precision"]
    more = 2.0 if found.gain > 1.1 else 0.5
    assert (
        "in 5 updates"
        in precision_for(learner, plan, able, set(), lambda: None, 0.5, replace(found, gain=more * found.gain))[2][
            "training.precision"
        ]
    )
    # Slow steps are compared less, but the second already knows of bf16 gradients.
    engine.precision = "fp32"
    assert "in 2 updates" in precision_for(learner, plan, able, set(), lambda: None, 60.0)[2]["training.precision"]
    for machine, fixed in ((replace(able, fast_bf16=False), set[str]()), (able, {"training.precision"})):
        engine.precision = "fp32"
        assert precision_for(learner, plan, machine, fixed, lambda: None, 0.5)[:3] == ("fp32", 0.5, {})


def test_a_gpu_multiplies_in_tf32_where_it_learns_and_not_where_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    used = ["highest"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.get_float32_matmul_precision", lambda: used[-1])
    monkeypatch.setattr("torch.set_float32_matmul_precision", used.append)
    with hardware.products("high"):
        assert exactly(lambda: {used[-1]: 1.0}) == {"highest": 1.0}
    assert used == ["highest", "high", "highest", "high", "highest"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with hardware.products("high"):
        assert len(used) == 5


class InductorError(RuntimeError):
    """Named as PyTorch's own."""


@pytest.mark.parametrize(
    ("faster", "steps", "fails", "chosen"),
    [(0.5, 1e9, "", True), (0.5, 0.0, "", False), (1.2, 1e9, "", False), (0.5, 1e9, "no g++\nmore", False)],
    ids=["pays", "few steps", "slower", "no compiler"],
)
def test_compiling_must_pay_for_itself(
    faster: float, steps: float, fails: str, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, compiled = object(), object()
    method = SimpleNamespace(forward=network)

    def step() -> None:
        if fails:
            raise InductorError(fails)

    monkeypatch.setattr(torch, "compile", lambda _: compiled)
    monkeypatch.setattr("lamina.choose.hardware.seconds_per_call", lambda *_, **__: faster)
    found, pace, reason = _compiled(cast(Learner, SimpleNamespace(method=method, network=network)), step, 1.0, steps)
    assert found is chosen
    assert pace == (faster if chosen else 1.0)
    assert method.forward is (compiled if chosen else network)
    assert reason.startswith("compiled" if chosen else "not compiled")
    assert not fails or reason.endswith("no g++")


def test_a_fault_of_the_network_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def step() -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(torch, "compile", lambda network: network)
    method = SimpleNamespace(forward=None)
    with pytest.raises(RuntimeError, match="shapes"):
        _compiled(cast(Learner, SimpleNamespace(method=method, network=None)), step, 1.0, 10)
    with pytest.raises(RuntimeError, match="shapes"):
        _check_compiles(step)

    def no_compiler() -> None:
        raise InductorError("no g++")

    with pytest.raises(InputError, match=r"cannot be compiled here: no g\+\+"):
        _check_compiles(no_compiler)


def test_a_table_with_few_rows_learns_at_a_lower_rate() -> None:
    plans = {"table": NetworkPlan("tabm", ("age",))}
    rates = [training.choose(plans, {"age": NUMBER}, rows, True)[0].learning_rate for rows in (5_000, 50_000)]
    assert rates == [0.001, 0.003]
