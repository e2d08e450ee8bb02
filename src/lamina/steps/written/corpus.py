"""Texts to learn to write from: a file, a folder of files or a column of a table; and which of them train and test."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.column_roles import parts_of, split_reason
from lamina.data.tables import Table
from lamina.data.texts import SAMPLE, content, decoded, of_value, sure_columns, text_files
from lamina.errors import InputError
from lamina.modalities._conversation import Speakers, messages, speakers
from lamina.networks.transfer.causal import Given
from lamina.plan import DataPlan
from lamina.steps.request import Sources
from lamina.steps.understand import check_columns, open_data

Texts = tuple[str, ...]

FEWEST = 2_000
"""Bytes of training text that a run needs, at least."""
MANY = 20
"""From so many texts on, whole texts are held out; of fewer, the ends."""
COPY, MARKED = "word for word among those to validate or test", "marked as not for training"
"""Why a text that only training might use is left out."""
TELLING = 50
"""Characters of a text that stand in another by more than chance."""
MOST_HELD = 4
"""Whole texts are held out if they are at most so many times as long as wanted: one long text among short ones is cut.
"""
PARTS = {
    "train": "train", "training": "train", "valid": "validation", "validation": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
"""Names of files in a folder that say which part they are."""


@dataclass(frozen=True)
class Corpus:
    """Texts in order.

    Attributes:
        train, validation, test: the texts of each part; a text that is cut in two begins anew where it is cut.
        fingerprint: hash of the raw data.
        column: of a table that holds the texts; "" where files do.
        how: how the parts were chosen, for the user to read.
        places: how many files or rows.
        dropped: (row, reason) of rows without a text.
        unreadable: (place, reason) of what could not be read at all.
        added: (texts, texts learned from) of each source of more; those learned from are the last of `train`.
        copies: texts of these that were left out for they are for validation or testing.
        model: that was given to be learned on from.
        speakers: of conversations, who begins and who answers.
    """

    train: Texts
    validation: Texts
    test: Texts
    fingerprint: str
    column: str
    how: str
    places: int
    dropped: tuple[tuple[int, str], ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    added: tuple[tuple[int, int], ...] = ()
    copies: int = 0
    model: Given | None = None
    speakers: Speakers | None = None

    @property
    def repeated(self) -> int:
        """Test texts that stand among those to learn from as well."""
        known = {*self.train, *self.validation}
        return sum(one in known for one in self.test)


@dataclass(frozen=True)
class _Found:
    """Texts with the part that each says it belongs to, "" where it says nothing."""

    texts: Texts
    parts: tuple[str, ...]
    fingerprint: str
    column: str = ""
    dropped: tuple[tuple[int, str], ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    speakers: Speakers | None = None


def read(given: Sources, plan: DataPlan, column: str, split: str) -> Corpus:
    """All texts, divided.

    Args:
        given: each a text file, a folder of .txt files, or a table.
        plan: how much is held out, where the data does not say so itself.
        column: of a table, that holds the texts; "" to look for it.
        split: the column that says which part a row belongs to; "" for none.

    Raises:
        InputError: no text, another encoding than UTF-8, no or several columns of texts, or too little text.
    """
    data, test = given.data, given.test
    found = _read(data, column, split)
    digest, how, held = found.fingerprint, "", tuple[str, ...]()
    dropped, unreadable = found.dropped, found.unreadable
    train = tuple(one for one, part in zip(found.texts, found.parts, strict=True) if part in ("", "train"))
    validation = tuple(one for one, part in zip(found.texts, found.parts, strict=True) if part == "validation")
    if test is not None and test != "":
        other = _read(test, found.column, "")
        digest = hashlib.blake2b(f"{digest} {other.fingerprint}".encode(), digest_size=16).hexdigest()
        held, how = other.texts, "the test texts were given"
        dropped += tuple((row, f"of the test data: {reason}") for row, reason in other.dropped)
        unreadable += other.unreadable
    elif "test" in found.parts:
        held = tuple(one for one, part in zip(found.texts, found.parts, strict=True) if part == "test")
        how = "the data says which texts are for testing"
    if sum(len(one.encode()) for one in train) < FEWEST:
        size = sum(len(one.encode()) for one in train)
        raise InputError(
            f"There are {size:,} bytes of text to learn from; that is too little to learn to write.",
            where=str(data) if isinstance(data, str | Path) else None,
            fix=f"Give at least {FEWEST:,} bytes; a novel has some 500,000.",
        )
    if not held:
        train, held = divide(train, plan.test_share)
        how = f"the last {plan.test_share:.0%} of the text tests, what stands before it validates"
    if not validation:
        train, validation = divide(train, plan.validation_share)
    divided = Corpus(
        train, validation, held, digest, found.column, how, len(found.texts), dropped, unreadable,
        speakers=found.speakers,
    )  # fmt: skip
    for one in given.also:
        divided = _with_more(divided, _read(one, found.column, ""), str(one))
    return divided


def _with_more(corpus: Corpus, more: _Found, name: str) -> Corpus:
    """With more texts that only training learns from, without copies of those that validate and test.

    Raises:
        InputError: none is left.
    """
    held = {*corpus.validation, *corpus.test}
    copies = [one in held or _stands_in(one.strip(), held) for one in more.texts]
    marked = [part not in ("", "train") for part in more.parts]
    kept = tuple(one for one, *out in zip(more.texts, copies, marked, strict=True) if not any(out))
    if not kept:
        raise InputError(
            f"None of the {len(more.texts):,} texts that only training is to learn from can be used.",
            where=f"--also {name}",
            fix=f"Give texts that are no copies of those that validate and test, or leave out --also. "
            f"({sum(copies):,} are, {sum(marked):,} are marked as not for training.)",
        )
    dropped = [(row, f"of {name}: {reason}") for row, reason in more.dropped]
    dropped += [(row, f"of {name}: {COPY}") for row, out in enumerate(copies) if out]
    dropped += [(row, f"of {name}: {MARKED}") for row, out in enumerate(marked) if out]
    digest = hashlib.blake2b(f"{corpus.fingerprint} also {more.fingerprint}".encode(), digest_size=16).hexdigest()
    return replace(
        corpus,
        train=corpus.train + kept,
        fingerprint=digest,
        dropped=(*corpus.dropped, *dropped),
        unreadable=(*corpus.unreadable, *more.unreadable),
        added=(*corpus.added, (len(more.texts), len(kept))),
        copies=corpus.copies + sum(copies),
    )


def _stands_in(text: str, held: Collection[str]) -> bool:
    """Is one of a few held-out texts within this one, or this one within it? Of many, whole texts are compared."""
    parts = [part.strip() for part in held if part.strip()] if len(held) < MANY else []
    return any(part in text or (len(text) >= TELLING and text in part) for part in parts)


def divide(texts: Texts, share: float) -> tuple[Texts, Texts]:
    """(The beginning, the last `share` by characters): whole texts where there are many, unless one of them is most of
    what there is; else cut at an end of line."""
    wanted = share * sum(map(len, texts))
    lengths = np.cumsum([len(one) for one in reversed(texts)])
    number = int(np.searchsorted(lengths, wanted))
    held = min(number + 1, len(texts) - 1)
    if len(texts) >= MANY and lengths[held - 1] <= MOST_HELD * wanted:
        return texts[:-held], texts[-held:]
    last = texts[len(texts) - 1 - number]
    at = len(last) - int(wanted - (lengths[number - 1] if number else 0))
    line = last.rfind("\n", 0, at) + 1
    # A text without lines is cut where the share says.
    at = line if line > at - len(last) // 20 and line else at
    head, tail = texts[: len(texts) - 1 - number], texts[len(texts) - number :]
    return tuple(one for one in (*head, last[:at]) if one), tuple(one for one in (last[at:], *tail) if one)


def _read(data: Any, column: str, split: str) -> _Found:
    if (files := text_files(data)) is not None:
        return _of_files(*files)
    table, _ = open_data(data, None)
    return _of_table(table, column, split)


def _of_files(files: Sequence[Path], folder: Path) -> _Found:
    texts, parts, digest = [], [], hashlib.blake2b(digest_size=16)
    for file in files:
        raw = content(file)
        digest.update(f"{file.relative_to(folder)} {len(raw)} ".encode() + raw)
        texts.append(decoded(raw, file))
        parts.append(PARTS.get(file.stem.lower(), ""))
    # A single file may be called anything.
    marked = parts if len(set(parts)) > 1 and {"validation", "test"} & set(parts) else [""] * len(parts)
    kept = [(one, part) for one, part in zip(texts, marked, strict=True) if one.strip()]
    if not kept:
        raise InputError(f"{files[0]} is empty.", where=str(files[0]), fix="Give a file with text in it.")
    return _Found(tuple(one for one, _ in kept), tuple(part for _, part in kept), digest.hexdigest())


def _of_table(table: Table, column: str, split: str) -> _Found:
    check_columns([column] if column else [], table.columns, "task.options.column")
    check_columns([split] if split else [], table.columns, "--split")
    sample = table.take(np.arange(min(len(table), SAMPLE)))
    column = column or text_columns(table, sample, "task.column")
    marks = split or next((name for name in table.columns if split_reason(name, sample[name])), "")
    texts, parts, dropped, talks = [], [], [], []
    for rows, values in table.chunks(columns=[column, *([marks] if marks else [])]):
        told = parts_of(marks, values[marks]) if marks else [""] * len(rows)
        for row, value, part in zip(rows.tolist(), values[column], told, strict=True):
            found, reason = of_value(value)
            if reason:
                dropped.append((row, reason))
            elif part not in ("", "train", "validation", "test"):
                dropped.append((row, f"no part is called {part!r}"))
            else:
                texts.append(found)
                parts.append(part or "")
                talks.append(messages(value) or ())
    if not texts:
        raise InputError(
            f"The column {column!r} has no text.", where=column, fix="Name another with --set task.column=NAME."
        )
    return _Found(
        tuple(texts), tuple(parts), table.fingerprint, column, tuple(dropped), tuple(table.unreadable), speakers(talks)
    )


def text_columns(table: Table, sample: dict[str, Any], option: str, without: Sequence[str] = ()) -> str:
    """The only column that holds texts.

    Args:
        without: columns that are something else.

    Raises:
        InputError: there is none, or there are several.
    """
    sure = sure_columns([name for name in table.columns if name not in without], sample)
    if len(sure) == 1:
        return sure[0]
    known = ", ".join(sure or table.columns)
    raise InputError(
        f"Several columns hold texts: {known}." if sure else "No column holds texts.",
        where=table.name,
        fix=f"Name one with --set {option}=COLUMN. There are: {known}",
    )
