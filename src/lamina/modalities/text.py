"""Free text: mails, sentences, notes. Encoded as token ids, int32 [row, length], padded at the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition, _tokens
from lamina.modalities._auto import settings, whole
from lamina.modalities._canonical import canonical_value
from lamina.modalities._conversation import messages, written_out
from lamina.modalities._files import Array, Unreadable, objects, present, sample, some_of, spread
from lamina.modalities._given_tokens import GivenTokens

TRAINING_TEXTS = 200_000
TRAINING_CHARACTERS = 100_000_000
LENGTH_TEXTS = 2_000
LARGEST_VOCABULARY = 8192
LONGEST_USUALLY = 1536
"""Tokens of the automatic length, at most."""
LONGEST = 8192
HEAD_SHARE = 0.75
TEXTS_AT_ONCE = 1000
LONG_TEXT = 100_000
DEFAULTS: dict[str, Json] = {
    "length": "auto",
    "vocabulary": "auto",
    "tokenizer": "bpe",
    "lowercase": True,
    "start": False,
}

KINDS, CUTS = ("bpe", "exact", "huggingface", "given"), ("middle", "start", "end", "nothing")

COUNTED = 2_000_000
"""Characters whose words are counted for a summary; more take seconds and tell no more."""
_WORD = re.compile(r"[^\W\d_]{2,}")
_NOT_PROSE = re.compile(r"\s*[\[{(].*[\])}]\s*|[\d\s.,:;/+\-%$€£TZ]*|\S+://\S+|\S+@\S+", re.DOTALL)


def recognise(values: Values, name: str) -> Recognition | None:
    """Free text: several words, and hardly a value twice; or conversations."""
    some = some_of(values, 1000)
    talks = [said for value in some if (said := messages(value)) is not None]
    if talks and len(talks) >= 0.8 * len(some):
        return Recognition(
            0.95, f"conversations of {np.median([len(said) for said in talks]):g} messages in the middle value"
        )
    texts = [value for value in some if isinstance(value, str) and value.strip()]
    if not texts or len(texts) < 0.8 * len(some):
        return None
    words = float(np.median([len(text.split()) for text in texts]))
    characters = float(np.median([len(text) for text in texts]))
    prose = sum(_NOT_PROSE.fullmatch(text[:1000]) is None for text in texts) / len(texts)
    letters = sum(1 for text in texts if _WORD.search(text)) / len(texts)
    if prose < 0.7 or letters < 0.5:
        return None
    distinct = len(set(texts)) / len(texts)
    wordy = f"{words:g} words and {characters:g} characters in the middle value, {distinct:.0%} of the values distinct"
    # Chinese, Japanese and Thai put no spaces between words.
    dense = characters >= 12 and sum(ord(letter) > 0x0E00 for text in texts for letter in text[:50]) > 5 * len(texts)
    if distinct < 0.1 or len(set(texts)) < 3:
        return Recognition(0.2, f"words, but few different values: {wordy}")
    if (words >= 5 or dense) and distinct >= 0.3:
        return Recognition(0.95, wordy)
    if words >= 3 and distinct >= 0.5:
        return Recognition(0.7, wordy)
    if words >= 2 and distinct >= 0.8:
        return Recognition(0.5, f"short text: {wordy}")
    return Recognition(0.25, f"short or repeated text: {wordy}")


def describe(values: Values) -> dict[str, Json]:
    """Lengths in characters and words, different words and the commonest ones (of an even sample), and an example."""
    texts, odd = [], 0
    for value in values:
        try:
            text = as_text(value)
        except Unreadable:
            odd += 1
            continue
        if text is not None:
            texts.append(text)
    step = max(1, round(sum(min(len(text), LONG_TEXT) for text in texts) / COUNTED))
    counts = Counter(word.lower() for text in texts[::step] for word in _WORD.findall(text[:LONG_TEXT]))
    return {
        "count": len(values),
        "missing": len(values) - len(texts) - odd,
        "unreadable": odd,
        "empty": sum(not text.strip() for text in texts),
        "distinct": len(set(texts)),
        "characters": spread([len(text) for text in texts]),
        "words": spread([len(text.split()) for text in texts]),
        "different_words": len(counts),
        "commonest": dict(counts.most_common(10)),
        "example": next((text.strip()[:200] for text in texts if text.strip()), ""),
    }


def as_text(value: object) -> str | None:
    """The text that a value stands for; None if it is missing. 3, 3.0 and "3" are the same text; a list of messages is
    a text with a line for each.

    Raises:
        Unreadable: a value that is no text, such as a list, or bytes that are not UTF-8.
    """
    if isinstance(value, str):
        # Half a surrogate pair is no character, and no tokenizer takes it.
        text = value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
        if len(text) <= 30 and text[-1:].isdigit() and text.count(".") == 1:
            return canonical_value(text) or text
        return text or None
    if value is None:
        return None
    if isinstance(value, bytes | bytearray):
        try:
            return bytes(value).decode("utf-8") or None
        except UnicodeDecodeError as error:
            raise Unreadable(f"the bytes are no UTF-8 text: {error.reason} at byte {error.start}") from error
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | float | np.number | np.datetime64 | date | datetime | time):
        return canonical_value(value) if str(value) != "NaT" else None
    if (said := messages(value)) is not None:
        return written_out(said) or None
    raise Unreadable(f"a value of type {type(value).__name__} is no text")


@dataclass(frozen=True)
class Encoder:
    """int32 [row, length], padding at the end only; fitted on the training texts.

    Options:
        tokenizer: "bpe" (default: a byte-level BPE trained on the training texts) or the path of a Hugging Face
            tokenizer.json or its folder: then the ids are exactly that network's, special tokens included.
        vocabulary: tokens to learn; default 8,192, fewer where the training texts have under 160,000 words.
        length: tokens kept; default the 95th percentile of the training texts, rounded up to a multiple of 8, at
            most 1,536 (a pretrained network reads the first of them only). Of a longer text the first three
            quarters and the last quarter of `length` are kept (head and tail: Sun et al. 2019). Texts over 100,000
            characters are cut likewise beforehand.
        lowercase: fold letter case (default true; the BPE only).
        start: begin every text with token 2 (default false; the BPE only).

    For texts that are written rather than read (`lamina.steps.written`) the kind is "exact", whose tokens give back
    every byte, or "given" with a given model's tokenizer (`lamina.modalities._given_tokens`), where "unknown" is the
    token that stands before a text. `cut` says what a longer text loses: its "middle", its "start", its "end" (in
    older models that translate) or, of a text to be translated, "nothing": one that is too long is an error, for it is
    to be read in parts (`lamina.model.sentences`). Spaces around a text to be translated are no part of what is said.

    Own ids: 0 padding, 1 unknown, 2 start. A missing or empty text is one unknown token (with a Hugging Face
    tokenizer: what that makes of an empty text).
    """

    modality: ClassVar[str] = "text"
    kind: str
    length: int
    tokenizer: str = field(repr=False)
    padding: int = _tokens.PADDING
    unknown: int = _tokens.UNKNOWN
    start: bool = False
    cut: str = "middle"

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.cut not in CUTS:
            raise ValueError(f"a tokenizer of kind {self.kind!r} that cuts the {self.cut!r}")

    @property
    def feature(self) -> Feature:
        """`details`: the kind of tokenizer, the ids of padding and unknown, the one that hides a token from who is to
        guess it, the ids that stand for no text, and how every token is spelled ("" for those)."""
        details = {
            "tokenizer": self.kind,
            "padding": self.padding,
            "unknown": self.unknown,
            "mask": self._mask,
            "special": self._special,
            "spellings": self._spellings,
        }
        return Feature("tokens", (self.length,), "int32", len(self._spellings), details)

    @cached_property
    def _special(self) -> list[int]:
        own = self.kind in ("bpe", "exact")
        return list(range(len(_tokens.SPECIALS))) if own else _tokens.special_ids(self.tokenizer)

    @cached_property
    def _mask(self) -> int:
        return _tokens.mask_id(self.tokenizer, self.unknown) if self.kind == "huggingface" else self.unknown

    @cached_property
    def _spellings(self) -> list[str]:
        spellings = [""] * int(self._tokenizer.get_vocab_size(with_added_tokens=True))
        for token, number in self._tokenizer.get_vocab(with_added_tokens=True).items():
            # Where numbers are left out, the last ones lie beyond the size.
            if number < len(spellings) and number not in self._special:
                spellings[number] = token
        return spellings

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Train on at most 200,000 texts (100 million characters), evenly drawn, or take a finished tokenizer."""
        chosen = settings("text", options, DEFAULTS)
        for name in ("lowercase", "start"):
            if not isinstance(chosen[name], bool):
                raise InputError(f"The option {name!r} is {chosen[name]!r}.", where=name, fix="Give true or false.")
        total = present(chunks)
        if chosen["tokenizer"] == "bpe":
            draft = cls._trained(chunks, total, chosen)
        else:
            given = Path(str(chosen["tokenizer"]))
            found = _tokens.pretrained(given if given.exists() or root is None else Path(root) / given)
            draft = cls("huggingface", LONGEST, found.json, found.padding, found.unknown)
        least = 1 + draft._room
        if chosen["length"] != "auto":
            length = whole("text", "length", chosen["length"], least, LONGEST)
        else:
            length = max(least, min(LONGEST_USUALLY, draft._usual_length(chunks, total)))
        return cls(draft.kind, length, draft.tokenizer, draft.padding, draft.unknown, draft.start)

    @classmethod
    def _trained(cls, chunks: Chunks, total: int, chosen: Mapping[str, Json]) -> Self:
        if chosen["vocabulary"] == "auto":
            words = sum(len(text.split()) for text in _texts(chunks, total, 10_000)) * max(1.0, total / 10_000)
            size = int(min(LARGEST_VOCABULARY, max(_tokens.SMALLEST_VOCABULARY, words / 20)))
        else:
            size = whole("text", "vocabulary", chosen["vocabulary"], 300, 200_000)
        texts = _limited(_texts(chunks, total, TRAINING_TEXTS), TRAINING_CHARACTERS)
        trained = _tokens.train(texts, size, bool(chosen["lowercase"]))
        return cls("bpe", LONGEST, trained, start=bool(chosen["start"]))

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """Tokenise on all cores; a value that is no text gives an error entry."""
        array = np.full((len(values), self.length), self.padding, dtype=np.int32)
        errors: dict[int, str] = {}
        for begin in range(0, len(values), TEXTS_AT_ONCE):
            texts = []
            for row, value in enumerate(values[begin : begin + TEXTS_AT_ONCE], begin):
                try:
                    text = as_text(value) or ""
                    texts.append(self._shortened(text.strip() if self.cut in ("end", "nothing") else text))
                except Unreadable as error:
                    texts.append("")
                    errors[row] = str(error)
            for row, ids in enumerate(self._ids(texts), begin):
                if len(ids) > self.length:
                    errors[row] = f"a text of {len(ids):,} tokens is too long, at most {self.length:,} are read"
                    ids = ids[: self.length]
                array[row, : len(ids)] = ids
        return Encoded(array, errors)

    def counts(self, texts: list[str]) -> list[int]:
        """How many tokens each text has, before any is cut."""
        return [
            len(encoding.ids) + self._room
            for start in range(0, len(texts), TEXTS_AT_ONCE)
            for encoding in self._tokenizer.encode_batch_fast(
                texts[start : start + TEXTS_AT_ONCE], add_special_tokens=False
            )
        ]

    def decode(self, array: Array) -> Values:
        """The texts, normalised and without what was cut off or unknown."""
        rows = [[int(number) for number in row if number != self.padding] for row in array]
        if self.kind == "given":
            return objects([self._given.decode(row) for row in rows])
        if self.kind != "huggingface":
            rows = [[number for number in row if number >= len(_tokens.SPECIALS)] for row in rows]
        texts = self._tokenizer.decode_batch(rows, skip_special_tokens=True)
        return objects([text.removeprefix(" ") if self.kind == "bpe" else text for text in texts])

    def state(self) -> dict[str, Json]:
        """All of it as JSON; the tokenizer is a JSON text within."""
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(**state)

    @cached_property
    def _tokenizer(self) -> Any:
        return self._given.tokenizer if self.kind == "given" else _tokens.load(self.tokenizer)

    @cached_property
    def _given(self) -> GivenTokens:
        return GivenTokens(self.tokenizer)

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """The ids that come before and after the content of every text."""
        if self.kind != "huggingface":
            return [self.unknown if self.kind == "given" else _tokens.START] * self.start, []
        around = self._tokenizer.encode("").ids
        # What stands around a text is found by putting one between.
        ids = self._tokenizer.encode("a").ids
        before = next((i for i, (one, two) in enumerate(zip(around, ids, strict=False)) if one != two), len(around))
        return around[:before], around[before:]

    @property
    def _room(self) -> int:
        return len(self._frame[0]) + len(self._frame[1])

    def _ids(self, texts: list[str]) -> Iterator[list[int]]:
        """At most `length` ids of each text, unless nothing is cut; at least one."""
        before, after = self._frame
        room = self.length - len(before) - len(after)
        head = {"middle": ceil(room * HEAD_SHARE), "start": 0}.get(self.cut, room)
        for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            ids = encoding.ids
            if len(ids) > room and self.cut != "nothing":
                ids = ids[:head] + ids[len(ids) - (room - head) :]
            framed = [*before, *ids, *after]
            yield framed or [self.unknown]

    def _shortened(self, text: str) -> str:
        limit = max(LONG_TEXT, 32 * self.length)
        if len(text) <= limit or self.cut == "nothing":
            return text
        head = {"middle": int(limit * HEAD_SHARE), "start": 0}.get(self.cut, limit)
        return text[:head] + text[len(text) - (limit - head) :]

    def _usual_length(self, chunks: Chunks, total: int) -> int:
        counts: list[int] = []
        some: list[str] = []
        for text in _texts(chunks, total, LENGTH_TEXTS):
            some.append(text)
            if len(some) == TEXTS_AT_ONCE:
                counts += [len(ids) for ids in self._ids(some)]
                some = []
        counts += [len(ids) for ids in self._ids(some)]
        return 8 * ceil(float(np.quantile(counts, 0.95)) / 8)


def _texts(chunks: Chunks, total: int, limit: int) -> Iterator[str]:
    """At most `limit` training texts, evenly drawn, each at most 100,000 characters long.

    Raises:
        InputError: none of them is a text.
    """
    found = False
    for values in sample(chunks, total, limit, seed=2):
        for value in values:
            try:
                text = as_text(value)
            except Unreadable:
                continue
            if text is not None:
                found = True
                yield text[:LONG_TEXT]
    if not found:
        raise InputError("No value of this field is text.", fix="ignore the field (role = ignore)")


def _limited(texts: Iterator[str], characters: int) -> Iterator[str]:
    for text in texts:
        yield text
        characters -= len(text)
        if characters <= 0:
            return
