"""Are these two the same? By a sealed model's embeddings and a threshold that was chosen on pairs; needs no PyTorch."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.tables import read_chunks
from lamina.errors import InputError
from lamina.evaluate.verification import Mistakes, Roc, Verification, mistakes, roc, verification
from lamina.files import write_text
from lamina.model.kept import model_digest, open_index
from lamina.model.nearest import likeness_of
from lamina.model.pairs import Pairs, is_table_of_pairs, labels_of, of_labels, of_table
from lamina.model.predict import check_place, text_of
from lamina.model.rows import as_data
from lamina.model.search import index

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamina.model.runtime import Model

FORMAT, VERSION = "lamina threshold", 1
LARGEST = 1 << 20
RATE = 0.01
PAIRS = 5000


@dataclass(frozen=True)
class Threshold:
    """From which likeness on two rows are taken for the same.

    Attributes:
        value: the likeness.
        rule: how it was chosen.
        model: digest of the model that it holds for; "" for any.
    """

    value: float
    rule: str
    model: str = ""


@dataclass(frozen=True)
class Verified:
    """What pairs say about a model.

    Attributes:
        pairs: with their likeness.
        judged: how well the likeness tells them apart; None where it is not known of any which are the same.
        threshold: by which they are answered; None where there is none.
        mistakes: what the threshold does to pairs that did not choose it; None where there are no such pairs.
    """

    pairs: Pairs
    judged: Verification | None
    threshold: Threshold | None
    mistakes: Mistakes | None

    @property
    def roc(self) -> Roc:
        """The curve of the pairs that judge.

        Raises:
            InputError: it is not known of pairs of both kinds whether they are the same.
        """
        if self.judged is None:
            raise InputError(
                "There is no curve: it takes pairs of which it is known that they are the same, and that they are not.",
                fix="Add the column same to the table of pairs.",
            )
        return roc(*self.pairs.known(self.pairs.judging))

    def answers(self) -> list[bool | None]:
        """For each pair whether it is taken for the same; None where it cannot be said."""
        if self.threshold is None:
            return [None] * len(self.pairs.likeness)
        value = self.threshold.value
        return [None if math.isnan(likeness) else likeness >= value for likeness in self.pairs.likeness.tolist()]


def compare(model: Model, one: str, other: str) -> float:
    """The likeness of two rows, each given as a file, as words or as JSON: at most 1, for the same.

    Raises:
        InputError: the model gives no embeddings, or one of the two is not one row.
    """
    found = []
    for given in (one, other):
        rows = index(model, as_data(given, model))
        if len(rows.rows) + len(rows.errors) != 1:
            count = len(rows.rows) + len(rows.errors)
            raise InputError(
                f"{given} holds {count:,} rows, not one.", where=given, fix="Give one file, or one row as JSON."
            )
        found.append(rows.vectors)
    return float(likeness_of(found[0], found[1], np.zeros(1, np.int64), np.zeros(1, np.int64))[0])


def verify(
    model: Model,
    data: Any,
    *,
    target: str = "",
    threshold: Threshold | None = None,
    rate: float | None = None,
    number: int = PAIRS,
    seed: int = 0,
    folder: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Verified:
    """Judge a model by pairs: those of a table (`one`, `other`, `same`), or drawn from rows with labels.

    Where no threshold is given, one is chosen: that of equal errors, or the lowest with at most `rate` false accepts.
    Of drawn pairs half choose it and half judge; the pairs of a table all choose it.

    Args:
        target: the column that says which rows are the same; "" for the folders that files lie in.
        number, seed: of the drawn pairs.
        folder: where the embedded rows are kept (see `lamina.model.kept.open_index`).
    """
    reader = read_chunks(data)
    if is_table_of_pairs(reader) and not target:
        pairs, drawn = of_table(model, reader), False
    else:
        found = open_index(model, data, folder, tell).index
        pairs, drawn = of_labels(found, labels_of(data, found, target), number, seed), True
    likeness, same = pairs.known(pairs.judging)
    members = pairs.members_of(pairs.judging)
    one_kind = not same.any() or same.all()
    if not drawn and (not len(same) or (one_kind and threshold is not None)):
        return Verified(pairs, None, threshold, None)
    judged = verification(likeness, same, rate or RATE, seed, members)
    if threshold is not None:
        return Verified(pairs, judged, threshold, mistakes(likeness, same, threshold.value, seed, members))
    choosing = verification(*pairs.known(~pairs.judging), rate or RATE, seed) if drawn else judged
    chosen = _chosen(choosing, rate, model_digest(model))
    return Verified(pairs, judged, chosen, mistakes(likeness, same, chosen.value, seed, members) if drawn else None)


def _chosen(judged: Verification, rate: float | None, model: str) -> Threshold:
    if rate is None:
        return Threshold(judged.equal_error_threshold.value, f"equal errors of {judged.pairs:,} pairs", model)
    rule = f"at most {rate:g} of {judged.different:,} different pairs accepted"
    return Threshold(judged.rate_threshold.value, rule, model)


def keep_threshold(path: Path, threshold: Threshold) -> None:
    """Write a threshold for `read_threshold`, beside and renamed.

    Raises:
        InputError: the folder cannot be written.
    """
    document = {"format": FORMAT, "version": VERSION, "threshold": threshold.value, "rule": threshold.rule}
    write_text(path, json.dumps({**document, "model": threshold.model}, indent=1) + "\n")


def read_threshold(given: str, model: Model) -> Threshold:
    """A threshold as a number, or from a file that `keep_threshold` wrote.

    Raises:
        InputError: it is neither, or was chosen with another model.
    """
    fix = "Give a likeness from -1 to 1, or the file that lamina verify --keep wrote."
    try:
        value = float(given)
    except ValueError:
        return _read_threshold(Path(given), model, fix)
    if not -1 <= value <= 1:
        raise InputError(f"The threshold is {given}.", where="--threshold", fix=fix)
    return Threshold(value, "given")


def _read_threshold(path: Path, model: Model, fix: str) -> Threshold:
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(LARGEST))
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise ValueError("another format")
        found = Threshold(float(document["threshold"]), str(document["rule"]), str(document["model"]))
        # What accepts nothing at all lies just above 1.
        if not -1.001 <= found.value <= 1.001:
            raise ValueError("no likeness")
    except FileNotFoundError:
        raise InputError(f"There is no threshold at {path}.", where="--threshold", fix=fix) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path} holds no threshold.", where="--threshold", fix=fix) from None
    if found.model != model_digest(model):
        raise InputError(
            f"The threshold in {path} was chosen with another model.",
            where="--threshold",
            fix="Choose one with this model: lamina verify MODEL PAIRS --keep FILE",
        )
    return found


def check_out(path: Path, data: Any) -> None:
    """Refuse a file for the answers that cannot be one, before anything is embedded.

    Raises:
        InputError: it does not end in .csv, its folder is missing, or it is the data itself.
    """
    if path.suffix.lower() != ".csv":
        raise InputError(f"Cannot write answers to {path.name!r}.", where="--out", fix="Name a file that ends in .csv.")
    check_place(path, data)


def check_roc(path: Path, data: Any) -> None:
    """Refuse a file for the curve that cannot be one, before anything is embedded.

    Raises:
        InputError: it does not end in .csv or .html, its folder is missing, or it is the data itself.
    """
    if path.suffix.lower() not in (".csv", ".html"):
        raise InputError(
            f"Cannot write a curve to {path.name!r}.", where="--roc", fix="Name a file that ends in .csv or .html."
        )
    check_place(path, data, "--roc", "roc.csv")


def write_roc(path: Path, curve: Roc) -> None:
    """The curve as CSV: threshold, false_accepts, same_accepts; a row for each point, from what accepts nothing on.

    Raises:
        InputError: the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["threshold", "false_accepts", "same_accepts"])
    for point in zip(curve.thresholds.tolist(), curve.false_accepts.tolist(), curve.same_accepts.tolist(), strict=True):
        writer.writerow([text_of(number) for number in point])
    write_text(path, text.getvalue())


def check_keep(path: Path, data: Any) -> None:
    """Refuse a file for the threshold that cannot be one, before anything is embedded: nothing else is written over.

    Raises:
        InputError: it is something else than a threshold, or its folder is missing.
    """
    check_place(path, data, "--keep", "threshold.json")
    if path.is_file():
        with path.open("rb") as file:
            begin = file.read(200)
        if FORMAT.encode() not in begin:
            raise InputError(f"{path} holds something that is no threshold.", where="--keep", fix="Name a new file.")


def write_answers(path: Path, found: Verified) -> None:
    """Every pair as a row of CSV: one, other, likeness, answer, same, judging, error.

    Raises:
        InputError: the folder cannot be written.
    """
    words = {True: "same", False: "different", None: ""}
    known = {1: "same", 0: "different", -1: ""}
    text, pairs = io.StringIO(), found.pairs
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["one", "other", "likeness", "answer", "same", "judging", "error"])
    for pair, answer in enumerate(found.answers()):
        likeness = float(pairs.likeness[pair])
        shown = "" if math.isnan(likeness) else text_of(likeness)
        judging = "yes" if pairs.judging[pair] else "no"
        names = [pairs.ones[pair], pairs.others[pair]]
        reason = pairs.errors.get(pair, "")
        writer.writerow([*names, shown, words[answer], known[int(pairs.same[pair])], judging, reason])
    write_text(path, text.getvalue())


def document(found: Verified) -> dict[str, Any]:
    """The figures as JSON."""
    return {
        "pairs": len(found.pairs.likeness),
        "errors": len(found.pairs.errors),
        "notes": list(found.pairs.notes),
        "judged": None if found.judged is None else asdict(found.judged),
        "threshold": None if found.threshold is None else asdict(found.threshold),
        "mistakes": None if found.mistakes is None else asdict(found.mistakes),
    }
