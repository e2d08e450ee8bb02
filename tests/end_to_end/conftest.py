"""What the end-to-end tests share: small data, the command line in-process, and one small trained model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mistakes import customers

from lamina.cli import main


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
    words = ["--target", "label", "--budget", "4s", "--quiet", "--out", str(folder / "run")]
    sets = ["schema.spent.role=ignore", "training.epochs=1", "training.threads=1", "training.batch_size=64"]
    assert main(["train", str(data), *words, "--set", *sets]) == 0
    return folder / "run"
