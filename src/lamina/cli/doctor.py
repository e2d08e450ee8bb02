"""`lamina doctor`: is the installation sound, and does a sealed model still give its golden answers?"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from typing import Any

from lamina.cli import _options

ABOUT = "check the installation, the machine, and a sealed model's golden answers"
LIBRARIES = {
    "predict": ("numpy", "onnxruntime"),
    "images": ("PIL",),
    "sound": ("soundfile",),
    "text": ("tokenizers",),
    "tables": ("pyarrow", "fsspec", "fastexcel"),
    "train": ("torch", "safetensors", "onnx", "onnxscript", "sklearn", "lightgbm", "jinja2"),
    "transfer": ("transformers",),
    "search": ("usearch",),
    "serve": ("starlette", "uvicorn"),
    "control": ("gymnasium", "Box2D", "pygame"),
}
PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn", "Box2D": "box2d"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a .lamina file or run folder to check")


def run(arguments: argparse.Namespace) -> int:
    document: dict[str, Any] = {"python": platform.python_version(), "machine": platform.platform(), "libraries": {}}
    missing: list[str] = []
    for extra, modules in LIBRARIES.items():
        for module in modules:
            version = _version(module)
            document["libraries"][PACKAGES.get(module, module)] = version
            if version is None:
                missing.append(extra)
    document["missing_extras"] = sorted(set(missing))
    document["free_disk_gb"] = round(shutil.disk_usage(".").free / 2**30, 1)
    sound = "predict" not in missing
    if arguments.model:
        from lamina.cli.predict import model_file
        from lamina.model.runtime import load

        document["model"] = load(model_file(arguments.model)).check_golden()
        sound = sound and document["model"]["sound"]
    document["sound"] = sound
    if arguments.json:
        _options.print_json(document)
    else:
        _print(document)
    return 0 if sound else 1


def _version(module: str) -> str | None:
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(PACKAGES.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return "present"


def _print(document: dict[str, Any]) -> None:
    print(f"Python {document['python']} on {document['machine']}; {document['free_disk_gb']} GiB of disk free")
    for name, version in document["libraries"].items():
        print(f"  {name:14} {version or 'not installed'}")
    for extra in document["missing_extras"]:
        print(f"to get what is missing for {extra}: pip install 'lamina[{extra}]'")
    if "model" in document:
        model = document["model"]
        print(f"golden answers: {model['agree']} of {model['rows']} as sealed")
    print("all is well" if document["sound"] else "something is wrong", file=sys.stdout)
