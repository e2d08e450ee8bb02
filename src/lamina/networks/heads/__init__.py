"""The contract of a head: from what a network gives to one target's outputs; one file for each kind of layout.

A module `lamina/networks/heads/KIND.py` offers

- `READS`: what it reads of a network: "vector", "pyramid" (`lamina.networks.Pyramidal`) or "sequence" (`Stepwise`);
- `Options`: a frozen dataclass with defaults, as the families of networks have;
- `build(layout, network, options) -> nn.Module`: from that, [batch, member, width] or a list of maps or
  [batch, step, width], to [batch, member, layout.size]. `network` is what will be read: its `output`, `levels` or
  `steps` say what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from lamina import registry
from lamina.errors import InputError
from lamina.networks import Pyramidal, Stepwise
from lamina.networks.blocks.options import read_options
from lamina.tasks import Layout

GIVES: Mapping[str, Any] = {"pyramid": Pyramidal, "sequence": Stepwise}
"""By what a head reads: the protocol of the networks that give it."""


def reads(layout: Layout) -> str:
    """What the head for a layout reads of a network: "vector", "pyramid" or "sequence"."""
    return cast(str, registry.module("networks/heads", layout.kind).READS)


def build_head(target: str, layout: Layout, network: object) -> nn.Module:
    """The head for a layout, on top of what gives what it reads; fresh weights.

    Raises:
        InputError: an unknown option, or a value of the wrong type or out of range.
    """
    kind = registry.module("networks/heads", layout.kind)
    options = read_options(kind.Options, layout.head, f"task.{target}.options")
    return cast(nn.Module, kind.build(layout, network, options))


def source(target: str, layout: Layout, networks: Mapping[str, object]) -> str:
    """The name of the one network that a head for a pyramid or a sequence reads.

    Raises:
        InputError: no network gives it, or there are several networks.
    """
    wanted = reads(layout)
    able = [name for name, part in networks.items() if isinstance(part, GIVES[wanted])]
    if not able:
        raise InputError(
            f"The target {target!r} is answered with {layout.kind}, for which a network must give a {wanted}; "
            f"{', '.join(networks)} gives one vector.",
            where=f"network.{next(iter(networks))}.name",
            fix=f"Choose one of: {', '.join(families(wanted))}.",
        )
    if len(networks) > 1:
        others = ", ".join(name for name in networks if name != able[0])
        raise InputError(
            f"The target {target!r} is answered with {layout.kind} from one input, and there is {others} besides.",
            where="network",
            fix=f"Leave out the other inputs: --set schema.COLUMN.role=ignore (not {able[0]!r}).",
        )
    return able[0]


def families(wanted: str) -> list[str]:
    """The families of networks that give a "pyramid" or a "sequence"."""
    return [
        name for name in registry.names("networks") if wanted in getattr(registry.module("networks", name), "GIVES", ())
    ]
