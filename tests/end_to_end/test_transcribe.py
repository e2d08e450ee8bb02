"""Sounds and their texts, from files to a sealed model that writes down what it hears: pitches stand for letters."""

from __future__ import annotations

import csv
import json
import wave
from pathlib import Path

import numpy as np
import pytest
from fixtures import broken_off, check_same, only_trained, read_csv, run_here

import lamina
from lamina.cli import main
from lamina.modalities.audio import header
from lamina.model.format import read

RATE = 8000
PITCHES = {"a": 400, "b": 700, "c": 1150, "d": 1800, " ": 2700}
WORDS = ("ab", "cad", "bad", "dc", "ca", "dab", "bc")
SMALL = (
    "training.threads=1", "network.width=32", "network.depth=1", "network.heads=2", "network.channels=8",
    "network.kernel=7", "training.batch_size=16", "training.precision=fp32", "training.evaluations=3",
)  # fmt: skip
TRAIN = ("train", "tones.csv", "--target", "text", "--task", "transcribe", "--quiet")


def tones(text: str, generator: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A tone of about an eighth of a second for each letter, with a little noise."""
    parts = [np.zeros(400)]
    for letter in text:
        length = int(generator.integers(900, 1200))
        wanted = np.sin(2 * np.pi * PITCHES[letter] * np.arange(length) / RATE) * np.hanning(length)
        parts += [generator.uniform(0.3, 0.6) * wanted, np.zeros(160)]
    sound = np.concatenate(parts)
    return np.asarray(sound + generator.normal(0, 0.003, len(sound)))


def write_sound(path: Path, samples: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """16-bit mono WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def write_data(folder: Path, rows: int = 200) -> Path:
    """Texts of one to three words, a column besides, and a part for each row."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    with (folder / "tones.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "text", "mood", "split"])
        for row in range(rows):
            text = " ".join(generator.choice(WORDS, generator.integers(1, 4)))
            write_sound(folder / "clips" / f"{row}.wav", tones(text, generator))
            mood = str(generator.choice(["calm", "gay"]))
            table.writerow([f"clips/{row}.wav", text.capitalize() + ".", mood, "test" if row % 5 == 0 else "train"])
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return write_data(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    folder = data / "run"
    words = [str(data / word) if word == "tones.csv" else word for word in TRAIN]
    assert main([*words, "--out", str(folder), "--set", *SMALL, "training.epochs=25"]) == 0
    return folder


def test_tones_are_written_down_and_beat_the_nearest_sound(run: Path) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    (found,) = results["targets"]
    assert next(iter(found["scores"])) == "word_error"
    assert found["scores"]["word_error"]["value"] < 0.1
    assert {item["name"] for item in found["baselines"]} == {"always the same answer", "nearest neighbors"}
    assert min(item["scores"]["word_error"]["value"] for item in found["baselines"]) > 0.1
    assert found["verdict_kind"] == "network"
    assert results["seal"]["same_answers"] == 1.0
    roles = {item["name"]: item["role"] for item in results["data"]["fields"]}
    assert (roles["mood"], roles["text"]) == ("ignore", "target")
    card = read(run / "model.lamina").card
    assert "in lower case, without punctuation" in card["targets"]["text"]["stated"][0]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") >= 8
    assert "Understood:" in page


def test_the_sealed_model_writes_down_a_new_sound_with_the_times_of_its_words(run: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    write_sound(tmp_path / "new.wav", tones("bad cad", generator))
    seconds = header(str(tmp_path / "new.wav")).seconds
    answers = tmp_path / "answers.csv"
    assert main(["predict", str(run / "model.lamina"), str(tmp_path / "new.wav"), "--out", str(answers)]) == 0
    [row] = read_csv(answers)
    assert (row["text"], row["error"]) == ("bad cad", "")
    first, second = json.loads(row["text.times"])
    assert (first["word"], second["word"]) == ("bad", "cad")
    assert 0 <= first["start"] < first["end"] <= second["start"] < second["end"] <= seconds + 0.05
    # The second word begins after the pause, a little after the middle.
    assert second["start"] > seconds * 0.45


def test_a_sound_longer_than_is_heard_is_an_error_and_no_part_of_its_text(run: Path, tmp_path: Path) -> None:
    write_sound(tmp_path / "long.wav", tones("bad cad " * 5, np.random.default_rng(6)))
    model = lamina.load(run / "model.lamina")
    [row] = model.predict(str(tmp_path / "long.wav")).to_rows()
    assert "sounds are heard as a whole up to" in row["error"]
    assert row["text"] is None


def test_broken_off_and_resumed_it_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    sets = (*SMALL, "training.epochs=4", "training.checkpoint_seconds=0", "training.keep=last")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    only_trained(data, whole, *TRAIN, "--set", *sets)
    broken_off(data, broken, *TRAIN, "--set", *sets, step=0)
    run_here(data, "resume", str(broken))
    check_same(broken, whole)
    assert lamina.load(broken).check_golden()["sound"]


@pytest.mark.parametrize(
    ("change", "sets", "words"),
    [
        ({"text": ""}, (), ("text", "--target")),
        ({"text": "{row}"}, (), ("numbers only", "--task regress")),
        ({"file": "calm"}, (), ("reads audio", "modality=audio")),
        ({"text": "Ab cad dab bad ca " * 3 + "{row}"}, (), ("longer than its sound", "bad_rows")),
        ({}, ("network.name=resnet",), ("sequence", "conformer, recurrent")),
        ({}, ("network.name=recurrent", "network.patch=2"), ("one in 2 frames", "network.FIELD.patch")),
        ({}, ("training.mixup=0.2",), ("Blending", "training.mixup=0")),
        ({}, ("task.text.beem=3",), ("beem", "beam")),
    ],
)
def test_what_cannot_be_transcribed_is_refused_with_the_fix(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    sets: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    rows = read_csv(data / "tones.csv")[:60]
    (tmp_path / "clips").symlink_to(data / "clips")
    with (tmp_path / "tones.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        for number, row in enumerate(rows):
            table.writerow({**row, **{name: value.format(row=number) for name, value in change.items()}})
    arguments = [str(tmp_path / word) if word == "tones.csv" else word for word in TRAIN]
    assert main([*arguments, "--out", str(tmp_path / "run"), "--set", *SMALL[:1], "training.epochs=1", *sets]) == 2
    said = capsys.readouterr().err
    for word in words:
        assert word in said
    assert "Traceback" not in said
