"""How does the picture look without its faults? The answer is a picture: clean, sharp, larger, in color, or whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from dataclasses import field as part
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.degrade import LUMA
from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Encoder, Recognition, image
from lamina.modalities._frame import Frame
from lamina.tasks import Layout, Score, Sight, Simple, _pictures
from lamina.tasks._agreement import Agreement
from lamina.tasks._fidelity import decibels, similarity
from lamina.tasks._options import check_names, choice
from lamina.tasks._scores import Scorer, mean_of, plain, together

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

GIVEN = "given"
"""The kind where pairs are the user's own."""
SCORES = ("psnr", "ssim")
LOSSES = ("charbonnier", "l1")
SOFTNESS = 1e-3
"""Of the Charbonnier loss, on the scale 0 to 1, as Lai et al. have it."""
MAKING = (
    "kind", "way", "strength", "scale", "height", "width", "channels", "window", "resize", "picture", "size", "parts",
)  # fmt: skip
"""Options that say how pairs are made (`lamina.steps.pairing`)."""
SHARES = np.array(LUMA, np.float32)
SHOWN = 8
"""Test pictures in the report."""
ENLARGING = ("subpixel", "transposed")
HEAD = ("decoder_width", "decoder_widest", "upsampling", "decoder_dropout")


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """Never by itself: a target that is a picture may be a mask as well, and pairs are made before it is looked at."""
    return None


@dataclass(frozen=True)
class Task:
    """A picture; outputs are its values from 0 to 1, [row, channel * height * width].

    Attributes:
        name: the target's column.
        kind: what is undone (`lamina.data.degrade.KINDS`), or GIVEN.
        height, width, channels, resize: of the answer, as the modality "image" has them.
        scale: how many times larger than the input it is.
        hole: the value in every channel that marks a missing pixel of the input; -1 for none.
        coloring: the input is grey, and the answer in color.
        source: the input field.
        window: (height, width) of the part of a larger picture that is answered at a time; (0, 0) for whole pictures.
        loss_name: "charbonnier" or "l1".
        primary: "psnr" or "ssim".
        enlarging: how the network enlarges (`lamina.networks.heads.picture`).
        head: options of the decoder.
    """

    task: ClassVar[str] = "restore"

    name: str
    kind: str
    height: int
    width_: int
    channels: int
    resize: str
    scale: int = 1
    hole: int = -1
    coloring: bool = False
    source: str = ""
    window: tuple[int, int] = (0, 0)
    loss_name: str = "charbonnier"
    primary: str = "psnr"
    enlarging: str = "subpixel"
    head: Mapping[str, Json] = part(default_factory=dict)

    @property
    def layout(self) -> Layout:
        """Channel, height, width."""
        head = {"enlarging": self.enlarging, "hole": self.hole, **self.head}
        return Layout("picture", (self.channels, self.height, self.width_), head)

    @property
    def width(self) -> int:
        return self.layout.size

    @property
    def frame(self) -> Frame:
        """How the pictures that are put in are encoded."""
        return Frame(self.height // self.scale, self.width_ // self.scale, self.resize)

    @property
    def unscaled(self) -> bool:
        """Where parts were cut out to learn from, they were as they are: what is finest would be lost by resizing."""
        return all(self.window)

    @property
    def family(self) -> tuple[str, str]:
        """Who fills in what is not there looks at the whole; who makes what is there clearer, at the surroundings."""
        if self.wide:
            return "resnet", "what color a thing has, or what a hole held, depends on what the whole picture shows"
        return "edsr", "residual blocks at the picture's own resolution keep what is fine in it"

    @property
    def augmentation(self) -> Mapping[str, Json]:
        """Mirror images alone: what changes colors or moves pixels by parts of one would be a fault to be undone."""
        return {"flip": True} if self.wide else {"flip": True, "flip_vertical": True}

    @property
    def wide(self) -> bool:
        """Colors and holes ask what is in the picture."""
        return self.coloring or self.hole >= 0

    @classmethod
    def fit(
        cls,
        field: Field,
        chunks: Chunks,
        options: Mapping[str, Json],
        *,
        inputs: Mapping[str, Encoder] | None = None,
        root: Path | None = None,
    ) -> Self:
        """Check the sizes. Options: "loss" (charbonnier, l1), "primary" (psnr, ssim), "enlarging" (subpixel,
        transposed), those of the decoder (HEAD), and how pairs are made (MAKING).

        Raises:
            InputError: there is no picture to start from, or more than one; the target is of a size or in colors that
                cannot be made of it; a wrong option.
        """
        check_names(options, (*MAKING, *HEAD, "loss", "primary", "enlarging"), field.name)
        source, given = _only_picture(field, inputs or {})
        settings = {name: options[name] for name in ("resize", "channels") if name in options}
        if "height" in options and "width" in options:
            settings["size"] = [options["height"], options["width"]]
        fitted = _decided(settings) or image.Encoder.fit(chunks, {**field.options, **settings}, root)
        scale = _scale(field, (given.height, given.width), (fitted.height, fitted.width))
        if "enlarging" in options and scale == 1:
            raise InputError(
                "The better pictures are as large as the worse ones: nothing is enlarged.",
                where=f"task.{field.name}.enlarging",
                fix=f"Leave it out; a decoder's maps grow as task.{field.name}.upsampling says.",
            )
        _check_colors(field, given.channels, fitted.channels)
        return cls(
            field.name,
            str(options.get("kind", GIVEN)),
            fitted.height,
            fitted.width,
            fitted.channels,
            fitted.resize,
            scale,
            int(given.feature.details.get("hole", -1)),
            given.channels < fitted.channels,
            source,
            (given.height, given.width) if options.get("window") == "cut" else (0, 0),
            choice(options, "loss", LOSSES, "charbonnier", field.name),
            choice(options, "primary", SCORES, "psnr", field.name),
            choice(options, "enlarging", ENLARGING, "subpixel", field.name),
            {name: options[name] for name in HEAD if name in options},
        )

    def encode(self, values: Values, root: Path | None = None, inputs: Mapping[str, Values] | None = None) -> Encoded:
        """uint8 [row, height, width, channel]; an error where there is no picture."""
        blank = (0.0,) * self.channels
        better = image.Encoder(self.height, self.width_, self.channels, self.resize, blank, blank, 0.0)
        return better.encode(values, root)

    def loss(self, output: Tensor, target: Tensor, options: Mapping[str, Json]) -> Tensor:
        """The mean over pixels and members of the absolute error, or of the Charbonnier loss, [row].

        That is sqrt(error^2 + SOFTNESS^2), smooth at 0 (Lai et al. 2017, "Deep Laplacian pyramid networks").
        """
        import torch

        truth = target.permute(0, 3, 1, 2).float().flatten(1).unsqueeze(1) / 255
        error = output.float() - truth
        if self.loss_name == "charbonnier":
            return torch.sqrt(error.square() + SOFTNESS**2).mean(dim=(1, 2))
        return error.abs().mean(dim=(1, 2))

    def combine(self, output: Tensor) -> Tensor:
        """Mean over members."""
        return output.float().mean(dim=1)

    def calibrated(self, output: Array, target: Array) -> Self:
        """A picture has no probabilities to calibrate."""
        return self

    def uncalibrated(self) -> Self:
        return self

    def averaged(self, output: Array) -> Array:
        """float32 [row, channel, height, width] from 0 to 1: colors may be interpolated and averaged."""
        return _pictures.maps(output, self.layout.shape)

    def decode_map(self, values: Array) -> dict[str, Any]:
        """{"": uint8 [height, width(, 3)]} from such colors, at any size."""
        return _pictures.picture(values)

    def joined(self, values: Array, pixels: Array) -> Array:
        """At a picture's own size: of a grey one the luminance stays, of one with holes all that is known."""
        if self.hole >= 0:
            color = pixels[:, :, :3].astype(np.float32) / 255
            own = color.transpose(2, 0, 1) if self.channels == 3 else (color @ SHARES)[None]
            return np.where(pixels[:, :, 3] >= 128, own, values)
        if self.coloring:
            # What is added to all three channels alike changes no chroma.
            return values + (pixels[:, :, 0].astype(np.float32) / 255 - np.tensordot(SHARES, values, 1))
        return values

    def pictures(self, output: Array) -> Array:
        """uint8 [row, height, width, channel] from the outputs."""
        return _pictures.pixels(output, self.layout.shape)

    def output_of(self, pictures: Array) -> Array:
        """The outputs that stand for pictures, uint8 [row, height, width, channel]: what baselines answer with."""
        values = np.asarray(pictures, dtype=np.float32).transpose(0, 3, 1, 2) / 255
        return values.reshape(len(values), -1)

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": uint8 arrays [height, width], or [height, width, 3] in color}."""
        return _pictures.decoded(output, self.layout.shape)

    def scorer(self, output: Array, target: Array, only: str = "") -> Scorer:
        """Means over rows of the peak signal-to-noise ratio in dB and of the structural similarity."""
        pictures, truth = self.pictures(output), np.asarray(target)
        parts = {"psnr": decibels, "ssim": similarity}
        wanted = [only] if only else SCORES
        return together({name: mean_of(parts[name](pictures, truth)) for name in wanted}, self.primary, only)

    def scores(self, output: Array, target: Array) -> dict[str, Score]:
        """PSNR and SSIM; the primary one first."""
        values = plain(self.scorer(output, target), len(target))
        return {name: Score(value, True, "dB" if name == "psnr" else "") for name, value in values.items()}

    def row_losses(self, output: Array, target: Array) -> Array:
        """Root mean squared error of a picture, in grey levels of 255, [row]."""
        difference = self.pictures(output).astype(np.float64) - np.asarray(target)
        return np.asarray(np.sqrt(np.square(difference).mean(axis=(1, 2, 3))))

    def described(self, output: Array, target: Array) -> tuple[str, str]:
        """(what was expected, how near the answer comes) of one row."""
        pictures, truth = self.pictures(output[None]), np.asarray(target)[None]
        found = f"{decibels(pictures, truth)[0]:.1f} dB, SSIM {similarity(pictures, truth)[0]:.2f}"
        return f"a picture of {self.width_} x {self.height} pixels", found

    def rivals(self, inputs: Mapping[str, Array], target: Array, seed: int) -> tuple[Simple, ...]:
        """Classical tools (`lamina.baselines._restoring`), whose strengths are chosen on these training rows."""
        from lamina.baselines._restoring import suited

        name, pictures = next(iter(inputs.items()))
        found = suited(pictures, target, kind=self.kind, scale=self.scale, hole=self.hole, seed=seed)
        return tuple(
            Simple(one.title, lambda asked, one=one: self.output_of(one.improve(asked[name])), one.note)  # type: ignore[misc]
            for one in found
        )

    def sights(self, output: Array, target: Array, inputs: Callable[[Array], Mapping[str, Array]]) -> tuple[Sight, ...]:
        """Some pictures, evenly spaced among the test rows: before, by a tool that learns nothing, after, the truth."""
        from lamina.baselines import _restoring

        rows = np.unique(np.linspace(0, len(target) - 1, min(len(target), SHOWN)).astype(np.int64))
        pictures, truth = next(iter(inputs(rows).values())), np.asarray(target[rows])
        columns = {"as given": np.stack([_framed(one, truth.shape[1:]) for one in pictures])}
        if self.scale > 1:
            columns["bicubic enlargement"] = _restoring.bicubic(pictures, self.scale)
        elif self.hole >= 0:
            columns["diffusion"] = _restoring.diffused(pictures, self.hole)
        columns["the network's answer"] = self.pictures(output[rows])
        columns["the truth"] = truth
        shown = tuple(side[row] for row in range(len(rows)) for side in columns.values())
        text = f"Test pictures, not chosen. From left to right: {', '.join(columns)}."
        return (Sight("Before and after", text, shown, across=len(columns)),)

    def agreement(self, before: Array, after: Array) -> Agreement:
        """Two networks answer alike where no value of a picture differs by half a grey level."""
        return _pictures.alike(before, after)

    def state(self) -> dict[str, Json]:
        return {**asdict(self), "window": list(self.window)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        return cls(**{**state, "window": tuple(state["window"])})


def _decided(settings: Mapping[str, Json]) -> image.Encoder | None:
    """Of the better pictures, where all is decided: then none needs to be made and looked at."""
    if {"size", "resize", "channels"} - settings.keys():
        return None
    (height, width), channels = settings["size"], int(settings["channels"])
    blank = (0.0,) * channels
    return image.Encoder(height, width, channels, settings["resize"], blank, blank, 0.0)


def _framed(picture: Array, shape: tuple[int, ...]) -> Array:
    """The picture in the size and channels of the answer, its pixels as they are."""
    larger = np.repeat(np.repeat(picture, shape[0] // picture.shape[0], axis=0), shape[1] // picture.shape[1], axis=1)
    return np.broadcast_to(larger, shape)


def _only_picture(field: Field, inputs: Mapping[str, Encoder]) -> tuple[str, image.Encoder]:
    pictures = {name: part for name, part in inputs.items() if isinstance(part, image.Encoder)}
    if len(pictures) == 1 == len(inputs):
        return next(iter(pictures.items()))
    if not pictures:
        raise InputError(
            f"The picture {field.name!r} is to be made of another picture, and there is none among the inputs.",
            where=f"target {field.name}",
            fix="Give a column of pictures; to make pairs of the pictures you have, leave out --target.",
        )
    others = ", ".join(name for name in inputs if name != next(iter(pictures)))
    raise InputError(
        f"The picture {field.name!r} is to be made of one picture alone, and there is {others} besides.",
        where=f"target {field.name}",
        fix="Leave out the other inputs: --set schema.COLUMN.role=ignore",
    )


def _scale(field: Field, given: tuple[int, int], wanted: tuple[int, int]) -> int:
    scale = wanted[0] // given[0]
    if scale >= 1 and wanted == (scale * given[0], scale * given[1]):
        return scale
    raise InputError(
        f"The target has {wanted[1]} x {wanted[0]} pixels, the input {given[1]} x {given[0]}.",
        where=f"target {field.name}",
        fix=f"Give a target whose sides are 1, 2, 3, ... times the input's, or bring both to such sizes: "
        f"--set schema.{field.name}.size=[{2 * given[0]}, {2 * given[1]}]",
    )


def _check_colors(field: Field, given: int, wanted: int) -> None:
    if wanted < given:
        raise InputError(
            "The target is grey and the input is in color.",
            where=f"target {field.name}",
            fix=f"Bring both to one channel (--set schema.INPUT.channels=1), or the target to three: "
            f"--set schema.{field.name}.channels=3",
        )
