"""A given model's tokenizer, made exact: every token stands for some bytes, and those of a text's tokens, one after the
other, are the text.

Two kinds can be: byte-level ones, whose letters each stand for a byte (Radford et al. 2019), and those of the kind of
SentencePiece (Kudo & Richardson 2018), that write "▁" for a space and have a token for every byte besides. What a
tokenizer does to a text beforehand, such as putting a space before it or composing accents, is left out: then nothing
is lost, and a text can be cut anywhere and goes on where it was cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lamina.data.schema import Json
from lamina.errors import InputError
from lamina.modalities import _tokens

NO_TOKEN = -1
"""What stands where there is no token: a given tokenizer may have one of every number from 0 on."""
SPACE = "▁"
LOSSY = ("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Prepend")
"""Steps before tokenising that are left out: tokens of bytes can write what they would have changed."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
FIX = "Give a model with a byte-level BPE (GPT-2, Llama 3, Qwen2) or one of SentencePiece's kind (Llama 2, Mistral)."


class GivenTokens:
    """A tokenizer that gives back every byte.

    Args:
        text: JSON as of `exact`.
        size: tokens that the network knows; 0 for those of the tokenizer.
    """

    def __init__(self, text: str, size: int = 0) -> None:
        self._text, self.tokenizer = text, _tokens.load(text)
        self.size = size or max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=0) + 1
        # A text that spells out a special token must not turn into it.
        self.tokenizer.encode_special_tokens = True

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The bytes that each token stands for; none for those that stand for no text."""
        content = json.loads(self._text)
        byte_level = _mentions(content, "ByteLevel")
        letters = _letters()
        found = [b""] * self.size
        for token, number in self.tokenizer.get_vocab(with_added_tokens=False).items():
            if number < self.size:
                found[number] = _of_letters(token, letters) if byte_level else _of_spelling(token)
        for added in content["added_tokens"]:
            if int(added["id"]) < self.size:
                found[int(added["id"])] = b"" if added.get("special") else str(added["content"]).encode()
        return tuple(found)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of every text, without any around it.

        Raises:
            InputError: the tokens would not give the text back, or the network does not know one.
        """
        found = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        for text, ids in zip(texts, found, strict=True):
            if max(ids, default=0) >= self.size:
                raise InputError(
                    f"The given tokenizer has a token {max(ids)}, the model knows {self.size:,}.",
                    where="tokenizer.json",
                    fix="Give the tokenizer.json that belongs to the model.",
                )
            if self.joined(ids) != text.encode():
                raise _refused(_difference(text, self.joined(ids)))
        return found

    def joined(self, ids: Iterable[int]) -> bytes:
        """The bytes that tokens stand for, one after the other; numbers of no token stand for none."""
        pieces = self.pieces
        return b"".join(pieces[number] for number in ids if 0 <= number < self.size)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens; bytes that are no UTF-8, as where a letter is cut in two, become "�"."""
        return self.joined(ids).decode("utf-8", errors="replace")

    def get_vocab_size(self) -> int:
        """Tokens that the network knows."""
        return self.size


def exact(path: Path) -> str:
    """JSON of the tokenizer in a `tokenizer.json`, without what changes a text and without tokens around it.

    Raises:
        InputError: it cannot be read, or its tokens do not give back every byte.
    """
    content: dict[str, Any] = json.loads(_tokens.pretrained(path).json)
    model = content["model"]
    byte_level = _mentions(content, "ByteLevel")
    spaced = _mentions(content, "Metaspace") or _replaces_spaces(content)
    if model.get("type") not in ("BPE", "Unigram"):
        raise _refused(f"it is of the kind {model.get('type')!r}")
    if not (byte_level or spaced):
        raise _refused("its tokens are neither of bytes nor have a mark for spaces")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise _refused("it marks parts or ends of words")
    content["normalizer"] = _without(content.get("normalizer"))
    content["pre_tokenizer"] = _unprefixed(content.get("pre_tokenizer"))
    content["post_processor"] = content["padding"] = content["truncation"] = None
    content["added_tokens"] = content.get("added_tokens") or []
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    _tokens.load(text)
    return text


def _without(step: Json) -> Json:
    """A normalizer without what loses something.

    Raises:
        InputError: it does something that the vocabulary counts on, and that cannot be taken back.
    """
    if step is None:
        return None
    kind = step["type"]
    if kind == "Sequence":
        kept = [part for part in map(_without, step["normalizers"]) if part is not None]
        return {**step, "normalizers": kept} if kept else None
    if kind in LOSSY:
        return None
    if kind == "Replace" and step.get("pattern") == {"String": " "} and step.get("content") == SPACE:
        return dict(step)
    raise _refused(f"it changes a text beforehand ({kind})")


def _unprefixed(step: Json) -> Json:
    """A pre-tokenizer that puts no space before a text."""
    if step is None:
        return None
    kind = step["type"]
    if kind == "Sequence":
        return {**step, "pretokenizers": [_unprefixed(part) for part in step["pretokenizers"]]}
    if kind == "ByteLevel":
        return {**step, "add_prefix_space": False}
    if kind == "Metaspace":
        if step.get("replacement", SPACE) != SPACE:
            raise _refused(f"it writes {step['replacement']!r} for a space")
        known = {name: value for name, value in step.items() if name != "add_prefix_space"}
        return {**known, "prepend_scheme": "never"}
    if kind in ("Split", "Digits", "Punctuation") and step.get("behavior") != "Removed":
        return dict(step)
    raise _refused(f"it loses what stands between words ({kind})")


def _refused(why: str) -> InputError:
    return InputError(
        f"The given tokenizer does not give back every byte of a text: {why}.", where="tokenizer.json", fix=FIX
    )


def _mentions(content: Json, kind: str) -> bool:
    """Is there a step of that kind before the tokens?"""
    return f'"type": "{kind}"' in json.dumps([content.get("normalizer"), content.get("pre_tokenizer")])


def _replaces_spaces(content: Json) -> bool:
    return f'"content": "{SPACE}"' in json.dumps(content.get("normalizer"), ensure_ascii=False)


def _letters() -> dict[str, int]:
    """The letter that stands for every byte in byte-level tokens (Radford et al. 2019)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


def _of_letters(token: str, letters: dict[str, int]) -> bytes:
    return bytes(letters[letter] for letter in token) if all(letter in letters for letter in token) else b""


def _of_spelling(token: str) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE, " ").encode()


def _difference(text: str, back: bytes) -> str:
    """Where a text and what comes back of it part."""
    whole = text.encode()
    shorter = min(len(whole), len(back))
    place = next((at for at in range(shorter) if whole[at] != back[at]), shorter)
    before = whole[max(0, place - 20) : place + 10].decode("utf-8", errors="replace")
    return f"something is lost near {before!r}"
