"""A command ends at once, but not before what is registered for its end is done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import atexit, sys, tempfile, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from lamina.cli import main

folder = tempfile.TemporaryDirectory(dir={place!r})
pool = ThreadPoolExecutor(2)
pool.submit(int).result()
threading.Thread(target=lambda: (time.sleep(0.2), print("waited for"))).start()
atexit.register(lambda: print("said at the end"))
sys.argv = ["lamina", *{words!r}]
main()
"""


def ended(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = CODE.format(place=str(place), words=words)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def test_threads_are_waited_for_and_what_is_temporary_is_removed(tmp_path: Path) -> None:
    done = ended(tmp_path, "--version")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-2:] == ["waited for", "said at the end"]
    assert not list(tmp_path.iterdir())


def test_the_exit_code_is_that_of_the_command(tmp_path: Path) -> None:
    done = ended(tmp_path, "train", "nothing.csv")
    assert done.returncode == 2
    assert "nothing.csv" in done.stderr
