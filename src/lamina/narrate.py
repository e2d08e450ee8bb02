"""Tells a person what is going on, on standard error: the five steps, reasons, progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

STEPS = ("Understand", "Prepare", "Choose", "Train", "Test")


class Narrator(Protocol):
    """What the steps tell as they go."""

    def step(self, title: str) -> None: ...

    def say(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...

    def show(self, entry: Mapping[str, Any]) -> None: ...


class Silent:
    """Says nothing."""

    def step(self, title: str) -> None:
        return None

    def say(self, text: str) -> None:
        return None

    def progress(self, what: str, done: int, total: int) -> None:
        return None

    def show(self, entry: Mapping[str, Any]) -> None:
        return None


class Plain:
    """Plain lines, and on a terminal one line that is redrawn while something runs.

    Args:
        stream: where to write; standard error unless said otherwise.
        seconds: how often progress is told where the stream is no terminal.
    """

    def __init__(self, stream: TextIO | None = None, seconds: float = 5.0) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.every = 0.2 if self.live else seconds
        self._told, self._drawn = 0.0, False

    def step(self, title: str) -> None:
        number = STEPS.index(title) + 1 if title in STEPS else 0
        self._line(f"\n{number}/{len(STEPS)} {title}" if number else f"\n{title}")

    def say(self, text: str) -> None:
        self._line("\n".join(f"    {line}" for line in text.splitlines()))

    def progress(self, what: str, done: int, total: int) -> None:
        if done >= total:
            if self._drawn:
                self._draw("")
            return
        if self._due():
            self._draw(f"    {what}: {done:,} of {total:,}")

    def show(self, entry: Mapping[str, Any]) -> None:
        if entry["kind"] == "validation":
            known = ("kind", "step", "seconds", "best", "score")
            scores = [f"{name} {value:.4g}" for name, value in entry.items() if name not in known]
            text = f"    step {entry['step']:>7,}  validation {scores[0]}" + (
                "  (best so far)" if entry["best"] else ""
            )
            if self._due() or not self.live:
                self._draw(text)
        elif entry["kind"] == "train":
            last = entry["step"] >= entry["steps"]
            if self._due() and not last:
                left = (entry["steps"] - entry["step"]) / max(entry["step"], 1) * entry["seconds"]
                share = entry["step"] / entry["steps"]
                self._draw(
                    f"    {_bar(share)} {share:4.0%}  loss {entry['loss']:.4f}  rate {entry['rate']:.2g}  "
                    f"{entry['examples_per_second']:,.0f} examples/s  {_duration(left)} left"
                )
        elif entry["kind"] == "shortened" and self._due():
            self._draw(
                f"    The pace has changed: {entry['steps']:,} steps, not {entry['planned']:,}, in the time there is"
            )
        elif entry["kind"] == "threads" and entry["threads"] == 1:
            self._line(
                "    The machine is busy: going on with one thread, which is quicker than two that wait for each other"
            )
        elif entry["kind"] == "threads":
            self._line(f"    The machine is free again: going on with {entry['threads']} threads")
        elif entry["kind"] == "memory":
            self._line(f"    {_memory(entry)}")

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._told < self.every:
            return False
        self._told = now
        return True

    def _draw(self, text: str) -> None:
        if self.live:
            self.stream.write(f"\r\x1b[2K{text}")
            self._drawn = bool(text)
            self.stream.flush()
        elif text:
            self._line(text)

    def _line(self, text: str) -> None:
        if self._drawn:
            self.stream.write("\r\x1b[2K")
            self._drawn = False
        self.stream.write(text + "\n")
        self.stream.flush()


def _memory(entry: Mapping[str, Any]) -> str:
    """How memory is spared."""
    ways = []
    if entry["recomputing"]:
        ways.append("activations computed again in the backward pass (slower, the gradient is the same)")
    if entry["parts"] > entry["asked"]:
        same = "" if entry["normalised"] else ", which gives the same gradient"
        ways.append(f"each batch in {entry['parts']} parts{same}")
    if entry["hosted"]:
        ways.append("batches prepared in the computer's own memory")
    if entry["together"]:
        ways.append(f"at most {entry['together']:,} rows evaluated together")
    text = f"Too little memory: going on with {', '.join(ways)}" if ways else "Batches are cut, as was asked for"
    if entry["normalised"]:
        text += f"; batch normalisation takes its statistics over {entry['normalised']:,} rows, not over a whole batch"
    return text


def _bar(share: float, width: int = 20) -> str:
    full = int(share * width)
    return "█" * full + "·" * (width - full)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
