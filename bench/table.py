"""Write docs/benchmarks.md from bench/results/: the figures stand there exactly as they were measured.

python -m bench table
"""

from __future__ import annotations

import importlib
import json
import statistics
from pathlib import Path
from typing import Any

from bench import _machine
from bench.__main__ import places
from bench.accuracy.__main__ import JOBS, reached

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Every figure here was measured by a script in `bench/`, and is written into this page by `python -m bench table` from
the files in `bench/results/`, which hold the machine's description, versions, every single value and the verdicts.
Repeat any of them with `python -m bench NAME --data DATA`, where DATA is a folder with the data sets named in the
tables, all of them public, each laid out as a user would have it: class folders, CSV, JSON lines, Parquet.

Machines differ and shared machines are noisy: compare figures of one run with each other, not with another page's.
"""


def read(prefix: str) -> dict[str, dict[str, Any]]:
    """Results by name, of those whose file name begins with `prefix`."""
    files = sorted(_machine.RESULTS.glob(f"{prefix}*.json"))
    return {file.stem.removeprefix(prefix): json.loads(file.read_text()) for file in files}


def accuracy() -> str:
    """The table of whole jobs."""
    rows, besides = [], []
    for name, found in read("accuracy-").items():
        job = JOBS[name]
        wanted = [f"{job.must:g}"] if job.must is not None else []
        wanted += [f"{job.beyond[1]:g} better than {job.beyond[0]}"] if job.beyond is not None else []
        wanted += ["as good as every baseline"] if job.ahead else []
        must = ", ".join(wanted) or "-"
        if not reached(job, found):
            must += " **(not reached)**"
        values = f"{found['median']:.4g} ({found['least']:.4g} to {found['most']:.4g})"
        seconds = f"{max(found['wall seconds']):.0f}"
        rows.append(
            f"| {name} | {found['score']} | {values} | {found['n']} | {must} | {found['verdicts'][0]} | {seconds} |"
        )
        for words, tools in found.get("besides", {}).items():
            figures = "; ".join(
                f"{tool} {_figure(statistics.median(values))} ({_figure(min(values))} to {_figure(max(values))})"
                for tool, values in tools.items()
            )
            besides.append(f"{name}, {words}: {figures}.")
    head = "| data | score | median (least to most) | seeds | must | verdict of the first seed | longest run, s |\n"
    return head + "|---|---|---|---|---|---|---|\n" + "\n\n".join(("\n".join(rows), *besides))


def _figure(value: float) -> str:
    """A share as percent, anything larger as it is."""
    return f"{value:.1%}" if value <= 1 else f"{value:.3g}"


def other() -> str:
    """Every other result, as the script that measured it tells it."""
    parts, known = [], places()
    for name, found in read("").items():
        if name.startswith("accuracy-"):
            continue
        body = {key: value for key, value in found.items() if key != "machine"}
        # A bench of several jobs keeps one file for each: BENCH-JOB.
        module = known.get(name) or known[name.partition("-")[0]]
        parts.append(f"### {name}\n\n{importlib.import_module(module).page(body)}")
    return "\n\n".join(parts)


def machines() -> str:
    """The machines behind the results, each once."""
    known: dict[str, list[str]] = {}
    for name, found in read("").items():
        for described in (found["machine"], *found.get("earlier machines", [])):
            machine = {key: value for key, value in described.items() if key not in ("load before", "date")}
            names = known.setdefault(json.dumps(machine), [])
            names += [name] if name not in names else []
    return "\n\n".join(f"`{machine}`: {', '.join(names)}" for machine, names in known.items())


def main(words: list[str]) -> int:
    text = f"{HEAD}\n## Accuracy: whole jobs from raw files to sealed models\n\n{accuracy()}\n\n"
    text += f"## Promises\n\n{other()}\n\n## Machines\n\n{machines()}\n"
    PAGE.write_text(text)
    print(PAGE)
    return 0
