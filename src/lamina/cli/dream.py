"""`lamina dream`: pictures of what a run's network looks for."""

from __future__ import annotations

import argparse
from pathlib import Path

from lamina.cli import _options
from lamina.errors import InputError
from lamina.files import write_bytes

ABOUT = "draw what a run's network looks for in pictures"
STEPS, AMPLIFIED, PAINTED = 256, 20, 300
"""Steps from noise, for each size of a picture that is given, and towards another one's manner."""
STRONGEST = 1000.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUNDIR", help="the run folder of a network that reads pictures")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where to write them, as PNG files")
    parser.add_argument(
        "--class", dest="classes", action="append", default=[], metavar="NAME",
        help="a class to dream of; can be repeated (default: the first 20)",
    )  # fmt: skip
    parser.add_argument("--target", default="", metavar="NAME", help="whose classes, where there are several targets")
    parser.add_argument("--layer", default="", metavar="NAME", help="dream of a layer's channels instead")
    parser.add_argument(
        "--channel", type=int, action="append", default=[], metavar="N",
        help="of the layer, from 0 on; can be repeated (default: the first 20, or all together with --from)",
    )  # fmt: skip
    parser.add_argument("--from", dest="begin", metavar="PICTURE", help="amplify what the layer sees in this picture")
    parser.add_argument("--like", metavar="PICTURE", help="paint the picture of --from in the manner of this one")
    parser.add_argument("--strength", type=float, help="of that manner, as a multiple of the usual (default: 1)")
    parser.add_argument(
        "--steps", type=int, default=0, help="default: 256; with --from 20 for each size, with --like 300"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same dreams (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    from lamina import api
    from lamina import run as runs
    from lamina.model.pictures import png
    from lamina.steps import dreaming

    _check(arguments)
    folder = Path(arguments.out)
    if folder.is_file() or (folder.exists() and any(folder.iterdir())):
        raise InputError(f"{folder} is not empty.", where="--out", fix="Name a new or an empty folder.")
    run = runs.find(arguments.run)
    look = dreaming.seen(run, api.network(arguments.run))
    steps = arguments.steps or (AMPLIFIED if arguments.begin else STEPS)
    if arguments.like:
        strength = 1.0 if arguments.strength is None else arguments.strength
        dreams = dreaming.of_manner(
            look, Path(arguments.begin), Path(arguments.like), arguments.steps or PAINTED, strength, arguments.seed
        )
    elif arguments.begin:
        dreams = dreaming.of_picture(
            look, Path(arguments.begin), arguments.layer, arguments.channel, steps, arguments.seed
        )
    elif arguments.layer:
        dreams = dreaming.of_layer(look, arguments.layer, arguments.channel, steps, arguments.seed)
    else:
        dreams = dreaming.of_classes(run, look, arguments.classes, steps, arguments.seed, arguments.target)
    folder.mkdir(parents=True, exist_ok=True)
    told = []
    for number, dream in enumerate(dreams):
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in dream.name)
        file = folder / f"{number:02d}-{name[:80]}.png"
        write_bytes(file, png(dream.picture))
        told.append({"name": dream.name, "file": str(file), "before": dream.before, "after": dream.after})
    if arguments.json:
        _options.print_json({"dreams": told})
    else:
        for one in told:
            print(f"{one['file']}: {one['name']}, {one['before']:.3g} before, {one['after']:.3g} now")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.layer and (arguments.classes or arguments.target):
        raise InputError("--layer and --class are two things to dream of.", where="--layer", fix="Leave out one.")
    if arguments.like and not arguments.begin:
        raise InputError(
            "A picture is painted in another one's manner.",
            where="--like",
            fix="Name the picture that is painted: --from PICTURE",
        )
    if arguments.like and (arguments.layer or arguments.channel or arguments.classes or arguments.target):
        raise InputError(
            "--like goes by all layers together.", where="--like", fix="Leave out --layer, --channel and --class."
        )
    if arguments.strength is not None and not (arguments.like and 0 < arguments.strength <= STRONGEST):
        raise InputError(
            f"--strength is {arguments.strength:g}." if arguments.like else "--strength is of --like.",
            where="--strength",
            fix=f"Give a number above 0, up to {STRONGEST:g}." if arguments.like else "Leave it out, or name a manner.",
        )
    if arguments.begin and not arguments.layer and not arguments.like:
        raise InputError(
            "From a picture, what a layer sees is amplified.",
            where="--from",
            fix="Name the layer with --layer; lamina.api.network(RUN).layers() lists them.",
        )
    if arguments.channel and not arguments.layer:
        raise InputError("--channel is of a layer.", where="--channel", fix="Name it with --layer.")
    if arguments.steps < 0 or arguments.seed < 0:
        raise InputError("--steps or --seed is negative.", fix="Give whole numbers from 0 on.")
