"""A sealed model that writes, at work: token by token, with a cache of what was read and written before.

One graph says what comes next: it takes "tokens" int32 [row, step] and "cache" float32
[row, 2 * layer, head, past, each], and gives "logits" [row, step, token] and "kept", the cache with the tokens in it.
Where nothing else is read it is the network of the sealed file. Where a text or a picture is read, the network turns it
into a "memory" once, and the graph that steps is the file's decoder, which takes "memory" besides, and of a text
"source", for its padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.errors import InputError, LaminaError
from lamina.model.decoding import Pick, beam_search, log_softmax, most_likely, written
from lamina.model.graph import damaged
from lamina.tasks import Writing

Array = np.ndarray[Any, Any]

TOKENS, CACHE, LOGITS, KEPT, MEMORY, SOURCE = "tokens", "cache", "logits", "kept", "memory", "source"
"""How a graph's inputs and outputs are called."""
ROWS = 32
"""Texts that are written at a time."""
LARGEST_CACHE = 256 << 20
"""Bytes of one row's cache, and of a step's log-odds: a sealed file cannot ask for more."""


def longest_context(slots: int, heads: int, each: int, vocabulary: int) -> int:
    """Tokens of a context, at most, with which a step keeps to `LARGEST_CACHE`."""
    return LARGEST_CACHE // (4 * max(slots * heads * each, vocabulary))


Signature = Mapping[str, tuple[str, list[int | str]]]
"""Names to types and axes, of a graph's inputs or outputs."""


def signature(items: Any) -> dict[str, tuple[str, list[int | str]]]:
    """Of what `get_inputs` or `get_outputs` of an ONNX Runtime session lists."""
    return {item.name: (item.type, [axis if isinstance(axis, int) else "" for axis in item.shape]) for item in items}


@dataclass(frozen=True)
class Steps:
    """A graph that steps, with what was read bound to it (`lamina.model.decoding.Stepping`).

    Attributes:
        session: of ONNX Runtime.
        shape: (2 * layers, heads, width of a head).
        rows: texts that are written together.
        bound: more inputs that are the same in every step, by name.
    """

    session: Any
    shape: tuple[int, int, int]
    rows: int
    bound: Mapping[str, Array]

    def fresh(self) -> Array:
        """The cache before the first token."""
        slots, heads, each = self.shape
        return np.zeros((self.rows, slots, heads, 0, each), np.float32)

    def __call__(self, tokens: Array, cache: Array) -> tuple[Array, Array]:
        logits, kept = self.every(tokens, cache)
        return logits[:, -1], kept

    def every(self, tokens: Array, cache: Array) -> tuple[Array, Array]:
        """(Log-odds after every one of the tokens [row, step, token], the cache with them in it)."""
        feed = {TOKENS: np.ascontiguousarray(tokens), CACHE: np.ascontiguousarray(cache), **self.bound}
        logits, kept = self.session.run([LOGITS, KEPT], feed)
        wanted = (*cache.shape[:3], cache.shape[3] + tokens.shape[1], cache.shape[4])
        if kept.shape != wanted or logits.shape[:2] != tokens.shape:
            raise ValueError(f"a step gave a cache of {kept.shape} instead of {wanted}")
        return logits, kept


class Writer:
    """The graphs of a sealed model that writes.

    Args:
        network, decoder: sessions of ONNX Runtime; the decoder is None where nothing else is read.
        task: what is written.
        source: name of the network's input where something is read.
        picture: (height, width, channel) of the encoded pictures where these are read.
        errors: that a session can raise.

    Raises:
        InputError: the graphs do not do what the task asks.
    """

    def __init__(
        self, network: Any, decoder: Any, task: Writing, source: str, picture: Sequence[int],
        errors: tuple[type[Exception], ...], where: str,
    ) -> None:  # fmt: skip
        self.task, self.where, self._errors = task, where, errors
        self._reader, self._stepper, self._source = (network if task.reads else None), decoder or network, source
        self._picture = tuple(picture)
        if (decoder is not None) is not bool(task.reads):
            raise self._refuse("it has a decoder that nothing reads for" if decoder else "it has no decoder")
        self.shape = self._checked()

    def read(self, source: Array) -> dict[str, Array]:
        """What a step needs of what is read: tokens int32 [row, place], padded with 0, or encoded pictures."""
        if self._reader is None:
            return {}
        memory = {MEMORY: self._reader.run([MEMORY], {self._source: source})[0]}
        return memory if self._picture else {**memory, SOURCE: source}

    def steps(self, rows: int, bound: Mapping[str, Array]) -> Steps:
        """What says what comes next, for so many texts."""
        return Steps(self._stepper, self.shape, rows, bound)

    def write(self, prompt: Array, most: int, pick: Pick = most_likely) -> Array:
        """int32 [row, most]: what is written on from prompts [row, step] of one length."""
        step = self.steps(len(prompt), {})
        task = self.task
        return self._guarded(lambda: written(step, prompt, most, task.context, task.end, pick, task.padding)[0])

    def translate(self, source: Array) -> Array:
        """int32 [row, width]: the best text for each text or picture that is read."""
        task, beams = self.task, self.task.beams

        def search() -> Array:
            # Memory is the same for all beginnings of a text.
            bound = {name: np.repeat(array, beams, axis=0) for name, array in self.read(source).items()}
            step = self.steps(len(source) * beams, bound)
            return beam_search(step, len(source), beams, task.width, task.start, task.end, task.penalty)[0]

        return self._guarded(search)

    def greedy(self, source: Array) -> tuple[Array, Array]:
        """The same without a search: (tokens [row, width], margins), as of `lamina.model.decoding.written`."""
        start = np.full((len(source), 1), self.task.start, np.int32)
        step = self.steps(len(source), self.read(source))
        return written(step, start, self.task.width, self.task.context + 1, self.task.end)

    def nats(self, text: Array, following: Array) -> Array:
        """float64 [row, step]: nats that each of the tokens that follow costs after all that is read before it.

        Of a model that reads no other text.

        Args:
            text: int32 [row, step], what is read.
            following: int32 [row, step], what comes after each of those; the task's `padding`, which costs nothing,
                where nothing is asked.
        """
        found, step = np.zeros(text.shape), self.steps(len(text), {})

        def told() -> Array:
            logits, _ = step.every(text, step.fresh())
            # Row by row: log-odds of all tokens are large in double precision.
            for row, wanted in enumerate(following):
                places = np.flatnonzero(wanted != self.task.padding)
                chances = log_softmax(logits[row, places].astype(np.float64))
                found[row, places] = -chances[np.arange(len(places)), wanted[places]]
            return found

        return self._guarded(told)

    def rows_at_once(self, length: int) -> int:
        """Texts of so many tokens that can be read whole at a time, without a step taking more than it may."""
        slots, heads, each = self.shape
        vocabulary = int(self.task.tokens.get_vocab_size())
        # Every token has its cache, its log-odds, and for each head how much it looks at every other one.
        return max(1, min(ROWS, LARGEST_CACHE // (4 * length * max(slots * heads * each, vocabulary, heads * length))))

    def outputs(self, encoded: Array) -> Array:
        """float32 [row, width] tokens, padded, from encoded texts [row, place] or pictures."""
        found = np.full((len(encoded), self.task.width), self.task.padding, np.float32)
        if self._picture:
            for start in range(0, len(encoded), ROWS):
                part = np.ascontiguousarray(encoded[start : start + ROWS])
                found[start : start + ROWS] = self.translate(part)
            return found
        lengths = (encoded != self.task.padding).sum(axis=1)
        order = np.argsort(lengths, kind="stable")
        for rows in self._groups(order, lengths):
            part = np.ascontiguousarray(encoded[rows, : max(1, int(lengths[rows].max()))])
            texts = self.translate(part) if self.task.reads else self.write(part, self.task.width)
            found[rows] = texts
        return found

    def _groups(self, order: Array, lengths: Array) -> list[Array]:
        """Rows that run together: of similar length, and where nothing masks padding, of the same."""
        groups: list[Array] = []
        edges = [] if self.task.reads else list(np.flatnonzero(np.diff(lengths[order])) + 1)
        for part in np.split(order, edges):
            groups += [part[start : start + ROWS] for start in range(0, len(part), ROWS)]
        return groups

    def _guarded(self, call: Callable[[], Array]) -> Array:
        try:
            return call()
        except self._errors as error:
            raise LaminaError(
                f"The sealed network failed: {str(error)[:300]}", where=self.where, fix="Check it with lamina doctor."
            ) from None

    def _refuse(self, what: str) -> InputError:
        return damaged(f"The model does not fit together: {what}.", self.where)

    def _checked(self) -> tuple[int, int, int]:
        """(2 * layers, heads, width of a head), if the graphs take and give what they should."""
        takes, gives = (signature(items()) for items in (self._stepper.get_inputs, self._stepper.get_outputs))
        cache = takes.get(CACHE, ("", []))[1]
        if len(cache) != 5 or not all(isinstance(cache[axis], int) for axis in (1, 2, 4)):
            raise self._refuse(f"its cache is {cache}")
        slots, heads, each = (int(cache[axis]) for axis in (1, 2, 4))
        vocabulary = int(self.task.tokens.get_vocab_size())
        kept: list[int | str] = ["", slots, heads, "", each]
        wanted_in: Signature = {TOKENS: ("tensor(int32)", ["", ""]), CACHE: ("tensor(float)", kept)}
        if self._reader is not None:
            memory, text = ("tensor(float)", list(kept)), ("tensor(int32)", list[int | str](["", ""]))
            wanted_in = {**wanted_in, MEMORY: memory} | ({} if self._picture else {SOURCE: text})
            reads, tells = (signature(items()) for items in (self._reader.get_inputs, self._reader.get_outputs))
            source = ("tensor(uint8)", list[int | str](["", *self._picture])) if self._picture else text
            kind, axes = tells.get(MEMORY, ("", []))
            # A picture has as many places as its network says, a text as many as it has tokens.
            given = [*axes[:3], "", *axes[4:]] if self._picture and len(axes) == 5 else axes
            if reads != {self._source: source} or (kind, given) != memory:
                raise self._refuse(f"the network reads {reads} and gives {tells}")
        wanted_out = {LOGITS: ("tensor(float)", ["", "", vocabulary]), KEPT: ("tensor(float)", kept)}
        if takes != wanted_in or gives != wanted_out:
            raise self._refuse(f"a step takes {takes} and gives {gives}")
        if min(slots, heads, each) < 1 or self.task.context > longest_context(slots, heads, each, vocabulary):
            raise self._refuse("a step needs more memory than a sealed model may")
        return slots, heads, each
