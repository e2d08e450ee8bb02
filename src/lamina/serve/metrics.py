"""How often and how quickly was answered, in Prometheus's text format."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, the histogram's upper edges."""


class Metrics:
    """Counts since the start, safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._rows: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._times: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
        self._seconds: dict[str, float] = defaultdict(float)

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request was answered with this status."""
        place = next((number for number, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))
        with self._lock:
            self._requests[path, status] += 1
            self._times[path][place] += 1
            self._seconds[path] += seconds

    def answered(self, model: str, rows: int, errors: int) -> None:
        """So many lines were answered, of which so many are errors."""
        with self._lock:
            self._rows[model] += rows
            self._errors[model] += errors

    def text(self, waiting: Mapping[str, int]) -> str:
        """All of it; `waiting`: rows that wait, by model."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines(waiting))

    def _lines(self, waiting: Mapping[str, int]) -> Iterator[str]:
        yield "# TYPE lamina_requests_total counter"
        for (path, status), count in sorted(self._requests.items()):
            yield f'lamina_requests_total{{path="{_escaped(path)}",status="{status}"}} {count}'
        for name, counts, kind in (
            ("rows_total", self._rows, "counter"),
            ("row_errors_total", self._errors, "counter"),
            ("waiting_rows", waiting, "gauge"),
        ):
            yield f"# TYPE lamina_{name} {kind}"
            for model, count in sorted(counts.items()):
                yield f'lamina_{name}{{model="{_escaped(model)}"}} {count}'
        yield "# TYPE lamina_request_seconds histogram"
        for path, counted in sorted(self._times.items()):
            total = 0
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), counted, strict=True):
                total += count
                yield f'lamina_request_seconds_bucket{{path="{_escaped(path)}",le="{bound}"}} {total}'
            yield f'lamina_request_seconds_sum{{path="{_escaped(path)}"}} {self._seconds[path]:.6f}'
            yield f'lamina_request_seconds_count{{path="{_escaped(path)}"}} {total}'


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
