"""Layers that write: causal attention with a memory of what was written, attention to what was read, a gated unit.

Every step sees itself and those before it. Where tokens come one after the other, the keys and values of earlier ones
are not computed again: they are handed in and out as a cache, so that the layers themselves remember nothing and can be
exported.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.networks.blocks.attention import Rotary

SPREAD = 0.02
"""Standard deviation of fresh weights (Radford et al. 2019)."""


class RootMeanSquareNorm(nn.Module):
    """Values [..., width] divided by their root mean square (Zhang & Sennrich 2019), in fp32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        exact = values.float()
        answer: Tensor = exact * torch.rsqrt(exact.square().mean(dim=-1, keepdim=True) + 1e-6) * self.scale
        return answer.to(values.dtype)


class SwishGatedUnit(nn.Module):
    """SwiGLU (Shazeer 2020): one half of a linear map gates the other through SiLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.entry = nn.Linear(width, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        value, gate = self.entry(values).chunk(2, dim=-1)
        answer: Tensor = self.out(value * functional.silu(gate))
        return answer


class CausalAttention(nn.Module):
    """Self-attention of which every step sees itself and those before it, with rotary positions."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.chance = heads, dropout
        self.joint = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, values: Tensor, rotary: Rotary, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        """(Answer [row, step, width]; keys and values of all steps up to the last, [row, 2, head, past + step, each]).

        Args:
            cache: what an earlier call gave, of the steps before these; None where these are the first.
        """
        rows, steps, width = values.shape
        past = 0 if cache is None else cache.shape[3]
        joint = self.joint(values).reshape(rows, steps, 3, self.heads, width // self.heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)
        query, key = rotary(query, past), rotary(key, past)
        if cache is None:
            chance = self.chance if self.training else 0.0
            mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=chance, is_causal=True)
        else:
            key, value = torch.cat([cache[:, 0], key], dim=2), torch.cat([cache[:, 1], value], dim=2)
            own = torch.arange(steps, device=values.device).unsqueeze(1) + past
            visible = torch.arange(past + steps, device=values.device).unsqueeze(0) <= own
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        answer: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, steps, width))
        return answer, torch.stack([key, value], dim=1)


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

    def forward(self, values: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """[row, step, width].

        Args:
            memory: as `memory` gives it.
            visible: bool [row, place], False at padding.
        """
        rows, steps, width = values.shape
        chance = self.chance if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(
            self._queries(values), memory[:, 0], memory[:, 1], attn_mask=visible[:, None, None, :], dropout_p=chance
        )
        answer: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, steps, width))
        return answer

    def weights(self, values: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """[row, step, place]: how much each step looks at each place, in the mean of the heads."""
        query = self._queries(values)
        scores = query @ memory[:, 0].transpose(2, 3) / math.sqrt(query.shape[3])
        shares: Tensor = scores.masked_fill(~visible[:, None, None, :], -math.inf).softmax(dim=3).mean(dim=1)
        return shares

    def _queries(self, values: Tensor) -> Tensor:
        rows, steps, width = values.shape
        queries: Tensor = self.query(values).reshape(rows, steps, self.heads, width // self.heads).transpose(1, 2)
        return queries


class WritingLayer(nn.Module):
    """Self-attention, attention to what was read where there is any, and a gated unit, each after a norm and beside a
    shortcut (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float, reads: bool) -> None:
        super().__init__()
        self.attention_norm = RootMeanSquareNorm(width)
        self.attention = CausalAttention(width, heads, dropout)
        self.cross_norm = RootMeanSquareNorm(width) if reads else None
        self.cross = CrossAttention(width, heads, dropout) if reads else None
        self.feed_norm = RootMeanSquareNorm(width)
        # Two thirds of the hidden width give the gated unit as many weights as a plain one.
        self.feed = SwishGatedUnit(width, max(8, width * expansion * 2 // 3 // 8 * 8))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, values: Tensor, rotary: Rotary, cache: Tensor | None, memory: Tensor | None, visible: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(Values [row, step, width], cache); arguments as of the two kinds of attention."""
        found, kept = self.attention(self.attention_norm(values), rotary, cache)
        values = values + self.dropout(found)
        if self.cross is not None and self.cross_norm is not None:
            assert memory is not None
            assert visible is not None
            values = values + self.dropout(self.cross(self.cross_norm(values), memory, visible))
        answer: Tensor = values + self.dropout(self.feed(self.feed_norm(values)))
        return answer, kept


class Trunk(nn.Module):
    """From tokens to log-odds of the next one at every step; embeddings are the last map too (Press & Wolf 2017).

    Args:
        vocabulary: different tokens.
        context: steps that are seen at most.
        reads: whether there is something read beside what is written.
    """

    def __init__(
        self, vocabulary: int, context: int, width: int, depth: int, heads: int, expansion: int, dropout: float,
        reads: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads(width, heads)
        self.depth, self.heads, self.each = depth, heads, width // heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.rotary = Rotary(context, self.each)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(WritingLayer(width, heads, expansion, dropout, reads) for _ in range(depth))
        self.norm = RootMeanSquareNorm(width)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                # What is added to the shortcut grows with the depth, so it begins the smaller.
                nn.init.normal_(weight, std=SPREAD / math.sqrt(2 * depth) if name.endswith("out.weight") else SPREAD)

    def forward(
        self, tokens: Tensor, cache: Tensor | None = None, memory: Tensor | None = None, visible: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(Log-odds [row, step, token], cache [row, 2 * layer, head, past + step, each]).

        Args:
            tokens: [row, step].
            cache: as an earlier call gave it, or None.
            memory: [row, 2 * layer, head, place, each] of what was read.
            visible: bool [row, place], False at padding.
        """
        values = self.dropout(self.embedding(tokens.long()))
        kept = []
        for number, layer in enumerate(self.layers):
            part = slice(2 * number, 2 * number + 2)
            before, read = (None if whole is None else whole[:, part] for whole in (cache, memory))
            values, found = layer(values, self.rotary, before, read, visible)
            kept.append(found)
        logits = functional.linear(self.norm(values), self.embedding.weight)
        return logits, torch.cat(kept, dim=1)


def check_heads(width: int, heads: int) -> None:
    """Raises InputError where a width cannot be divided among heads whose numbers are turned in pairs."""
    if width % (2 * heads):
        raise InputError(
            f"A width of {width} cannot be divided among {heads} heads of an even width.",
            where="network.width",
            fix="Choose a width that is a multiple of twice the heads.",
        )
