"""`lamina generate`: new pictures from a sealed generator; needs no PyTorch."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

from lamina.cli import _options
from lamina.cli.predict import model_file
from lamina.errors import InputError

MOST = 1_000_000
BATCH = 1_000
ABOUT = "make new pictures with a sealed generator"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a .lamina file or a run folder of `lamina train --task generate`"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where to write them: a folder for each class")
    parser.add_argument("--count", type=int, default=16, help="how many, of all classes together (default: 16)")
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

    if not 1 <= arguments.count <= MOST:
        raise InputError(f"--count is {arguments.count}.", where="--count", fix=f"Give a number from 1 to {MOST:,}.")
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
    if arguments.between:
        name = arguments.classes[0] if arguments.classes else None
        if name is not None:
            generate(model, 1, [name])
        pictures, names = between(model, arguments.count, name, tuple(arguments.between)), [name] * arguments.count
        written = _write(folder, pictures, names, 0)
    else:
        written = 0
        while written < arguments.count:
            # In blocks, each with a seed of its own, so that memory stays flat; the first is the plain seed's.
            size = min(BATCH, arguments.count - written)
            seed = arguments.seed + (written // BATCH) * 1_000_003
            pictures, names = generate(model, size, arguments.classes, seed, arguments.truncation)
            written += _write(folder, pictures, names, written)
    task = task_of(model)
    if arguments.json:
        _options.print_json({"folder": str(folder), "pictures": written, "classes": list(task.classes)})
    else:
        height, width, _ = task.shape
        print(f"{written:,} pictures of {height} x {width} pixels in {folder}")
    return 0


def _write(folder: Path, pictures: Any, names: list[str | None], start: int) -> int:
    """One PNG for each picture, named by its number, in a folder named by its class."""
    from PIL import Image

    from lamina.files import write_bytes

    for number, (picture, name) in enumerate(zip(pictures, names, strict=True), start + 1):
        place = folder if name is None else folder / _safe(name)
        place.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(buffer, "PNG")
        write_bytes(place / f"{number:06d}.png", buffer.getvalue())
    return len(pictures)


def _safe(name: str) -> str:
    """A class's name as a folder's: without separators, and never outside."""
    plain = "".join("_" if letter in '/\\:*?"<>|\0' or not letter.isprintable() else letter for letter in name)
    return plain.strip(". ") or "_"
