"""Augmentation: shapes, dtypes and padding stay; meaning moves as far as the strength says; same seed, same batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lamina.errors import InputError
from lamina.learn.augment import STRENGTHS, augment, augment_with_targets, blend, cutmix, defaults, mixup
from lamina.learn.batch import Batch
from lamina.modalities import Feature, items
from lamina.modalities._mel import log_mel
from lamina.tasks import Layout

SIDE = 12
FEATURES = {
    "image": Feature("image", (SIDE, SIDE, 3), "uint8", details={"mean": [9.0, 9.0, 9.0], "std": [1.0, 1.0, 1.0]}),
    "grey": Feature("image", (SIDE, SIDE, 1), "uint8", details={"mean": [9.0], "std": [1.0]}),
    "spectrogram": Feature("spectrogram", (20, 8), "float16", details={"mean": [0.0] * 8, "std": [10.0] * 8}),
    "tokens": Feature("tokens", (16,), "int32", 50, {"padding": 0, "unknown": 1, "special": [0, 1, 2]}),
    "series": Feature("series", (30, 2), "float32"),
    "numbers": Feature("numbers", (3,), "float32"),
    "category": Feature("category", (), "int32", 7),
}


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(name: str, size: int = 16) -> Tensor:
    feature, random = FEATURES[name], chance(5)
    shape = (size, *feature.shape)
    if feature.kind == "image":
        return torch.randint(256, shape, generator=random).to(torch.uint8)
    if feature.kind in ("tokens", "category"):
        values = torch.randint(2, feature.size, shape, generator=random).to(torch.int32)
        if feature.kind == "tokens":
            values[:, 10:] = 0
        return values
    values = torch.randn(shape, generator=random)
    if feature.kind == "spectrogram":
        values = values.to(torch.float16)
        for row in range(size):
            values[row, 20 - row % 20 :] = 0
    return values


def changed(name: str, plan: dict[str, Any], seed: int = 0, values: Tensor | None = None) -> Tensor:
    inputs = {name: batch_of(name) if values is None else values}
    return augment(inputs, {name: plan}, FEATURES, chance(seed))[name]


def cases() -> list[tuple[str, str]]:
    every = [(name, key) for name, feature in FEATURES.items() for key in STRENGTHS[feature.kind]]
    # A grey picture has no saturation to change.
    return [case for case in every if case != ("grey", "saturation")]


@pytest.mark.parametrize(("name", "key"), cases())
def test_each_keeps_form_changes_something_and_repeats(name: str, key: str) -> None:
    before = batch_of(name)
    kept = before.clone()
    strength = {"rotate": 30, "gain": 6}.get(key, 0.5)
    after = changed(name, {key: strength}, values=before)
    assert after.shape == before.shape
    assert after.dtype == before.dtype
    assert torch.equal(before, kept)
    assert not torch.equal(after, before)
    assert torch.equal(after, changed(name, {key: strength}))
    assert not torch.equal(after, changed(name, {key: strength}, seed=1))
    assert torch.isfinite(after.float()).all()
    for off in (0, False, 0.0):
        assert torch.equal(changed(name, {key: off}), before)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("rows", [100, 100_000])
def test_defaults_are_accepted_and_everything_at_once_works(name: str, rows: int) -> None:
    feature = FEATURES[name]
    plan = defaults(feature, rows)
    assert plan or feature.kind in ("numbers", "category")
    everything = dict.fromkeys(STRENGTHS[feature.kind], 0.3)
    for some in (plan, everything):
        for size in (0, 1, 5):
            values = batch_of(name, size)
            assert changed(name, some, values=values).shape == values.shape


def test_a_flip_mirrors_and_nothing_else() -> None:
    for name in ("image", "grey"):
        before = batch_of(name)
        assert torch.equal(changed(name, {"flip": 1}), before.flip(2))
        assert torch.equal(changed(name, {"flip_vertical": 1}), before.flip(1))
        mixed = changed(name, {"flip": True})
        same = (mixed == before).flatten(1).all(dim=1)
        mirrored = (mixed == before.flip(2)).flatten(1).all(dim=1)
        assert (same | mirrored).all()
        assert same.any()
        assert mirrored.any()


def test_a_shift_is_a_crop_of_the_reflected_picture() -> None:
    for name in ("image", "grey"):
        before, largest = batch_of(name), 3
        after = changed(name, {"translate": largest / SIDE})
        channels_first = before.permute(0, 3, 1, 2).float()
        framed = torch.nn.functional.pad(channels_first, (largest,) * 4, mode="reflect").permute(0, 2, 3, 1)
        places = set()
        for row in range(len(before)):
            found = [
                (top, left)
                for top in range(2 * largest + 1)
                for left in range(2 * largest + 1)
                if torch.equal(framed[row, top : top + SIDE, left : left + SIDE].to(torch.uint8), after[row])
            ]
            assert len(found) == 1
            places |= set(found)
        assert len(places) > 8


def test_a_turn_of_nothing_is_nothing_and_crops_enlarge() -> None:
    before = batch_of("image")
    assert (changed("image", {"rotate": 1e-6}).int() - before.int()).abs().max() <= 1
    ramp = torch.arange(SIDE, dtype=torch.uint8).mul(20)[None, None, :, None].expand(8, SIDE, SIDE, 3).contiguous()
    cropped = changed("image", {"crop": 0.75}, values=ramp).float()
    assert ((cropped.amax(dim=(1, 2, 3)) - cropped.amin(dim=(1, 2, 3))) < 220).any()
    flipped = changed("image", {"scale": 1e-6, "flip": 1}, values=before)
    assert (flipped.int() - before.flip(2).int()).abs().max() <= 1


def test_a_turn_keeps_shapes_in_pictures_that_are_not_square() -> None:
    """A disc stays a disc."""
    height, width = 40, 80
    rows, columns = torch.meshgrid(torch.arange(height) - 19.5, torch.arange(width) - 39.5, indexing="ij")
    distance = (rows**2 + columns**2).sqrt()
    disc = (distance < 15).to(torch.uint8).mul(255)[None, :, :, None].expand(6, -1, -1, -1).contiguous()
    feature = Feature("image", (height, width, 1), "uint8")
    turned = augment({"a": disc}, {"a": {"rotate": 180}}, {"a": feature}, chance())["a"]
    # Farther out the reflected border shows.
    assert (turned.float() - disc.float()).abs()[:, distance < 20].mean() < 10
    assert not torch.equal(turned, disc)


def test_color_changes_stay_within_their_strength() -> None:
    flat = torch.full((64, SIDE, SIDE, 3), 100, dtype=torch.uint8)
    brighter = changed("image", {"brightness": 0.1}, values=flat).int()
    assert (brighter - 100).abs().max() <= 26
    assert (brighter.flatten(1).amax(1) == brighter.flatten(1).amin(1)).all()
    assert torch.equal(changed("image", {"contrast": 0.5, "saturation": 0.5}, values=flat), flat)


def test_erasing_puts_one_rectangle_of_the_mean() -> None:
    before = torch.full((200, SIDE, SIDE, 3), 200, dtype=torch.uint8)
    after = changed("image", {"erase": True}, values=before)
    covered = (after == 9).all(dim=3)
    assert ((after == 200).all(dim=3) | covered).all()
    share = covered.float().mean(dim=(1, 2))
    assert 60 < (share > 0).sum() < 140
    assert share.max() < 0.3


@given(seed=st.integers(0, 10_000), shift=st.floats(0.01, 0.9), mask=st.floats(0.01, 0.9))
@settings(max_examples=40, deadline=None)
def test_sounds_keep_their_padding_at_the_end(seed: int, shift: float, mask: float) -> None:
    plan = {"time_shift": shift, "gain": 6, "noise": 0.1}
    after = changed("spectrogram", plan, seed)
    used = (after != 0).any(dim=2)
    assert (used[:, 1:] <= used[:, :-1]).all()
    before = batch_of("spectrogram")
    assert torch.equal((before != 0).any(dim=2).any(dim=1), used.any(dim=1))
    masked = changed("spectrogram", {"time_mask": mask}, seed)
    length = (before != 0).any(dim=2).sum(dim=1)
    lost = length - (masked != 0).any(dim=2).sum(dim=1)
    assert (lost <= (length * mask).ceil()).all()
    assert ((masked == before) | (masked == 0)).all()


def test_another_pace_stretches_what_is_heard_and_loses_nothing() -> None:
    sounds = torch.zeros(40, 60, 2, dtype=torch.float16)
    ramp = torch.linspace(1, 2, 40, dtype=torch.float16)
    sounds[:, :40] = ramp[None, :, None]
    found = augment({"s": sounds}, {"s": {"tempo": 0.4}}, {"s": Feature("spectrogram", (60, 2), "float16")}, chance(1))[
        "s"
    ]
    lengths = (found[:, :, 0] != 0).sum(dim=1)
    assert lengths.min() < 34
    assert lengths.max() > 48
    for row, length in zip(found[:, :, 0].float(), lengths.tolist(), strict=True):
        # The same ramp from its first value to its last, in another number of steps, and zeros after it.
        expected = 1 + torch.arange(length) * (40 / length) / 39
        assert torch.allclose(row[:length], expected.clamp_max(2.0), atol=0.03)
        assert not row[length:].any()
    full = sounds[:, :40]
    slower = augment({"s": full}, {"s": {"tempo": 0.4}}, {"s": Feature("spectrogram", (40, 2), "float16")}, chance(1))[
        "s"
    ]
    assert torch.allclose(slower[(slower[:, -1, 0] != 0), -1, 0].float(), torch.tensor(2.0), atol=0.05)


def test_gain_is_in_decibels() -> None:
    before = batch_of("spectrogram")
    difference = (changed("spectrogram", {"gain": 6}).float() - before.float()) * 10
    assert 3 < difference.abs().max() <= 6.1


def test_dropped_tokens_are_unknown_and_special_ones_stay() -> None:
    before = batch_of("tokens", 200)
    after = changed("tokens", {"drop": 0.3}, values=before)
    assert torch.equal(after == 0, before == 0)
    assert torch.equal(after == 2, before == 2)
    different = after != before
    assert (after[different] == 1).all()
    assert 0.25 < different[:, :10].float().mean() < 0.35


def test_dropped_items_are_left_out_and_none_is_put_in() -> None:
    feature = items.Encoder(tuple(map(str, range(1, 50))), 16).feature
    before = batch_of("tokens", 200)
    after = augment({"had": before}, {"had": {"drop": 0.3}}, {"had": feature}, chance())["had"]
    assert after.dtype == before.dtype
    assert 0.25 < 1 - (after > 0).sum() / (before > 0).sum() < 0.35
    for had, left in zip(before.tolist(), after.tolist(), strict=True):
        kept = [item for item in left if item]
        assert left == kept + [0] * (16 - len(kept))
        rest = iter(had)
        assert all(item in rest for item in kept), "those that are left are in their order"


def test_series_warp_keeps_the_ends_and_shift_moves() -> None:
    ramp = torch.linspace(0, 1, 30)[None, :, None].expand(16, 30, 2).contiguous()
    warped = changed("series", {"warp": 0.5}, values=ramp)
    assert torch.allclose(warped[:, 0], ramp[:, 0], atol=1e-5)
    assert torch.allclose(warped[:, -1], ramp[:, -1], atol=1e-5)
    assert (warped.diff(dim=1) >= -1e-6).all()
    shifted = changed("series", {"shift": 0.2}, values=ramp)
    assert (shifted - ramp).abs().max() <= 0.2 + 1e-5
    assert (changed("series", {"scale": 0.1}, values=ramp)[:, -1] - 1).abs().max() <= 0.1 + 1e-5


@pytest.mark.parametrize(
    ("plans", "words"),
    [
        ({"imge": {"flip": True}}, ("imge", "image")),
        ({"image": {"flop": True}}, ("flop", "flip")),
        ({"image": {"translate": 2}}, ("translate", "0.5")),
        ({"image": {"translate": True}}, ("translate",)),
        ({"image": {"rotate": "much"}}, ("rotate", "degrees")),
        ({"image": {"rotate": float("nan")}}, ("rotate",)),
        ({"tokens": {"drop": -0.1}}, ("drop",)),
        ({"image": 3}, ("table",)),
    ],
)
def test_wrong_plans_name_the_fix(plans: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        augment({name: batch_of(name) for name in FEATURES}, plans, FEATURES)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("name", ["image", "grey", "spectrogram", "series", "numbers"])
def test_mixup_is_the_weighted_mean(name: str) -> None:
    values = batch_of(name)
    mixed = mixup({name: values}, FEATURES, 1.0, chance())
    assert sorted(mixed.permutation.tolist()) == list(range(len(values)))
    assert mixed.inputs[name].dtype == values.dtype
    share = mixed.share.reshape(-1, *([1] * (values.ndim - 1)))
    expected = share * values.float() + (1 - share) * values[mixed.permutation].float()
    assert (mixed.inputs[name].float() - expected).abs().max() <= (0.51 if "uint8" in str(values.dtype) else 5e-3)
    assert 0 <= mixed.share.min() < mixed.share.max() <= 1


@pytest.mark.parametrize("name", ["image", "grey", "spectrogram", "series"])
def test_cutmix_pastes_exactly_the_share(name: str) -> None:
    size = 64
    values = (
        torch.arange(1, size + 1).reshape(-1, *([1] * len(FEATURES[name].shape))).expand(size, *FEATURES[name].shape)
    )
    values = values.to(batch_of(name).dtype).contiguous()
    mixed = cutmix({name: values}, FEATURES, 1.0, chance())
    own = (mixed.inputs[name] == values).float().flatten(1).mean(1)
    moved = mixed.permutation != torch.arange(size)
    assert torch.allclose(own[moved], mixed.share[moved], atol=1e-6)
    assert ((mixed.inputs[name] == values) | (mixed.inputs[name] == values[mixed.permutation])).all()
    assert mixed.share.std() > 0.1


def test_beta_has_its_spread() -> None:
    share = mixup({"numbers": torch.zeros(20_000, 3)}, FEATURES, 0.4, chance()).share.numpy()
    assert np.mean(share) == pytest.approx(0.5, abs=0.02)
    assert np.var(share) == pytest.approx(0.25 / (2 * 0.4 + 1), abs=0.01)


@pytest.mark.parametrize(("function", "name"), [(mixup, "tokens"), (mixup, "category"), (cutmix, "numbers")])
def test_what_cannot_be_blended_is_refused(function: Any, name: str) -> None:
    with pytest.raises(InputError, match=name):
        function({name: batch_of(name)}, FEATURES, 0.5)
    with pytest.raises(InputError, match="strength"):
        function({"image": batch_of("image")}, FEATURES, -1.0)


def test_blend_gives_the_second_target_and_its_share() -> None:
    size = 32
    batch = Batch(torch.arange(size), {"image": batch_of("image", size)}, {"label": torch.arange(size)})
    assert blend(batch, FEATURES) is batch
    kinds = set()
    for seed in range(12):
        mixed = blend(batch, FEATURES, mixup=0.5, cutmix=0.5, generator=chance(seed))
        assert mixed.other is not None
        assert mixed.share is not None
        partner = mixed.other["label"]
        own = batch.inputs["image"]
        pasted = bool(((mixed.inputs["image"] == own) | (mixed.inputs["image"] == own[partner])).all())
        kinds.add(pasted)
        assert torch.equal(mixed.targets["label"], batch.targets["label"])
    assert kinds == {True, False}


def test_line_art_is_not_mirrored() -> None:
    drawn = Feature("image", (28, 28, 1), "uint8", details={"extreme_share": 0.95})
    photographed = Feature("image", (28, 28, 1), "uint8", details={"extreme_share": 0.5})
    assert "flip" not in defaults(drawn, 1000)
    assert defaults(photographed, 1000)["flip"] is True


def moved_together(plan: dict[str, Any], target: Tensor) -> tuple[Tensor, Tensor]:
    """A picture that shows its target's values, and the target, after the same changes."""
    small = target if target.ndim == 4 else target.unsqueeze(3)
    picture = torch.nn.functional.max_pool2d(small.permute(0, 3, 1, 2).float(), small.shape[1] // SIDE)
    images = picture.permute(0, 2, 3, 1).to(torch.uint8).expand(-1, -1, -1, 3).contiguous()
    inputs, targets = augment_with_targets(
        {"photo": images, "age": torch.zeros(len(images), 3)},
        {"mask": target, "class": torch.arange(len(images))},
        {"mask": Layout("map", (2, SIDE, SIDE)), "class": Layout("vector", (4,))},
        {"photo": plan},
        {"photo": FEATURES["image"], "age": FEATURES["numbers"]},
        chance(3),
    )
    assert targets["class"].tolist() == list(range(len(images)))
    assert targets["mask"].shape == target.shape
    assert targets["mask"].dtype == target.dtype
    return inputs["photo"], targets["mask"]


@pytest.mark.parametrize(
    "plan", [{"flip": 0.5, "flip_vertical": 0.5}, {"translate": 0.4}, {"flip": 0.5, "translate": 0.3}]
)
def test_labels_of_pixels_move_as_their_picture(plan: dict[str, Any]) -> None:
    target = torch.randint(0, 200, (32, SIDE, SIDE), generator=chance(1)).to(torch.uint8)
    picture, labels = moved_together(plan, target)
    assert (labels != target).any()
    assert torch.equal(picture[..., 0], labels)


def test_labels_that_are_negative_stay_so() -> None:
    target = torch.full((4, SIDE, SIDE), -1, dtype=torch.int16)
    _, labels = augment_with_targets(
        {"photo": batch_of("image", 4)}, {"mask": target}, {"mask": Layout("map", (1, SIDE, SIDE))},
        {"photo": {"rotate": 90, "flip": 0.5, "brightness": 0.2, "erase": 0.5}}, {"photo": FEATURES["image"]}, chance(),
    )  # fmt: skip
    assert torch.equal(labels["mask"], target)


@pytest.mark.parametrize("plan", [{"rotate": 40}, {"scale": 0.4, "flip": 0.5}, {"crop": 0.5, "translate": 0.2}])
def test_labels_are_turned_with_their_picture_and_never_mixed(plan: dict[str, Any]) -> None:
    target = torch.zeros(32, SIDE, SIDE, dtype=torch.uint8)
    target[:, 2:7, 3:11] = 200
    picture, labels = moved_together(plan, target)
    assert set(labels.unique().tolist()) == {0, 200}
    assert (labels != target).any()
    # Away from edges, where colors are interpolated, both say the same.
    sure = (picture[..., 0] < 50) | (picture[..., 0] > 150)
    assert torch.equal((picture[..., 0] > 100)[sure], (labels > 100)[sure])


@pytest.mark.parametrize("plan", [{"flip": 0.5, "flip_vertical": 0.5, "translate": 0.4}])
def test_a_target_three_times_as_large_moves_as_its_picture(plan: dict[str, Any]) -> None:
    """Every pixel of the picture is the largest of nine in the target, wherever they go."""
    target = torch.randint(0, 200, (32, 3 * SIDE, 3 * SIDE, 1), generator=chance(1)).to(torch.uint8)
    picture, large = moved_together(plan, target)
    assert (large != target).any()
    largest = torch.nn.functional.max_pool2d(large[..., 0].unsqueeze(1).float(), 3)
    assert torch.equal(picture[..., 0].float(), largest[:, 0])


def test_a_mirrored_large_target_is_mirrored_exactly() -> None:
    target = torch.randint(0, 200, (4, 2 * SIDE, 2 * SIDE, 1), generator=chance(1)).to(torch.uint8)
    _, large = moved_together({"flip": 1.0}, target)
    assert torch.equal(large, target.flip(2))


def test_speed_moves_pitch_and_pace_as_resampling_does() -> None:
    rate, bands = 16_000, 64
    time = np.arange(rate) / rate
    details = {"mean": [-50.0] * bands, "std": [20.0] * bands, "rate": rate}
    feature = Feature("spectrogram", (120, bands), "float16", details=details)

    def encoded(samples: np.ndarray) -> Tensor:
        mel = (log_mel(samples.astype(np.float32), rate, bands) + 50) / 20
        return torch.nn.functional.pad(torch.from_numpy(mel), (0, 0, 0, 120 - len(mel))).to(torch.float16)[None]

    tone = encoded(np.sin(2 * np.pi * 2000 * time))
    for seed in range(6):
        found = augment({"s": tone}, {"s": {"speed": 0.2}}, {"s": feature}, chance(seed))["s"][0].float()
        pace = float((tone[0].abs().sum(dim=1) > 0).sum() / (found.abs().sum(dim=1) > 0).sum())
        resampled = encoded(np.sin(2 * np.pi * 2000 * pace * time))[0].float()
        assert abs(int(found[10].argmax()) - int(resampled[10].argmax())) <= 1
    slow = augment({"s": tone}, {"s": {"tempo": 0.2}}, {"s": feature}, chance(0))["s"][0]
    assert int(slow[10].argmax()) == int(tone[0, 10].argmax())


def test_noise_is_as_much_quieter_than_the_sound_as_was_drawn() -> None:
    rate, bands, rows = 16_000, 64, 200
    random = np.random.default_rng(0)
    feature = Feature("spectrogram", (50, bands), "float32", details={"rate": rate})
    heard = log_mel(random.standard_normal(8000).astype(np.float32) * 1e-4, rate, bands)[:40] / 10
    # One loud band, nothing else: what is in the others was added.
    quiet = torch.full((rows, 50, bands), -9.9)
    quiet[:, :, 5] = 0.0
    quiet[:, 40:] = 0.0
    after = augment({"s": quiet}, {"s": {"white_noise": 0.5}}, {"s": feature}, chance(1))["s"]
    changed = (after != quiet).flatten(1).any(dim=1)
    assert 60 < int(changed.sum()) < 140
    assert torch.equal(after[:, 40:], quiet[:, 40:])
    power = (10 ** after[changed, :40]).double()
    noise = power.sum(dim=2).mean(dim=1) - power[:, :, 5].mean(dim=1)
    ratio = -10 * torch.log10(noise)
    assert 9 < float(ratio.min()) < 15
    assert 35 < float(ratio.max()) < 42
    # It has the shape of white noise that was recorded.
    shape, wanted = 10 * torch.log10(power.mean(dim=(0, 1))[10:]), torch.from_numpy(10 * heard.mean(axis=0))[10:]
    assert float(((shape - shape.mean()) - (wanted - wanted.mean())).abs().max()) < 2.5


def test_what_is_behind_a_sound_is_another_sound_of_the_batch() -> None:
    feature = Feature("spectrogram", (30, 8), "float32")
    sounds = torch.full((2, 30, 8), -9.0)
    sounds[0, :, 2], sounds[1, :, 6] = 0.5, 0.5
    sounds[1, 20:] = 0.0
    after = augment({"s": sounds}, {"s": {"background": 1.0}}, {"s": feature}, chance(0))["s"]
    decibels = 10 * (after[0, :20, 6] - 0.5)
    assert float(decibels.std()) < 0.01
    assert -32 < float(decibels.mean()) < -8
    assert torch.equal(after[0, 20:], sounds[0, 20:])
    assert torch.equal(after[1, 20:], sounds[1, 20:])
    alone = augment({"s": sounds[:1]}, {"s": {"background": 1.0}}, {"s": feature}, chance(0))["s"]
    assert torch.equal(alone, sounds[:1])
