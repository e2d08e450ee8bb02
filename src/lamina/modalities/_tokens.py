"""Tokenizers: training one on the texts at hand, or taking a pretrained network's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.data.schema import Json
from lamina.errors import InputError, MissingDependencyError

PADDING, UNKNOWN, START = 0, 1, 2
SPECIALS = ("<pad>", "<unk>", "<start>")
PADDING_NAMES = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")
UNKNOWN_NAMES = ("[UNK]", "<unk>", "<|unk|>")
MASK_NAMES = ("[MASK]", "<mask>")
SMALLEST_VOCABULARY = 512
"""The 256 bytes, the special tokens and some merges."""


@dataclass(frozen=True)
class Pretrained:
    """A tokenizer in the Hugging Face format.

    Attributes:
        json: the tokenizer without its own cutting and padding.
        padding, unknown: ids.
    """

    json: str
    padding: int
    unknown: int


def library() -> Any:
    """The `tokenizers` library.

    Its own rule for threads is left alone: it uses all cores, answers in the order asked, and turns itself
    serial in a forked process.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise MissingDependencyError("tokenizers", "Reading text", "text") from error
    return tokenizers


def train(texts: Iterable[str], vocabulary: int, lowercase: bool, exact: bool = False) -> str:
    """JSON of a byte-level BPE tokenizer (Sennrich et al. 2016; Radford et al. 2019) trained on `texts`.

    Every text can be written with it: its alphabet is the 256 bytes. Text is normalised first (NFKC), unless it is to
    be `exact`: then tokens give back every byte of it.
    """
    parts = library()
    tokenizer = parts.Tokenizer(parts.models.BPE(unk_token=SPECIALS[UNKNOWN]))
    steps = [*([] if exact else [parts.normalizers.NFKC()]), *([parts.normalizers.Lowercase()] if lowercase else [])]
    tokenizer.normalizer = parts.normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = parts.pre_tokenizers.ByteLevel(add_prefix_space=not exact)
    tokenizer.decoder = parts.decoders.ByteLevel()
    trainer = parts.trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(parts.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_batched(texts), trainer)
    # A text that spells out a special token must not turn into it.
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = []
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def pretrained(path: Path) -> Pretrained:
    """The tokenizer of a folder with `tokenizer.json`, or of such a file; `config.json` beside it is respected.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        beside = file.parent / "config.json"
        config = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"The tokenizer {str(path)!r} cannot be read: {error}.",
            where="tokenizer",
            fix="Give bpe, or the path of a Hugging Face tokenizer.json or of the folder that holds it.",
        ) from error
    if not isinstance(content, dict) or not isinstance(config, dict) or "model" not in content:
        raise InputError(
            f"The file {str(file)!r} is no Hugging Face tokenizer: it has no 'model'.",
            where="tokenizer",
            fix="Give a tokenizer.json as the tokenizers library writes it.",
        )
    settings = content.get("padding") or {}
    content["padding"] = content["truncation"] = None
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    tokenizer = load(text)
    padding = config.get("pad_token_id")
    if padding is None:
        padding = settings.get("pad_id", _first_id(tokenizer, PADDING_NAMES))
    unknown = _first_id(tokenizer, (str(content["model"].get("unk_token")), *UNKNOWN_NAMES))
    return Pretrained(text, int(padding or 0), int(padding or 0) if unknown is None else unknown)


def load(text: str) -> Any:
    """The tokenizer that `text` (JSON) describes.

    Raises:
        InputError: it describes none.
    """
    try:
        return library().Tokenizer.from_str(text)
    except MissingDependencyError:
        raise
    except Exception as error:
        # The library raises bare Exception for whatever is wrong with the JSON.
        raise InputError(
            f"The tokenizer cannot be read: {error}.",
            where="tokenizer",
            fix="Give a tokenizer.json as the tokenizers library writes it.",
        ) from error


def special_ids(text: str) -> list[int]:
    """Ids of the tokens that stand for no text, in order."""
    added: list[dict[str, Json]] = json.loads(text).get("added_tokens", [])
    return sorted(int(token["id"]) for token in added if token.get("special"))


def mask_id(text: str, otherwise: int) -> int:
    """Id of the special token that stood for hidden ones when a pretrained network learned."""
    added: list[dict[str, Json]] = json.loads(text).get("added_tokens", [])
    return next(
        (int(token["id"]) for token in added if token.get("special") and token["content"] in MASK_NAMES), otherwise
    )


def _first_id(tokenizer: Any, names: Iterable[str]) -> int | None:
    found = (tokenizer.token_to_id(name) for name in names)
    return next((int(number) for number in found if number is not None), None)


def _batched(texts: Iterable[str], size: int = 1000) -> Iterator[list[str]]:
    some: list[str] = []
    for text in texts:
        some.append(text)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
