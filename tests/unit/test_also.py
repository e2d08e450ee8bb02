"""Rows that only training learns from: the others' division stays, nothing leaks, and wrong ones are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lamina.api import inspect, inspect_request
from lamina.cli import main
from lamina.cli.generate import _describe
from lamina.data.pairs import Pairs
from lamina.data.split import Split, split
from lamina.errors import InputError
from lamina.narrate import Silent
from lamina.plan import DataPlan, Plan, read, to_toml
from lamina.report.overview import data as shown
from lamina.run import Run, create
from lamina.steps import also, prepare
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request, Sources, check, sources
from lamina.steps.session import data_of, train
from lamina.steps.understand import Understood, understand
from lamina.steps.written import corpus, pairs
from lamina.tasks.generate import Task as Generate

Frame = dict[str, list[Any]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))


def frame(rows: int, seed: int = 0, **more: Any) -> Frame:
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    found = {"x": x.tolist(), "z": random.normal(size=rows).tolist(), "y": np.where(x > 0, "b", "a").tolist()}
    return {**found, **{name: values(random, rows) for name, values in more.items()}}


def asked(data: Any, more: Any = None, *sets: str, **options: Any) -> Understood:
    request = Request(data, targets=("y",), also=sources(more), sets=sets)
    return understand(Request(**{**vars(request), **options}), Silent())


def divided(found: Understood) -> Split:
    return split(found.table, found.schema, found.plan.data, found.plan.seed, test_from=found.boundary)


def days(random: np.random.Generator, rows: int) -> list[str]:
    return [f"2020-{1 + month % 12:02d}-{1 + day:02d}" for month, day in random.integers(0, 28, (rows, 2))]


def people(random: np.random.Generator, rows: int) -> list[str]:
    return [f"p{number}" for number in random.integers(0, 30, rows)]


def marked(random: np.random.Generator, rows: int) -> list[str]:
    return ["train", "test", "train", "validation"] * (rows // 4)


@pytest.mark.parametrize("how", ["stratified", "random", "time", "group", "column", "given"])
def test_the_division_of_the_datas_own_rows_is_that_without_more(how: str) -> None:
    columns: dict[str, Any] = {"time": {"day": days}, "group": {"person": people}, "column": {"split": marked}}.get(
        how, {}
    )
    sets = {"time": ["schema.day.role=time"], "group": ["schema.person.role=group"], "random": ["data.split=random"]}
    test = frame(20, 5) if how == "given" else None
    data, more = frame(200, **columns), frame(40, 1, **columns)
    # Doubles are kept together, so whoever counts them must not see those among the added rows.
    for values in data.values():
        values[20:30] = values[:10]
    one, other = (asked(data, added, *sets.get(how, []), test=test) for added in (None, more))
    alone, both = divided(one), divided(other)
    own = len(one.table)
    assert (other.table.own, both.how, both.reason) == (own, alone.how, alone.reason)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(getattr(both, part), getattr(alone, part))
    np.testing.assert_array_equal(both.train[both.train < own], alone.train)
    added = both.train[both.train >= own]
    assert len(added)
    assert len(added) + len(both.dropped) - len(alone.dropped) == 40
    told = [(item["rows"], item["learned"]) for item in also.sources(other.plan, other.table, both.train)]
    assert told == [(200, len(alone.train)), (40, len(added))]
    assert one.plan.schema == other.plan.schema
    assert one.plan.data.fingerprint != other.plan.data.fingerprint
    again = Split.from_bytes(both.to_bytes())
    np.testing.assert_array_equal(again.train, both.train)
    table, boundary = other.table, other.boundary
    repeated = split(table, other.schema, other.plan.data, other.plan.seed, test_from=boundary)
    np.testing.assert_array_equal(repeated.train, both.train)


def reasons(found: Understood) -> dict[int, str]:
    return {row - found.table.own: reason for row, reason in divided(found).dropped if row >= found.table.own}


def test_copies_of_rows_that_validate_and_test_are_left_out_and_told() -> None:
    data = frame(200)
    alone = divided(asked(data))
    row = {part: int(getattr(alone, part)[0]) for part in ("train", "validation", "test")}
    more = {name: [values[place] for place in row.values()] for name, values in data.items()}
    # Another answer makes it no other row.
    more["y"] = ["a", "b", "a"]
    found = asked(data, more)
    assert reasons(found) == {1: "the same inputs as a validation row", 2: "the same inputs as a test row"}
    told = also.left_out(found.table, divided(found))
    assert told[0] == "left out of what only training would use: 1 row (the same inputs as a validation row)"
    assert len(told) == 2


def test_equal_rows_are_no_copies_where_inputs_take_few_values() -> None:
    data = {"x": [0, 1, 2, 3] * 50, "y": list("abba") * 50}
    found = asked(data, {"x": [0, 1], "y": ["a", "b"]}, "schema.x.modality=category")
    assert reasons(found) == {}


def test_what_the_division_keeps_apart_stays_apart() -> None:
    data = frame(120, person=people)
    alone = divided(asked(data, None, "schema.person.role=group"))
    names = [data["person"][part[0]] for part in (alone.test, alone.validation, alone.train)]
    more = {**frame(4, 1), "person": [*names, "somebody new"]}
    found = asked(data, more, "schema.person.role=group")
    assert reasons(found) == {0: "its person is that of test rows", 1: "its person is that of validation rows"}
    data = frame(120, day=days)
    more = {**frame(3, 1), "day": ["2019-12-01", "2021-01-01", None]}
    found = asked(data, more, "schema.day.role=time")
    assert reasons(found) == {1: "day is not before the validation rows", 2: "day has no time"}
    data = {**frame(80), "split": ["train", "train", "test", "validation"] * 20}
    more = {**frame(4, 1), "split": ["train", "test", None, "validation"]}
    assert set(reasons(asked(data, more))) == {1, 3}


def test_rows_that_say_themselves_that_they_test_are_no_surprise() -> None:
    with pytest.raises(InputError, match="says itself which rows are for testing, in split") as refused:
        asked(frame(80), {**frame(8, 1), "split": ["train", "test"] * 4})
    assert "its train/" in str(refused.value.fix)
    assert len(asked(frame(80), {**frame(8, 1), "split": ["train"] * 8}).table) == 88


def test_rows_without_an_answer_are_left_out_and_only_such_rows_are_refused() -> None:
    more = frame(3, 1)
    more["y"][1] = None
    assert reasons(asked(frame(60), more)) == {1: "the target y is missing"}
    more["y"] = [None] * 3
    with pytest.raises(InputError, match="None of the 3 rows that only training") as refused:
        divided(asked(frame(60), more))
    assert "the target y is missing" in str(refused.value.where)


def test_columns_that_are_neither_read_nor_answered_may_be_missing() -> None:
    data = {**frame(60), "day": days(np.random.default_rng(0), 60)}
    found = asked(data, frame(5, 1), "schema.day.role=ignore")
    assert reasons(found) == {}
    for lacking in ("x", "y"):
        more = {name: values for name, values in frame(5, 1).items() if name != lacking}
        with pytest.raises(InputError, match=f"lacks columns that .* has: {lacking}") as refused:
            asked(data, more, "schema.day.role=ignore")
        assert "every row that is learned from needs them" in str(refused.value.fix)


def test_rows_can_count_for_less_by_a_column_of_weights(tmp_path: Path) -> None:
    data = {**frame(100), "weight": [1.0, 2.0] * 50}
    with pytest.raises(InputError, match=r"lacks columns that .* has: weight"):
        asked(data, frame(20, 1), "schema.weight.role=weight")
    more = {**frame(20, 1), "weight": [0.25] * 20}
    _, _, found = prepared(tmp_path / "run", data, more, "schema.weight.role=weight")
    assert found.weight is not None
    assert found.weight[100:].tolist() == [0.25] * 20


def test_a_class_that_the_data_does_not_have_is_refused() -> None:
    more = {**frame(4, 1), "y": ["a", "b", "c", "d"]}
    with pytest.raises(InputError, match=r"the class 'c' in y, which .* does not have, and 1 more such") as refused:
        asked(frame(60), (frame(5, 2), more))
    assert "row 2" in str(refused.value.where)
    assert "rows of it" in str(refused.value.fix)


def pictures(folder: Path, classes: int = 2, each: int = 10, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    for name in "abc"[:classes] if classes else ".":
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            Image.fromarray(random.integers(0, 255, (8, 8), np.uint8)).save(folder / name / f"{number}.png")
    return folder


def test_pictures_that_look_like_test_pictures_are_told(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos")
    for file in photos.rglob("*.png"):
        (tmp_path / "more" / file.parent.name).mkdir(parents=True, exist_ok=True)
        picture = Image.open(file).resize((48, 48), Image.Resampling.BICUBIC)
        picture.save(file)
        picture.save(tmp_path / "more" / file.parent.name / f"{file.stem}.jpg", quality=90)
    found = inspect(str(photos), also=tmp_path / "more").document()
    (finding,) = [item for item in found["audit"] if item["kind"] == "near duplicates"]
    assert finding["count"] == found["split"]["test"]
    assert finding["fix"].startswith(f"{finding['count']} of them only of what --also gives: leave those out there.")


def test_wrong_places_are_refused_before_anything_is_learned(tmp_path: Path) -> None:
    photos, flat, empty = (str(tmp_path / name) for name in ("photos", "flat", "empty"))
    pictures(Path(photos))
    pictures(Path(flat), classes=0)
    Path(empty).mkdir()
    wrong = {
        "nowhere": "There is no file or folder nowhere",
        empty: "empty",
        flat: "flat lacks columns that photos has: label",
    }
    for place, says in wrong.items():
        with pytest.raises(InputError, match=says) as refused:
            understand(Request(photos, also=(place,)), Silent())
        assert refused.value.fix
    with pytest.raises(InputError, match="flat lacks") as refused:
        understand(Request(photos, also=(flat,)), Silent())
    assert "folders that are called like the classes" in str(refused.value.fix)
    # Where nothing is answered, labels are for judging only: more rows need none.
    found = understand(Request(photos, also=(flat,), task="embed"), Silent())
    assert len(divided(found).train[-10:]) == 10
    found = understand(
        Request(flat, also=(pictures(tmp_path / "more", 0, 4, 1).as_posix(),), task="generate"), Silent()
    )
    assert (len(found.table), found.table.added) == (14, (10,))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"data": "gym:CartPole-v1", "targets": ()}, "An environment takes no --also"),
        ({"task": "forecast", "horizon": 2, "targets": ("x",)}, "The task 'forecast' takes no --also"),
        ({"task": "recommend", "targets": ()}, "The task 'recommend' takes no --also"),
        ({"task": "anomaly", "targets": (), "sets": ("task.window=20", 'task.series=["x"]')}, "one long series"),
    ],
)
def test_what_has_no_rows_to_be_added_refuses_them(options: dict[str, Any], says: str) -> None:
    request = Request(**{"data": frame(300), "also": (frame(5, 1),), "targets": ("y",), **options})
    with pytest.raises(InputError, match=says) as refused:
        inspect_request(request)
    assert refused.value.where in ("--also", None)
    assert refused.value.fix


def prepared(folder: Path, data: Any, more: Any, *sets: str, target: str = "y") -> tuple[Run, Understood, Prepared]:
    found = asked(data, more, *sets, targets=(target,))
    run = create(str(folder), "run")
    return run, found, prepare.prepare(found, run, Silent())


def test_encoders_learn_from_all_and_the_question_stays_the_datas(tmp_path: Path) -> None:
    data, more = frame(200), {**frame(100, 1), "x": [9.0] * 100, "y": ["a"] * 100}
    _, _, alone = prepared(tmp_path / "alone", data, None)
    run, found, both = prepared(tmp_path / "both", data, more)
    # Which score counts, and which class is the rarer, is asked of rows like those that test.
    assert alone.tasks["y"].state() == both.tasks["y"].state()
    assert alone.encoders["x"].state() != both.encoders["x"].state()
    assert len(both.split.train) == len(alone.split.train) + 100
    told = also.sources(found.plan, both.table, both.split.train)
    assert [(item["rows"], item["learned"]) for item in told] == [(200, len(alone.split.train)), (100, 100)]
    sentence = shown({"sources": told})["sources"]
    assert sentence.endswith("100 of in memory: dict, which only training uses")
    run.write_plan(found.plan)
    assert read(run.plan_file) == found.plan
    for given in (Sources(data), Sources(data, None, (frame(100, 3),))):
        with pytest.raises(InputError, match=r"also=frame|not what the run") as refused:
            data_of(run, found.plan, given)
        assert "also=frame" in str(refused.value.fix) or "Put the old data back" in str(refused.value.fix)
    table, boundary = data_of(run, found.plan, Sources(data, None, (more,)))
    again = prepare.prepared_again(run, found.plan, table, boundary, Silent())
    np.testing.assert_array_equal(again.split.train, both.split.train)
    assert again.examples.arrays["x"].shape == both.examples.arrays["x"].shape


def test_rows_of_another_type_are_read_as_the_datas(tmp_path: Path) -> None:
    lines = [f"{x},{z},{y}" for x, z, y in zip(*frame(40, 1).values(), strict=True)]
    (tmp_path / "more.csv").write_text("\n".join(["x,z,y", *lines, ""]))
    alone = divided(asked(frame(100)))
    _, found, both = prepared(tmp_path / "run", frame(100), tmp_path / "more.csv")
    np.testing.assert_array_equal(both.split.test, alone.test)
    assert (found.plan.data.also, len(both.split.train)) == ((str(tmp_path / "more.csv"),), len(alone.train) + 40)
    np.testing.assert_allclose(
        both.examples.arrays["x"][100:].ravel(),
        both.encoders["x"].encode(np.array(frame(40, 1)["x"])).array.ravel(),
        rtol=1e-5,
    )


def test_pairs_are_made_of_added_pictures_as_of_the_others(tmp_path: Path) -> None:
    photos, more = pictures(tmp_path / "photos", 0, 30), pictures(tmp_path / "more", 0, 6, 1)
    words = ("task.restored.kind=denoise",)
    one, other = (
        understand(Request(str(photos), also=added, task="restore", sets=words), Silent())
        for added in ((), (str(more),))
    )
    assert isinstance(other.table, Pairs)
    assert other.table.own == len(one.table)
    assert len(other.table) == len(one.table) // 30 * 36
    row = np.array([3])
    for name in one.table.columns:
        np.testing.assert_array_equal(other.table.take(row, [name])[name][0], one.table.take(row, [name])[name][0])
    alone, both = divided(one), divided(other)
    np.testing.assert_array_equal(both.test, alone.test)
    assert len(both.train) == len(alone.train) + len(other.table) - len(one.table)


def test_a_generator_learns_from_the_rows_that_a_classifier_would(tmp_path: Path) -> None:
    photos = str(pictures(tmp_path / "photos", 3, 14))
    parts = [divided(understand(Request(photos, task=task, seed=3), Silent())) for task in ("", "generate")]
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(parts[0], part), getattr(parts[1], part))


def test_texts_to_write_from_are_more_in_training_only(tmp_path: Path) -> None:
    lines = [f"The {one} goes to the {other} and back again.\n" for one in "abcdefghij" for other in "klmnopqrst"]
    (tmp_path / "own.txt").write_text("".join(lines))
    (tmp_path / "more.txt").write_text("Another text that nobody else has.\n")
    given = Sources(str(tmp_path / "own.txt"))
    plan = Plan().data
    alone = corpus.read(given, plan, "", "")
    both = corpus.read(Sources(given.data, None, (str(tmp_path / "more.txt"),)), plan, "", "")
    assert (both.test, both.validation) == (alone.test, alone.validation)
    assert both.train == (*alone.train, "Another text that nobody else has.\n")
    assert (both.added, both.copies) == (((1, 1),), 0)
    assert both.fingerprint != alone.fingerprint
    (tmp_path / "copy.txt").write_text(alone.test[0][20:120])
    several = Sources(given.data, None, tuple(str(tmp_path / name) for name in ("more.txt", "copy.txt")))
    with pytest.raises(InputError, match="None of the 1 texts"):
        corpus.read(several, plan, "", "")
    (tmp_path / "both").mkdir()
    for name in ("more.txt", "copy.txt"):
        (tmp_path / "both" / name).write_text((tmp_path / name).read_text())
    found = corpus.read(Sources(given.data, None, (str(tmp_path / "both"),)), plan, "", "")
    assert (found.added, found.copies, len(found.dropped)) == (((2, 1),), 1, 1)
    # The whole text holds its own end, which tests.
    with pytest.raises(InputError, match="None of the 1 texts"):
        corpus.read(Sources(given.data, None, (given.data,)), plan, "", "")


def test_pairs_to_translate_are_more_in_training_only(tmp_path: Path) -> None:
    english = [f"the {one} and the {other}" for one in "abcdefg" for other in "klmnopq"]
    data = {"en": english, "de": [f"der {text}" for text in english]}
    request = Request(data, targets=("de",), task="translate")
    _, alone = pairs.understand(request, Silent())
    held = [english[alone.parts.test[0]], english[alone.parts.validation[0]]]
    more = {"en": [*held, "something new", "nothing"], "de": ["eins", "zwei", "drei", None]}
    plan, both = pairs.understand(Request(**{**vars(request), "also": (more,)}), Silent())
    np.testing.assert_array_equal(both.parts.test, alone.parts.test)
    assert both.parts.train[-1] == len(english) + 2
    assert sorted(row - len(english) for row, _ in both.left_out) == [0, 1, 3]
    assert plan.data.also == ("in memory: dict",)
    again = pairs.again(plan, Sources(data, None, (more,)))
    np.testing.assert_array_equal(again.parts.train, both.parts.train)


def test_from_python_one_or_several_sources_can_be_given() -> None:
    data = frame(60)
    rows = [{name: values[row] for name, values in frame(5, 1).items()} for row in range(5)]
    assert [len(sources(given)) for given in (rows, (rows, rows), ["one", "two"], Path("one"))] == [1, 2, 2, 1]
    found = inspect(data, "y", also=rows).document()
    assert [item["rows"] for item in found["sources"]] == [60, 5]
    assert inspect(data, "y").document()["sources"] == []


def test_the_command_line_takes_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in (("data", frame(60)), ("one", frame(5, 1)), ("two", frame(4, 2))):
        lines = [",".join(map(str, row)) for row in zip(*rows.values(), strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,z,y", *lines, ""]))
    files = [str(tmp_path / f"{name}.csv") for name in ("data", "one", "two")]
    assert main(["inspect", files[0], "--target", "y", "--also", files[1], "--also", files[2], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(item["source"], item["rows"]) for item in found["sources"]] == list(zip(files, (60, 5, 4), strict=True))
    assert main(["inspect", files[0], "--target", "y", "--also", files[1]]) == 0
    assert f"5 of {files[1]}, which only training uses" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"data\.also") as refused:
        check(Request(files[0], sets=("data.also=x",)))
    assert refused.value.fix == "Write --also DATA."
    assert 'also = ["one"' in to_toml(Plan().with_set(['data.also=["one"]']))


def test_a_plan_that_is_followed_says_which_rows_it_learned_from_besides(tmp_path: Path) -> None:
    class Told(Silent):
        def say(self, text: str) -> None:
            lines.append(text)

    lines: list[str] = []
    (tmp_path / "plan.toml").write_text(to_toml(replace(Plan(), data=DataPlan(also=("made", "more")))))
    request = Request("nowhere", plan=str(tmp_path / "plan.toml"))
    with pytest.raises(InputError, match="no file or folder nowhere"):
        train(request, Told())
    assert lines == ["the plan learned from more rows: again with --also made --also more"]


def test_made_pictures_are_described_where_their_folders_do_not_say_enough(tmp_path: Path) -> None:
    card = {"inputs": [{"name": "path", "modality": "image"}]}
    written: list[tuple[str, str | None]] = [("a/000001.png", "a"), ("b/000002.png", "b")]
    _describe(tmp_path, card, Generate("picture", (8, 8, 1), "label", ("a", "b")), written)
    assert not list(tmp_path.iterdir())
    _describe(tmp_path, card, Generate("picture", (8, 8, 1)), [("000001.png", None)])
    assert not list(tmp_path.iterdir())
    _describe(tmp_path, card, Generate("picture", (8, 8, 1), "label", ("a/b",)), [("a_b/000001.png", "a/b")])
    assert (tmp_path / "metadata.csv").read_text() == "path,label\na_b/000001.png,a/b\n"
    named = {"inputs": [{"name": "file", "modality": "image"}]}
    _describe(tmp_path, named, Generate("picture", (8, 8, 1), "style", ("a", "b")), written)
    assert (tmp_path / "metadata.csv").read_text().splitlines()[:2] == ["file,style", "a/000001.png,a"]
