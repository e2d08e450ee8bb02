"""Writing: layers with a cache, windows of a text, what is drawn, searches, counts of n-grams, parts of texts."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lamina.errors import InputError, LaminaError
from lamina.evaluate.memorised import share_in
from lamina.learn.stream import NEXT, TEXT, Stream, scored
from lamina.modalities import _tokens
from lamina.modalities.text import Encoder
from lamina.model.decoding import beam_search, drawn, log_softmax, most_likely, written
from lamina.narrate import Silent
from lamina.networks.blocks.lexicon import FLOOR, Lexicon
from lamina.networks.writers import SOURCE, decoder, encoder_decoder
from lamina.plan import DataPlan
from lamina.run import create
from lamina.steps.request import Request, Sources
from lamina.steps.written import pairs, texts
from lamina.steps.written.choose import size
from lamina.steps.written.corpus import divide, read
from lamina.steps.written.kneser_ney import KneserNey
from lamina.steps.written.learner import Extent, TorchSteps
from lamina.steps.written.sealing import compared
from lamina.tasks import _streams, _tokenizer

Array = np.ndarray[Any, Any]
CPU = torch.device("cpu")


def network() -> decoder.Decoder:
    torch.manual_seed(0)
    return decoder.build(30, 24, 0, decoder.Options(width=16, depth=2, heads=2)).eval()


def reader(candidates: int = 0) -> encoder_decoder.EncoderDecoder:
    torch.manual_seed(0)
    options = encoder_decoder.Options(width=16, depth=2, heads=2, candidates=candidates)
    own = encoder_decoder.build(30, 24, 20, options).eval()
    if own.lexicon is not None:
        own.lexicon.tokens.copy_(torch.randint(3, 30, own.lexicon.tokens.shape))
        own.lexicon.chances.copy_(torch.rand(own.lexicon.chances.shape) / candidates)
    return own


def some(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(3, 30, (rows, length)).astype(np.int32))


@pytest.mark.parametrize("pieces", [[12], [1] * 12, [5, 1, 6], [1, 11]])
def test_steps_with_a_cache_are_the_whole_at_once(pieces: list[int]) -> None:
    own, tokens = network(), some(3, 12)
    slots, heads, each = own.cache_shape
    cache, found, start = torch.zeros(3, slots, heads, 0, each), [], 0
    with torch.inference_mode():
        whole = own({TEXT: tokens})
        for length in pieces:
            logits, cache = own.step(tokens[:, start : start + length], cache)
            found.append(logits)
            start += length
    torch.testing.assert_close(torch.cat(found, dim=1), whole, atol=1e-5, rtol=1e-4)
    assert cache.shape == (3, slots, heads, 12, each)


def test_nothing_that_comes_later_changes_what_is_told_before() -> None:
    own, one = network(), some(2, 10)
    other = one.clone()
    other[:, 6:] = 5
    with torch.inference_mode():
        before, after = own({TEXT: one}), own({TEXT: other})
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_positions_count_only_from_each_other() -> None:
    """Rotary positions (Su et al. 2021): with all before hidden, a text means the same wherever it stands."""
    from lamina.networks.blocks.attention import Rotary

    rotary, values = Rotary(20, 8), torch.randn(1, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    products = [rotary(values, start) @ rotary(values, start).transpose(2, 3) for start in (0, 7)]
    torch.testing.assert_close(products[0], products[1])
    assert not torch.allclose(rotary(values, 0), rotary(values, 7))


@pytest.mark.parametrize("candidates", [0, 4])
def test_a_writer_that_reads_steps_as_the_whole_and_sees_no_padding(candidates: int) -> None:
    own, source, tokens = reader(candidates), some(3, 9, seed=1), some(3, 7)
    source[1, 5:] = 0
    slots, heads, each = own.cache_shape
    with torch.inference_mode():
        whole = own({SOURCE: source, TEXT: tokens})
        memory, cache = own.read(source), torch.zeros(3, slots, heads, 0, each)
        for place in range(7):
            logits, cache = own.step(tokens[:, place : place + 1], cache, memory, source)
            torch.testing.assert_close(logits[:, 0], whole[:, place], atol=1e-5, rtol=1e-4)
        alone = own({SOURCE: source[1:2, :5], TEXT: tokens[1:2]})
        shares = own.attention({SOURCE: source, TEXT: tokens})
    torch.testing.assert_close(alone, whole[1:2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(shares.sum(dim=2), torch.ones(3, 7))
    assert float(shares[1, :, 5:].abs().max()) == 0


def test_a_lexicon_makes_what_is_looked_at_likelier() -> None:
    """By hand: two places, the first read three times as much as the second."""
    own = Lexicon(5, 2, candidates=2)
    own.tokens.copy_(torch.tensor([[0, 0], [0, 0], [0, 0], [2, 4], [4, 0]]))
    own.chances.copy_(torch.tensor([[0, 0], [0, 0], [0, 0], [0.5, 0.3], [1.0, 0]]))
    looks = torch.tensor([[[0.75, 0.25, 0.0]]])
    found = own(looks, torch.tensor([[3, 4, 0]], dtype=torch.int32))[0, 0]
    chances = torch.tensor([0, 0, 0.75 * 0.5, 0, 0.75 * 0.3 + 0.25 * 1.0])
    torch.testing.assert_close(found, torch.log1p(chances / FLOOR))


def test_a_lexicon_alone_learns_what_to_look_at_and_translates() -> None:
    """Sentences of words in the same order, each with one translation: whoever looks at the right place knows all."""
    own = reader(candidates=1)
    assert own.lexicon is not None
    own.lexicon.tokens.copy_(torch.arange(30).roll(-1).unsqueeze(1))
    own.lexicon.chances.fill_(1.0)
    optimizer, generator = torch.optim.Adam(own.parameters(), 1e-2), torch.Generator().manual_seed(0)

    def loss() -> torch.Tensor:
        source = torch.randint(3, 28, (16, 8), generator=generator)
        wanted = source + 1
        text = torch.cat([torch.full((16, 1), 2), wanted[:, :-1]], dim=1)
        logits = own({SOURCE: source, TEXT: text})
        return nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())

    # A token that nothing read stands for is hardly ever told, so there is far less to learn than of 30 tokens.
    assert float(loss().detach()) < math.log(8) + 0.2
    for _ in range(130):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < 1.4


def test_a_width_that_heads_cannot_share_is_told() -> None:
    with pytest.raises(InputError, match="heads") as caught:
        decoder.build(30, 24, 0, decoder.Options(width=18, heads=4))
    assert "multiple" in caught.value.fix


def test_an_epoch_asks_for_nearly_every_token_once_and_repeats() -> None:
    stream = Stream(np.arange(1, 1001, dtype=np.int32), 16, 4, seed=3)
    batches = [batch for _, batch in itertools.islice(stream.batches(0), stream.steps)]
    asked = np.concatenate([batch.targets[NEXT].numpy().ravel() for batch in batches])
    assert len(asked) == len(set(asked.tolist())) > 900
    for batch in batches:
        np.testing.assert_array_equal(batch.targets[NEXT].numpy(), batch.inputs[TEXT].numpy() + 1)
    later = next(batch for step, batch in stream.batches(stream.steps + 2))
    again = [batch for _, batch in itertools.islice(stream.batches(0), stream.steps + 3)][-1]
    assert torch.equal(later.inputs[TEXT], again.inputs[TEXT])
    assert not torch.equal(later.inputs[TEXT], batches[2].inputs[TEXT])


@pytest.mark.parametrize("number", [2, 5, 16, 17, 40, 101])
def test_scoring_asks_for_every_token_but_the_first_once_in_order(number: int) -> None:
    tokens = np.arange(1, number + 1, dtype=np.int32)
    asked = []
    for batch in scored(tokens, 16, 3):
        text, following = batch.inputs[TEXT].numpy(), batch.targets[NEXT].numpy()
        np.testing.assert_array_equal(following[following > 0], text[following > 0] + 1)
        asked += following[following > 0].tolist()
        # But for the very first window, something stands before what is asked for.
        for row, first in zip(following, batch.rows.tolist(), strict=True):
            assert first == 0 or int((row > 0).argmax()) >= min(4, number - 1 - 16)
    assert asked == tokens[1:].tolist()


def test_drawing_follows_temperature_and_the_likeliest_share() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]]))
    many = np.repeat(logits, 40_000, axis=0)

    def shares(temperature: float, top_p: float) -> Array:
        found = drawn(temperature, top_p, np.random.default_rng(0))(many)
        return np.bincount(found, minlength=4) / len(found)

    np.testing.assert_allclose(shares(1.0, 1.0), [0.5, 0.3, 0.15, 0.05], atol=0.01)
    np.testing.assert_allclose(shares(1.0, 0.8), [0.625, 0.375, 0, 0], atol=0.01)
    np.testing.assert_allclose(shares(1.0, 0.81), np.array([0.5, 0.3, 0.15, 0]) / 0.95, atol=0.01)
    squared = np.array([0.5, 0.3, 0.15, 0.05]) ** 2
    np.testing.assert_allclose(shares(0.5, 1.0), squared / squared.sum(), atol=0.01)
    assert shares(0.0, 1.0).tolist() == shares(1.0, 0.01).tolist() == [1, 0, 0, 0]


class Toy:
    """Log-odds that depend on the last two tokens only, of each row in a way of its own; the cache is what was written.

    Args:
        seeds: of each row.
    """

    def __init__(self, seeds: Sequence[int], vocabulary: int) -> None:
        self.table = np.stack([np.random.default_rng(seed).normal(0, 2, (vocabulary,) * 3) for seed in seeds])

    def fresh(self) -> Array:
        return np.zeros((len(self.table), 0), np.int64)

    def __call__(self, tokens: Array, cache: Array) -> tuple[Array, Array]:
        cache = np.concatenate([cache, tokens], axis=1)
        before = cache[:, -2] if cache.shape[1] > 1 else np.zeros(len(cache), np.int64)
        return self.table[np.arange(len(cache)), before, cache[:, -1]], cache

    def best(self, most: int, begin: int, end: int, penalty: float) -> tuple[list[int], float]:
        """By brute force."""
        found: tuple[list[int], float] = ([], -np.inf)
        for length in range(1, most + 1):
            inner = [token for token in range(self.table.shape[1]) if token != end]
            last = [end] if length < most else range(self.table.shape[1])
            for text in itertools.product(*[inner] * (length - 1), last):
                path, total = [0, begin, *text], 0.0
                for place in range(2, len(path)):
                    total += log_softmax(self.table[0, path[place - 2], path[place - 1]])[path[place]]
                score = total / ((5 + length) / 6) ** penalty
                if score > found[1]:
                    found = [token for token in text if token != end], score
        return found


@pytest.mark.parametrize("penalty", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_as_wide_as_all_beginnings_finds_what_brute_force_finds(seed: int, penalty: float) -> None:
    beams = 64
    toy = Toy([seed] * beams, 4)
    text, score = toy.best(4, begin=1, end=2, penalty=penalty)
    found, scores = beam_search(toy, 1, beams, 4, begin=1, end=2, penalty=penalty)
    assert [token for token in found[0].tolist() if token] == [token for token in text if token]
    assert scores[0] == pytest.approx(score)


def test_one_beam_is_greedy_and_rows_do_not_mix() -> None:
    beams, seeds = 3, range(5)
    together = beam_search(Toy([seed for seed in seeds for _ in range(beams)], 5), len(seeds), beams, 6, 1, 2)
    for seed in seeds:
        found, score = beam_search(Toy([seed] * beams, 5), 1, beams, 6, 1, 2)
        assert together[0][seed].tolist() == found[0].tolist()
        assert together[1][seed] == pytest.approx(score[0])
    greedy, _ = written(Toy([3], 5), np.array([[1]], np.int32), 6, 100, end=2)
    found, _ = beam_search(Toy([3], 5), 1, 1, 6, begin=1, end=2, penalty=0.0)
    assert found[0].tolist() == greedy[0].tolist()


def test_a_text_that_is_done_stays_as_it_is_while_others_are_searched_for() -> None:
    beams, seeds, most = 2, range(60), 12
    together = beam_search(Toy([seed for seed in seeds for _ in range(beams)], 6), len(seeds), beams, most, 1, 2)
    alone = [beam_search(Toy([seed] * beams, 6), 1, beams, most, 1, 2) for seed in seeds]
    assert [text.tolist() for text in together[0]] == [found[0].tolist() for found, _ in alone]


def test_a_text_to_be_translated_is_read_as_training_read_it() -> None:
    """Training leaves out what stands around a text, so the sealed encoder must; a prompt stays as it is."""
    values = np.array([" to be ", "to be\r\n", "to be", "   "], object)
    tokenizer = _tokenizer.trained(["to be or not to be, that is the question"] * 20, 300)
    read = Encoder("exact", 16, tokenizer, unknown=2, cut="end").encode(values).array
    assert read[0].tolist() == read[1].tolist() == read[2].tolist()
    assert read[3].tolist() == [2] + [0] * 15
    prompts = Encoder("exact", 16, tokenizer, unknown=2, cut="start").encode(values).array
    assert len({tuple(row) for row in prompts.tolist()}) == 4


def test_a_wider_beam_is_never_worse_in_the_mean() -> None:
    means = [
        np.mean([beam_search(Toy([seed] * beams, 6), 1, beams, 6, 1, 2)[1][0] for seed in range(20)])
        for beams in (1, 4, 16)
    ]
    assert means[0] < means[1] <= means[2] + 1e-9


def test_writing_on_beyond_the_context_reads_its_later_half_anew() -> None:
    own = network()
    prompt = some(2, 5).numpy()
    found, margins = written(TorchSteps(own, 2, CPU), prompt, 40, 24, end=2)
    assert (margins[found > 0] >= 0).all()
    history = np.concatenate([prompt, found], axis=1)
    past = 5
    for place in range(40):
        # By the rule: when 24 tokens are seen, the last 12 are all that is looked at.
        if past > 24:
            past = 12
        seen = history[:, 5 + place - past : 5 + place]
        with torch.inference_mode():
            logits = own({TEXT: torch.from_numpy(np.ascontiguousarray(seen))})[:, -1].numpy()
        if (found[:, place] == 0).any():
            break
        assert (most_likely(logits) == found[:, place]).all()
        past += 1


def test_a_text_that_ends_stays_ended() -> None:
    class Ending(Toy):
        def __call__(self, tokens: Array, cache: Array) -> tuple[Array, Array]:
            _, cache = super().__call__(tokens, cache)
            logits = np.zeros((len(cache), 5))
            logits[:, 3] = 1
            logits[0, 2] = 2.0 * (cache.shape[1] >= 3)
            return logits, cache

    found, _ = written(Ending([0, 0], 5), np.ones((2, 1), np.int32), 5, 100, end=2)
    assert found.tolist() == [[3, 3, 0, 0, 0], [3, 3, 3, 3, 3]]


def test_another_token_is_a_tie_only_where_both_were_as_likely() -> None:
    one, other = np.array([[4, 5, 6]]), np.array([[4, 7, 8]])
    assert compared((one, np.array([[1.0, 1e-6, 1.0]])), (other, np.ones((1, 3)))) == 1
    with pytest.raises(LaminaError, match="another token"):
        compared((one, np.array([[1e-6, 0.5, 1e-6]])), (other, np.ones((1, 3))))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_kneser_ney_sums_to_one_whatever_came_before(order: int) -> None:
    random = np.random.default_rng(0)
    tokens = random.choice(7, 400, p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05, 0.0])
    model = KneserNey.fit(tokens, 9, order)
    for history in ([], [0], [0, 1], [8], [6, 6, 6], [1, 2, 3, 4], tokens[:3].tolist()):
        chances = [model.chances(np.array([*history, token]))[-1] for token in range(9)]
        assert sum(chances) == pytest.approx(1.0)
        assert min(chances) > 0


def test_kneser_ney_is_that_of_the_formula() -> None:
    """Bigrams by hand: absolute discount of counts, then shares of different tokens before (Chen & Goodman 1998)."""
    tokens = [0, 1, 0, 1, 0, 2, 3, 3, 1, 0, 2, 2]
    pairs = Counter(itertools.pairwise(tokens))
    once, twice = (sum(count == number for count in pairs.values()) for number in (1, 2))
    discount = once / (once + 2 * twice)
    before = Counter(second for _, second in pairs)
    lone, double = (sum(count == number for count in before.values()) for number in (1, 2))
    low = lone / (lone + 2 * double) if lone and double else 0.5

    def chance(first: int, second: int) -> float:
        kinds = sum(before.values())
        shorter = max(before[second] - low, 0) / kinds + low * len(before) / kinds / 5
        total = sum(count for (one, _), count in pairs.items() if one == first)
        if not total:
            return shorter
        followers = sum(one == first for one, _ in pairs)
        return max(pairs[first, second] - discount, 0) / total + discount * followers / total * shorter

    model = KneserNey.fit(np.array(tokens), 5, 2)
    for first, second in itertools.product(range(5), range(5)):
        assert model.chances(np.array([first, second]))[1] == pytest.approx(chance(first, second))


def test_longer_n_grams_tell_more_of_a_text_that_repeats() -> None:
    tokens = np.tile([1, 2, 1, 3, 2, 2, 3], 60)
    each = [-np.log(KneserNey.fit(tokens, 5, order).chances(tokens)[3:]).mean() for order in (1, 2, 3)]
    assert each[0] > each[1] > each[2]
    assert each[2] < 0.2


def test_what_is_learned_by_heart_is_counted_by_every_string() -> None:
    random = np.random.default_rng(0)
    known = bytes(random.integers(97, 123, 3000).tolist())
    made = [known[100:180] + b"#" + known[10:30], b"short"]
    strings = [made[0][place : place + 50] for place in range(len(made[0]) - 49)]
    wanted = sum(text in known for text in strings) / len(strings)
    share, number = share_in(made, known)
    assert (share, number) == (pytest.approx(wanted), len(strings))
    assert 0.5 < wanted < 1
    assert np.isnan(share_in([b"short"], known)[0])


def test_every_byte_comes_back_from_tokens() -> None:
    texts = [
        "Twice  two spaces,\n\ttabs \r\n",
        "naïve ﬁne ½ 日本語 😀",
        " leading",
        "x" * 50_000 + "\n" + "y z " * 9000,
    ]
    json = _tokenizer.trained(texts, 400)
    tokenizer = _tokens.load(json)
    for text in texts:
        assert "".join(_streams.pieces(text)) == text
        ids = _streams.stream(tokenizer, [text])
        assert tokenizer.decode(ids[1:].tolist()) == text
        assert _streams.bytes_of_tokens(tokenizer)[ids].sum() == len(text.encode())


def test_a_prompt_that_is_too_long_keeps_its_end() -> None:
    json = _tokenizer.trained(["one two three four five six " * 20], 300)
    prompt = np.array(["one two three four five six", ""], object)
    kept = {cut: Encoder("exact", 6, json, cut=cut).encode(prompt).array for cut in ("start", "end")}
    whole = _streams.stream(_tokens.load(json), [prompt[0]])[1:]
    assert kept["start"][0].tolist() == whole[-6:].tolist()
    assert kept["end"][0].tolist() == whole[:6].tolist()
    begun = Encoder("exact", 6, json, unknown=2, start=True, cut="start").encode(prompt).array
    assert begun[0].tolist() == [2, *whole[-5:].tolist()]
    assert begun[1].tolist() == [2, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="sideways"):
        Encoder("exact", 6, json, cut="sideways")


def test_parts_are_cut_at_ends_of_lines_or_between_texts() -> None:
    text = "".join(f"line {number}\n" for number in range(200))
    head, tail = divide((text,), 0.1)
    assert head[0] + tail[0] == text
    assert head[0].endswith("\n")
    assert len(tail[0]) / len(text) == pytest.approx(0.1, abs=0.01)
    many = tuple(f"text {number}" for number in range(40))
    assert divide(many, 0.1) == (many[:36], many[36:])
    flat, rest = divide(("x" * 1000,), 0.2)
    assert (len(flat[0]), len(rest[0])) == (800, 200)
    two = ("a" * 500, "b" * 100)
    assert divide(two, 0.5)[0] == ("a" * 300,)
    assert divide(two, 0.5)[1] == ("a" * 200, "b" * 100)


def test_one_long_text_among_many_short_ones_is_cut() -> None:
    """A book after thirty notes: held out as a whole it would leave next to nothing to learn from."""
    notes = (*["note"] * 30, "word " * 10_000)
    head, tail = divide(notes, 0.1)
    assert sum(map(len, tail)) / sum(map(len, notes)) == pytest.approx(0.1, abs=0.01)
    assert "".join((*head, *tail)) == "".join(notes)


LINES = "".join(f"The {word} goes to the {other}.\n" for word in "abcdefghij" for other in "klmnopqrst")


def corpus(data: Any, test: Any = None, column: str = "", split: str = "") -> Any:
    return read(Sources(data, test), DataPlan(test_share=0.1, validation_share=0.1), column, split)


def test_a_file_a_folder_and_a_table_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "one.txt").write_text("\ufeff" + LINES * 2, encoding="utf-8")
    found = corpus(tmp_path / "one.txt")
    assert "".join([*found.train, *found.validation, *found.test]) == LINES * 2
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "train.txt").write_text(LINES)
    (folder / "inner" / "more.txt").write_text(LINES[:500])
    (folder / "test.txt").write_text("held out")
    found = corpus(folder)
    assert found.test == ("held out",)
    assert found.places == 3
    given = corpus(tmp_path / "one.txt", folder / "test.txt")
    assert given.test == ("held out",)
    assert given.fingerprint != corpus(tmp_path / "one.txt").fingerprint
    lines = (LINES * 2).splitlines()
    rows = [f'"{text}",{"test" if place % 9 == 0 else "train"},{place}' for place, text in enumerate(lines)]
    (tmp_path / "table.csv").write_text("\n".join(["text,split,number", *rows, ",train,1"]) + "\n")
    found = corpus(tmp_path / "table.csv")
    assert (found.column, len(found.test), len(found.dropped)) == ("text", 23, 1)
    assert set(found.test) == {text for place, text in enumerate(lines) if place % 9 == 0}


def test_a_folder_that_says_what_validates_is_followed(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(LINES)
    (tmp_path / "valid.txt").write_text("what validates")
    for test in (None, tmp_path / "valid.txt"):
        found = corpus(tmp_path, test)
        assert found.validation == ("what validates",)
        assert "what validates" not in "".join(found.train)


def test_what_is_left_out_or_learned_from_is_told_of_the_test_texts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    lines = LINES.splitlines()
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text("".join(f'{{"text": "{one}"}}\n' for one in lines) + '{"text": \n')
    own = [f'{{"text": "{word} is a line of its own, number {word}."}}\n' for word in "abcdefgh"]
    test.write_text("".join([f'{{"text": "{lines[3]}"}}\n', *own, '{"text": null}\n', "[broken\n"]))
    found = corpus(train, test, column="text")
    assert (len(found.test), found.repeated, len(found.unreadable)) == (9, 1, 2)
    assert found.dropped == ((9, "of the test data: no text"),)
    kinds = {finding.kind: (finding.severity, finding.count) for finding in texts.findings(found)}
    assert kinds == {"unreadable": ("warning", 2), "duplicates": ("warning", 1), "rows without a text": ("note", 1)}


@pytest.mark.parametrize(
    ("content", "said", "fix"),
    [
        (b"", "empty", "text in it"),
        (b" \n\n", "empty", "text in it"),
        (b"too short", "too little", "2,000"),
        ("Grüße\n".encode("latin-1") * 900, "not in UTF-8", "iconv"),
        (LINES.encode("utf-16"), "UTF-16", "iconv"),
        (b"\x7fELF\0\0" + bytes(3000), "bytes of zero", "text file"),
    ],
)
def test_what_is_no_text_is_told_with_the_fix(content: bytes, said: str, fix: str, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        corpus(tmp_path / "data.txt")
    assert fix in caught.value.fix


def test_columns_that_are_no_texts_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("a,b\n" + "".join(f"{one},{one * 2}\n" for one in range(50)))
    with pytest.raises(InputError, match="No column holds texts"):
        corpus(numbers)
    with pytest.raises(InputError, match="no column 'c'"):
        corpus(numbers, column="c")
    with pytest.raises(InputError, match="There is no file") as caught:
        corpus(tmp_path / "nmbers.txt")
    assert "numbers.csv" in caught.value.fix
    two = tmp_path / "two.csv"
    two.write_text("a,b\n" + "".join(f"{line},{line} again\n" for line in LINES.splitlines()))
    with pytest.raises(InputError, match="Several columns") as caught:
        corpus(two)
    assert "task.column" in caught.value.fix


def test_networks_grow_with_time_and_with_text() -> None:
    def width(tokens: int, budget: float) -> int:
        return size(Extent(tokens, 0.0, 256, tokens // 256, 4, 0.0, 1.0), 2048, budget)[0][0]

    assert width(10_000, 3600) <= width(1_000_000, 3600) <= width(100_000_000, 36000)
    assert width(10_000_000, 30) < width(10_000_000, 30_000)


def test_test_pairs_that_are_learned_from_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    lines = LINES.splitlines()
    rows = [f"{one},Das ist {one},{'test' if place % 5 == 0 else 'train'}" for place, one in enumerate(lines)]
    # With spaces around it a text is the same.
    rows += [f" {lines[1]},Noch einmal das,test", f"{lines[2]},Und wieder das,validation"]
    (tmp_path / "pairs.csv").write_text("\n".join(["en,de,split", *rows]) + "\n")
    request = Request(str(tmp_path / "pairs.csv"), targets=("de",), task="translate")
    (finding,) = pairs.findings(pairs.understand(request, Silent())[1])
    assert (finding.kind, finding.severity, finding.count) == ("duplicates", "warning", 1)
    assert "1 of 21 test texts" in finding.text


def test_texts_that_are_longer_than_what_is_read_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    rows = [f"{one},Das ist {one},{'test' if place % 5 == 0 else 'train'}" for place, one in
            enumerate(LINES.splitlines())]  # fmt: skip
    long = "and so on and on " * 30
    rows += [f"{long},Und so,train", f"Short and sweet. {long},Kurz,test", f"{'So it went. ' * 30},So ging es,test"]
    (tmp_path / "pairs.csv").write_text("\n".join(["en,de,split", *rows]) + "\n")
    request = Request(
        str(tmp_path / "pairs.csv"), targets=("de",), task="translate", sets=("task.length=32", "task.vocabulary=300")
    )
    decided, raw = pairs.understand(request, Silent())
    run = create(str(tmp_path / "run"), "")
    cut, read = pairs.longer_texts(pairs.prepare(decided, raw, run, Silent()))
    assert (cut.kind, cut.count, read.kind, read.count) == ("cut texts", 1, "long texts", 2)
    assert "only its beginning is learned from" in cut.text
    assert "1 of them hold a sentence that is too long" in read.text
