"""What the masks of the training part hold: values, their pixels, and whether they are classes or number instances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field as part
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lamina.data.schema import Field, Json
from lamina.errors import InputError
from lamina.modalities import Chunks, polygons
from lamina.modalities._files import Unreadable, is_missing, present, sample
from lamina.tasks._masks import UNJUDGED, read_mask
from lamina.tasks._regions import parts_of_each

Array = np.ndarray[Any, Any]
Kind = Literal["classes", "instances"]

MASKS = 2000
"""Training masks that are looked at, drawn at random where there are more."""
MOST_CLASSES = 200
"""COCO has 80 and ADE20K 150; masks of more values number something else."""
PARTS = ("background", "inside", "border")
"""What the network tells apart where instances are asked for: their borders keep those that touch apart."""
VOID, LARGEST_CLASS = 255, 64
"""A value that stands for no label in Pascal VOC, Cityscapes and many others, where all others are class numbers: at
least two, and none larger than that."""
MANY = 8
"""Values of one mask from which on they may be numbers of instances rather than of classes."""
WHOLE = 0.95
"""Share of the values that are one part in their mask, where they are numbers of instances."""
TOLD_BY = 100
"""Masks whose connected parts are looked at: they tell what values stand for, and each takes a while."""


def wrong(target: str, option: str, value: Json, fix: str) -> InputError:
    return InputError(
        f"Option {option!r} of target {target!r} is {value!r}.", where=f"task.{target}.options.{option}", fix=fix
    )


@dataclass(frozen=True)
class Seen:
    """What the training masks hold.

    Attributes:
        counts, labels: pixels by value or label.
        window: median height and width.
        instance: median share of a mask that an instance covers, if that is what the masks show.
        many: values are so many, each in one part, that they number instances rather than classes.
        numbered: if masks show instances, they number them.
    """

    counts: Mapping[int, int]
    labels: Mapping[str, int]
    window: tuple[int, int]
    instance: float
    many: bool
    numbered: bool

    def classes(
        self, target: str, kind: Kind, foreground: bool, names: Json
    ) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
        """(labels, values, counts) of the classes."""
        labels: tuple[str, ...]
        values: tuple[int, ...]
        counts: tuple[int, ...]
        if kind == "instances":
            return PARTS, (0, 1, 2), (self._background, self._foreground, 0)
        if foreground:
            # A negative value stands for any value above 0, and is answered as its opposite.
            labels, values = ("background", "foreground"), (0, -255)
            counts = (self._background, self._foreground)
        elif self.labels:
            ordered = self.drawn
            labels, values = ("background", *ordered), tuple(range(len(ordered) + 1))
            background = self._background + self.labels.get("background", 0)
            counts = (background, *(self.labels[label] for label in ordered))
        else:
            values = tuple(sorted(self.counts))
            labels = tuple("background" if value == 0 else str(value) for value in values)
            counts = tuple(self.counts[value] for value in values)
        _check_classes(target, len(values), values)
        if names is None:
            return labels, values, counts
        fits = isinstance(names, list | tuple) and len(names) == len(set(map(str, names))) == len(values)
        if not fits:
            shown = ", ".join(map(str, values))
            raise wrong(target, "names", names, f"Give {len(values)} different names, for the values {shown}.")
        return tuple(map(str, names)), values, counts

    @property
    def void(self) -> bool:
        """Does the largest value stand for pixels without a label, as far as the values tell?"""
        others = [value for value in self.counts if value != VOID]
        return VOID in self.counts and not self.labels and len(others) > 1 and max(others) <= LARGEST_CLASS

    @property
    def drawn(self) -> tuple[str, ...]:
        """Labels of outlines, sorted; one may be of the background, on top of others."""
        return tuple(sorted(set(self.labels) - {"background"}))

    @property
    def _background(self) -> int:
        return self.counts.get(0, 0)

    @property
    def _foreground(self) -> int:
        return sum(count for value, count in self.counts.items() if value)


def _check_classes(target: str, number: int, values: Sequence[int]) -> None:
    if number < 2:
        shown = f"the value {values[0]}" if values else "nothing"
        raise InputError(
            f"The masks of {target!r} have one class only: {shown} at every pixel of the training part.",
            where=f"column {target}",
            fix="Give masks with at least two different values, 0 being the background.",
        )
    if number > MOST_CLASSES:
        raise InputError(
            f"The masks of {target!r} hold {number} different values, more than {MOST_CLASSES} classes.",
            where=f"column {target}",
            fix=f"If they number instances: --set task.{target}.kind=instances; if any value means the same: "
            f"--set task.{target}.kind=foreground",
        )


@dataclass
class _Outlines:
    """What outlines show. Where they do not say how large their picture is, the largest extent of all is taken for it.

    Attributes:
        labels: pixels by label.
        areas: pixels of each picture's polygons.
        extent: (height, width).
        unjudged: pixels of crowds.
    """

    labels: dict[str, int] = part(default_factory=dict)
    areas: list[Array] = part(default_factory=list)
    extent: tuple[int, int] = (0, 0)
    unjudged: int = 0

    def add(self, mask: Array, drawn: polygons.Outlines) -> None:
        """One picture's outlines, numbered from 1 in the mask [height, width]; a crowd is nothing to learn."""
        self.extent = max(self.extent[0], mask.shape[0]), max(self.extent[1], mask.shape[1])
        judged = mask[mask != UNJUDGED]
        self.unjudged += mask.size - judged.size
        own = np.bincount(judged, minlength=len(drawn.things) + 1)[1:]
        self.areas.append(own)
        for thing, pixels in zip(drawn.things, own.tolist(), strict=True):
            if not thing.crowd:
                self.labels[thing.label] = self.labels.get(thing.label, 0) + pixels

    def name(self, chunks: Chunks) -> None:
        """Take the labels of all outlines: to read them takes far less than to draw them, and a rare one is a class."""
        for values in chunks():
            for value in values:
                with suppress(Unreadable):
                    drawn = None if is_missing(value) else polygons.read(value)
                    for label in drawn.labels if drawn is not None else ():
                        self.labels.setdefault(label, 0)

    def counts(self) -> dict[int, int]:
        """Pixels of the background as 0, of all else as 1; nothing where there are no polygons."""
        shown = sum(self.labels.values())
        background = len(self.areas) * math.prod(self.extent) - shown - self.unjudged
        return {code: count for code, count in ((0, background), (1, shown)) if count}

    def shares(self) -> list[float]:
        """Of its picture, of each polygon that others do not wholly cover."""
        together = np.concatenate([np.zeros(0), *self.areas])
        return [float(share) for share in together[together > 0] / max(math.prod(self.extent), 1)]


def looked(
    field: Field,
    chunks: Chunks,
    root: Path | None,
    unlabelled: int,
    most: int = MASKS,
    size: tuple[int, int] | None = None,
) -> Seen:
    """Look at the training masks.

    Args:
        most: so many of them at most.
        size: (height, width) of every mask, where that is known: polygons do not say it.
    """
    counts: dict[int, int] = {}
    sizes: list[tuple[int, int]] = []
    areas: list[float] = []
    pieces: list[float] = []
    parts: list[Array] = []
    outlines = _Outlines()
    reason = ""
    total = present(chunks)
    for values in sample(chunks, total, most, seed=2):
        for value in values:
            try:
                drawn = polygons.read(value)
                mask = read_mask(value, root, size if drawn is not None else None, apart=drawn is not None)
            except Unreadable as error:
                reason = reason or str(error)
                continue
            if drawn is not None:
                outlines.add(mask, drawn)
                sizes += [drawn.size] if drawn.size is not None else []
                continue
            found, number = np.unique(mask[mask != unlabelled], return_counts=True)
            sizes.append((mask.shape[0], mask.shape[1]))
            own = number[found > 0]
            if len(own) and len(parts) < TOLD_BY:
                each_value, each_part = parts_of_each(np.where(mask == unlabelled, 0, mask))
                parts.append(each_value)
                pieces += (each_part / mask.size).tolist()
            areas += (own / mask.size).tolist()
            for one, pixels_there in zip(found.tolist(), number.tolist(), strict=True):
                counts[one] = counts.get(one, 0) + pixels_there
    if outlines.labels and total > most:
        outlines.name(chunks)
    for one, pixels_there in outlines.counts().items():
        counts[one] = counts.get(one, 0) + pixels_there
    areas += outlines.shares()
    if not counts:
        raise InputError(
            f"None of the masks of {field.name!r} can be read" + (f"; the first: {reason}." if reason else "."),
            where=f"column {field.name}",
            fix="Give a column of paths of PNG files, or of polygons in JSON: [[[x, y], ...], ...].",
        )
    window = tuple(int(side) for side in np.median(sizes, axis=0)) if sizes else (0, 0)
    together = np.concatenate(parts) if parts else np.zeros(0)
    many = max(map(len, parts), default=0) > MANY and float(np.mean(together == 1)) >= WHOLE
    # Few masks of a set that numbers instances show one alone, in parts; of one that does not, few have other values.
    several, scattered = sum(len(one) > 1 for one in parts), sum(len(one) == 1 and one[0] > 1 for one in parts)
    numbered = bool(several > scattered)
    shares = areas if numbered or not pieces else pieces
    share = float(np.median(shares)) if shares else 0.0
    return Seen(counts, outlines.labels, (window[0], window[1]), share, many, numbered)
