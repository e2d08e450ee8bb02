"""The shipped data: complete, readable, divided without overlap, small, with its licences."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from lamina.demo import DemoSet, sets
from lamina.errors import InputError

DATA = sets()
FOLDER = DATA["table"].path.parent.parent


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def members(item: DemoSet) -> dict[str, bytes]:
    with zipfile.ZipFile(item.path) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


def counts(names: dict[str, bytes]) -> Counter[tuple[str, str]]:
    return Counter((name.split("/")[0], name.split("/")[1]) for name in names)


def test_names_and_arguments() -> None:
    assert list(DATA) == ["images", "table", "text", "sound"]
    for name, item in DATA.items():
        assert item.name == name
        assert item.path.exists()
        assert item.arguments == (str(item.path), "--target", item.target, "--budget", item.budget)


def test_images_are_grey_pictures_in_ten_classes_and_no_picture_is_in_both_parts() -> None:
    image = pytest.importorskip("PIL.Image")
    found = members(DATA["images"])
    classes = {label for _, label in counts(found)}
    assert len(classes) == 10
    assert counts(found) == {(part, label): size for part, size in (("train", 250), ("test", 50)) for label in classes}
    digests: dict[str, set[str]] = {"train": set(), "test": set()}
    for name, content in found.items():
        with image.open(io.BytesIO(content)) as picture:
            assert (picture.size, picture.mode) == ((28, 28), "L")
            digests[name.split("/")[0]].add(hashlib.sha256(picture.tobytes()).hexdigest())
    assert not digests["train"] & digests["test"]


def test_table_has_its_target_gaps_and_split() -> None:
    item = DATA["table"]
    found = rows(item.path)
    assert Counter(row["split"] for row in found) == {"train": 3575, "test": 879}
    assert {row[item.target] for row in found} == {"good", "bad"}
    assert any(row["Income"] == "" for row in found)


def test_text_has_two_classes_and_no_sentence_is_in_both_parts() -> None:
    item = DATA["text"]
    train, test = rows(item.path / "train.csv"), rows(item.path / "test.csv")
    assert len(train) > 8000
    assert len(test) > 1900
    for part in (train, test):
        shares = Counter(row[item.target] for row in part)
        assert set(shares) == {"positive", "negative"}
        assert min(shares.values()) > 0.4 * len(part)
        assert all(row["text"].strip() for row in part)
    assert not {row["text"] for row in train} & {row["text"] for row in test}


def test_sound_is_half_forward_half_backward_and_no_recording_is_in_both_parts() -> None:
    soundfile = pytest.importorskip("soundfile")
    found = members(DATA["sound"])
    assert counts(found) == {
        ("train", "forward"): 200,
        ("train", "backward"): 200,
        ("test", "forward"): 60,
        ("test", "backward"): 60,
    }
    recordings: dict[str, set[str]] = {"train": set(), "test": set()}
    for name, content in found.items():
        samples, rate = soundfile.read(io.BytesIO(content))
        assert rate == 8000
        assert samples.ndim == 1
        assert 0.3 < len(samples) / rate < 2
        assert abs(samples).max() > 0.01
        part, _, file = name.split("/")
        recordings[part].add(file.rsplit("-", 1)[0])
    assert not recordings["train"] & recordings["test"]


def test_small_and_licensed() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    licences = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    for path in files:
        assert path.name == "LICENSES.md" or f"{path.parent.name}/{path.name}" in licences
    for notice in ("Zalando SE", "modeldata authors", "C.J. Hutto", "Allison Smith", "licenses/by-sa/3.0/legalcode"):
        assert notice in licences


def test_missing_data_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lamina.demo.resources.files", lambda _: tmp_path)
    with pytest.raises(InputError, match="not installed"):
        sets()
