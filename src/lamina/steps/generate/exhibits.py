"""What the report shows of made pictures: sheets of them, from during the training as well, and what is like them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.evaluate.generated import nearest
from lamina.evaluate.results import Exhibit
from lamina.model.generate import slerp
from lamina.run import Run
from lamina.steps.generate.learner import ACROSS, Learner, codes_shown, make, noise_of, outputs, task_of
from lamina.steps.generate.pictures import CODES
from lamina.steps.generate.sheets import as_uri, sheet, side_by_side
from lamina.steps.prepare import Prepared

Array = np.ndarray[Any, Any]

STAGES = 8
"""Moments of the training that are shown."""
STRIPS = 4
KNOWN = 10_000
"""Training pictures that the most alike are looked for among."""


def exhibits(prepared: Prepared, learner: Learner, run: Run) -> tuple[Exhibit, ...]:
    """All of them."""
    learned = while_learning(run, ACROSS, "Each row from the same noise, after {steps} steps.")
    return (_made(learner), *learned, _between(learner), _alike(prepared, learner))


def _made(learner: Learner) -> Exhibit:
    pictures = learner.pictures
    made = make(learner, codes_shown(pictures), seed=5)
    text = "None of them was chosen."
    if pictures.classes:
        shown = [pictures.classes[code - CODES] for code in codes_shown(pictures)[::ACROSS]]
        text = f"Each row is of one {pictures.label}: {', '.join(shown)}. {text}"
    return Exhibit("Made pictures", text, (as_uri(sheet(made, ACROSS)),))


def while_learning(run: Run, across: int, text: str) -> tuple[Exhibit, ...]:
    """The first column of each sheet that was kept, one moment of the training beside the other.

    Args:
        across: columns of a sheet.
        text: what is seen, with a place for the {steps}.
    """
    files = sorted((run.folder / "sheets").glob("*.png"))
    if len(files) < 2:
        return ()
    chosen = [files[place] for place in np.unique(np.linspace(0, len(files) - 1, STAGES).astype(int))]
    steps = ", ".join(f"{int(file.stem):,}" for file in chosen)
    return (Exhibit("While it learned", text.format(steps=steps), (as_uri(side_by_side(chosen, across)),)),)


def _between(learner: Learner) -> Exhibit:
    ends = noise_of(2 * STRIPS, learner.method.noise, seed=6).reshape(2, STRIPS, -1)
    noise = np.stack([slerp(ends[0], ends[1], share) for share in np.linspace(0, 1, ACROSS)], axis=1)
    codes = codes_shown(learner.pictures)[::ACROSS]
    codes = np.repeat(np.resize(codes, STRIPS), ACROSS)
    made = task_of(learner.pictures).pictures(outputs(learner, noise.reshape(len(codes), -1), codes))
    return Exhibit(
        "From one to another",
        "Each row goes from one noise to another in equal steps: a network that has learned pictures by heart jumps.",
        (as_uri(sheet(made, ACROSS)),),
    )


def _alike(prepared: Prepared, learner: Learner) -> Exhibit:
    """Made pictures, each beside the training picture that is most like it: has it only learned by heart?"""
    judge, pictures, device = learner.judge, learner.pictures, learner.engine.device
    assert judge is not None
    images = prepared.examples.arrays[pictures.field]
    rows = np.sort(np.random.default_rng(0).permutation(prepared.split.train)[:KNOWN])
    codes = codes_shown(pictures)[::ACROSS]
    made = make(learner, np.resize(codes, ACROSS), seed=7)
    found = nearest(judge.features(made, device), judge.features(np.asarray(images[rows]), device))
    both = np.concatenate([made, np.asarray(images[rows[found]])])
    return Exhibit(
        "Made, and the training picture most like it",
        "Above what was made, below the most alike training picture: they should be alike, not the same.",
        (as_uri(sheet(both, ACROSS)),),
    )
