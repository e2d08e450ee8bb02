"""A lexicon in a translator's output: words that stand for what is looked at are likelier from the first step on.

Arthur et al. 2016, "Incorporating discrete translation lexicons into neural machine translation": the chances that a
table gives for each token that is read, weighted by how much each is looked at, raised by a floor, are a bias of the
log-odds. The likelihood of right tokens teaches what to look at, without any known alignment.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FLOOR = 1e-3
"""Added to every chance: what no table knows is possible too (Arthur et al. 2016)."""


class Lexicon(nn.Module):
    """See the module.

    Args:
        vocabulary: different tokens, of both texts.
        width: of the states that ask, and of the keys that are asked.
        candidates: tokens that each token may become.
    """

    tokens: Tensor
    chances: Tensor

    def __init__(self, vocabulary: int, width: int, candidates: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.register_buffer("tokens", torch.zeros((vocabulary, candidates), dtype=torch.int32))
        self.register_buffer("chances", torch.zeros((vocabulary, candidates)))

    def looks(self, states: Tensor, keys: Tensor, visible: Tensor) -> Tensor:
        """float32 [row, step, place]: how much each step looks at each place.

        Args:
            states: [row, step, width].
            keys: [row, head, place, width of a head] of what was read.
            visible: bool [row, place], False at padding.
        """
        flat = keys.transpose(1, 2).flatten(2)
        scores = self.query(states) @ flat.transpose(1, 2) / math.sqrt(flat.shape[2])
        shares: Tensor = scores.float().masked_fill(~visible[:, None, :], -math.inf).softmax(dim=2)
        return shares

    def forward(self, looks: Tensor, source: Tensor) -> Tensor:
        """float32 [row, step, token]: what is added to the log-odds; 0 for tokens that nothing read stands for.

        Args:
            looks: as `looks` gives them.
            source: [row, place], the tokens that were read.
        """
        rows, steps, _ = looks.shape
        source = source.long()
        found = (looks.unsqueeze(3) * (self.chances[source] / FLOOR).unsqueeze(1)).flatten(2)
        # Padding looks nowhere, so what it stands for weighs nothing.
        tokens = self.tokens[source].long().flatten(1).unsqueeze(1).expand(-1, steps, -1)
        # The logarithm of 1 and more, not log1p: its gradient takes one pass over all tokens less.
        return found.new_ones((rows, steps, len(self.tokens))).scatter_add(2, tokens, found).log()
