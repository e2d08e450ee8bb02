"""Conversations: lists of messages, each with who speaks and what is said, as chat programs keep them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

SPEAKER = ("role", "speaker", "from", "author", "user", "name")
SAID = ("content", "text", "value", "message", "utterance")
"""Names under which messages tell who speaks and what is said; the first that a message has counts."""
ABOUT = ("system", "tool", "function", "developer")
"""Who is none of the two that talk with each other."""


class Message(NamedTuple):
    """A message of one line."""

    speaker: str
    said: str

    def __str__(self) -> str:
        return f"{self.speaker}: {self.said}"


class Speakers(NamedTuple):
    """Who begins conversations, and who answers."""

    person: str
    answering: str


def messages(value: object) -> list[Message] | None:
    """The messages of a conversation, without empty ones; None for a value that is none."""
    if not isinstance(value, list | tuple | np.ndarray) or len(value) == 0:
        return None
    found = [_message(one) for one in value]
    return None if None in found else [one for one in found if one is not None and one.said]


def _message(value: object) -> Message | None:
    if not isinstance(value, Mapping) or not any(name in value for name in SAID):
        return None
    speaker = next((value[name] for name in SPEAKER if isinstance(value.get(name), str | int)), None)
    said = next(value[name] for name in SAID if name in value)
    if speaker is None or not (said is None or isinstance(said, str)):
        return None
    # A line is a message, and what stands before its first colon speaks.
    return Message(_one_line(str(speaker)).replace(":", ""), _one_line(said or ""))


def _one_line(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def written_out(conversation: Iterable[Message]) -> str:
    """A line for each message: "speaker: what is said"."""
    return "\n".join(map(str, conversation))


def speakers(conversations: Iterable[Iterable[Message]]) -> Speakers | None:
    """The two that say most; of them, who begins more often is the person. None where there are no two."""
    talks, begins = Counter[str](), Counter[str]()
    for conversation in conversations:
        names = [name for name, _ in conversation if name and name.lower() not in ABOUT]
        talks.update(names)
        begins.update(names[:1])
    two = [name for name, _ in talks.most_common(2)]
    if len(two) < 2:
        return None
    person = max(two, key=lambda name: begins[name])
    return Speakers(person, next(name for name in two if name != person))
