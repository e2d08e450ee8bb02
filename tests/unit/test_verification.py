"""Verification of pairs: its figures against scikit-learn's ROC curve, how pairs are drawn, and thresholds on disk."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from lamina.data.tables import read_chunks
from lamina.errors import InputError
from lamina.evaluate.verification import mistakes, roc, verification
from lamina.model import pairs as pairs_of
from lamina.model import verify
from lamina.model.search import Index
from lamina.report.roc import roc_page
from lamina.tasks.embed import Task

Array = np.ndarray[Any, Any]


def likenesses(ties: bool, rows: int = 400, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    same = random.random(rows) < 0.4
    likeness = np.clip(random.normal(0.2, 0.3, rows) + 0.4 * same, -1, 1)
    return likeness.round(1) if ties else likeness, same


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_figures_are_those_of_the_roc_curve(ties: bool, rate: float) -> None:
    likeness, same = likenesses(ties)
    found = verification(likeness, same, rate)
    false, true, _ = roc_curve(same, likeness, drop_intermediate=False)
    assert found.auc.value == pytest.approx(roc_auc_score(same, likeness))
    grid = np.linspace(0, 1, 200_001)
    crossing = grid[np.abs(1 - np.interp(grid, false, true) - grid).argmin()]
    assert found.equal_error_rate.value == pytest.approx(crossing, abs=2e-5)
    assert found.rate_accepts.value == pytest.approx(true[false <= rate].max())
    at = mistakes(likeness, same, found.rate_threshold.value)
    assert at.false_accepts.value <= rate
    assert at.false_rejects.value == pytest.approx(1 - found.rate_accepts.value)
    at = mistakes(likeness, same, found.equal_error_threshold.value)
    steps = np.unique(likeness, return_counts=True)[1].max() / min(same.sum(), (~same).sum())
    assert abs(at.false_accepts.value - at.false_rejects.value) <= steps
    for figure in (found.auc, found.equal_error_rate, found.equal_error_threshold, found.rate_accepts):
        assert figure.low < figure.value < figure.high or ties
        assert figure.low <= figure.value <= figure.high


@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_is_that_of_scikit_learn(ties: bool) -> None:
    likeness, same = likenesses(ties)
    found = roc(likeness, same)
    false, true, _ = roc_curve(same, likeness, drop_intermediate=False)
    np.testing.assert_allclose(found.false_accepts, false)
    np.testing.assert_allclose(found.same_accepts, true)
    for threshold, share in list(zip(found.thresholds, found.same_accepts, strict=True))[:: len(false) // 9]:
        assert (likeness[same] >= threshold).mean() == pytest.approx(share)


def test_the_curve_is_written_and_drawn(tmp_path: Path) -> None:
    model: Any = Letters()
    rows = [("ab", "ab", "1"), ("aab", "ab", "1"), ("ab", "cd", "0"), ("ab", "ac", "0"), ("ab", "bc", "0")]
    found = verify.verify(model, written(tmp_path / "pairs.csv", rows))
    assert found.judged is not None
    verify.write_roc(tmp_path / "roc.csv", found.roc)
    points = list(csv.DictReader((tmp_path / "roc.csv").open()))
    shares = [(float(row["false_accepts"]), float(row["same_accepts"])) for row in points]
    np.testing.assert_allclose(shares, [(0, 0), (0, 0.5), (0, 1), (2 / 3, 1), (1, 1)], atol=1e-9)
    assert [float(row["threshold"]) for row in points] == sorted(float(row["threshold"]) for row in points)[::-1]
    page = roc_page(found.roc, found.judged, "pairs <b>.csv")
    assert "<svg" in page
    assert "pairs &lt;b&gt;.csv" in page
    assert "ROC AUC 1.0000" in page
    for name, said in (("roc.png", "curve"), ("nowhere/roc.csv", "nowhere")):
        with pytest.raises(InputError, match=said):
            verify.check_roc(tmp_path / name, "pairs.csv")
    unknown = verify.verify(model, written(tmp_path / "some.csv", [("ab", "ab")], ("one", "other")))
    with pytest.raises(InputError, match="no curve"):
        _ = unknown.roc


def test_intervals_are_those_of_bootstrapped_pairs() -> None:
    likeness, same = likenesses(ties=False)
    found = verification(likeness, same)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        rows = random.integers(0, len(same), len(same))
        drawn.append(roc_auc_score(same[rows], likeness[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.auc.low == pytest.approx(low, abs=0.01)
    assert found.auc.high == pytest.approx(high, abs=0.01)


def test_pairs_that_share_labels_are_no_independent_witnesses() -> None:
    """More rows that look alike, and more pairs of them, say nothing new of a label: intervals stay as wide."""
    widths = {}
    for copies in (4, 12):
        index, column = rows_of([f"label {number % 24}" for number in range(24 * copies)], 3)
        found = pairs_of.of_labels(index, column, 24 * copies * copies, seed=0)
        members = found.members_of(found.judging)
        assert members is not None
        likeness, same = found.known(found.judging)
        assert np.array_equal(members[0] == members[1], same)
        judged = verification(likeness, same, members=members)
        at = mistakes(likeness, same, judged.equal_error_threshold.value, members=members).false_accepts
        assert at.low < at.value < at.high
        assert not at.higher_is_better
        plain = verification(likeness, same)
        widths[copies] = [one.equal_error_rate.high - one.equal_error_rate.low for one in (judged, plain)]
        assert judged.equal_error_rate.value == plain.equal_error_rate.value
    assert widths[12][0] > widths[4][0] * 0.6
    assert widths[12][1] < widths[4][1] * 0.5, "as if there were nine times as many witnesses"
    assert widths[12][0] > 2 * widths[12][1]
    few, column = rows_of([f"label {number % 5}" for number in range(40)])
    members = pairs_of.of_labels(few, column, 100, seed=0).members
    assert members is not None
    assert not (members[0] == members[1]).any(), "of few labels the rows are drawn"


def test_where_all_is_right_the_threshold_lies_between_and_the_interval_is_honest() -> None:
    found = verification(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, True, False, False]))
    assert found.equal_error_rate.value == 0
    assert found.equal_error_rate.high > 0.5, "two pairs of a kind say little"
    assert found.equal_error_threshold.value == pytest.approx(0.55)
    assert found.auc.value == 1
    assert found.auc.low < 0.5
    assert found.coarse


def test_where_no_threshold_keeps_the_rate_none_is_accepted() -> None:
    found = verification(np.array([0.9, 0.8, 0.3]), np.array([False, True, True]), 0.1)
    assert found.rate_threshold.value > 0.9
    assert found.rate_accepts.value == 0


@pytest.mark.parametrize("same", [[True, True], [False, False]])
def test_pairs_of_one_kind_judge_nothing(same: list[bool]) -> None:
    with pytest.raises(InputError, match="some that are and some that are not"):
        verification(np.array([0.1, 0.2]), np.array(same))


def rows_of(labels: list[str | None], size: int = 6) -> tuple[Index, Array]:
    random = np.random.default_rng(0)
    names = {name: random.normal(size=size) for name in sorted({label for label in labels if label})}
    vectors = np.stack([names.get(label or "", np.ones(size)) + 0.3 * random.normal(size=size) for label in labels])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    column = np.empty(len(labels), dtype=object)
    column[:] = labels
    return Index(vectors, np.arange(len(labels)), ("",) * len(labels), {}), column


def parts(found: pairs_of.Pairs) -> list[tuple[int, int, int, bool]]:
    """(one, other, same, judging) of each pair."""
    numbers = [[int(name.removeprefix("row ")) for name in side] for side in (found.ones, found.others)]
    return list(zip(*numbers, found.same.tolist(), found.judging.tolist(), strict=True))


@pytest.mark.parametrize("labels", [2, 3, 4, 9])
def test_drawn_pairs_are_balanced_and_their_halves_apart(labels: int) -> None:
    values: list[str | None] = [f"label {number % labels}" for number in range(180)]
    index, column = rows_of([*values, None])
    found = pairs_of.of_labels(index, column, 400, seed=3)
    drawn = parts(found)
    assert len(drawn) == len({frozenset(pair[:2]) for pair in drawn}) == 400
    for one, other, same, _ in drawn:
        assert one != other
        assert 180 not in (one, other), "a row without a label is in no pair"
        assert (column[one] == column[other]) == (same == 1)
    for kind in ((1, True), (1, False), (0, True), (0, False)):
        assert sum(pair[2:] == kind for pair in drawn) == 100
    rows = [{row for pair in drawn if pair[3] is judging for row in pair[:2]} for judging in (False, True)]
    assert not rows[0] & rows[1]
    if labels >= 4:
        assert not {column[row] for row in rows[0]} & {column[row] for row in rows[1]}
        assert "none of those" in found.notes[0]
    else:
        assert "both halves" in found.notes[0]
    again = pairs_of.of_labels(index, column, 400, seed=3)
    assert parts(again) == drawn
    assert parts(pairs_of.of_labels(index, column, 400, seed=4)) != drawn


def test_all_pairs_are_drawn_where_there_are_few_and_evenly() -> None:
    index, column = rows_of(["a", "a", "a", "b", "b", "c", "c", "d", "d", "d"])
    found = parts(pairs_of.of_labels(index, column, 10_000, seed=0))
    halves: dict[bool, set[int]] = {}
    for one, other, _, judging in found:
        halves.setdefault(judging, set()).update((one, other))
    assert set.union(*halves.values()) == set(range(10))
    for rows in halves.values():
        assert len([pair for pair in found if pair[0] in rows]) == len(rows) * (len(rows) - 1) // 2
    counts = np.zeros((4, 4))
    for seed in range(400):
        one, other = pairs_of._drawn(np.array([0, 0, 0, 0]), np.arange(4), 1, True, np.random.default_rng(seed))
        counts[one, other] += 1
    assert (counts + counts.T)[np.triu_indices(4, 1)].min() > 35, "each of 6 pairs about 67 times of 400"


@pytest.mark.parametrize(
    "labels", [["a", "b", "c", "d"], ["a"] * 20, ["a", "a", "a", "a", "b", "c", "d", "e"], [None, None]]
)
def test_too_few_labelled_rows_are_told(labels: list[str | None]) -> None:
    with pytest.raises(InputError, match="too few labelled rows") as error:
        pairs_of.of_labels(*rows_of(labels), 100, 0)
    assert "at least two" in error.value.fix


class Letters:
    """Stands for a sealed model of one column of text: a vector counts a, b, c and d."""

    def __init__(self, columns: tuple[str, ...] = ("text",)) -> None:
        self.tasks = {"embedding": Task("embedding", 4)}
        self.sealed = SimpleNamespace(network=b"", encoders={"of": columns}, tasks={})
        self.inputs = {
            name: SimpleNamespace(field=SimpleNamespace(columns=(name,), name=name, modality="text"))
            for name in columns
        }
        self.columns, self.where, self.encoded = columns, "a test", list[str]()

    def fitting(self, batch: int) -> int:
        return min(batch, 3)

    def encode(self, values: Mapping[str, Array], root: Path | None) -> tuple[dict[str, Array], dict[int, str]]:
        texts = list(values["text"])
        self.encoded += texts
        array = np.array([[(text or "").count(letter) for letter in "abcd"] for text in texts], np.float32)
        return {"text": array}, {row: "missing" for row, text in enumerate(texts) if not text}

    def outputs(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        array = arrays["text"]
        return {"embedding": array / np.linalg.norm(array, axis=1, keepdims=True)}


def written(path: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...] = ("one", "other", "same")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return str(path)


def test_a_table_of_pairs_each_value_embedded_once(tmp_path: Path) -> None:
    model: Any = Letters()
    rows = [("ab", "ab", "yes"), ("ab", "cd", "0"), ("ab", "", "1"), ("aab", "ab", ""), ("dd", "d", "TRUE")]
    found = pairs_of.of_table(model, read_chunks(written(tmp_path / "pairs.csv", rows)))
    assert len(model.encoded) == 6
    assert found.same.tolist() == [1, 0, 1, -1, 1]
    assert found.likeness[[0, 1, 4]] == pytest.approx([1, 0, 1])
    assert found.likeness[3] == pytest.approx(3 / np.sqrt(10))
    assert np.isnan(found.likeness[2])
    assert found.errors == {2: "missing"}
    assert found.others[:3] == ("ab", "cd", "")


def test_answers_of_a_table_and_a_threshold_that_is_kept(tmp_path: Path) -> None:
    model: Any = Letters()
    rows = [
        ("ab", "ab", "1"),
        ("aab", "ab", "1"),
        ("ab", "cd", "0"),
        ("ab", "ac", "0"),
        ("ab", "", "1"),
        ("a", "a", ""),
    ]
    table = written(tmp_path / "pairs.csv", rows)
    found = verify.verify(model, table)
    assert found.judged is not None
    assert found.threshold is not None
    assert (found.judged.pairs, found.judged.auc.value, found.mistakes) == (4, 1, None)
    assert 0.5 < found.threshold.value < 3 / np.sqrt(10)
    verify.write_answers(tmp_path / "answers.csv", found)
    answers = list(csv.DictReader((tmp_path / "answers.csv").open()))
    assert [row["answer"] for row in answers] == ["same", "same", "different", "different", "", "same"]
    assert [row["same"] for row in answers] == ["same", "same", "different", "different", "same", ""]
    assert answers[4]["error"] == "missing"
    verify.keep_threshold(tmp_path / "threshold.json", found.threshold)
    assert verify.read_threshold(str(tmp_path / "threshold.json"), model) == found.threshold
    given = verify.verify(model, table, threshold=verify.read_threshold("0.99", model))
    assert given.mistakes is not None
    assert (given.mistakes.false_rejects.value, given.mistakes.false_accepts.value) == (0.5, 0)
    assert verify.compare(model, "abab", "ab") == pytest.approx(1)
    assert verify.compare(model, '{"text": "a"}', "b") == 0


def test_pairs_of_which_nothing_is_known_are_only_compared(tmp_path: Path) -> None:
    model: Any = Letters()
    found = verify.verify(model, written(tmp_path / "pairs.csv", [("ab", "ab"), ("ab", "c")], ("one", "other")))
    assert (found.judged, found.threshold, found.answers()) == (None, None, [None, None])
    assert verify.document(found)["pairs"] == 2


def test_rows_of_a_table_by_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    model: Any = Letters()
    rows = [("abcd"[number % 4] * 3 + "abcd"[number % 3], f"kind {number % 4}") for number in range(48)]
    found = verify.verify(model, written(tmp_path / "rows.csv", rows, ("text", "kind")), target="kind", number=200)
    assert found.judged is not None
    assert found.judged.auc.value > 0.9
    assert found.mistakes is not None
    assert found.mistakes.threshold == found.threshold.value  # type: ignore[union-attr]
    with pytest.raises(InputError, match="no column 'kin'") as error:
        verify.verify(model, str(tmp_path / "rows.csv"), target="kin")
    assert "kind" in error.value.fix
    with pytest.raises(InputError, match="not said which rows are the same") as error:
        verify.verify(model, str(tmp_path / "rows.csv"))
    assert "--target" in error.value.fix


def test_labels_are_the_folders_that_files_lie_in() -> None:
    names = ("train/ann/1.png", "bob\\2.png", "3.png")
    index = Index(np.eye(3, dtype=np.float32), np.arange(3), names, {})
    labels = pairs_of.labels_of([{"path": name} for name in names], index, "")
    assert labels.tolist() == ["ann", "bob", None]


def test_folders_of_long_paths_are_not_cut_short() -> None:
    paths = [f"{'a study of many faces and names ' * 3}/person {number}/picture.png" for number in range(3)]
    names = tuple(path[:100] + "…" for path in paths)
    index = Index(np.eye(3, dtype=np.float32)[[0, 2]], np.array([0, 2]), (names[0], names[2]), {})
    labels = pairs_of.labels_of([{"path": path} for path in paths], index, "")
    assert labels.tolist() == ["person 0", "person 2"]


def test_mistakes_are_told(tmp_path: Path) -> None:
    model: Any = Letters()
    with pytest.raises(InputError, match="reads 2 columns") as error:
        pairs_of.of_table(Letters(("text", "x")), read_chunks(written(tmp_path / "p.csv", [("a", "b", "1")])))  # type: ignore[arg-type]
    assert "JSON" in error.value.fix
    with pytest.raises(InputError, match="'perhaps' in row 2"):
        pairs_of.of_table(model, read_chunks(written(tmp_path / "q.csv", [("a", "b", "1"), ("a", "b", "perhaps")])))
    with pytest.raises(InputError, match="2 rows, not one"):
        verify.compare(model, written(tmp_path / "two.csv", [("a",), ("b",)], ("text",)), "a")
    with pytest.raises(InputError, match="no threshold at"):
        verify.read_threshold(str(tmp_path / "gone.json"), model)
    with pytest.raises(InputError, match="The threshold is 7"):
        verify.read_threshold("7", model)
    with pytest.raises(InputError, match="threshold is nan"):
        verify.read_threshold("nan", model)
    verify.keep_threshold(tmp_path / "t.json", verify.Threshold(0.5, "by hand", "another"))
    with pytest.raises(InputError, match="another model"):
        verify.read_threshold(str(tmp_path / "t.json"), model)
    for text in ("[]", "{}", "{", '{"format": "lamina threshold", "version": 1, "threshold": "x"}', "[" * 100_000):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(InputError, match="holds no threshold"):
            verify.read_threshold(str(tmp_path / "t.json"), model)
    with pytest.raises(InputError, match="some that are and some that are not"):
        verify.verify(model, str(tmp_path / "p.csv"))
    given = verify.verify(model, str(tmp_path / "p.csv"), threshold=verify.Threshold(0.5, "by hand"))
    assert (given.judged, given.answers()) == (None, [False])
    with pytest.raises(InputError, match=r"answers\.txt") as error:
        verify.check_out(tmp_path / "answers.txt", "p.csv")
    assert ".csv" in error.value.fix
    with pytest.raises(InputError, match="the input itself"):
        verify.check_out(tmp_path / "p.csv", str(tmp_path / "p.csv"))
