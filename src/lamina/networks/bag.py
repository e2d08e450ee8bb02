"""Bag of embeddings for text: the means of token and n-gram embeddings, then a small perceptron.

As in fastText (Joulin et al. 2016, "Bag of tricks for efficient text classification"); n-grams are hashed inside
the graph, and tokens that are spelled alike share most of their vectors. N-grams that tell much about the answers count
for more from the start (Wang & Manning 2012, "Baselines and bigrams": their log-count ratios do it for a linear model).
On few processor cores this is the fastest strong network for text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks import OutputShape
from lamina.networks.blocks.fields import only_field, trimmed
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.rows import Table
from lamina.networks.blocks.spelling import SpelledEmbedding
from lamina.networks.heads.vector import MemberLinear

ACCEPTS = ("tokens",)
TRIMS = ("tokens",)

FACTOR = 1_000_003
"""A prime that mixes the tokens of an n-gram into one number; small enough not to overflow int64."""


BUCKETS_PER_TOKEN = 4
"""More n-grams than that are hardly seen twice in the texts that so few tokens were found in."""

PRIOR = 1.0
"""Texts without any effect that are added to those with an n-gram: one text alone proves little."""
LEAST_EFFECT = 0.3
"""What an n-gram without effect counts for, where one that decides the answer (by a standard deviation) adds 1."""


@dataclass(frozen=True)
class Options:
    """Sizes of a bag of embeddings.

    Attributes:
        members: networks of the same size that learn side by side, each with embeddings and omissions of its own, and
            answer as one: few texts are learnt by heart quickly, and each member by another heart.
        width: of a member's embeddings.
        grams: longest n-gram (1: single tokens only).
        buckets: number of embeddings that n-grams are hashed into, for each n, at most; fewer for few tokens.
        hidden: units of a member's hidden layer.
        token_dropout: chance of leaving a token or n-gram out during training.
        dropout: on the means and the hidden layer.
    """

    members: int = whole(4)
    width: int = whole(32)
    grams: int = whole(2)
    buckets: int = whole(32768)
    hidden: int = whole(64)
    token_dropout: float = share(0.1)
    dropout: float = share(0.3)


class GramMean(nn.Module):
    """The weighted mean embedding of a row's n-grams: tokens [batch, length] to [batch, member, width].

    Every n-gram has a learned importance, as TF-IDF has a counted one; they start equal, or as `weigh` says.

    Attributes:
        order: n; 1 looks tokens up as they are, larger n by hash.
        table: [n-gram, member * width].
    """

    def __init__(self, order: int, table: Table | SpelledEmbedding, members: int, dropout: float) -> None:
        super().__init__()
        self.order, self.members, self.chance = order, members, dropout
        self.table = table
        self.importance = Table(table.num_embeddings, members)
        nn.init.zeros_(self.importance.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        index, filled = self.grams(tokens)
        used = filled.unsqueeze(2).expand(-1, -1, self.members)
        if self.training and self.chance:
            used = used & (torch.rand(used.shape, device=used.device) >= self.chance)
        score = self.importance(index).masked_fill(~used, -1e9)
        # Where nothing is left of a text, all weights are zero rather than equal.
        weight = score.softmax(dim=1) * used
        if torch.compiler.is_compiling():
            vectors = self.table(index).unflatten(2, (self.members, -1))
            return torch.einsum("blm,blmw->bmw", weight, vectors)
        if isinstance(self.table, SpelledEmbedding):
            return weighted_sums(*self.table.different(index), weight)
        return weighted_sums(*self.table.used(index), weight)

    def grams(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [batch, length] as (row of the table [batch, n-gram], whether it is one of the text)."""
        count = tokens.shape[1] - self.order + 1
        index = tokens[:, :count]
        for offset in range(1, self.order):
            index = index * FACTOR + tokens[:, offset : offset + count]
            # Folded at every step: three tokens' product would overflow.
            index = index % (2**31 - 1)
        if self.order > 1:
            index = index % self.table.num_embeddings
        return index, tokens[:, self.order - 1 :] != 0

    @torch.no_grad()
    def weigh(self, effects: Effects) -> None:
        """Let n-grams count by the size of their effects from the start."""
        size = effects.of_each().pow(2).sum(dim=1).sqrt()
        self.importance.weight.copy_(torch.log(LEAST_EFFECT + size).unsqueeze(1).expand(-1, self.members))


class Effects:
    """How n-grams and answers hang together, summed up over batches.

    Attributes:
        texts: [n-gram], how many texts it stands in.
        pulls: [n-gram, output], the sum of their pulls.
    """

    def __init__(self, grams: int, outputs: int, device: torch.device) -> None:
        self.texts = torch.zeros(grams, 1, device=device)
        self.pulls = torch.zeros(grams, outputs, device=device)

    def add(self, index: Tensor, filled: Tensor, pull: Tensor) -> None:
        """A batch: index and filled [batch, n-gram] as `GramMean.grams` gives them, pull [batch, output]."""
        batch = len(pull)
        row = torch.arange(batch, device=index.device).unsqueeze(1)
        # However often a text repeats an n-gram, it is one text.
        both = torch.unique((index * batch + row)[filled])
        pairs, ones = torch.stack([both // batch, both % batch]), torch.ones(len(both), device=pull.device)
        stands_in = torch.sparse_coo_tensor(
            pairs, ones, (len(self.texts), batch), is_coalesced=True, check_invariants=True
        )
        self.texts += torch.sparse.mm(stands_in, torch.ones_like(pull[:, :1]))
        self.pulls += torch.sparse.mm(stands_in, pull)

    def of_each(self) -> Tensor:
        """[n-gram, output]: the mean pull of its texts, drawn to 0 where they are few."""
        return self.pulls / (self.texts + PRIOR)


def weighted_sums(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """Each member's sum of its parts of the looked-up vectors, without a copy of them all (large for long texts).

    Args:
        index: [batch, length], rows of `table`.
        table: [row, member * width].
        weight: [batch, length, member].

    Returns:
        [batch, member, width].
    """
    batch, length, members = weight.shape
    parts = index.unsqueeze(1) * members + torch.arange(members, device=index.device).unsqueeze(1)
    sums = nn.functional.embedding_bag(
        parts.reshape(batch * members, length),
        table.reshape(table.shape[0] * members, -1),
        per_sample_weights=weight.transpose(1, 2).reshape(batch * members, length),
        mode="sum",
    )
    return sums.reshape(batch, members, -1)


class Bag(nn.Module):
    """Means over tokens and n-grams, side by side, then a hidden layer; one text field."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        self.field = name
        tables = [_tokens(feature, options.members, options.width)]
        buckets = min(options.buckets, BUCKETS_PER_TOKEN * feature.size)
        tables += [_table(buckets, options.members, options.width) for _ in range(1, options.grams)]
        self.grams = nn.ModuleList(
            GramMean(order, table, options.members, options.token_dropout) for order, table in enumerate(tables, 1)
        )
        self.hidden = nn.Sequential(
            nn.LayerNorm(options.width * options.grams),
            nn.Dropout(options.dropout),
            MemberLinear(options.members, options.width * options.grams, options.hidden),
            nn.GELU(),
            nn.Dropout(options.dropout),
        )
        self.output = OutputShape(options.hidden, options.members)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, member, width]."""
        tokens = self._tokens(inputs)
        vectors: Tensor = self.hidden(torch.cat([gram(tokens) for gram in self.grams], dim=2))
        return vectors

    def _tokens(self, inputs: Mapping[str, Tensor]) -> Tensor:
        tokens = trimmed("tokens", inputs[self.field]).long()
        if tokens.shape[1] < len(self.grams):
            tokens = nn.functional.pad(tokens, (0, len(self.grams) - tokens.shape[1]))
        return tokens

    @torch.no_grad()
    def inform(self, rows: Iterable[tuple[Mapping[str, Tensor], Tensor]]) -> None:
        """Start with importances that fit the effects of the n-grams in these rows."""
        means = [cast(GramMean, gram) for gram in self.grams]
        effects: list[Effects] = []
        for inputs, pull in rows:
            tokens = self._tokens(inputs)
            effects = effects or [Effects(gram.table.num_embeddings, pull.shape[1], pull.device) for gram in means]
            for gram, seen in zip(means, effects, strict=True):
                seen.add(*gram.grams(tokens), pull)
        for gram, seen in zip(means, effects, strict=bool(effects)):
            gram.weigh(seen)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """grams, hidden."""
        return [("grams", self.grams), ("hidden", self.hidden)]


def _tokens(feature: Feature, members: int, width: int) -> Table | SpelledEmbedding:
    """The embedding of single tokens; it knows their letters where the encoder tells their spellings."""
    spellings = feature.details.get("spellings")
    if isinstance(spellings, list):
        return SpelledEmbedding([str(spelling) for spelling in spellings], members * width, 1 / math.sqrt(width))
    return _table(feature.size, members, width)


def _table(size: int, members: int, width: int) -> Table:
    table = Table(size, members * width)
    nn.init.normal_(table.weight, std=1 / math.sqrt(width))
    return table


def build(features: Mapping[str, Feature], options: Options) -> Bag:
    """A bag of embeddings for the one text field in `features`."""
    return Bag(*only_field("bag", ACCEPTS, features), options)
