"""Recommendations from the command line: chains of items are learned, exact resume, the sealed model, wrong wishes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures import check_same, jsonl, only_trained, same_when_broken_off

import lamina
from lamina.cli import main

ITEMS = 24
SETS = (
    "training.threads=1", "training.precision=fp32", "training.keep=last",
    "training.epochs=4", "training.ema=0.9", "network.width=16", "task.history=12",
)  # fmt: skip
TRAIN = (
    "train", "chains.csv", "--task", "recommend", "--seed", "1", "--set", *SETS, "task.items=items.csv",
    "training.checkpoint_seconds=0",
)  # fmt: skip


def chains(folder: Path, users: int = 120) -> Path:
    """Users go from item to item in a circle, from wherever they begin, and seldom jump."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(users):
        item, moment = int(random.integers(ITEMS)), int(random.integers(0, 5000))
        for _ in range(int(random.integers(6, 14))):
            rows.append((moment, user, item))
            moment += int(random.integers(1, 100))
            item = (item + 1) % ITEMS if random.random() < 0.9 else int(random.integers(ITEMS))
    lines = [f"u{user},i{item},{moment},{'abc'[item % 3]},{20 + user % 50}" for moment, user, item in sorted(rows)]
    path = folder / "chains.csv"
    path.write_text("\n".join(["user,item,time,kind,age", *lines]) + "\n")
    return path


def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(tmp_path: Path, cache: Path) -> None:
    chains(tmp_path)
    # Two of them nobody has had: what is fitted for such items is resumed too.
    items = [f"i{item},{'abc'[item % 3]}" for item in range(ITEMS + 2)]
    (tmp_path / "items.csv").write_text("\n".join(["item,kind", *items]) + "\n")
    run = same_when_broken_off(tmp_path, *TRAIN)
    only_trained(tmp_path, tmp_path / "again", "train", "chains.csv", "--plan", "whole/plan.toml")
    check_same(tmp_path / "again", run)


@pytest.fixture(scope="module", params=["sequential", "two_tower"])
def learned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that has learned the chains."""
    folder = tmp_path_factory.mktemp("chains")
    more = [f"network.name={request.param}", "training.epochs=40", "training.keep=best"]
    line = ["train", str(chains(folder)), "--task", "recommend", "--quiet", "--out", str(folder / "run")]
    assert main([*line, "--set", *SETS, *more]) == 0
    return folder / "run"


def test_it_foretells_far_better_than_popularity(learned: Path) -> None:
    result = json.loads((learned / "results.json").read_text())["targets"][0]
    assert list(result["scores"]) == ["recall@10", "ndcg@10", "coverage"]
    reached = {item["name"]: item["scores"]["ndcg@10"]["value"] for item in result["baselines"]}
    assert {"popularity", "recent popularity", "matrix factorisation"} < set(reached)
    assert any(name.startswith("item-kNN") for name in reached)
    # The next item of the chain comes in nine of ten cases: 0.9 would be the most.
    assert result["scores"]["ndcg@10"]["value"] > 0.6 > 1.5 * reached["popularity"]
    ahead = next(item["difference"] for item in result["baselines"] if item["name"] == "popularity")
    assert ahead["low"] > 0
    assert "Foretold were" in result["verdict"]


def test_the_sealed_model_recommends_the_next_of_the_chain(learned: Path) -> None:
    model = lamina.load(learned)
    chain = [[f"i{(start + step) % ITEMS}" for step in range(4)] for start in range(ITEMS)]
    answers = model.predict([{"history": items[:3], "age": 30} for items in chain])
    right = [answer["recommended"][0] == items[3] for answer, items in zip(answers, chain, strict=True)]
    assert np.mean(right) > 0.7
    for answer, items in zip(answers, chain, strict=True):
        assert not set(items[:3]) & set(answer["recommended"])
    text, new = model.predict([{"history": "|".join(chain[0][:3]), "age": 30}, {"history": [], "age": None}])
    assert text["recommended"] == answers[0]["recommended"]
    assert len(new["recommended"]) == len(new["recommended.p"]) == 10
    assert new["recommended.p"] == sorted(new["recommended.p"], reverse=True)
    assert model.check_golden()["sound"]


def test_a_file_of_users_is_answered(learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = tmp_path / "users.csv"
    users.write_text('history,age\ni3|i4|i5,30\n"[""i3"", ""i4"", ""i5""]",30\nstranger,\n')
    assert main(["predict", str(learned), str(users), "--out", str(tmp_path / "answers.jsonl")]) == 0
    listed, as_json, stranger = jsonl(tmp_path / "answers.jsonl")
    assert listed == as_json
    assert "i6" in listed["recommended"]
    assert len(stranger["recommended"]) == 10
    capsys.readouterr()
    assert main(["test", str(learned), str(users), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # The last item of the third history is one that the model does not know.
    assert (found["rows"], found["errors"]) == (3, 0)
    assert found["targets"]["recommended"]["recall@10"]["value"] == pytest.approx(2 / 3)


def test_a_file_of_interactions_is_answered_for_each_user(learned: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("time,user,item,age\n9,mia,i5,30\n1,mia,i3,\n2,tom,i9,40\n4,mia,i4,\n,eva,,25\nsoon,tom,i1,\n")
    for name in ("answers.jsonl", "answers.parquet"):
        assert main(["predict", str(learned), str(rows), "--out", str(tmp_path / name)]) == 0
    mia, tom, eva, bad = jsonl(tmp_path / "answers.jsonl")
    (same,) = lamina.load(learned).predict([{"history": ["i3", "i4", "i5"], "age": "30"}])
    assert (mia["user"], mia["recommended"]) == ("mia", same["recommended"])
    assert "i6" in mia["recommended"]
    assert not {"i3", "i4", "i5"} & set(mia["recommended"])
    assert (tom["user"], eva["user"]) == ("tom", "eva")
    assert bad["error"] == "user 'tom': row 5: there is no readable value of 'time'"
    assert "i9" not in tom["recommended"]
    assert len(eva["recommended"]) == 10


def test_what_is_for_runs_on_rows_says_so(learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", str(learned)]) == 2
    error = capsys.readouterr().err
    assert "histories" in error
    assert "lamina predict" in error


def test_the_recommenders_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "networks/recommenders", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["sequential", "two_tower"]


def test_the_page_shows_histories_and_what_is_recommended(learned: Path) -> None:
    page = (learned / "report.html").read_text()
    assert "Recommendations for u" in page
    assert "Had at last" in page
    assert "item-kNN" in page


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "task.user=usr"], "user"),
        (["--set", "task.usr=user"], "user"),
        (["--set", "task.k=0"], "from 1 to 100"),
        (["--set", "task.liked=4"], "task.rating"),
        (["--set", "task.items=nowhere.csv"], "nowhere.csv"),
        (["--set", "task.items=3"], "row for each item"),
        (["--set", "network.name=sequentail"], "sequential"),
        (["--set", "network.widht=3"], "width"),
        (["--set", "network.name=sequential", "network.width=7"], "heads"),
        (["--set", "method.name=supervised"], "next_item"),
        (["--set", "method.negative=5"], "negatives"),
        (["--target", "item"], "task.item"),
        (["--test", "chains.csv"], "one table"),
    ],
)
def test_wrong_wishes_are_told(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    path = chains(tmp_path, 20)
    assert main(["train", str(path), "--task", "recommend", *more, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_columns_can_be_named_and_repetitions_kept(tmp_path: Path, cache: Path) -> None:
    path = chains(tmp_path, 40)
    path.write_text(path.read_text().replace("user,item,time", "who,what,when", 1))
    quick = {name: json.loads(value) if value[0].isdigit() else value for name, value in map(_parts, SETS)}
    named = {"task.user": "who", "task.item": "what", "task.repeat": True, "task.k": 3, "task.about_users": []}
    out = tmp_path / "run"
    trained = lamina.train(path, task="recommend", out=out, quiet=True, set={**quick, **named, "training.epochs": 2})
    (row,) = trained.model.predict([{"history": ["i1", "i2"]}])
    assert len(row["recommended"]) == 3
    assert trained.results.data["users"] == 40
    network = trained.network
    assert [name for name, _ in network.stages()] == ["items", "about", "network"]


def test_items_that_nobody_had_are_recommended_by_what_a_table_says_of_them(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every user stays with one kind of items; the newest of each kind come after all that is learned from."""
    random = np.random.default_rng(0)
    kinds, each = "abc", 8
    rows = []
    for user in range(90):
        kind = kinds[user % 3]
        had = [f"{kind}{number}" for number in random.permutation(each)[:5]]
        rows += [f"u{user},{item},{day}" for day, item in enumerate([*had[:4], f"{kind}new", f"{kind}newer", had[4]])]
    rows.sort(key=lambda row: int(row.rpartition(",")[2]))
    (tmp_path / "had.csv").write_text("\n".join(["user,item,day", *rows]) + "\n")
    items = [f"{kind}{number},{kind}" for kind in kinds for number in (*range(each), "new", "newer", "untouched")]
    (tmp_path / "items.csv").write_text("\n".join(["item,kind", *items, ",a"]) + "\n")
    out = tmp_path / "run"
    line = ["train", str(tmp_path / "had.csv"), "--task", "recommend", "--out", str(out)]
    sets = [*SETS, f"task.items={tmp_path / 'items.csv'}", "task.k=30", "training.epochs=15", "data.test_share=0.28"]
    assert main([*line, "--set", *sets]) == 0
    assert "9 more items that nobody had by then" in capsys.readouterr().err
    result = json.loads((out / "results.json").read_text())["targets"][0]
    cold = next(part for part in result["slices"] if part["value"].startswith("cold"))
    assert cold["score"]["value"] > 0.3
    for kind in kinds:
        (answer,) = lamina.load(out).predict([{"history": [f"{kind}1", f"{kind}4", f"{kind}2"]}])
        # Nobody has ever had it, so among those of which that is true it has to come first by its kind.
        untouched = [item for item in answer["recommended"] if item.endswith("untouched")]
        assert untouched[0] == f"{kind}untouched"
    (tmp_path / "items.csv").write_text("item,kind\na1,a\n")
    assert main(["resume", str(out)]) == 2
    assert "items.csv are not what the run" in capsys.readouterr().err


def _parts(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name, value
