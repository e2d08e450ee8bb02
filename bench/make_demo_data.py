"""Makes `src/lamina/demo/data` from the original sets: `python bench/make_demo_data.py FOLDER_OF_SETS`.

The folder holds fashion-mnist-small, credit, movie-sentences and speech-en, as the licence file of the demo
data describes them. The same input gives the same values; nothing in here is random.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

DESTINATION = Path(__file__).parent.parent / "src" / "lamina" / "demo" / "data"
IMAGES = {"train": 250, "test": 50}
"""Pictures of each class."""
CLIPS = {"train": 400, "test": 120}
"""Pieces of sound, half of them turned round."""
RATE = 8000
"""Hertz of the shipped sound."""
PIECE = (0.9, 1.8)
"""Shortest and longest piece of a recording, seconds."""
SOUND_QUALITY = 1.0
"""libsndfile's compression level for Opus (0: largest file, 1: smallest)."""

Samples = np.ndarray[Any, Any]


def archive(path: Path, members: list[tuple[str, bytes]]) -> None:
    """A ZIP with stored members and fixed dates: PNG and Opus do not compress further."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, content in sorted(members):
            file.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)


def images(source: Path, destination: Path) -> None:
    """The first pictures of each class, unchanged, in one ZIP."""
    members = []
    for part, wanted in IMAGES.items():
        for folder in sorted(path for path in (source / part).iterdir() if path.is_dir()):
            members += [
                (f"{part}/{folder.name}/{file.name}", file.read_bytes())
                for file in sorted(folder.glob("*.png"))[:wanted]
            ]
    archive(destination / "images" / "images.zip", members)


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(source: Path, destination: Path) -> None:
    """Both parts in one file, with a column that says which is which."""
    rows = [{**row, "split": part} for part in ("train", "test") for row in rows_of(source / f"{part}.csv")]
    write_rows(destination / "table" / "credit.csv", rows)


def text(source: Path, destination: Path) -> None:
    """The sign of the score as a word; sentences without a sign are left out."""
    for part in ("train", "test"):
        rows = [
            {"text": row["text"], "sentiment": "positive" if float(row["score"]) > 0 else "negative"}
            for row in rows_of(source / f"{part}.csv")
            if float(row["score"]) != 0
        ]
        write_rows(destination / "text" / f"{part}.csv", rows)


def pieces(samples: Samples, rate: int) -> Iterator[Samples]:
    """A recording cut at its quietest moments, so that no piece is longer than wanted."""
    shortest, longest = (int(seconds * rate) for seconds in PIECE)
    start = 0
    while len(samples) - start > longest:
        window = rate // 20
        power = np.convolve(samples[start : start + longest] ** 2, np.ones(window) / window, mode="same")
        stop = min(longest, len(samples) - start - shortest // 2)
        cut = start + shortest + int(np.argmin(power[shortest:stop])) if stop > shortest else start + longest
        yield samples[start:cut]
        start = cut
    yield samples[start:]


def opus(samples: Samples) -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", RATE, 1, "OPUS", format="OGG", compression_level=SOUND_QUALITY) as file:
        file.write(samples)
    content = bytearray(buffer.getvalue())
    return bytes(with_serial(content, 1))


def with_serial(content: bytearray, serial: int) -> bytearray:
    """Ogg pages with a fixed serial number, which the encoder draws at random, and their checksums anew."""
    place = 0
    while place < len(content):
        segments = content[place + 26]
        length = 27 + segments + sum(content[place + 27 : place + 27 + segments])
        content[place + 14 : place + 18] = serial.to_bytes(4, "little")
        content[place + 22 : place + 26] = bytes(4)
        content[place + 22 : place + 26] = checksum(content[place : place + length]).to_bytes(4, "little")
        place += length
    return content


def _checksum_table() -> list[int]:
    table = []
    for value in range(256):
        remainder = value << 24
        for _ in range(8):
            remainder = ((remainder << 1) ^ (0x04C11DB7 if remainder & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(remainder)
    return table


_CHECKSUMS = _checksum_table()


def checksum(page: bytearray) -> int:
    """The CRC-32 of RFC 3533 (Ogg)."""
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ _CHECKSUMS[(value >> 24) ^ byte]
    return value


def halved(samples: Samples) -> Samples:
    """Half the sampling rate, after a low-pass filter (windowed sinc, 63 taps)."""
    taps = np.arange(-31, 32)
    kernel = 0.48 * np.sinc(0.48 * taps) * np.hamming(63)
    return np.convolve(samples, kernel / kernel.sum(), mode="same")[::2]


def sound(source: Path, destination: Path) -> None:
    """Spoken pieces, every other one turned round: which way does time run?"""
    members = []
    found: dict[str, list[tuple[str, Samples]]] = {"train": [], "test": []}
    for row in rows_of(source / "metadata.csv"):
        if row["text"].startswith("<"):
            continue
        samples, rate = soundfile.read(source / row["file"])
        if rate != 2 * RATE:
            raise SystemExit(f"{row['file']} has {rate} Hz, not {2 * RATE}.")
        for number, piece in enumerate(pieces(halved(samples), RATE)):
            if len(piece) >= RATE // 3 and np.sqrt(np.mean(piece**2)) > 0.01:
                found[row["split"]].append((f"{Path(row['file']).stem}-{number}", piece))
    for part, clips in found.items():
        clips.sort(key=lambda clip: hashlib.sha256(clip[0].encode()).digest())
        for place, (name, piece) in enumerate(clips[: CLIPS[part]]):
            way, samples = ("backward", piece[::-1]) if place % 2 else ("forward", piece)
            members.append((f"{part}/{way}/{name}.ogg", opus(np.ascontiguousarray(samples))))
    archive(destination / "sound" / "sound.zip", members)


SETS = {
    "fashion-mnist-small": images,
    "credit": table,
    "movie-sentences": text,
    "speech-en": sound,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path, help="the folder that holds the original sets")
    parser.add_argument("--out", type=Path, default=DESTINATION)
    arguments = parser.parse_args()
    for name, make in SETS.items():
        make(arguments.sets / name, arguments.out)
        print(f"{name}: done")
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{math.ceil(size / 1000):,} kB in all")


if __name__ == "__main__":
    main()
