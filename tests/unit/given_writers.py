"""Small causal models in the Hugging Face format, made without its library; and tokenizers of the usual kinds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from safetensors.numpy import save_file

END = "<|end|>"
Array = np.ndarray[Any, Any]


def byte_level(texts: Sequence[str], vocabulary: int = 300, **changes: Any) -> str:
    """JSON of a tokenizer as of GPT-2, whose token 0 ends a text; `changes` are put into it."""
    own = tokenizers.Tokenizer(tokenizers.models.BPE())
    own.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    own.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    ))  # fmt: skip
    return json.dumps({**json.loads(own.to_str()), **changes})


def spaced(texts: Sequence[str], vocabulary: int = 330, fallback: bool = True) -> str:
    """JSON of a tokenizer as of Llama 2: "▁" for a space, one before every text, and a token for every byte."""
    own = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", fuse_unk=True))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always")
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256) if fallback)]
    own.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=names, show_progress=False
    ))  # fmt: skip
    content = json.loads(own.to_str())
    content["added_tokens"] = content["added_tokens"][:3]
    content["model"]["byte_fallback"] = fallback
    content["pre_tokenizer"] = None
    content["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]}  # fmt: skip
    return json.dumps(content, ensure_ascii=False)


def size_of(tokenizer: str) -> int:
    """Tokens of a tokenizer."""
    return int(tokenizers.Tokenizer.from_str(tokenizer).get_vocab_size())


def llama(folder: Path, tokenizer: str, *, width: int = 32, depth: int = 2, **changes: Any) -> Path:
    """A folder with a Llama of random weights, two heads of keys for four of queries; `changes` go into its config."""
    vocabulary, hidden, each = size_of(tokenizer), 2 * width, width // 4
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary, "hidden_size": width,
        "num_hidden_layers": depth, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": hidden,
        "max_position_embeddings": 64, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0, **changes,
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,),
        "lm_head.weight": (vocabulary, width),
    }  # fmt: skip
    for number in range(depth):
        layer = f"model.layers.{number}."
        shapes |= {
            f"{layer}input_layernorm.weight": (width,), f"{layer}post_attention_layernorm.weight": (width,),
            f"{layer}self_attn.q_proj.weight": (width, width), f"{layer}self_attn.k_proj.weight": (2 * each, width),
            f"{layer}self_attn.v_proj.weight": (2 * each, width), f"{layer}self_attn.o_proj.weight": (width, width),
            f"{layer}mlp.gate_proj.weight": (hidden, width), f"{layer}mlp.up_proj.weight": (hidden, width),
            f"{layer}mlp.down_proj.weight": (width, hidden),
        }  # fmt: skip
    return _written(folder, config, shapes, tokenizer)


def gpt2(folder: Path, tokenizer: str, *, width: int = 32, depth: int = 2, **changes: Any) -> Path:
    """A folder with a GPT-2 of random weights; `changes` go into its config."""
    vocabulary = size_of(tokenizer)
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": vocabulary, "n_embd": width,
        "n_layer": depth, "n_head": 4, "n_positions": 64, "activation_function": "gelu_new", "bos_token_id": 0,
        "eos_token_id": 0, **changes,
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (vocabulary, width), "wpe.weight": (64, width)}
    parts = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width), "mlp.c_fc": (width, 4 * width),
             "mlp.c_proj": (4 * width, width)}  # fmt: skip
    for number in range(depth):
        for name, shape in parts.items():
            shapes |= {f"h.{number}.{name}.weight": shape, f"h.{number}.{name}.bias": shape[1:]}
    for norm in [f"h.{number}.ln_{place}" for number in range(depth) for place in (1, 2)] + ["ln_f"]:
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return _written(folder, config, shapes, tokenizer)


def _written(folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]], tokenizer: str) -> Path:
    random = np.random.default_rng(0)

    def tensor(name: str, shape: tuple[int, ...]) -> Array:
        # With a wider last map frozen weights can be as sure of a token as it takes.
        spread = 0.5 if name.startswith("lm_head") else 0.15
        fresh = random.normal(0, spread, shape) if len(shape) > 1 else random.normal(1, 0.05, shape)
        return fresh.astype(np.float32)

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    save_file({name: tensor(name, shape) for name, shape in shapes.items()}, folder / "model.safetensors")
    return folder
