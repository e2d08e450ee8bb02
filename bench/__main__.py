"""`python -m bench NAME ...`: run benchmarks; without a name, list them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def places() -> dict[str, str]:
    """Module by name: bench/NAME.py, bench/NAME/__main__.py or bench/FOLDER/NAME.py."""
    found = {}
    for file in FOLDER.rglob("*.py"):
        parts = file.relative_to(FOLDER).with_suffix("").parts
        if (parts[-1] == "__main__" and len(parts) > 1) or not any(part.startswith(("_", ".")) for part in parts):
            found[parts[-2] if parts[-1] == "__main__" else parts[-1]] = ".".join(("bench", *parts))
    return found


def main() -> int:
    known = places()
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        print("usage: python -m bench NAME ...   (NAME --help tells more)\n\n" + "\n".join(sorted(known)))
        return 0 if len(sys.argv) < 2 else 2
    module = importlib.import_module(known[sys.argv[1]])
    return int(module.main(sys.argv[2:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
