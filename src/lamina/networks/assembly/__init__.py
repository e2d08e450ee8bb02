"""One network for everything a plan reads and asks: encoders of inputs, their fusion, a head for each target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from lamina import registry
from lamina.errors import InputError, nearest
from lamina.modalities import Feature
from lamina.networks import Local, Network, Places, Pyramidal, Stepwise
from lamina.networks.assembly.fusion import Fuse, FuseOptions
from lamina.networks.blocks.options import read_options
from lamina.networks.heads import build_head, reads, source
from lamina.plan import NetworkPlan
from lamina.tasks import Layout


@dataclass(frozen=True)
class Stage:
    """A part of an assembly.

    Attributes:
        name: as `Assembly.layer` knows it, e.g. "image.block3", or "block3" where there is one network.
        network: the network it belongs to; "" for the fusion and the heads.
        module: the part itself.
        height: how many stages above it until the outputs; 0 for the heads.
    """

    name: str
    network: str
    module: nn.Module
    height: int


class Assembly(nn.Module):
    """Networks, their fusion where there are several, and heads.

    Attributes:
        names: the networks' names in order.
        fields: the input fields that each network reads.
        targets: the targets in order.
        adapted: networks with low-rank adapters (`lamina.networks.transfer.freezing`).
        frozen: stages of each network that do not learn; their normalisation and dropout stay in evaluation mode.
        pretrained: networks whose weights were loaded.
    """

    def __init__(
        self,
        networks: Mapping[str, tuple[Network, tuple[str, ...]]],
        heads: Mapping[str, int | Layout],
        fuse: FuseOptions,
    ) -> None:
        super().__init__()
        self.names, self.targets = tuple(networks), tuple(heads)
        self.fields = {name: fields for name, (_, fields) in networks.items()}
        # Names of columns may hold dots or be names of module methods, which PyTorch refuses as module names.
        self._keys = _safe_keys(self.names)
        self._field = {self._keys[name]: fields[0] for name, fields in self.fields.items() if fields}
        self._head_keys = _safe_keys(self.targets)
        self.networks = nn.ModuleDict({self._keys[name]: _module(part) for name, (part, _) in networks.items()})
        shapes = [part.output for part, _ in networks.values()]
        self.fuse = Fuse(shapes, fuse) if len(shapes) > 1 else None
        output = self.fuse.output if self.fuse is not None else shapes[0]
        self.output = output
        layouts = {
            target: wanted if isinstance(wanted, Layout) else Layout("vector", (wanted,))
            for target, wanted in heads.items()
        }
        self._reads = {target: reads(layout) for target, layout in layouts.items()}
        parts = {name: part for name, (part, _) in networks.items()}
        self._sources = {
            target: source(target, layout, parts)
            for target, layout in layouts.items()
            if self._reads[target] != "vector"
        }
        top = self.fuse if self.fuse is not None else next(iter(parts.values()))
        self.heads = nn.ModuleDict(
            {
                self._head_keys[target]: build_head(target, layout, parts.get(self._sources.get(target, ""), top))
                for target, layout in layouts.items()
            }
        )
        if heads and "vector" not in self._reads.values():
            for name in set(self._sources.values()):
                cast(Pyramidal | Stepwise, parts[name]).without_vector()
        self.frozen: dict[str, frozenset[str]] = {}
        self.adapted: set[str] = set()
        self.pretrained: set[str] = set()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by target, [batch, member, width], from the encoded inputs by field name."""
        found: dict[tuple[str, str], Any] = {}
        for target in self.targets:
            what, name = key = (self._reads[target], self._sources.get(target, ""))
            if key not in found:
                found[key] = self.embed(inputs) if what == "vector" else self._given(name, what)(inputs)
        return {
            target: self.heads[self._head_keys[target]](found[self._reads[target], self._sources.get(target, "")])
            for target in self.targets
        }

    def _given(self, name: str, what: str) -> Callable[[Mapping[str, Tensor]], Any]:
        """What gives a network's "pyramid" or "sequence"."""
        return cast(Callable[[Mapping[str, Tensor]], Any], getattr(self.network(name), what))

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, member, width]: the vector that the heads read."""
        vectors = [network(inputs) for network in self.networks.values()]
        return self._fused(vectors)

    def local(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `embed`, and what is known of each place of the fields in `places` (`lamina.networks.Local`)."""
        vectors, found = [], {}
        for name, network in self.networks.items():
            if isinstance(network, Local):
                vector, found[self._field[name]] = network.local(inputs)
            else:
                vector = network(inputs)
            vectors.append(vector)
        return self._fused(vectors), found

    @property
    def places(self) -> dict[str, Places]:
        """By field, of what reads it place by place."""
        return {self._field[name]: part.places for name, part in self.networks.items() if isinstance(part, Local)}

    def _fused(self, vectors: Sequence[Tensor]) -> Tensor:
        return cast(Tensor, vectors[0] if self.fuse is None else self.fuse(vectors))

    def network(self, name: str) -> nn.Module:
        """One of the networks.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self._keys:
            raise InputError(f"There is no network called {name!r}.", fix=nearest(name, self.names))
        return self.networks[self._keys[name]]

    def prefix(self, name: str) -> str:
        """What the names of a network's weights begin with in `state_dict`."""
        self.network(name)
        return f"networks.{self._keys[name]}."

    def stages(self) -> list[Stage]:
        """All parts from input to output, heads last."""
        top = 1 if self.fuse is None else 2
        found = []
        for name in self.names:
            parts = cast(Network, self.network(name)).stages()
            found += [
                Stage(part if len(self.names) == 1 else f"{name}.{part}", name, module, len(parts) - 1 - number + top)
                for number, (part, module) in enumerate(parts)
            ]
        if self.fuse is not None:
            found.append(Stage("fuse", "", self.fuse, 1))
        heads = [Stage(f"heads.{name}", "", self.heads[self._head_keys[name]], 0) for name in self.targets]
        return found + heads

    def layers(self) -> list[str]:
        """The names that `layer` knows, without the parts inside them."""
        return [stage.name for stage in self.stages()]

    def layer(self, name: str) -> nn.Module:
        """A part by its name, e.g. "image.block3", "block3" (if there is one network), or a part of it.

        "block3.branch.0" is the first module in the third block's branch.

        Raises:
            InputError: there is none; the error names the nearest.
        """
        known = self.layers()
        for stage in self.stages():
            if name == stage.name:
                return stage.module
            if name.startswith(f"{stage.name}."):
                inside: dict[str, nn.Module] = dict(stage.module.named_modules())
                if name.removeprefix(f"{stage.name}.") in inside:
                    return inside[name.removeprefix(f"{stage.name}.")]
        if len(self.names) == 1 and name.startswith(f"{self.names[0]}."):
            return self.layer(name.removeprefix(f"{self.names[0]}."))
        if name in self._keys:
            return self.network(name)
        raise InputError(f"There is no layer called {name!r}.", fix=nearest(name, known))

    def train(self, mode: bool = True) -> Assembly:
        """As for every module, but frozen parts stay in evaluation mode: their statistics are kept."""
        super().train(mode)
        for module in self._resting():
            module.eval()
        return self

    def _resting(self) -> Iterator[nn.Module]:
        """What never goes into training mode: frozen stages, and the normalisation of adapted networks."""
        for stage in self.stages():
            if stage.name in self.frozen.get(stage.network, ()):
                yield stage.module
        for name in self.adapted:
            for module in self.network(name).modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    yield module


def _safe_keys(names: tuple[str, ...]) -> dict[str, str]:
    """Names to distinct keys that PyTorch accepts for modules."""
    keys: dict[str, str] = {}
    for name in names:
        key = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in name) or "_"
        while key in keys.values() or hasattr(nn.ModuleDict, key) or key in nn.ModuleDict().__dict__:
            key += "_"
        keys[name] = key
    return keys


def _module(part: Network) -> nn.Module:
    if not isinstance(part, nn.Module):
        raise TypeError(f"a network must be a torch.nn.Module, not {type(part).__name__}")
    return part


def assemble(
    networks: Mapping[str, tuple[Network, tuple[str, ...]]],
    heads: Mapping[str, int | Layout],
    fuse: FuseOptions | None = None,
) -> Assembly:
    """Networks by name with the fields they read, and a head for each target, as one module.

    One network feeds the heads directly; several are fused first. A head is given by its width, or by a layout where
    the answer is no vector.

    Raises:
        InputError: there is no network or no target, or no network gives what a layout's head reads.
    """
    if not networks or not heads:
        missing = "network" if not networks else "target"
        raise InputError(f"There is no {missing} to assemble.", fix=f"Name at least one {missing}.")
    return Assembly(networks, heads, fuse or FuseOptions())


def build_assembly(
    plans: Mapping[str, NetworkPlan],
    features: Mapping[str, Feature],
    heads: Mapping[str, int | Layout],
    fuse: FuseOptions | None = None,
    base: Path | None = None,
) -> Assembly:
    """The module that a plan's networks, the encoders' features and the tasks' widths describe.

    Weights are drawn from PyTorch's global generator, in the order of the plan.

    Args:
        plans: by network name.
        features: by field name.
        heads: the outputs needed, by target: their number, or how they lie.
        fuse: how several networks are fused.
        base: the folder that relative paths of weights start from.

    Raises:
        InputError: an unknown family, field or option, a value of the wrong type or out of range, or a field of
            a kind that the family does not read.
    """
    networks = {name: (build_network(name, plan, features, base), plan.fields) for name, plan in plans.items()}
    return assemble(networks, heads, fuse)


def build_body(plans: Mapping[str, NetworkPlan], features: Mapping[str, Feature], base: Path | None = None) -> Assembly:
    """As `build_assembly`, without heads: for methods that learn from inputs alone, through `embed`.

    Raises:
        InputError: as `build_assembly`, or there is no network.
    """
    if not plans:
        raise InputError("There is no network to assemble.", fix="Name at least one network.")
    networks = {name: (build_network(name, plan, features, base), plan.fields) for name, plan in plans.items()}
    return Assembly(networks, {}, FuseOptions())


def build_network(name: str, plan: NetworkPlan, features: Mapping[str, Feature], base: Path | None = None) -> Network:
    """One network of a plan; see `build_assembly`."""
    family = registry.module("networks", plan.name)
    for field in plan.fields:
        if field not in features:
            raise InputError(
                f"There is no input field {field!r}.", where=f"network.{name}.fields", fix=nearest(field, features)
            )
    options = read_options(family.Options, plan.options, f"network.{name}.options")
    if plan.weights and getattr(options, "folder", None) == "":
        options = replace(options, folder=str((base or Path()) / Path(plan.weights).expanduser()))
    return cast(Network, family.build({field: features[field] for field in plan.fields}, options))


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(all, trainable) numbers of weights."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trainable in sizes if trainable)


__all__ = [
    "Assembly",
    "FuseOptions",
    "Stage",
    "assemble",
    "build_assembly",
    "build_body",
    "build_network",
    "count_parameters",
]
