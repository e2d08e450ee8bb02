"""What a row looked like: pictures, sounds, quotes and small tables, safe to put on a page."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from lamina.report.axes import is_finite
from lamina.report.charts import trace

PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")
SOUND = re.compile(r"data:audio/(?:wav|x-wav|ogg|flac|mpeg|mp4|webm);base64,[A-Za-z0-9+/=]+")
"""Only these URIs become the source of an element: a value from the data can be anything. Nothing in them needs
escaping."""
MEDIUM = re.compile(r"data:[^\s,]*;base64,")
"""How any of them begins, shown or not."""
QUOTED = 700
"""Characters of a text that are shown at once."""
SMALL = 64
"""Pictures up to so many pixels are enlarged without smoothing."""


@dataclass(frozen=True)
class Input:
    """One field of a row; `kind` is "image", "audio", "text", "chart" or "value"."""

    name: str
    kind: str
    value: str
    rest: str = ""
    small: bool = False
    chart: Markup | None = None


def show(inputs: Mapping[str, Mapping[str, str]]) -> list[Input]:
    """A row's fields as the page shows them, media and texts first."""
    found = [_input(name, str(part.get("modality", "")), part.get("value")) for name, part in inputs.items()]
    order = {"image": 0, "audio": 1, "chart": 2, "text": 3, "value": 4}
    return sorted(found, key=lambda item: order[item.kind])


def is_picture(value: object) -> bool:
    """May it be the source of a picture?"""
    return isinstance(value, str) and PICTURE.fullmatch(value) is not None


def is_sound(value: object) -> bool:
    """May it be the source of a sound?"""
    return isinstance(value, str) and SOUND.fullmatch(value) is not None


def _input(name: str, modality: str, value: object) -> Input:
    text = "" if value is None else str(value)
    if is_picture(text):
        return Input(name, "image", Markup(text), small=picture_width(text) <= SMALL)
    if is_sound(text):
        return Input(name, "audio", Markup(text))
    if MEDIUM.match(text):
        return Input(name, "value", "(cannot be shown)")
    if modality == "series":
        drawn = trace(numbers(text), f"{name}: its values in order")
        if drawn:
            return Input(name, "chart", "", chart=Markup(drawn))
    if modality == "text":
        return Input(name, "text", text[:QUOTED], text[QUOTED:])
    return Input(name, "value", text[:QUOTED] + ("…" if len(text) > QUOTED else "") if text else "(missing)")


def numbers(text: str) -> list[float]:
    """The finite numbers of a text, in order."""
    found = []
    for part in text.replace(",", " ").split():
        try:
            value = float(part)
        except ValueError:
            continue
        if is_finite(value):
            found.append(value)
    return found


def picture_width(uri: str) -> int:
    """Pixels of a PNG's wider side, from its header; large where it is another format."""
    try:
        header = base64.b64decode(uri.partition(",")[2][:44])
    except (binascii.Error, ValueError):
        return 10**6
    if header[:8] != b"\x89PNG\r\n\x1a\n" or len(header) < 24:
        return 10**6
    return max(int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big"))
