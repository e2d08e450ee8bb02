"""Explanations drawn: bars as SVG, heat over pictures and spectrograms as PNG, colored words; all text escaped.

Blue supports the answer, orange speaks against it. The sign is also written, in the bar's direction, or in a line:
solid below words and on top of stretches that support the answer, dotted and below where they speak against it.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.errors import MissingDependencyError
from lamina.explain.labels import shortened

Array = np.ndarray[Any, Any]

FOR, AGAINST = (37, 99, 235), (217, 119, 6)
BARS = 20
WIDTH, LINE = 640, 22
LABEL = 36
"""Letters before a bar: as many as leave room for the figure of the longest one that speaks against the answer."""

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;"
    "background:#fff}h2{font-size:1.2rem}figure{margin:1rem 0}img,svg{max-width:100%;height:auto}"
    ".words{line-height:2}.words span{padding:.1em .15em;border-bottom:2px solid transparent}"
    "figcaption{color:#555;font-size:.9rem}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#16181c}figcaption{color:#aaa}}"
)


def page(explanation: Mapping[str, Json]) -> str:
    """A whole page around `fragment`."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>Explanation</title>'
        f"<style>{_STYLE}</style></head><body><h1>Why this answer?</h1>{fragment(explanation)}</body></html>"
    )


def fragment(explanation: Mapping[str, Json]) -> str:
    """HTML of every target's explanation."""
    return "".join(_target(name, one, explanation.get("fields", {})) for name, one in explanation["targets"].items())


def as_text(explanation: Mapping[str, Json]) -> str:
    """The same for a terminal: one line a field, a word, or a stretch."""
    lines: list[str] = []
    for name, one in explanation["targets"].items():
        lines.append(_headline(name, one))
        if one.get("contributions"):
            lines.append(f"  on average over {one['background']} examples: {one['mean']:.4g}; this row's fields add:")
            largest = max(abs(item["contribution"]) for item in one["contributions"]) or 1.0
            for item in one["contributions"][:BARS]:
                bar = "█" * round(20 * abs(item["contribution"]) / largest)
                lines.append(
                    f"  {item['contribution']:+10.4g}  {bar:20}  "
                    f"{shortened(item['field'], 30)} = {shortened(item['value'], 40)}"
                )
        for field, detail in one["details"].items():
            lines += _detail_lines(field, detail, explanation["fields"][field])
    return "\n".join(lines)


def picture(pixels: Array) -> str:
    """uint8 [height, width, channel] as a PNG data URI."""
    return _png(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def spectrogram(frames: Array) -> str:
    """A spectrogram [time, band] as a PNG data URI: time to the right, high bands on top."""
    values = frames.astype(np.float32).T[::-1]
    return _png(np.clip((values + 2.5) * 51, 0, 255).astype(np.uint8))


def bars(rows: Sequence[tuple[str, float]], label: str) -> str:
    """Horizontal bars from a middle line, as SVG: (text, value) each."""
    largest = max((abs(value) for _, value in rows), default=0.0) or 1.0
    middle, reach = WIDTH * 0.66, WIDTH * 0.22
    height = LINE * len(rows)
    shapes = []
    for place, (text, value) in enumerate(rows):
        length = reach * abs(value) / largest
        left = middle if value >= 0 else middle - length
        top = place * LINE
        side, anchor = (middle + length + 4, "start") if value >= 0 else (middle - length - 4, "end")
        shapes.append(
            f'<text x="0" y="{top + 15}">{html.escape(shortened(text, LABEL))}'
            f"<title>{html.escape(text[:500])}</title></text>"
            f'<rect x="{left:.1f}" y="{top + 3}" width="{max(length, 0.5):.1f}" height="{LINE - 7}" '
            f'fill="{_hex(FOR if value >= 0 else AGAINST)}"/>'
            f'<text x="{side:.1f}" y="{top + 15}" text-anchor="{anchor}">{value:+.3g}</text>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {max(height, 1)}" role="img" aria-label="{html.escape(label)}" '
        f'font-family="system-ui,sans-serif" font-size="12" fill="currentColor">{"".join(shapes)}</svg>'
    )


def _target(name: str, one: Mapping[str, Json], fields: Mapping[str, Json]) -> str:
    parts = [f"<section><h2>{html.escape(_headline(name, one))}</h2>"]
    if one.get("contributions"):
        shown = [(f"{item['field']} = {item['value']}", item["contribution"]) for item in one["contributions"]]
        rest = sum(value for _, value in shown[BARS:])
        shown = shown[:BARS] + ([(f"{len(shown) - BARS} other fields", rest)] if len(shown) > BARS else [])
        parts.append(
            f"<figure>{bars(shown, 'What each field adds')}<figcaption>What each field adds to the mean over "
            f"{one['background']} examples ({one['mean']:.4g}).</figcaption></figure>"
        )
    for field, detail in one["details"].items():
        parts.append(_detail(field, detail, fields[field]))
    return "".join(parts) + "</section>"


def _headline(name: str, one: Mapping[str, Json]) -> str:
    if one["quantity"] == name:
        return f"{name}: {one['value']:.6g}"
    answer = one["answer"]
    shown = ", ".join(map(str, answer)) if isinstance(answer, list | tuple) else str(answer)
    # A probability has three decimals; any other number may be of any size.
    value = f"{one['value']:.3f}" if one["quantity"].startswith("probability of ") else f"{one['value']:.4g}"
    return f"{name}: {shown} ({one['quantity']}: {value})"


def _detail(field: str, detail: Mapping[str, Json], shown: Mapping[str, Json]) -> str:
    how = {"tokens": (" (solid line)", " (dotted line)"), "series": (" (line on top)", " (line below)")}
    support, against = how.get(detail["kind"], ("", ""))
    name = shown["value"] if "first" in shown else field
    caption = f"{html.escape(name)}: blue parts{support} support the answer, orange parts{against} speak against it."
    if detail["kind"] == "image":
        body = _overlay(shown["picture"], np.asarray(detail["heat"], dtype=np.float64), field)
    elif detail["kind"] == "tokens":
        body = _words(shown["value"], detail["words"])
    elif detail["kind"] == "spectrogram":
        line = np.zeros(max(detail["frames"], 1))
        for part in detail["times"]:
            line[part["start"] : part["end"]] = part["contribution"]
        body = _overlay(shown["picture"], line[None], field)
        body += bars([(_band(part), part["contribution"]) for part in reversed(detail["bands"])], "What each band adds")
    else:
        body = _curve(shown["points"], detail["times"], shown["steps"])
    return f"<figure>{body}<figcaption>{caption}</figcaption></figure>"


def _band(part: Mapping[str, Json]) -> str:
    return f"bands {part['start'] + 1} to {part['end']}"


def _detail_lines(field: str, detail: Mapping[str, Json], shown: Mapping[str, Json]) -> list[str]:
    if detail["kind"] == "tokens":
        found = sorted(detail["words"], key=lambda part: -abs(part["contribution"]))[:BARS]
        names = [shortened(shown["value"][part["start"] : part["end"]], 60) for part in found]
        return [f"  words of {field} that count most:"] + [
            f"  {part['contribution']:+10.4g}  {name}" for part, name in zip(found, names, strict=True)
        ]
    if detail["kind"] == "image":
        heat = np.asarray(detail["heat"])
        row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
        down, right = (int(row) + 0.5) / heat.shape[0], (int(column) + 0.5) / heat.shape[1]
        return [
            f"  {field}: covering the place {right:.0%} from the left and {down:.0%} from the top costs most "
            f"({heat[row, column]:+.4g}); --out FILE.html draws it"
        ]
    found = sorted(detail["times"], key=lambda part: -abs(part["contribution"]))[:5]
    unit, first = "frames" if detail["kind"] == "spectrogram" else "steps", shown.get("first")
    head = f"  {field}: {unit} that count most:" if first is None else f"  {shown['value']}; those that count most:"
    # Of a window of a long series the first and the last row, else the step after the last.
    before, after = (0, 0) if first is None else (first, first - 1)
    return [head] + [
        f"  {part['contribution']:+10.4g}  {part['start'] + before} to {part['end'] + after}" for part in found
    ]


def _words(text: str, words: Sequence[Mapping[str, Json]]) -> str:
    largest = max((abs(part["contribution"]) for part in words), default=0.0) or 1.0
    pieces, at = [], 0
    for part in words:
        pieces.append(html.escape(text[at : part["start"]]))
        red, green, blue = FOR if part["contribution"] >= 0 else AGAINST
        share = abs(part["contribution"]) / largest
        line = f"border-bottom-style:{'solid' if part['contribution'] >= 0 else 'dotted'}"
        pieces.append(
            f'<span style="background:rgba({red},{green},{blue},{0.6 * share:.2f});{line};'
            f'border-bottom-color:rgba({red},{green},{blue},{share:.2f})" '
            f'title="{part["contribution"]:+.3g}">{html.escape(text[part["start"] : part["end"]])}</span>'
        )
        at = part["end"]
    return f'<p class="words" dir="auto">{"".join(pieces)}{html.escape(text[at:])}</p>'


def _curve(points: Sequence[float], parts: Sequence[Mapping[str, Json]], steps: int) -> str:
    """The series as a line over stretches that are colored by what they add.

    Args:
        points: of all its steps, or of as many evenly spaced ones as can be seen.
        steps: of the series.
    """
    values = np.asarray(points, dtype=np.float64)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    across, height = WIDTH / max(steps, 1), 160
    # A step is as wide as its share of a stretch, and its point in the middle of it.
    places = (np.linspace(0, steps - 1, len(values)) + 0.5) * across
    line = " ".join(
        f"{place:.1f},{height - 8 - (height - 16) * (value - low) / ((high - low) or 1):.1f}"
        for place, value in zip(places, values, strict=True)
    )
    largest = max((abs(part["contribution"]) for part in parts), default=0.0) or 1.0
    shades = "".join(
        f'<rect x="{part["start"] * across:.1f}" y="0" width="{(part["end"] - part["start"]) * across:.1f}" '
        f'height="{height}" fill="{_hex(FOR if part["contribution"] >= 0 else AGAINST)}" '
        f'fill-opacity="{0.6 * abs(part["contribution"]) / largest:.2f}">'
        f"<title>{part['contribution']:+.3g}</title></rect>"
        f'<rect x="{part["start"] * across:.1f}" y="{0 if part["contribution"] >= 0 else height - 4}" height="4" '
        f'width="{(part["end"] - part["start"]) * across:.1f}" '
        f'fill="{_hex(FOR if part["contribution"] >= 0 else AGAINST)}" '
        f'fill-opacity="{abs(part["contribution"]) / largest:.2f}"/>'
        for part in parts
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="the series">{shades}'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )


def _overlay(uri: str, heat: Array, field: str) -> str:
    """A picture with the heat over it, drawn large enough to see."""
    return f'<img alt="{html.escape(field)} with what decided the answer" src="{heated(uri, heat, 320)}">'


def heated(uri: str, heat: Array, side: int, largest: float = 0.0) -> str:
    """A picture with the heat over it as a PNG data URI: blue where it is above 0, orange below.

    Args:
        uri: of the picture.
        heat: [height, width] of any size, laid over all of it.
        side: the longer one of what is drawn, about, in pixels.
        largest: the heat that is drawn at full strength; by default its own highest.
    """
    from PIL import Image

    under = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    larger = max(1, round(side / max(under.size)))
    size = (under.width * larger, under.height * larger)
    under = under.resize(size, Image.Resampling.NEAREST)
    strength = np.minimum(np.abs(heat) / (largest or np.abs(heat).max() or 1.0), 1.0)
    color = np.where((heat >= 0)[..., None], np.array(FOR), np.array(AGAINST)).astype(np.uint8)
    alpha = (170 * strength).astype(np.uint8)
    over = Image.fromarray(np.concatenate([color, alpha[..., None]], axis=2), "RGBA")
    over = over.resize(size, Image.Resampling.BILINEAR)
    under.paste(over, (0, 0), over)
    return _png(np.asarray(under))


def curve(points: Array) -> str:
    """A series [step] as a line, a PNG data URI."""
    from PIL import Image, ImageDraw

    width, height = 240, 96
    values = np.asarray(points, dtype=np.float64)
    low, span = float(values.min()), float(np.ptp(values)) or 1.0
    picture = Image.new("RGB", (width, height), (255, 255, 255))
    # A step is as wide as its share of the picture, and its point in the middle of it.
    places = (np.arange(len(values)) + 0.5) * width / len(values)
    line = list(zip(places.tolist(), (height - 6 - (height - 12) * (values - low) / span).tolist(), strict=True))
    ImageDraw.Draw(picture).line(line * 2 if len(line) == 1 else line, fill=(27, 27, 27), width=2)
    return _png(np.asarray(picture))


def _png(pixels: Array) -> str:
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError("pillow", "Drawing a picture", "images") from None
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target, "PNG")
    return "data:image/png;base64," + base64.b64encode(target.getvalue()).decode("ascii")


def _hex(color: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in color)
