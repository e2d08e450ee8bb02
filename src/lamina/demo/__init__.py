"""Real data that comes with Lamina, for `lamina demo` and for a first look. Licences: `data/LICENSES.md`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lamina.errors import InputError


@dataclass(frozen=True)
class DemoSet:
    """One of the shipped data sets, ready to train on.

    Attributes:
        name: what `lamina demo` calls it.
        path: the file, archive or folder inside the installed package.
        target: the column to predict.
        description: what it is and what is asked, one or two sentences.
        licence: its licence, short; the whole text lies in `data/LICENSES.md`.
        budget: time for all five steps that gives a good result, e.g. "90s".
    """

    name: str
    path: Path
    target: str
    description: str
    licence: str
    budget: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """What to write after `lamina train` for the same run."""
        return (str(self.path), "--target", self.target, "--budget", self.budget)


def sets() -> dict[str, DemoSet]:
    """The shipped data sets by name.

    Raises:
        InputError: the package was installed without its data.
    """
    folder = Path(str(resources.files("lamina.demo"))) / "data"
    found = (
        DemoSet(
            "images",
            folder / "images" / "images.zip",
            "label",
            "3,000 grey pictures of clothes, 28 by 28 pixels, from Fashion-MNIST: which of ten kinds is it?",
            "MIT",
            "150s",
        ),
        DemoSet(
            "table",
            folder / "table" / "credit.csv",
            "Status",
            "4,454 people who asked for credit, with gaps in what is known of them: a good or a bad risk?",
            "MIT",
            "90s",
        ),
        DemoSet(
            "text",
            folder / "text",
            "sentiment",
            "Some 10,000 sentences of film reviews: does the writer like it or not?",
            "MIT",
            "120s",
        ),
        DemoSet(
            "sound",
            folder / "sound" / "sound.zip",
            "label",
            "520 pieces of recorded speech, half of them played backward: which way does time run? "
            "A bag of frequencies hardly tells; the order of the sounds does.",
            "CC BY-SA 3.0",
            "120s",
        ),
    )
    missing = [item for item in found if not item.path.exists()]
    if missing:
        raise InputError(
            f"The demo data is not installed: there is no {missing[0].path.name}.",
            where=str(folder),
            fix="Install Lamina again from its wheel or its source folder.",
        )
    return {item.name: item for item in found}
