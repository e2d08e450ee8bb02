"""`python -m bench NAME ...`: run benchmarks; without a name, list them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
INSIDE = {"transfer": "accuracy.transfer"}
"""Benchmarks that lie beside others in a folder."""


def names() -> list[str]:
    found = [file.stem for file in FOLDER.glob("*.py") if not file.stem.startswith("_")]
    return sorted([*INSIDE, *found] + [file.parent.name for file in FOLDER.glob("*/__main__.py")])


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in names():
        print("usage: python -m bench NAME ...   (NAME --help tells more)\n\n" + "\n".join(names()))
        return 0 if len(sys.argv) < 2 else 2
    name = sys.argv[1]
    place = INSIDE.get(name, f"{name}.__main__" if (FOLDER / name).is_dir() else name)
    module = importlib.import_module(f"bench.{place}")
    return int(module.main(sys.argv[2:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
