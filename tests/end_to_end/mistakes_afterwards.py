"""Mistakes with a finished run: the verbs that use its model, and those that need no data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mistakes import Case


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A change of one file of the run's copy."""
    return lambda folder: (folder / "run" / name).write_bytes(change((folder / "run" / name).read_bytes())) and None


def removed(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / "run" / name).unlink()

    return change


AFTERWARDS = [
    Case("predict: no such model", "predict modl.lamina customers.csv", ("modl.lamina",)),
    Case("predict: not a model", "predict customers.csv customers.csv", ("customers.csv", "not a sealed model")),
    Case(
        "predict: model cut short",
        "predict RUN customers.csv",
        ("truncated",),
        change=rewritten("model.lamina", lambda b: b[:-500]),
    ),
    Case(
        "predict: model changed",
        "predict RUN customers.csv",
        ("model.lamina",),
        change=rewritten("model.lamina", lambda b: b[:2000] + b"\x00" * 50 + b[2050:]),
    ),
    Case(
        "predict: empty model", "predict RUN customers.csv", ("empty",), change=rewritten("model.lamina", lambda b: b"")
    ),
    Case(
        "predict: unfinished run",
        "predict RUN customers.csv",
        ("no sealed model", "lamina resume run"),
        change=removed("model.lamina"),
    ),
    Case("predict: folder without model", "predict . customers.csv", ("There is no model at model.lamina",)),
    Case("predict: no such data", "predict RUN custmers.csv", ("Did you mean customers.csv",)),
    Case("predict: column missing", "predict RUN new.csv", ("'city'", "new.csv"), {"new.csv": "age,income\n1,2\n"}),
    Case(
        "predict: column misspelt",
        "predict RUN new.csv",
        ("'income'", "incone"),
        {"new.csv": "age,incone,city\n1,2,Bern\n"},
    ),
    Case("predict: empty data", "predict RUN new.csv", ("new.csv is empty",), {"new.csv": ""}),
    Case("predict: header only", "predict RUN new.csv", ("new.csv", "row"), {"new.csv": "age,income,city\n"}),
    Case("predict: unknown ending", "predict RUN customers.csv --out answers.cvs", (".cvs", "did you mean '.csv'")),
    Case(
        "predict: out is a folder",
        "predict RUN customers.csv --out answers.csv",
        ("answers.csv is a folder",),
        change=lambda f: (f / "answers.csv").mkdir(),
    ),
    Case("predict: out is the input", "predict RUN customers.csv --out ./customers.csv", ("the input itself",)),
    Case(
        "predict: no folder for out",
        "predict RUN customers.csv --out answers/today.csv",
        ("There is no folder answers",),
    ),
    Case("predict: threads below none", "predict RUN customers.csv --threads -2", ("--threads", "-2")),
    Case("test: no target", "test RUN new.csv", ("'label'", "new.csv"), {"new.csv": "age,income,city\n1,2,Bern\n"}),
    Case(
        "test: unknown answers only",
        "test RUN new.csv",
        ("No row could be scored",),
        {"new.csv": "age,income,city,label\n1,2,Bern,maybe\n"},
    ),
    Case("explain: row out of range", "explain RUN customers.csv --row 9999", ("9999", "300")),
    Case("explain: negative row", "explain RUN customers.csv --row -1", ("-1",)),
    Case("explain: bad JSON", 'explain RUN {"age":', ("JSON",)),
    Case("explain: incomplete JSON", 'explain RUN {"age":3}', ("income",)),
    Case(
        "explain: no such folder for out",
        "explain RUN customers.csv --out no/page.html",
        ("page.html", "Make the folder first"),
    ),
    Case("resume: no run", "resume rnu", ("There is no run in rnu", "did you mean 'run'")),
    Case("resume: stopped before its plan", "resume RUN", ("prepared", "lamina train"), change=removed("plan.toml")),
    Case(
        "resume: damaged plan",
        "resume RUN",
        ("plan.toml", "TOML"),
        change=rewritten("plan.toml", lambda b: b[:60] + b"\n= ="),
    ),
    Case(
        "resume: data has gone",
        "resume RUN",
        ("gone.csv",),
        change=rewritten("plan.toml", lambda b: b.replace(b"customers.csv", b"gone.csv")),
    ),
    Case(
        "resume: data has changed",
        "resume RUN",
        ("customers.csv", "not what the run"),
        change=rewritten("plan.toml", lambda b: b.replace(b'fingerprint = "', b'fingerprint = "0')),
    ),
    Case(
        "resume: fitted parts damaged",
        "resume RUN",
        ("prepared.json",),
        change=rewritten("prepared.json", lambda b: b[:100]),
    ),
    Case(
        "resume: fitted parts gone",
        "resume RUN",
        ("prepared.json",),
        change=rewritten("prepared.json", lambda b: b"{}"),
    ),
    Case(
        "resume: plan of an unknown network",
        "resume RUN",
        ("'tabn'", "did you mean 'tabm'"),
        change=rewritten("plan.toml", lambda b: b.replace(b'name = "tabm"', b'name = "tabn"')),
    ),
    Case(
        "report: results of another kind",
        "report RUN",
        ("results",),
        change=rewritten("results.json", lambda b: b'{"rows": 3}'),
    ),
    Case("report: no run", "report rnu", ("There is no run in rnu", "did you mean 'run'")),
    Case(
        "report: unfinished run",
        "report RUN",
        ("run is not finished", "lamina resume run"),
        change=removed("results.json"),
    ),
    Case(
        "report: damaged results", "report RUN", ("results.json",), change=rewritten("results.json", lambda b: b[:200])
    ),
    Case("list: unknown", "list netwroks", ("'netwroks'", "did you mean 'networks'")),
    Case("doctor: not a model", "doctor customers.csv", ("not a sealed model",)),
    Case("doctor: damaged model", "doctor RUN", ("truncated",), change=rewritten("model.lamina", lambda b: b[:-9])),
    Case("demo: unknown", "demo imges", ("'imges'", "did you mean 'images'")),
    Case("demo: bad budget", "demo table --budget never", ("'never'", "5m")),
]
