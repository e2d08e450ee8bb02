"""A forecast drawn: what was, what is expected with its interval, and what came."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lamina.report.axes import Scale, finite, is_finite, widened
from lamina.report.charts import LINE_WIDTH, Plane, Point, label, svg

HEIGHT = 245.0


def fan_chart(
    history: Sequence[float], truth: Sequence[float], middle: Sequence[float], low: Sequence[float],
    high: Sequence[float], title: str,
) -> str:  # fmt: skip
    """Steps before the origin are negative; the interval is an area around the forecast. "" where nothing is known."""
    known = finite([*history, *truth, *middle, *low, *high])
    if not known or not middle:
        return ""
    bottom, top = widened(known)
    area = Plane(Scale(-float(len(history)), float(len(middle)), 52, LINE_WIDTH - 12), Scale(bottom, top, 200, 30))
    before = [(place - len(history) + 1.0, value) for place, value in enumerate(history)]
    ahead = [float(place) for place in range(1, len(middle) + 1)]
    edges = [(x, one, other) for x, one, other in zip(ahead, low, high, strict=False) if is_finite(one + other)]
    parts = area.axes("steps from the origin", "value")
    if len(edges) > 1:
        around = [*((x, one) for x, one, _ in edges), *((x, other) for x, _, other in reversed(edges))]
        parts.append(f'<path class="band" d="{area.path(around)}Z"><title>{escape("90% interval")}</title></path>')
    else:
        # One step ahead has no area.
        parts += [
            f'<path class="whisker main" d="M{area.x(x):g} {area.y(one):g}V{area.y(other):g}">'
            f"<title>{escape('90% interval')}</title></path>"
            for x, one, other in edges
        ]
    parts += _pieces(area, before, "second") + _pieces(area, list(zip(ahead, truth, strict=False)), "second")
    parts += _pieces(area, list(zip(ahead, middle, strict=False)), "main")
    for place, (name, kind) in enumerate((("what was and came", "second"), ("forecast", "main"))):
        at = 60.0 + 170 * place
        parts.append(f'<path class="line {kind}" d="M{at:g} 12h18"/>')
        parts.append(label(at + 23, 16, name, "tick"))
    return svg(title, LINE_WIDTH, HEIGHT, parts)


def _pieces(area: Plane, points: Sequence[Point], kind: str) -> list[str]:
    """Lines between neighboring points; a gap stays open, and a point alone is a dot."""
    pieces: list[list[Point]] = [[]]
    for point in points:
        if is_finite(point[1]):
            pieces[-1].append(point)
        elif pieces[-1]:
            pieces.append([])
    drawn = []
    for piece in filter(None, pieces):
        if len(piece) > 1:
            drawn.append(f'<path class="line {kind}" d="{area.path(piece)}"/>')
        else:
            x, y = piece[0]
            drawn.append(f'<circle class="dot {kind}" cx="{area.x(x):g}" cy="{area.y(y):g}" r="3"/>')
    return drawn
