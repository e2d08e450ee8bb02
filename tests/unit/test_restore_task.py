"""The task of making pictures better: sizes, loss, answers, scores, and what is decided about pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory_table import column
from PIL import Image

from lamina.data.audit import audit
from lamina.data.degrade import STRENGTHS
from lamina.data.pairs import RESTORED, Pairs
from lamina.data.schema import Field, Schema
from lamina.data.split import split
from lamina.data.tables import concatenate, open_table
from lamina.errors import InputError
from lamina.modalities import image
from lamina.plan import DataPlan, Plan, TaskPlan
from lamina.steps import pairing
from lamina.steps.request import Request
from lamina.steps.understand import summarise
from lamina.tasks import Choosy, Comparable, Described, Joined, LaidOut, Mapped, Rivalled, Shown, restore


def pictures(number: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, height, width, channels), dtype=np.uint8)


def fitted(scale: int = 2, channels: int = 3, given: int = 3, **options: Any) -> restore.Task:
    small, large = pictures(5, 8, 6, given), pictures(5, 8 * scale, 6 * scale, channels)
    encoder = image.Encoder.fit(lambda: [column(list(small))], {"channels": given})
    return restore.Task.fit(
        Field("better", "image", "target"), lambda: [column(list(large))], options, inputs={"worse": encoder}
    )


def test_it_keeps_what_a_task_may_offer() -> None:
    task = fitted()
    for protocol in (LaidOut, Mapped, Joined, Comparable, Described, Shown, Rivalled, Choosy):
        assert isinstance(task, protocol), protocol
    assert task.layout.shape == (3, 16, 12)
    assert task.width == 3 * 16 * 12
    assert restore.Task.restore(json.loads(json.dumps(task.state()))) == task
    assert task.family[0] == "edsr"
    assert fitted(1, channels=3, given=1).family[0] == "resnet", "colors ask what is in the picture"


def test_sizes_and_colors_that_cannot_be_made_of_the_input_are_refused() -> None:
    with pytest.raises(InputError, match="grey") as caught:
        fitted(1, channels=1, given=3)
    assert "channels=3" in caught.value.fix
    with pytest.raises(InputError, match="10 x 12 pixels, the input 6 x 8") as caught:
        fitted(2, height=12, width=10)
    assert "schema.better.size=[16, 12]" in caught.value.fix
    with pytest.raises(InputError, match="no option 'colour'"):
        fitted(2, colour=True)
    with pytest.raises(InputError, match="none among the inputs"):
        restore.Task.fit(Field("better", "image"), lambda: [column(list(pictures(3, 8, 8)))], {}, inputs={})


def test_what_is_encoded_comes_back() -> None:
    task, truth = fitted(), pictures(4, 16, 12)
    encoded = task.encode(column([*truth, None]))
    assert encoded.array.shape == (5, 16, 12, 3)
    assert list(encoded.errors) == [4]
    assert np.array_equal(encoded.array[:4], truth)
    output = task.output_of(truth)
    assert output.shape == (4, task.width)
    assert np.array_equal(task.pictures(output), truth)
    assert all(np.array_equal(one, other) for one, other in zip(task.decode(output)[""], truth, strict=True))
    grey = fitted(2, channels=1, given=1)
    assert grey.decode(grey.output_of(pictures(2, 16, 12, 1)))[""][0].shape == (16, 12)
    assert task.decode(np.full((1, task.width), 7.0))[""][0].max() == 255, "beyond white is white"


@pytest.mark.parametrize("name", ["charbonnier", "l1"])
def test_loss_by_hand(name: str) -> None:
    task, truth = fitted(loss=name), pictures(2, 16, 12)
    exact = torch.from_numpy(task.output_of(truth))[:, None]
    output = torch.cat([exact + 0.3, exact - 0.1], dim=1)
    found = task.loss(output, torch.from_numpy(truth), {})
    sizes = np.array([0.3, 0.1])
    wanted = np.sqrt(sizes**2 + 1e-6).mean() if name == "charbonnier" else sizes.mean()
    assert found.shape == (2,)
    assert np.allclose(found.numpy(), wanted, atol=1e-5)
    assert torch.allclose(task.combine(output), exact[:, 0] + 0.1, atol=1e-6)


def test_scores_are_means_over_rows_that_can_be_weighted() -> None:
    task, truth = fitted(), pictures(3, 16, 12)
    noise = np.random.default_rng(1).normal(0, [[5], [10], [40]], (3, task.width)) / 255
    output = (task.output_of(truth) + noise).astype(np.float32)
    scores = task.scores(output, truth)
    assert list(scores) == ["psnr", "ssim"]
    assert scores["psnr"].unit == "dB"
    each = [task.scores(output[row : row + 1], truth[row : row + 1])["psnr"].value for row in range(3)]
    assert each == sorted(each, reverse=True)
    assert scores["psnr"].value == pytest.approx(np.mean(each))
    drawn = task.scorer(output, truth, "psnr")(np.array([[2.0, 0.0, 1.0]]))
    assert drawn["psnr"][0] == pytest.approx((2 * each[0] + each[2]) / 3)
    assert np.all(np.diff(task.row_losses(output, truth)) > 0)
    assert list(fitted(primary="ssim").scores(output, truth)) == ["ssim", "psnr"]
    assert "dB" in task.described(output[0], truth[0])[1]


def test_rounding_is_agreement_and_a_grey_level_is_not() -> None:
    task = fitted()
    output = task.output_of(pictures(3, 16, 12))
    assert task.agreement(output, output + 1e-5).holds
    other = output.copy()
    other[1, 5] += 1 / 255
    found = task.agreement(output, other)
    assert not found.holds
    assert found.worst == 1


def test_at_its_own_size_a_picture_keeps_what_is_known_of_it() -> None:
    color = fitted(1, channels=3, given=1)
    grey = pictures(1, 20, 30, 1)[0]
    found = color.joined(np.random.default_rng(0).random((3, 20, 30), np.float32), grey)
    luminance = np.tensordot([0.299, 0.587, 0.114], found, 1)
    assert np.allclose(luminance, grey[:, :, 0] / 255, atol=1e-6)
    holed = replace(fitted(1), hole=255)
    clear = np.concatenate([pictures(1, 20, 30)[0], np.full((20, 30, 1), 255, np.uint8)], axis=2)
    clear[5:9, 5:9, 3] = 0
    found = holed.joined(np.full((3, 20, 30), 0.25, np.float32), clear)
    assert (found[:, 5:9, 5:9] == 0.25).all()
    known = clear[:, :, 3] > 0
    assert np.allclose(found.transpose(1, 2, 0)[known], clear[known][:, :3] / 255)


def test_rivals_answer_in_the_form_of_the_network() -> None:
    task = fitted()
    small, truth = pictures(5, 8, 6), pictures(5, 16, 12)
    rivals = task.rivals({"worse": small}, truth, seed=0)
    assert [rival.name for rival in rivals] == ["bicubic enlargement", "Lanczos enlargement"]
    output = rivals[0].answer({"worse": small})
    assert output.shape == (5, task.width)
    by_pillow = Image.fromarray(small[2]).resize((12, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(task.pictures(output)[2], np.asarray(by_pillow))


def test_options_of_the_head_are_passed_on_and_what_enlarges_nothing_is_refused() -> None:
    task = fitted(decoder_width=8, upsampling="transposed", enlarging="transposed")
    assert task.layout.head == {"enlarging": "transposed", "hole": -1, "decoder_width": 8, "upsampling": "transposed"}
    assert restore.Task.restore(task.state()) == task
    with pytest.raises(InputError, match="nothing is enlarged"):
        fitted(1, enlarging="transposed")


def test_what_the_report_shows() -> None:
    task = fitted()
    small, truth = pictures(20, 8, 6), pictures(20, 16, 12)

    def inputs(rows: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"worse": small[rows]}

    (sight,) = task.sights(task.output_of(truth), truth, inputs)
    assert len(sight.pictures) == 8 * 4
    assert all(one.shape == (16, 12, 3) for one in sight.pictures)
    assert np.array_equal(sight.pictures[2], sight.pictures[3]), "the answer here is the truth"
    assert np.array_equal(sight.pictures[0][::2, ::2], small[0])


def folder(place: Path, number: int = 12, size: tuple[int, int] = (80, 100)) -> Path:
    place.mkdir(exist_ok=True)
    for row, picture in enumerate(pictures(number, *size)):
        Image.fromarray(picture).save(place / f"{row}.png")
    return place


def paired(place: Path, *sets: str, targets: tuple[str, ...] = (), **more: Any) -> tuple[Any, Request]:
    table = open_table(str(place), place.parent / "cache")
    return pairing.paired(Request(str(place), task="restore", targets=targets, sets=sets, **more), table)


def test_what_is_decided_is_in_the_plan_and_makes_the_same_pairs_again(tmp_path: Path) -> None:
    place = folder(tmp_path / "photos")
    table, request = paired(place, "task.restored.kind=super-resolution", "task.restored.scale=3", seed=4)
    assert isinstance(table, Pairs)
    assert request.targets == (RESTORED,)
    found = table.take(np.arange(3))
    assert found["path"][0].shape == (21, 21, 3), "a part of 64 x 64 pixels, but a multiple of 3"
    assert found[RESTORED][0].shape == (63, 63, 3)
    tasks = [item for item in request.sets if item.startswith("task.")]
    plan = replace(Plan(task={RESTORED: TaskPlan("restore")}), seed=4).with_set(tasks)
    again = pairing.again(plan, open_table(str(place), tmp_path / "cache"))
    assert again.fingerprint == table.fingerprint
    assert np.array_equal(again.take([2])["path"][0], found["path"][2])


def test_the_report_tells_the_sizes_of_pairs_that_are_made(tmp_path: Path) -> None:
    table, _ = paired(folder(tmp_path / "photos"), "task.restored.kind=super-resolution", "task.restored.scale=3")
    seen = summarise(table, Schema((Field("path", "image", "input"), Field(RESTORED, "image", "target"))))
    for name, side in (("path", 21), (RESTORED, 63)):
        assert seen[name]["unreadable"] == 0
        assert seen[name]["width"] == seen[name]["height"] == {"min": side, "median": side, "max": side}


@pytest.mark.parametrize(
    "sets",
    [
        ("task.strength=40", "task.options.way=poisson"),
        ("task.restored.options.strength=40", "task.restored.way=poisson"),
        ("task.restored.height=20", "task.restored.width=30"),
        ("task.size=20", "task.channels=1"),
        ("schema.path.size=20", "schema.path.options.channels=1"),
    ],
)
def test_the_plan_says_how_the_pairs_were_made_however_it_was_asked_for(tmp_path: Path, sets: tuple[str, ...]) -> None:
    place = folder(tmp_path / "photos")
    table, request = paired(place, "task.restored.kind=denoise", "task.loss=l1", *sets)
    making = table.making
    if "strength" in sets[0]:
        assert (making.degrading.way, making.degrading.strength) == ("poisson", 40)
    else:
        assert (making.height, making.width) == ((20, 20) if "size" in sets[0] else (20, 30))
        assert making.channels == (1 if "size" in sets[0] else 3)
    plan = Plan(task={RESTORED: TaskPlan("restore")}).with_set(
        [item for item in request.sets if item.startswith("task.")]
    )
    assert plan.task[RESTORED].options["loss"] == "l1"
    assert pairing.again(plan, open_table(str(place), tmp_path / "cache")).making == making


@pytest.mark.parametrize(
    ("kind", "window", "size"), [("denoise", "cut", 64), ("inpaint", "whole", 96), ("colourise", "whole", 96)]
)
def test_parts_or_whole_pictures(tmp_path: Path, kind: str, window: str, size: int) -> None:
    table, _ = paired(folder(tmp_path / "photos"), f"task.restored.kind={kind}")
    assert table.making.window == window
    assert (table.making.height, table.making.width) == (size, size)
    asked, _ = paired(tmp_path / "photos", f"task.restored.kind={kind}", "task.restored.size=[20, 24]")
    assert (asked.making.height, asked.making.width) == (20, 24)


def test_small_pictures_of_one_size_stay_as_they_are(tmp_path: Path) -> None:
    table, _ = paired(folder(tmp_path / "photos", 5, (40, 50)), "task.restored.kind=denoise")
    assert (table.making.height, table.making.width) == (40, 50)


def test_the_worse_pictures_size_is_the_better_ones_by_the_scale(tmp_path: Path) -> None:
    sets = ("task.restored.kind=super-resolution", "task.restored.scale=2", "schema.path.size=[10, 12]")
    table, request = paired(folder(tmp_path / "photos"), *sets)
    assert (table.making.height, table.making.width) == (20, 24)
    assert [item for item in request.sets if item.startswith("schema.path.size")] == ["schema.path.size=[10, 12]"]


def test_given_pairs_have_the_size_and_channels_that_either_is_asked_to_have(tmp_path: Path) -> None:
    for name, size in (("small", (20, 24)), ("large", (40, 48))):
        folder(tmp_path / name, 6, size)
    lines = [f"small/{row}.png,large/{row}.png" for row in range(6)]
    (tmp_path / "pairs.csv").write_text("\n".join(["worse,better", *lines, ""]))

    def decided(*sets: str) -> Mapping[str, Any]:
        _, request = paired(tmp_path / "pairs.csv", *sets, targets=("better",))
        tasks = [item for item in request.sets if item.startswith("task.")]
        return Plan(task={"better": TaskPlan("restore")}).with_set(tasks).task["better"].options

    assert (decided()["height"], decided()["width"]) == (40, 48)
    for sets in (("schema.better.size=[20, 24]",), ("schema.worse.size=[10, 12]",)):
        assert (decided(*sets)["height"], decided(*sets)["width"]) == (20, 24)
    assert decided("schema.better.channels=1")["channels"] == 1
    for sets in (("schema.better.size=21",), ("schema.better.size=20", "schema.worse.size=20")):
        with pytest.raises(InputError) as caught:
            decided(*sets)
        assert "schema.better.size=[" in str(caught.value.fix)


def given_pairs(place: Path, number: int = 14, size: tuple[int, int] = (100, 130), scale: int = 1) -> Path:
    """Folders of worse and better pictures: the worse are the better ones, in part or darker."""
    for row, picture in enumerate(pictures(number, scale * size[0], scale * size[1])):
        for name, one in (("worse", picture[::scale, ::scale] // 2), ("better", picture)):
            (place / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).save(place / name / f"{row}.png")
    return place


def test_given_pairs_are_cut_at_one_place_and_cut_again_alike(tmp_path: Path) -> None:
    place = given_pairs(tmp_path / "pairs", scale=2)
    table, request = paired(place)
    assert request.targets == (RESTORED,), "the folder of better pictures"
    assert table.times == 3 * 4, "200 x 260 pixels hold so many parts of 64 x 64"
    found = table.take(np.arange(2 * table.times))
    assert {one.shape for one in found["path"]} == {(32, 32, 3)}
    for worse, better in zip(found["path"], found[RESTORED], strict=True):
        assert np.array_equal(worse, better[::2, ::2] // 2)
    assert len({one.tobytes() for one in found["path"]}) == 2 * table.times, "no part twice"
    sets = [item for item in request.sets if item.startswith("task.")]
    fields = tuple(
        Field(name, "image", options={"size": [32, 32], "channels": 3} if name == "path" else {})
        for name in ("path", RESTORED)
    )
    plan = Plan(task={RESTORED: TaskPlan("restore")}, schema=fields).with_set(sets)
    again = pairing.again(plan, open_table(str(place), tmp_path / "cache"))
    assert again.fingerprint == table.fingerprint
    assert np.array_equal(again.take([7])["path"][0], found["path"][7])
    whole, _ = paired(place, "task.window=whole")
    assert not isinstance(whole, Pairs)
    followed, same = paired(place, *request.sets, targets=request.targets)
    assert followed.fingerprint == table.fingerprint, "a plan that is followed says all that was decided"
    assert set(same.sets) == set(request.sets)


def test_what_does_nothing_to_given_pairs_is_refused(tmp_path: Path) -> None:
    place = given_pairs(tmp_path / "pairs", 12, (40, 40))
    for option, fix in {
        "strength=40": "--restore KIND", "kind=denoise": "--restore KIND", "way=poisson": "--restore KIND",
        "height=20": "schema.path.size", "picture=other": "--restore KIND", "parts=0": "1 to 10,000",
    }.items():  # fmt: skip
        with pytest.raises(InputError) as caught:
            paired(place, f"task.{option}")
        assert fix in str(caught.value.fix), option
    with pytest.raises(InputError, match="drawn at random"):
        paired(folder(tmp_path / "photos"), "task.kind=colourise", "task.parts=2")


def test_every_part_is_seen_once_before_any_is_seen_again(tmp_path: Path) -> None:
    table, _ = paired(folder(tmp_path / "photos", 12, (128, 192)), "task.kind=denoise")
    assert table.times == 6
    truth = np.asarray(Image.open(tmp_path / "photos" / "1.png"))
    parts = table.take(np.arange(6, 12))[RESTORED]
    assert sorted(part.tobytes() for part in parts) == sorted(
        truth[top : top + 64, left : left + 64].tobytes() for top in (0, 64) for left in (0, 64, 128)
    )
    more, _ = paired(tmp_path / "photos", "task.kind=denoise", "task.parts=9")
    assert len({part.tobytes() for part in more.take(np.arange(9))[RESTORED]}) == 9
    whole, _ = paired(tmp_path / "photos", "task.kind=inpaint", "task.parts=3")
    one, other = whole.take([0, 1])["path"]
    assert not np.array_equal(one, other), "other holes in every pair of a picture"
    few, _ = paired(tmp_path / "photos", "task.kind=denoise", "task.size=8")
    assert few.times == min(16 * 24, -(-5000 // 8)), "no more than there are, or than make 5,000 of 70% of the pictures"
    assert few.place(few.times + 2).endswith(", part 3")


def test_parts_of_a_picture_are_never_divided(tmp_path: Path) -> None:
    place = folder(tmp_path / "photos", 14, (128, 128))
    Image.open(place / "2.png").save(place / "copy.png")
    table, _ = paired(place, "task.kind=denoise")
    assert (len(table), table.times) == (60, 4)
    schema = Schema((Field("path", "image", "input"), Field(RESTORED, "image", "target")))
    parts = split(table, schema, DataPlan(), 0)
    pictures_of = [set((rows // 4).tolist()) for rows in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, pictures_of)) == len(set.union(*pictures_of)) == 15
    assert [4 * len(own) for own in pictures_of] == [len(rows) for rows in (parts.train, parts.validation, parts.test)]
    found = [finding for finding in audit(table, schema, parts) if finding.kind == "duplicates"]
    assert sum(finding.count for finding in found) in (0, 1), "one picture is there twice, and no part counts as a copy"
    given = concatenate(open_table(str(place), tmp_path / "cache"), open_table(str(place), tmp_path / "cache"))
    assert Pairs(given, table.making).boundary == 60, "the first part of the test pictures"


def test_wrong_options_are_answered_with_the_known_ones(tmp_path: Path) -> None:
    place = folder(tmp_path / "photos", 6)
    wrong = {
        ("kind=sharpen",): "deblur",
        ("kind=super-resolution", "scale=5"): "2, 3, 4",
        ("kind=denoise", "scale=2"): "Leave it out",
        ("kind=colourise", "strength=3"): "Leave it out",
        ("kind=denoise", "way=poison"): "poisson",
        ("kind=deblur", "strength=1000"): f"{STRENGTHS['deblur', 'gaussian'][1]:g}",
        ("kind=denoise", "window=part"): "cut",
        ("kind=denoise", "picture=photo"): "path",
        ("kind=denoise", "height=20"): "size=[height, width]",
        (): "--restore",
    }
    for options, fix in wrong.items():
        with pytest.raises(InputError) as caught:
            paired(place, *(f"task.restored.{option}" for option in options))
        assert fix in str(caught.value.fix), options
