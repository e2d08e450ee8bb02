"""BLEU and chrF beside values worked out by hand, and the table of words that EM finds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lamina.evaluate.translation import bleu, bleu_sums, chrf, chrf_sums, scorer, words
from lamina.steps.written.alignment import learned
from lamina.steps.written.word_table import WordTable, commonest


def test_words_are_those_of_mteval() -> None:
    assert words('He said: "3,000.5 (or 2-3)?"') == [
        "He", "said", ":", '"', "3,000.5", "(", "or", "2", "-", "3", ")", "?", '"',
    ]  # fmt: skip
    assert words("end. e.g. a-b don't €5") == ["end", ".", "e", ".", "g", ".", "a-b", "don't", "€5"]
    assert words("  ") == []


def score(found: list[str], wanted: list[str]) -> float:
    return float(bleu(bleu_sums(found, wanted).sum(axis=0)))


def test_bleu_is_that_of_the_formula() -> None:
    assert score(["the cat is on the mat"], ["the cat is on the mat"]) == pytest.approx(100)
    # Of 6 words 5 match, of 5 pairs 3, of 4 triples 1 ("sat on the"), of 3 fours none, which counts as a half.
    hand = 100 * (5 / 6 * 3 / 5 * 1 / 4 * (1 / 2) / 3) ** 0.25
    assert score(["the cat sat on the mat"], ["the cat is sat on the"]) == pytest.approx(hand)
    # Counts are clipped: of seven "the" two match (Papineni et al. 2002); orders without a match halve and halve again.
    found = score(["the the the the the the the"], ["the cat is on the mat"])
    assert found == pytest.approx(100 * (2 / 7 * (1 / 2) / 6 * (1 / 4) / 5 * (1 / 8) / 4) ** 0.25)
    # A text of 5 words where 6 are wanted is punished by exp(1 - 6 / 5).
    assert score(["the cat is on the"], ["the cat is on the mat"]) == pytest.approx(100 * math.exp(1 - 6 / 5))
    assert score(["no match"], ["at all here"]) == 0
    assert score([""], ["something"]) == 0


def test_bleu_is_of_the_whole_set_not_the_mean_of_texts() -> None:
    found, wanted = ["a b c d e f", "x"], ["a b c d e f", "y z"]
    sums = bleu_sums(found, wanted).sum(axis=0)
    assert sums[:2].tolist() == [7, 8]
    expected = 100 * math.exp(1 - 8 / 7) * (6 / 7 * 5 / 5 * 4 / 4 * 3 / 3) ** 0.25
    assert score(found, wanted) == pytest.approx(expected)


def test_chrf_is_that_of_the_formula() -> None:
    def of(found: str, wanted: str) -> float:
        return float(chrf(chrf_sums([found], [wanted]).sum(axis=0)))

    assert of("the mat", "the mat") == pytest.approx(100)
    # "abcd" and "abce": of 4, 3, 2, 1 strings 3, 2, 1, 0 match; longer ones there are none.
    mean = (3 / 4 + 2 / 3 + 1 / 2 + 0) / 4
    assert of("abc d", "ab ce") == pytest.approx(100 * mean)
    # Precision 1, recall 1/2 for single letters and 1/3 for pairs: recall counts twice.
    precision, recall = 1.0, (2 / 4 + 1 / 3) / 2
    assert of("ab", "abcd") == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert of("", "abc") == of("xyz", "abc") == 0


def test_scores_of_resampled_texts_are_those_of_repeated_texts() -> None:
    found, wanted = (
        ["the cat sat on it", "a dog ran home", "so it goes on"],
        ["the cat sat on me", "a dog ran", "so it is"],
    )
    weights = np.array([[2.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    for final, of_texts in ((bleu, bleu_sums), (chrf, chrf_sums)):
        drawn = scorer(final, of_texts(found, wanted))(weights)
        repeated = [found[0], found[0], found[2]], [wanted[0], wanted[0], wanted[2]]
        assert drawn[0] == pytest.approx(float(final(of_texts(*repeated).sum(axis=0))))
        assert drawn[1] == pytest.approx(float(final(of_texts(found, wanted).sum(axis=0))))


def test_em_finds_which_word_stands_for_which() -> None:
    """An example as in Knight 1999, 'A statistical MT tutorial workbook': the house, the book, a book."""
    sources, targets = ["the house", "the book", "a book"], ["das Haus", "das Buch", "ein Buch"]
    table = WordTable.fit(sources, targets, rounds=30)
    assert {table.best[word] for word in ("the",)} == {"das"}
    assert (table.best["house"], table.best["book"], table.best["a"]) == ("Haus", "Buch", "ein")
    assert table.translate("The book, a house.") == "das Buch, ein Haus."
    for word in ("the", "book", "a"):
        assert sum(chance for (one, _), chance in table.chances.items() if one == word) == pytest.approx(1)
    assert table.chances["the", "das"] > 0.9
    first = WordTable.fit(sources, targets, rounds=1)
    # After one round: "das" stands beside "the" twice, each time with two other candidates (house or book, and none).
    assert first.chances["the", "das"] == pytest.approx((1 / 3 + 1 / 3) / (4 / 3))


def test_places_tell_apart_what_always_stands_together() -> None:
    """Both words of one language stand in every text: only their order says which stands for which."""
    read, written = [[1, 2]] * 4 + [[2, 1]], [[1, 2]] * 4 + [[2, 1]]
    nowhere, near = learned(read, written, rounds=8), learned(read, written, rounds=8, tension=4.0)
    assert nowhere.likeliest(3, 1)[1][1:, 0].tolist() == pytest.approx([0.5, 0.5])
    others, chances = near.likeliest(3, 2)
    assert others[1:, 0].tolist() == [1, 2]
    assert (chances[1:, 0] > 0.9).all()
    # Token 0, which stands for none, becomes anything; those of one word sum to 1.
    assert near.chance[near.read == 1].sum() == pytest.approx(1)


def test_few_and_many_words_are_learned_alike() -> None:
    """Pairs of words are counted in a whole table where that is small, and in a list of those seen otherwise."""
    random = np.random.default_rng(0)
    read = [random.integers(1, 6, 5).tolist() for _ in range(40)]
    written = [[word % 5 for word in text] for text in read]
    few = learned(read, written)
    apart = learned([[word * 1000 for word in text] for text in read], written)
    assert (apart.read // 1000).tolist() == few.read.tolist()
    np.testing.assert_allclose(apart.chance, few.chance)
    nothing = learned([[]], [[]])
    assert nothing.likeliest(3, 2)[1].tolist() == [[0, 0]] * 3


def test_the_commonest_words_are_as_many_as_a_text_has() -> None:
    assert commonest(["a b c", "a b", "a"]) == "a b"
