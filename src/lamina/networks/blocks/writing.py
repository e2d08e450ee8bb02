"""Layers that write: causal attention with a memory of what was written, attention to what was read, a gated unit.

Every step sees itself and those before it. Where tokens come one after the other, the keys and values of earlier ones
are not computed again: they are handed in and out as a cache, so that the layers themselves remember nothing and can be
exported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.networks.blocks.attention import Rotary

SPREAD = 0.02
"""Standard deviation of fresh weights (Radford et al. 2019)."""


@dataclass(frozen=True)
class Shape:
    """Sizes and kinds of the layers of a `Trunk`.

    Attributes:
        width: of the vectors of tokens and of the layers.
        depth: layers.
        heads: of attention.
        hidden: width of the feed-forward layers.
        dropout: chance of a number in the embedded text and in the layers to be left out.
        groups: heads of keys and values, each for as many heads of queries (Ainslie et al. 2023); 0 for one each.
        each: width of a head; 0 for an equal share of the width.
        theta: of the rotary positions.
        epsilon: that norms add to the mean square.
        bias_in, bias_out, bias_feed: whether there are biases in the maps to queries, keys and values, from the heads,
            and in the feed-forward layers.
        plain: layers as of GPT-2 (Radford et al. 2019): learned positions, layer norms, GELU without gates; not as of
            Llama (Touvron et al. 2023).
        tied: whether the last map has the embeddings' weights (Press & Wolf 2017).
    """

    width: int
    depth: int
    heads: int
    hidden: int
    dropout: float = 0.0
    groups: int = 0
    each: int = 0
    theta: float = 10000.0
    epsilon: float = 1e-6
    bias_in: bool = False
    bias_out: bool = False
    bias_feed: bool = False
    plain: bool = False
    tied: bool = True

    @property
    def pairs(self) -> int:
        """Heads of keys and values."""
        return self.groups or self.heads

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.each or self.width // self.heads


def gated(width: int, expansion: int) -> int:
    """The hidden width that gives a gated unit as many weights as a plain one of `expansion` times the width."""
    return max(8, width * expansion * 2 // 3 // 8 * 8)


class RootMeanSquareNorm(nn.Module):
    """Values [..., width] divided by their root mean square (Zhang & Sennrich 2019), in fp32."""

    def __init__(self, width: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, values: Tensor) -> Tensor:
        exact = values.float()
        answer: Tensor = exact * torch.rsqrt(exact.square().mean(dim=-1, keepdim=True) + self.epsilon) * self.scale
        return answer.to(values.dtype)


class SwishGatedUnit(nn.Module):
    """SwiGLU (Shazeer 2020): one half of a linear map gates the other through SiLU."""

    def __init__(self, width: int, hidden: int, bias: bool = False) -> None:
        super().__init__()
        self.entry = nn.Linear(width, 2 * hidden, bias=bias)
        self.out = nn.Linear(hidden, width, bias=bias)

    def forward(self, values: Tensor) -> Tensor:
        value, gate = self.entry(values).chunk(2, dim=-1)
        answer: Tensor = self.out(value * functional.silu(gate))
        return answer


class PlainUnit(nn.Module):
    """Two linear maps with GELU between, in the form with the hyperbolic tangent (Hendrycks & Gimpel 2016)."""

    def __init__(self, width: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.entry = nn.Linear(width, hidden, bias=bias)
        self.out = nn.Linear(hidden, width, bias=bias)

    def forward(self, values: Tensor) -> Tensor:
        answer: Tensor = self.out(functional.gelu(self.entry(values), approximate="tanh"))
        return answer


class CausalAttention(nn.Module):
    """Self-attention of which every step sees itself and those before it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.pairs, self.each, self.chance = shape.heads, shape.pairs, shape.head, shape.dropout
        inner = self.heads * self.each
        self.joint = nn.Linear(shape.width, inner + 2 * self.pairs * self.each, bias=shape.bias_in)
        self.out = nn.Linear(inner, shape.width, bias=shape.bias_out)

    def forward(self, values: Tensor, rotary: Rotary | None, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        """(Answer [row, step, width]; keys and values of all steps up to the last, [row, 2, pair, past + step, each]).

        Args:
            rotary: positions; None where the values know theirs.
            cache: what an earlier call gave, of the steps before these; None where these are the first.
        """
        rows, steps, _ = values.shape
        past = 0 if cache is None else cache.shape[3]
        joint = self.joint(values).reshape(rows, steps, self.heads + 2 * self.pairs, self.each).transpose(1, 2)
        query, key, value = joint.split([self.heads, self.pairs, self.pairs], dim=1)
        if rotary is not None:
            query, key = rotary(query, past), rotary(key, past)
        if cache is None:
            chance = self.chance if self.training else 0.0
            mixed = functional.scaled_dot_product_attention(
                query, self._shared(key), self._shared(value), dropout_p=chance, is_causal=True
            )
        else:
            key, value = torch.cat([cache[:, 0], key], dim=2), torch.cat([cache[:, 1], value], dim=2)
            own = torch.arange(steps, device=values.device).unsqueeze(1) + past
            visible = torch.arange(past + steps, device=values.device).unsqueeze(0) <= own
            mixed = functional.scaled_dot_product_attention(
                query, self._shared(key), self._shared(value), attn_mask=visible
            )
        answer: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, steps, self.heads * self.each))
        return answer, torch.stack([key, value], dim=1)

    def _shared(self, values: Tensor) -> Tensor:
        """Keys or values [row, pair, step, each] for every head of queries."""
        if self.pairs == self.heads:
            return values
        rows, pairs, steps, each = values.shape
        several = values.unsqueeze(2).expand(rows, pairs, self.heads // self.pairs, steps, each)
        return several.reshape(rows, self.heads, steps, each)


class CrossAttention(nn.Module):
    """Attention of what is written to what was read (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.chance = heads, dropout
        self.query = nn.Linear(width, width, bias=False)
        self.joint = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def memory(self, read: Tensor) -> Tensor:
        """Keys and values [row, 2, head, place, each] of what was read [row, place, width]."""
        rows, places, width = read.shape
        joint: Tensor = self.joint(read).reshape(rows, places, 2, self.heads, width // self.heads)
        return joint.permute(0, 2, 3, 1, 4)

    def forward(self, values: Tensor, memory: Tensor, visible: Tensor | None) -> Tensor:
        """[row, step, width].

        Args:
            memory: as `memory` gives it.
            visible: bool [row, place], False at padding; None where there is none.
        """
        rows, steps, width = values.shape
        chance = self.chance if self.training else 0.0
        mask = None if visible is None else visible[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(
            self._queries(values), memory[:, 0], memory[:, 1], attn_mask=mask, dropout_p=chance
        )
        answer: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, steps, width))
        return answer

    def weights(self, values: Tensor, memory: Tensor, visible: Tensor | None) -> Tensor:
        """[row, step, place]: how much each step looks at each place, in the mean of the heads."""
        query = self._queries(values)
        scores: Tensor = query @ memory[:, 0].transpose(2, 3) / math.sqrt(query.shape[3])
        if visible is not None:
            scores = scores.masked_fill(~visible[:, None, None, :], -math.inf)
        return scores.softmax(dim=3).mean(dim=1)

    def _queries(self, values: Tensor) -> Tensor:
        rows, steps, width = values.shape
        queries: Tensor = self.query(values).reshape(rows, steps, self.heads, width // self.heads).transpose(1, 2)
        return queries


class WritingLayer(nn.Module):
    """Self-attention, attention to what was read where there is any, and a gated or plain unit, each after a norm and
    beside a shortcut (Xiong et al. 2020)."""

    def __init__(self, shape: Shape, reads: bool) -> None:
        super().__init__()
        width, heads, dropout = shape.width, shape.heads, shape.dropout
        self.attention_norm = norm(shape)
        self.attention = CausalAttention(shape)
        self.cross_norm = norm(shape) if reads else None
        self.cross = CrossAttention(width, heads, dropout) if reads else None
        self.feed_norm = norm(shape)
        self.feed = (PlainUnit if shape.plain else SwishGatedUnit)(width, shape.hidden, shape.bias_feed)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, values: Tensor, rotary: Rotary | None, cache: Tensor | None, memory: Tensor | None, visible: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(Values [row, step, width], cache); arguments as of the two kinds of attention."""
        found, kept = self.attention(self.attention_norm(values), rotary, cache)
        values = values + self.dropout(found)
        if self.cross is not None and self.cross_norm is not None:
            assert memory is not None
            values = values + self.dropout(self.cross(self.cross_norm(values), memory, visible))
        answer: Tensor = values + self.dropout(self.feed(self.feed_norm(values)))
        return answer, kept


def norm(shape: Shape) -> nn.Module:
    """A norm over the width."""
    if shape.plain:
        return nn.LayerNorm(shape.width, shape.epsilon)
    return RootMeanSquareNorm(shape.width, shape.epsilon)


class Trunk(nn.Module):
    """From tokens to log-odds of the next one at every step.

    Args:
        vocabulary: different tokens.
        context: steps that are seen at most.
        reads: whether there is something read beside what is written.

    Raises:
        InputError: the width cannot be divided among the heads.
    """

    def __init__(self, vocabulary: int, context: int, shape: Shape, reads: bool = False) -> None:
        super().__init__()
        check_heads(shape)
        self.depth, self.heads, self.each = shape.depth, shape.pairs, shape.head
        self.embedding = nn.Embedding(vocabulary, shape.width)
        self.positions = nn.Embedding(context, shape.width) if shape.plain else None
        self.rotary = None if shape.plain else Rotary(context, shape.head, shape.theta)
        self.dropout = nn.Dropout(shape.dropout)
        self.layers = nn.ModuleList(WritingLayer(shape, reads) for _ in range(shape.depth))
        self.norm = norm(shape)
        self.last = None if shape.tied else nn.Linear(shape.width, vocabulary, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                # What is added to the shortcut grows with the depth, so it begins the smaller.
                spread = SPREAD / math.sqrt(2 * shape.depth) if name.endswith("out.weight") else SPREAD
                nn.init.normal_(weight, std=spread)

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """(2 * layers, heads of keys and values, width of a head)."""
        return 2 * self.depth, self.heads, self.each

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Its parts from input to output."""
        entry = self.embedding if self.positions is None else nn.ModuleList([self.embedding, self.positions])
        end = self.norm if self.last is None else nn.ModuleList([self.norm, self.last])
        layers = [(f"layer{number}", layer) for number, layer in enumerate(self.layers, 1)]
        return [("embedding", entry), *layers, ("norm", end)]

    def forward(
        self, tokens: Tensor, cache: Tensor | None = None, memory: Tensor | None = None, visible: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(Log-odds [row, step, token], cache); arguments as of `states`."""
        values, kept = self.states(tokens, cache, memory, visible)
        return self.told(values), kept

    def told(self, states: Tensor) -> Tensor:
        """Log-odds [row, step, token] of what comes after states [row, step, width]."""
        found: Tensor = functional.linear(states, self.embedding.weight) if self.last is None else self.last(states)
        return found

    def states(
        self, tokens: Tensor, cache: Tensor | None = None, memory: Tensor | None = None, visible: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(Normalised values [row, step, width], cache [row, 2 * layer, head, past + step, each]).

        Args:
            tokens: [row, step].
            cache: as an earlier call gave it, or None.
            memory: [row, 2 * layer, head, place, each] of what was read.
            visible: bool [row, place], False at padding; None where all of it is read.
        """
        values = self.embedding(tokens.long())
        if self.positions is not None:
            past = 0 if cache is None else cache.shape[3]
            values = values + self.positions.weight[past : past + tokens.shape[1]]
        values, kept = self.dropout(values), []
        for number, layer in enumerate(self.layers):
            part = slice(2 * number, 2 * number + 2)
            before, read = (None if whole is None else whole[:, part] for whole in (cache, memory))
            values, found = layer(values, self.rotary, before, read, visible)
            kept.append(found)
        return self.norm(values), torch.cat(kept, dim=1)

    def memory(self, read: Tensor) -> Tensor:
        """What the layers need of what was read [row, place, width]: [row, 2 * layer, head, place, each]."""
        return torch.cat([cross.memory(read) for cross in self._crosses()], dim=1)

    def looks(self, tokens: Tensor, memory: Tensor, visible: Tensor | None) -> Tensor:
        """[row, step, place]: how much each token looks at each place of what was read, in the mean of all layers and
        heads; arguments as of `states`."""
        values, found = self.embedding(tokens.long()), []
        for number, layer in enumerate(cast(list[WritingLayer], list(self.layers))):
            read = memory[:, 2 * number : 2 * number + 2]
            assert layer.cross is not None
            assert layer.cross_norm is not None
            before = values + layer.attention(layer.attention_norm(values), self.rotary, None)[0]
            found.append(layer.cross.weights(layer.cross_norm(before), read, visible))
            values, _ = layer(values, self.rotary, None, read, visible)
        return torch.stack(found).mean(dim=0)

    def _crosses(self) -> list[CrossAttention]:
        return [cast(CrossAttention, layer.cross) for layer in self.layers]


def check_heads(shape: Shape) -> None:
    """Raises InputError where heads have no width of their own, or numbers that are turned in pairs are not even."""
    if not shape.each and shape.width % ((1 if shape.plain else 2) * shape.heads):
        kind = "" if shape.plain else "n even"
        raise InputError(
            f"A width of {shape.width} cannot be divided among {shape.heads} heads of a{kind} width.",
            where="network.width",
            fix=f"Choose a width that is a multiple of {'the heads' if shape.plain else 'twice the heads'}.",
        )
    if shape.each % 2 and not shape.plain:
        raise InputError(
            f"Heads of a width of {shape.each} cannot be turned in pairs.",
            where="network.each",
            fix="Choose an even width.",
        )
    if shape.heads % shape.pairs:
        raise InputError(
            f"{shape.heads} heads of queries cannot share {shape.pairs} heads of keys and values.",
            where="network.groups",
            fix="Choose a number that divides the heads.",
        )
