"""The report: one page, balanced, self-contained, safe with hostile data, each section with its data only."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.findings import AuditFinding
from lamina.evaluate.results import (
    BaselineResult,
    Cost,
    Explanation,
    Interval,
    Mistake,
    Results,
    Seal,
    Slice,
    TargetResult,
    from_json,
    to_json,
)
from lamina.report import axes, charts, inputs, overview, wording
from lamina.report import target as target_view
from lamina.report.axes import tick_text, ticks, widened
from lamina.report.charts import Line, Whisker
from lamina.report.fans import fan_chart
from lamina.report.render import render

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(1)>&{{ 7 * 7 }}' javascript:alert(2) " + "W" * 4000
NAN = float("nan")


class Page(HTMLParser):
    """Checks that elements are closed in order; keeps tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]


def picture() -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (28, 28), 90).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def classes() -> TargetResult:
    return TargetResult(
        target="default",
        task="classify",
        scores={"auc": Interval(0.8471, 0.82, 0.871), "accuracy": Interval(0.79, 0.76, 0.82)},
        verdict="Deep learning is ahead of trees by 2.1 points.",
        verdict_kind="network",
        baselines=(
            BaselineResult(
                "boosted trees", {"auc": Interval(0.826, 0.8, 0.85)}, 1.4, Interval(0.021, 0.012, 0.03), "on 900 rows"
            ),
        ),
        confusion={"labels": ["no", "yes"], "counts": [[50, 10], [5, 35]]},
        calibration={
            "bins": [
                {"low": 0.5, "high": 0.7, "confidence": 0.6, "accuracy": 0.55, "count": 40},
                {"low": 0.7, "high": 0.8, "confidence": None, "accuracy": None, "count": 0},
                {"low": 0.8, "high": 1.0, "confidence": 0.9, "accuracy": 0.95, "count": 60},
            ],
            "before": 0.081,
            "after": 0.012,
            "temperature": 1.3,
        },
        coverage={"wanted": 0.9, "measured": {"value": 0.913, "low": 0.88, "high": 0.94}, "mean_size": 1.24},
        curves={"roc": [[0, 0], [0.2, 0.7], [1, 1]], "pr": [[0.1, 1.0], [1.0, 0.4]], "positive": "yes"},
        slices=(Slice("region", "north", 60, Interval(0.71, 0.6, 0.8), -0.15, True),),
        mistakes=(
            Mistake(
                7,
                "loans.csv, line 9",
                {
                    "photo": {"modality": "image", "value": picture()},
                    "call": {"modality": "audio", "value": "data:audio/wav;base64,UklGRg=="},
                    "letter": {"modality": "text", "value": "Dear bank"},
                    "pulse": {"modality": "series", "value": "1 2 3 2 1"},
                    "age": {"modality": "number", "value": "41"},
                    "job": {"modality": "category", "value": ""},
                },
                "yes",
                "no",
                3.2,
                0.93,
                True,
            ),
        ),
    )


def numbers() -> TargetResult:
    return TargetResult(
        target="price",
        task="regress",
        scores={"rmse": Interval(543.2, 520, 566, False, "USD"), "r2": Interval(0.98, 0.97, 0.99)},
        verdict="Boosted trees are better by 12.",
        verdict_kind="baseline",
        calibration={"points": [{"level": 0.5, "coverage": 0.48}, {"level": 0.9, "coverage": 0.84}]},
        coverage={"wanted": 0.9, "measured": {"value": 0.84, "low": 0.82, "high": 0.86}, "mean_size": 900.0},
        scatter={"expected": [1.0, 2.0, None], "answered": [1.5, 1.9, 3.0]},
    )


def results(**changes: Any) -> Results:
    whole = Results(
        name="loans",
        created="2026-11-21 05:40:11",
        data={
            "rows": 1000,
            "train": 700,
            "validation": 100,
            "test": 200,
            "split": "stratified",
            "dropped": [{"row": 3, "place": "loans.csv, line 5", "reason": "the target is missing"}],
            "dropped_count": 3,
            "fields": [
                {
                    "name": "age",
                    "modality": "number",
                    "role": "input",
                    "reason": "all values are numbers",
                    "summary": {"count": 1000, "missing": 0.12, "min": 18.0, "median": 36, "max": 68.0},
                }
            ],
            "fingerprint": "b2:1f",
            "source": "loans.csv",
        },
        targets=(classes(),),
        audit=(
            AuditFinding("leak", "error", "paid alone predicts default.", 1, ("loans.csv, line 2",), "Leave it out."),
            AuditFinding("imbalance", "note", "28% are yes.", 280),
        ),
        explanations=(
            Explanation(
                "default",
                {"age": Interval(0.051, 0.04, 0.06), "job": Interval(0.002, -0.001, 0.004)},
                (
                    {
                        "row": 1,
                        "field": "",
                        "modality": "table",
                        "answer": "no",
                        "contributions": {"age": 0.2, "job": -0.1},
                    },
                ),
            ),
        ),
        seal=Seal("model.lamina", 1_234_567, 200, 1.0, 3e-7, 41_000.0),
        cost=Cost({"understand": 2.0, "train": 61.0}, 0.42, "estimated from processor time", 512.0, 9000.0),
        curves={
            "train": [{"kind": "train", "step": step, "loss": 1 / step, "rate": 0.001} for step in range(1, 900)],
            "validation": [
                {"kind": "validation", "step": step, "seconds": 1.0, "best": True, "score": 0.8, "auc": 0.8}
                for step in (300, 600, 899)
            ],
        },
        network={"parameters": 41234, "summary": "TabM", "stages": [["embeddings", 1000], ["head", 40234]]},
        versions={"lamina": "0.1.0", "seed": "0"},
    )
    return replace(whole, **changes)


PLAN = """
[training]
epochs = 12.0
[network.table]
name = "tabm"
[reasons]
"training.epochs" = "as many as fit into the budget"
"network.table.name" = "numbers and categories"
"""
COMMAND = "lamina train loans.csv --target default"
EMPTY = Results("empty", "", {}, (), (), (), None, Cost({}, NAN, "", NAN), {}, {}, {})


def page(found: Results, plan: str = PLAN, command: str = COMMAND) -> Page:
    return Page(render(found, plan, command))


def test_verdict_comes_first_and_every_section_is_there() -> None:
    words = page(results()).words
    order = [
        "Deep learning is ahead",
        "0.847",
        "95% interval 0.820 to 0.871",
        "paid alone predicts default.",
        "700 for training, 100 for validation and 200 for test",
        "18 to 68, median 36",
        "12.0%",
        "loans.csv, line 5",
        "as many as fit into the budget",
        "41,234",
        "Training loss",
        "AUC on the validation part",
        "Learning rate",
        "boosted trees",
        "+2.1 points (1.2 to 3.0)",
        "76.0 to 82.0%",
        "Confused most",
        "Receiver operating characteristic",
        "Precision and recall",
        "off by 1.2% on average",
        "before calibration it was 8.1%",
        "91.3%",
        "region: north",
        "What the answers depend on",
        "Explained examples",
        "Worst mistakes",
        "Dear bank",
        "certainty 93%",
        "the label may be wrong",
        "loans.csv, line 9",
        "same answer as the trained network on all 200 test rows",
        "1.23 MB",
        "1 min 3 s",
        "0.42",
        "estimated from processor time",
        COMMAND,
        "b2:1f",
    ]
    place = 0
    for part in order:
        assert part in words[place:], part
        place = words.index(part, place)


def test_subgroup_gap_coverage_and_dropped_rows_stand_out() -> None:
    found = overview.standing_out(results(targets=(classes(), numbers())))
    texts = [item["text"] for item in found]
    assert found[0]["severity"] == "error"
    assert any("region is north (60 rows)" in text and "15.0 points worse" in text for text in texts)
    assert any("hold the truth in 84.0%" in text for text in texts)
    assert any(text.startswith("3 rows left out") for text in texts)
    assert not any("28%" in text for text in texts)


def test_an_error_of_calibration_that_chance_explains_does_not_stand_out() -> None:
    def said(**changes: float) -> tuple[bool, str]:
        target = classes()
        found = results(targets=(replace(target, calibration={**(target.calibration or {}), **changes}),))
        return any(item["kind"] == "Calibration" for item in overview.standing_out(found)), page(found).words

    assert said(after=0.09, chance=0.08)[0]
    stands_out, words = said(after=0.09, chance=0.12)
    assert not stands_out
    assert "By chance alone it would be up to 12.0%" in words


def test_unequal_seal_is_an_error() -> None:
    broken = Seal("model.lamina", 10, 200, 0.995, 0.2, 1.0)
    found = overview.standing_out(results(seal=broken))
    assert any(item["severity"] == "error" and "0.50%" in item["text"] for item in found)
    assert "only" in page(results(seal=broken)).words


def test_media_are_shown_and_played() -> None:
    found = page(results())
    assert picture() in [attributes.get("src") for tag, attributes in found.tags if tag == "img"]
    sound = next(attributes for tag, attributes in found.tags if tag == "audio")
    assert sound["src"] == "data:audio/wav;base64,UklGRg=="
    assert "controls" in sound
    assert "blockquote" in found.names()


@pytest.mark.parametrize("kind", ["network", "even", "baseline"])
def test_verdict_kinds_differ_by_words_not_only_color(kind: str) -> None:
    found = page(results(targets=(replace(classes(), verdict_kind=kind),)))
    icon, heading = target_view.HEADINGS[kind]
    assert heading in found.words
    assert icon in found.words
    assert f"hero {kind}" in found.values("class")


def test_a_verdict_that_cannot_be_given_is_not_headed_as_one() -> None:
    found = page(results(targets=(replace(classes(), verdict_kind="unknown"),)))
    assert "Not enough to tell" in found.words
    assert "A simpler tool is as good" not in found.words


def test_several_targets_have_a_section_each() -> None:
    found = page(results(targets=(classes(), numbers())))
    assert {"target-1", "target-2"} <= set(found.values("id"))
    assert "Results: price" in found.words
    assert "543 USD" in found.words
    assert "Answers against the truth" in found.words
    assert "Coverage of the intervals" in found.words


def test_links_of_the_contents_lead_somewhere() -> None:
    for found in (page(results(targets=(classes(), numbers()))), page(EMPTY, "", "")):
        anchors = [link.removeprefix("#") for link in found.values("href") if link.startswith("#")]
        assert set(anchors) <= set(found.values("id"))
        assert len(set(found.values("id"))) == len(found.values("id"))


@pytest.mark.parametrize(
    ("without", "heading"),
    [
        ({"seal": None}, "Sealed model"),
        ({"network": {}, "curves": {}}, "Network and training"),
        ({"audit": (AuditFinding("imbalance", "note", "x"),)}, "paid alone"),
        ({"explanations": ()}, "What the answers depend on"),
        ({"targets": (replace(classes(), baselines=()),)}, "Against simpler tools"),
        ({"targets": (replace(classes(), confusion=None),)}, "Confusions"),
        ({"targets": (replace(classes(), curves=None),)}, "Trade-offs"),
        ({"targets": (replace(classes(), curves={"roc": [], "pr": []}),)}, "Trade-offs"),
        ({"targets": (replace(classes(), calibration=None, coverage=None),)}, "Can its certainty be trusted?"),
        ({"targets": (replace(classes(), slices=()),)}, "Subgroups"),
        ({"targets": (replace(classes(), mistakes=()),)}, "Worst mistakes"),
    ],
)
def test_a_section_without_data_is_not_there(without: dict[str, Any], heading: str) -> None:
    assert heading in page(results()).words
    assert heading not in page(results(**without)).words


def test_empty_results_give_a_page() -> None:
    found = page(EMPTY, "", "")
    assert "empty" in found.words
    assert "How to reproduce" in found.words
    assert "Deep learning" not in found.words


def test_nothing_is_loaded_from_elsewhere_and_no_script_is_needed() -> None:
    html = render(results(targets=(classes(), numbers())), PLAN, COMMAND)
    found = Page(html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)
    assert not found.names() & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert all(source.startswith("data:") for source in found.values("src"))


def hostile() -> Results:
    bad = Interval(NAN, NAN, math.inf, True, HOSTILE)
    mistake = Mistake(
        1,
        HOSTILE,
        {
            HOSTILE: {"modality": "text", "value": HOSTILE},
            "a": {"modality": "image", "value": "javascript:alert(1)"},
            "b": {"modality": "image", "value": 'data:image/svg+xml;base64,PHN2Zz4="><script>'},
            "c": {"modality": "audio", "value": "data:text/html;base64,PHNjcmlwdD4="},
            "d": {"modality": HOSTILE, "value": HOSTILE},
            "e": {"modality": "image", "value": "https://example.org/spy.png"},
        },
        HOSTILE,
        HOSTILE,
        NAN,
        NAN,
    )
    bad_target = TargetResult(
        HOSTILE, HOSTILE, {HOSTILE: bad}, HOSTILE, HOSTILE,
        (BaselineResult(HOSTILE, {HOSTILE: bad}, NAN, bad, HOSTILE),),
        {"labels": [HOSTILE, "b", "c", "d", "e"], "counts": [[1, 2, 3, 4, 5]] * 5},
        {"bins": [{"low": 0, "high": 1, "confidence": 0.5, "accuracy": 0.5, "count": 3}], "before": NAN, "after": NAN,
         "temperature": NAN},
        {"wanted": 0.9, "measured": {"value": NAN, "low": NAN, "high": NAN}, "mean_size": NAN},
        None,
        {"roc": [[0, 0], [1, 1]], "pr": [[0, 1], [1, NAN]], "positive": HOSTILE},
        (Slice(HOSTILE, HOSTILE, 5, Interval(0.5, 0.4, 0.6), NAN, True),),
        (mistake,),
    )  # fmt: skip
    example = {
        "row": HOSTILE,
        "field": HOSTILE,
        "modality": "text",
        "answer": HOSTILE,
        "contributions": [[HOSTILE, 1.0]],
    }
    return Results(
        HOSTILE, HOSTILE,
        {
            "rows": 1, "train": NAN, "test": 5, "source": HOSTILE, "split": HOSTILE, "fingerprint": HOSTILE,
            "fields": [{"name": HOSTILE, "modality": HOSTILE, "role": HOSTILE, "reason": HOSTILE,
                        "summary": {HOSTILE: HOSTILE, "top": [[HOSTILE, 3]]}}],
            "dropped": [{"row": 1, "place": HOSTILE, "reason": HOSTILE}], "dropped_count": 1,
        },
        (bad_target,),
        (AuditFinding(HOSTILE, HOSTILE, HOSTILE, 1, (HOSTILE,), HOSTILE),),
        (Explanation(HOSTILE, {HOSTILE: Interval(0.1, 0.0, 0.2)}, (example,)),),
        Seal(HOSTILE, 1, 1, 1.0, NAN, NAN),
        Cost({HOSTILE: 2.0, "b": NAN}, NAN, HOSTILE, NAN),
        {"train": [{"step": 1, "loss": NAN}, {"step": 2, "loss": 0.5}], "validation": [{"step": 1, HOSTILE: 0.5}]},
        {"parameters": 1, "summary": HOSTILE, "stages": [[HOSTILE, 1]], "notes": [HOSTILE]},
        {HOSTILE: HOSTILE},
        HOSTILE,
    )  # fmt: skip


def test_hostile_names_and_texts_stay_text() -> None:
    found = page(hostile(), 'x = "' + "<script>" + '"', HOSTILE)
    assert "script" not in found.names()
    for tag, attributes in found.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href"):
            assert (
                not (attributes.get(name) or "")
                .lower()
                .startswith(("javascript:", "http", "data:text", "data:image/svg"))
            )
    assert "img" not in found.names()
    assert "audio" not in found.names()
    assert "<script>alert('1')</script>" in found.words
    assert "{{ 7 * 7 }}" in found.words
    assert "data:image/svg" not in found.words


def test_endless_words_are_cut() -> None:
    assert len(render(hostile(), PLAN, HOSTILE)) < 150_000


def test_memory_is_counted_in_units_of_1024_and_shown_in_units_of_1000() -> None:
    assert overview.cost(Cost({}, 1.0, "", 1024.0))["memory"] == "1.07 GB"


def test_figures_that_are_not_known_are_dashes() -> None:
    html = render(hostile(), "", "")
    shown = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    assert not re.search(r"\bnan\b|\binf\b|\bnone\b|infinity", shown, re.IGNORECASE)
    assert wording.UNKNOWN in shown


def test_results_that_were_stored_give_the_same_page() -> None:
    whole = results(targets=(classes(), numbers()))
    assert render(from_json(to_json(whole)), PLAN, COMMAND) == render(whole, PLAN, COMMAND)


def test_page_is_small_and_accessible() -> None:
    pairs = [[float(step), float(step % 7)] for step in range(1000)]
    large = replace(
        numbers(), scatter={"expected": [pair[0] for pair in pairs], "answered": [pair[1] for pair in pairs]}
    )
    fields = [
        {"name": f"f{n}", "modality": "number", "role": "input", "reason": "r", "summary": {}} for n in range(900)
    ]
    html = render(results(targets=(large,), data={"rows": 5, "fields": fields}), PLAN, COMMAND)
    assert len(html) < 300_000
    found = Page(html)
    assert "and 700 more fields" in found.words
    assert next(attributes for tag, attributes in found.tags if tag == "html")["lang"] == "en"
    assert "title" in found.names()
    for tag, attributes in found.tags:
        if tag == "img":
            assert attributes.get("alt")
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden")
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")


def test_many_classes_are_shown_as_pairs() -> None:
    labels = [f"class {n}" for n in range(25)]
    counts = [[9 if row == column else int(row == 3 and column == 4) * 5 for column in range(25)] for row in range(25)]
    found = page(results(targets=(replace(classes(), confusion={"labels": labels, "counts": counts}),)))
    assert "Confused most (25 classes)" in found.words
    assert "class 3 class 4 5 35.7%" in found.words
    assert "Confusion matrix" not in found.values("aria-label")


@pytest.mark.parametrize(
    ("contributions", "modality", "value", "wanted"),
    [
        ({"age": 0.4, "job": -0.2}, "table", None, "chart"),
        ([["age", 0.4], ["job", -0.2]], "table", None, "chart"),
        ([{"field": "age", "value": 3, "contribution": 0.4}], "table", None, "chart"),
        ([["good", 0.4], ["film", -0.4]], "text", "good film", "words"),
        ([0.1, -0.3, 0.2], "audio", None, "chart"),
        ([[0.1, 0.2], [-0.3, 0.0]], "image", "PICTURE", "overlay"),
    ],
)
def test_contributions_of_every_kind_are_drawn(contributions: Any, modality: str, value: Any, wanted: str) -> None:
    value = picture() if value == "PICTURE" else value
    shown = target_view.example(
        {"row": 1, "field": "x", "modality": modality, "value": value, "answer": "a", "contributions": contributions}
    )
    assert shown[wanted]
    Page(str(shown["chart"]) + str(shown["overlay"]))


def test_a_long_explained_text_is_cut_openly() -> None:
    pairs = [[f"word{number}", 0.1] for number in range(400)]
    shown = target_view.example({"modality": "text", "value": "x", "answer": "a", "contributions": pairs})
    assert len(shown["words"]) == target_view.WORDS + 1
    assert shown["words"][-1]["text"] == "… and 150 more words"


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.integers(2, 9))
def test_ticks_are_round_inside_and_even(low: float, width: float, count: int) -> None:
    high = low + width
    found = ticks(low, high, count)
    assert len(found) <= 2.6 * count + 1
    slack = 1e-6 * max(abs(low), abs(high), width)
    assert all(low - slack <= value <= high + slack for value in found)
    assert found == sorted(found)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=8), st.booleans())
def test_ends_hold_all_values(values: list[float], zero: bool) -> None:
    low, high = widened(values, zero=zero)
    finite = [value for value in values if math.isfinite(value)]
    slack = 1e-6 * max([1e-30, *map(abs, finite)])
    assert low < high
    assert all(low - slack <= value <= high + slack for value in finite)
    assert not zero or low <= 0 <= high


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), max_size=6),
    st.lists(st.tuples(st.text(max_size=9), st.floats(width=32), st.floats(width=32)), max_size=4),
)
def test_charts_are_balanced_and_never_say_nan(
    points: list[tuple[float, float]], named: list[tuple[str, float, float]]
) -> None:
    rows = [Whisker(name, value, low, value, main=not place) for place, (name, value, low) in enumerate(named)]
    drawn = [
        charts.line_chart([Line("a", points), Line("b", points, "second")], "x", "y", "t", zero=True),
        charts.share_chart([Line("a", points)], "x", "y", "t"),
        charts.reliability_chart([(x, y, 1) for x, y in points], "t"),
        charts.whisker_chart(rows, "x", "t", reference=0.5),
        charts.bar_chart(rows, "x", "t", signed=True),
        charts.scatter_chart([x for x, _ in points], [y for _, y in points], "m", "t"),
        charts.strip([y for _, y in points], "t"),
        charts.trace([y for _, y in points], "t"),
    ]
    for chart in drawn:
        Page(chart)
        attributes = re.sub(r">[^<]*<", "><", chart)
        assert not re.search(r"\b(nan|inf)\b", attributes)


def test_broad_letters_stay_within_the_room_of_a_label() -> None:
    drawn = charts.whisker_chart([Whisker("数据" * 40, 1.0, 0.5, 1.5)], "x", "t")
    assert f">{'数据' * 5}…<" in re.sub(r"<title>[^<]*</title>", "", drawn)
    narrow, broad = (charts.heat_map([name * 6, "b"], [[1, 0], [0, 1]], "t") for name in ("a", "数"))
    assert float(broad.split('viewBox="0 0 ')[1].split()[0]) > float(narrow.split('viewBox="0 0 ')[1].split()[0])


def test_heat_map_refuses_a_matrix_that_is_not_square() -> None:
    assert charts.heat_map(["a", "b"], [[1, 2]], "t") == ""
    assert charts.heat_map([], [], "t") == ""
    assert charts.heat_map(["a", "b"], [[3, 1], [0, 2]], "t").count("<rect") == 4


def test_words_for_figures() -> None:
    assert wording.score("accuracy", 0.9423) == "94.2%"
    assert wording.score("auc", 0.8471) == "0.847"
    assert wording.score("rmse", 543.21, "USD") == "543 USD"
    assert wording.difference("rmse", Interval(-12.34, -20.0, -3.0, True, "USD")) == "−12.3 USD (−20.0 to −3.00)"
    assert wording.difference("auc", None) == wording.UNKNOWN
    assert [wording.duration(value) for value in (0.02, 0.21, 59.6, 75, 4000, NAN)] == [
        "under 0.1 s",
        "0.2 s",
        "1 min",
        "1 min 15 s",
        "1 h 7 min",
        "–",
    ]
    assert [wording.size(value) for value in (12, 1_234_567)] == ["12 bytes", "1.23 MB"]
    assert wording.brief([["a", 3], ["b", 2]]) == "a (3), b (2)"
    assert [tick_text(value, 0.2) for value in (0.0, 0.4)] == ["0", "0.4"]


def test_figures_are_never_rounded_to_nonsense() -> None:
    assert [wording.size(value) for value in (999_400, 999_900, 5.2e12)] == ["999 kB", "1 MB", "5.2 TB"]
    assert [wording.number(value) for value in (3.4028234663852886e38, 1e300, 2.5e14)] == [
        "3.40e+38",
        "1.00e+300",
        "250,000,000,000,000",
    ]
    assert wording.difference("accuracy", Interval(-0.0003, -0.0104, -0.0002)) == "0.0 points (−1.0 to 0.0)"
    for low, high in ((1.70e9, 1.71e9), (0.69312, 0.69317), (-1e-4, 1e-4), (5e12, 5.00001e12)):
        step = axes.step_of(low, high, 5)
        found = [tick_text(value, step) for value in ticks(low, high)]
        assert len(set(found)) == len(found), found
    assert charts.line_chart([Line("a", [(0, 1e6), (1, 1e6 + 2e-6)])], "x", "y", "t")


def test_a_column_that_is_missing_in_all_rows_is_said_to_be() -> None:
    assert overview._missing({"missing": 1.0, "count": 100}) == "100.0%"
    assert overview._missing({"missing": 1, "count": 100}) == "1.0%"
    assert overview._missing({"missing": 0.25, "count": 100}) == "25.0%"
    assert overview._missing({"missing": 0, "count": 100}) == ""


def test_a_text_that_begins_like_a_medium_is_shown() -> None:
    (found,) = inputs.show({"a": {"modality": "text", "value": "data: of 2024, all of it"}})
    assert (found.kind, found.value) == ("text", "data: of 2024, all of it")
    (hidden,) = inputs.show({"a": {"modality": "image", "value": "data:text/html;base64,PHNjcmlwdD4="}})
    assert hidden.value == "(cannot be shown)"


def test_texts_from_right_to_left_stand_so() -> None:
    found = page(results())
    assert "auto" in found.values("dir")


def test_a_score_that_was_none_at_first_has_a_curve() -> None:
    entries = [{"step": 1, "loss": NAN}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.4}]
    drawn = overview.curves({"train": [], "validation": entries}, None)
    assert [curve["title"] for curve in drawn] == ["Loss on the validation part"]


def test_a_forecast_of_one_step_has_its_interval() -> None:
    assert "90% interval" in fan_chart([1.0, 2.0], [3.5], [3.0], [2.0], [4.0], "t")


def test_only_small_pictures_are_enlarged() -> None:
    assert inputs.picture_width(picture()) == 28
    assert inputs.show({"a": {"modality": "image", "value": picture()}})[0].small
    assert not inputs.show({"a": {"modality": "image", "value": "data:image/jpeg;base64,AAAA"}})[0].small


def test_a_wish_is_shown_with_its_value_however_short_it_names_the_setting() -> None:
    plan = """
[network.table]
name = "mlp"
[network.table.options]
width = 64
[method]
name = "dqn"
[method.options]
updates = 0.5
[reasons]
"network.table.name" = "mlp: it suits"
"network.name" = "you asked for it"
"network.width" = "you asked for it"
"method.updates" = "you asked for it"
"training.rest" = "nowhere"
"""
    shown = {choice["key"]: choice["value"] for choice in overview.plan(plan)["choices"]}
    assert shown == {"network.name": "mlp", "network.width": "64", "method.updates": "0.500", "training.rest": ""}
