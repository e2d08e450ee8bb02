"""Conversations: learned from, sealed, talked with; and wrong wishes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina.cli import main
from lamina.errors import InputError
from lamina.model.chat import Chat

KNOWN = {"grass": "green", "snow": "white", "coal": "black", "blood": "red"}
SETS = (
    "training.threads=1", "training.precision=fp32", "training.keep=last", "training.epochs=40",
    "training.evaluations=4", "training.batch_size=16", "network.width=32", "network.depth=1", "network.heads=2",
    "task.vocabulary=300", "task.context=32",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned what things look like, from conversations in which a person asks it."""
    folder, random = tmp_path_factory.mktemp("chat"), np.random.default_rng(0)
    talks = []
    for number in range(400):
        things = random.choice(list(KNOWN), 3)
        said = [
            {"role": role, "content": words}
            for thing in things
            for role, words in (("user", f"and {thing}?"), ("bot", f"it is {KNOWN[thing]}."))
        ]
        talks.append(json.dumps({"number": number, "talk": said}))
    (folder / "talks.jsonl").write_text("\n".join(talks) + "\n")
    line = ["train", str(folder / "talks.jsonl"), "--task", "write", "--quiet", "--out", str(folder / "run")]
    assert main([*line, "--set", *SETS]) == 0
    return folder / "run"


def test_it_answers_what_is_asked(run: Path) -> None:
    chat = Chat(lamina.load(run), temperature=0)
    assert (chat.person, chat.answering) == ("user", "bot")
    asked = [thing for _ in range(4) for thing in KNOWN]
    answers = [chat.say(f"and {thing}?") for thing in asked]
    # Far longer than the context: it remembers the end.
    assert answers == [f"it is {KNOWN[thing]}." for thing in asked]
    assert [message.speaker for message in chat.messages[:4]] == ["user", "bot", "user", "bot"]


def test_the_same_seed_gives_the_same_answers(run: Path) -> None:
    model = lamina.load(run)

    def said(seed: int) -> list[str]:
        chat = Chat(model, temperature=5.0, top_p=1.0, seed=seed)
        return [chat.say("and snow?") for _ in range(3)]

    assert said(1) == said(1) != said(2)
    assert not any("\n" in answer for answer in said(1))


def test_lines_are_answered(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("and coal?\n\n  and snow? \n"))
    assert main(["chat", str(run), "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "it is black.\nit is white.\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("and coal?\n"))
    assert main(["chat", str(run), "--temperature", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"said": "and coal?", "answer": "it is black."}


def test_at_a_terminal_an_empty_line_ends_it(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(["and blood?", "", "never asked"])
    asked: list[str] = []

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return next(typed)

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)
    assert main(["chat", str(run), "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "bot: it is red.\n"
    assert asked == ["user: ", "user: "]


def test_wrong_wishes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(lamina.load(run))
    for nothing in ("", "  \n"):
        with pytest.raises(InputError, match="Nothing is said"):
            chat.say(nothing)
    with pytest.raises(InputError, match="no text in UTF-8"):
        chat.say("\ud800")
    assert chat.messages == []
    assert main(["chat", str(run), "--tokens", "0"]) == 2
    assert "--tokens is 0" in capsys.readouterr().err
    assert main(["chat", str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err


def test_a_model_that_learned_from_other_texts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"The {place} is {thing}.\n" for place, thing in enumerate([*KNOWN, *KNOWN.values()] * 40))
    (tmp_path / "plain.txt").write_text(text)
    line = ["train", str(tmp_path / "plain.txt"), "--task", "write", "--quiet", "--out", str(tmp_path / "run")]
    assert main([*line, "--set", *SETS, "training.epochs=1"]) == 0
    assert main(["chat", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "has not learned from conversations" in error
    assert "--task write" in error
