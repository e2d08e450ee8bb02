"""How large the predict-only install is, and whether it predicts: `python -m bench install`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import _machine

ROOT = Path(__file__).parent.parent
WANTED_MB = 200.0


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows = [(f"`{what}`", f"{size:.0f}") for what, size in found["installed MB"].items()]
    text = _machine.markdown(("an environment with", "MB beyond pip itself"), rows)
    return f"{text}\n\nWanted: at most {found['wanted MB']:.0f} MB, without PyTorch, for predicting from tables."


def main(words: Sequence[str] = ()) -> int:
    """Train a small model here, install `.[predict]` into a fresh environment, and predict there."""
    argparse.ArgumentParser(prog="bench install", description=__doc__).parse_args(list(words))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model, data = _model(folder)
        environment = folder / "environment"
        venv.create(environment, with_pip=True)
        bare, sizes = packages_mb(environment), {}
        for what in (".", ".[images]", ".[predict]", ".[predict,text]"):
            python = _installed(environment, what)
            sizes[what] = round(packages_mb(environment) - bare, 1)
        answers = folder / "answers.csv"
        done = subprocess.run(
            [python, "-m", "lamina", "predict", model, data, "--out", answers, "--json"],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
        torch = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0
        document = {
            "installed MB": sizes,
            "pip itself MB": round(bare, 1),
            "wanted MB": WANTED_MB,
            "torch is there": torch,
            "predicted": json.loads(done.stdout),
            "largest MB": _largest(environment),
        }
    path = _machine.keep("install", document)
    print(json.dumps(document, indent=1))
    print(path, file=sys.stderr)
    return 0 if sizes[".[predict]"] < WANTED_MB and not torch else 1


def _model(folder: Path) -> tuple[Path, Path]:
    """A small model of the credit data, and the data."""
    import lamina
    from lamina.demo import sets

    source = sets()["table"].path
    changes = {"training.epochs": 1, "network.name": "mlp"}
    trained = lamina.train(source, "Status", out=folder / "run", set=changes, quiet=True)
    return trained.run.model, source


def _installed(environment: Path, what: str) -> Path:
    """The environment's Python, with `what` installed under the constraints."""
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", "constraints.txt", what], cwd=ROOT, check=True)
    return python


def packages_mb(environment: Path) -> float:
    """Megabytes (2**20 bytes) of the installed packages, with what Python has compiled of them."""
    files = [file for packages in environment.glob("lib/*/site-packages") for file in packages.rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def _largest(environment: Path, count: int = 12) -> dict[str, float]:
    sizes = {
        item.name: round(sum(file.stat().st_size for file in item.rglob("*") if file.is_file()) / 2**20, 1)
        for packages in environment.glob("lib/*/site-packages")
        for item in packages.iterdir()
        if item.is_dir()
    }
    return dict(sorted(sizes.items(), key=lambda pair: -pair[1])[:count])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
