"""Blocks of simple features as one matrix, fitted on the training part: for linear models and for trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.baselines import BaselineFeatures, Block

Array = np.ndarray[Any, Any]
Columns = Callable[[Block], Any]
"""A block of any rows to its columns, [row, column], dense or sparse."""

LEVELS = 1000
"""Most columns that one category becomes; the rarer levels share one."""
WORD_CHARACTERS, RUN_CHARACTERS = 500_000, 100_000
"""Characters in which words, and in which runs of characters, are counted for each second that a baseline has."""
SHORTEST = 100
"""Where fewer characters of each text could be looked at, runs of characters are not counted at all."""
WORDS_FOR_TREES = 2000
ROWS_AT_ONCE = 4096
NATIVE_LEVELS = 255
"""Trees split categories of at most so many levels by set; larger ones by their code, which is by frequency."""


class Matrix:
    """Features to a matrix [row, column]: dense float32, or a sparse one where texts or many levels need it.

    Attributes:
        native: columns that hold category codes.
        columns: how many.
    """

    def __init__(self, parts: dict[str, Columns], native: list[int], columns: int) -> None:
        self._parts, self.native, self.columns = parts, native, columns

    def of(self, features: BaselineFeatures) -> Any:
        """The matrix of these rows."""
        from scipy import sparse

        parts = [self._parts[block.field](block) for block in features.blocks if block.field in self._parts]
        if not parts:
            return np.zeros((features.rows, 1), dtype=np.float32)
        if any(sparse.issparse(part) for part in parts):
            return sparse.hstack([sparse.csr_matrix(part) for part in parts], format="csr", dtype=np.float32)
        return np.concatenate(parts, axis=1).astype(np.float32, copy=False)


def for_linear(train: BaselineFeatures, seconds: float) -> Matrix:
    """Numbers filled and standardised, categories one column a level, texts as TF-IDF of words and their pieces."""
    parts: dict[str, Columns] = {}
    for block in train.blocks:
        if block.kind == "codes":
            parts[block.field] = _one_hot(block)
        elif block.kind == "texts":
            parts[block.field] = _tf_idf(block, words=200_000, seconds=seconds / len(train.of("texts")), runs=True)
        else:
            parts[block.field] = _standardised(block)
    return Matrix(parts, [], _width(parts, train))


def for_trees(train: BaselineFeatures, seconds: float, *, texts: bool) -> Matrix:
    """Numbers as they are with their gaps, categories as codes, and with `texts` the most frequent words."""
    parts: dict[str, Columns] = {}
    native: list[int] = []
    at = 0
    for block in train.blocks:
        if block.kind == "texts":
            if not texts:
                continue
            columns = _tf_idf(block, words=WORDS_FOR_TREES, seconds=seconds / len(train.of("texts")), runs=False)
        elif block.kind == "codes":
            columns = _codes
            if block.size <= NATIVE_LEVELS:
                native.append(at)
        else:
            columns = _as_is
        parts[block.field] = columns
        at += columns(block.take(np.arange(min(1, train.rows)))).shape[1]
    return Matrix(parts, native, max(at, 1))


def _width(parts: dict[str, Columns], train: BaselineFeatures) -> int:
    one = train.take(np.arange(min(1, train.rows)))
    widths = [int(parts[block.field](block).shape[1]) for block in one.blocks if block.field in parts]
    return max(1, sum(widths))


def _codes(block: Block) -> Array:
    return block.array[:, None].astype(np.float32)


def _as_is(block: Block) -> Array:
    return np.asarray(block.array, dtype=np.float32)


def _standardised(block: Block) -> Columns:
    """Gaps filled with the median and marked in columns of their own; every column of mean 0 and spread 1."""
    found = [_moments(column) for column in block.array.T]
    median, mean, spread, share = np.array(found, dtype=np.float64).reshape(-1, 4).T
    marked = np.flatnonzero((share > 0) & (share < 1))

    def columns(other: Block) -> Array:
        # In slices: copies in double precision of all features of many pictures would take most of the memory.
        standard = np.empty((len(other.array), len(mean) + len(marked)), dtype=np.float32)
        for at in range(0, len(standard), ROWS_AT_ONCE):
            some = other.array[at : at + ROWS_AT_ONCE].astype(np.float64)
            missing = np.isnan(some)
            standard[at : at + len(some), : len(mean)] = (np.where(missing, median, some) - mean) / spread
            standard[at : at + len(some), len(mean) :] = missing[:, marked]
        return standard

    return columns


def _moments(column: Array) -> tuple[float, float, float, float]:
    """(median, mean, spread, share of gaps) of a column, its gaps filled with the median."""
    values = column.astype(np.float64)
    gaps = np.isnan(values)
    if gaps.all():
        return 0.0, 0.0, 1.0, 1.0
    median = float(np.median(values[~gaps]))
    values[gaps] = median
    spread = float(values.std())
    return median, float(values.mean()), spread if spread > 1e-6 else 1.0, float(gaps.mean())


def _one_hot(block: Block) -> Columns:
    counts = np.bincount(block.array, minlength=max(block.size, 1))
    least = 2 if len(block.array) < 10_000 else 10
    frequent = [int(code) for code in np.argsort(-counts, kind="stable")[:LEVELS] if counts[code] >= least]
    column_of = np.full(len(counts), len(frequent), dtype=np.int64)
    column_of[frequent] = np.arange(len(frequent))
    width = len(frequent) + 1

    def columns(other: Block) -> Any:
        from scipy import sparse

        codes = np.clip(other.array, 0, len(column_of) - 1)
        place = np.where(other.array < len(column_of), column_of[codes], len(frequent))
        if width <= 64:
            return np.eye(width, dtype=np.float32)[place]
        rows = np.arange(len(place))
        return sparse.csr_matrix((np.ones(len(place), np.float32), (rows, place)), shape=(len(place), width))

    return columns


def _tf_idf(block: Block, *, words: int, seconds: float, runs: bool) -> Columns:
    """Words and pairs of words, and with `runs` also 2 to 5 characters in a row, weighted by rarity (Salton 1988).

    They are counted at the beginning of every text, so far that the time suffices.
    """
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

    each_words, each_runs = (
        int(rate * seconds / max(len(block.array), 1)) for rate in (WORD_CHARACTERS, RUN_CHARACTERS)
    )
    settings: dict[str, Any] = {"sublinear_tf": True, "min_df": 1 if len(block.array) < 1000 else 2}
    settings |= {"max_features": words, "dtype": np.float32}
    wanted = [
        (TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **settings), max(each_words, SHORTEST))
    ]
    if runs and each_runs >= SHORTEST:
        wanted.append((TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **settings), each_runs))
    fitted, held = [], []
    for vectorizer, most in wanted:
        try:
            held.append(vectorizer.fit_transform(_beginnings(block.array, most)))
            fitted.append((vectorizer, most))
        except ValueError:
            # No word at all in the training texts: nothing to count.
            continue

    def columns(other: Block) -> Any:
        if not fitted:
            return np.zeros((len(other.array), 1), dtype=np.float32)
        if other is block and held:
            # Counting the training texts is the dear part; it has just been done.
            parts = held[:]
            held.clear()
        else:
            parts = [vectorizer.transform(_beginnings(other.array, most)) for vectorizer, most in fitted]
        return sparse.hstack(parts, format="csr")

    return columns


def _beginnings(texts: Array, most: int) -> list[str]:
    return [text[:most] for text in texts]
