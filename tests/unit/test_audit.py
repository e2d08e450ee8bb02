"""The audit finds what was planted, says where, and stays silent on clean data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_table import MemoryTable

from lamina.data.alone import area_under_curve
from lamina.data.audit import AuditFinding, audit
from lamina.data.audit_columns import chi_squared_tail
from lamina.data.audit_images import boxed, differing_bits, encoded_fingerprints
from lamina.data.audit_labels import suspect_labels
from lamina.data.audit_leaks import first_parts
from lamina.data.examples import Examples
from lamina.data.recognise import recognise
from lamina.data.schema import Field, Schema
from lamina.data.split import Split, split
from lamina.modalities import image
from lamina.plan import DataPlan

ROWS = 600


def people(seed: int = 0, rows: int = ROWS, **more: Any) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    age, income = generator.normal(45, 12, rows), generator.normal(3000, 500, rows)
    chance = 1 / (1 + np.exp(-((age - 45) / 12 + (income - 3000) / 500)))
    columns = {
        "age": [f"{value:.4f}" for value in age],
        "income": [f"{value:.2f}" for value in income],
        "city": generator.choice(["Rome", "Oslo", "Lima"], rows).tolist(),
        "good": np.where(generator.random(rows) < chance, "yes", "no").tolist(),
    }
    return {**columns, **more}


def look(
    columns: dict[str, Any],
    target: str = "good",
    way: str = "stratified",
    overrides: dict[str, Any] | None = None,
    test_from: int | None = None,
    **table: Any,
) -> tuple[tuple[AuditFinding, ...], Split]:
    memory = MemoryTable(columns, **table)
    schema = recognise(memory, [target], overrides or {})
    parts = split(memory, schema, DataPlan(split=way), 0, test_from=test_from)
    return audit(memory, schema, parts), parts


def only(findings: tuple[AuditFinding, ...], kind: str) -> AuditFinding:
    (finding,) = [finding for finding in findings if finding.kind == kind]
    return finding


@pytest.mark.parametrize("seed", range(5))
def test_clean_data_has_no_findings(seed: int) -> None:
    assert look(people(seed))[0] == ()


def test_copies_across_given_parts_are_counted_and_placed() -> None:
    columns = people(rows=500)
    for name, values in columns.items():
        columns[name] = values + values[:30] + people(9, rows=70)[name]
    findings, _ = look(columns, test_from=500)
    finding = only(findings, "duplicates")
    assert finding.count == 30
    assert finding.severity == "warning"
    assert finding.rows[0] == "memory, row 500"
    assert len(finding.rows) == 20
    assert finding.fix


def test_copies_in_the_training_part_are_found_and_stay_on_one_side_when_drawn() -> None:
    columns = {name: values + values[:60] for name, values in people().items()}
    findings, parts = look(columns)
    finding = only(findings, "duplicates")
    assert "training rows" in finding.text
    assert finding.count == np.isin(np.arange(600, 660), parts.train).sum()


def test_inputs_of_few_values_are_only_a_note() -> None:
    generator = np.random.default_rng(0)
    columns = {"x": generator.choice(["a", "b"], 300).tolist(), "y": generator.choice(["c", "d"], 300).tolist()}
    findings, _ = look(columns, target="y")
    assert {finding.severity for finding in findings} == {"note"}
    assert "few different values" in " ".join(finding.fix for finding in findings)


def test_conflicting_labels_say_the_best_that_is_possible() -> None:
    columns = {name: values + values[:20] for name, values in people().items()}
    columns["good"][ROWS:] = ["no" if label == "yes" else "yes" for label in columns["good"][:20]]
    memory = MemoryTable(columns)
    schema = recognise(memory, ["good"])
    everything = Split(np.arange(0, 620), np.empty(0, np.int64), np.empty(0, np.int64), "random", "")
    finding = only(audit(memory, schema, everything), "conflicting labels")
    assert finding.count == 40
    assert f"{600 / 620:.2%}" in finding.text
    assert finding.rows[:2] == ("memory, row 0", "memory, row 600")


def test_a_column_that_is_the_answer_is_an_error() -> None:
    columns = people()
    findings, _ = look({**columns, "result": [f"is {label}" for label in columns["good"]]})
    finding = only(findings, "leak")
    assert finding is findings[0]
    assert finding.severity == "error"
    assert "`result` alone predicts `good`" in finding.text
    assert "schema.result.role=ignore" in finding.fix


def test_a_column_that_nearly_is_the_answer_is_a_warning() -> None:
    generator = np.random.default_rng(7)
    columns = people()
    score = np.array([label == "yes" for label in columns["good"]]) + generator.normal(0, 0.3, ROWS)
    finding = only(look({**columns, "score": [f"{value:.4f}" for value in score]})[0], "leak")
    assert finding.severity == "warning"
    assert "AUC 0.9" in finding.text


def test_a_number_that_nearly_is_the_target_is_found() -> None:
    generator = np.random.default_rng(0)
    columns = people()
    price = generator.lognormal(3, 1, ROWS)
    late = price * 1.2 + generator.normal(0, 1, ROWS)
    findings, _ = look({**columns, "price": price, "with_tax": late}, target="price", way="random")
    assert [finding.rows for finding in findings if finding.kind == "leak"] == [("with_tax",)]


def test_a_number_far_better_than_the_others_is_worth_a_look() -> None:
    generator = np.random.default_rng(7)
    delay = generator.normal(0, 10, ROWS)
    columns = people(departure=delay + generator.normal(0, 4, ROWS), arrival=delay)
    finding = only(look(columns, target="arrival", way="random")[0], "leak")
    assert "far better than any other column" in finding.text


def test_many_classes_and_a_category_that_gives_them_away() -> None:
    generator = np.random.default_rng(0)
    kind = generator.integers(0, 6, ROWS)
    columns = people(kind=[f"kind {number}" for number in kind], folder=[f"f{number}{number % 2}" for number in kind])
    finding = only(look(columns, target="kind")[0], "leak")
    assert finding.rows == ("folder",)
    assert "right in 100.0%" in finding.text


def test_gaps_that_know_the_answer() -> None:
    columns = people()
    generator = np.random.default_rng(0)
    filled = [
        f"{generator.normal():.3f}" if label == "yes" or generator.random() < 0.05 else None
        for label in columns["good"]
    ]
    finding = only(look({**columns, "refund": filled})[0], "missingness leak")
    assert "`refund` is missing" in finding.text
    assert finding.rows == ("refund",)


def test_the_first_part_of_an_identifier_may_be_the_answer() -> None:
    columns = people()
    identifiers = [f"{'spam' if label == 'yes' else 'ham'}-{n % 2}/{n:05d}" for n, label in enumerate(columns["good"])]
    finding = only(look({**columns, "id": identifiers})[0], "leak")
    assert finding.severity == "note"
    assert "first part of `id`" in finding.text


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["a-1/01", "a-1/02", "b/01", "b/02"], ["a-1", "a-1", "b", "b"]),
        (["p1_1", "p1_2", "p2_1", None], ["p1", "p1", "p2", None]),
        (["cat01", "cat02", "dog01", "dog02"], ["cat", "cat", "dog", "dog"]),
        (["1", "2", "3", "4"], None),
        (["a", "b", "c", "d"], None),
    ],
)
def test_first_parts(texts: list[str | None], wanted: list[str | None] | None) -> None:
    values = np.array(texts, dtype=object)
    found = first_parts(values)
    assert (None if found is None else found.tolist()) == wanted


def test_people_on_both_sides_are_found_and_gone_after_the_fix() -> None:
    columns = people(patient_id=[f"p{number % 40}" for number in range(ROWS)])
    findings, _ = look(columns)
    finding = only(findings, "group leak")
    assert finding.severity == "warning"
    assert "100% of the test rows" in finding.text
    assert "schema.patient_id.role=group" in finding.fix
    findings, _ = look(columns, way="group", overrides={"patient_id": {"role": "group"}})
    assert not [finding for finding in findings if finding.kind == "group leak"]


def test_the_subject_of_a_mail_is_no_person() -> None:
    generator = np.random.default_rng(0)
    words = generator.choice(["meeting", "offer", "lunch", "news", "report", "today"], (80, 9))
    lines = [" ".join(line) for line in words]
    findings, _ = look(people(subject=[lines[number % 80] for number in range(ROWS)]))
    assert not [finding for finding in findings if finding.kind == "group leak"]


def test_a_log_drawn_at_random_is_a_time_leak_and_a_time_split_is_none() -> None:
    days = np.datetime64("2020-01-01") + np.arange(ROWS) // 3
    columns = people(day=days.astype("datetime64[us]"))
    finding = only(look(columns)[0], "time leak")
    assert finding.severity == "warning"
    assert "2020-01-01 to 2020-07-18" in finding.text
    shuffled = people(day=np.random.default_rng(0).permutation(days).astype("datetime64[us]"))
    assert only(look(shuffled)[0], "time leak").severity == "note"
    findings, _ = look(columns, way="time", overrides={"day": {"role": "time"}})
    assert not [finding for finding in findings if finding.kind == "time leak"]


def test_idle_and_repeated_columns() -> None:
    columns = people(id=[str(number) for number in range(ROWS)], one=["x"] * ROWS, none=[None] * ROWS)
    findings, _ = look({**columns, "town": columns["city"]})
    constant = [finding for finding in findings if finding.kind == "constant"]
    assert [finding.rows for finding in constant] == [("none",), ("one",)]
    assert only(findings, "identifier").rows == ("id",)
    assert only(findings, "repeated column").rows == ("town",)


def test_a_shift_between_training_and_test_names_the_largest() -> None:
    columns = people(rows=2000)
    ages = [float(age) for age in columns["age"]]
    columns["age"] = [f"{age + 15 * (row >= 1500):.3f}" for row, age in enumerate(ages)]
    columns["city"][1500:] = ["Rome"] * 350 + columns["city"][1850:]
    finding = only(look(columns, test_from=1500)[0], "shift")
    assert finding.rows == ("age", "city") or finding.rows == ("city", "age")
    assert finding.severity == "warning"
    assert "'Rome'" in finding.text


def test_dates_of_the_test_rows_are_read_in_the_order_of_the_column() -> None:
    columns = people(rows=2000)
    # No test row alone tells whether days or months stand first.
    columns["seen"] = [f"{row % 28 + 1 if row < 1500 else row % 3 + 1}/{row % 12 + 1}/2020" for row in range(2000)]
    findings, _ = look(columns, test_from=1500)
    assert not [finding for finding in findings if finding.kind == "shift"]


def test_rare_unknown_and_uneven_classes() -> None:
    columns = people()
    columns["kind"] = ["a"] * 570 + ["b"] * 25 + ["c"] * 3 + ["d"] * 2
    columns["part"] = ["train"] * 560 + ["test"] * 10 + ["train"] * 28 + ["test"] * 2
    findings, _ = look(columns, target="kind", way="column", overrides={"part": {"role": "split"}})
    assert only(findings, "rare class").text == "1 class of `kind` with fewer than 5 training rows: `c`."
    assert "`d`" in only(findings, "unknown class").text
    assert only(findings, "unknown class").rows == ("memory, row 598", "memory, row 599")
    assert "`b` 2" in only(findings, "imbalance").text


def test_targets_far_from_all_others_and_missing_ones() -> None:
    generator = np.random.default_rng(7)
    price = [f"{value:.2f}" for value in generator.normal(100, 5, ROWS)]
    price[7], price[11] = "99999", None
    columns = people(price=price)
    memory = MemoryTable(columns)
    schema = recognise(memory, ["price"])
    parts = Split(
        np.arange(100), np.arange(100, 150), np.arange(150, 600), "random", "", ((11, "the target price is missing"),)
    )
    findings = audit(memory, schema, parts)
    assert only(findings, "outlier").rows == ("memory, row 7",)
    assert "99999" in only(findings, "outlier").text
    assert only(findings, "missing target").count == 1


def test_what_could_not_be_read_is_listed() -> None:
    unreadable = tuple((f"line {number}", "too many fields") for number in range(30))
    finding = only(look(people(), unreadable=unreadable)[0], "unreadable")
    assert finding.count == 30
    assert finding.rows[0] == "line 0: too many fields"
    assert len(finding.rows) == 20


def pictures(root: Path, count: int) -> list[str]:
    from PIL import Image, ImageFilter

    generator = np.random.default_rng(0)
    names = []
    for number in range(count):
        noise = Image.fromarray(generator.integers(0, 256, (4, 4), dtype=np.uint8)).resize((48, 48))
        noise.filter(ImageFilter.GaussianBlur(3)).save(root / f"{number}.png")
        names.append(f"{number}.png")
    return names


@pytest.mark.parametrize("mode", ["files", "L", "RGB"])
def test_test_pictures_that_look_like_training_pictures(mode: str, tmp_path: Path) -> None:
    from PIL import Image

    names = pictures(tmp_path, 60)
    for number in range(8):
        again = Image.open(tmp_path / names[number])
        again.resize((40, 40)).save(tmp_path / f"again{number}.jpg", quality=80)
        names.append(f"again{number}.jpg")
    Image.new("L", (48, 48), 255).save(tmp_path / "white.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    names += ["white.png", "broken.png"]
    memory = MemoryTable({"path": names, "label": ["a", "b"] * 35}, root=tmp_path)
    schema = Schema((Field("path", "image"), Field("label", "category", "target")))
    parts = Split(np.arange(50), np.arange(50, 60), np.arange(60, 70), "given", "")
    encoded = None
    if mode != "files":
        options = {"size": 32, "channels": len(mode)}
        encoder = image.Encoder.fit(lambda: iter([np.array(names[:50], object)]), options, tmp_path)
        found = encoder.encode(np.array(names, object), tmp_path)
        assert list(found.errors) == [69]
        encoded = Examples({"path": found.array}, 70, found.errors)
    finding = only(audit(memory, schema, parts, examples=encoded), "near duplicates")
    assert finding.count == 8
    assert finding.rows[0] == "memory, row 60 like memory, row 0"


def test_pictures_are_resized_by_means_over_boxes() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 45), dtype=np.uint8)
    found = boxed(pixels.astype(np.float32), 16, 9)
    for picture, own in zip(pixels, found, strict=True):
        theirs = np.asarray(Image.fromarray(picture).resize((9, 16), Image.Resampling.BOX), np.float32)
        np.testing.assert_allclose(own, theirs, atol=1.01)  # Pillow rounds after each axis
    # Borders inside pixels: 28 pixels in 16 boxes. What lies in all boxes together stays the same.
    odd = boxed(pixels[:, :28].astype(np.float32), 16, 7)
    assert odd.shape == (3, 16, 7)
    np.testing.assert_allclose(odd.mean((1, 2)), pixels[:, :28].mean((1, 2)), rtol=1e-5)
    flat = boxed(np.full((1, 28, 45), 7.0, np.float32), 16, 7)
    np.testing.assert_allclose(flat, 7.0, rtol=1e-6)


def test_a_kind_of_file_that_gives_the_class_away(tmp_path: Path) -> None:
    names = pictures(tmp_path, 80)
    for number in range(0, 80, 2):
        (tmp_path / names[number]).rename(tmp_path / f"{number}.bmp")
        names[number] = f"{number}.bmp"
    memory = MemoryTable({"path": names, "label": ["a", "b"] * 40}, root=tmp_path)
    schema = Schema((Field("path", "image"), Field("label", "category", "target")))
    found = audit(memory, schema, split(memory, schema, DataPlan(), 0))
    assert "The type of the files in `path` alone predicts `label`" in only(found, "leak").text


def test_same_seed_same_findings() -> None:
    columns = people(patient_id=[f"p{number % 40}" for number in range(ROWS)])
    assert look(columns)[0] == look(columns)[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_suspect_labels_finds_flipped_labels(seed: int, classes: int) -> None:
    rows = 4000  # of few rows, a chance draw may have half of the flipped ones among the unsure
    generator = np.random.default_rng(seed)
    true = generator.integers(0, classes, rows)
    strength = generator.uniform(2, 5, rows)
    logits = generator.normal(0, 0.5, (rows, classes))
    logits[np.arange(rows), true] += strength
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = generator.choice(rows, rows // 20, replace=False)
    labels = true.copy()
    labels[flipped] = (true[flipped] + 1) % classes
    found = suspect_labels(probabilities, labels)
    assert found.dtype == np.int64
    assert len(set(found.tolist())) == len(found)
    assert np.isin(flipped, found).mean() >= 0.5
    assert np.isin(found[: len(found) // 2], flipped).mean() >= 0.8


def test_suspect_labels_of_nothing_unknown_or_certain() -> None:
    assert suspect_labels(np.empty((0, 3)), np.empty(0, np.int64)).tolist() == []
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert suspect_labels(sure, np.array([0, 1, 2, 0])).tolist() == []
    assert suspect_labels(sure, np.array([0, 1, 2, -1])).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_area_under_curve_is_the_share_of_ordered_pairs(rows: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([score for score, _ in rows]), np.array([yes for _, yes in rows])
    pairs = [(one > other) + (one == other) / 2 for one in scores[positive] for other in scores[~positive]]
    assert area_under_curve(scores, positive) == pytest.approx(np.mean(pairs) if pairs else 0.5)


def test_differing_bits_and_the_tail_of_chi_squared() -> None:
    assert differing_bits(np.array([0, 7, 2**64 - 1], np.uint64), np.uint64(1)).tolist() == [1, 2, 63]
    from scipy import stats

    for statistic, freedom in ((10.0, 3), (30.0, 9), (120.0, 99)):
        assert chi_squared_tail(statistic, freedom) == pytest.approx(stats.chi2.sf(statistic, freedom), rel=0.15)


def test_pictures_that_are_all_flat_have_no_fingerprints() -> None:
    pictures = np.full((5, 12, 12, 3), 90, np.uint8)
    seen, hashes, thumbnails = encoded_fingerprints(Examples({"photo": pictures}, 5), "photo", np.arange(5))
    assert len(seen) == len(hashes) == len(thumbnails) == 0
    pictures[2, :6] = 200
    seen, hashes, _ = encoded_fingerprints(Examples({"photo": pictures}, 5), "photo", np.arange(5))
    assert seen.tolist() == [2]
    assert hashes.shape == (1,)


@pytest.mark.parametrize("scale", [1, 1000])
def test_ratings_that_say_when_are_told_that_the_future_is_not_tested(scale: int) -> None:
    generator = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "userId": np.sort(generator.integers(0, 60, ROWS)).tolist(),
        "movieId": generator.integers(0, 80, ROWS).tolist(),
        "timestamp": (generator.integers(800_000_000, 1_400_000_000, ROWS) * scale).tolist(),
        "runtime": generator.integers(60, 200, ROWS).tolist(),
        "rating": generator.integers(1, 6, ROWS).astype(float).tolist(),
    }
    found = only(look(columns, "rating", "random")[0], "time leak")
    assert found.severity == "warning"
    assert "1995" in found.text
    assert "2014" in found.text
    assert "schema.timestamp.role=time" in found.fix
    later = look(columns, "rating", "time", {"timestamp": {"role": "time"}})[0] if scale == 1 else ()
    assert not [finding for finding in later if finding.kind == "time leak"]
    del columns["userId"]
    assert not [finding for finding in look(columns, "rating", "random")[0] if finding.kind == "time leak"]
