"""`python -m bench NAME ...`: run a benchmark; without a name, list them.

`python -m bench all --data DATA [NAME ...]` runs several, or every one, each as it is without further arguments, and
writes docs/benchmarks.md; one that fails does not keep the others from running.
"""

from __future__ import annotations

import argparse
import compileall
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import lamina

FOLDER = Path(__file__).parent
NO_MEASUREMENT = ("table", "make_demo_data")
WITHOUT_DATA = ("control", "install", "start")


def places() -> dict[str, str]:
    """Module by name: bench/NAME.py, bench/NAME/__main__.py or bench/FOLDER/NAME.py."""
    found = {}
    for file in FOLDER.rglob("*.py"):
        parts = file.relative_to(FOLDER).with_suffix("").parts
        if (parts[-1] == "__main__" and len(parts) > 1) or not any(part.startswith(("_", ".")) for part in parts):
            found[parts[-2] if parts[-1] == "__main__" else parts[-1]] = ".".join(("bench", *parts))
    return found


def run_all(words: Sequence[str]) -> int:
    """Several benchmarks one after the other, each in a process of its own; 1 if one of them failed."""
    known = [name for name in sorted(places()) if name not in NO_MEASUREMENT]
    parser = argparse.ArgumentParser(prog="python -m bench all", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    arguments = parser.parse_args(words)
    if wrong := [name for name in arguments.names if name not in known]:
        parser.error(f"there is no benchmark {wrong[0]!r}; there are {', '.join(known)}")
    failed = []
    for name in arguments.names or known:
        data = [] if name in WITHOUT_DATA else ["--data", str(arguments.data)]
        print(f"{name} ...", flush=True)
        if subprocess.run([sys.executable, "-m", "bench", name, *data], check=False).returncode:
            failed.append(name)
    subprocess.run([sys.executable, "-m", "bench", "table"], check=True)
    print(f"failed: {', '.join(failed)}" if failed else "all measured; docs/benchmarks.md is written")
    return bool(failed)


def as_installed() -> None:
    """Have Lamina's modules compiled, as an installer leaves them and as the peers' are: in a fresh checkout the first
    command, and where Python is told to write no bytecode every command, would spend its time on that."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(Path(lamina.__file__).parent, quiet=2)


def main() -> int:
    known = places()
    if sys.argv[1:2] == ["all"]:
        return run_all(sys.argv[2:])
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        print("usage: python -m bench NAME ...   (NAME --help tells more)\n\n" + "\n".join(sorted(known)))
        return 0 if len(sys.argv) < 2 else 2
    as_installed()
    module = importlib.import_module(known[sys.argv[1]])
    return int(module.main(sys.argv[2:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
