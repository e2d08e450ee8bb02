"""Conversations as texts: what is one, who speaks, and what no conversation is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamina.modalities import text
from lamina.modalities._canonical import object_array
from lamina.modalities._conversation import Message, Speakers, messages, speakers, written_out
from lamina.modalities._files import Unreadable
from lamina.tasks.write import Task

ASKED = [{"role": "user", "content": "Is it open?"}, {"role": "assistant", "content": "From nine\nto five."}]


@pytest.mark.parametrize(
    "value",
    [
        ASKED,
        tuple(ASKED),
        np.array(ASKED, object),
        [
            {"speaker": "user", "text": "Is it  open?", "time": "2018"},
            {"from": "assistant", "value": " From nine to five. "},
        ],
        [*ASKED, {"role": "user", "content": None}, {"role": "user", "content": ""}],
    ],
)
def test_a_message_is_a_line(value: Any) -> None:
    assert text.as_text(value) == "user: Is it open?\nassistant: From nine to five."


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["user: hello"],
        [*ASKED, "hello"],
        [{"role": "user"}],
        [{"content": "hello"}],
        [{"role": "user", "content": {"parts": ["hello"]}}],
        {"role": "user", "content": "hello"},
        [{"x": 1, "y": 2, "width": 3, "height": 4, "label": "cat"}],
    ],
)
def test_what_is_no_conversation_is_no_text(value: Any) -> None:
    assert messages(value) is None
    with pytest.raises(Unreadable):
        text.as_text(value)


def test_a_conversation_in_which_nothing_is_said_is_missing() -> None:
    assert messages([{"role": "user", "content": " "}]) == []
    assert text.as_text([{"role": "user", "content": " "}]) is None


def test_a_name_has_no_colon() -> None:
    assert written_out(messages([{"role": "Dr: No", "content": "So: yes"}]) or ()) == "Dr No: So: yes"


def test_columns_of_conversations_are_texts() -> None:
    found = text.recognise(object_array([ASKED, ASKED[:1], ASKED]), "talk")
    assert found is not None
    assert found.confidence > 0.9
    assert found.reason == "conversations of 2 messages in the middle value"
    boxes = object_array([[{"x": 1, "y": 2, "width": 3, "height": 4, "label": "cat"}]] * 3)
    assert text.recognise(boxes, "boxes") is None


def talk(*names: str) -> list[Message]:
    return [Message(name, "so") for name in names]


@pytest.mark.parametrize(
    ("talks", "found"),
    [
        ([talk("A", "B", "B"), talk("A", "B")], ("A", "B")),
        ([talk("B", "A", "A"), talk("B", "A")], ("B", "A")),
        ([talk("system", "user", "assistant"), talk("system", "system", "system", "user")], ("user", "assistant")),
        ([talk("A", "B", "A", "B", "C"), talk("C", "A", "B")], ("A", "B")),
        ([talk("A", "A")], None),
        ([talk("", "A")], None),
        ([talk("system", "user")], None),
        ([], None),
    ],
)
def test_who_begins_is_the_person(talks: list[list[Message]], found: tuple[str, str] | None) -> None:
    assert speakers(talks) == (None if found is None else Speakers(*found))


def test_speakers_are_kept_with_the_task() -> None:
    task = Task("continuation", "{}", speakers=("A", "B"))
    assert Task.restore(task.state()) == task
    assert "speakers" not in Task("continuation", "{}").state()
    for wrong in (["A"], ["A", "B", "C"], ["A", ""], ["A", "B:"], ["A", "B\nA"]):
        with pytest.raises(ValueError, match="speakers"):
            Task.restore({**task.state(), "speakers": wrong})
