"""What does each pixel show? The answer is a mask: a class for every pixel, or the instances of what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from dataclasses import field as part
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.examples import blocks
from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Encoder, Recognition, polygons
from lamina.modalities._files import Unreadable, each, is_missing
from lamina.modalities._frame import Frame
from lamina.tasks import Layout, Score, Sight
from lamina.tasks import _pixels as pixels
from lamina.tasks._agreement import Agreement
from lamina.tasks._masks import UNJUDGED, laid, read_mask, size_of
from lamina.tasks._masks_seen import MASKS, VOID, Kind, looked, wrong
from lamina.tasks._options import check_names, choice
from lamina.tasks._regions import bordered, components, instances
from lamina.tasks._scores import Scorer, plain

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

OUTLINES = True
"""Of a folder with outlines and boxes, the outlines are what is learned from."""
INPUTS: Mapping[str, Mapping[str, Json]] = {"image": {"size": "large"}}
"""By modality: options of the inputs' encoders that suit this task better than the usual ones."""
HEAD = ("decoder_width", "decoder_widest", "upsampling", "decoder_dropout")
UNKNOWN, UNKNOWN_ID = 255, -1
"""In encoded targets: a pixel without a label, of classes and of instances."""
LARGEST_WIDTH = 1_000_000
"""Outputs of one row: what a sealed model gives at most."""
SMALLEST_SHARE = 0.1
"""Of the median size of training instances: what is smaller is no instance."""


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """Pictures of one channel that are stored without loss, or polygons."""
    if field.modality == "polygons":
        return Recognition(0.9, "the target is polygons in pictures: what does each pixel show?")
    modes, formats = description.get("modes"), description.get("formats")
    if field.modality != "image" or not modes or not formats:
        return None
    if set(modes) <= {"1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N"} and set(formats) <= {
        "PNG",
        "TIFF",
        "BMP",
        "GIF",
        "array",
    }:
        return Recognition(0.9, "the target holds a mask for each picture: what does each pixel show?")
    return None


@dataclass(frozen=True)
class Task:
    """A map of classes; outputs are log-probabilities, [row, class * height * width] flat.

    Attributes:
        name: the target's column.
        kind: "classes": the answer is a class for every pixel; "instances": the answer is the number of the instance
            that the pixel belongs to, and the classes are PARTS.
        labels: of the classes, the background first.
        values: the masks' value of each class, as it is written and answered.
        counts: pixels of each class in the training masks that were looked at.
        source: the input field that it lies on.
        frame: how the pictures are encoded.
        window: (height, width) of the usual training picture: larger ones are answered in parts of this size.
        smallest: share of the encoded picture below which nothing is an instance.
        unlabelled: the masks' value of pixels without a label; -1 for none.
        head: options of the decoder.
        numbered: masks of one value above 0 show one instance, as they number them; else each connected part is one.
        drawn: how polygons of each class but the background are labelled, where `labels` are other names.
        native: parts of pictures were learned from as they are, so that pictures are answered in such parts, too.
    """

    task: ClassVar[str] = "segment"

    name: str
    kind: Kind
    labels: tuple[str, ...]
    values: tuple[int, ...]
    counts: tuple[int, ...]
    source: str
    frame: Frame
    window: tuple[int, int]
    smallest: float = 0.0
    unlabelled: int = -1
    head: Mapping[str, Json] = part(default_factory=dict)
    numbered: bool = False
    drawn: tuple[str, ...] = ()
    native: bool = False

    @property
    def unscaled(self) -> bool:
        """Is no picture resized before it is answered?"""
        return self.native

    @property
    def layout(self) -> Layout:
        return Layout("map", (len(self.labels), self.frame.height, self.frame.width), self.head)

    @property
    def width(self) -> int:
        return self.layout.size

    @property
    def primary(self) -> str:
        """The score to report and to stop on."""
        return "dice" if self.binary else "mean_iou"

    @property
    def binary(self) -> bool:
        """Is there one thing that is told from the background?"""
        return self.kind == "instances" or len(self.labels) == 2

    @classmethod
    def fit(
        cls,
        field: Field,
        chunks: Chunks,
        options: Mapping[str, Json],
        inputs: Mapping[str, Encoder] | None = None,
        root: Path | None = None,
    ) -> Self:
        """Learn which values the masks have, and what they stand for.

        Options: "kind" (auto, classes, instances, foreground), "names" (the classes' names, the background's first),
        "unlabelled" (the value of pixels that are not judged), those of the decoder (HEAD), and what was decided of
        large pictures (`lamina.steps.tiling`): "window" (whole, cut) and "parts" of each.

        Raises:
            InputError: no mask can be read, one class only, too many, a wrong option, or no picture to lie on.
        """
        check_names(options, ("kind", "names", "unlabelled", "window", "parts", *HEAD), field.name)
        asked = choice(options, "kind", ("auto", "classes", "instances", "foreground"), "auto", field.name)
        said = "unlabelled" in options
        unlabelled = options.get("unlabelled", -1)
        if not isinstance(unlabelled, int) or isinstance(unlabelled, bool):
            raise wrong(field.name, "unlabelled", unlabelled, "Give the masks' value of pixels without a label: 255")
        source, frame = _picture(field.name, inputs or {})
        cut, parts = options.get("window") == "cut", int(options.get("parts", 1))
        size = (frame.height, frame.width) if cut else None
        seen = looked(field, chunks, root, unlabelled, MASKS * parts, size)
        if seen.void and not said and asked in ("auto", "classes"):
            unlabelled = VOID
            seen = looked(field, chunks, root, unlabelled, MASKS * parts, size)
        kind: Kind = "instances" if asked == "instances" or (asked == "auto" and seen.many) else "classes"
        labels, values, counts = seen.classes(field.name, kind, asked == "foreground", options.get("names"))
        head = {name: options[name] for name in HEAD if name in options}
        smallest = SMALLEST_SHARE * seen.instance if kind == "instances" else 0.0
        numbered = kind == "instances" and seen.numbered
        drawn = seen.drawn if kind == "classes" and options.get("names") is not None else ()
        task = cls(
            field.name, kind, labels, values, counts, source, frame, size or seen.window, smallest, unlabelled, head,
            numbered, drawn, cut,
        )  # fmt: skip
        if task.width > LARGEST_WIDTH:
            raise InputError(
                f"{len(labels)} classes for {frame.height} x {frame.width} pixels are {task.width:,} outputs a "
                f"picture, more than {LARGEST_WIDTH:,}.",
                where=f"the field {source!r}",
                fix=f"Encode the pictures smaller: --set schema.{source}.size=128",
            )
        return task

    def stated(self) -> tuple[str, ...]:
        """What the masks' values were taken for, where that may be wrong."""
        if self.unlabelled != VOID:
            return ()
        return (
            f"Pixels of `{self.name}` with the value {VOID} have no label: they teach nothing and are not scored "
            f"(--set task.{self.name}.unlabelled=-1 if they are a class).",
        )

    def encode(self, values: Values, root: Path | None = None, inputs: Mapping[str, Values] | None = None) -> Encoded:
        """uint8 [row, height, width] the class, or int16 the instance's number; UNKNOWN where there is no label."""
        numbered = self.kind == "instances"
        outside, kind = (UNKNOWN_ID, np.int16) if numbered else (UNKNOWN, np.uint8)
        array = np.full((len(values), self.frame.height, self.frame.width), outside, dtype=kind)
        pictures = (inputs or {}).get(self.source)
        errors: dict[int, str] = {}

        def one(row: int) -> None:
            try:
                size = None if pictures is None or is_missing(pictures[row]) else size_of(pictures[row], root)
            except Unreadable:
                # What is wrong with the picture is said of the picture.
                size = None
            try:
                array[row] = laid(self._codes(values[row], root, size), self.frame, outside)
            except Unreadable as error:
                errors[row] = str(error)

        each(one, len(values))
        return Encoded(array, dict(sorted(errors.items())))

    def _codes(self, value: Any, root: Path | None, size: tuple[int, int] | None) -> Array:
        instances, foreground = self.kind == "instances", self.values[-1] < 0
        labels = ("background", *self.drawn) if self.drawn else self.labels
        mask = read_mask(value, root, size, labels, apart=instances or foreground)
        drawn = polygons.read(value) is not None
        # The numbers of outlines are their places in the list: no value of masks stands for what has no label.
        judged = mask != (UNJUDGED if drawn else self.unlabelled)
        # A part of a picture may lie where nothing is labelled, and be no mistake.
        if not judged.any() and not self.native:
            raise Unreadable("no pixel of the mask has a label")
        if instances:
            return _numbered(np.where(judged, mask, 0), judged, self.numbered or drawn)
        if foreground:
            return np.where(judged, mask > 0, UNKNOWN).astype(np.uint8)
        if drawn:
            return np.where(judged, mask, UNKNOWN).astype(np.uint8)
        place = np.searchsorted(self.values, mask).clip(max=len(self.values) - 1)
        strange = judged & (np.asarray(self.values)[place] != mask)
        if strange.any():
            raise Unreadable(
                f"the mask holds the value {int(mask[strange][0])}, which is no class of the training part"
            )
        return np.where(judged, place, UNKNOWN).astype(np.uint8)

    def classes(self, target: Array) -> Array:
        """uint8 [..., height, width]: encoded targets as classes; of instances background, inside and border."""
        if self.kind == "classes":
            return np.asarray(target)
        found = (target > 0).astype(np.uint8) + bordered(target)
        return np.where(target == UNKNOWN_ID, UNKNOWN, found).astype(np.uint8)

    def loss(self, output: Tensor, target: Tensor, options: Mapping[str, Json]) -> Tensor:
        """Cross entropy of the labelled pixels plus soft Dice (Milletari et al. 2016, "V-Net"), [row]."""
        from lamina.tasks import _map_losses as losses

        labels = target if self.kind == "classes" else losses.parts_of(target, UNKNOWN_ID, UNKNOWN)
        shaped = output.float().mean(dim=1).reshape(-1, *self.layout.shape)
        return losses.cross_entropy_and_dice(shaped, labels, UNKNOWN, options)

    def combine(self, output: Tensor) -> Tensor:
        """Log-probabilities of the classes of every pixel: [row, member, width] to [row, width]."""
        import torch

        shaped = output.float().mean(dim=1).reshape(-1, *self.layout.shape)
        return torch.log_softmax(shaped, dim=1).flatten(1)

    def calibrated(self, output: Array, target: Array) -> Self:
        """As it is: the likeliest class is answered."""
        return self

    def uncalibrated(self) -> Self:
        return self

    def averaged(self, output: Array) -> Array:
        """Probabilities, float32 [row, class, height, width]: what may be interpolated and averaged."""
        return np.exp(np.asarray(output, dtype=np.float32)).reshape(-1, *self.layout.shape)

    def decode_map(self, values: Array) -> dict[str, Any]:
        """One picture's answers by suffix, from probabilities [class, height, width] of any size.

        "": the mask, uint8 (uint16 for many instances), with the values of the training masks; ".share.CLASS": the
        share of the picture that shows it; of instances ".share" and ".count".
        """
        if self.kind == "instances":
            found = self.separated(values)
            count = int(found.max(initial=0))
            mask = found.astype(np.uint8 if count < UNKNOWN else np.uint16)
            return {"": mask, ".count": float(count), ".share": float((found > 0).mean())}
        codes = values.argmax(axis=0)
        written = np.asarray([abs(value) for value in self.values])
        mask = written.astype(np.uint8 if written.max() <= UNKNOWN else np.uint16)[codes]
        shares = np.bincount(codes.ravel(), minlength=len(self.labels)) / codes.size
        return {"": mask, **{f".share.{label}": float(shares[code]) for code, label in self._named()}}

    def separated(self, probability: Array) -> Array:
        """int32 [height, width]: the instances, numbered, from the probabilities of PARTS."""
        codes = probability.argmax(axis=0)
        encoded = codes.shape == (self.frame.height, self.frame.width)
        usual = codes.size if encoded or not all(self.window) else self.window[0] * self.window[1]
        return instances(codes == 1, codes > 0, int(self.smallest * usual))

    def decode(self, output: Array) -> dict[str, Values]:
        """`decode_map` of every row, at the size of the encoded picture."""
        return pixels.decoded(self, output)

    def _named(self) -> Iterable[tuple[int, str]]:
        return list(enumerate(self.labels))[1:]

    def scorer(self, output: Array, target: Array, only: str = "") -> Scorer:
        """The scores, or `only` one, as a function of how often each row counts; the primary one comes first."""
        counts = self._counts(output, target)
        # Instances take far longer to tell apart than pixels to count, which is all that training asks for.
        told = self.kind == "instances" and only in ("", *pixels.OF_INSTANCES)
        found = pixels.instance_counts(self, output, target) if told else None
        return pixels.scorer(counts, found, self.primary, only, self.labels)

    def scores(self, output: Array, target: Array) -> dict[str, Score]:
        """Of one thing: Dice and IoU of its pixels; of several the means over the classes that occur, with the
        background. Then the share of pixels answered rightly; of instances F1 at an IoU of 0.5, and the mean error of
        their number. All pixels of all rows count together.
        """
        values = plain(self.scorer(output, target), len(target))
        return {name: Score(value, name != "count_error") for name, value in values.items()}

    def _counts(self, output: Array, target: Array) -> Array:
        """int64 [row, class, class]: pixels by true and answered class; of instances foreground or not."""
        size = 2 if self.kind == "instances" else len(self.labels)
        found = np.zeros((len(target), size, size), np.int64)
        for rows in blocks(output):
            answer = np.asarray(output[rows]).reshape(-1, *self.layout.shape).argmax(axis=1)
            truth = self.classes(np.asarray(target[rows]))
            if self.kind == "instances":
                answer, truth = answer > 0, np.where(truth == UNKNOWN, UNKNOWN, truth > 0)
            found[rows] = pixels.confusion(answer, truth, size)
        return found

    def row_losses(self, output: Array, target: Array) -> Array:
        """[row] one minus the Dice of the foreground, or minus the mean IoU of the classes in the picture."""
        return 1 - pixels.by_row(self._counts(output, target), self.primary)

    def agreement(self, before: Array, after: Array) -> Agreement:
        """The same class for every pixel, but for those on the edge of two."""
        return pixels.agreement(before, after, self.layout.shape)

    def described(self, output: Array, target: Array) -> tuple[str, str]:
        """What the picture shows, in shares of it."""
        probability = self.averaged(output[None])[0]
        if self.kind == "instances":
            answer, truth = self.separated(probability), np.maximum(target, 0)
            words = [f"{len(np.unique(ids[ids > 0]))} instances, {(ids > 0).mean():.1%}" for ids in (truth, answer)]
            return words[0], words[1]
        return self._shares(np.asarray(target)), self._shares(probability.argmax(axis=0))

    def _shares(self, codes: Array) -> str:
        counts = np.bincount(codes[codes != UNKNOWN].ravel(), minlength=len(self.labels))
        shares = counts / max(counts.sum(), 1)
        there = [f"{label} {shares[code]:.1%}" for code, label in self._named() if counts[code]]
        return ", ".join(there) or f"nothing but {self.labels[0]}"

    def sights(self, output: Array, target: Array, inputs: Callable[[Array], Mapping[str, Array]]) -> tuple[Sight, ...]:
        """Pictures beside truth and answer, from good to bad; and each class's scores."""
        if not len(target):
            return ()
        counts = self._counts(output, target)
        order = np.argsort(1 - pixels.by_row(counts, self.primary), kind="stable")
        chosen = order[np.unique(np.linspace(0, len(order) - 1, 6).round().astype(int))]
        shown = inputs(chosen)[self.source]
        pictures: list[Array] = []
        for row, picture in zip(chosen.tolist(), shown, strict=True):
            probability = self.averaged(np.asarray(output[row])[None])[0]
            answer = self.separated(probability) if self.kind == "instances" else probability.argmax(axis=0)
            truth = np.asarray(target[row]).astype(np.int32)
            pictures += [pixels.enlarged(picture), pixels.colored(picture, truth), pixels.colored(picture, answer)]
        text = "Picture, truth, answer; from the best of the test rows to the worst."
        return (
            Sight(f"{self.name}: answers", text, tuple(pictures), across=3),
            Sight(f"{self.name}: classes", "Over all test rows.", lines=pixels.table(counts, self._classes_told())),
        )

    def _classes_told(self) -> tuple[str, ...]:
        return ("background", "foreground") if self.kind == "instances" else self.labels

    def state(self) -> dict[str, Json]:
        written = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in written.items()}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        named = ("labels", "values", "counts", "window", "drawn")
        tuples = {name: tuple(state[name]) for name in named if name in state}
        return cls(**{**state, **tuples, "frame": Frame.restore(state["frame"])})


def _numbered(mask: Array, judged: Array, numbered: bool) -> Array:
    """int16: instances as 1, 2, ...; parts of a mask that knows foreground only are instances of their own."""
    values = np.unique(mask[mask > 0])
    ids = components(mask > 0) if len(values) == 1 and not numbered else np.searchsorted(values, mask, side="right")
    if ids.max(initial=0) > np.iinfo(np.int16).max:
        raise Unreadable(f"the mask holds {ids.max():,} instances: cut the picture in parts")
    return np.where(judged, ids, UNKNOWN_ID).astype(np.int16)


def _picture(target: str, inputs: Mapping[str, Encoder]) -> tuple[str, Frame]:
    """The one picture that masks lie on, and how it is encoded."""
    pictures = [name for name, encoder in inputs.items() if encoder.feature.kind == "image"]
    if len(pictures) != 1:
        raise InputError(
            f"The target {target!r} asks for a mask, and there {'is no picture' if not pictures else 'are several'} "
            "among the inputs.",
            where=", ".join(pictures) or None,
            fix="Give one column of pictures; leave out others with --set schema.COLUMN.role=ignore",
        )
    frame = inputs[pictures[0]].frame  # type: ignore[attr-defined]
    if frame.resize == "crop":
        raise InputError(
            "Pictures whose edges are cut off cannot be answered to their edges.",
            where=f"schema.{pictures[0]}.options.resize",
            fix="Use resize=stretch or resize=pad.",
        )
    return pictures[0], frame
