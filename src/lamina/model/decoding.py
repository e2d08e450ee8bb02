"""Writing token by token: the most likely one, one drawn at random, or a search over several beginnings. NumPy only.

The network is asked through `Stepping`, so the same code writes with the network in training and with the sealed one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]
Pick = Callable[[Array], Array]
"""From log-odds [row, token] to a token of each row, int32."""

PADDING = 0


class Stepping(Protocol):
    """A network that says what comes next; what it reads besides, if anything, is bound to it."""

    def fresh(self) -> Array:
        """The cache before the first token, [row, ...]."""
        ...

    def __call__(self, tokens: Array, cache: Array) -> tuple[Array, Array]:
        """(Log-odds [row, token] after the last of `tokens` int32 [row, step], the cache with them in it)."""
        ...


def most_likely(logits: Array) -> Array:
    """int32 [row]: the token with the highest log-odds; of equal ones the first."""
    return np.asarray(logits.argmax(axis=1), np.int32)


def drawn(temperature: float, top_p: float, random: np.random.Generator) -> Pick:
    """A token drawn at random from the likely ones.

    Args:
        temperature: what log-odds are divided by; below 1 likely tokens become likelier, 0 takes the likeliest.
        top_p: only the likeliest tokens that make up so much of the probability are drawn from (nucleus sampling:
            Holtzman et al. 2020).
    """
    if temperature == 0:
        return most_likely

    def pick(logits: Array) -> Array:
        chances = softmax(logits.astype(np.float64) / temperature)
        order = np.argsort(-chances, axis=1, kind="stable")
        ranked = np.take_along_axis(chances, order, axis=1)
        # The token that crosses the share is still in.
        ranked[ranked.cumsum(axis=1) - ranked >= top_p] = 0.0
        edges = ranked.cumsum(axis=1)
        at = random.random((len(logits), 1)) * edges[:, -1:]
        place = np.minimum((edges <= at).sum(axis=1, keepdims=True), (ranked > 0).sum(axis=1, keepdims=True) - 1)
        return np.asarray(np.take_along_axis(order, place, axis=1)[:, 0], np.int32)

    return pick


def written(
    step: Stepping, prompt: Array, most: int, context: int, end: int, pick: Pick = most_likely, padding: int = PADDING
) -> tuple[Array, Array]:
    """Write on from a prompt.

    Where the context is full, its later half is read anew, as if the text had begun there.

    Args:
        prompt: int32 [row, step], at least one token; of a longer one the last that fit are read.
        most: tokens to write.
        context: tokens that the network sees at most.
        end: the token that ends a text; it is not among those that are given back.
        padding: what stands after the end.

    Returns:
        int32 [row, most], padded after the end; and float32 [row, most], by how much the log-odds of the
        likeliest token lay above those of the next one, where it was written.
    """
    rows, keep = len(prompt), max(1, context // 2)
    tokens, margins = np.full((rows, most), padding, np.int32), np.zeros((rows, most), np.float32)
    history, feed, cache, past = prompt, prompt[:, -context:], step.fresh(), 0
    open_rows = np.ones(rows, bool)
    for place in range(most):
        if past + feed.shape[1] > context:
            feed, cache, past = history[:, -keep:], step.fresh(), 0
        logits, cache = step(feed, cache)
        past += feed.shape[1]
        chosen = pick(logits)
        leaders = np.partition(logits, -2, axis=1)[:, -2:]
        margins[open_rows, place] = (leaders[:, 1] - leaders[:, 0])[open_rows]
        open_rows &= chosen != end
        tokens[open_rows, place] = chosen[open_rows]
        if not open_rows.any():
            break
        feed = chosen[:, None]
        history = np.concatenate([history[:, -context:], feed], axis=1)
    return tokens, margins


def beam_search(
    step: Stepping, rows: int, beams: int, most: int, begin: int, end: int, penalty: float = 1.0
) -> tuple[Array, Array]:
    """The best text that is found by keeping several beginnings of each at a time.

    A finished text's score is its log-probability over ((5 + length) / 6) ** penalty, its end counted (Wu et al. 2016,
    "Google's neural machine translation system"). A row is done when none of its beginnings can become better than
    its best text, or as many texts have ended as there are beams; then nothing more is looked for, however long
    other rows take, so that its text does not depend on them.

    Args:
        step: over rows * beams rows; those of one text stand together.
        beams: beginnings that are kept.
        most: tokens of a text, its end among them.
        begin: the token that every text begins with.

    Returns:
        int32 [row, most], padded with 0 from the end on; float64 [row], the score.
    """
    feed, cache = np.full((rows * beams, 1), begin, np.int32), step.fresh()
    tokens = np.zeros((rows, beams, 0), np.int32)
    # Of equal beginnings all but one would be copies.
    sums = np.where(np.arange(beams) == 0, 0.0, -np.inf) * np.ones((rows, 1))
    ended = np.zeros(rows, np.int64)
    best, texts = np.full(rows, -np.inf), np.full((rows, most), PADDING, np.int32)
    for length in range(1, most + 1):
        logits, cache = step(feed, cache)
        chances = log_softmax(logits.astype(np.float64)).reshape(rows, beams, -1) + sums[:, :, None]
        sums, place, token = _leading(chances, 2 * beams)
        _finish(sums, place, token, tokens, end, length, penalty, beams, (best, texts, ended), last=length == most)
        going = np.argsort(token == end, axis=1, kind="stable")[:, :beams]
        sums = np.where(np.take_along_axis(token, going, 1) == end, -np.inf, np.take_along_axis(sums, going, 1))
        place, token = np.take_along_axis(place, going, 1), np.take_along_axis(token, going, 1)
        tokens = np.concatenate([np.take_along_axis(tokens, place[:, :, None], 1), token[:, :, None]], axis=2)
        hope = sums.max(axis=1) / _longer(most, penalty)
        done = (ended >= beams) | (hope <= best)
        if done.all():
            break
        sums[done] = -np.inf
        cache = cache[(np.arange(rows)[:, None] * beams + place).reshape(-1)]
        feed = token.reshape(-1, 1).astype(np.int32)
    return texts, best


def _leading(chances: Array, number: int) -> tuple[Array, Array, Array]:
    """(Sums, beginnings, tokens), each [row, number], of the likeliest ways to go on, the likeliest first."""
    rows, _, vocabulary = chances.shape
    flat = chances.reshape(rows, -1)
    number = min(number, flat.shape[1])
    found = np.argpartition(-flat, number - 1, axis=1)[:, :number]
    order = np.argsort(-np.take_along_axis(flat, found, 1), axis=1, kind="stable")
    found = np.take_along_axis(found, order, 1)
    return np.take_along_axis(flat, found, 1), found // vocabulary, (found % vocabulary).astype(np.int32)


def _finish(
    sums: Array, place: Array, token: Array, tokens: Array, end: int, length: int, penalty: float, beams: int,
    kept: tuple[Array, Array, Array], *, last: bool,
) -> None:  # fmt: skip
    """Put the best text that ends now into `kept` where it is better than what is there.

    A text that ends counts only if it is among the first `beams`; at the last length all that are there end.
    """
    best, texts, ended = kept
    done = (np.arange(sums.shape[1]) < beams) & np.isfinite(sums) & ((token == end) | last)
    ended += done.sum(axis=1)
    scores = np.where(done, sums / _longer(length, penalty), -np.inf)
    for row in np.flatnonzero(scores.max(axis=1) > best):
        which = int(scores[row].argmax())
        best[row] = scores[row, which]
        text = [*tokens[row, place[row, which]], *([] if token[row, which] == end else [token[row, which]])]
        texts[row] = PADDING
        texts[row, : len(text)] = text


def _longer(length: int, penalty: float) -> float:
    return float(((5 + length) / 6) ** penalty)


def log_softmax(logits: Array) -> Array:
    """Log-probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis."""
    found: Array = np.exp(log_softmax(logits))
    return found
