"""What a sealed network's ONNX bytes may hold: checked by a minimal protobuf walk before ONNX Runtime sees them.

ONNX Runtime follows external data relative to the working directory even when a model is loaded from
bytes, loads its own flatbuffer format by its magic number, and expands sparse tensors and local
functions at load. None of that is needed for a sealed network, so all of it is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator

from lamina.errors import InputError

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
DEPTH = 8
"""Graphs inside graphs (the branches of an If); our networks use at most two."""
NODES = 100_000

_REFUSED_OPERATORS = frozenset({"Loop", "Scan"})

_MODEL_GRAPH, _MODEL_FUNCTIONS, _MODEL_TRAINING = 7, 25, 20
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

Span = tuple[int, int]
"""Where a message's bytes lie."""


class _Unreadable(Exception):
    """The bytes are no protobuf message."""


def check(network: bytes, where: str) -> None:
    """Refuse a network that reads files, runs foreign code, or expands when it is loaded.

    Raises:
        InputError: no ONNX graph, external data, a foreign operator domain, local functions, sparse
            tensors, loops, or graphs nested deeper than `DEPTH`.
    """
    try:
        _Walk(network, where).model()
    except _Unreadable as error:
        raise damaged(f"The network inside is not a readable ONNX graph: {error}.", where) from None


def damaged(what: str, where: str) -> InputError:
    """The error for a file that is no whole sealed model."""
    return InputError(what, where=where, fix="Copy the file again from where it was made, or train and seal anew.")


class _Walk:
    """One pass over a ModelProto; tensors are checked for where their data lies, never read."""

    def __init__(self, content: bytes, where: str) -> None:
        self.content, self.where, self.nodes = content, where, 0

    def refuse(self, what: str) -> InputError:
        return InputError(
            f"The network inside {what}, which a sealed model never does.",
            where=self.where,
            fix="Use only files that Lamina sealed, from a source you trust.",
        )

    def model(self) -> None:
        if self.content[4:8] == b"ORTM":
            raise self.refuse("is in ONNX Runtime's own binary format")
        graphs = 0
        for number, span in self.messages((0, len(self.content))):
            if number == _MODEL_GRAPH:
                graphs += 1
                self.graph(span, 0)
            elif number == _MODEL_FUNCTIONS:
                raise self.refuse("defines functions of its own")
            elif number == _MODEL_TRAINING:
                raise self.refuse("carries training steps")
        if graphs != 1:
            raise _Unreadable(f"{graphs} graphs instead of one")

    def graph(self, span: Span, depth: int) -> None:
        if depth > DEPTH:
            raise self.refuse(f"nests graphs deeper than {DEPTH}")
        for number, part in self.messages(span):
            if number == _GRAPH_NODE:
                self.node(part, depth)
            elif number == _GRAPH_INITIALIZER:
                self.tensor(part)
            elif number == _GRAPH_SPARSE:
                raise self.refuse("holds sparse tensors")

    def node(self, span: Span, depth: int) -> None:
        self.nodes += 1
        if self.nodes > NODES:
            raise self.refuse(f"has more than {NODES} operators")
        for number, part in self.messages(span):
            if number == _NODE_DOMAIN and self.text(part) not in DOMAINS:
                raise self.refuse(f"uses operators of the domain {self.text(part)!r}")
            if number == _NODE_OPERATOR and self.text(part) in _REFUSED_OPERATORS:
                raise self.refuse(f"uses the operator {self.text(part)}")
            if number == _NODE_ATTRIBUTE:
                self.attribute(part, depth)

    def attribute(self, span: Span, depth: int) -> None:
        for number, part in self.messages(span):
            if number in _ATTRIBUTE_TENSORS:
                self.tensor(part)
            elif number in _ATTRIBUTE_GRAPHS:
                self.graph(part, depth + 1)
            elif number in _ATTRIBUTE_SPARSE:
                raise self.refuse("holds sparse tensors")

    def tensor(self, span: Span) -> None:
        for number, _, value in _fields(self.content, *span):
            if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
                raise self.refuse("reads its weights from another file")

    def messages(self, span: Span) -> Iterator[tuple[int, Span]]:
        for number, part, _ in _fields(self.content, *span):
            if part is not None:
                yield number, part

    def text(self, span: Span) -> str:
        return self.content[span[0] : min(span[1], span[0] + 200)].decode("utf-8", errors="replace")


def _fields(content: bytes, start: int, end: int) -> Iterator[tuple[int, Span | None, int]]:
    """(field number, where its bytes lie or None, its number or 0) of one protobuf message."""
    while start < end:
        key, start = _varint(content, start, end)
        if key >> 32:
            # Protobuf reads the lower 32 bits alone, so this would be another field to it than to us.
            raise _Unreadable("a field of a number beyond 32 bits")
        number, kind = key >> 3, key & 7
        if number == 0:
            raise _Unreadable("a field without a number")
        if kind == 0:
            value, start = _varint(content, start, end)
            yield number, None, value
            continue
        if kind == 2:
            length, start = _varint(content, start, end)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _Unreadable(f"a field of the unknown kind {kind}")
        if start + length > end:
            raise _Unreadable("a field longer than its message")
        yield number, (start, start + length) if kind == 2 else None, 0
        start += length


def _varint(content: bytes, start: int, end: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if start + place >= end:
            raise _Unreadable("it ends in the middle of a number")
        byte = content[start + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, start + place + 1
    raise _Unreadable("a number longer than ten bytes")
