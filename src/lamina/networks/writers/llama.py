"""A decoder as of Llama (Touvron et al. 2023), Mistral (Jiang et al. 2023) or Qwen2 (Yang et al. 2024), with the sizes
and weights of a given one.

It is `lamina.networks.writers.decoder` with what those have besides: heads of queries that share their keys and values
(Ainslie et al. 2023), heads of any width, biases, a last map of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamina.networks.blocks.options import positive, share, whole
from lamina.networks.blocks.writing import Shape, gated
from lamina.networks.transfer.causal import DEEPEST, Described, Reading
from lamina.networks.writers.decoder import Decoder

READS = ""
ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
UNUSED = (".rotary_emb.inv_freq",)
"""Tensors of old files that follow from the configuration."""


@dataclass(frozen=True)
class Options:
    """Sizes of such a decoder; with `--weights` they are those of the given model.

    Attributes:
        width: of the vectors of tokens and of the layers.
        depth: layers.
        heads: of attention.
        groups: heads of keys and values; 0 for as many.
        each: width of a head; 0 for an equal share of the width.
        hidden: width of the feed-forward layers; 0 for eight thirds of the width.
        theta: of the rotary positions.
        epsilon: that norms add to the mean square.
        bias_in: whether there are biases in the maps to queries, keys and values.
        bias_out: whether there are biases in the map from the heads.
        bias_feed: whether there are biases in the feed-forward layers.
        tied: whether the last map has the embeddings' weights.
        dropout: chance of a number in the embedded text and in the layers to be left out.
    """

    width: int = whole(128)
    depth: int = whole(4)
    heads: int = whole(4)
    groups: int = whole(0, 0)
    each: int = whole(0, 0)
    hidden: int = whole(0, 0)
    theta: float = positive(10000.0)
    epsilon: float = positive(1e-6)
    bias_in: bool = False
    bias_out: bool = False
    bias_feed: bool = False
    tied: bool = False
    dropout: float = share(0.0)


def build(vocabulary: int, context: int, source: int, options: Options) -> Decoder:
    """The decoder with fresh weights; it reads no source."""
    return Decoder(vocabulary, context, Shape(
        options.width, options.depth, options.heads, options.hidden or gated(options.width, 4), options.dropout,
        options.groups, options.each, options.theta, options.epsilon, options.bias_in, options.bias_out,
        options.bias_feed, tied=options.tied,
    ))  # fmt: skip


def described(config: Reading) -> Described:
    """Sizes from a `config.json`.

    Raises:
        InputError: it asks for what this network does not have.
    """
    qwen, mistral = config.architecture == "Qwen2ForCausalLM", config.architecture == "MistralForCausalLM"
    config.only("hidden_act", ("silu", "swish"))
    config.only("quantization_config", (None,))
    config.only("rope_interleaved", (None, False))
    config.only("partial_rotary_factor", (None, 1, 1.0))
    width, heads = config.whole("hidden_size"), config.whole("num_attention_heads")
    bias = not mistral and not qwen and config.flag("attention_bias", False)
    options = {
        "width": width,
        "depth": config.whole("num_hidden_layers", most=DEEPEST),
        "heads": heads,
        "groups": config.whole("num_key_value_heads", heads),
        "each": config.whole("head_dim", width // heads),
        "hidden": config.whole("intermediate_size"),
        "theta": _theta(config),
        "epsilon": config.number("rms_norm_eps", 1e-6),
        "bias_in": qwen or bias,
        "bias_out": bias,
        "bias_feed": not mistral and not qwen and config.flag("mlp_bias", False),
        "tied": config.flag("tie_word_embeddings", False),
    }
    return Described(options, config.whole("vocab_size"), min(config.whole("max_position_embeddings"), _window(config)))


def _theta(config: Reading) -> float:
    """Of the rotary positions; both spellings of the configuration are read.

    Raises:
        InputError: the positions are stretched, which is not done here.
    """
    for name in ("rope_scaling", "rope_parameters"):
        part = config.values.get(name)
        if part is None:
            continue
        kind = part.get("rope_type", part.get("type", "default")) if isinstance(part, Mapping) else part
        if kind != "default" or part.get("partial_rotary_factor", 1) != 1:
            raise config.refused(name, kind, "Lamina has rotary positions of the plain kind only")
        if "rope_theta" in part:
            return Reading(config.where, config.architecture, part).number("rope_theta", 10000.0)
    return config.number("rope_theta", 10000.0)


def _window(config: Reading) -> int:
    """Steps that attention looks back at most: within so many a window that slides changes nothing."""
    values: Mapping[str, Any] = config.values
    window = values.get("sliding_window")
    if window is None or (config.architecture == "Qwen2ForCausalLM" and not values.get("use_sliding_window")):
        return config.whole("max_position_embeddings")
    return config.whole("sliding_window")


def translate(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """A given model's tensors by the names of `Decoder`; unknown names stay."""
    left = {name.removeprefix("model."): value for name, value in tensors.items() if not name.endswith(UNUSED)}
    found = {}
    names = {"embed_tokens.weight": "embedding.weight", "norm.weight": "norm.scale", "lm_head.weight": "last.weight"}
    for number in range(depth):
        old, new = f"layers.{number}.", f"layers.{number}."
        names[f"{old}input_layernorm.weight"] = f"{new}attention_norm.scale"
        names[f"{old}post_attention_layernorm.weight"] = f"{new}feed_norm.scale"
        for kind in ("weight", "bias"):
            names[f"{old}self_attn.o_proj.{kind}"] = f"{new}attention.out.{kind}"
            names[f"{old}mlp.down_proj.{kind}"] = f"{new}feed.out.{kind}"
            joined = {
                # The gated unit takes its first half as it is and the second as the gate.
                f"{new}feed.entry.{kind}": [f"{old}mlp.{part}_proj.{kind}" for part in ("up", "gate")],
                f"{new}attention.joint.{kind}": [f"{old}self_attn.{part}_proj.{kind}" for part in "qkv"],
            }
            for name, parts in joined.items():
                if all(part in left for part in parts):
                    found[name] = torch.cat([left.pop(part) for part in parts])
    found |= {names.get(name, name): value for name, value in left.items()}
    return {f"trunk.{name}": value for name, value in found.items()}
