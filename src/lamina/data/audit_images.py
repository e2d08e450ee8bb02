"""Pictures in the test part that are nearly the same as one that was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.content import file_path
from lamina.data.findings import SHOWN, AuditFinding, counted
from lamina.data.schema import Field, Schema, Values
from lamina.data.split import Split
from lamina.modalities._files import each

if TYPE_CHECKING:
    from lamina.data.examples import Examples
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]

MOST_IMAGES = 20_000
MOST_PIXELS = 2_000_000_000
"""So many pictures and pixels are decoded at most, so that the audit takes minutes at worst."""
LARGEST = 100_000_000
"""Pixels of a single picture that is still looked at."""
BITS = 4
"""Bits of 64 in which the hashes of two pictures may differ."""
THUMBNAIL = 16
AT_ONCE = 4_000_000
"""Values of encoded pictures that are looked at together."""
DIFFERENCE = 3.0
"""Grey levels (of 255) by which thumbnails may differ on average."""
FEW = 0.005
"""Share of the test pictures below which near duplicates change no score that can be told."""
FLAT = 8.0
"""A picture whose thumbnail varies less than this is too empty to compare."""


def near_duplicates(
    table: Table,
    schema: Schema,
    split: Split,
    equal: Array,
    generator: np.random.Generator,
    examples: Examples | None = None,
) -> list[AuditFinding]:
    """Test pictures that look like a training picture without being its exact copy.

    A 64-bit difference hash (Krawetz 2013) finds candidates, a 16 x 16 thumbnail confirms them.

    Args:
        examples: the encoded rows, where there are any: then no picture is decoded again.
    """
    found = []
    for field in schema.inputs:
        if field.modality == "image" and len(split.train) and len(split.test):
            found.extend(_compare(table, field, split, equal, generator, examples))
    return found


def _compare(
    table: Table, field: Field, split: Split, equal: Array, generator: np.random.Generator, examples: Examples | None
) -> list[AuditFinding]:
    share = min(1.0, MOST_IMAGES / (len(split.train) + len(split.test)))
    train, test = (
        np.sort(generator.choice(part, max(1, int(share * len(part))), replace=False)) if share < 1 else part
        for part in (split.train, split.test)
    )
    rows = generator.permutation(np.concatenate([train, test]))
    if examples is None:
        seen, hashes, thumbnails = _fingerprints(table, field, rows)
    else:
        seen, hashes, thumbnails = encoded_fingerprints(examples, field.name, np.sort(rows))
    tested = np.isin(seen, split.test)
    pairs = list(_pairs(hashes, thumbnails, np.flatnonzero(tested), np.flatnonzero(~tested)))
    pairs = [(one, other) for one, other in pairs if equal[seen[one]] != equal[seen[other]]]
    if not pairs:
        return []
    nearest = sorted({int(seen[one]): int(seen[other]) for one, other in reversed(pairs)}.items())
    added = sum(other >= table.own for _, other in nearest)
    looked = f" of {int(tested.sum()):,} compared" if len(seen) < len(split.train) + len(split.test) else ""
    return [
        AuditFinding(
            "near duplicates",
            "warning" if len(nearest) >= FEW * tested.sum() else "note",
            f"{counted(len(nearest), 'test picture')}{looked} in `{field.name}` look nearly the same as a training "
            "picture.",
            len(nearest),
            tuple(f"{table.place(one)} like {table.place(other)}" for one, other in nearest[:SHOWN]),
            f"{f'{added:,} of them only of what --also gives: leave those out there. ' if added else ''}"
            "If they are pictures of one thing, keep them on one side (role group), or the test score is too good.",
        )
    ]


def _fingerprints(table: Table, field: Field, rows: Array) -> tuple[Array, Array, Array]:
    """(rows that could be read, uint64 hash [row], uint8 thumbnail [row, pixel]) until MOST_PIXELS are decoded."""
    seen: list[int] = []
    hashes: list[int] = []
    thumbnails: list[Array] = []
    pixels = 0
    for numbers, chunk in table.chunks(rows, list(field.columns), 512):
        for row, result in zip(numbers, _of_each(chunk[field.columns[0]], table), strict=True):
            if result is not None:
                seen.append(int(row))
                hashes.append(result[0])
                thumbnails.append(result[1])
                pixels += result[2]
        if pixels > MOST_PIXELS:
            break
    grey = np.stack(thumbnails) if thumbnails else np.empty((0, THUMBNAIL**2), dtype=np.uint8)
    return np.array(seen, dtype=np.int64), np.array(hashes, dtype=np.uint64), grey


def _of_each(values: Values, table: Table) -> list[tuple[int, Array, int] | None]:
    found: list[tuple[int, Array, int] | None] = [None] * len(values)

    def one(row: int) -> None:
        found[row] = _fingerprint(values[row], table)

    each(one, len(values))
    return found


def encoded_fingerprints(examples: Examples, name: str, rows: Array) -> tuple[Array, Array, Array]:
    """The same, from pictures that are encoded: uint8 [row, height, width, channel]."""
    readable = rows[~np.isin(rows, list(examples.errors))]
    seen, hashes, thumbnails = [], [], []
    step = max(1, AT_ONCE // int(np.prod(examples.arrays[name].shape[1:])))
    for begin in range(0, len(readable), step):
        some = readable[begin : begin + step]
        pictures = examples.take([name], some)[name].astype(np.float32)
        # Brightness as ITU-R 601 has it, and as Pillow's mode L.
        grey = pictures @ np.array([0.299, 0.587, 0.114], np.float32) if pictures.shape[3] == 3 else pictures[..., 0]
        thumbnail = np.rint(boxed(grey, THUMBNAIL, THUMBNAIL)).astype(np.uint8)
        told = thumbnail.reshape(len(some), -1).std(axis=1) >= FLAT
        small = np.rint(boxed(grey[told], 8, 9))
        bits = np.packbits((small[:, :, 1:] > small[:, :, :-1]).reshape(-1, 64), axis=1)
        seen.append(some[told])
        hashes.append(bits.view(">u8")[:, 0].astype(np.uint64))
        thumbnails.append(thumbnail[told].reshape(-1, THUMBNAIL**2))
    if not seen:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros((0, THUMBNAIL**2), np.uint8)
    return np.concatenate(seen), np.concatenate(hashes), np.concatenate(thumbnails)


def boxed(pictures: Array, height: int, width: int) -> Array:
    """Pictures [picture, row, column] resized by means over boxes, whose borders may lie inside pixels."""
    down, across = _boxes(pictures.shape[1], height), _boxes(pictures.shape[2], width)
    return np.asarray(np.einsum("hr,prc,wc->phw", down, pictures, across, optimize=True))


def _boxes(size: int, count: int) -> Array:
    """float32 [box, pixel]: what share of each of `count` equal boxes over `size` pixels a pixel is."""
    borders = np.linspace(0, size, count + 1)
    pixel = np.arange(size)
    inside = np.minimum(borders[1:, None], pixel + 1) - np.maximum(borders[:-1, None], pixel)
    return np.asarray(inside.clip(0) * count / size, dtype=np.float32)


def _fingerprint(value: Any, table: Table) -> tuple[int, Array, int] | None:
    """(difference hash, thumbnail, pixels decoded) of a picture; None where it cannot be read or is nearly empty."""
    from PIL import Image

    path = file_path(value, table.root)
    if path is None and not isinstance(value, bytes):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(value) if path is None else path) as picture:
                pixels = picture.width * picture.height
                if pixels > LARGEST:
                    return None
                picture.draft("L", (64, 64))
                return _grey_fingerprint(picture, pixels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # unreadable pictures are reported when they are encoded


def _grey_fingerprint(picture: Any, pixels: int) -> tuple[int, Array, int] | None:
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "PA", "P"):
        whole = picture.convert("RGBA")
        white = Image.new("RGBA", whole.size, "white")
        picture = Image.alpha_composite(white, whole)
    grey = picture.convert("L")
    thumbnail = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), dtype=np.uint8)
    if thumbnail.std() < FLAT:
        return None
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = np.packbits((small[:, 1:] > small[:, :-1]).ravel())
    return int.from_bytes(bits.tobytes(), "big"), thumbnail.ravel(), pixels


def _pairs(hashes: Array, thumbnails: Array, tests: Array, trains: Array) -> Iterator[tuple[int, int]]:
    """(test, train) positions of pictures that look alike."""
    if not len(trains):
        return
    known, grey = hashes[trains], thumbnails[trains].astype(np.int16)
    for position in tests:
        near = np.flatnonzero(differing_bits(known, hashes[position]) <= BITS)
        if len(near):
            apart = np.abs(grey[near] - thumbnails[position].astype(np.int16)).mean(axis=1)
            best = int(apart.argmin())
            if apart[best] <= DIFFERENCE:
                yield int(position), int(trains[near[best]])


_ONES = np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(
    axis=1, dtype=np.uint8
)


def differing_bits(hashes: Array, other: Values) -> Array:
    """In how many of 64 bits each hash differs from `other`, uint8 [row]."""
    pieces = (hashes ^ other).view(np.uint16).reshape(len(hashes), 4)
    counts: Array = _ONES[pieces].sum(axis=1, dtype=np.uint8)
    return counts
