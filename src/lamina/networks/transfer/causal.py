"""A causal language model from a local folder in the Hugging Face format, as one of Lamina's own writers.

The sizes are read from `config.json`, the weights from safetensors; no code from the folder is run, and no other
library is needed. A writer (`lamina.networks.writers`) that can take such weights offers besides its contract

- `ARCHITECTURES`: the names in `config.json` that it serves;
- `described(config) -> Described`: its options, or an InputError that names what it does not have;
- `translate(tensors, depth) -> dict`: the folder's tensors by its own names.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamina import registry
from lamina.ahead import whole_torch
from lamina.errors import InputError
from lamina.networks.blocks.options import read_options
from lamina.networks.transfer.weights import PICKLED, read_tensors

FOLDER = "networks/writers"
CONFIG, TOKENIZER, WEIGHTS, INDEX = (
    "config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"
)  # fmt: skip
SAVE = "load it with its own library and save it again: model.save_pretrained(FOLDER)"
LARGEST_CONFIG = 1 << 20
LARGEST_SIZE, DEEPEST = 1 << 24, 1_000
"""Any size in a configuration is at most this, and the number of layers."""
KINDS = ("ForCausalLM", "LMHeadModel")
"""How the names of architectures that write on end."""
POSITIONS = "trunk.positions.weight"


@dataclass(frozen=True)
class Described:
    """What a configuration says.

    Attributes:
        options: of the writer.
        vocabulary: different tokens.
        positions: tokens that it can see at most.
    """

    options: Mapping[str, Any]
    vocabulary: int
    positions: int


@dataclass(frozen=True)
class Reading:
    """A `config.json`, read with suspicion.

    Attributes:
        where: the file, for errors.
        architecture: the class that it names.
    """

    where: str
    architecture: str
    values: Mapping[str, Any]

    def whole(self, name: str, usual: int | None = None, most: int = LARGEST_SIZE) -> int:
        """A size of at most `most`.

        Raises:
            InputError: it is missing without a usual value, or is none.
        """
        value = self.values.get(name)
        value = usual if value is None else value
        if type(value) is not int or not 1 <= value <= most:
            raise self.refused(name, value, f"it must be a whole number from 1 to {most:,}")
        return value

    def number(self, name: str, usual: float) -> float:
        """A number above 0."""
        value = self.values.get(name)
        value = usual if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.refused(name, value, "it must be a number above 0")
        return float(value)

    def flag(self, name: str, usual: bool) -> bool:
        """True or false."""
        value = self.values.get(name)
        value = usual if value is None else value
        if not isinstance(value, bool):
            raise self.refused(name, value, "it must be true or false")
        return value

    def only(self, name: str, values: Sequence[Any]) -> None:
        """Raises InputError where a setting has another value than those that are served."""
        if self.values.get(name) not in values:
            known = " or ".join(json.dumps(value) for value in values if value is not None) or "nothing"
            raise self.refused(name, self.values.get(name), f"Lamina has {known} there")

    def refused(self, name: str, value: Any, why: str) -> InputError:
        """The error that a setting is not served."""
        return InputError(
            f"The given model has {name} = {json.dumps(value)[:200]}: {why}.",
            where=self.where,
            fix=f"Choose a model without it, of one of: {', '.join(architectures())}.",
        )


@dataclass(frozen=True)
class Given:
    """A given model, before its weights are read.

    Attributes:
        folder: where it lies.
        writer: the network that takes its weights.
        fingerprint: hash of configuration, tokenizer and weights.
        bounds: ids of the tokens that begin and that end a text.
        numbers: weights.
    """

    folder: Path
    writer: str
    architecture: str
    described: Described
    fingerprint: str
    bounds: tuple[int, int]
    numbers: int

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER


def architectures() -> dict[str, str]:
    """What can be given, and the writer that takes it."""
    modules = {name: registry.module(FOLDER, name) for name in registry.names(FOLDER)}
    return {one: name for name, module in modules.items() for one in getattr(module, "ARCHITECTURES", ())}


def given(folder: Path) -> Given:
    """What lies in a folder; the weights are hashed, not read.

    Raises:
        InputError: something is missing, is no causal model, or asks for what no writer has.
    """
    if not folder.is_dir():
        raise InputError(
            f"There is no folder {folder}.", where="--weights",
            fix="Give a local folder in the Hugging Face format: config.json, tokenizer.json, model.safetensors.",
        )  # fmt: skip
    values = _config(folder)
    where, known = str(folder / CONFIG), architectures()
    named = values.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else _by_type(str(values.get("model_type")))
    if architecture not in known:
        encoder = not architecture.endswith(KINDS)
        raise InputError(
            f"The model in {folder} is {architecture}"
            + (", which does not write on from a text." if encoder else ", which no network of Lamina's is like."),
            where=where,
            fix=f"Give a causal language model of one of: {', '.join(known)}.",
        )
    if not (folder / TOKENIZER).is_file():
        raise InputError(
            f"There is no {TOKENIZER} in {folder}.", where="--weights",
            fix="Put the model's own there; of older ones: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)",
        )  # fmt: skip
    files = _files(folder)
    reading = Reading(where, architecture, values)
    described = registry.module(FOLDER, known[architecture]).described(reading)
    numbers = _numbers(known[architecture], described)
    # The smallest numbers that are read have a byte each.
    if numbers > sum(file.stat().st_size for file in files):
        raise InputError(
            f"The configuration in {folder} speaks of {numbers:,} weights; the files are too small for them.",
            where="--weights", fix="Download the folder again.",
        )  # fmt: skip
    digest = hashlib.blake2b(digest_size=16)
    for file in (folder / CONFIG, folder / TOKENIZER, *files):
        with file.open("rb") as content:
            digest.update(f"{file.name} {hashlib.file_digest(content, 'blake2b').hexdigest()} ".encode())
    bounds = _bounds(reading, described.vocabulary)
    return Given(folder, known[architecture], architecture, described, digest.hexdigest(), bounds, numbers)


def _config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    fix = "Give a folder in the Hugging Face format, with config.json, tokenizer.json and model.safetensors."
    try:
        if file.stat().st_size > LARGEST_CONFIG:
            raise InputError(f"{file} is too large for a configuration.", where="--weights", fix=fix)
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"There is no {CONFIG} in {folder}.", where="--weights", fix=fix) from None
    except ValueError as error:
        raise InputError(
            f"{file} is no valid JSON: {error}.", where="--weights", fix="Download the folder again."
        ) from None
    if not isinstance(document, dict):
        raise InputError(f"{file} holds no settings.", where="--weights", fix=fix)
    return document


def _by_type(name: str) -> str:
    """The architecture where only the kind of the model is told."""
    known = {one.lower(): one for one in architectures()}
    return next((known[one] for kind in KINDS if (one := f"{name}{kind}".lower()) in known), name)


def _files(folder: Path) -> list[Path]:
    """The files of weights, with the index first where there is one.

    Raises:
        InputError: there are none, or they are pickles.
    """
    if (folder / INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise InputError(
                f"The index of weights in {folder} cannot be read.", where=INDEX, fix="Download the folder again."
            ) from None
        missing = [str(name) for name in names if Path(str(name)).name != name or not (folder / name).is_file()]
        if missing:
            raise InputError(
                f"The folder {folder} lacks {', '.join(missing[:3])}.", where=INDEX, fix="Download the folder again."
            )
        return [folder / INDEX, *(folder / name for name in names)]
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    pickles = [file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLED]
    if pickles:
        raise InputError(
            f"The weights in {folder} are a pickle ({pickles[0]}), which can hide code.",
            where="--weights",
            fix=f"Convert them to {WEIGHTS} where you trust them: {SAVE}",
        )
    raise InputError(f"There is no {WEIGHTS} in {folder}.", where="--weights", fix="Download the folder again.")


def _bounds(config: Reading, vocabulary: int) -> tuple[int, int]:
    """(Id before a text, id after it); where nothing is said of the first it is the second.

    Raises:
        InputError: no token ends a text.
    """
    found = []
    for name in ("bos_token_id", "eos_token_id"):
        value = config.values.get(name)
        # Where several tokens end a text, the first of them ends a document.
        value = value[0] if isinstance(value, list) and value else value
        if value is not None and (type(value) is not int or not 0 <= value < vocabulary):
            raise config.refused(name, value, f"it must be the number of a token, from 0 to {vocabulary - 1:,}")
        found.append(value)
    start, end = found
    if end is None:
        raise InputError(
            "The given model does not say which token ends a text.", where=config.where,
            fix="Write its number there as eos_token_id.",
        )  # fmt: skip
    return (end if start is None else start), end


def fill(network: nn.Module, model: Given) -> None:
    """Copy a given model's weights into the writer that is for it.

    Raises:
        InputError: weights are missing, left over, or of another shape.
    """
    tensors = _translated(model)
    own = network.state_dict()
    if (positions := own.get(POSITIONS)) is not None and POSITIONS in tensors:
        # Only as many as are seen.
        tensors[POSITIONS] = tensors[POSITIONS][: len(positions)]
    lacking = [name for name in own if name not in tensors]
    left = [name for name in tensors if name not in own]
    other = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    for names, what in ((lacking, "lacks"), (left, "has besides"), (other, "has in another shape")):
        if names:
            raise InputError(
                f"The model in {model.folder} {what}: {', '.join(map(_told, names[:3]))}"
                + (f" and {len(names) - 3} more." if len(names) > 3 else "."),
                where="--weights",
                fix="Give a whole model whose config.json fits its weights, and leave the network's sizes as they are.",
            )
    network.load_state_dict({name: value.float() for name, value in tensors.items()})


def _numbers(writer: str, described: Described) -> int:
    """How many weights a network of such sizes has; needs no memory for them."""
    module = registry.module(FOLDER, writer)
    options = read_options(module.Options, described.options, CONFIG)
    whole_torch()
    with torch.device("meta"):
        network = module.build(described.vocabulary, described.positions, 0, options)
    return sum(value.numel() for value in network.parameters())


def _translated(model: Given) -> dict[str, Tensor]:
    module = registry.module(FOLDER, model.writer)
    tensors = read_tensors(model.folder)
    found: dict[str, Tensor] = module.translate(tensors, int(model.described.options["depth"]))
    if model.described.options.get("tied", True):
        # Some files hold the last map twice.
        found.pop("trunk.last.weight", None)
    return found


def _told(name: str) -> str:
    return name.removeprefix("trunk.")
