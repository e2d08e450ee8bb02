"""One self-contained HTML page about a run."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lamina.data.schema import Json
from lamina.evaluate.results import Explanation, Results, from_json, to_json
from lamina.report import overview, target, wording
from lamina.report.inputs import is_picture, is_sound

FOLDER = Path(__file__).parent
LONGEST = 500
"""Characters of any one text; what is longer is cut."""
LONGEST_VALUE = 1600
"""Characters of an input's value."""


def render(results: Results, plan_text: str, command: str) -> str:
    """The report as HTML: verdict first, nothing loaded from elsewhere, readable without scripts.

    Args:
        results: what the run found out.
        plan_text: `plan.toml`, with its reasons.
        command: what the user wrote to start the run; "" if it is not known.
    """
    results = from_json({**_cut(to_json(results)), "versions": to_json(results.versions)})
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    explanations: dict[str, Explanation] = {item.target: item for item in results.explanations}
    targets = [target.view(item, explanations.get(item.target)) for item in results.targets]
    versions = dict(results.versions)
    return environment.get_template("page.html").render(
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        name=results.name,
        created=results.created,
        targets=targets,
        standing_out=overview.standing_out(results),
        notes=overview.notes(results),
        exhibits=overview.exhibits(results),
        data=overview.data(results.data),
        plan=overview.plan(plan_text),
        network=overview.network(results.network),
        curves=overview.curves(results.curves, results.targets[0] if results.targets else None),
        seal=overview.seal(results.seal),
        cost=overview.cost(results.cost),
        command=command or versions.get("command", ""),
        versions=[(wording.words(key), value) for key, value in versions.items() if key != "command"],
    )


def _cut(part: Json, key: str = "") -> Json:
    """The same JSON with long texts cut, pictures and sounds whole: a cell of the data can hold a book."""
    if isinstance(part, dict):
        return {name: _cut(value, name) for name, value in part.items()}
    if isinstance(part, list):
        return [_cut(value, key) for value in part]
    if not isinstance(part, str) or is_picture(part) or is_sound(part):
        return part
    longest = LONGEST_VALUE if key == "value" else LONGEST
    return part if len(part) <= longest else part[: longest - 1] + "…"
