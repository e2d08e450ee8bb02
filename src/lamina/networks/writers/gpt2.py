"""A decoder as of GPT-2 (Radford et al. 2019), with the sizes and weights of a given one.

It has learned positions, layer norms, GELU, biases, and embeddings that serve as the last map too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lamina.networks.blocks.options import positive, share, whole
from lamina.networks.blocks.writing import Shape
from lamina.networks.transfer.causal import DEEPEST, Described, Reading
from lamina.networks.writers.decoder import Decoder

READS = ""
ARCHITECTURES = ("GPT2LMHeadModel",)
UNUSED = (".attn.bias", ".attn.masked_bias")
"""Tensors of old files: which steps see which."""
NAMES = {
    "wte.": "embedding.", "wpe.": "positions.", "ln_f.": "norm.", "h.": "layers.", ".ln_1.": ".attention_norm.",
    ".ln_2.": ".feed_norm.", ".attn.c_attn.": ".attention.joint.", ".attn.c_proj.": ".attention.out.",
    ".mlp.c_fc.": ".feed.entry.", ".mlp.c_proj.": ".feed.out.",
}  # fmt: skip
"""Parts of names of a given model, and how they are called here."""


@dataclass(frozen=True)
class Options:
    """Sizes of such a decoder; with `--weights` they are those of the given model.

    Attributes:
        width: of the vectors of tokens and of the layers.
        depth: layers.
        heads: of attention.
        hidden: width of the feed-forward layers; 0 for four times the width.
        epsilon: that norms add to the variance.
        dropout: chance of a number in the embedded text and in the layers to be left out.
    """

    width: int = whole(128)
    depth: int = whole(4)
    heads: int = whole(4)
    hidden: int = whole(0, 0)
    epsilon: float = positive(1e-5)
    dropout: float = share(0.0)


def build(vocabulary: int, context: int, source: int, options: Options) -> Decoder:
    """The decoder with fresh weights; it reads no source."""
    return Decoder(vocabulary, context, Shape(
        options.width, options.depth, options.heads, options.hidden or 4 * options.width, options.dropout,
        epsilon=options.epsilon, bias_in=True, bias_out=True, bias_feed=True, plain=True,
    ))  # fmt: skip


def described(config: Reading) -> Described:
    """Sizes from a `config.json`.

    Raises:
        InputError: it asks for what this network does not have.
    """
    config.only("activation_function", (None, "gelu_new", "gelu_pytorch_tanh"))
    config.only("scale_attn_weights", (None, True))
    config.only("scale_attn_by_inverse_layer_idx", (None, False))
    config.only("add_cross_attention", (None, False))
    config.only("tie_word_embeddings", (None, True))
    config.only("quantization_config", (None,))
    width = config.whole("n_embd")
    options = {
        "width": width,
        "depth": config.whole("n_layer", most=DEEPEST),
        "heads": config.whole("n_head"),
        "hidden": config.whole("n_inner", 4 * width),
        "epsilon": config.number("layer_norm_epsilon", 1e-5),
    }
    return Described(options, config.whole("vocab_size"), config.whole("n_positions", 1024))


def translate(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """A given model's tensors by the names of `Decoder`; unknown names stay."""
    found = {}
    for name, value in tensors.items():
        if name.endswith(UNUSED) or name == "lm_head.weight":
            continue
        new = "." + name.removeprefix("transformer.")
        for old, own in NAMES.items():
            start = "" if old.startswith(".") else "."
            new = new.replace(f"{start}{old}", f"{start}{own}", 1)
        # Its linear maps have their weights the other way round.
        turned = value.T.contiguous() if ".c_" in name and name.endswith(".weight") else value
        found[f"trunk{new}"] = turned
    return found
