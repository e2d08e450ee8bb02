"""How long `import lamina` and `lamina --help` take beyond the bare interpreter: `python -m bench start`."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import _machine

COMMANDS = {
    "bare interpreter": ["-c", "pass"],
    "import lamina": ["-c", "import lamina"],
    "lamina --help": [str(Path(sys.executable).with_name("lamina")), "--help"],
}
WANTED = {"import lamina": 100.0, "lamina --help": 250.0}


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    beyond = found["beyond the bare interpreter"]
    rows = [
        (
            f"`{name}`" if name in beyond else name,
            part["n"],
            _machine.around(part, ".0f"),
            f"{beyond[name]['median']:.0f} (at most {beyond[name]['wanted']:.0f})" if name in beyond else "",
        )
        for name, part in found["measured"].items()
    ]
    return _machine.markdown(("start", "n", "ms, median (least to most)", "beyond the bare interpreter"), rows)


def main(words: Sequence[str] = ()) -> int:
    """Measure in turn, so that a busy moment strikes all alike; keep the medians."""
    parser = argparse.ArgumentParser(prog="bench start", description=__doc__)
    parser.add_argument("--times", type=int, default=15)
    times = parser.parse_args(list(words)).times
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(times + 1):
        for name, command in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
            taken[name].append((time.perf_counter() - begin) * 1000)
    # The first round fills caches.
    bare = statistics.median(taken["bare interpreter"][1:])
    document = {
        "unit": "milliseconds",
        "measured": {name: _machine.spread(values[1:]) for name, values in taken.items()},
        "beyond the bare interpreter": {
            name: {"median": statistics.median(taken[name][1:]) - bare, "wanted": most} for name, most in WANTED.items()
        },
    }
    path = _machine.keep("start", document)
    print(json.dumps(document, indent=1))
    print(path, file=sys.stderr)
    return 0 if all(part["median"] < part["wanted"] for part in document["beyond the bare interpreter"].values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
