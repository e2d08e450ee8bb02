"""Weights from an earlier Lamina run, a Hugging Face folder, or a state dictionary."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # never unpickles: what torch.load(weights_only=True) raises
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lamina import plan as plans
from lamina import registry
from lamina.errors import InputError
from lamina.modalities import Encoder
from lamina.networks.assembly import Assembly
from lamina.networks.transfer.lora import merged_tensors
from lamina.plan import NetworkPlan

Origin = Literal["run", "huggingface", "state"]

PICKLED = (".pth", ".pt", ".bin")
OWNERS = ("", "body.", "pictures.", "policy.assembly.", "policy.network.assembly.")
"""What stands before the networks in a run's weights: nothing, or what learned without answers, with captions or by
acting."""


NUMBERED = ("tokenizer", "levels")
"""Parts of an encoder's state that say which number stands for what."""


@dataclass(frozen=True)
class Transferred:
    """What a network took from given weights.

    Attributes:
        source: where they come from.
        taken: names of the tensors that were copied.
        left: names of given tensors that found no place.
        untouched: names of the network's tensors that keep their random start.
        weights: how many numbers were copied.
    """

    source: str
    taken: tuple[str, ...]
    left: tuple[str, ...]
    untouched: tuple[str, ...]
    weights: int

    def __str__(self) -> str:
        def some(names: tuple[str, ...]) -> str:
            return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

        parts = [f"{len(self.taken)} tensors ({self.weights:,} weights) taken from {self.source}"]
        if self.left:
            parts.append(f"not used: {some(self.left)}")
        if self.untouched:
            parts.append(f"started at random: {some(self.untouched)}")
        return "; ".join(parts)


def load_weights(
    assembly: Assembly,
    networks: Mapping[str, NetworkPlan],
    base: Path | None = None,
    encoders: Mapping[str, Encoder] | None = None,
) -> tuple[str, ...]:
    """Copy the weights that the plan names into the assembly's networks; heads and fusion keep their start.

    Args:
        networks: the plan's networks; those with `weights` are served.
        base: the folder that relative paths start from.
        encoders: of the fields. Embeddings of a run whose encoders number tokens or values otherwise are not taken:
            each would stand for something else.

    Returns:
        A sentence for each network served.

    Raises:
        InputError: nothing there, not readable, unsafe, or nothing in it fits.
    """
    notes = []
    for name, plan in networks.items():
        if plan.weights:
            found = transfer(assembly, name, (base or Path()) / Path(plan.weights).expanduser(), encoders)
            notes.append(f"network {name}: {found}")
    return tuple(notes)


def transfer(assembly: Assembly, name: str, path: Path, encoders: Mapping[str, Encoder] | None = None) -> Transferred:
    """Copy what fits by name and shape from `path` into the network `name` of the assembly; see `load_weights`."""
    network = assembly.network(name)
    origin = origin_of(path)
    if origin == "run":
        given = _of_run(path, name, network.state_dict())
    else:
        given = read_tensors(path)
        translate = getattr(_family(network), "translate", None)
        if translate is not None:
            given = translate(network, given)
    own = network.state_dict()
    read = [encoders[field] for field in assembly.fields[name] if field in encoders] if encoders is not None else []
    strange = set() if origin != "run" or _numbered_alike(path, read) else _by_number(network)
    taken = {
        key: tensor
        for key, tensor in given.items()
        if key in own and own[key].shape == tensor.shape and key not in strange
    }
    trained = {key for key, _ in network.named_parameters()}
    if not trained & taken.keys():
        some = ", ".join(list(given)[:3])
        raise InputError(
            f"Nothing in the weights {path} fits the network {name!r} (they hold {some}, ...).",
            where=f"network.{name}.weights",
            fix="Choose the network family and sizes that the weights are for, or leave weights empty.",
        )
    network.load_state_dict(taken, strict=False)
    assembly.pretrained.add(name)
    return Transferred(
        path.name,
        tuple(taken),
        tuple(key for key in given if key not in taken),
        tuple(key for key in own if key in trained and key not in taken),
        sum(tensor.numel() for tensor in taken.values()),
    )


def _numbered_alike(run: Path, encoders: Sequence[Encoder]) -> bool:
    """Do these encoders number tokens and values as those of an earlier run did? Yes, where that is not known."""
    file = run / "prepared.json"
    wanted = [found for encoder in encoders if (found := _numbering(encoder.state()))]
    if not wanted or not file.is_file():
        return True
    try:
        states = json.loads(file.read_text(encoding="utf-8"))["encoders"].values()
        known = [_numbering(state) for state in states]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError(
            f"The run's prepared.json cannot be read: {file}.", fix="Put it back from a copy, or choose another run."
        ) from None
    return all(one in known for one in wanted)


def _numbering(state: Mapping[str, Any]) -> dict[str, Any]:
    return {part: state[part] for part in NUMBERED if part in state}


def _by_number(network: nn.Module) -> set[str]:
    """The names of weights looked up by the number of a token or value; letters have the same numbers everywhere."""
    return {f"{place}.weight" for place, part in network.named_modules() if isinstance(part, nn.Embedding)}


def _family(network: torch.nn.Module) -> Any:
    return registry.module("networks", type(network).__module__.rpartition(".")[2])


def origin_of(path: Path) -> Origin:
    """What kind of weights lie at `path`.

    Raises:
        InputError: nothing that can be read as weights.
    """
    if path.suffix == ".lamina":
        raise InputError(
            f"{path} is a sealed model; its graph cannot be trained on.", fix="Give the run's folder instead."
        )
    if path.is_file():
        return "state"
    if not path.is_dir():
        raise InputError(
            f"There are no weights at {path}.",
            fix="Give a Lamina run's folder, a folder in the Hugging Face format, or a .safetensors or .pth file.",
        )
    if (path / "plan.toml").is_file() or (path / "checkpoints").is_dir():
        return "run"
    if (path / "config.json").is_file():
        return "huggingface"
    if _state_files(path):
        return "state"
    raise InputError(
        f"The folder {path} holds no weights.",
        fix="Give a Lamina run's folder, or a folder with model.safetensors and config.json.",
    )


def _state_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", *PICKLED))


def family_of(weights: str, base: Path | None = None, key: str = "") -> str:
    """The network family that weights are for; see `suggestion`.

    Raises:
        InputError: it cannot be told; the user must name the network.
    """
    return suggestion(weights, base, key)[0]


def suggestion(weights: str, base: Path | None = None, key: str = "") -> tuple[str, dict[str, Any]]:
    """The network family that weights are for, and the options that make them fit.

    Args:
        key: the network they are wanted for: of a run with several, the one of that name is meant.

    Raises:
        InputError: it cannot be told; the user must name the network.
    """
    path = (base or Path()) / Path(weights).expanduser()
    origin = origin_of(path)
    if origin == "huggingface":
        return "huggingface", {}
    if origin == "run":
        networks = plans.read(path / "plan.toml").network
        if len(networks) == 1 or key in networks:
            only = networks.get(key) or next(iter(networks.values()))
            return only.name, {key: value for key, value in only.options.items() if key != "folder"}
        raise InputError(
            f"The run {weights} has several networks: {', '.join(networks)}.",
            fix="Name the network family, e.g. --set network.name=resnet.",
        )
    tensors = read_tensors(path)
    for name in registry.names("networks"):
        family = registry.module("networks", name)
        if hasattr(family, "recognises") and family.recognises(tensors):
            return name, {"variant": family.variant_of(tensors)}
    raise InputError(
        f"It cannot be told which network the weights in {weights} are for.",
        fix=f"Name the network: {', '.join(registry.names('networks'))}.",
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A state dictionary from a file, or from a folder's only file or its shards. Runs no code from the file.

    Raises:
        InputError: missing, damaged, or a pickle that holds more than tensors.
    """
    if path.is_dir():
        index = path / "model.safetensors.index.json"
        if index.is_file():
            return _read_shards(index)
        files = _state_files(path)
        preferred = [file for file in files if file.suffix == ".safetensors"] or files
        if len(preferred) != 1 and (path / "model.safetensors").is_file():
            preferred = [path / "model.safetensors"]
        if len(preferred) != 1:
            held = ", ".join(file.name for file in preferred) or "none"
            raise InputError(f"The folder {path} should hold one file of weights; there are: {held}.", fix="Name one.")
        path = preferred[0]
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        names = set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError(
            "The index of weights cannot be read.", where=str(index), fix="Download the folder again."
        ) from None
    tensors: dict[str, Tensor] = {}
    for name in sorted(names):
        if Path(name).name != name:
            raise InputError(f"The shard {name!r} lies outside the folder.", where=str(index), fix="Do not use it.")
        tensors.update(_read_safetensors(index.parent / name))
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", fix="Check the path.") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"The file {path} cannot be read: {error}.", fix="Download or copy it again.") from None


_NOT_TENSORS = (
    *(UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, OverflowError, struct.error, zipfile.BadZipFile),
)
"""What PyTorch's restricted reader raises, depending on where in a foreign file it notices."""


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)  # never more than tensors
    except _NOT_TENSORS as error:
        # A KeyError is the number of an instruction that no pickle has: such a file is something else altogether.
        reason = (
            "it is no file of PyTorch's."
            if isinstance(error, LookupError | TypeError)
            else str(error) or type(error).__name__
        )
        raise InputError(
            f"The file {path.name} cannot be read as tensors alone: {reason.splitlines()[0]}",
            where=str(path.parent),
            fix="Convert it to safetensors where you trust it, or download it again.",
        ) from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(part, Tensor) for part in content.values()):
        raise InputError(f"The file {path} holds no state dictionary.", fix="Give a dictionary of names to tensors.")
    return {str(key): tensor for key, tensor in content.items()}


def _of_run(folder: Path, name: str, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the run's network that fits best: of the same name first, then by names and shapes."""
    networks: dict[str, dict[str, Tensor]] = {}
    for key, tensor in _run_tensors(folder).items():
        owner, found, name_of_part = key.partition("networks.")
        group, _, rest = name_of_part.partition(".")
        if found and owner in OWNERS:
            networks.setdefault(group, {})[rest] = tensor
    if not networks:
        raise InputError(f"The run {folder} has no trained networks.", fix="Train it to its end, or choose another.")
    merged = {group: merged_tensors(tensors) for group, tensors in networks.items()}

    def fit(group: str) -> tuple[int, bool]:
        matches = sum(key in own and own[key].shape == tensor.shape for key, tensor in merged[group].items())
        return matches, group == name

    return merged[max(merged, key=fit)]


def _run_tensors(folder: Path) -> dict[str, Tensor]:
    """A run's final weights, or those of its newest checkpoint (their running average, if it has one)."""
    final = folder / "weights.safetensors"
    if final.is_file():
        return _read_safetensors(final)
    files = sorted((folder / "checkpoints").glob("*.safetensors"))
    if not files:
        raise InputError(f"The run {folder} has no weights yet.", fix="Train it first, or choose another run.")
    packed = _read_safetensors(files[-1])
    for part in ("/average/", "/network/"):
        found = {key.partition(part)[2]: tensor for key, tensor in packed.items() if part in key}
        if found:
            return found
    return {}
