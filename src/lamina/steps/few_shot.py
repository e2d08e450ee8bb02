"""New classes from a few examples: how good each way of answering is, which to take, and the adapted model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lamina.errors import InputError, nearest
from lamina.evaluate.results import Interval
from lamina.model.episodes import EPISODES, SHOTS, Measured, best_way, episodes, nearest_shots
from lamina.model.few_shot import Adapted, Examples, adapt, examples
from lamina.model.inner import encoder
from lamina.model.runtime import Model, load
from lamina.tasks import embed, few_shot
from lamina.tasks._few_examples import WAYS

ENDING = ".lamina"


@dataclass(frozen=True)
class FewShot:
    """A sealed encoder adapted to new classes.

    Attributes:
        target: the column of the labels.
        counts: examples of each class.
        measured: accuracy over episodes, for each number of examples asked for.
        way: how the adapted model answers.
        reason: why this way.
        adapted: the new model, by all examples.
        out: where it was written; "" if it was not.
        notes: what the user should know: rows left out, sizes skipped, ...
    """

    target: str
    counts: dict[str, int]
    measured: tuple[Measured, ...]
    way: str
    reason: str
    adapted: Adapted
    out: str
    notes: tuple[str, ...]

    @property
    def model(self) -> Model:
        """The adapted model, ready to answer."""
        return Model(self.adapted.sealed, where=self.out or "the adapted model")

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "target": self.target,
            "counts": self.counts,
            "episodes": [
                {
                    "shots": item.shots,
                    "skipped": item.skipped,
                    "ways": item.ways,
                    "queries": item.queries,
                    "chance": item.chance,
                    "accuracy": {way: asdict(interval) for way, interval in item.accuracy.items()},
                }
                for item in self.measured
            ],
            "way": self.way,
            "reason": self.reason,
            "accuracy": None if self.adapted.accuracy is None else asdict(self.adapted.accuracy),
            "out": self.out,
            "notes": list(self.notes),
        }


def adapt_to(
    model: str | Path,
    data: Any,
    target: str = "",
    *,
    way: str = "",
    shots: Sequence[int] = SHOTS,
    ways: int = 0,
    number: int = EPISODES,
    seed: int = 0,
    out: str | Path | None = None,
) -> FewShot:
    """Measure each way of answering over episodes, choose one, and adapt the encoder by all examples.

    Args:
        model: the encoder's file.
        data: labelled examples.
        target: the column of the labels; by default `label`.
        way: "prototypes", "neighbors" or "probe"; by default the one that is best with as many examples as there are.
        shots, ways, number, seed: as in `lamina.model.episodes.episodes`.
        out: where to write the adapted model.

    Raises:
        InputError: the model, the data or the request is wrong; nothing has been written.
    """
    place = _place(out, model)
    if way and way not in WAYS:
        raise InputError(f"There is no way {way!r}.", where="--way", fix=nearest(way, WAYS))
    whole = load(model)
    reads = encoder(whole)
    given = examples(reads, data, target)
    measured = tuple(episodes(given.vectors, given.codes, ways=ways, shots=shots, episodes=number, seed=seed))
    chosen, reason = (way, "you asked for it") if way else _chosen(measured, given, seed)
    adapted = adapt(reads, given, chosen)
    if place is not None:
        adapted.write(place)
    return FewShot(
        given.target,
        dict(zip(given.labels, given.counts.tolist(), strict=True)),
        measured,
        chosen,
        reason,
        adapted,
        "" if place is None else str(place),
        tuple(_notes(whole, data, given, measured)),
    )


def _place(out: str | Path | None, model: str | Path) -> Path | None:
    """Where to write, checked before anything is computed."""
    if out is None:
        return None
    place = Path(out)
    if place.suffix != ENDING:
        raise InputError(f"--out {place} does not end in {ENDING}.", fix=f"Name it {place.with_suffix(ENDING)}")
    if place.is_dir():
        raise InputError(f"--out {place} is a folder.", fix=f"Name a file in it, e.g. {place / 'adapted.lamina'}")
    if not place.parent.is_dir():
        raise InputError(f"There is no folder {place.parent} to write {place.name} in.", fix="Make it first.")
    if place.exists() and Path(model).exists() and place.samefile(model):
        raise InputError(f"--out {place} is the encoder itself.", fix="Choose another file for the adapted model.")
    return place


def _chosen(measured: Sequence[Measured], given: Examples, seed: int) -> tuple[str, str]:
    """(The way, why) by the measured number of examples that is nearest to what there is."""
    size = given.vectors.shape[1]
    allowed = [way for way in WAYS if few_shot.fits(way, len(given.codes), len(given.labels), size)]
    decisive = nearest_shots(measured, given.counts)
    if decisive is None:
        return allowed[0], "nothing could be measured, and it is the simplest"
    way, other, ahead = best_way(decisive, allowed, seed)
    with_so_many = f"with {decisive.shots} example{'' if decisive.shots == 1 else 's'} of each class"
    if ahead is None:
        return way, "the only one that can be sealed with so many classes"
    if ahead.low > 0:
        return way, f"{with_so_many} it is {_points(ahead)} ahead of {other} on the same episodes"
    return way, f"{with_so_many} no way is clearly better, and it is the simplest of the best"


def _points(apart: Interval) -> str:
    return f"{100 * apart.value:.1f} points (95% interval {100 * apart.low:.1f} to {100 * apart.high:.1f})"


def _notes(model: Model, data: Any, given: Examples, measured: Sequence[Measured]) -> list[str]:
    notes = [f"{item.shots} of each class: not measured: {item.skipped}" for item in measured if item.skipped]
    single = [label for label, count in zip(given.labels, given.counts, strict=True) if count == 1]
    if single:
        shown = ", ".join(single[:10]) + (", ..." if len(single) > 10 else "")
        notes.append(f"one example only, so never asked about in an episode: {shown}")
    if given.unlabelled:
        notes.append(f"{given.unlabelled:,} rows have no label and were left out")
    if given.errors:
        row, why = next(iter(given.errors.items()))
        notes.append(f"{len(given.errors):,} rows could not be read and were left out; the first is row {row}: {why}")
    if not any(isinstance(task, embed.Task | few_shot.Task) for task in model.tasks.values()):
        notes.append("the model was not trained to embed: what its last layer reads serves as the embedding")
    source = model.card.get("data", {}).get("source", "")
    if isinstance(data, str | Path) and source and Path(data).absolute() == Path(str(source)).absolute():
        notes.append("the encoder was trained on these very rows: expect less of others")
    return notes
