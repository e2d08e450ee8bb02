"""One thread answers for a model; requests that wait while it is busy are answered together.

The network runs many rows at once nearly as fast as one, so what has come in meanwhile goes through it together. Nobody
waits for others to come: a request that finds the thread idle is answered at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamina.errors import LaminaError
from lamina.model.answers import row_of
from lamina.model.rows import RawChunk, Rows
from lamina.model.runtime import BATCH, Model
from lamina.serve.values import Asked

Lines = list[dict[str, Any]]


class FullError(LaminaError):
    """More rows wait than will be answered soon."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting:,} rows wait to be answered.", fix="Ask again in a second.")


@dataclass
class _Job:
    asked: Asked
    found: Future[Lines] = field(default_factory=Future)


class Queue:
    """Requests to one model, in order.

    Args:
        most: rows that may wait; further requests are refused.
    """

    def __init__(self, model: Model, most: int) -> None:
        self.model, self.most = model, most
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        with self._changed:
            return sum(job.asked.count for job in self._jobs)

    def ask(self, asked: Asked) -> Future[Lines]:
        """The answers to a request's rows, once they are there: {target: answer, ..., "error": None}.

        Raises:
            FullError: too many rows wait already.
        """
        job = _Job(asked)
        with self._changed:
            waiting = sum(each.asked.count for each in self._jobs)
            if self._closed or (waiting and waiting + asked.count > self.most):
                raise FullError(waiting)
            self._jobs.append(job)
            self._changed.notify()
        return job.found

    def close(self) -> None:
        """Answer what waits, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._jobs) or self._closed)
                if not self._jobs:
                    return
                together = self._next()
            wanted = [job for job in together if job.found.set_running_or_notify_cancel()]
            if wanted:
                self._answer(wanted)

    def _next(self) -> list[_Job]:
        """The first request, and those after it whose rows fit into the same batch."""
        together = [self._jobs.popleft()]
        room = self.model.fitting(BATCH) - together[0].asked.count
        while not together[0].asked.alone and self._jobs and not self._jobs[0].asked.alone:
            room -= self._jobs[0].asked.count
            if room < 0:
                break
            together.append(self._jobs.popleft())
        return together

    def _answer(self, jobs: Sequence[_Job]) -> None:
        try:
            rows = jobs[0].asked.rows if len(jobs) == 1 else Rows([_joined([job.asked.rows for job in jobs])])
            lines = _lines(self.model, rows)
        except Exception as error:  # noqa: BLE001
            # It belongs to who asked, not to this thread, which goes on answering the others.
            if len(jobs) == 1:
                jobs[0].found.set_exception(error)
                return
            for job in jobs:
                self._answer([job])
            return
        first = 0
        for job in jobs:
            # A request that was alone may have other lines than rows.
            last = len(lines) if len(jobs) == 1 else first + job.asked.count
            job.found.set_result(lines[first:last])
            first = last


def _lines(model: Model, rows: Rows) -> Lines:
    return [row_of(part, row, rows.named_by_path) for part in model.stream(rows) for row in range(part.rows)]


def _joined(several: Sequence[Rows]) -> RawChunk:
    """The rows of several requests as one chunk."""
    chunks = [chunk for rows in several for chunk in rows]
    values = {name: np.concatenate([chunk.values[name] for chunk in chunks]) for name in chunks[0].values}
    errors, first = dict[int, str](), 0
    for chunk in chunks:
        errors |= {first + row: reason for row, reason in chunk.errors.items()}
        first += len(chunk)
    return RawChunk(values, first, errors)
