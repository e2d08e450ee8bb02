"""From sounds to texts: edit distances, n-grams, the search, alignment, the task."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lamina.baselines import BaselineFeatures, Block
from lamina.baselines._run import compare
from lamina.data.schema import Field
from lamina.errors import InputError
from lamina.modalities.audio import Encoder
from lamina.networks import Steps
from lamina.networks.heads.steps import Options, build
from lamina.tasks import Layout, _ngrams
from lamina.tasks._ctc import BLANK, PADDING, Weights, align, beam_search, certain_of, greedy, lengths, needed
from lamina.tasks._edits import edit_distances, edits
from lamina.tasks._language import best_weights, texts_of
from lamina.tasks._ngrams import BEGIN, Ngrams
from lamina.tasks._transcripts import as_symbols, as_texts, normalised
from lamina.tasks.transcribe import Task

TEXTS = ["press one", "press two", "one two one", "stop", "press stop now"]


def log_chances(steps: int, symbols: int, seed: int, sharp: float = 1.0) -> np.ndarray:
    """[step, symbol] of some network."""
    logits = sharp * np.random.default_rng(seed).normal(size=(steps, symbols))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    """The text of a path, by definition: repeats merged, then blanks dropped."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK)


def chances_of_texts(chances: np.ndarray) -> dict[tuple[int, ...], float]:
    """Every text's chance, by adding up all paths one by one."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(chances.shape[1]), repeat=len(chances)):
        text = collapsed(path)
        found[text] = found.get(text, 0.0) + math.exp(sum(chances[step, symbol] for step, symbol in enumerate(path)))
    return found


@pytest.mark.parametrize(
    ("truth", "answer", "distance"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("abc", "abc", 0)],
)
def test_edit_distances_by_hand(truth: str, answer: str, distance: int) -> None:
    assert edit_distances([truth], [answer]).tolist() == [distance]


def test_edit_distances_of_many_rows_are_those_of_each_and_count_the_edits() -> None:
    generator = np.random.default_rng(0)
    texts = ["".join(generator.choice(list("abc"), generator.integers(0, 9))) for _ in range(60)]
    together = edit_distances(texts[:30], texts[30:])
    for truth, answer, distance in zip(texts[:30], texts[30:], together, strict=True):
        assert edit_distances([truth], [answer])[0] == distance
        ways = edits(list(truth), list(answer))
        assert sum(kind != "same" for kind, _, _ in ways) == distance
        assert "".join(word for _, word, _ in ways) == truth
        assert "".join(word for _, _, word in ways) == answer


def test_chances_of_what_follows_sum_to_one_after_every_context() -> None:
    ngrams = Ngrams.fit(TEXTS, "".join(sorted(set("".join(TEXTS)))), 4)
    for context in ("", "p", "pre", "one t", "zzz", "xpress"):
        assert np.exp(ngrams.after(ngrams.context(context))).sum() == pytest.approx(1.0)
    assert ngrams.log_chance("press two") > ngrams.log_chance("sserp owt")
    assert Ngrams.restore(json.loads(json.dumps(ngrams.state()))).log_chance("stop one") == ngrams.log_chance(
        "stop one"
    )


def test_kneser_ney_by_hand() -> None:
    # Bigrams of "ab", "ab", "b": ^a 2, ab 2, b$ 3, ^b 1. Seen once: 1, seen twice: 2, so the discount is 1 / 5.
    ngrams = Ngrams.fit(["ab", "ab", "b"], "ab", 2)
    # Contexts before a: {^}; before b: {a, ^}; before the end: {b}. Once: 2, twice: 1, so the discount is 2 / 4.
    lower = {"a": (1 - 0.5) / 4, "b": (2 - 0.5) / 4, "$": (1 - 0.5) / 4}
    lower = {name: chance + 0.5 * 3 / 4 / 3 for name, chance in lower.items()}
    expected = {"a": (2 - 0.2) / 3, "b": (1 - 0.2) / 3, "$": 0.0}
    expected = {name: chance + 0.2 * 2 / 3 * lower[name] for name, chance in expected.items()}
    assert np.exp(ngrams.after(BEGIN)) == pytest.approx(list(expected.values()))


def test_damaged_ngrams_are_refused() -> None:
    state = Ngrams.fit(["ab"], "ab", 2).state()
    for change in ({"order": 3}, {"order": 99}, {"counts": [-1] * 3}, {"grams": "qq" * 3}):
        with pytest.raises(ValueError, match="damaged"):
            Ngrams.restore({**state, **change})


@pytest.mark.parametrize("seed", range(5))
def test_search_finds_the_text_with_the_highest_sum_over_all_paths(seed: int) -> None:
    chances = log_chances(5, 4, seed)
    every = chances_of_texts(chances)
    found = beam_search(chances, 1000, least=-math.inf)
    assert {item.symbols for item in found} == set(every)
    for item in found:
        assert math.exp(item.sound) == pytest.approx(every[item.symbols], rel=1e-5)
    assert found[0].symbols == max(every, key=every.__getitem__)
    best = greedy(chances[None])[0]
    assert found[0].sound >= math.log(every[tuple(best)]) - 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_search_with_a_language_model_finds_the_highest_score(seed: int) -> None:
    chances, ngrams, weights = log_chances(5, 4, seed), Ngrams.fit(["abc", "cab", "aab"], "abc", 3), Weights(0.7, 0.5)
    every = {
        text: math.log(chance)
        + 0.7 * ngrams.log_chance("".join("abc"[symbol - 1] for symbol in text))
        + 0.5 * len(text)
        for text, chance in chances_of_texts(chances).items()
    }
    found = beam_search(chances, 1000, ngrams, weights, least=-math.inf)
    assert found[0].symbols == max(every, key=every.__getitem__)
    assert found[0].score(weights) == pytest.approx(max(every.values()), rel=1e-5)


def textbook_search(chances: np.ndarray, width: int) -> tuple[tuple[int, ...], float]:
    """Algorithm 1 of Hannun et al. 2014 as it is written down, without a language model and with nothing left out."""
    beams = {(): (1.0, 0.0)}
    for step in np.exp(chances.astype(np.float64)):
        after: dict[tuple[int, ...], list[float]] = {}
        for text, (blank, other) in beams.items():
            after.setdefault(text, [0.0, 0.0])[0] += step[BLANK] * (blank + other)
            for symbol in range(1, len(step)):
                if text and symbol == text[-1]:
                    after.setdefault(text, [0.0, 0.0])[1] += step[symbol] * other
                    after.setdefault((*text, symbol), [0.0, 0.0])[1] += step[symbol] * blank
                else:
                    after.setdefault((*text, symbol), [0.0, 0.0])[1] += step[symbol] * (blank + other)
        ranked = sorted(after.items(), key=lambda item: -sum(item[1]))[:width]
        beams = {text: (ends[0], ends[1]) for text, ends in ranked}
    best = max(beams, key=lambda text: sum(beams[text]))
    return best, sum(beams[best])


@pytest.mark.parametrize("seed", range(8))
def test_a_narrow_search_keeps_every_path_to_what_it_keeps(seed: int) -> None:
    chances = log_chances(25, 6, seed, sharp=2.5)
    text, chance = textbook_search(chances, 6)
    found = beam_search(chances, 6, least=-math.inf)[0]
    assert found.symbols == text
    assert found.sound == pytest.approx(math.log(chance), abs=1e-6)


def test_greedy_merges_repeats_and_keeps_those_with_a_blank_between() -> None:
    path = [1, 1, 0, 1, 2, 2, 0, 0, 3]
    chances = np.full((1, 9, 4), -5.0)
    chances[0, np.arange(9), path] = 0.0
    assert greedy(chances) == [[1, 1, 2, 3]]


def test_a_certain_text_is_read_back_in_every_way() -> None:
    ngrams = Ngrams.fit(["hello"], "ehlo", 3)
    symbols = [2, 1, 3, 3, 4]
    chances = certain_of(symbols, 9, 5)
    assert needed(symbols) == 6
    assert greedy(chances[None]) == [symbols]
    assert beam_search(chances, 4, ngrams, Weights(0.5, 1.0))[0].symbols == tuple(symbols)
    with pytest.raises(ValueError, match="does not fit"):
        certain_of(symbols, 5, 5)


@pytest.mark.parametrize("seed", range(4))
def test_alignment_is_the_most_likely_path(seed: int) -> None:
    chances, symbols = log_chances(6, 3, seed), [1, 1, 2]
    paths = [path for path in itertools.product(range(3), repeat=6) if collapsed(path) == tuple(symbols)]
    best = max(paths, key=lambda path: sum(chances[step, symbol] for step, symbol in enumerate(path)))
    runs, at = [], 0
    for symbol, items in itertools.groupby(best):
        length = len(list(items))
        if symbol != BLANK:
            runs.append((at, at + length))
        at += length
    assert align(chances, symbols) == runs


def test_texts_are_brought_to_one_spelling() -> None:
    assert normalised(" It’s LC-10, isn't it?\n'Yes'") == "it's lc 10 isn't it yes"
    assert normalised("Cafe\u0301 — 3 €") == "café 3"
    hidden = "\ufeffze\u00adbra \u0645\u06cc\u200c\u0631\u0648\u0645"
    assert normalised(hidden) == normalised(hidden, punctuation="keep") == "zebra \u0645\u06cc\u0631\u0648\u0645"
    assert normalised("A b!", case="keep", punctuation="keep") == "A b!"
    assert normalised(None) == normalised("...") == normalised("\x02\x03") == ""
    symbols = as_symbols(["ab?", ""], "ab", 4)
    assert symbols.tolist() == [[1, 2, 3, -1], [-1, -1, -1, -1]]
    assert as_texts(symbols.tolist(), "ab").tolist() == ["ab\ufffd", ""]


def encoder(seconds: float = 1.0) -> Encoder:
    """Of sounds of so many seconds."""
    return Encoder(16_000, seconds, 8, "keep", (0.0,) * 8, (1.0,) * 8)


def fitted(texts: list[str], seconds: float = 1.0, **options: object) -> Task:
    field = Field("text", "text", "target")
    return Task.fit(field, lambda: iter([np.array(texts, dtype=object)]), options, {"sound": encoder(seconds)})


def outputs_of(task: Task, texts: list[str]) -> np.ndarray:
    """The outputs of a network that is certain of these texts."""
    steps, count = task.layout.shape
    rows = [[task.characters.index(letter) + 1 for letter in text] for text in texts]
    return np.stack([certain_of(row, steps, count).ravel() for row in rows])


def test_error_rates_are_those_of_the_corpus_by_hand() -> None:
    task = fitted(TEXTS)
    target = task.encode(np.array(["press one", "stop"], dtype=object)).array
    scores = task.scores(outputs_of(task, ["press two", "stop one"]), target)
    # One word changed and one added of three; three letters changed and four added of 13.
    assert scores["word_error"].value == pytest.approx(2 / 3)
    assert scores["character_error"].value == pytest.approx(7 / 13)
    assert scores["exact_match"].value == 0
    assert list(scores) == ["word_error", "character_error", "exact_match"]
    assert not scores["word_error"].higher_is_better
    # The second row counted twice: 1 + 2 edits of 2 + 2 words.
    scorer = task.scorer(outputs_of(task, ["press two", "stop one"]), target, "word_error")
    assert scorer(np.array([[1.0, 2.0]]))["word_error"] == pytest.approx([3 / 4])


def test_loss_is_minus_the_log_of_the_sum_over_all_paths() -> None:
    task = replace(fitted(["ab", "ba"]), steps=5)
    chances = log_chances(5, 3, 1)
    every = chances_of_texts(chances)
    target = torch.tensor([[1, 2, -1, -1, -1], [1, 1, -1, -1, -1]])
    output = torch.from_numpy(chances).flatten().expand(2, 1, -1)
    expected = [-math.log(every[1, 2]) / 2, -math.log(every[1, 1]) / 2]
    assert task.loss(output, target, {}).tolist() == pytest.approx(expected, rel=1e-4)


def test_loss_of_a_sound_does_not_depend_on_its_padding_and_stays_finite_where_it_is_too_short() -> None:
    task = replace(fitted(["ab", "ba"]), steps=8)
    heard = log_chances(4, 3, 2)
    padding = np.tile([0.0, PADDING, PADDING], (4, 1)).astype(np.float32)
    shorter = replace(task, steps=4)
    target = torch.tensor([[2, 1, -1, -1]])
    plain = shorter.loss(torch.from_numpy(heard).flatten()[None, None], target, {})
    whole = np.concatenate([heard, padding])
    assert lengths(whole[None]).tolist() == [4]
    padded = task.loss(torch.from_numpy(whole).flatten()[None, None], target, {})
    assert torch.allclose(plain, padded)
    long = torch.tensor([[1, 1, 1, 2, -1]])
    output = torch.from_numpy(whole).flatten()[None, None].requires_grad_()
    found = task.loss(output, long, {})
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()


def test_texts_that_cannot_be_learned_are_errors_of_their_rows() -> None:
    task = fitted(TEXTS, seconds=0.5)
    encoded = task.encode(np.array(["stop", "...", None, "one " * 20, "zap"], dtype=object))
    assert sorted(encoded.errors) == [1, 2, 3]
    assert "there is no text" in encoded.errors[1]
    assert "steps" in encoded.errors[3]
    assert task.unknown(encoded.array[4:]) == 2
    samples = {"sound": np.array([np.zeros(length, np.float32) for length in (8000, 1400)] + [None, b"", "?"], object)}
    found = task.encode(np.array(["stop"] * 5, dtype=object), None, {"sound": samples["sound"]})
    # Of the second sound there are two steps; the others cannot be read, which their own encoder says.
    assert list(found.errors) == [1]
    assert "longer than its sound: it needs 4 steps of 40 ms, and there are 2" in found.errors[1]
    assert any("lower case, without punctuation" in sentence for sentence in task.stated())


def test_the_report_plays_sounds_with_marked_differences() -> None:
    task = fitted(TEXTS)
    target = task.encode(np.array(["press one", "stop it"], dtype=object)).array
    one, other, strange = task.sights(outputs_of(task, ["dress one now".replace("d", "t"), "stop"]), target, dict)
    assert one.lines == ("Said: press one", "Understood: [press → tress] one [+ now]")
    assert other.lines[1] == "Understood: stop [− \ufffdt]"
    assert (one.rows, other.rows) == ((0,), (1,))
    assert strange.text.startswith("1 characters")


def test_the_language_model_is_used_where_it_makes_fewer_errors() -> None:
    task = fitted([*TEXTS, "a b c d e f g"])
    wanted = ["press one", "press two", "one two one", "stop"] * 8
    target = task.encode(np.array(wanted, dtype=object)).array
    output = outputs_of(task, wanted).reshape(len(wanted), *task.layout.shape).copy()
    # The network hears an "a" a little more clearly than each "o" in every other row.
    first, other = (task.characters.index(letter) + 1 for letter in "oa")
    unsure = output[::2]
    where = unsure[:, :, first] == 0.0
    unsure[:, :, first][where], unsure[:, :, other][where] = math.log(0.45), math.log(0.55)
    output = output.reshape(len(wanted), -1)
    assert task.scores(output, target)["word_error"].value > 0.3
    calibrated = task.calibrated(output, target)
    assert calibrated.weights is not None
    assert calibrated.scores(output, target)["word_error"].value == 0
    assert Task.restore(json.loads(json.dumps(calibrated.state()))).answers(output).tolist() == wanted
    # Nothing is gained where the most likely path is right: it is kept.
    assert task.calibrated(outputs_of(task, wanted), target).weights is None
    shaped = output.reshape(len(wanted), *task.layout.shape)
    assert best_weights(shaped, wanted, task.characters, 12, None) is None
    assert texts_of(shaped[1:2], task.characters, 12, None, None).tolist() == ["press two"]


def test_words_have_times() -> None:
    task = fitted(TEXTS)
    [times] = task.decode(outputs_of(task, ["one two"]))[".times"]
    assert json.loads(times) == [
        {"word": "one", "start": 0.0, "end": 0.12},
        {"word": "two", "start": 0.16, "end": 0.28},
    ]
    silence = task.decode(outputs_of(task, [""]))
    assert (silence[""].tolist(), silence[".times"].tolist()) == ([""], ["[]"])


def test_answers_agree_where_only_rounding_differs() -> None:
    task = fitted(TEXTS)
    output = outputs_of(task, ["one", "two"])
    assert task.agreement(output, output + 1e-6).holds
    assert not task.agreement(output, outputs_of(task, ["one", "one"])).holds
    assert task.described(output[0], task.encode(np.array(["two"], dtype=object)).array[0]) == ("two", "one")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": ["...", ""]}, "None of the training rows has a text"),
        ({"modality": "number"}, "numbers only"),
        ({"inputs": {}}, "there is none"),
        ({"inputs": {"a": encoder(), "b": encoder()}}, "there are 2: a, b"),
        ({"options": {"beem": 3}}, "no option"),
        ({"options": {"beam": 0}}, "whole number from 1"),
        ({"options": {"case": "upper"}}, "'upper'"),
    ],
)
def test_what_cannot_be_learned_is_refused_with_a_fix(change: dict, message: str) -> None:
    given = {"texts": TEXTS, "modality": "text", "inputs": {"sound": encoder()}, "options": {}, **change}
    field = Field("text", given["modality"], "target")
    with pytest.raises(InputError, match=message) as error:
        Task.fit(field, lambda: iter([np.array(given["texts"], dtype=object)]), given["options"], given["inputs"])
    assert error.value.fix


def test_baselines_answer_with_whole_texts() -> None:
    task = fitted([*TEXTS, "stop"])
    target = task.encode(np.array([*TEXTS, "stop"], dtype=object)).array
    near = np.arange(6 * 4, dtype=np.float32).reshape(6, 4)
    train = BaselineFeatures((Block("sound", "media", near, raw=near),), 6)
    asked = train.take(np.array([1, 4]))
    found = compare(task, {"spectrogram"}, (train, target), (train, target), asked)
    answers = {item.name: task.answers(item.output).tolist() for item in found}
    assert answers == {"always the same answer": ["stop", "stop"], "nearest neighbors": ["press two", "press stop now"]}


@dataclass(frozen=True)
class Sequenced:
    """What the head asks of a network."""

    steps: Steps


def test_the_head_gives_chances_that_sum_to_one_and_certain_blanks_at_padding() -> None:
    layout = Layout("steps", (6, 4))
    torch.manual_seed(0)
    head = build(layout, Sequenced(Steps(8, 6, 4)), Options()).eval()
    values = torch.randn(3, 6, 8)
    values[1, 4:] = 0
    found = head(values)
    assert found.shape == (3, 1, layout.size)
    chances = found.unflatten(2, layout.shape).squeeze(1)
    assert torch.allclose(chances.exp().sum(dim=2), torch.ones(3, 6))
    assert chances[1, 4:].tolist() == [[0.0, PADDING, PADDING, PADDING]] * 2
    assert lengths(chances.detach().numpy()).tolist() == [6, 4, 6]
    with pytest.raises(InputError, match="gives 5 steps") as error:
        build(layout, Sequenced(Steps(8, 5, 4)), Options())
    assert "halvings" in error.value.fix


def test_a_file_of_texts_is_counted_as_well(tmp_path: Path) -> None:
    file = tmp_path / "domain.txt"
    file.write_text("One TWO press; stop!\n\n  press press\nžluťoučký kůň\n", encoding="utf-8")
    plain, more = fitted(TEXTS), fitted(TEXTS, text=str(file))
    assert plain.ngrams is not None
    assert more.ngrams is not None
    assert more.lines == (2, 1)
    assert more.characters == plain.characters
    assert more.ngrams == Ngrams.fit([*TEXTS, "one two press stop", "press press"], plain.characters, 5)
    assert more.ngrams.log_chance("press press") > plain.ngrams.log_chance("press press")
    assert "2 lines" in more.stated()[0]
    assert Task.restore(json.loads(json.dumps(more.state()))) == more
    old = {name: value for name, value in plain.state().items() if name != "lines"}
    assert Task.restore(old) == plain
    file.write_text("žluťoučký kůň\n", encoding="utf-8")
    for wrong in ({"text": str(file)}, {"text": str(tmp_path / "no.txt")}, {"text": 3}, {"text": str(file), "beam": 1}):
        with pytest.raises(InputError) as error:
            fitted(TEXTS, **wrong)
        assert error.value.fix


def test_of_too_many_ngrams_the_rarest_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, characters = ["abab"] * 3 + ["baba"] * 2 + ["bbaa"], "ab"
    whole = Ngrams.fit(texts, characters, 3)
    monkeypatch.setattr(_ngrams, "MOST_GRAMS", len(whole.counts) - 1)
    some = Ngrams.fit(texts, characters, 3)
    assert some.order == 3
    assert some.counts == tuple(count for count in whole.counts if count >= 2)
    for context in ("", "a", "ab", "bb"):
        assert np.exp(some.after(some.context(context))).sum() == pytest.approx(1.0)
    monkeypatch.setattr(_ngrams, "MOST_GRAMS", 2)
    assert Ngrams.fit(texts, characters, 3).order == 1
