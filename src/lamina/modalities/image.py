"""Pictures: a column of file names, of files' bytes, of arrays [height, width(, channel)] or of PIL images.

Encoded as uint8 [row, height, width, channel]. Every picture is turned upright (EXIF), laid over white
where it is transparent, brought to one size, and kept in one channel if the training pictures are all grey.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._auto import settings, whole
from lamina.modalities._files import (
    Array,
    Unreadable,
    each,
    is_missing,
    objects,
    present,
    recognise_files,
    sample,
    some_of,
    spread,
)
from lamina.modalities._frame import Frame
from lamina.modalities._opening import (
    WHITE,
    border_of,
    image_module,
    is_content,
    is_picture,
    lies_on_its_side,
    opened,
    plain_of,
    reading_errors,
    reason_of,
    upright,
    with_alpha,
)
from lamina.modalities._options import choice
from lamina.modalities._pixels import Window, bytes_of, is_sixteen_bits

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
    | {".pbm", ".pnm", ".tga", ".ico", ".avif", ".jp2", ".j2k"}
)

LARGE_SIDES = (64, 96, 128, 160, 192, 224, 256)
"""For answers of which every pixel counts."""
SIDES = (32, 48, 64, 96, 128, 160, 192, 224)
NATIVE_SIDE = 64
DEFAULT_CAP = 96
LARGEST_SIDE = 1024
HEADERS = 500
STATISTICS = 2000
DEFAULTS: dict[str, Json] = {
    "size": "auto", "channels": "auto", "resize": "auto", "missing": "error", "transparent": "white",
    "window": "auto",
}  # fmt: skip
DEEP = 200
"""Training pictures that tell what is black and what is white, where pixels have more than eight bits."""
RESIZES = ("stretch", "pad", "crop")
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
HOLE = 255
"""In every channel of a pixel that is a hole; where holes are told apart, no other pixel is quite so bright."""


@dataclass(frozen=True)
class Header:
    """What a picture's file says of itself, upright."""

    width: int
    height: int
    mode: str
    format: str


def recognise(values: Values, name: str, root: Path | None = None) -> Recognition | None:
    """Pictures by the ends of their names, their first bytes, or their type."""
    some = some_of(values, 50)
    if some and all(is_picture(value) or (isinstance(value, np.ndarray) and value.ndim in (2, 3)) for value in some):
        return Recognition(0.95, "the values are pictures in memory")
    return recognise_files(values, root, EXTENSIONS, is_content, "picture")


def describe(values: Values, root: Path | None = None) -> dict[str, Json]:
    """Sizes, modes and formats of at most 500 pictures, evenly spaced."""
    headers, unreadable = [], 0
    some = some_of(values, HEADERS)
    for value in some:
        try:
            headers.append(header(value, root))
        except Unreadable:
            unreadable += 1
    return {
        "count": len(values),
        "missing": sum(is_missing(value) for value in values),
        "looked_at": len(some),
        "unreadable": unreadable,
        "width": spread([item.width for item in headers]),
        "height": spread([item.height for item in headers]),
        "formats": dict(Counter(item.format for item in headers).most_common()),
        "modes": dict(Counter(item.mode for item in headers).most_common()),
    }


def header(value: object, root: Path | None = None) -> Header:
    """Size and mode of a picture without decoding it.

    Raises:
        Unreadable: it is no picture, and why.
    """
    if isinstance(value, np.ndarray):
        pixels = bytes_of(value)
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixels.shape[2]]
        return Header(pixels.shape[1], pixels.shape[0], mode, "array")
    try:
        with opened(value, root) as picture:
            width, height = picture.size
            if lies_on_its_side(picture):
                width, height = height, width
            return Header(width, height, picture.mode, picture.format or "memory")
    except reading_errors() as error:
        raise Unreadable(reason_of(error)) from error


def raw_pixels(value: object, root: Path | None = None) -> Array:
    """[height, width] or [height, width, channel] as they are stored, upright; of a palette's picture its indices.

    Raises:
        Unreadable: it is no picture, and why.
    """
    if isinstance(value, np.ndarray):
        if value.ndim not in (2, 3) or 0 in value.shape:
            raise Unreadable(f"an array of shape {value.shape} is no picture")
        return value
    try:
        with opened(value, root) as picture:
            picture.load()
            return np.asarray(upright(picture))
    except reading_errors() as error:
        raise Unreadable(reason_of(error)) from error


def decoded(value: object, channels: int, root: Path | None = None, window: Window = None) -> Array:
    """A picture in its own size, uint8 [height, width, channel]: upright, over white where it is transparent.

    Args:
        channels: 1 (grey), 3 (red, green, blue), or 4: with how opaque it is, and not over white.
        window: what is black and what is white, where pixels have 16 bits.

    Raises:
        Unreadable: it is no picture, and why.
    """
    try:
        if isinstance(value, np.ndarray):
            pixels = bytes_of(value, window)
            if pixels.shape[2] == channels:
                return pixels
            value = image_module().fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        with opened(value, root) as picture:
            picture.load()
            turned = upright(picture)
            plain = with_alpha(turned, window) if channels == 4 else plain_of(turned, channels, window)[0]
            return np.asarray(plain, dtype=np.uint8).reshape(plain.height, plain.width, channels)
    except reading_errors() as error:
        raise Unreadable(reason_of(error)) from error


@dataclass(frozen=True)
class Encoder:
    """uint8 [row, height, width, channel]; fitted on the training pictures.

    Options:
        size: side in pixels or [height, width]. Default: the pictures' own size if all are equal and at
            most 64 pixels; otherwise a square, the nearest of 32, 48, 64 and 96 to the median longer side.
            "large": the pictures' own size, or their shape with a longer side of 256, if all are equal; otherwise a
            square of up to 256.
        channels: 1 or 3. Default: 1 if all pictures looked at (at most 2,000) are grey.
        resize: "stretch", "pad" (whole picture, centred, bordered by the mean of its edge, or by white where
            it was transparent) or "crop" (its middle). Default: stretch if nine in ten training pictures
            have the encoding's aspect ratio within 20%, else pad.
        missing: "error" (a row without a picture gets an error entry) or "fill" (it is accepted).
        transparent: "white" (the picture is laid over white) or "hole": a pixel that is more than half transparent is
            encoded as HOLE in every channel, any other as at most HOLE - 1.
        window: of pixels with 16 bits (X-ray, tomography, microscopy), which value is black and which is white:
            [low, high], or "full" for 0 and 65535. Default: where the training pictures use less than half of the 16
            bits, the values that one pixel in a thousand lies below and above.

    A missing or unreadable picture is encoded as a plain one of the training pictures' mean color.
    """

    modality: ClassVar[str] = "image"
    height: int
    width: int
    channels: int
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    extreme_share: float
    missing: str = "error"
    transparent: str = "white"
    window: Window = None

    @property
    def feature(self) -> Feature:
        """`details`: each channel's mean and std on the scale 0 to 255; the share of pixels nearly black or white;
        where holes are told apart, what is in them ("hole").
        """
        details: dict[str, Json] = {
            "mean": list(self.mean), "std": list(self.std), "extreme_share": self.extreme_share,
        }  # fmt: skip
        if self.transparent == "hole":
            details["hole"] = HOLE
        return Feature("image", (self.height, self.width, self.channels), "uint8", details=details)

    @property
    def frame(self) -> Frame:
        """Where pictures come to lie in what is encoded."""
        return Frame(self.height, self.width, self.resize)

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Look at the headers of at most 500 training pictures and at the pixels of at most 2,000."""
        chosen = settings("image", options, DEFAULTS)
        missing = choice("image", "missing", chosen["missing"], ("error", "fill"))
        transparent = choice("image", "transparent", chosen["transparent"], ("white", "hole"))
        total = present(chunks)
        headers = _headers(chunks, total, root)
        height, width = _size(chosen["size"], headers)
        auto = chosen["resize"] == "auto"
        resize = (
            _resize(headers, height, width) if auto else choice("image", "resize", chosen["resize"], (*RESIZES, "auto"))
        )
        channels = 1 if all(item.mode in GREY_MODES for item in headers) else 3
        if chosen["channels"] != "auto":
            channels = _channels(chosen["channels"])
        blank = (0.0,) * channels
        window = _window(chosen["window"], chunks, total, root)
        draft = cls(height, width, channels, resize, blank, blank, 0.0, missing, transparent, window)
        mean, std, extreme, grey = draft._statistics(chunks, total, root)
        if grey and chosen["channels"] == "auto":
            channels, mean, std = 1, mean[:1], std[:1]
        return cls(height, width, channels, resize, mean, std, extreme, missing, transparent, window)

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """Decode, turn upright and resize on all cores; an unreadable picture gives an error entry."""
        array = np.empty((len(values), self.height, self.width, self.channels), dtype=np.uint8)
        errors: dict[int, str] = {}
        fill = np.rint(self.mean).astype(np.uint8)

        def one(row: int) -> None:
            value = values[row]
            if is_missing(value):
                array[row] = fill
                if self.missing == "error":
                    errors[row] = "there is no picture (accept such rows with the field's option missing = fill)"
                return
            try:
                array[row] = self._encode_one(value, root)
            except Unreadable as error:
                array[row] = fill
                errors[row] = str(error)

        each(one, len(values))
        return Encoded(array, dict(sorted(errors.items())))

    def whole(self, value: object, root: Path | None = None) -> Array:
        """uint8 [height, width, channel]: one picture at its own size, upright, with this encoder's channels.

        Where holes are told apart it has four channels, red, green, blue and how opaque it is.

        Raises:
            Unreadable: it is no picture, and why.
        """
        return decoded(value, 4 if self.transparent == "hole" else self.channels, root, self.window)

    def decode(self, array: Array) -> Values:
        """The pictures as they were encoded: uint8 arrays [height, width, channel]."""
        return objects([np.asarray(picture, dtype=np.uint8) for picture in array])

    def state(self) -> dict[str, Json]:
        """All of it as JSON."""
        window = None if self.window is None else list(self.window)
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std), "window": window}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        window = state.get("window")
        told = {"mean": tuple(state["mean"]), "std": tuple(state["std"]), "window": window and tuple(window)}
        return cls(**{**state, **told})

    def _statistics(
        self, chunks: Chunks, total: int, root: Path | None
    ) -> tuple[tuple[float, ...], tuple[float, ...], float, bool]:
        """Mean and std of each channel, share of nearly black or white pixels, and whether all is grey."""
        count, extreme, grey = 0, 0, True
        sums = np.zeros((2, self.channels))
        for values in sample(chunks, total, STATISTICS, seed=1):
            for start in range(0, len(values), 64):
                some = values[start : start + 64]
                encoded = self.encode(objects(some), root)
                pixels = np.delete(encoded.array, list(encoded.errors), axis=0)
                flat = pixels.reshape(-1, self.channels)
                count += len(flat)
                exact = flat.astype(np.float64)
                sums += np.stack([exact.sum(axis=0), np.square(exact).sum(axis=0)])
                extreme += int(np.count_nonzero((flat < 8) | (flat > 247)))
                # JPEG's color rounding moves grey pixels by a step or two.
                grey = grey and (self.channels == 1 or int(np.ptp(flat.astype(np.int16), axis=1).max(initial=0)) <= 2)
        if not count:
            raise InputError(
                "None of the pictures looked at can be decoded.",
                fix="check that the files are whole pictures in a usual format (PNG, JPEG, GIF, BMP, TIFF, WebP)",
            )
        mean = sums[0] / count
        std = np.sqrt(np.maximum(sums[1] / count - mean**2, 0))
        share = extreme / (count * self.channels)
        # Less than one step of 255 in all pictures is no contrast that could be stretched.
        return tuple(mean.tolist()), tuple(np.maximum(std, 1.0).tolist()), share, grey

    def _encode_one(self, value: object, root: Path | None) -> Array:
        try:
            if isinstance(value, np.ndarray):
                pixels = bytes_of(value, self.window)
                if pixels.shape == (self.height, self.width, self.channels) and self.transparent == "white":
                    return pixels
                return self._fitted(image_module().fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
            with opened(value, root) as picture:
                if picture.format in ("JPEG", "MPO"):
                    # Decoding at a half, quarter or eighth; twice the size leaves the quality to the resizing.
                    side = 2 * max(self.height, self.width)
                    picture.draft("L" if self.channels == 1 else "RGB", (side, side))
                picture.load()
                return self._fitted(picture)
        except reading_errors() as error:
            raise Unreadable(reason_of(error)) from error

    def _fitted(self, picture: Picture) -> Array:
        """uint8 [height, width, channel] of this encoder's size from a decoded picture."""
        if self.transparent == "hole":
            return self._with_holes(upright(picture))
        picture, transparent = plain_of(upright(picture), self.channels, self.window)
        if picture.size != (self.width, self.height):
            picture = self._resized(picture, transparent)
        return np.asarray(picture, dtype=np.uint8).reshape(self.height, self.width, self.channels)

    def _with_holes(self, picture: Picture) -> Array:
        """As `_fitted`; the color of a hole, which is no one's, does not run into its surroundings when resized."""
        clear = with_alpha(picture, self.window)
        if clear.size != (self.width, self.height):
            clear = self._resized(clear, transparent=False)
        color = clear.convert("RGB")
        plain = np.asarray(color if self.channels == 3 else color.convert("L"), dtype=np.uint8)
        known = np.asarray(clear.getchannel("A"))[:, :, None] >= 128
        return np.where(known, np.minimum(plain.reshape(self.height, self.width, -1), HOLE - 1), HOLE).astype(np.uint8)

    def _resized(self, picture: Picture, transparent: bool) -> Picture:
        images = image_module()
        bicubic = images.Resampling.BICUBIC
        if self.resize == "stretch":
            return picture.resize((self.width, self.height), bicubic, reducing_gap=3.0)
        if self.resize == "crop":
            # The wanted part only is resized: a long strip would otherwise grow without limit.
            box = self.frame.box(picture.height, picture.width)
            return picture.resize((self.width, self.height), bicubic, box=box, reducing_gap=3.0)
        place = self.frame.place(picture.height, picture.width)
        border: Any = WHITE[: self.channels] if transparent else border_of(picture)
        canvas: Picture = images.new(picture.mode, (self.width, self.height), border if len(border) > 1 else border[0])
        canvas.paste(
            picture.resize((place.width, place.height), bicubic, reducing_gap=3.0),
            (place.left, place.top),
        )
        return canvas


def framed(headers: Sequence[Header], size: Json = "auto", resize: str = "auto") -> Frame:
    """How pictures of these sizes are encoded, by the options of the encoder."""
    height, width = _size(size, list(headers))
    return Frame(height, width, _resize(list(headers), height, width) if resize == "auto" else resize)


def _headers(chunks: Chunks, total: int, root: Path | None) -> list[Header]:
    headers: list[Header] = []
    reason = ""
    for values in sample(chunks, total, HEADERS):
        for value in values:
            try:
                headers.append(header(value, root))
            except Unreadable as error:
                reason = reason or str(error)
    if not headers:
        raise InputError(
            f"None of the pictures looked at can be read; the first: {reason}.",
            where=f"root folder {root}" if root else None,
            fix="check that the file names are relative to the table's folder and that the files are pictures",
        )
    return headers


def _size(option: Json, headers: list[Header]) -> tuple[int, int]:
    """Height and width of the encoding."""
    if isinstance(option, list | tuple) and len(option) == 2:
        return whole("image", "size", option[0], 1, LARGEST_SIDE), whole("image", "size", option[1], 1, LARGEST_SIDE)
    if option == "large":
        return _large_size(headers)
    if option != "auto":
        side = whole("image", "size", option, 1, LARGEST_SIDE)
        return side, side
    first = headers[0]
    if all((item.height, item.width) == (first.height, first.width) for item in headers) and (
        max(first.height, first.width) <= NATIVE_SIDE
    ):
        return first.height, first.width
    median = float(np.median([max(item.height, item.width) for item in headers]))
    side = min((side for side in SIDES if side <= DEFAULT_CAP), key=lambda side: abs(side - median))
    return side, side


def _large_size(headers: list[Header]) -> tuple[int, int]:
    first, most = headers[0], LARGE_SIDES[-1]
    if all((item.height, item.width) == (first.height, first.width) for item in headers):
        ratio = min(1.0, most / max(first.height, first.width))
        return max(1, round(first.height * ratio)), max(1, round(first.width * ratio))
    median = float(np.median([max(item.height, item.width) for item in headers]))
    side = min(LARGE_SIDES, key=lambda side: abs(side - median))
    return side, side


def _resize(headers: list[Header], height: int, width: int) -> str:
    aspects = np.array([item.width / item.height for item in headers]) / (width / height)
    return "stretch" if np.mean(np.abs(np.log(aspects)) <= np.log(1.2)) >= 0.9 else "pad"


def _window(option: Json, chunks: Chunks, total: int, root: Path | None) -> Window:
    """What is black and what is white; None for all that the pixels can hold."""
    if option == "full":
        return None
    if option != "auto":
        pair = option if isinstance(option, list | tuple) and len(option) == 2 else (0, 0)
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in pair) or pair[0] >= pair[1]:
            raise InputError(
                f"The option 'window' cannot be {option!r}.",
                where="window",
                fix="give the values that are black and white, e.g. [0, 4095], or auto, or full",
            )
        return float(pair[0]), float(pair[1])
    seen: list[Array] = []
    for values in sample(chunks, total, DEEP, seed=2):
        for value in values:
            try:
                pixels = _deep_pixels(value, root)
            except Unreadable:
                continue
            if pixels is None:
                return None
            seen.append(pixels.reshape(-1)[:: max(1, pixels.size // 10_000)])
    if not seen:
        return None
    low, high = (float(end) for end in np.quantile(np.concatenate(seen), (0.001, 0.999)))
    return (low, high) if 0 < high - low < 32768 and high > 255 else None


def _deep_pixels(value: object, root: Path | None) -> Array | None:
    """The pixels of a picture with 16 bits; None of any other."""
    if isinstance(value, np.ndarray):
        return value if is_sixteen_bits(value) else None
    if not header(value, root).mode.startswith("I"):
        return None
    pixels = raw_pixels(value, root)
    return pixels if pixels.dtype.kind in "iu" else None


def _channels(option: Json) -> int:
    if option not in (1, 3) or isinstance(option, bool):
        raise InputError(f"The option 'channels' cannot be {option!r}.", where="channels", fix="give 1 (grey) or 3")
    return int(option)
