"""Opening pictures: whatever a value holds, as a Pillow picture or as plain 8-bit pixels."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.errors import MissingDependencyError
from lamina.modalities._files import Unreadable, source
from lamina.modalities._pixels import PIXEL_LIMIT, Window, eight_bits

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "TGA", "ICO", "AVIF", "JPEG2000")
"""Formats that are decoded inside this process; PostScript, for one, would start another program."""
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")
ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
WHITE = (255, 255, 255)
TURNED_BY = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})
"""What Pillow calls the parts of a PNG that can say how it is turned."""


def opened(value: object, root: Path | None) -> Picture:
    """A picture of which only the header has been read."""
    picture: Picture
    if is_picture(value):
        held: Any = value
        picture = held.copy()
        return picture
    file = source(value, root)
    picture = image_module().open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=formats())
    if picture.width * picture.height > PIXEL_LIMIT:
        picture.close()
        raise Unreadable(f"{picture.width} x {picture.height} pixels are over the limit of {PIXEL_LIMIT:,}")
    return picture


def upright(picture: Picture) -> Picture:
    from PIL import ImageOps

    if picture.getexif().get(0x0112, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


def lies_on_its_side(picture: Picture) -> bool:
    """Does `upright` make its width its height? Seen without decoding the picture."""
    # For a PNG without any such words, Pillow would decode all of it to look for them at its end.
    if picture.format == "PNG" and not TURNED_BY & picture.info.keys():
        return False
    # Of a TIFF, newer versions of Pillow give the size that it will have when it is turned; the tags give the stored.
    tags = getattr(picture, "tag_v2", {})
    if picture.size != (tags.get(256, picture.width), tags.get(257, picture.height)):
        return False
    return picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)


def plain_of(picture: Picture, channels: int, window: Window = None) -> tuple[Picture, bool]:
    """Mode L or RGB, over white; and whether any of it was transparent.

    Args:
        window: what is black and what is white, where pixels have more than eight bits.
    """
    wanted = "L" if channels == 1 else "RGB"
    if picture.mode == wanted and "transparency" not in picture.info:
        return picture, False
    images = image_module()
    if has_alpha(picture):
        clear = clear_of(picture, window)
        white = images.new("RGBA", clear.size, (*WHITE, 255))
        transparent = int(np.asarray(clear.getchannel("A")).min()) < 255
        return images.alpha_composite(white, clear).convert(wanted), transparent
    if is_deep(picture):
        picture = images.fromarray(eight_bits(np.asarray(picture), window))
    return picture.convert(wanted), False


def is_deep(picture: Picture) -> bool:
    """Whether its pixels have more than eight bits."""
    return picture.mode == "F" or picture.mode.startswith("I")


def has_alpha(picture: Picture) -> bool:
    return picture.mode in ALPHA_MODES or "transparency" in picture.info


def clear_of(picture: Picture, window: Window = None) -> Picture:
    """Mode RGBA of a picture that may be transparent."""
    if is_deep(picture):
        # Pillow would clip what is beyond 255; one grey of such a picture stands for transparent.
        images, pixels = image_module(), np.asarray(picture)
        opaque = np.where(pixels == picture.info["transparency"], 0, 255).astype(np.uint8)
        clear: Picture = images.fromarray(eight_bits(pixels, window)).convert("RGBA")
        clear.putalpha(images.fromarray(opaque))
        return clear
    return (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")


def with_alpha(picture: Picture, window: Window = None) -> Picture:
    """Mode RGBA of any picture."""
    return clear_of(picture, window) if has_alpha(picture) else plain_of(picture, 3, window)[0].convert("RGBA")


def border_of(picture: Picture) -> tuple[int, ...]:
    """The mean color of a picture's outermost pixels."""
    pixels = np.asarray(picture).reshape(picture.height, picture.width, -1)
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return tuple(int(value) for value in np.rint(np.concatenate(edges).mean(axis=0)))


def is_content(start: bytes) -> bool:
    return start.startswith(MAGIC) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP") or start[4:12] == b"ftypavif"


def is_picture(value: object) -> bool:
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def image_module() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("pillow", "Reading pictures", "images") from error
    return Image


@cache
def formats() -> tuple[str, ...]:
    images = image_module()
    images.init()
    return tuple(name for name in FORMATS if name in images.OPEN)


@cache
def reading_errors() -> tuple[type[Exception], ...]:
    """What Pillow raises for a broken file; its decoders do not agree on one class."""
    images = image_module()
    numbers = (ArithmeticError, ValueError, TypeError, LookupError, EOFError, MemoryError, AttributeError)
    bombs = (images.DecompressionBombError, images.DecompressionBombWarning)
    return (*bombs, OSError, SyntaxError, RuntimeError, struct.error, zlib.error, *numbers)


def reason_of(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "not a picture in a known format, or its first bytes are damaged"
    return f"the picture cannot be decoded: {error or type(error).__name__}"
