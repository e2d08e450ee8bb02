"""Large pictures in parts: the windows cover them, and what is put together again is the whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lamina.data.schema import Field
from lamina.errors import InputError
from lamina.modalities import image
from lamina.modalities._frame import Frame
from lamina.model.pictures import Album, places
from lamina.model.stitch import Window, answers, stitched, windows
from lamina.tasks import restore

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize(
    ("size", "usual", "number"),
    [
        ((100, 100), (0, 0), 1),
        ((100, 100), (100, 100), 1),
        ((125, 80), (100, 100), 1),
        ((126, 80), (100, 100), 2),
        ((100, 300), (100, 100), 4),
        ((250, 251), (100, 100), 12),
        ((30, 1000), (100, 100), 13),
    ],
)
def test_windows_cover_the_picture_and_overlap(size: tuple[int, int], usual: tuple[int, int], number: int) -> None:
    found = windows(*size, usual)
    assert len(found) == number
    seen = np.zeros(size, int)
    for window in found:
        assert window.of(seen).shape == (window.height, window.width)
        assert window.height <= max(usual[0], size[0] if number == 1 else 0)
        window.of(seen)[:] += 1
    assert seen.min() == 1
    if number > 1:
        assert seen.max() >= 2


@pytest.mark.parametrize("times", [1, 2])
def test_parts_of_a_map_are_the_whole_again(times: int) -> None:
    whole = np.random.default_rng(0).normal(size=(3, times * 130, times * 171)).astype(np.float32)
    parts = []
    for window in windows(130, 171, (64, 64)):
        top, left, tall, wide = (times * side for side in (window.top, window.left, window.height, window.width))
        parts.append((window, whole[:, top : top + tall, left : left + wide]))
    np.testing.assert_allclose(stitched(parts, whole.shape, times), whole, atol=1e-5)


def test_where_windows_overlap_the_middle_counts_more() -> None:
    ones, zeros = np.ones((1, 1, 8), np.float32), np.zeros((1, 1, 8), np.float32)
    found = stitched([(Window(0, 0, 1, 8), ones), (Window(0, 4, 1, 8), zeros)], (1, 1, 12))[0, 0]
    np.testing.assert_allclose(found[:4], 1)
    np.testing.assert_allclose(found[8:], 0)
    # Weights 4, 3, 2, 1 of the one and 1, 2, 3, 4 of the other.
    np.testing.assert_allclose(found[4:8], [4 / 5, 3 / 5, 2 / 5, 1 / 5], rtol=1e-6)


class Unchanged:
    """A sealed model that answers with the picture it is given, each pixel `scale` x `scale` times."""

    def __init__(self, task: restore.Task) -> None:
        self.tasks = {"restored": task}
        frame, blank = task.frame, (0.0,) * task.channels
        how = "hole" if task.hole >= 0 else "white"
        encoder = image.Encoder(
            frame.height, frame.width, task.channels, task.resize, blank, blank, 0.0, transparent=how
        )
        self.inputs = {"picture": SimpleNamespace(field=Field("picture", "image"), encoder=encoder)}

    def fitting(self, most: int) -> int:
        return most

    def outputs(self, fields: dict[str, Array], batch: int = 0) -> dict[str, Array]:
        task = self.tasks["restored"]
        larger = np.repeat(np.repeat(fields["picture"], task.scale, axis=1), task.scale, axis=2)
        return {"restored": task.output_of(larger)}


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("size", [(16, 16), (18, 17), (10, 13), (40, 21), (9, 50)])
def test_where_every_pixel_counts_none_is_resized(size: tuple[int, int], scale: int) -> None:
    task = restore.Task(
        "restored", "denoise", 16 * scale, 16 * scale, 3, "stretch", scale, source="picture", window=(16, 16)
    )
    model: Any = Unchanged(task)
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    values = np.empty(1, object)
    values[0] = picture
    whole = model.outputs({"picture": model.inputs["picture"].encoder.encode(values).array})
    errors: dict[int, str] = {}
    answer = answers(model, whole, {"picture": values}, errors, None)["restored"][0]
    assert not errors
    np.testing.assert_array_equal(answer, np.repeat(np.repeat(picture, scale, axis=0), scale, axis=1))


@pytest.mark.parametrize("window", [(0, 0), (16, 16)])
@pytest.mark.parametrize("size", [(16, 16), (24, 20)])
def test_of_a_picture_with_holes_white_stays_white(size: tuple[int, int], window: tuple[int, int]) -> None:
    task = restore.Task("restored", "inpaint", 16, 16, 3, "stretch", hole=255, source="picture", window=window)
    model: Any = Unchanged(task)
    values = np.empty(1, object)
    values[0] = np.full((*size, 4), 255, np.uint8)
    values[0][:, :5, 1] = 7
    values[0][4:8, 4:8, 3] = 0
    whole = model.outputs({"picture": model.inputs["picture"].encoder.encode(values).array})
    answer = answers(model, whole, {"picture": values}, {}, None)["restored"][0]
    known = values[0][:, :, 3] == 255
    np.testing.assert_array_equal(answer[known], values[0][known][:, :3])


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20), (7, 100), (64, 64), (1, 1)])
@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
def test_a_frame_says_where_a_picture_lies(height: int, width: int, resize: str) -> None:
    frame = Frame(32, 48, resize)
    place = frame.place(height, width)
    inside = place.of(np.zeros((32, 48)))
    assert inside.shape == (place.height, place.width)
    left, top, right, bottom = frame.box(height, width)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    if resize == "pad":
        assert place.height == 32 or place.width == 48
        assert place.width / place.height == pytest.approx(width / height, rel=0.2)
    else:
        assert inside.shape == (32, 48)
    if resize == "crop":
        assert (right - left) / (bottom - top) == pytest.approx(48 / 32)


def test_pictures_are_written_beside_the_table(tmp_path: Path) -> None:
    table, folder = places(tmp_path / "answers")
    assert (table, folder) == (tmp_path / "answers" / "answers.csv", tmp_path / "answers")
    album = Album(folder, table.parent)
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rows = [album.kept({"path": "in/a.png", "mask": mask, "mask.count": 3.0}, 0)]
    rows += [
        album.kept({"path": "other/a.png", "mask": mask.astype(np.uint16) + 300}, 1),
        album.kept({"mask": mask}, 2),
    ]
    assert [row["mask"] for row in rows] == ["a.png", "a-000001.png", "000002.png"]
    assert rows[0]["mask.count"] == 3.0
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "a.png")), mask)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "a-000001.png")), mask.astype(np.int32) + 300)
    table, folder = places(tmp_path / "x.csv")
    assert (table, folder) == (tmp_path / "x.csv", tmp_path / "x")
    assert Album(folder, table.parent).kept({"mask": mask}, 0) == {"mask": "x/000000.png"}


@pytest.mark.parametrize("out", ["-", "nowhere/deep/answers"])
def test_pictures_need_a_folder(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as raised:
        places(out)
    assert "--out" in f"{raised.value.where} {raised.value.fix}"
