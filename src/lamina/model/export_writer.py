"""A network that writes as the graphs of `lamina.model.writer` (training side; needs PyTorch)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from lamina.model import export
from lamina.model.writer import CACHE, KEPT, LOGITS, MEMORY, SOURCE, TOKENS

if TYPE_CHECKING:
    from torch import Tensor, nn


def export_writer(network: nn.Module, reads: bool) -> tuple[bytes, bytes]:
    """(Graph that steps, b""), or where another text is read (graph that reads, graph that steps).

    Rows, steps, places and what is in the cache may be of any number. Low-rank adapters are added into the weights
    beside them. The network itself is left as it was.

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
    source = torch.ones((rows, 9), dtype=torch.int32)
    with torch.no_grad():
        memory = own.read(source)
    network_bytes = export.graph_of(Calling("read"), (source,), ({0: free, 1: free},), (SOURCE,), (MEMORY,))
    more, more_axes = (memory, source), ({0: free, 3: free}, {0: free, 1: free})
    names = (TOKENS, CACHE, MEMORY, SOURCE)
    decoder = export.graph_of(Calling("step"), (*arrays, *more), (*axes, *more_axes), names, (LOGITS, KEPT))
    return network_bytes, decoder
