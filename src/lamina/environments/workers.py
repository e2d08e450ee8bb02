"""Copies of an environment in worker processes, each of which steps a part of them while the others step theirs.

For environments whose steps take long beside a message. Processes are started by the operating system, as those of
`subprocess` are: what a fork would copy of threads that hold locks is undefined, and the `spawn` of `multiprocessing`
would run the user's script again, with all that it imports.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import lamina
from lamina.environments import Array, World, messages
from lamina.environments.copies import Replayed
from lamina.environments.worker import GRACE
from lamina.errors import InputError

WITHOUT = "--set training.workers=0"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Libraries that compute read these; threads of several workers on the same cores would wait for each other."""


class Workers:
    """Processes for one environment, which end when this object is closed or this process ends, however it does.

    Args:
        world: what each of them opens, by its name.
        number: how many processes.

    Raises:
        InputError: they cannot be started.
    """

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sets = count()
        wanted = {
            "name": world.name,
            "base": None if world.base is None else str(world.base.resolve()),
            "path": [str(entry) for entry in sys.path],
            "actions": asdict(world.actions),
        }
        try:
            for worker in range(number):
                self._processes.append(_started())
                self._tell(worker, messages.encoded(wanted))
        except OSError as error:
            self.close()
            raise InputError(
                f"A worker process cannot be started ({error}).", where=world.name, fix=f"Do without: {WITHOUT}"
            ) from error
        except BaseException:
            self.close()
            raise

    def copies(self, number: int) -> Spread:
        """So many fresh copies of the environment, spread over the processes.

        Raises:
            InputError: a process cannot open it.
        """
        return Spread(self, next(self._sets), number, len(self._processes))

    def ask(self, orders: Mapping[int, Any], results: list[Any]) -> None:
        """Give these processes their orders, and only then wait for the answers: all of them, whatever one has raised.

        Args:
            orders: by process.
            results: what was answered, in the order of the processes, is appended.

        Raises:
            InputError: a process has died; then all are ended.
            Exception: what the environment raised.
        """
        try:
            for worker, order in orders.items():
                self._tell(worker, messages.encoded(order))
            answers = [self._answer(worker) for worker in orders]
        except BaseException:
            # Answers that nobody has read would be taken for those to the next orders.
            self.close()
            raise
        for answer in answers:
            results += answer["results"]
            if answer["failed"]:
                raise raised(answer["failed"])

    @property
    def running(self) -> bool:
        """Can they be asked?"""
        return bool(self._processes)

    def close(self) -> None:
        """End the processes, with the environments in them."""
        for process in self._processes:
            for pipe in (process.stdout, process.stdin):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
        until = time.monotonic() + GRACE
        for process in self._processes:
            try:
                process.wait(max(until - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = []

    def _tell(self, worker: int, message: bytes) -> None:
        try:
            messages.write(self._processes[worker].stdin.fileno(), message)  # type: ignore[union-attr]
        except BrokenPipeError:
            raise self._lost(worker) from None

    def _answer(self, worker: int) -> Any:
        try:
            return messages.read(self._processes[worker].stdout)  # type: ignore[arg-type]
        except EOFError:
            raise self._lost(worker) from None

    def _lost(self, worker: int) -> InputError:
        try:
            code = self._processes[worker].wait(GRACE)
            how = f"was ended by {_signal(-code)}" if code < 0 else f"ended with code {code}"
        except subprocess.TimeoutExpired:
            how = "answers no more"
        return InputError(
            f"A worker process that steps the environment {how}.",
            where=self.world.name,
            fix="`lamina resume` goes on from the last checkpoint. If this happens again, see what it prints, "
            f"or start anew with fewer copies (--set method.copies=4) or without workers ({WITHOUT}).",
        )


class Spread:
    """Copies in worker processes, each of which steps its part of them."""

    def __init__(self, workers: Workers, set_number: int, number: int, processes: int) -> None:
        self._workers, self._set = workers, set_number
        # Neighbours are together: so results are in order as they come.
        borders = [number * worker // processes for worker in range(processes + 1)]
        self._parts = {
            worker: range(first, end) for worker, (first, end) in enumerate(pairwise(borders)) if first < end
        }
        try:
            self._ask({worker: ["open", len(part)] for worker, part in self._parts.items()}, [])
        except InputError as error:
            raise InputError(
                f"A worker process cannot open the environment: {error.what}",
                where=error.where or workers.world.name,
                fix="Put what opens it into a module, for a fresh Python knows nothing of this script or session; or "
                f"step all copies in one process: {WITHOUT}",
            ) from error

    def reset(self, seeds: Mapping[int, int], results: list[Any]) -> None:
        parts = self._divided(list(seeds))
        self._ask(
            {worker: ["reset", [[copy - first, seeds[copy]] for copy in inside]] for worker, first, inside in parts},
            results,
        )

    def step(self, running: Sequence[int], actions: Array, results: list[Any]) -> None:
        orders, begin = {}, 0
        for worker, first, inside in self._divided(running):
            end = begin + len(inside)
            orders[worker] = ["step", [copy - first for copy in inside], actions[begin:end]]
            begin = end
        self._ask(orders, results)

    def replay(self, episodes: Mapping[int, tuple[int, Array]], keep: int, results: list[Replayed]) -> None:
        found: list[dict[str, Any]] = []
        parts = self._divided(list(episodes))
        self._ask(
            {
                worker: ["replay", [[copy - first, *episodes[copy]] for copy in inside], keep]
                for worker, first, inside in parts
            },
            found,
        )
        results += [Replayed(**{**item, "error": item["error"] and raised(item["error"])}) for item in found]

    def close(self) -> None:
        if self._workers.running:
            self._ask({worker: ["close"] for worker in self._parts}, [])

    def _divided(self, copies: Sequence[int]) -> list[tuple[int, int, list[int]]]:
        """(Process, its first copy, those of `copies` that it has) where it has any."""
        divided = [
            (worker, part.start, [copy for copy in copies if copy in part]) for worker, part in self._parts.items()
        ]
        return [(worker, first, inside) for worker, first, inside in divided if inside]

    def _ask(self, orders: Mapping[int, list[Any]], results: list[Any]) -> None:
        self._workers.ask({worker: [what, self._set, *order] for worker, (what, *order) in orders.items()}, results)


def _started() -> subprocess.Popen[bytes]:
    """A Python of the same kind, that Ctrl-C in the terminal does not reach: ending it is for us."""
    package = str(Path(lamina.__file__).parents[1])
    environment = {
        # What the user has set of threads stays.
        **dict.fromkeys(THREADS, "1"),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")])),
    }
    return subprocess.Popen(
        # -P: modules are not looked for in the folder that we happen to be in.
        [sys.executable or "", "-P", "-m", "lamina.environments.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        # It is there on Windows only, where sessions are not.
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def raised(told: Mapping[str, str | None]) -> Exception:
    """The error that a worker told, of the same name; where it happened there is in its notes."""
    text = told["text"] or ""
    if told["fix"] is not None:
        error: Exception = InputError(text, where=told["where"], fix=told["fix"])
    else:
        error = type(told["kind"] or "Exception", (Exception,), {})(text)
    error.add_note(f"In a worker process:\n{told['trace']}")
    return error
