"""The layer of a transformer encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.networks.blocks.depth import StochasticDepth


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021): queries and keys [batch, head, step, width] turned by their position.

    The first of them stands at position `start`.

    Args:
        theta: how slowly the slowest pair of numbers turns: once in about 2 pi theta steps.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, steps: int, width: int, theta: float = 10000.0) -> None:
        super().__init__()
        rate = theta ** (-torch.arange(0, width, 2).float() / width)
        angle = torch.arange(steps).float().unsqueeze(1) * rate
        self.register_buffer("cosine", angle.cos(), persistent=False)
        self.register_buffer("sine", angle.sin(), persistent=False)

    def forward(self, values: Tensor, start: int = 0) -> Tensor:
        end = start + values.shape[2]
        cosine, sine = self.cosine[start:end], self.sine[start:end]
        first, second = values.chunk(2, dim=3)
        return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=3)


class Attention(nn.Module):
    """Multi-head self-attention [batch, step, width]; mask [batch, step] is False at padding.

    Args:
        causal: a step sees itself and those before it only; it then takes no mask, for padding stands at the end.
    """

    def __init__(self, width: int, heads: int, dropout: float, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.chance, self.causal = heads, dropout, causal
        self.joint = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, values: Tensor, mask: Tensor | None, rotary: Rotary | None) -> Tensor:
        batch, steps, width = values.shape
        joint = self.joint(values).reshape(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4).unbind(0)
        if rotary is not None:
            query, key = rotary(query), rotary(key)
        visible = None if mask is None else mask[:, None, None, :].expand(-1, 1, steps, -1)
        chance = self.chance if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=chance, is_causal=self.causal
        )
        answer: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, steps, width))
        return answer


class GatedUnit(nn.Module):
    """GEGLU (Shazeer 2020): one half of a linear map gates the other through GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.entry = nn.Linear(width, 2 * hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, values: Tensor) -> Tensor:
        value, gate = self.entry(values).chunk(2, dim=-1)
        answer: Tensor = self.out(value * functional.gelu(gate))
        return answer


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each after a norm and beside a shortcut (Xiong et al. 2020)."""

    def __init__(
        self, width: int, heads: int, expansion: int, gated: bool, dropout: float, skipped: float, causal: bool = False
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout, causal)
        self.feed_norm = nn.LayerNorm(width)
        hidden = width * expansion
        # Two thirds of the hidden width give the gated unit as many weights as the plain one.
        plain = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.feed: nn.Module = GatedUnit(width, max(8, hidden * 2 // 3 // 8 * 8)) if gated else plain
        self.dropout = nn.Dropout(dropout)
        self.depth = StochasticDepth(skipped)

    def forward(self, values: Tensor, mask: Tensor | None, rotary: Rotary | None) -> Tensor:
        values = values + self.depth(self.dropout(self.attention(self.attention_norm(values), mask, rotary)))
        answer: Tensor = values + self.depth(self.dropout(self.feed(self.feed_norm(values))))
        return answer
