"""A network that writes as the graphs of `lamina.model.writer` (training side; needs PyTorch)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lamina.model import export
from lamina.model.writer import CACHE, KEPT, LOGITS, MEMORY, SOURCE, TOKENS

if TYPE_CHECKING:
    from torch import Tensor, nn


def export_writer(network: nn.Module, reads: str, picture: Sequence[int] = ()) -> tuple[bytes, bytes]:
    """(Graph that steps, b""), or where something else is read (graph that reads, graph that steps).

    Rows, steps, places of a text and what is in the cache may be of any number. Low-rank adapters are added into the
    weights beside them. The network itself is left as it was.

    Args:
        reads: the modality of what is read (`lamina.tasks.Writing`).
        picture: (height, width, channel) of the encoded pictures, where these are read.

    Raises:
        LaminaError: the network cannot be exported.
    """
    import torch

    from lamina.networks.transfer.lora import merge_adapters

    own: Any = copy.deepcopy(network).cpu().float().eval()
    merge_adapters(own)
    own = export.folded(own)

    class Calling(torch.nn.Module):
        """One of the network's methods as its `forward`."""

        def __init__(self, method: str) -> None:
            super().__init__()
            self.own, self.method = own, method

        def forward(self, *arrays: Tensor) -> Any:
            return getattr(self.own, self.method)(*arrays)

    slots, heads, each = own.cache_shape
    rows, free = 2, torch.export.Dim.AUTO
    # Numbers that differ from each other, and from 1: the exporter takes equal ones for the same.
    tokens = torch.ones((rows, 3), dtype=torch.int32)
    cache = torch.zeros((rows, slots, heads, 5, each))
    arrays, axes = (tokens, cache), ({0: free, 1: free}, {0: free, 3: free})
    if not reads:
        return export.graph_of(Calling("step"), arrays, axes, (TOKENS, CACHE), (LOGITS, KEPT)), b""
    text = reads == "text"
    source = torch.ones((rows, 9) if text else (rows, *picture), dtype=torch.int32 if text else torch.uint8)
    source_axes: dict[int, Any] = {0: free, 1: free} if text else {0: free}
    with torch.no_grad():
        memory = own.read(source)
    network_bytes = export.graph_of(Calling("read"), (source,), (source_axes,), (SOURCE,), (MEMORY,))
    names: tuple[str, ...] = (TOKENS, CACHE, MEMORY)
    more: tuple[Any, ...] = (*arrays, memory)
    more_axes: tuple[Any, ...] = (*axes, {0: free, 3: free})
    if text:
        # Where it is padding must be known; a picture has none.
        more, more_axes, names = (*more, source), (*more_axes, source_axes), (*names, SOURCE)
    decoder = export.graph_of(Calling("step"), more, more_axes, names, (LOGITS, KEPT))
    return network_bytes, decoder
