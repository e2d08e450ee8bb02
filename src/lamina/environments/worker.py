"""A process that steps some copies of an environment: `python -m lamina.environments.worker`, started by `workers`.

The environment comes by its name and is opened anew, never as an object. Orders come on standard input, answers go to
standard output, and what the environment itself prints goes to standard error. When the input ends, whoever gave the
orders has ended, however, and so does this process. It imports no PyTorch.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from lamina.environments import Actions, messages
from lamina.environments.copies import Here
from lamina.environments.opening import maker
from lamina.errors import InputError

GRACE = 2.0
"""Seconds in which the environments can end once nobody listens any more."""


def main() -> None:
    """Answer every order until there are no more; the first message says which environment it is about."""
    source, target = _pipes()
    with suppress(EOFError, BrokenPipeError):
        wanted = messages.read(source)
        threading.Thread(target=_end_with, args=(source.fileno(),), daemon=True).start()
        sys.path[:] = wanted["path"]
        parts = _Parts(wanted["name"], wanted["base"], Actions(**wanted["actions"]))
        try:
            while True:
                messages.write(target, parts.answer(*messages.read(source)))
        finally:
            parts.close()


def _pipes() -> tuple[BinaryIO, int]:
    """(Orders, where answers go), out of reach of what an environment reads, prints and starts."""
    source, target = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, target


def _end_with(descriptor: int) -> None:
    """End when the giver of the orders has, even in the midst of a long step."""
    if not hasattr(select, "poll"):
        # Then the step comes to its end first, and the next order is missing.
        return
    waiting = select.poll()
    # Of nothing that can be read: a pipe's closing is told without being asked for.
    waiting.register(descriptor, 0)
    waiting.poll()
    time.sleep(GRACE)
    os._exit(1)


class _Parts:
    """What this process has of each set of copies, by the number of the set."""

    def __init__(self, name: str, base: str | None, actions: Actions) -> None:
        self._name, self._base, self._actions = name, base, actions
        self._open: dict[int, Here] = {}

    def answer(self, what: str, number: int, *order: Any) -> bytes:
        """What copies gave when they did what is ordered, and what one of them raised, if any."""
        results: list[Any] = []
        failed = None
        try:
            self._do(what, number, order, results)
        except Exception as error:  # noqa: BLE001
            failed = told(error)
        try:
            return messages.encoded({"results": [_sent(result, what) for result in results], "failed": failed})
        except (TypeError, ValueError) as error:
            return messages.encoded({"results": [], "failed": told(error)})

    def _do(self, what: str, number: int, order: tuple[Any, ...], results: list[Any]) -> None:
        if what == "open":
            make = maker(self._name, None if self._base is None else Path(self._base))
            self._open[number] = Here([make(None) for _ in range(order[0])], self._actions)
        elif what == "reset":
            self._open[number].reset(dict(order[0]), results)
        elif what == "step":
            self._open[number].step(order[0], order[1], results)
        elif what == "replay":
            episodes = {copy: (seed, actions) for copy, seed, actions in order[0]}
            self._open[number].replay(episodes, order[1], results)
        else:
            self._open.pop(number).close()

    def close(self) -> None:
        """Give back what is still open."""
        for copies in self._open.values():
            copies.close()


def _sent(result: Any, what: str) -> Any:
    if what == "step":
        # What else an environment tells (its info) is anything at all, and nobody asks for it.
        observation, reward, terminated, truncated, _ = result
        return observation, reward, terminated, truncated, None
    if what == "replay":
        return {**vars(result), "error": result.error and told(result.error)}
    return result


def told(error: Exception) -> dict[str, str | None]:
    """An error as a message; the environment's own is raised again by its name (`workers.raised`)."""
    known = {"kind": type(error).__name__, "trace": "".join(traceback.format_exception(error))}
    if isinstance(error, InputError):
        return {**known, "text": error.what, "where": error.where, "fix": error.fix}
    return {**known, "text": str(error), "where": None, "fix": None}


if __name__ == "__main__":
    main()
