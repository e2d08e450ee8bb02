"""Pictures: a column of file names, of files' bytes, of arrays [height, width(, channel)] or of PIL images.

Encoded as uint8 [row, height, width, channel]. Every picture is turned upright (EXIF), laid over white
where it is transparent, brought to one size, and kept in one channel if the training pictures are all grey.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError, MissingDependencyError
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
    source,
    spread,
)
from lamina.modalities._frame import Frame
from lamina.modalities._options import choice
from lamina.modalities._pixels import PIXEL_LIMIT, bytes_of, eight_bits

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
    | {".pbm", ".pnm", ".tga", ".ico", ".avif", ".jp2", ".j2k"}
)
FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "TGA", "ICO", "AVIF", "JPEG2000")
"""Formats that are decoded inside this process; PostScript, for one, would start another program."""
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")

LARGE_SIDES = (64, 96, 128, 160, 192, 224, 256)
"""For answers of which every pixel counts."""
SIDES = (32, 48, 64, 96, 128, 160, 192, 224)
NATIVE_SIDE = 64
DEFAULT_CAP = 96
LARGEST_SIDE = 1024
HEADERS = 500
STATISTICS = 2000
DEFAULTS: dict[str, Json] = {"size": "auto", "channels": "auto", "resize": "auto", "missing": "error"}
RESIZES = ("stretch", "pad", "crop")
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
WHITE = (255, 255, 255)


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
    if some and all(_is_picture(value) or (isinstance(value, np.ndarray) and value.ndim in (2, 3)) for value in some):
        return Recognition(0.95, "the values are pictures in memory")
    return recognise_files(values, root, EXTENSIONS, _is_content, "picture")


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
        with _open(value, root) as picture:
            width, height = picture.size
            # For a PNG, Pillow would decode the whole picture to look for a turn that is hardly ever there.
            if picture.format in ("JPEG", "MPO", "TIFF", "WEBP") and picture.getexif().get(0x0112, 1) in (5, 6, 7, 8):
                width, height = height, width
            return Header(width, height, picture.mode, picture.format or "memory")
    except _reading_errors() as error:
        raise Unreadable(_reason(error)) from error


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
        with _open(value, root) as picture:
            picture.load()
            return np.asarray(_upright(picture))
    except _reading_errors() as error:
        raise Unreadable(_reason(error)) from error


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

    @property
    def feature(self) -> Feature:
        """`details`: each channel's mean and std on the scale 0 to 255; the share of pixels nearly black or white."""
        details = {"mean": list(self.mean), "std": list(self.std), "extreme_share": self.extreme_share}
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
        draft = cls(height, width, channels, resize, blank, blank, 0.0, missing)
        mean, std, extreme, grey = draft._statistics(chunks, total, root)
        if grey and chosen["channels"] == "auto":
            channels, mean, std = 1, mean[:1], std[:1]
        return cls(height, width, channels, resize, mean, std, extreme, missing)

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

        Raises:
            Unreadable: it is no picture, and why.
        """
        try:
            if isinstance(value, np.ndarray):
                flat = bytes_of(value)
                opened = _image_module().fromarray(flat[:, :, 0] if flat.shape[2] == 1 else flat)
            else:
                opened = _open(value, root)
            with opened as picture:
                picture.load()
                plain = np.asarray(_plain(_upright(picture), self.channels)[0], dtype=np.uint8)
                return plain.reshape(*plain.shape[:2], self.channels)
        except _reading_errors() as error:
            raise Unreadable(_reason(error)) from error

    def decode(self, array: Array) -> Values:
        """The pictures as they were encoded: uint8 arrays [height, width, channel]."""
        return objects([np.asarray(picture, dtype=np.uint8) for picture in array])

    def state(self) -> dict[str, Json]:
        """All of it as JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(**{**state, "mean": tuple(state["mean"]), "std": tuple(state["std"])})

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
                pixels = bytes_of(value)
                if pixels.shape == (self.height, self.width, self.channels):
                    return pixels
                return self._fitted(_image_module().fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
            with _open(value, root) as picture:
                if picture.format in ("JPEG", "MPO"):
                    # Decoding at a half, quarter or eighth; twice the size leaves the quality to the resizing.
                    side = 2 * max(self.height, self.width)
                    picture.draft("L" if self.channels == 1 else "RGB", (side, side))
                picture.load()
                return self._fitted(picture)
        except _reading_errors() as error:
            raise Unreadable(_reason(error)) from error

    def _fitted(self, picture: Picture) -> Array:
        """uint8 [height, width, channel] of this encoder's size from a decoded picture."""
        picture, transparent = _plain(_upright(picture), self.channels)
        if picture.size != (self.width, self.height):
            picture = self._resized(picture, transparent)
        return np.asarray(picture, dtype=np.uint8).reshape(self.height, self.width, self.channels)

    def _resized(self, picture: Picture, transparent: bool) -> Picture:
        images = _image_module()
        bicubic = images.Resampling.BICUBIC
        if self.resize == "stretch":
            return picture.resize((self.width, self.height), bicubic, reducing_gap=3.0)
        if self.resize == "crop":
            # The wanted part only is resized: a long strip would otherwise grow without limit.
            box = self.frame.box(picture.height, picture.width)
            return picture.resize((self.width, self.height), bicubic, box=box, reducing_gap=3.0)
        place = self.frame.place(picture.height, picture.width)
        border: Any = WHITE[: self.channels] if transparent else _border(picture)
        canvas: Picture = images.new(
            picture.mode, (self.width, self.height), border if self.channels == 3 else border[0]
        )
        canvas.paste(
            picture.resize((place.width, place.height), bicubic, reducing_gap=3.0),
            (place.left, place.top),
        )
        return canvas


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


def _channels(option: Json) -> int:
    if option not in (1, 3) or isinstance(option, bool):
        raise InputError(f"The option 'channels' cannot be {option!r}.", where="channels", fix="give 1 (grey) or 3")
    return int(option)


def _open(value: object, root: Path | None) -> Picture:
    """A picture of which only the header has been read."""
    picture: Picture
    if _is_picture(value):
        held: Any = value
        picture = held.copy()
        return picture
    file = source(value, root)
    picture = _image_module().open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=_formats())
    if picture.width * picture.height > PIXEL_LIMIT:
        picture.close()
        raise Unreadable(f"{picture.width} x {picture.height} pixels are over the limit of {PIXEL_LIMIT:,}")
    return picture


def _upright(picture: Picture) -> Picture:
    from PIL import ImageOps

    if picture.getexif().get(0x0112, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


def _plain(picture: Picture, channels: int) -> tuple[Picture, bool]:
    """Mode L or RGB, over white; and whether any of it was transparent."""
    wanted = "L" if channels == 1 else "RGB"
    if picture.mode == wanted and "transparency" not in picture.info:
        return picture, False
    images = _image_module()
    if picture.mode in ALPHA_MODES or "transparency" in picture.info:
        if picture.mode == "La":
            picture = picture.convert("LA")
        clear = picture.convert("RGBA")
        white = images.new("RGBA", clear.size, (*WHITE, 255))
        transparent = int(np.asarray(clear.getchannel("A")).min()) < 255
        return images.alpha_composite(white, clear).convert(wanted), transparent
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = images.fromarray(eight_bits(np.asarray(picture)))
    return picture.convert(wanted), False


def _border(picture: Picture) -> tuple[int, ...]:
    """The mean color of a picture's outermost pixels."""
    pixels = np.asarray(picture).reshape(picture.height, picture.width, -1)
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return tuple(int(value) for value in np.rint(np.concatenate(edges).mean(axis=0)))


def _is_content(start: bytes) -> bool:
    return start.startswith(MAGIC) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP") or start[4:12] == b"ftypavif"


def _is_picture(value: object) -> bool:
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def _image_module() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("pillow", "Reading pictures", "images") from error
    return Image


@cache
def _formats() -> tuple[str, ...]:
    images = _image_module()
    images.init()
    return tuple(name for name in FORMATS if name in images.OPEN)


@cache
def _reading_errors() -> tuple[type[Exception], ...]:
    """What Pillow raises for a broken file; its decoders do not agree on one class."""
    images = _image_module()
    numbers = (ArithmeticError, ValueError, TypeError, LookupError, EOFError, MemoryError, AttributeError)
    bombs = (images.DecompressionBombError, images.DecompressionBombWarning)
    return (*bombs, OSError, SyntaxError, RuntimeError, struct.error, zlib.error, *numbers)


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "not a picture in a known format, or its first bytes are damaged"
    return f"the picture cannot be decoded: {error or type(error).__name__}"
