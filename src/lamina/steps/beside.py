"""The process beside the training: `python -m lamina.steps.beside` fits the baselines of a run that has a plan.

What it is to do comes on standard input (`order`), and nothing else ever does: when that ends, whoever gave the order
has ended, however, and so does this process. It learns from the run folder and the caches alone, writes the same files
that `fit_baselines` writes, and leaves what it says on standard output.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from lamina.data.split import Split
    from lamina.data.tables import Table
    from lamina.run import Run

LOWEST = 19
"""The lowest priority of a process."""


def order(run: Run, table: Table, parts: Split, *, seconds: float, threads: int) -> bytes:
    """What is to be done, as a line of JSON and the numbers of the rows."""
    rows = parts.to_bytes()
    document = {
        "run": str(run.folder.resolve()),
        "table": table.places(),
        "rows": len(rows),
        "seconds": seconds,
        "threads": threads,
    }
    return json.dumps(document).encode() + b"\n" + rows


def main(source: BinaryIO) -> None:
    """Fit what is ordered."""
    wanted = json.loads(source.readline())
    rows = source.read(wanted["rows"])
    threading.Thread(target=_end_with_it, args=(source.fileno(),), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(LOWEST)
    _fit(wanted, rows)


def _end_with_it(descriptor: int) -> None:
    """End when the order's giver has: a read of the bare descriptor, for a buffer's lock would outlive this thread."""
    while os.read(descriptor, 1):
        pass
    os._exit(1)


def _fit(wanted: Mapping[str, Any], rows: bytes) -> None:
    # Not before the order is read: who gives it waits for that.
    from lamina.data.split import Split
    from lamina.data.tables import reopened
    from lamina.narrate import Silent
    from lamina.run import Run
    from lamina.steps import baselines, pairing, prepare

    run = Run(Path(wanted["run"]))
    plan = run.plan()
    table = pairing.again(plan, reopened(wanted["table"]))
    prepared = prepare.prepared_again(run, plan, table, table.boundary, Silent(), parts=Split.from_bytes(rows))
    # The clock of the thread that works: while others have the cores, no time is lost to the baselines.
    baselines.fit(
        plan, prepared, run, seconds=wanted["seconds"], threads=wanted["threads"], clock=time.thread_time,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.stdin.buffer)
