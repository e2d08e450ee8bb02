"""What an earlier run with the same question found out before its training: columns, parts, fits, baselines, paces.

Whoever tries another network on the same data need not wait for them again. What is kept is the very file of the run
folder (or what belongs into none), under a key of all that went into it; another seed, column, option or budget, a
changed file or another version of Lamina is another question.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lamina
from lamina.data import origin
from lamina.data.examples import COMPLETE, cache_folder, trim_cache
from lamina.data.schema import Json
from lamina.files import CannotWriteError, write_bytes
from lamina.plan import Plan
from lamina.run import Run

MOST_BYTES = 2**30
CODE = ("plan.py", "baselines", "data", "modalities", "steps", "tasks")
"""Parts of Lamina whose change makes another question."""
LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "tokenizers")
PACES = "paces.json"
DIGEST = 32
"""Hexadecimal digits behind a kept file's name, of its content."""


@dataclass(frozen=True)
class Question:
    """Where the files of one question are kept."""

    folder: Path

    def take(self, run: Run, *names: str) -> bool:
        """Put the kept files into the run folder; False, and nothing is put there, if one is missing or damaged."""
        contents: list[bytes] = []
        for name in names:
            content = self.read(name)
            if content is None:
                return False
            contents.append(content)
        for name, content in zip(names, contents, strict=True):
            write_bytes(run.folder / name, content)
        with suppress(OSError):
            os.utime(self.folder / COMPLETE)
        return True

    def keep(self, run: Run, *names: str) -> None:
        """Keep files of the run folder; a cache that cannot be written is no hindrance."""
        with suppress(OSError):
            self.write({name: (run.folder / name).read_bytes() for name in names})

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Keep contents by name; a cache that cannot be written is no hindrance."""
        with suppress(OSError, CannotWriteError):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                for old in self._files(name):
                    old.unlink(missing_ok=True)
                write_bytes(self.folder / f"{name}.{_digest(content)}", content)
            write_bytes(self.folder / COMPLETE, b"{}")
            trim_cache(self.folder.parent, MOST_BYTES)

    def read(self, name: str) -> bytes | None:
        """What is kept under a name; None if nothing is, or something damaged."""
        for file in self._files(name):
            with suppress(OSError):
                content = file.read_bytes()
                if file.name == f"{name}.{_digest(content)}":
                    return content
        return None

    def _files(self, name: str) -> Iterator[Path]:
        return self.folder.glob(f"{name}.{'[0-9a-f]' * DIGEST}")


def question(plan: Plan, **more: Json) -> Question:
    """The question that a plan asks of its data, whatever networks and training answer it.

    Args:
        plan: with data, schema and task decided.
        more: what else goes into the answer.
    """
    return question_of(
        data=asdict(plan.data),
        schema=[asdict(field) for field in plan.schema],
        files=_files_in_options(plan),
        task={name: asdict(part) for name, part in plan.task.items()},
        seed=plan.seed,
        **more,
    )


def question_of(**parts: Any) -> Question:
    """The question whose answer depends on `parts` (as JSON), and on this Lamina and its libraries, alone."""
    document = {
        "lamina": lamina.__version__,
        "code": origin.code(*CODE),
        "libraries": origin.versions(LIBRARIES),
        **parts,
    }
    key = _digest(json.dumps(document, sort_keys=True, default=str).encode())
    return Question(cache_folder() / "questions" / key)


STEPPING = ("choose", "learn", "methods", "networks")
"""Parts of Lamina that steps are taken by, besides CODE."""
NO_STEP = (
    "epochs", "steps", "most_epochs", "patience", "evaluations", "find_rate", "keep", "checkpoint_seconds",
)  # fmt: skip
"""Settings of training that do not change what a step costs."""


@dataclass(frozen=True)
class Paces:
    """What was found out about steps: ratios, which depend little on what else the machine was doing, and a pace.

    Attributes:
        threads: seconds of a step for each number of threads that was tried, as multiples of the least.
        gain: pace of bf16 as a multiple of that of fp32; 0 where that was not tried.
        apart: how far the losses of first updates in the two differ at most, relatively.
        pace: seconds a step, with what is best of all that: where steps take as long again, the machine is as free.
    """

    threads: Mapping[int, float]
    gain: float = 0.0
    apart: float = 0.0
    pace: float = 0.0


def steps_question(plan: Plan, shapes: Json, machine: Sequence[Json], fixed: Collection[str]) -> Question:
    """The question how the plan's steps are fastest on this machine.

    Args:
        shapes: of a batch.
        machine: what it is, and how much of it may be used.
        fixed: settings that are not to be decided.
    """
    training = {name: value for name, value in asdict(plan.training).items() if name not in NO_STEP}
    return question_of(
        stepping=origin.code(*STEPPING),
        torch=origin.versions(("torch",)),
        network={name: asdict(part) for name, part in plan.network.items()},
        task={name: asdict(part) for name, part in plan.task.items()},
        method=asdict(plan.method),
        optimizer=plan.optimizer.name,
        training=training,
        shapes=shapes,
        machine=list(machine),
        fixed=sorted({"training.precision"} & set(fixed)),
    )


def paces(asked: Question) -> Paces | None:
    """What an earlier run found out about its steps; None where none did."""
    content = asked.read(PACES)
    if content is None:
        return None
    with suppress(OSError):
        os.utime(asked.folder / COMPLETE)
    found = json.loads(content)
    threads = {int(number): times for number, times in found["threads"].items()}
    return Paces(threads, found["gain"], found["apart"], found["pace"])


def keep_paces(asked: Question, found: Paces) -> None:
    """Keep them for the next run."""
    asked.write({PACES: json.dumps(asdict(found)).encode()})


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=DIGEST // 2).hexdigest()


def _files_in_options(plan: Plan) -> list[tuple[str, int, int]]:
    """Size and time of every file that an option names, such as a tokenizer."""
    found = []
    for options in [item.options for item in plan.schema] + [part.options for part in plan.task.values()]:
        for value in options.values():
            if isinstance(value, str):
                with suppress(OSError, ValueError):
                    stat = Path(value).stat()
                    found.append((value, stat.st_size, stat.st_mtime_ns))
    return found
