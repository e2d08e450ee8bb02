"""Every block of commands and of Python in the README runs, in order, as a reader would run it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures import environment

from lamina.demo import sets

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A working directory with the data that the README speaks of."""
    place = tmp_path_factory.mktemp("readme")
    shutil.copy(sets()["table"].path, place)
    return place


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 3
    assert {kind for kind, _ in BLOCKS} == {"bash", "python"}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number: int, folder: Path) -> None:
    kind, text = BLOCKS[number]
    # What a reader is asked to wait for is no matter here.
    text = text.replace("20s", "6s")
    words = ["bash", "-euo", "pipefail", "-c", text] if kind == "bash" else [sys.executable, "-c", text]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


def test_what_the_blocks_leave_behind(folder: Path) -> None:
    """After the blocks: the runs that they name are complete."""
    for name in ("credit", "from-python", "changed"):
        for file in ("plan.toml", "log.jsonl", "report.html", "model.lamina"):
            assert (folder / "runs" / name / file).is_file(), f"runs/{name}/{file}"
    assert list((folder / "runs" / "credit").glob("model-*.lamina"))
    assert len((folder / "answers.csv").read_text().splitlines()) == len(
        (folder / "credit.csv").read_text().splitlines()
    )
