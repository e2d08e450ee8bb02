"""Decoders, and the methods that learn from rows without answers: parts, losses, scores, sealing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lamina import registry
from lamina.data.examples import Examples
from lamina.errors import InputError
from lamina.learn.augment import augment
from lamina.learn.batch import Batch
from lamina.learn.engine import Engine
from lamina.learn.loader import Loader
from lamina.learn.loop import fit
from lamina.learn.schedules import Schedule
from lamina.methods import anogan, autoencoder, contrastive, masked, one_class, transformations
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_corruption import corrupt, swap
from lamina.methods._unlabelled_learner import Unlabelled, deviation
from lamina.modalities import Feature
from lamina.model.export import export
from lamina.networks.assembly import Assembly, build_body
from lamina.networks.decoders import build_decoder
from lamina.networks.decoders.maps import SeriesDecoder, Unfolding
from lamina.networks.decoders.places import averaging, cells, grid_of, size_of, spread
from lamina.networks.transfer.freezing import apply_freezing
from lamina.plan import NetworkPlan, OptimizerPlan, SchedulePlan
from lamina.steps.unlabelled.learner import _mixed

CPU = torch.device("cpu")
FEATURES = {
    "number": Feature("numbers", (1,), "float32"),
    "gaps": Feature("numbers", (2,), "float32", details={"flag": True}),
    "vector": Feature("numbers", (5,), "float32"),
    "category": Feature("category", (), "int32", size=6),
    "tokens": Feature("tokens", (12,), "int32", size=30, details={"unknown": 1, "padding": 0}),
    "image": Feature("image", (20, 14, 3), "uint8", details={"mean": [90.0] * 3, "std": [50.0] * 3}),
    "tiny": Feature("image", (8, 8, 1), "uint8"),
    "large": Feature("image", (512, 130, 1), "uint8"),
    "spectrogram": Feature("spectrogram", (50, 24), "float16"),
    "long_sound": Feature("spectrogram", (300, 80), "float16"),
    "series": Feature("series", (40, 2), "float32"),
    "long_series": Feature("series", (900, 1), "float32"),
    "short_series": Feature("series", (3, 1), "float32"),
}
NETWORKS = {"tokens": "bag", "image": "resnet", "spectrogram": "resnet", "series": "resnet"}
MODULES = {"autoencoder": autoencoder, "contrastive": contrastive, "masked": masked, "one_class": one_class}


def values(feature: Feature, rows: int, seed: int = 0) -> Tensor:
    random = np.random.default_rng(seed)
    shape = (rows, *feature.shape)
    if feature.kind == "image":
        return torch.from_numpy(random.integers(0, 256, shape).astype(np.uint8))
    if feature.kind == "category":
        return torch.from_numpy(random.integers(0, feature.size, shape).astype(np.int32))
    if feature.kind == "tokens":
        tokens = random.integers(2, feature.size, shape).astype(np.int32)
        tokens[np.arange(feature.shape[0]) >= random.integers(3, feature.shape[0] + 1, rows)[:, None]] = 0
        return torch.from_numpy(tokens)
    numbers = random.normal(size=shape).astype(feature.dtype)
    if feature.kind == "spectrogram":
        numbers[np.arange(feature.shape[0]) >= random.integers(5, feature.shape[0] + 1, rows)[:, None]] = 0
    if feature.details.get("flag"):
        numbers[:, -1] = random.integers(0, 2, rows)
        numbers[:, :-1] *= 1 - numbers[:, -1:]
    return torch.from_numpy(numbers)


def inputs_of(features: Mapping[str, Feature], rows: int, seed: int = 0) -> dict[str, Tensor]:
    return {name: values(feature, rows, seed) for name, feature in features.items()}


def batch_of(inputs: Mapping[str, Tensor]) -> Batch:
    return Batch(torch.arange(len(next(iter(inputs.values())))), inputs)


def setting_of(features: Mapping[str, Feature], rate: float = 0.003, ema: float = 0.0, **options: Any) -> Setting:
    """Small networks: one for all plain fields, one for each other field."""
    plain = tuple(name for name, feature in features.items() if feature.kind in ("numbers", "category"))
    plans = {"table": NetworkPlan("mlp", plain, {"width": 32, "depth": 1, "dropout": 0.0} | options)} if plain else {}
    small = {"bag": {"members": 2, "width": 8, "hidden": 16, "dropout": 0.0}, "resnet": {"width": 8}}
    for name, feature in features.items():
        if name not in plain:
            family = NETWORKS[feature.kind]
            plans[name] = NetworkPlan(family, (name,), small[family])
    plan = OptimizerPlan("adamw", rate)
    return Setting(features, lambda: build_body(plans, features), dict, plan, ema, CPU)


def trained(method: Unlabelled, inputs: Mapping[str, Tensor], steps: int, batch_size: int = 64) -> Unlabelled:
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    rows = len(next(iter(arrays.values())))
    source = Loader(Examples(arrays, rows), np.arange(rows), list(arrays), [], batch_size, seed=0)
    torch.manual_seed(0)
    fit(method, source, Schedule.over(steps, SchedulePlan("one_cycle")), Engine(CPU, clip=1.0))
    return method


def sealed(method: Unlabelled, inputs: Mapping[str, Tensor]) -> Tensor:
    with method.evaluating() as network:
        (output,) = network(inputs).values()
    assert output.shape[1] == 1
    return output[:, 0].clone()


@pytest.mark.parametrize(("length", "parts"), [(8, 8), (28, 8), (5, 2), (64, 7), (3, 1)])
def test_parts_are_equal_but_for_one_step_and_averages_are_means(length: int, parts: int) -> None:
    where = cells(length, parts)
    counts = torch.bincount(where, minlength=parts)
    assert counts.min() > 0
    assert counts.max() - counts.min() <= 1
    numbers = torch.randn(length)
    expected = torch.stack([numbers[where == part].mean() for part in range(parts)])
    assert torch.allclose(averaging(length, parts) @ numbers, expected, atol=1e-6)


@pytest.mark.parametrize("name", FEATURES)
def test_a_decoder_gives_errors_for_its_places(name: str) -> None:
    torch.manual_seed(0)
    feature, rows = FEATURES[name], 5
    decoder = build_decoder(16, feature)
    vector = torch.randn(rows, 16, requires_grad=True)
    errors = decoder.errors(decoder(vector), values(feature, rows))  # type: ignore[operator]
    assert errors.shape == (rows, *grid_of(feature))
    assert decoder.grid == grid_of(feature)
    assert errors.dtype == torch.float32
    assert bool((errors >= 0).all())
    limits = {"image": (8, 8), "spectrogram": (16,), "series": (16,)}.get(feature.kind, ())
    assert all(side <= limit for side, limit in zip(decoder.grid, limits, strict=True))
    errors.sum().backward()
    assert vector.grad is not None
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in decoder.parameters())


def test_every_channel_of_a_series_may_have_places_of_its_own() -> None:
    torch.manual_seed(0)
    feature, target = Feature("series", (40, 3), "float32"), torch.randn(5, 40, 3)
    own, together = SeriesDecoder(16, feature, channels=True), SeriesDecoder(16, feature)
    together.load_state_dict(own.state_dict())
    prediction = own(torch.randn(5, 16))
    assert own.grid == (16, 3)
    assert together.grid == (16,)
    torch.testing.assert_close(own.errors(prediction, target).mean(dim=2), together.errors(prediction, target))
    for channels in (1, 300):
        assert SeriesDecoder(4, Feature("series", (40, channels), "float32"), channels=True).grid == (16,)


@pytest.mark.parametrize("size", [(1, 200), (65, 1)])
def test_a_picture_of_one_line_is_averaged_along_it(size: tuple[int, int]) -> None:
    feature = Feature("image", (*size, 3), "uint8", details={"mean": [0.0] * 3, "std": [1.0] * 3})
    decoder: Any = build_decoder(4, feature)
    pixels = torch.arange(3 * size[0] * size[1]).reshape(1, *size, 3) % 251
    wanted = decoder.wanted(pixels.to(torch.uint8))
    assert wanted.shape == decoder(torch.zeros(2, 4))[:1].shape
    assert (decoder.errors(wanted, pixels.to(torch.uint8)) == 0).all()


@pytest.mark.parametrize("name", FEATURES)
def test_a_perfect_prediction_has_no_error(name: str) -> None:
    feature, rows = FEATURES[name], 4
    target = values(feature, rows)
    decoder: Any = build_decoder(16, feature)
    if feature.kind in ("image", "series"):
        prediction = decoder.wanted(target)
    elif feature.kind == "spectrogram":
        prediction = decoder.wanted(target)[0]
    elif feature.kind == "category":
        prediction = torch.nn.functional.one_hot(target.long(), feature.size) * 100.0
    elif feature.kind == "tokens":
        prediction = torch.full((rows, feature.size), -100.0).scatter(1, target.long(), 0.0)
        prediction[:, 0] = -100.0
    else:
        prediction = target
    assert float(decoder.errors(prediction, target).abs().max()) < 1e-5


def test_a_blind_guess_has_an_error_of_about_one() -> None:
    rows = 2000
    category, tokens = FEATURES["category"], Feature("tokens", (1,), "int32", size=30)
    decoder: Any = build_decoder(4, category)
    assert torch.allclose(decoder.errors(torch.zeros(rows, 6), values(category, rows)), torch.tensor(1.0))
    decoder = build_decoder(4, tokens)
    assert torch.allclose(decoder.errors(torch.zeros(rows, 30), torch.full((rows, 1), 7)), torch.tensor(1.0))
    decoder = build_decoder(4, FEATURES["number"])
    errors = decoder.errors(torch.zeros(rows, 1), values(FEATURES["number"], rows))
    assert float(errors.mean()) == pytest.approx(1.0, abs=0.1)


def test_a_missing_number_has_no_error_of_its_value() -> None:
    decoder: Any = build_decoder(4, FEATURES["gaps"])
    target = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    errors = decoder.errors(torch.tensor([[9.0, 1.0], [1.0, 0.0]]), target)
    assert errors.tolist() == [0.0, 1.0]


def test_the_padding_of_a_sound_counts_for_nothing() -> None:
    feature = FEATURES["spectrogram"]
    decoder: Any = build_decoder(4, feature)
    target = values(feature, 3)
    target[:, 25:] = 0
    wanted, known = decoder.wanted(target)
    prediction = wanted + 1.0
    errors = decoder.errors(prediction, target)
    assert torch.allclose(errors.mean(dim=1), torch.ones(3), atol=1e-5)
    assert float(errors[:, 9:].abs().max()) == 0.0
    prediction = torch.where(known.unsqueeze(2) > 0, prediction, 1e3)
    assert torch.allclose(decoder.errors(prediction, target), errors)


def test_an_error_stands_at_its_place() -> None:
    decoder: Any = build_decoder(4, FEATURES["image"])
    target = values(FEATURES["image"], 2)
    prediction = decoder.wanted(target).clone()
    prediction[0, :, 19, 0] += 5.0
    errors = decoder.errors(prediction, target)
    assert errors[0].argmax() == 7 * 8
    assert int((errors > 1e-6).sum()) == 1


@pytest.mark.parametrize("name", ["image", "tiny", "large", "spectrogram", "series", "long_series"])
def test_a_mask_of_places_covers_the_array(name: str) -> None:
    feature = FEATURES[name]
    grid = grid_of(feature)
    mask = spread(torch.eye(math.prod(grid), dtype=torch.bool).reshape(-1, *grid), feature)
    assert mask.shape[1:] == feature.shape[: len(grid)]
    assert torch.equal(mask.sum(dim=0), torch.ones(mask.shape[1:], dtype=torch.int64))
    assert max(size_of(feature)) <= 256


def test_corruption_changes_hidden_places_only() -> None:
    features = {name: FEATURES[name] for name in ("number", "category", "tokens", "image", "spectrogram", "series")}
    inputs = inputs_of(features, 40)
    torch.manual_seed(0)
    found = corrupt(inputs, features, 0.4, least=True)
    for name, feature in features.items():
        mask, before, after = found.places[name], inputs[name], found.inputs[name]
        assert after.dtype == before.dtype
        where = mask if feature.kind == "tokens" else spread(mask, feature)
        assert torch.equal(after[~where], before[~where])
        assert 0.15 < float(mask.float().mean()) < 0.75
        if feature.kind not in ("numbers", "category"):
            assert bool(mask.flatten(1).any(dim=1).all())
        if feature.kind == "image":
            assert set(after[where].flatten().tolist()) == {90}
        if feature.kind == "tokens":
            assert set(after[where].tolist()) == {1}
            assert bool((before[where] != 0).all())
        if feature.kind in ("spectrogram", "series"):
            assert not after[where].any()
    plain = torch.stack([found.places["number"], found.places["category"]], dim=1)
    assert bool(plain.any(dim=1).all())


def test_swapped_values_are_those_of_other_rows() -> None:
    features = {"number": FEATURES["number"], "category": FEATURES["category"]}
    inputs = inputs_of(features, 50)
    found = swap(inputs, features, 0.5)
    changed = found.places["number"]
    assert 10 < int(changed.sum()) < 40
    assert set(found.inputs["number"][changed].flatten().tolist()) <= set(inputs["number"].flatten().tolist())
    assert torch.equal(found.inputs["number"][~changed], inputs["number"][~changed])


MIXED = {name: FEATURES[name] for name in ("gaps", "number", "category", "tokens", "image", "spectrogram", "series")}
KINDS = [("autoencoder", {"gives": "anomaly"}), ("autoencoder", {"gives": "embed"}), ("masked", {}),
         ("contrastive", {"hidden": 16, "width": 16}), ("contrastive", {"kind": "simclr", "hidden": 16, "width": 16}),
         ("one_class", {})]  # fmt: skip


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join([kind[0], *map(str, kind[1].values())]))
def mixed(request: pytest.FixtureRequest) -> tuple[str, Unlabelled]:
    name, options = request.param
    module = registry.module("methods", name)
    assert module.reads(MIXED)
    torch.manual_seed(0)
    method = module.build(setting_of(MIXED, ema=0.9), module.Options(**options))
    assert isinstance(method, Unlabelled)
    return name, method


def test_every_method_reads_every_mixture(mixed: tuple[str, Unlabelled]) -> None:
    name, method = mixed
    inputs = inputs_of(MIXED, 16)
    for _ in range(2):
        metrics = method.update(batch_of(inputs), Engine(CPU))
    assert all(bool(torch.isfinite(value)) for value in metrics.values())
    unreached = [
        key
        for key, value in method.network.named_parameters()
        if value.requires_grad and (value.grad is None or not bool(value.grad.any()))
    ]
    assert not unreached
    assert method.network.training
    with method.evaluating() as network:
        ((output, answers),) = network(inputs).items()
    assert bool(torch.isfinite(answers).all())
    assert output in ("embedding", "anomaly")
    places = sum(math.prod(grid) for grid in method.places.values())
    width = method.sealed.body.output.width if name != "autoencoder" else 32
    assert answers.shape == (16, 1, 1 + places if output == "anomaly" else width)
    assert set(method.places) == (set(MIXED) if name == "autoencoder" and output == "anomaly" else set())


def test_judging_is_without_chance_and_draws_nothing(mixed: tuple[str, Unlabelled]) -> None:
    _, method = mixed
    batch = batch_of(inputs_of(MIXED, 16))
    method.update(batch, Engine(CPU))
    before = torch.get_rng_state()
    first = method.judge(batch)
    assert first.shape == (16,)
    assert torch.equal(method.judge(batch), first)
    with method.evaluating():
        assert torch.equal(method.judge(batch), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert method.network.training


SEALED = [
    (autoencoder, {"gives": "anomaly"}, MIXED),
    (autoencoder, {"gives": "anomaly"}, {name: FEATURES[name] for name in ("large", "vector")}),
    (autoencoder, {"gives": "embed"}, {name: FEATURES[name] for name in ("number", "category")}),
    (one_class, {}, {name: FEATURES[name] for name in ("number", "category")}),
    (masked, {}, {name: FEATURES[name] for name in ("tiny", "number")}),
    (transformations, {}, {"tiny": FEATURES["tiny"]}),
    (transformations, {}, {"image": FEATURES["image"]}),
    (anogan, {"game": 0.5, "width": 4, "critic": 4}, {"tiny": FEATURES["tiny"]}),
    (anogan, {"width": 4, "critic": 4}, {"image": FEATURES["image"]}),
]


@pytest.mark.parametrize(("module", "options", "features"), SEALED)
def test_the_sealed_module_runs_in_onnx(module: Any, options: dict[str, Any], features: dict[str, Feature]) -> None:
    torch.manual_seed(0)
    method: Unlabelled = module.build(setting_of(features, ema=0.9), module.Options(**options))
    inputs = inputs_of(features, 9)
    for _ in range(3):
        method.update(batch_of(inputs), Engine(CPU))
    task = SimpleNamespace(combine=lambda output: output.mean(dim=1))
    with method.evaluating() as network:
        ((output, expected),) = network(inputs).items()
        exported = export(network, features, {output: task})  # type: ignore[dict-item]
    session = onnxruntime.InferenceSession(exported.network)
    (answers,) = session.run(None, {exported.inputs[key]: value.numpy() for key, value in inputs.items()})
    assert np.allclose(answers, expected[:, 0].numpy(), atol=1e-3, rtol=1e-3)


def test_what_a_method_gives_is_what_it_says() -> None:
    for name, module in MODULES.items():
        assert set(module.GIVES) <= {"embed", "cluster", "anomaly"}, name
        assert ("embed" in module.GIVES) == ("cluster" in module.GIVES), "both read the same vectors"
        assert module.reads({"x": FEATURES["image"]})
    assert not masked.reads({"x": FEATURES["number"]})
    assert not contrastive.reads({"x": FEATURES["category"]})


def test_vicreg_is_its_formula() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(6, 4) * 0.5, torch.randn(6, 4) * 0.5
    expected = 25.0 * sum((a - b) ** 2 for a, b in zip(first.flatten(), second.flatten(), strict=True)) / 24
    for views in (first, second):
        for j in range(4):
            column = [float(row[j]) for row in views]
            mean = sum(column) / 6
            variance = sum((value - mean) ** 2 for value in column) / 5
            expected += 25.0 * max(0.0, 1 - math.sqrt(variance + 1e-4)) / 4 / 2
            for k in range(4):
                if j != k:
                    other = [float(row[k]) for row in views]
                    center = sum(other) / 6
                    tied = sum((a - mean) * (b - center) for a, b in zip(column, other, strict=True)) / 5
                    expected += tied**2 / 4
    assert float(contrastive.vicreg(first, second).mean()) == pytest.approx(float(expected), rel=1e-5)


def test_simclr_is_its_formula() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(5, 3), torch.randn(5, 3)
    views, losses = [*first, *second], []
    for i, anchor in enumerate(views):
        alike = [math.exp(float(torch.cosine_similarity(anchor, other, dim=0)) / 0.3) for other in views]
        losses.append(-math.log(alike[(i + 5) % 10] / (sum(alike) - alike[i])))
    found = contrastive.simclr(first, second, 0.3)
    assert found.shape == (5,)
    assert float(found.mean()) == pytest.approx(sum(losses) / 10, rel=1e-5)


@pytest.mark.parametrize(("places", "size"), [((4, 4), (16, 16)), ((3, 5), (16, 7)), ((9,), (20,)), ((40,), (16,))])
def test_every_place_tells_its_own_part_of_a_map(places: tuple[int, ...], size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    unfold = Unfolding(6, places, size, 2)
    vectors = torch.randn(3, *places, 6)
    found = unfold(vectors)
    assert found.shape == (3, 2, *size)
    nearest = [torch.arange(side) * number // side for number, side in zip(places, size, strict=True)]
    for place in ((0,) * len(places), tuple(number // 2 for number in places), tuple(number - 1 for number in places)):
        other = vectors.clone()
        other[(slice(None), *place)] += 1.0
        changed = (unfold(other) != found).any(dim=1)[0]
        for axis, (steps, at) in enumerate(zip(nearest, place, strict=True)):
            where = changed.movedim(axis, 0).flatten(1).any(dim=1) if changed.ndim > 1 else changed
            if places[axis] <= size[axis]:
                assert torch.equal(where, steps == at)
            else:
                assert where.sum() == 1
    if places[0] > 4:
        cut = torch.cat([vectors[:, :3], torch.zeros_like(vectors[:, 3:])], dim=1)
        torch.testing.assert_close(unfold(vectors[:, :3]), unfold(cut), msg="steps that are lacking are padding")


def test_hidden_tokens_are_told_one_by_one_from_those_beside_them() -> None:
    """Every text counts on from a token of its own: its bag of tokens does not tell which one is hidden where."""
    texts = (torch.arange(12) + torch.arange(300).unsqueeze(1)) % 40 + 3
    feature = Feature("tokens", (16,), "int32", size=43, details={"padding": 0, "unknown": 1, "special": [2]})
    inputs = {"text": nn.functional.pad(texts, (0, 4)).int()}
    torch.manual_seed(0)
    setting = setting_of({"text": feature}, rate=0.005)
    body = {"text": NetworkPlan("recurrent", ("text",), {"width": 32, "embedding": 32, "dropout": 0.0})}
    setting = replace(setting, body=lambda: build_body(body, {"text": feature}))
    method = masked.build(setting, masked.Options(share=0.25, hidden=32))
    before = float(method.judge(batch_of(inputs)).mean())
    trained(method, inputs, 150)
    assert float(method.judge(batch_of(inputs)).mean()) < 0.25 * before


@pytest.mark.parametrize("rows", [1, 2])
def test_small_batches_have_finite_losses(rows: int) -> None:
    views = torch.randn(2, rows, 4)
    assert bool(torch.isfinite(contrastive.vicreg(views[0], views[1])).all())
    assert bool(torch.isfinite(contrastive.simclr(views[0], views[1], 0.2)).all())


def test_contrast_refuses_accumulation() -> None:
    method = contrastive.build(setting_of({"x": FEATURES["vector"], "y": FEATURES["number"]}), contrastive.Options())
    batch = batch_of(inputs_of({"x": FEATURES["vector"], "y": FEATURES["number"]}, 8))
    with pytest.raises(InputError, match="compares the examples"):
        method.update(batch, Engine(CPU, accumulation=2))


def test_accumulation_changes_nothing_where_rows_count_alone() -> None:
    features = {"x": FEATURES["vector"], "y": FEATURES["number"]}
    batch = batch_of(inputs_of(features, 8))
    for module in (autoencoder, masked):
        weights = []
        for parts in (1, 2):
            torch.manual_seed(0)
            method = module.build(setting_of(features), module.Options())
            method.update(batch, Engine(CPU, accumulation=parts))
            weights.append(method.weights())
        assert all(torch.allclose(value, weights[1][name], atol=1e-5) for name, value in weights[0].items())


def test_masked_errors_count_at_hidden_places_only() -> None:
    features = {name: FEATURES[name] for name in ("number", "category", "tokens", "image", "series")}
    torch.manual_seed(0)
    method = masked.build(setting_of(features), masked.Options())
    batch = method.sealed.prepare(batch_of(inputs_of(features, 6)))
    method.sealed.eval()
    outputs = method.sealed.outputs(batch.inputs)
    before = method.sealed.losses(outputs, batch)[0]
    other = inputs_of(features, 6, seed=9)
    targets = dict(batch.targets)
    for name in ("number", "category", "image", "series"):
        hidden = spread(batch.targets[f"hidden.{name}"], features[name])
        mask = hidden.reshape(*hidden.shape, *[1] * (other[name].ndim - hidden.ndim))
        targets[f"whole.{name}"] = torch.where(mask, batch.targets[f"whole.{name}"], other[name])
    assert torch.allclose(method.sealed.losses(outputs, replace(batch, targets=targets))[0], before, atol=1e-6)
    where = batch.targets["whole.tokens"] != 0
    assert bool((batch.inputs["tokens"][where] == 1).all()), "only hidden tokens are asked for"
    targets["whole.image"] = other["image"]
    assert not torch.allclose(method.sealed.losses(outputs, replace(batch, targets=targets))[0], before)


def table(rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Four numbers of which two follow from the others, and a category that tells a sign."""
    random = np.random.default_rng(seed)
    free = random.normal(size=(rows, 2))
    numbers = np.column_stack([free, free[:, :1] + free[:, 1:], free[:, :1] - free[:, 1:]]) * 0.7
    numbers += random.normal(scale=0.05, size=numbers.shape)
    found = {f"n{column}": torch.from_numpy(numbers[:, column : column + 1].astype(np.float32)) for column in range(4)}
    return {**found, "sign": torch.from_numpy((2 + (free[:, 0] > 0)).astype(np.int32))}


TABLE = {**{f"n{column}": FEATURES["number"] for column in range(4)}, "sign": Feature("category", (), "int32", size=4)}


def test_an_autoencoder_finds_strange_rows_of_a_table_and_their_place() -> None:
    torch.manual_seed(0)
    setting = setting_of(TABLE, rate=0.005, ema=0.9)
    method = trained(autoencoder.build(setting, autoencoder.Options(bottleneck=3, hidden=64)), table(600), 300)
    normal, strange = table(100, seed=1), table(100, seed=1)
    strange["n2"] = -strange["n2"] + 1.5
    usual, odd = sealed(method, normal), sealed(method, strange)
    assert abs(float(usual[:, 0].mean())) < 0.5, "scores count from what is usual in training"
    assert float((odd[:, 0] > usual[:, 0].quantile(0.95)).float().mean()) > 0.8
    assert list(method.places) == list(TABLE)
    assert float((odd[:, 1:].argmax(dim=1) == 2).float().mean()) > 0.5


def test_scores_count_from_the_errors_of_the_averaged_weights() -> None:
    """In standard deviations above the mean of training rows; what scores count from is saved with the weights."""
    torch.manual_seed(0)
    rows = table(400)
    for module, options in ((autoencoder, {"noise": 0.5}), (one_class, {})):
        method = trained(module.build(setting_of(TABLE, ema=0.98), module.Options(**options)), rows, 250)
        weights = method.weights()
        assert all(torch.equal(weights[name], method.network.get_buffer(name)) for name in method.sealed.statistics)
        scores = sealed(method, rows)
        assert float(scores.mean(dim=0).abs().max()) < 0.4
        assert 0.5 < float(scores[:, 1:].std(dim=0).mean() if scores.shape[1] > 1 else scores.std()) < 2.0
        other = module.build(setting_of(TABLE, ema=0.98), module.Options(**options))
        other.load(weights)
        assert torch.equal(sealed(other, rows), scores)


def test_a_one_class_description_ranks_strange_rows_higher() -> None:
    torch.manual_seed(0)
    method = trained(one_class.build(setting_of(TABLE), one_class.Options()), table(600), 200)
    normal = table(100, seed=1)
    strange = {name: values * 2.5 if name != "sign" else values for name, values in table(100, seed=2).items()}
    usual, odd = sealed(method, normal)[:, 0], sealed(method, strange)[:, 0]
    assert float((odd[:, None] > usual).float().mean()) > 0.8
    images = trained(one_class.build(setting_of(PICTURE), one_class.Options()), {"x": pictures(256)}, 60)
    usual, odd = (sealed(images, {"x": x})[:, 0] for x in (pictures(60, seed=1), spotted(pictures(60, seed=1))))
    assert float((odd[:, None] > usual).float().mean()) > 0.9


def test_a_one_class_description_has_no_biases_and_a_fixed_centre() -> None:
    torch.manual_seed(0)
    method = one_class.build(setting_of(TABLE, ema=0.9), one_class.Options())
    inputs = table(64)
    first = method.update(batch_of(inputs), Engine(CPU))
    centre = method.weights()["centre"].clone()
    assert float(centre.abs().min()) > 0
    assert float(first["spread"]) == pytest.approx(1.0, abs=0.01)
    for _ in range(5):
        metrics = method.update(batch_of(table(64, seed=4)), Engine(CPU))
    assert torch.equal(method.weights()["centre"], centre)
    assert 0 < float(metrics["spread"]) < 1
    biases = [value for name, value in method.weights().items() if name.endswith("bias")]
    assert biases
    assert not any(bool(bias.any()) for bias in biases)


def test_a_one_class_description_shows_its_collapse() -> None:
    """A body that gives one answer for all rows: what biases would come to."""
    torch.manual_seed(0)
    method = one_class.build(setting_of(TABLE), one_class.Options())
    method.update(batch_of(table(64)), Engine(CPU))
    torch.nn.init.zeros_(method.sealed.head.weight)  # type: ignore[arg-type, union-attr]
    assert float(method.loss(batch_of(table(64))).metrics["spread"]) < 1e-6


def pictures(rows: int, seed: int = 0) -> Tensor:
    """A bright bar somewhere in the upper half of a dark picture of 16 x 16."""
    random = np.random.default_rng(seed)
    found = random.integers(0, 20, (rows, 16, 16, 1))
    for row, (top, height) in enumerate(zip(random.integers(0, 4, rows), random.integers(2, 4, rows), strict=True)):
        found[row, top : top + height, 2:14] += 200
    return torch.from_numpy(found.astype(np.uint8))


PICTURE = {"x": Feature("image", (16, 16, 1), "uint8", details={"mean": [45.0], "std": [75.0]})}


def spotted(images: Tensor) -> Tensor:
    changed = images.clone()
    changed[:, 12:15, 4:7] = 220
    return changed


def test_an_autoencoder_finds_strange_pictures_and_their_place() -> None:
    torch.manual_seed(0)
    method = trained(
        autoencoder.build(setting_of(PICTURE), autoencoder.Options(bottleneck=4)), {"x": pictures(256)}, 100
    )
    normal = pictures(60, seed=1)
    usual, odd = sealed(method, {"x": normal}), sealed(method, {"x": spotted(normal)})
    assert float(odd[:, 0].min()) > float(usual[:, 0].max())
    assert method.places == {"x": (8, 8)}
    place = odd[:, 1:].argmax(dim=1)
    assert bool(((place // 8 >= 6) & (place % 8 >= 2) & (place % 8 <= 3)).all())


@pytest.mark.parametrize("kind", ["vicreg", "simclr"])
def test_collapse_is_seen_by_spread(kind: str) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(500, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    assert float(deviation(vectors)) == pytest.approx(1.0, abs=0.05)
    assert float(deviation(vectors[:1].expand(500, -1))) < 1e-5
    features = {"x": FEATURES["vector"], "y": FEATURES["number"]}
    batch = batch_of(inputs_of(features, 64))

    def spread_after(steps: int, **options: Any) -> float:
        torch.manual_seed(0)
        method = contrastive.build(setting_of(features, rate=0.01), contrastive.Options(kind=kind, **options))  # type: ignore[arg-type]
        for _ in range(steps):
            metrics = method.update(batch, Engine(CPU))
        return float(metrics["spread"])

    healthy = spread_after(60)
    assert healthy > 0.3
    if kind == "vicreg":
        # Invariance alone is content with one answer for all.
        assert spread_after(60, variance=1e-9, covariance=1e-9, swap=0.6) < healthy / 2


def test_views_come_from_the_setting() -> None:
    calls: list[int] = []

    def views(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        calls.append(len(inputs["x"]))
        return augment(inputs, {"x": {"flip": 0.5, "translate": 0.1}}, PICTURE)

    setting = replace(setting_of(PICTURE), views=views)
    method = contrastive.build(setting, contrastive.Options(hidden=16, width=16))
    prepared = method.sealed.prepare(batch_of({"x": pictures(4)}))
    assert calls == [4, 4]
    assert len(prepared) == 8
    assert not torch.equal(prepared.inputs["x"][:4], prepared.inputs["x"][4:])


@pytest.mark.parametrize("kind", ["contrastive", "autoencoder", "one_class"])
def test_a_frozen_network_stays_as_it_was_given_and_a_thawing_one_learns_from_the_top_on(kind: str) -> None:
    torch.manual_seed(0)
    features = {"x": FEATURES["image"]}
    setting = setting_of(features)

    def frozen() -> Assembly:
        body = setting.body()
        apply_freezing(body, "x", "all")
        return body

    def learning(gradual: tuple[str, ...]) -> list[list[bool]]:
        """At the beginning, after a fifth and at the end: does each stage, from the lowest on?"""
        given = replace(setting, body=frozen, gradual=gradual)
        method = MODULES[kind].build(given, MODULES[kind].Options())
        stages = [stage.module for stage in method.sealed.body.stages() if stage.network == "x"]
        engine, found = Engine(CPU), []
        for engine.progress in (0.0, 0.2, 1.0):
            before = [[value.clone() for value in stage.state_dict().values()] for stage in stages]
            method.update(batch_of(inputs_of(features, 32)), engine)
            after = [stage.state_dict().values() for stage in stages]
            found.append([not all(map(torch.equal, *parts)) for parts in zip(before, after, strict=True)])
        return found

    assert not any(map(any, learning(())))
    first, later, last = learning(("x",))
    assert not any(first)
    assert later[-1]
    assert not later[0]
    assert all(last)


def test_transformations_are_those_of_numpy() -> None:
    picture = np.arange(16).reshape(4, 4)
    found = transformations.transformations(4, 4, 0.25).numpy()
    assert len(found) == 36
    assert len({row.tobytes() for row in found}) == 36
    for quarters in range(4):
        turned = np.rot90(picture, quarters)
        assert np.array_equal(picture.reshape(-1)[found[9 * quarters]].reshape(4, 4), turned)
        down = picture.reshape(-1)[found[9 * quarters + 6]].reshape(4, 4)
        assert np.array_equal(down, np.concatenate([turned[:1], turned[:3]]))
    mirrored = transformations.transformations(2, 3, 0.0).numpy()
    assert np.array_equal(mirrored[3], np.arange(6)[::-1])


def test_pictures_of_another_kind_are_strange_to_who_tells_how_they_are_turned() -> None:
    random = np.random.default_rng(0)
    feature = Feature("image", (8, 8, 1), "uint8")
    usual, strange = (random.integers(0, 60, (96, 8, 8, 1)) for _ in range(2))
    usual[:, :3, :3] += 180
    strange[:, 3:5, 3:5] += 180
    one, other = (torch.from_numpy(pictures.astype(np.uint8)) for pictures in (usual, strange))
    method = transformations.build(setting_of({"x": feature}), transformations.Options(shift=0.0))
    trained(method, {"x": one}, 60, 32)
    scores = [sealed(method, {"x": pictures}) for pictures in (one, other)]
    assert scores[0].shape == (96, 1)
    assert float((scores[0] < scores[1].T).float().mean()) > 0.95


@pytest.fixture(scope="module")
def mapped() -> anogan.AnoGan:
    """Has learned dark pictures with a light corner, at the top left or at the bottom right."""
    random = np.random.default_rng(0)
    usual = random.integers(0, 20, (64, 12, 12, 1))
    usual[:32, :6, :6] += 200
    usual[32:, 6:, 6:] += 200
    feature = Feature("image", (12, 12, 1), "uint8")
    options = anogan.Options(noise=4, width=4, critic=8, rate=0.003)
    method = anogan.build(setting_of({"x": feature}, rate=0.005, ema=0.5), options)
    trained(method, {"x": torch.from_numpy(usual.astype(np.uint8))}, 240, 32)
    return method


def test_what_the_generator_cannot_make_is_strange_and_placed(mapped: anogan.AnoGan) -> None:
    random = np.random.default_rng(1)
    fine = random.integers(0, 20, (32, 12, 12, 1))
    fine[:16, :6, :6] += 200
    fine[16:, 6:, 6:] += 200
    faulty = fine.copy()
    faulty[:, 0:3, 9:12] += 200
    one, other = (sealed(mapped, {"x": torch.from_numpy(part.astype(np.uint8))}) for part in (fine, faulty))
    assert mapped.places == {"x": (8, 8)}
    assert one.shape == (32, 65)
    assert float((one[:, 0] < other[:, :1]).float().mean()) > 0.95
    rise = (other - one)[:, 1:].mean(dim=0).reshape(8, 8)
    place = divmod(int(rise.argmax()), 8)
    assert place[0] <= 2
    assert place[1] >= 5, "the top right"


def test_the_generator_stands_still_while_the_encoder_learns(mapped: anogan.AnoGan) -> None:
    before = {name: value.clone() for name, value in mapped.weights().items()}
    pictures = torch.from_numpy(np.random.default_rng(2).integers(0, 255, (8, 12, 12, 1)).astype(np.uint8))
    engine = Engine(CPU, progress=0.9)
    mapped.update(batch_of({"x": pictures}), engine)
    changed = {
        name.partition(".")[0] for name, value in mapped.weights().items() if not torch.equal(value, before[name])
    }
    assert changed == {"body", "head", "surprise"}
    mapped.update(batch_of({"x": pictures}), Engine(CPU, progress=0.1))
    game = mapped.game.average
    assert all(torch.equal(value, mapped.weights()[f"generator.{name}"]) for name, value in game.items())


def test_its_loss_is_that_of_pixels_and_of_what_the_critic_sees(mapped: anogan.AnoGan) -> None:
    pictures = torch.from_numpy(np.random.default_rng(3).integers(0, 255, (3, 12, 12, 1)).astype(np.uint8))
    with mapped.evaluating() as network:
        made = network.outputs({"x": pictures})["made"]  # type: ignore[operator]
        each, _ = network.losses({"made": made}, network.prepare(batch_of({"x": pictures})))  # type: ignore[operator]
        real = (pictures.double() / 127.5 - 1).permute(0, 3, 1, 2)
        for row in range(3):
            known, found = (network.critic(part[row : row + 1].float()).flatten() for part in (real, made))
            pixels = float((made[row].double() - real[row]).square().mean())
            seen = float((known - found).square().mean() / known.square().mean())
            assert float(each[row]) == pytest.approx(pixels + seen, rel=1e-4)


@pytest.mark.parametrize(("rows", "batches"), [(1, [1]), (256, [256]), (257, [129, 128]), (600, [200, 200, 200])])
def test_validation_judges_mixed_rows_in_batches_of_one_size(rows: int, batches: list[int]) -> None:
    order, size = _mixed(np.arange(rows), 256, seed=4)
    assert sorted(order) == list(range(rows))
    assert [len(order[start : start + size]) for start in range(0, rows, size)] == batches
    again, _ = _mixed(np.arange(rows), 256, seed=4)
    assert np.array_equal(order, again)
    if rows > 1:
        assert not np.array_equal(order, np.arange(rows))
