"""A text encoder from a local folder in the Hugging Face format (BERT, MiniLM, DistilBERT, RoBERTa and their like).

The architecture is built from `config.json` by the transformers library; the weights are read from safetensors
(`lamina.networks.transfer`). No code from the folder is run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from lamina.errors import InputError, MissingDependencyError
from lamina.modalities import Feature
from lamina.networks import OutputShape, Places
from lamina.networks.blocks.fields import only_field
from lamina.networks.blocks.options import share, whole
from lamina.networks.blocks.pooling import PoolSequence, SequencePooling

ACCEPTS = ("tokens",)


@dataclass(frozen=True)
class Options:
    """Which pretrained encoder.

    Attributes:
        folder: holds `config.json`; by default the network's `weights`.
        pooling: how the tokens' vectors become one.
        dropout: on the pooled vector.
        longest: tokens of a text that are read, from its beginning, at most as many as the encoder has positions.
    """

    folder: str = ""
    pooling: SequencePooling = "mean"
    dropout: float = share(0.1)
    longest: int = whole(512)


class HuggingFace(nn.Module):
    """A pretrained encoder and masked pooling; one text field encoded by the encoder's own tokenizer."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        self.field, self.padding = name, int(feature.details.get("padding", 0))
        self.encoder, config = _encoder(options.folder)
        _check_fits(name, feature, config)
        self.longest = min(feature.shape[0], options.longest, _positions(config))
        self.pool = PoolSequence(config.hidden_size, options.pooling)
        self.dropout = nn.Dropout(options.dropout)
        self.output = OutputShape(self.pool.width)
        self.places = Places(config.hidden_size, (self.longest,))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, width]."""
        return self.local(inputs)[0]

    def local(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and [batch, token, width]."""
        tokens = inputs[self.field][:, : self.longest].long()
        mask = tokens != self.padding
        values = self.encoder(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        vector: Tensor = self.dropout(self.pool(values, mask))
        return vector.unsqueeze(1), values

    def stages(self) -> list[tuple[str, nn.Module]]:
        """embeddings, layer1, layer2, ..., and where the encoder has it, after; then pool."""
        count = self.encoder.config.num_hidden_layers
        lists = [
            (name, part)
            for name, part in self.encoder.named_modules()
            if isinstance(part, nn.ModuleList) and len(part) == count
        ]
        if not lists:
            return [("encoder", self.encoder), ("pool", self.pool)]
        prefix, layers = lists[0]
        before, after = nn.ModuleList(), nn.ModuleList()
        seen = False
        for name, part in self.encoder.named_modules():
            seen = seen or name == prefix
            if not name.startswith(prefix) and next(part.parameters(recurse=False), None) is not None:
                (after if seen else before).append(part)
        numbered = [(f"layer{number}", layer) for number, layer in enumerate(layers, 1)]
        return [("embeddings", before), *numbered, *([("after", after)] if len(after) else []), ("pool", self.pool)]


def _encoder(folder: str) -> tuple[Any, Any]:
    """The untrained architecture that `config.json` describes, and the configuration."""
    if not folder:
        raise InputError(
            "The network 'huggingface' needs a folder in the Hugging Face format.",
            where="options.folder",
            fix="Give the network's weights = FOLDER, which holds config.json and model.safetensors.",
        )
    try:
        document = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            f"There is no config.json in {folder}.", fix="Give a folder in the Hugging Face format."
        ) from None
    except ValueError as error:
        raise InputError(f"{folder}/config.json is no valid JSON: {error}.", fix="Download the folder again.") from None
    try:
        from transformers import CONFIG_MAPPING, AutoModel
    except ImportError:
        raise MissingDependencyError("transformers", "A pretrained text encoder", "transfer") from None
    if not isinstance(document, dict) or not isinstance(document.get("model_type"), str):
        raise InputError(
            f"{folder}/config.json does not say what kind of model it is.",
            fix="Give a folder in the Hugging Face format.",
        )
    if document["model_type"] not in CONFIG_MAPPING:
        raise InputError(
            f"The installed transformers library does not know the model type {document.get('model_type')!r}.",
            where=f"{folder}/config.json",
            fix="Update transformers, or choose another encoder.",
        )
    config = CONFIG_MAPPING[document["model_type"]].from_dict(document)
    encoder = AutoModel.from_config(config, attn_implementation="sdpa")  # type: ignore[no-untyped-call]
    # The pooler reads the first token only; here the tokens' vectors are pooled, and it would never be trained.
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return cast(nn.Module, encoder.float()), config


def _check_fits(name: str, feature: Feature, config: Any) -> None:
    if feature.size > config.vocab_size:
        raise InputError(
            f"The field {name!r} has {feature.size} tokens, the pretrained encoder knows {config.vocab_size}.",
            where=f"the field {name!r}",
            fix="Set the field's option tokenizer to the folder's own tokenizer.json.",
        )


def _positions(config: Any) -> int:
    """Tokens that the encoder has places for."""
    count = int(getattr(config, "max_position_embeddings", None) or sys.maxsize)
    # These count positions from the padding id on.
    shifted = config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet")
    return count - int(config.pad_token_id or 0) - 1 if shifted else count


def translate(network: HuggingFace, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The folder's names under this module's: without the task model's prefix, and with the norms' present names."""
    prefix = f"{network.encoder.base_model_prefix}."
    renamed = {}
    for name, tensor in tensors.items():
        name = name.removeprefix(prefix)
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        renamed[f"encoder.{name}"] = tensor
    return renamed


def build(features: Mapping[str, Feature], options: Options) -> HuggingFace:
    """A pretrained encoder for the one text field in `features`."""
    return HuggingFace(*only_field("huggingface", ACCEPTS, features), options)
