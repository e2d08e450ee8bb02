"""`lamina generate`: new pictures from a sealed generator; needs no PyTorch."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.cli import _options
from lamina.cli.predict import model_file
from lamina.errors import InputError
from lamina.files import write_bytes, write_text

if TYPE_CHECKING:
    from lamina.tasks.generate import Task

USUAL = 16
MOST = 1_000_000
BATCH = 1_000
ABOUT = "make new pictures with a sealed generator"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a .lamina file or a run folder of `lamina train --task generate`"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where to write them: a folder for each class")
    parser.add_argument("--count", type=int, help="how many, of all classes together (default: 16)")
    parser.add_argument("--each", type=int, metavar="N", help="so many of each class, in place of --count")
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME",
        help="only of this class; can be repeated",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same pictures (default: 0)")
    parser.add_argument(
        "--truncation", type=float, default=0.0, help="e.g. 1.0: more typical pictures, but less varied (default: none)"
    )
    parser.add_argument(
        "--between",
        type=int,
        nargs=2,
        metavar=("SEED", "SEED"),
        help="make the way from one seed's picture to another's",
    )


def run(arguments: argparse.Namespace) -> int:
    from lamina.model.generate import between, generate, task_of
    from lamina.model.runtime import load

    if arguments.each is not None and (arguments.count is not None or arguments.between):
        raise InputError(
            "--each says how many pictures of each class there are to be.",
            where="--each",
            fix="Leave out --count and --between, or --each.",
        )
    if min([arguments.seed, *(arguments.between or [])]) < 0:
        raise InputError("A seed is negative.", where="--seed", fix="Give whole numbers from 0 on.")
    if arguments.between and (arguments.truncation or len(arguments.classes) > 1):
        raise InputError(
            "--between goes from one picture to another as they are, within one class.",
            where="--between",
            fix="Leave out --truncation, and name one --class at most.",
        )
    folder = Path(arguments.out)
    if folder.is_file() or (folder.exists() and any(folder.iterdir())):
        raise InputError(f"{folder} is not empty.", where="--out", fix="Name a new or an empty folder.")
    model = load(model_file(arguments.model))
    task = task_of(model)
    count = _count(arguments, len(set(arguments.classes) or task.classes))
    if arguments.between:
        name = arguments.classes[0] if arguments.classes else None
        if name is not None:
            generate(model, 1, [name])
        pictures = between(model, count, name, tuple(arguments.between))
        written = _write(folder, pictures, [name] * count, 0)
    else:
        written = []
        classes = list(dict.fromkeys(arguments.classes)) or list(task.classes)
        while len(written) < count:
            # In blocks, each with a seed of its own, so that memory stays flat; the first is the plain seed's. A block
            # begins with the class whose turn it is.
            done = len(written)
            turn = done % len(classes) if classes else 0
            seed = arguments.seed + (done // BATCH) * 1_000_003
            wanted = [*classes[turn:], *classes[:turn]]
            pictures, names = generate(model, min(BATCH, count - done), wanted, seed, arguments.truncation)
            written += _write(folder, pictures, names, done)
    _describe(folder, model.card, task, written)
    if arguments.json:
        _options.print_json({"folder": str(folder), "pictures": len(written), "classes": list(task.classes)})
    else:
        height, width, _ = task.shape
        print(f"{len(written):,} pictures of {height} x {width} pixels in {folder}")
    return 0


def _count(arguments: argparse.Namespace, classes: int) -> int:
    """How many pictures are wanted.

    Raises:
        InputError: too few or too many, or so many of each class of a model that knows none.
    """
    option = "--count" if arguments.each is None else "--each"
    if option == "--each" and not classes:
        raise InputError(
            "The model knows no classes.", where="--each", fix="Say how many there are to be in all: --count N"
        )
    count = arguments.each * classes if arguments.each is not None else arguments.count
    count = USUAL if count is None else count
    if not 1 <= count <= MOST:
        raise InputError(f"{count:,} pictures are asked for.", where=option, fix=f"Ask for 1 to {MOST:,} pictures.")
    return int(count)


def _write(folder: Path, pictures: Any, names: Sequence[str | None], start: int) -> list[tuple[str, str | None]]:
    """One PNG for each picture, named by its number, in a folder named by its class; (path in the folder, class)."""
    from PIL import Image

    written = []
    for number, (picture, name) in enumerate(zip(pictures, names, strict=True), start + 1):
        path = f"{number:06d}.png" if name is None else f"{_safe(name)}/{number:06d}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(buffer, "PNG")
        write_bytes(folder / path, buffer.getvalue())
        written.append((path, name))
    return written


def _describe(folder: Path, card: Mapping[str, Any], task: Task, written: Sequence[tuple[str, str | None]]) -> None:
    """A metadata.csv, where folders alone would not be read as the pictures are that the model learned from.

    These may have been named in columns of other names, and classes may have names that no folder can have.
    """
    column = next((item["name"] for item in card.get("inputs", ()) if item.get("modality") == "image"), "path")
    as_named = all(name is None or _safe(name) == name for _, name in written)
    if as_named and (column, task.label or "label") == ("path", "label"):
        return
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([column, task.label] if task.label else [column])
    lines.writerows([path, name or ""] if task.label else [path] for path, name in written)
    write_text(folder / "metadata.csv", text.getvalue())


def _safe(name: str) -> str:
    """A class's name as a folder's: without separators, and never outside."""
    plain = "".join("_" if letter in '/\\:*?"<>|\0' or not letter.isprintable() else letter for letter in name)
    return plain.strip(". ") or "_"
