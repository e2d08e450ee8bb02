"""The run folder: plan, log, checkpoints, results, report, sealed model."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina import plan as plans
from lamina.data.schema import Json
from lamina.errors import InputError, nearest
from lamina.files import write_text
from lamina.plan import Plan

STATES = ("preparing", "training", "trained", "done", "interrupted")
PREPARATION = ("status.json", "prepared.json", "baselines.json", "baselines.npz")
"""Files of a run folder before its plan: without a plan there is nothing to resume, and they are written anew."""


@dataclass(frozen=True)
class Run:
    """Where everything about one run lies."""

    folder: Path

    @property
    def plan_file(self) -> Path:
        return self.folder / "plan.toml"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def model(self) -> Path:
        return self.folder / "model.lamina"

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def prepared(self) -> Path:
        """The fitted encoders and tasks."""
        return self.folder / "prepared.json"

    @property
    def weights(self) -> Path:
        """The network's final weights (safetensors), for transfer and for a look inside."""
        return self.folder / "weights.safetensors"

    def plan(self) -> Plan:
        """The run's plan."""
        return plans.read(self.plan_file)

    def write_plan(self, plan: Plan) -> None:
        write_text(self.plan_file, plans.to_toml(plan))

    def status(self) -> dict[str, Json]:
        """{"state", "seconds": {step: seconds}, "command"}."""
        try:
            document = json.loads((self.folder / "status.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return {"state": "preparing", "seconds": {}, "command": ""}
        return document if isinstance(document, dict) else {"state": "preparing", "seconds": {}, "command": ""}

    def write_status(self, **changes: Json) -> None:
        write_text(self.folder / "status.json", json.dumps({**self.status(), **changes}, indent=1))

    def write_json(self, path: Path, document: Mapping[str, Any]) -> None:
        write_text(path, json.dumps(document))

    def discard(self, *, folder: bool) -> None:
        """Remove what a preparation that failed has left, with `folder` the folder as well if nothing else is in it."""
        for name in PREPARATION:
            (self.folder / name).unlink(missing_ok=True)
        if folder:
            with contextlib.suppress(OSError):
                self.folder.rmdir()


def check_out(out: str | None) -> None:
    """Refuse a run folder that cannot become one; what a killed preparation has left there is no hindrance.

    Raises:
        InputError: `out` is a file, or already holds a run or other files.
    """
    if out is None:
        return
    folder = Path(out)
    if folder.is_file():
        raise InputError(f"{out} is a file.", where="--out", fix="Choose a new folder for the run.")
    if (folder / "plan.toml").exists():
        raise InputError(
            f"There is a run in {out} already.",
            where="--out",
            fix=f"`lamina resume {out}` goes on with it; or choose another folder.",
        )
    if folder.is_dir() and any(item.name not in PREPARATION and item.suffix != ".part" for item in folder.iterdir()):
        raise InputError(f"{out} is not empty.", where="--out", fix="Choose a new or an empty folder.")


def create(out: str | None, name: str) -> Run:
    """A new run folder: `out`, or `runs/NAME`, `runs/NAME-2`, ...

    Raises:
        InputError: `out` already holds a run or other files, or cannot be written.
    """
    check_out(out)
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
    folder = free(Path("runs") / stem) if out is None else Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot create the folder {folder}: {error.strerror}.", where="--out", fix="Choose another folder."
        ) from None
    return Run(folder)


def free(folder: Path) -> Path:
    """`folder`, or `folder-2`, `folder-3`, ... if there is something already."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found


def find(path: str | Path) -> Run:
    """The run in the folder `path` (or of a file in it).

    Raises:
        InputError: there is none; names the runs beside it.
    """
    folder = Path(path)
    if folder.is_file():
        folder = folder.parent
    if (folder / "plan.toml").exists():
        return Run(folder)
    if (folder / "status.json").exists():
        raise InputError(
            f"The run in {path} was stopped while its data was being prepared: there is nothing to go on with.",
            fix="Start it again with the same `lamina train` command; its folder can be used again.",
        )
    parent = folder.parent if folder.parent.is_dir() else Path()
    beside = [str(item.parent) for item in sorted(parent.glob("*/plan.toml"))]
    beside += [str(item.parent) for item in sorted(Path("runs").glob("*/plan.toml")) if str(item.parent) not in beside]
    raise InputError(f"There is no run in {path}.", fix=f"Give a run folder; {nearest(str(path), beside)}.")


def model_file(path: Path) -> Path:
    """The sealed model: the file itself, or the one in a run folder.

    Raises:
        InputError: the run is not finished.
    """
    if not path.is_dir():
        return path
    if (path / "plan.toml").exists() and not (path / "model.lamina").exists():
        raise InputError(
            f"The run in {path} has no sealed model: it is not finished.",
            where=str(path),
            fix=f"`lamina resume {path}` finishes it.",
        )
    return path / "model.lamina"


def check_same(run: Run, plan: Plan, fingerprint: str) -> None:
    """Refuse to go on with other data than a run was started with.

    Raises:
        InputError: the fingerprint of the data is another one.
    """
    if fingerprint != plan.data.fingerprint:
        places = " or ".join(filter(None, dict.fromkeys((plan.data.train, plan.data.test, *plan.data.also))))
        raise InputError(
            f"The data in {places} is not what the run {run.folder} was started with.",
            fix="Put the old data back, or start a new run with `lamina train`.",
        )


def all_runs(folder: Path) -> list[Run]:
    """Every run directly in `folder`, the newest first."""
    found = [Run(item.parent) for item in folder.glob("*/plan.toml")]
    return sorted(found, key=lambda run: run.plan_file.stat().st_mtime, reverse=True)
