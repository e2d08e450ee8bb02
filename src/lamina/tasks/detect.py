"""Which things are where? Boxes around them, each with a class and how sure it is.

A detector without anchors: every place of a pyramid's levels answers at once, with a chance for each class, the
distances to the four sides of the box it lies in, and how well they fit (FCOS, Tian et al. 2019; with the overlap in
place of the centreness, as in IoU-aware detectors, Wu et al. 2020). Repeated answers are removed in `decode`, in NumPy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Encoder, Recognition
from lamina.modalities import boxes as raw
from lamina.modalities._canonical import column, object_array
from lamina.modalities._frame import Frame
from lamina.tasks import Layout, Score, Sight
from lamina.tasks._agreement import Agreement, agreement
from lamina.tasks._average_precision import Answer, Judged
from lamina.tasks._boxes import Places, places
from lamina.tasks._calibrate import FEWEST
from lamina.tasks._detections import BESIDES, Reader, empty, encoded, into, sides
from lamina.tasks._drawn import drawn
from lamina.tasks._options import check_names, choice
from lamina.tasks._scores import Scorer, Weighted, plain, together

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

SCORES = ("ap", "ap50", "ap75", "recall", "f1")
BY_SIZE = ("small", "medium", "large")
NUMBERS: Mapping[str, tuple[float, float]] = {
    "overlap": (0.0, 1.0),
    "most_boxes": (1, 1000),
    "finest": (2, 64),
    "levels": (1, 5),
    "head_width": (8, 512),
    "head_depth": (1, 8),
}
"""Options that are numbers, with their range."""
SMALL = 16.0
"""Pixels of the encoded picture: things of a smaller side need a finer level than usual."""
FEW_SMALL = 0.25
"""Share of the training boxes that may be small."""
BOX_WEIGHT = 2.0
"""Of the boxes' loss against the classes' (Zhang et al. 2020, "ATSS")."""
PLACES_A_BOX = 4.0
"""How many places answer for a box, about: what a loss is divided by must not depend on the batch."""
TELLING, SHORTEST, LONGEST, STEP = 32, 128, 512, 32
"""Pixels: the side that small things should keep, limits of the picture's longer side, and what sides are multiples of:
the coarsest level's stride."""
SHOWN = 8
"""Test pictures in the report."""


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """Boxes."""
    if field.modality == "boxes":
        return Recognition(0.9, "the target is boxes in pictures: which things are where?")
    return None


def picture_size(boxes: Mapping[str, Json], pictures: Mapping[str, Json]) -> tuple[tuple[int, int], str] | None:
    """Height and width that pictures should be encoded in, and why; None where too little is known.

    So large that small things can still be told from each other, and no larger: time goes with the area.

    Args:
        boxes, pictures: what the modalities' `describe` says of the training rows.
    """
    if not boxes.get("small_side") or not pictures.get("width"):
        return None
    height, width = pictures["height"]["median"], pictures["width"]["median"]
    scale = min(1.0, TELLING / boxes["small_side"], LONGEST / max(height, width))
    scale = max(scale, min(1.0, SHORTEST / max(height, width)))
    size = tuple(max(STEP, STEP * round(scale * side / STEP)) for side in (height, width))
    return (size[0], size[1]), (
        f"{size[1]} x {size[0]} pixels: of {width:g} x {height:g}, so that all but the smallest fifth of the boxes, "
        f"{boxes['small_side']:.0f} pixels a side, keep {boxes['small_side'] * size[1] / width:.0f}"
    )


@dataclass(frozen=True)
class Task:
    """Boxes of the things called `labels`; outputs are [row, place, class + 5], flat.

    Attributes:
        name: the target's column.
        labels: what there is, the most frequent first.
        counts: training boxes of each.
        pictures: training pictures.
        picture: the input field that the boxes lie on.
        frame: the size that it is encoded in.
        most: boxes of one picture that are kept.
        finest, levels: strides of the pyramid: the finest, and how many, each twice the one before.
        head: options of the head that makes the outputs.
        overlap: from which on two boxes of one class are one answer.
        primary: the score to report and to stop on.
        threshold: how sure an answer must be to be given.
        choose_threshold: `calibrated` sets the threshold for the best F1.
    """

    task: ClassVar[str] = "detect"

    name: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    pictures: int
    picture: str
    frame: Frame
    most: int
    finest: int = 8
    levels: int = 3
    head: Mapping[str, Json] | None = None
    overlap: float = 0.6
    primary: str = "ap"
    threshold: float = 0.3
    choose_threshold: bool = True

    @property
    def layout(self) -> Layout:
        """Every place with its classes, its distances and how well they fit."""
        options = {"finest": self.finest, "levels": self.levels, **(self.head or {})}
        return Layout("places", (len(self.places), len(self.labels) + BESIDES), options)

    @property
    def width(self) -> int:
        return self.layout.size

    @property
    def places(self) -> Places:
        """Where the outputs lie."""
        return self._reader.places

    @cached_property
    def _reader(self) -> Reader:
        strides = tuple(self.finest * 2**number for number in range(self.levels))
        return Reader(places(self.frame.height, self.frame.width, strides), len(self.labels), self.frame, self.overlap)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {label: code for code, label in enumerate(self.labels)}

    @classmethod
    def fit(
        cls,
        field: Field,
        chunks: Chunks,
        options: Mapping[str, Json],
        *,
        inputs: Mapping[str, Encoder],
        root: Path | None = None,
    ) -> Self:
        """Learn the labels and which levels the boxes' sizes need.

        Options: "primary" (a score's name), "threshold" (0 to 1, or "f1"), "overlap" (from which on two boxes are one
        answer), "most_boxes" of one picture, "finest" stride and number of "levels", "head_width" and "head_depth".

        Raises:
            InputError: no boxes, no picture or several, a picture of which only the middle is kept, or a wrong option.
        """
        check_names(options, ("primary", "threshold", *NUMBERS), field.name)
        for name, (low, high) in NUMBERS.items():
            _check_number(options, name, low, high, field.name)
        threshold, choose = _threshold(options.get("threshold", "f1"), field.name)
        picture, frame = _picture(inputs, field.name)
        counts: Counter[str] = Counter()
        pictures = largest = 0
        shares: list[Array] = []
        for values in chunks():
            for value in column(values):
                found = raw.read(value)
                if isinstance(found, raw.Boxes):
                    pictures += 1
                    counts.update(found.labels)
                    largest = max(largest, len(found.labels))
                    shares.append(_sides(found, frame))
        if not counts:
            raise InputError(
                f"The target {field.name!r} cannot be learned: no training picture has a box.",
                where=f"column {field.name}",
                fix="Give boxes as lists of objects with label, x, y, width and height, or choose another --target.",
            )
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        measured = np.concatenate(shares) if shares else np.zeros(0)
        small = bool(len(measured)) and float(np.mean(measured < SMALL)) > FEW_SMALL
        return cls(
            field.name,
            tuple(label for label, _ in ordered),
            tuple(count for _, count in ordered),
            pictures,
            picture,
            frame,
            int(options.get("most_boxes", 2 * largest + 8)),
            int(options.get("finest", 4 if small else 8)),
            int(options.get("levels", 4 if small else 3)),
            {name: int(options[name]) for name in ("head_width", "head_depth") if name in options},
            float(options.get("overlap", 0.6)),
            choice(options, "primary", SCORES, SCORES[0], field.name),
            threshold,
            choose,
        )

    def encode(self, values: Values, root: Path | None = None, inputs: Mapping[str, Values] | None = None) -> Encoded:
        """float32 [row, 1 + most, 6] (`lamina.tasks._detections`); a box that makes no sense is its picture's error.

        Args:
            inputs: the pictures, which are asked for their size: where a value does not say it, boxes need it; where it
                does, they must agree.
        """
        rows = column(values)
        array = (
            np.stack([empty(self.most)] * len(rows))
            if len(rows)
            else np.zeros((0, *empty(self.most).shape), np.float32)
        )
        errors: dict[int, str] = {}
        for row, value in enumerate(rows):
            found = raw.read(value)
            if isinstance(found, raw.Boxes) and inputs is not None and self.picture in inputs:
                found = _fitting(found, value, _size(inputs[self.picture][row], root))
            if found is None:
                found = "the answer is missing"
            elif isinstance(found, raw.Boxes) and not found.width:
                found = 'the picture\'s size is not known: write {"width": ..., "height": ..., "boxes": [...]}'
            one = found if isinstance(found, str) else encoded(found, self._codes, self.frame, self.most)
            if isinstance(one, str):
                errors[row] = one
                array[row] = np.nan
            else:
                array[row] = one
        return Encoded(array, errors)

    def loss(self, output: Tensor, target: Tensor, options: Mapping[str, Json]) -> Tensor:
        """Focal loss of the classes, GIoU loss of the boxes, and cross entropy of how well they fit, [row], in float32.

        All are sums over places, divided by about how many of them answer for a box.
        """
        import torch

        from lamina.networks.blocks.detection import detection_loss

        members = output.shape[1]
        values = output.float().reshape(len(output) * members, len(self.places), -1)
        wanted = target.repeat_interleave(members, dim=0) if members > 1 else target
        centers = torch.as_tensor(self.places.centers, dtype=torch.float32, device=output.device)
        strides = torch.as_tensor(self.places.strides, dtype=torch.float32, device=output.device)
        found = detection_loss(values, wanted, centers, strides, BOX_WEIGHT)
        boxes = max(sum(self.counts) / max(self.pictures, 1), 1.0)
        return found.reshape(-1, members).mean(dim=1) / (PLACES_A_BOX * boxes)

    def combine(self, output: Tensor) -> Tensor:
        """The members' mean: [row, member, width] to [row, width]."""
        return output.float().mean(dim=1)

    def calibrated(self, output: Array, target: Array) -> Self:
        """With the threshold of the best F1 on the validation part."""
        if not self.choose_threshold or len(target) < FEWEST:
            return self
        return replace(self, threshold=self._judged(output, target).best_threshold())

    def uncalibrated(self) -> Self:
        """Without what `calibrated` learned: for another model's outputs."""
        return replace(self, threshold=type(self).threshold) if self.choose_threshold else self

    def answers(self, output: Array, least: float | None = None) -> list[Answer]:
        """Each picture's boxes in pixels of the encoded one, the surest first; those sure enough to be given."""
        return [self._reader.boxes(row, self.threshold if least is None else least) for row in output]

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": {"width", "height", "boxes": [{"label", "x", "y", "width", "height", "score"}]}}, the surest first.

        In pixels of the encoded picture, whose size is said; `placed` brings them to those of the original one.
        """
        width, height = float(self.frame.width), float(self.frame.height)
        return {"": object_array(self._written(answer, width, height) for answer in self.answers(output))}

    def placed(self, output: Array, inputs: Mapping[str, Values], root: Path | None) -> dict[str, Values]:
        """As `decode`, in pixels of the original pictures; where one cannot be read, of the encoded one.

        Args:
            inputs: raw values of the input fields by name.
        """
        found = []
        for answer, value in zip(self.answers(output), column(inputs[self.picture]), strict=True):
            size = _size(value, root)
            if size is None:
                found.append(self._written(answer, self.frame.width, self.frame.height))
            else:
                found.append(self._written(self._reader.original(answer, *size), *size))
        return {"": object_array(found)}

    def _written(self, answer: Answer, width: float, height: float) -> dict[str, Any]:
        corners = np.round(answer.edges, 2)
        sizes = np.round(corners[:, 2:] - corners[:, :2], 2)
        boxes = [
            {
                "label": self.labels[label], "x": x, "y": y, "width": wide, "height": high, "score": round(score, 4),
            }
            for label, (x, y), (wide, high), score in zip(
                answer.labels.tolist(), corners[:, :2].tolist(), sizes.tolist(), answer.scores.tolist(), strict=True
            )
            if wide > 0 and high > 0
        ]  # fmt: skip
        return {"width": width, "height": height, "boxes": boxes}

    def _judged(self, output: Array, target: Array) -> Judged:
        """Answers and truth in pixels of the original pictures, compared."""
        reader = self._reader
        answers = [reader.original(reader.boxes(row), *sides(true)) for row, true in zip(output, target, strict=True)]
        return Judged([reader.truth(np.asarray(true)) for true in target], answers, len(self.labels))

    def scorer(self, output: Array, target: Array, only: str = "") -> Scorer:
        """The scores, or `only` one, as a function of how often each row counts; the primary one comes first."""
        judged = self._judged(output, target)
        scores: dict[str, Weighted] = {
            "ap": judged.precision,
            "ap50": lambda weight: judged.precision(weight, overlaps=slice(0, 1)),
            "ap75": lambda weight: judged.precision(weight, overlaps=slice(5, 6)),
            "recall": judged.recall,
            "f1": lambda weight: judged.f1(weight, self.threshold),
        }
        found, named, wanted = judged.by_place(self.threshold)
        scores["boxes_found"] = lambda weight: (weight @ found) / np.maximum(weight @ wanted, 1e-12)
        if len(self.labels) > 1:
            scores["boxes_named"] = lambda weight: (weight @ named) / np.maximum(weight @ found, 1e-12)
        for size in BY_SIZE:
            if judged.occurs(size):
                scores[f"ap_{size}"] = lambda weight, size=size: judged.precision(weight, size)  # type: ignore[misc]
        if len(self.labels) > 1:
            for code, label in enumerate(self.labels):
                scores[f"ap.{label}"] = lambda weight, code=code: judged.of_class(weight, code)[0].mean(axis=1)  # type: ignore[misc]
        return together(scores, self.primary, only)

    def scores(self, output: Array, target: Array) -> dict[str, Score]:
        """Average precision as COCO defines it, at overlaps of 0.5 and 0.75, by size and class; recall; F1 of what is
        given, at an overlap of 0.5; which share of the true boxes that finds, and of those how many have the right
        name."""
        values = plain(self.scorer(output, target), len(target))
        return {name: Score(value, True) for name, value in values.items()}

    def row_losses(self, output: Array, target: Array) -> Array:
        """1 - F1 of each picture, [row]: 0 where all is found and nothing else."""
        right, said, wanted = self._judged(output, target).by_row(self.threshold)
        return np.asarray(1 - np.where(said + wanted > 0, 2 * right / np.maximum(said + wanted, 1), 1.0))

    def agreement(self, before: Array, after: Array) -> Agreement:
        """Outputs that differ by rounding alone may move a box over an edge (of a threshold, of an overlap): a tie."""
        pairs = zip(self.answers(before), self.answers(after), strict=True)
        same = np.array([_alike(one, other) for one, other in pairs], dtype=bool)
        return agreement(np.asarray(before), np.asarray(after), same, np.zeros(len(before)))

    def described(self, output: Array, target: Array) -> tuple[str, str]:
        """What was to be found in a picture, and what was."""
        true = target[1:, 0]
        given = self.answers(output[None])[0]
        return (
            _listed([self.labels[int(code)] for code in true[true >= 0]]),
            _listed([self.labels[code] for code in given.labels.tolist()]),
        )

    def sights(self, output: Array, target: Array, inputs: Callable[[Array], Mapping[str, Array]]) -> tuple[Sight, ...]:
        """Some pictures with the true boxes and those answered."""
        rows = np.unique(np.linspace(0, len(target) - 1, min(len(target), SHOWN)).astype(np.int64))
        pictures = inputs(rows)[self.picture]
        made = []
        for row, pixels in zip(rows.tolist(), pictures, strict=True):
            true = target[row][1:]
            given = self.answers(output[row][None])[0]
            made.append(drawn(np.asarray(pixels), true[true[:, 0] >= 0, 1:5], given, self.labels))
        text = f"Thin and white: the true boxes. Thick and colored: the answers, at least {self.threshold:.0%} sure."
        return (Sight("Boxes in test pictures", text, tuple(made), across=2),)

    def state(self) -> dict[str, Json]:
        return {**asdict(self), "labels": list(self.labels), "counts": list(self.counts), "frame": self.frame.state()}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        own = {"labels": tuple(state["labels"]), "counts": tuple(state["counts"])}
        return cls(**{**state, **own, "frame": Frame.restore(state["frame"])})


def _check_number(options: Mapping[str, Json], name: str, low: float, high: float, target: str) -> None:
    value = options.get(name, low)
    whole = isinstance(low, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        raise InputError(
            f"Option {name!r} of target {target!r} is {value!r}.",
            where=f"task.{target}.options.{name}",
            fix=f"Give a {'whole ' if whole else ''}number from {low:g} to {high:g}.",
        )


def _threshold(value: Json, target: str) -> tuple[float, bool]:
    from lamina.tasks._calibrate import read_threshold

    found, choose = read_threshold(value, target)
    return (Task.threshold, True) if choose else (found, False)


def _picture(inputs: Mapping[str, Encoder], target: str) -> tuple[str, Frame]:
    """The one picture that the boxes lie on, and how it is encoded."""
    frames = {name: encoder.frame for name, encoder in inputs.items() if hasattr(encoder, "frame")}
    if len(frames) != 1:
        fix = "Leave out the others: --set schema.COLUMN.role=ignore" if frames else "Give a column of pictures."
        raise InputError(
            f"The boxes of {target!r} lie on one picture, and there are {len(frames)} columns of pictures.",
            where=f"column {target}",
            fix=fix,
        )
    name, frame = next(iter(frames.items()))
    if frame.resize == "crop":
        raise InputError(
            f"Of the pictures in {name!r} only the middle is kept, and boxes may lie outside.",
            where=f"schema.{name}.resize",
            fix=f"Set schema.{name}.resize=pad or stretch.",
        )
    return name, frame


def _sides(found: raw.Boxes, frame: Frame) -> Array:
    """Square roots of the boxes' areas in pixels of the encoded picture; none where its size is not known."""
    if not found.width or not len(found.labels):
        return np.zeros(0)
    edges = into(frame, found.edges, found.width, found.height)
    return np.asarray(np.sqrt(np.prod(edges[:, 2:] - edges[:, :2], axis=1)))


def _size(value: Any, root: Path | None) -> tuple[float, float] | None:
    """(width, height) of a picture, upright; None where it cannot be read."""
    from lamina.modalities._files import Unreadable
    from lamina.modalities.image import header

    try:
        found = header(value, root)
    except Unreadable:
        return None
    return float(found.width), float(found.height)


def _fitting(found: raw.Boxes, value: Any, size: tuple[float, float] | None) -> raw.Boxes | str | None:
    """The boxes of a value, read for a picture of this (width, height); None: it cannot be read."""
    if size is None:
        return found
    if not found.width:
        return raw.read(raw.with_size(value, *size))
    # A picture that was made smaller or larger keeps its boxes: to a pixel of the smaller one it is of the same shape.
    if abs(found.width * size[1] - found.height * size[0]) <= max(*size, found.width, found.height):
        return found
    return (
        f"its boxes are for a picture of {found.width:g} x {found.height:g} pixels, and the picture, upright, has "
        f"{size[0]:g} x {size[1]:g}"
    )


def _alike(one: Answer, other: Answer) -> bool:
    """The same boxes, to half a pixel."""
    return (
        len(one.labels) == len(other.labels)
        and bool((one.labels == other.labels).all())
        and bool(np.allclose(one.edges, other.edges, rtol=0, atol=0.5))
    )


def _listed(names: list[str]) -> str:
    counts = Counter(names)
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"
