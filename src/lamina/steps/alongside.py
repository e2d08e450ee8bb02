"""Baselines in a process of their own while the network trains, joined before the fifth step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import lamina
from lamina.learn.loop import Status
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import baselines, beside
from lamina.steps.baselines import Answers, LeftOut
from lamina.steps.pace import Allowance
from lamina.steps.prepare import Prepared

FEW_PLAIN = 10_000
FEW_MEDIA = 1_000
"""Below so many training rows baselines take hardly longer than another Python takes to start."""
SLOWER = 2.0
"""Beside the training the baselines have half of the cores, and so twice the time."""
LEAST = 1.0
"""Seconds that the baselines are waited for where training has used up its time."""
OVER = "not ready when the budget was over"
INTERRUPTED = "not ready when the run was interrupted"
ENVIRONMENT = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def worthwhile(plan: Plan, prepared: Prepared, cores: int) -> bool:
    """Is it worth a process of its own, and is there a core that training leaves to it?"""
    kinds = {encoder.feature.kind for encoder in prepared.encoders.values()}
    few = FEW_PLAIN if kinds <= {"numbers", "category"} else FEW_MEDIA
    spared = cores - _share(cores) >= max(1, plan.training.threads)
    return possible(cores) and spared and len(prepared.split.train) >= few


def possible(cores: int) -> bool:
    """Are there cores to share, and a Python to start?"""
    return cores > 1 and bool(sys.executable)


def _share(cores: int) -> int:
    return max(1, cores // 2)


@dataclass(frozen=True)
class Company:
    """The process that fits the baselines.

    Attributes:
        cores: that it works on.
        said: what it writes to its outputs: a file, for a pipe that nobody reads would stop it when it is full.
    """

    process: subprocess.Popen[bytes]
    cores: int
    said: IO[bytes]

    def running(self) -> bool:
        """Is it still at work?"""
        return self.process.poll() is None

    def wait(self, seconds: float | None) -> bool:
        """Wait until it has ended, at most so long (None: however long); has it?"""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """End it at once; all that it has finished is in the run folder."""
        if self.running():
            self.process.kill()
        self.process.wait()

    def trouble(self) -> str:
        """Why it has failed, in a line; "" where it has not."""
        if self.process.returncode == 0:
            return ""
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with code {self.process.returncode}"


@contextmanager
def company(plan: Plan, prepared: Prepared, run: Run, cores: int) -> Iterator[Company]:
    """The process beside what is done within; at the end of that it is no more.

    Args:
        run: with a plan and what was prepared.
        cores: of the machine; half of them are for the baselines.
    """
    threads = _share(cores)
    seconds = SLOWER * baselines.usual_seconds(plan)
    order = beside.order(run, prepared.table, prepared.split, seconds=seconds, threads=threads)
    with tempfile.TemporaryFile() as said:
        process = _started(threads, said)
        found = Company(process, threads, said)
        try:
            assert process.stdin is not None
            # A process that could not even read its order has failed, which is found out at the end.
            with suppress(OSError):
                process.stdin.write(order)
                process.stdin.flush()
            yield found
        finally:
            found.end()
            with suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
            for half in run.folder.glob(".baselines.*.part"):
                half.unlink(missing_ok=True)


def _started(threads: int, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """A Python of the same kind, that Ctrl-C in the terminal does not reach: ending it is for us."""
    package = str(Path(lamina.__file__).parents[1])
    environment = {
        **os.environ,
        **dict.fromkeys(ENVIRONMENT, str(threads)),
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")])),
    }
    # These flags are there on Windows only, where sessions are not.
    flags = ("CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS")
    return subprocess.Popen(
        # -P: modules are not looked for in the folder that we happen to be in.
        [sys.executable, "-P", "-m", "lamina.steps.beside"],
        stdin=subprocess.PIPE,
        stdout=said,
        stderr=said,
        env=environment,
        start_new_session=True,
        creationflags=sum(getattr(subprocess, name, 0) for name in flags),
    )


def joined(
    found: Company,
    plan: Plan,
    prepared: Prepared,
    run: Run,
    narrator: Narrator,
    *,
    ended: Status,
    allowed: Allowance,
    cores: int,
) -> tuple[Answers, LeftOut]:
    """The baselines' answers, waited for where there is time; and those that were not ready, with the reason.

    Ctrl-C ends the waiting: the run goes on with what there is.

    Args:
        ended: where training ended.
        allowed: the time for training, which is also that for the baselines.
    """
    left = max(allowed.seconds - ended.seconds, LEAST) if allowed.seconds else None
    if found.running():
        narrator.say("waiting for the baselines; Ctrl-C leaves out those that are not ready")
    try:
        reason = "" if found.wait(left) else OVER
    except KeyboardInterrupt:
        reason = INTERRUPTED
    found.end()
    if not reason and (trouble := found.trouble()):
        narrator.say(f"the process that fits the baselines has failed ({trouble}): fitting them here")
        baselines.fit_baselines(
            plan, prepared, run, narrator, cores=cores, seconds=min(left or 1e9, baselines.usual_seconds(plan))
        )
        return baselines.settled(run, plan, "")
    answers, missing = baselines.settled(run, plan, reason)
    if reason == OVER:
        # For good: who resumes a run whose budget is over must meet the same report.
        baselines.write_baselines(run, answers, missing)
    elif not reason:
        baselines.keep_baselines(plan, run, cores)
    narrator.say("baselines, fitted on the same rows alongside the training:")
    baselines.tell(answers, missing, narrator)
    return answers, missing
