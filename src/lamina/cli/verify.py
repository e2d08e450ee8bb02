"""`lamina verify`: are these two the same, and how well does a model tell? Needs no PyTorch."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from lamina.cli import _options
from lamina.cli.predict import model_file
from lamina.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from lamina.evaluate.results import Interval
    from lamina.model.runtime import Model
    from lamina.model.verify import Threshold, Verified

MOST_PAIRS = 1_000_000
SHOWN = 10
"""Pairs that are printed where nothing is known about them; --out and --json have all."""
ABOUT = "say whether two rows are the same, and how well a model tells"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a .lamina file or a run folder, best of `lamina train --task embed`"
    )
    parser.add_argument(
        "data", metavar="ONE",
        help="one row: a file, words, or JSON; or, without OTHER, pairs: a table with the columns one,other[,same], "
        "a folder of class folders, or a table with --target",
    )  # fmt: skip
    parser.add_argument("other", metavar="OTHER", nargs="?", help="the row that it is compared with")
    parser.add_argument("--target", metavar="COLUMN", default="", help="column that says which rows are the same")
    parser.add_argument("--pairs", type=int, default=5000, help="to draw from rows with labels (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing and the intervals (default: 0)")
    parser.add_argument(
        "--rate", type=float, help="choose the threshold for so many false accepts, e.g. 0.01 (default: equal errors)"
    )
    parser.add_argument("--threshold", metavar="FILE|NUMBER", help="the same from this likeness on")
    parser.add_argument("--keep", metavar="FILE", help="write the chosen threshold for --threshold")
    parser.add_argument("--roc", metavar="FILE", help="write the ROC curve: .csv with its thresholds, or .html, drawn")
    parser.add_argument("--out", metavar="FILE", help="write every pair with its answer, .csv")
    parser.add_argument(
        "--index", metavar="FOLDER", help="where embedded rows are kept for the next time (default: in the cache)"
    )


def run(arguments: argparse.Namespace) -> int:
    from lamina.model.inner import with_vectors
    from lamina.model.runtime import load
    from lamina.model.verify import read_threshold

    _check(arguments)
    model = with_vectors(load(model_file(arguments.model)), _tell)
    threshold = None if arguments.threshold is None else read_threshold(arguments.threshold, model)
    if arguments.other is not None:
        return _two(arguments, model, threshold)
    return _many(arguments, model, threshold)


def _check(arguments: argparse.Namespace) -> None:
    if not 8 <= arguments.pairs <= MOST_PAIRS:
        raise InputError(f"--pairs is {arguments.pairs}.", fix=f"Give a number from 8 to {MOST_PAIRS:,}.")
    if arguments.seed < 0:
        raise InputError(f"--seed is {arguments.seed}.", fix="Give a number from 0 on.")
    if arguments.rate is not None and not 0 < arguments.rate < 1:
        raise InputError(f"--rate is {arguments.rate}.", fix="Give a share between 0 and 1, such as 0.01.")
    if arguments.rate is not None and arguments.threshold is not None:
        raise InputError("--rate chooses a threshold, and --threshold gives one.", fix="Leave one of them out.")
    if arguments.keep is not None and arguments.threshold is not None:
        raise InputError("--keep writes a threshold that is chosen.", fix="Leave --threshold out.")
    if arguments.other is not None and (
        arguments.target or arguments.keep or arguments.out or arguments.rate or arguments.roc
    ):
        raise InputError(
            "--target, --keep, --out, --roc and --rate are for many pairs, but two rows are given.",
            fix="Leave them out, or give one table or folder.",
        )


def _two(arguments: argparse.Namespace, model: Model, threshold: Threshold | None) -> int:
    from lamina.model.verify import compare

    likeness = compare(model, arguments.data, arguments.other)
    same = None if threshold is None else likeness >= threshold.value
    if arguments.json:
        value = None if threshold is None else threshold.value
        _options.print_json({"likeness": likeness, "threshold": value, "same": same})
        return 0
    print(f"likeness {likeness:.4f}")
    if threshold is None:
        _tell(
            "whether that is the same, a threshold says: lamina verify MODEL PAIRS --keep FILE, then --threshold FILE"
        )
    else:
        print(f"{'the same' if same else 'different'} (from {threshold.value:.4f} on; {threshold.rule})")
    return 0


def _many(arguments: argparse.Namespace, model: Model, threshold: Threshold | None) -> int:
    from pathlib import Path

    from lamina.model.verify import check_keep, check_out, check_roc, document, keep_threshold, verify, write_answers

    if arguments.out is not None:
        check_out(Path(arguments.out), arguments.data)
    if arguments.keep is not None:
        check_keep(Path(arguments.keep), arguments.data)
    if arguments.roc is not None:
        check_roc(Path(arguments.roc), arguments.data)
    found = verify(
        model,
        arguments.data,
        target=arguments.target,
        threshold=threshold,
        rate=arguments.rate,
        number=arguments.pairs,
        seed=arguments.seed,
        folder=None if arguments.index is None else Path(arguments.index),
        tell=_tell,
    )
    if arguments.out is not None:
        write_answers(Path(arguments.out), found)
    if arguments.keep is not None:
        if found.threshold is None:
            raise InputError(
                "There is no threshold to keep: of no pair it is known whether it is the same.",
                fix="Add the column same to the table of pairs.",
            )
        keep_threshold(Path(arguments.keep), found.threshold)
    if arguments.roc is not None:
        _write_roc(Path(arguments.roc), found, Path(arguments.data).name)
    if arguments.json:
        _options.print_json(document(found))
        return 0
    _print(found)
    return 0


def _write_roc(path: Path, found: Verified, name: str) -> None:
    from lamina.files import write_text
    from lamina.model.verify import write_roc
    from lamina.report.roc import roc_page

    curve = found.roc
    if path.suffix.lower() == ".csv":
        write_roc(path, curve)
    elif found.judged is not None:
        write_text(path, roc_page(curve, found.judged, name))


def _print(found: Verified) -> None:
    pairs, judged = found.pairs, found.judged
    for note in pairs.notes:
        print(note)
    if judged is None:
        _print_pairs(found)
    else:
        print(f"judged by {judged.pairs:,} pairs, {judged.same:,} of them the same")
        _line("ROC AUC", judged.auc)
        _line("equal-error rate", judged.equal_error_rate)
        _line("  at the threshold", judged.equal_error_threshold)
        _line(f"same pairs accepted, at most {judged.rate:g} false accepts", judged.rate_accepts)
        _line("  at the threshold", judged.rate_threshold)
        if judged.coarse:
            _tell(f"{judged.different:,} different pairs are too few to see {judged.rate:g} false accepts")
    if found.threshold is not None and judged is not None:
        print(f"threshold {found.threshold.value:.4f} ({found.threshold.rule})")
        if found.mistakes is None:
            print("  chosen on these very pairs: others will be a little worse")
        else:
            _line("  false accepts", found.mistakes.false_accepts)
            _line("  false rejects", found.mistakes.false_rejects)
    if pairs.errors:
        row, reason = next(iter(pairs.errors.items()))
        _tell(f"{len(pairs.errors):,} pairs could not be compared, e.g. the {row + 1}. pair: {reason}")


def _print_pairs(found: Verified) -> None:
    answers = {True: "the same", False: "different", None: ""}
    pairs = found.pairs
    for pair, answer in list(enumerate(found.answers()))[:SHOWN]:
        print(f"  {pairs.likeness[pair]:6.3f}  {answers[answer]:9}  {pairs.ones[pair]}  {pairs.others[pair]}")
    if len(pairs.likeness) > SHOWN:
        print(f"and {len(pairs.likeness) - SHOWN:,} more pairs: --out writes all")


def _line(name: str, figure: Interval) -> None:
    print(f"{name:48} {figure.value:8.4f}  (95% interval {figure.low:.4f} to {figure.high:.4f})")


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
