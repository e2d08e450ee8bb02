"""Charts as SVG text: pure functions, colors by CSS class, so that light and dark pages need no second drawing.

Every chart has a title for those who cannot see it, leaves out values that are not finite, and is "" when
there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from lamina.explain.labels import breadth, shortened
from lamina.report.axes import Scale, finite, is_finite, step_of, tick_text, ticks, widened

WIDTH = 460
"""Units of a chart's width; about CSS pixels on a laptop."""
LONGEST_HINT = 200
"""Characters of a title; names from the data can be of any length."""
LINE_WIDTH = 340
"""Units of a line chart's width: three of them stand side by side on a laptop."""
Point = tuple[float, float]
Format = Callable[[float], str]


@dataclass(frozen=True)
class Line:
    """One curve; `kind` is "main", "second" or "reference" (drawn differently, not only colored differently)."""

    name: str
    points: Sequence[Point]
    kind: str = "main"


@dataclass(frozen=True)
class Whisker:
    """A figure with its interval; `main` is the one the reader looks for."""

    label: str
    value: float
    low: float
    high: float
    shown: str = ""
    main: bool = False
    mark: bool = False


def svg(title: str, width: float, height: float, body: Sequence[str]) -> str:
    """A whole picture with a title for readers and screen readers."""
    title = shortened(title, LONGEST_HINT)
    name = escape(title, quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{name}"><title>{escape(title)}</title>{"".join(body)}</svg>'
    )


def label(x: float, y: float, text: str, classes: str = "", anchor: str = "start", full: str = "") -> str:
    """Text at a place; `full` is shown on hovering."""
    hint = f"<title>{escape(shortened(full, LONGEST_HINT))}</title>" if full and full != text else ""
    name = f' class="{classes}"' if classes else ""
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}"{name}{place}>{hint}{escape(text)}</text>'


@dataclass(frozen=True)
class Plane:
    """A drawing area with two axes."""

    x: Scale
    y: Scale

    def axes(self, x_label: str, y_label: str, x_count: int = 5, y_count: int = 5) -> list[str]:
        """Grid, ticks and axis names."""
        parts = []
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        y_step = step_of(self.y.low, self.y.high, y_count)
        for value in ticks(self.y.low, self.y.high, y_count):
            at = self.y(value)
            parts.append(f'<path class="grid" d="M{left:g} {at}H{right:g}"/>')
            parts.append(label(left - 8, at + 4, tick_text(value, y_step), "tick", "end"))
        x_step = step_of(self.x.low, self.x.high, x_count)
        parts += [
            label(self.x(value), bottom + 18, tick_text(value, x_step), "tick", "middle")
            for value in ticks(self.x.low, self.x.high, x_count)
        ]
        parts.append(f'<path class="axis" d="M{left:g} {bottom:g}H{right:g}"/>')
        parts.append(label((left + right) / 2, bottom + 38, x_label, "name", "middle"))
        parts.append(label(left - 44 if left > 44 else 0, top - 12, y_label, "name"))
        return parts

    def path(self, points: Sequence[Point]) -> str:
        """The `d` of a polyline."""
        return "M" + "L".join(f"{self.x(x):g} {self.y(y):g}" for x, y in points)


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, title: str, *, zero: bool = False) -> str:
    """Curves over a common x axis, each named at its end."""
    drawn = [
        Line(line.name, [(x, y) for x, y in line.points if is_finite(x) and is_finite(y)], line.kind) for line in lines
    ]
    drawn = [line for line in drawn if line.points]
    if not drawn:
        return ""
    steps = [x for line in drawn for x, _ in line.points]
    first, last = (min(steps), max(steps)) if min(steps) < max(steps) else widened(steps)
    low, high = widened([y for line in drawn for _, y in line.points], zero=zero)
    area = Plane(Scale(min(first, 0.0), last, 52, LINE_WIDTH - 12), Scale(low, high, 200, 30))
    return svg(title, LINE_WIDTH, 245, [*area.axes(x_label, y_label), *_curves(area, drawn)])


def _curves(area: Plane, lines: Sequence[Line]) -> list[str]:
    parts = []
    for line in lines:
        kind = f"line {line.kind}"
        if len(line.points) == 1:
            x, y = line.points[0]
            parts.append(f'<circle class="dot {line.kind}" cx="{area.x(x):g}" cy="{area.y(y):g}" r="4"/>')
        else:
            parts.append(f'<path class="{kind}" d="{area.path(line.points)}"/>')
    if len(lines) > 1:
        for number, line in enumerate(reversed(lines)):
            at = LINE_WIDTH - 12 - 120 * number
            parts.append(f'<path class="line {line.kind}" d="M{at - 118:g} 12h18"/>')
            parts.append(label(at - 95, 16, shortened(line.name, 15), "tick", full=line.name))
    return parts


def share_chart(curves: Sequence[Line], x_label: str, y_label: str, title: str, *, mark: Point | None = None) -> str:
    """Curves in the unit square, such as ROC and reliability."""
    drawn = [
        Line(line.name, [(x, y) for x, y in line.points if is_finite(x) and is_finite(y)], line.kind) for line in curves
    ]
    if not any(line.points for line in drawn if line.kind != "reference"):
        return ""
    area = Plane(Scale(0, 1, 52, 332), Scale(0, 1, 310, 30))
    parts = area.axes(x_label, y_label)
    for line in drawn:
        if len(line.points) > 1:
            parts.append(f'<path class="line {line.kind}" d="{area.path(line.points)}"/>')
    if mark is not None:
        parts.append(f'<circle class="dot main" cx="{area.x(mark[0]):g}" cy="{area.y(mark[1]):g}" r="4.5"/>')
    return svg(title, 350, 355, parts)


def reliability_chart(bins: Sequence[tuple[float, float, int]], title: str) -> str:
    """Mean confidence against the share that was right, a circle for each bin, larger for more answers.

    Args:
        bins: (confidence, accuracy, count).
    """
    known = [item for item in bins if item[2] > 0 and is_finite(item[0]) and is_finite(item[1])]
    if not known:
        return ""
    area = Plane(Scale(0, 1, 52, 332), Scale(0, 1, 310, 30))
    parts = area.axes("stated probability", "share that was right")
    parts.append(f'<path class="line reference" d="{area.path([(0, 0), (1, 1)])}"/>')
    if len(known) > 1:
        parts.append(f'<path class="line main" d="{area.path([(x, y) for x, y, _ in known])}"/>')
    most = max(count for _, _, count in known)
    for confidence, accuracy, count in known:
        radius = 3 + 6 * (count / most) ** 0.5
        hint = f"stated {confidence:.2f}, right {accuracy:.2f}, {count:,} answers"
        parts.append(
            f'<circle class="dot main soft" cx="{area.x(confidence):g}" cy="{area.y(accuracy):g}" r="{radius:.1f}">'
            f"<title>{hint}</title></circle>"
        )
    return svg(title, 350, 355, parts)


def whisker_chart(rows: Sequence[Whisker], x_label: str, title: str, *, reference: float | None = None) -> str:
    """Dots with intervals, one row each, on a common axis; `reference` is a dashed vertical line."""
    drawn = [row for row in rows if is_finite(row.value)]
    if not drawn:
        return ""
    ends = finite(value for row in drawn for value in (row.low, row.value, row.high))
    low, high = widened([*ends, *finite([reference])], count=4)
    left, right = 168.0, WIDTH - 16.0
    across = Scale(low, high, left, right)
    bottom = 26 + 34 * len(drawn)
    step = step_of(low, high, 4)
    parts = []
    for value in ticks(low, high, 4):
        parts.append(f'<path class="grid" d="M{across(value):g} 12V{bottom:g}"/>')
        parts.append(label(across(value), bottom + 18, tick_text(value, step), "tick", "middle"))
    if reference is not None and is_finite(reference):
        parts.append(f'<path class="line reference" d="M{across(reference):g} 12V{bottom:g}"/>')
    for number, row in enumerate(drawn):
        parts += _whisker(row, across, 32 + 34 * number)
    parts.append(label((left + right) / 2, bottom + 38, x_label, "name", "middle"))
    return svg(title, WIDTH, bottom + 46, parts)


def _whisker(row: Whisker, across: Scale, y: float) -> list[str]:
    kind = "main" if row.main else "bad" if row.mark else "second"
    low, high = (row.low, row.high) if is_finite(row.low) and is_finite(row.high) else (row.value, row.value)
    text = shortened(row.label, 22)
    parts = [label(158, y + 4, text, "label strong" if row.main else "label", "end", row.label)]
    name = shortened(row.label, LONGEST_HINT)
    hint = f"<title>{escape(f'{name}: {row.shown}')}</title>" if row.shown else ""
    parts.append(f'<path class="whisker {kind}" d="M{across(low):g} {y:g}H{across(high):g}"/>')
    x = across(row.value)
    if row.main:
        parts.append(f'<circle class="dot main" cx="{x:g}" cy="{y:g}" r="6">{hint}</circle>')
    elif row.mark:
        parts.append(f'<path class="dot bad" d="M{x:g} {y - 6:g}l6 6l-6 6l-6 -6z">{hint}</path>')
    else:
        parts.append(f'<circle class="dot second" cx="{x:g}" cy="{y:g}" r="4.5">{hint}</circle>')
    return parts


def bar_chart(rows: Sequence[Whisker], x_label: str, title: str, *, signed: bool = False) -> str:
    """Horizontal bars from zero with their figures; `signed` shows which side of zero by shape and color."""
    drawn = [row for row in rows if is_finite(row.value)]
    if not drawn:
        return ""
    low, high = widened([*finite(row.value for row in drawn), *finite(row.high for row in drawn)], zero=True)
    left, right = 168.0, WIDTH - 74.0
    across = Scale(low, high, left, right)
    zero = across(0)
    parts = []
    for number, row in enumerate(drawn):
        y = 8 + 27 * number
        x = across(row.value)
        kind = "minus" if signed and row.value < 0 else "plus"
        parts.append(label(158, y + 14, shortened(row.label, 22), "label", "end", row.label))
        parts.append(f'<rect class="bar {kind}" x="{min(x, zero):g}" y="{y}" width="{abs(x - zero):g}" height="18"/>')
        if row.high > row.low and is_finite(row.low) and is_finite(row.high):
            parts.append(f'<path class="whisker over" d="M{across(row.low):g} {y + 9}H{across(row.high):g}"/>')
        parts.append(label(right + 8, y + 14, row.shown or tick_text(row.value, row.value), "tick"))
    bottom = 8 + 27 * len(drawn)
    parts.append(f'<path class="axis" d="M{zero:g} 2V{bottom:g}"/>')
    parts.append(label((left + right) / 2, bottom + 16, x_label, "name", "middle"))
    return svg(title, WIDTH, bottom + 26, parts)


def heat_map(labels: Sequence[str], counts: Sequence[Sequence[float]], title: str) -> str:
    """A confusion matrix: rows are what is true, columns what was answered, shade the share of the row."""
    size = len(labels)
    if not size or any(len(row) != size for row in counts) or len(counts) != size:
        return ""
    longest = min(max(map(breadth, labels)), 14)
    left = 26 + 7.2 * longest
    cell = max(22.0, min(64.0, (620 - left) / size))
    top = 30 + (18 if size <= 4 else 6.0 * longest + 10)
    parts = [label(left + cell * size / 2, 14, "answered", "name", "middle")]
    parts.append(
        f'<text class="name" text-anchor="middle" transform="translate(12 {top + cell * size / 2:g})rotate(-90)">'
        "true</text>"
    )
    for column, text in enumerate(labels):
        x = left + cell * (column + 0.5)
        if size <= 4:
            parts.append(label(x, top - 8, shortened(text, max(3, int(cell / 7))), "tick", "middle", text))
        else:
            parts.append(
                f'<text class="tick" transform="translate({x + 3:g} {top - 8:g})rotate(-60)"><title>'
                f"{escape(shortened(text, LONGEST_HINT))}</title>{escape(shortened(text, 14))}</text>"
            )
    for row, text in enumerate(labels):
        parts.append(label(left - 8, top + cell * (row + 0.5) + 4, shortened(text, 14), "tick", "end", text))
        parts += _cells(labels, counts[row], row, left, top, cell)
    return svg(title, left + cell * size + 12, top + cell * size + 8, parts)


def _cells(labels: Sequence[str], counts: Sequence[float], row: int, left: float, top: float, cell: float) -> list[str]:
    known = finite(counts)
    total = sum(known) or 1.0
    parts = []
    for column, count in enumerate(counts):
        if not is_finite(count):
            continue
        x, y, share = left + cell * column, top + cell * row, count / total
        kind = "hit" if column == row else "miss"
        hint = (
            f"{labels[row]} answered as {labels[column]}: {count:,.0f} ({100 * share:.1f}% of the true {labels[row]})"
        )
        opacity = 0 if not count else max(0.08, share)
        parts.append(
            f'<rect class="cell {kind}" x="{x:.1f}" y="{y:.1f}" width="{cell - 1.5:.1f}" height="{cell - 1.5:.1f}" '
            f'fill-opacity="{opacity:.2f}"><title>{escape(hint)}</title></rect>'
        )
        if count:
            text = tick_text(count, 1) if count < 10_000 else f"{count / 1000:.0f}k"
            name = "count" if cell >= 30 else "count small"
            parts.append(label(x + cell / 2 - 0.75, y + cell / 2 + 4, text, name, "middle"))
    return parts


def scatter_chart(expected: Sequence[float], answered: Sequence[float], unit: str, title: str) -> str:
    """Answered against true numbers, with the line on which both are equal."""
    points = [(x, y) for x, y in zip(expected, answered, strict=False) if is_finite(x) and is_finite(y)]
    if not points:
        return ""
    low, high = widened([value for point in points for value in point])
    area = Plane(Scale(low, high, 58, 378), Scale(low, high, 350, 30))
    suffix = f" ({unit})" if unit else ""
    parts = area.axes(f"true{suffix}", f"answered{suffix}", 4, 5)
    parts.append(f'<path class="line reference" d="{area.path([(low, low), (high, high)])}"/>')
    dots = "".join(f"M{area.x(x):g} {area.y(y):g}h0" for x, y in points)
    parts.append(f'<path class="points" d="{dots}"/>')
    return svg(title, 396, 395, parts)


def strip(values: Sequence[float], title: str) -> str:
    """A row of upright bars around zero: contributions along time."""
    known = [value if is_finite(value) else 0.0 for value in values]
    largest = max((abs(value) for value in known), default=0.0)
    if not largest:
        return ""
    width = WIDTH / len(known)
    parts = [f'<path class="axis" d="M0 40H{WIDTH}"/>']
    for number, value in enumerate(known):
        height = 36 * abs(value) / largest
        top = 40 - height if value >= 0 else 40
        kind = "plus" if value >= 0 else "minus"
        parts.append(
            f'<rect class="bar {kind}" x="{number * width:.2f}" y="{top:.1f}" width="{max(width - 0.5, 0.5):.2f}" '
            f'height="{height:.1f}"/>'
        )
    return svg(title, WIDTH, 80, parts)


def trace(values: Sequence[float], title: str) -> str:
    """A small line of a series' values."""
    known = [(float(place), value) for place, value in enumerate(values) if is_finite(value)]
    if len(known) < 2:
        return ""
    low, high = widened([value for _, value in known])
    area = Plane(Scale(0, len(values) - 1, 2, WIDTH - 2), Scale(low, high, 78, 2))
    return svg(title, WIDTH, 80, [f'<path class="line main" d="{area.path(known)}"/>'])
