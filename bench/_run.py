"""Whole jobs from raw files to sealed models, as a user starts them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def whole_run(data: Path, out: Path, seed: int, arguments: Sequence[str], cache: Path | None = None) -> dict[str, Any]:
    """`lamina train` in a process of its own: its JSON summary, with the wall time of the whole command.

    Without `cache` its cache is empty at first and gone afterwards: what earlier runs found out would flatter it.
    """
    command = [sys.executable, "-m", "lamina", "train", str(data), *arguments]
    command += ["--seed", str(seed), "--out", str(out), "--json", "--quiet"]
    place = cache or out.with_name(f"cache of {out.name}")
    begin = time.perf_counter()
    environment = {**os.environ, "LAMINA_CACHE": str(place)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if cache is None:
        shutil.rmtree(place, ignore_errors=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    document: dict[str, Any] = json.loads(done.stdout)
    document["wall seconds"] = time.perf_counter() - begin
    return document
