"""Token embeddings that know how a token is spelled.

Bojanowski et al. 2017, "Enriching word vectors with subword information": "enjoy", "enjoyed" and "enjoyable" share most
of their letters, and so most of their vectors; a network that reads each as a number of its own has to learn them
one by one, for which few texts are too few.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lamina.networks.blocks.rows import Sums, Table, different

SHORTEST, LONGEST = 3, 5
"""Letters in a run."""
MOST = 24
"""Runs of a token that count."""
BUCKETS = 20_000
"""Vectors for runs, at most."""
AT_ONCE = 1024
"""Tokens that are folded together: all of them would take MOST times the table's memory."""


class SpelledEmbedding(nn.Module):
    """A token's own vector plus those of its runs of letters: tokens [...] to [..., width].

    Args:
        spellings: every token's text, by id; "" for one that stands for no text.
        spread: standard deviation of the weights at the start.
    """

    runs: Tensor
    scale: Tensor

    def __init__(self, spellings: Sequence[str], width: int, spread: float) -> None:
        super().__init__()
        self.tokens = Table(len(spellings), width)
        buckets = min(BUCKETS, 4 * len(spellings))
        self.letters = Sums(buckets + 1, width)
        for table in (self.tokens, self.letters):
            nn.init.normal_(table.weight, std=spread)
        nn.init.zeros_(self.letters.weight[0])
        runs = torch.zeros(len(spellings), MOST, dtype=torch.int64)
        all_runs = [hashed_runs(spelling, buckets) for spelling in spellings]
        # In one go: a tensor for each token would take longer than all else.
        lengths = torch.tensor([len(found) for found in all_runs])
        runs[torch.arange(MOST) < lengths.unsqueeze(1)] = torch.tensor(
            [run for found in all_runs for run in found], dtype=torch.int64
        )
        # A function of the spellings, so it is in no checkpoint.
        self.register_buffer("runs", runs, persistent=False)
        scale = (runs > 0).sum(1, keepdim=True).clamp_min(1).to(torch.float32).rsqrt()
        self.register_buffer("scale", scale, persistent=False)

    @property
    def num_embeddings(self) -> int:
        """Different tokens."""
        return self.tokens.num_embeddings

    def vectors(self, tokens: Tensor) -> Tensor:
        """Tokens [token] to [token, width]."""
        letters: Tensor = self.letters(self.runs[tokens])
        vectors: Tensor = self.tokens(tokens) + letters * self.scale[tokens]
        return vectors

    def different(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [...] as (places [...] in the vectors, vectors [different token, width]).

        A text repeats its words: each one's letters are added up once.
        """
        found, place = different(tokens, self.num_embeddings)
        return place, self.vectors(found)

    def forward(self, tokens: Tensor) -> Tensor:
        return nn.functional.embedding(*self.different(tokens))

    @torch.no_grad()
    def folded(self) -> nn.Embedding:
        """A plain embedding with the same answers, for the sealed file."""
        plain = nn.Embedding(self.num_embeddings, self.tokens.embedding_dim)
        for begin in range(0, self.num_embeddings, AT_ONCE):
            some = torch.arange(begin, min(begin + AT_ONCE, self.num_embeddings), device=self.runs.device)
            plain.weight[some] = self.vectors(some)
        return plain


def hashed_runs(spelling: str, buckets: int) -> list[int]:
    """The runs of SHORTEST to LONGEST letters of "<spelling>", as numbers from 1 to `buckets`, at most MOST."""
    if not spelling:
        return []
    framed = f"<{spelling}>"
    runs = [
        framed[begin : begin + size] for size in range(SHORTEST, LONGEST + 1) for begin in range(len(framed) - size + 1)
    ]
    return [zlib.crc32(run.encode()) % buckets + 1 for run in runs[:MOST]]
