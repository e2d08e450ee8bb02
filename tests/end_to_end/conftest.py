"""What the end-to-end tests share: small data, the command line in-process, and one small trained model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lamina.cli import main

CITIES = ("Bern", "Basel", "Chur")


def customers(rows: int = 300, seed: int = 0) -> str:
    """A table as CSV: age, income, city; `label` (yes or no) and `spent` follow from them, with noise."""
    generator = np.random.default_rng(seed)
    lines = ["age,income,city,spent,label"]
    for _ in range(rows):
        age, income = int(generator.integers(18, 80)), int(generator.integers(1000, 9000))
        city = CITIES[generator.integers(3)]
        spent = 100 * age + income + 500 * (city == "Bern") + generator.normal(0, 500)
        lines.append(f"{age},{income},{city},{spent:.1f},{'yes' if spent > 10_000 else 'no'}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, so that nothing of the user's is touched."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMINA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A finished run of one epoch on `customers.csv` beside it; tests must copy what they change."""
    folder = tmp_path_factory.mktemp("trained")
    data = folder / "customers.csv"
    data.write_text(customers())
    words = ["--target", "label", "--budget", "12s", "--quiet", "--out", str(folder / "run")]
    sets = ["schema.spent.role=ignore", "training.epochs=1", "training.threads=1", "training.batch_size=64"]
    assert main(["train", str(data), *words, "--set", *sets]) == 0
    return folder / "run"
