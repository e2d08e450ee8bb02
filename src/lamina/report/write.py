"""Draw a run's report from its results.json and plan.toml."""

from __future__ import annotations

import json
from pathlib import Path

from lamina.errors import InputError
from lamina.evaluate.results import from_json
from lamina.files import write_text
from lamina.report.render import render
from lamina.run import Run


def write_report(run: Run) -> Path:
    """Write RUNDIR/report.html; returns its path.

    Raises:
        InputError: the run has no results yet.
    """
    try:
        document = json.loads(run.results.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"The run {run.folder} is not finished.", fix=f"`lamina resume {run.folder}` goes on with it."
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"The run's results.json is damaged: {error}.",
            where=str(run.results),
            fix=f"Delete it; `lamina resume {run.folder}` tests again.",
        ) from None
    plan_text = run.plan_file.read_text(encoding="utf-8")
    results = from_json(document)
    write_text(run.report, render(results, plan_text, results.versions.get("command", "")))
    return run.report
