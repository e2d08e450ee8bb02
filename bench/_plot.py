"""Bars with their spread, as SVG beside docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "plots"
WIDTH, LEFT, RIGHT, ROW, TOP = 760, 190, 90, 30, 40


def bars(name: str, title: str, rows: Sequence[tuple[str, Mapping[str, float]]], marked: str = "") -> str:
    """Draw a bar for each median, a line from the least to the most, and keep it; gives the Markdown that shows it.

    Args:
        rows: (what, a spread as `bench._machine.spread` gives it).
        marked: the row that is drawn in another color.
    """
    largest = max(part["most"] for _, part in rows) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / largest
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {TOP + ROW * len(rows) + 10}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13">',
        "<style>text{fill:#222}.line{stroke:#222}@media(prefers-color-scheme:dark)"
        "{text{fill:#ddd}.line{stroke:#ddd}}</style>",
        f"<title>{escape(title)}</title>",
        f'<text x="8" y="22" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for number, (what, part) in enumerate(rows):
        middle = TOP + ROW * number + ROW / 2
        color = "#c2571a" if what == marked else "#4a7ab5"
        least, median, most = (LEFT + scale * part[key] for key in ("least", "median", "most"))
        parts += [
            f'<text x="{LEFT - 8}" y="{middle + 4:.0f}" text-anchor="end">{escape(what)}</text>',
            f'<rect x="{LEFT}" y="{middle - 9:.0f}" width="{median - LEFT:.1f}" height="18" fill="{color}"/>',
            f'<line class="line" x1="{least:.1f}" x2="{most:.1f}" y1="{middle:.0f}" y2="{middle:.0f}"/>',
            f'<text x="{most + 6:.0f}" y="{middle + 4:.0f}">{part["median"]:,.3g}</text>',
        ]
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.svg").write_text("\n".join([*parts, "</svg>"]) + "\n")
    return f"![{title}](plots/{name}.svg)"
