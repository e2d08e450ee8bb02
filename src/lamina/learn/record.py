"""What happened, step by step: `log.jsonl` on disk, and one listener for the display."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from lamina.errors import InputError


class Display(Protocol):
    """Shows progress to a person."""

    def show(self, entry: Mapping[str, Any]) -> None: ...


class Silent:
    """Shows nothing."""

    def show(self, entry: Mapping[str, Any]) -> None:
        return None


class Record:
    """Appends entries to a JSON-lines file, one line a call, in order of steps.

    Args:
        file: the log; None keeps entries in memory only.
    """

    def __init__(self, file: Path | None, display: Display | None = None) -> None:
        self.file, self.display = file, display or Silent()
        self.entries: list[dict[str, Any]] = []
        if file is not None and file.exists():
            self.entries = list(read(file))

    def go_on_from(self, step: int) -> None:
        """Drop what was written after `step`: training goes on from there, and writes it again."""
        self.entries = [entry for entry in self.entries if entry.get("step", -1) <= step]
        if self.file is not None and self.file.exists():
            self._rewrite()

    def write(self, kind: str, **values: Any) -> None:
        """Add an entry; tensors become numbers here."""
        entry = {"kind": kind, **{name: _plain(value) for name, value in values.items()}}
        self.entries.append(entry)
        if self.file is not None:
            try:
                with self.file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
            except OSError as error:
                raise InputError(
                    f"Cannot write the log: {error.strerror}.",
                    where=str(self.file),
                    fix="Free disk space, then `lamina resume`: nothing before the last checkpoint is lost.",
                ) from error
        self.display.show(entry)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All entries of a kind, in order."""
        return [entry for entry in self.entries if entry["kind"] == kind]

    def _rewrite(self) -> None:
        assert self.file is not None
        beside = self.file.with_name(f".{self.file.name}.part")
        beside.write_text("".join(json.dumps(entry) + "\n" for entry in self.entries), encoding="utf-8")
        os.replace(beside, self.file)


def read(file: Path) -> Iterable[dict[str, Any]]:
    """The whole lines of a log; a last line cut off by a killed process is left out."""
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict):
            yield entry


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value
