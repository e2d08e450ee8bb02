"""Rows without answers from the command line: anomalies, embeddings and clusters, resume, search, wrong wishes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures import check_same, jsonl, only_trained, same_when_broken_off
from PIL import Image

import lamina
from lamina import run as runs
from lamina.cli import main
from lamina.errors import InputError
from lamina.narrate import Silent
from lamina.steps.prepare import prepared_again
from lamina.steps.request import Sources
from lamina.steps.session import data_of
from lamina.steps.unlabelled.learner import build

SETS = (
    "training.threads=1", "training.precision=fp32", "training.keep=last",
    "training.epochs=6", "training.ema=0.9", "training.batch_size=64",
)  # fmt: skip
TABLE = (
    "train", "rows.csv", "--task", "anomaly", "--target", "kind", "--seed", "1", "--set", *SETS,
    "training.checkpoint_seconds=0",
)  # fmt: skip


def table(folder: Path, rows: int = 400) -> Path:
    """Two numbers that follow each other and a category; in a twentieth of the rows they do not."""
    random = np.random.default_rng(0)
    lines = ["x,y,color,kind"]
    for _ in range(rows):
        x, strange = random.normal(), random.random() < 0.05
        y = 2 * x + random.normal(0, 0.1) + (random.choice([-5, 5]) if strange else 0)
        lines.append(f"{x:.4f},{y:.4f},{'red' if x > 0 else 'blue'},{'odd' if strange else 'fine'}")
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def pictures(folder: Path, each: int = 24) -> Path:
    """Horizontal and vertical stripes, in class folders."""
    random = np.random.default_rng(0)
    for name in ("across", "down"):
        (folder / "stripes" / name).mkdir(parents=True)
        for number in range(each):
            wave = (np.arange(16) // int(random.integers(1, 4)) % 2 * 200 + 20).astype(np.uint8)
            picture = np.broadcast_to(wave[:, None] if name == "across" else wave[None, :], (16, 16))
            noisy = np.clip(picture + random.normal(0, 20, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / "stripes" / name / f"{number}.png")
    return folder / "stripes"


def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(tmp_path: Path, cache: Path) -> None:
    table(tmp_path)
    run = same_when_broken_off(tmp_path, *TABLE)
    only_trained(tmp_path, tmp_path / "again", "train", "rows.csv", "--plan", "whole/plan.toml")
    check_same(tmp_path / "again", run)


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that has learned what is ordinary from ordinary rows."""
    folder = tmp_path_factory.mktemp("strange")
    more = ["training.epochs=80", "task.normal=fine", "task.rate=0.02", "optimizer.learning_rate=0.003"]
    line = [
        "train",
        str(table(folder)),
        "--task",
        "anomaly",
        "--target",
        "kind",
        "--quiet",
        "--out",
        str(folder / "run"),
    ]
    assert main([*line, "--set", *SETS, *more]) == 0
    return folder / "run"


def test_what_breaks_a_rule_between_columns_is_found_and_placed(strange: Path) -> None:
    result = json.loads((strange / "results.json").read_text())["targets"][0]
    assert result["scores"]["auc"]["value"] > 0.9
    assert {item["name"] for item in result["baselines"]} == {"an isolation forest", "nearest neighbors"}
    # They see the rows too: without any features they would draw lots.
    assert all(item["scores"]["auc"]["value"] > 0.6 for item in result["baselines"])
    rows = [{"x": 1.0, "y": 2.0, "color": "red"}, {"x": 1.0, "y": -4.0, "color": "red"}]
    fine, odd = lamina.load(strange).predict(rows)
    assert (fine["anomaly"], odd["anomaly"]) == (False, True)
    assert odd["anomaly.rarity"] > 0.9 > fine["anomaly.rarity"]
    assert odd["anomaly.where"] in ("x", "y")
    assert lamina.load(strange).check_golden()["sound"]


def test_its_page_lists_the_strangest_rows(strange: Path) -> None:
    page = (strange / "report.html").read_text()
    assert "The strangest test rows" in page
    assert "rows.csv, line" in page


def test_without_labels_it_says_that_nothing_can_judge(tmp_path: Path, cache: Path) -> None:
    path = table(tmp_path, 120)
    bare = tmp_path / "bare.csv"
    bare.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()) + "\n")
    quick = dict(item.split("=") for item in SETS)
    sets = {name: json.loads(value) if value[0].isdigit() else value for name, value in quick.items()}
    trained = lamina.train(bare, task="anomaly", out=tmp_path / "run", quiet=True, set=sets)
    assert "no labels" in trained.results.targets[0].verdict
    trained = lamina.train(bare, task="embed", out=tmp_path / "other", quiet=True, set=sets)
    (row,) = trained.model.predict([{"x": 1.0, "y": 2.0, "color": "red"}])
    assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-4)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("stripes")
    small = ["network.width=8", "network.stages=2", "method.width=32", "method.hidden=32", "training.epochs=20"]
    line = ["train", str(pictures(folder)), "--task", "embed", "--quiet", "--out", str(folder / "run")]
    assert main([*line, "--set", *SETS, *small, "training.batch_size=16"]) == 0
    return folder


def test_pictures_are_judged_by_their_folders_and_shown(stripes: Path) -> None:
    result = json.loads((stripes / "run" / "results.json").read_text())["targets"][0]
    assert list(result["scores"])[:2] == ["knn_accuracy", "probe_accuracy"]
    assert [item["name"] for item in result["baselines"]] == ["the same network untrained", "plain features"]
    assert "how two views of a row differ" in (stripes / "run" / "plan.toml").read_text()
    assert result["baselines"][1]["scores"]["probe_accuracy"]["value"] > 0.8
    assert (stripes / "run" / "report.html").read_text().count("Most alike") >= 3


def test_it_is_judged_on_mixed_rows(stripes: Path) -> None:
    # The pictures of a class lie side by side: judged so, what keeps the rows of a batch apart would count as a fault.
    run = runs.find(stripes / "run")
    plan = run.plan()
    prepared = prepared_again(run, plan, *data_of(run, plan, Sources()), Silent())
    validation = build(plan, prepared, torch.device("cpu"), Path()).validation.rows
    assert sorted(validation) == prepared.split.validation.tolist() != validation.tolist()


def test_the_most_alike_picture_is_itself(stripes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = stripes / "stripes" / "down" / "3.png"
    assert main(["search", str(stripes / "run"), str(stripes / "stripes"), str(query), "--top", "3", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["queries"]
    assert found["found"][0]["name"].endswith("down/3.png")
    assert found["found"][0]["likeness"] == pytest.approx(1, abs=1e-4)
    assert len(found["found"]) == 3


CENTERS = {"a": (0, 0, "red"), "b": (4, 0, "blue"), "c": (0, 4, "green")}


def grouped(folder: Path, rows: int = 240) -> Path:
    """Three groups that lie clearly apart, with their names."""
    random = np.random.default_rng(0)
    lines = ["x,y,color,kind"]
    for name in random.choice(list(CENTERS), rows):
        x, y, color = CENTERS[str(name)]
        lines.append(f"{x + random.normal(0, 0.4):.4f},{y + random.normal(0, 0.4):.4f},{color},{name}")
    path = folder / "groups.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that has found three groups."""
    folder = tmp_path_factory.mktemp("clusters")
    line = ["train", str(grouped(folder)), "--task", "cluster", "--target", "kind", "--quiet"]
    more = ["training.epochs=30", "task.most=4"]
    assert main([*line, "--seed", "1", "--out", str(folder / "run"), "--set", *SETS, *more]) == 0
    return folder / "run"


def test_three_groups_are_three_clusters_whose_labels_agree(clusters: Path) -> None:
    result = json.loads((clusters / "results.json").read_text())
    (target,) = result["targets"]
    assert list(target["scores"])[:2] == ["ari", "nmi"]
    assert target["scores"]["ari"]["value"] > 0.95
    assert target["scores"]["stability"]["value"] > 0.9
    assert {item["name"] for item in target["baselines"]} == {"the same network untrained", "k-means without a network"}
    assert "3 clusters" in target["verdict"]
    titles = [item["title"] for item in result["exhibits"]]
    assert titles == ["Stability by number of clusters", "Cluster 1", "Cluster 2", "Cluster 3"]
    assert len(result["exhibits"][0]["points"]) == 4, "of 1 to 4 clusters"
    page = (clusters / "report.html").read_text()
    assert "groups.csv, line" in page
    assert "elsewhere 0%" in page


def test_its_model_answers_rows_with_their_clusters(clusters: Path) -> None:
    model = lamina.load(clusters)
    rows = [{"x": float(x), "y": float(y), "color": color} for x, y, color in CENTERS.values()]
    answers = list(model.predict([*rows, {"x": 2.0, "y": 9.0, "color": "blue"}]))
    assert sorted(answer["cluster"] for answer in answers[:3]) == [1, 2, 3]
    assert min(answer["cluster.p"] for answer in answers[:3]) > 0.9
    assert min(answer["cluster.typicality"] for answer in answers[:3]) > answers[3]["cluster.typicality"]
    assert model.check_golden()["sound"]
    found = model.card["clusters"]
    assert [item["cluster"] for item in found] == [1, 2, 3]
    assert sum(item["test_rows"] for item in found) == model.card["data"]["test"]
    assert all(any("color" in sentence for sentence in item["differs"]) for item in found)


def test_rows_can_be_searched_by_what_their_clusters_are_made_of(clusters: Path) -> None:
    from lamina.model.search import index

    rows = [{"x": float(x), "y": float(y), "color": color} for x, y, color in CENTERS.values()]
    found = index(lamina.load(clusters), rows)
    assert [items[0].row for items in found.search(found.vectors, 1)] == [0, 1, 2]


def test_data_without_groups_is_one_cluster(tmp_path: Path, cache: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["x,y,z", *(",".join(f"{value:.4f}" for value in random.normal(size=3)) for _ in range(240))]
    (tmp_path / "cloud.csv").write_text("\n".join(lines) + "\n")
    line = ["train", str(tmp_path / "cloud.csv"), "--task", "cluster", "--quiet", "--out", str(tmp_path / "run")]
    assert main([*line, "--seed", "1", "--set", *SETS, "task.most=4"]) == 0
    (target,) = json.loads((tmp_path / "run" / "results.json").read_text())["targets"]
    assert "no stable grouping" in target["verdict"]
    (answer,) = lamina.load(tmp_path / "run").predict([{"x": 0.0, "y": 0.0, "z": 0.0}])
    assert (answer["cluster"], answer["cluster.p"]) == (1, 1.0)


def test_a_number_of_clusters_is_taken_as_given(tmp_path: Path, cache: Path) -> None:
    path = grouped(tmp_path, 120)
    bare = tmp_path / "bare.csv"
    bare.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()) + "\n")
    line = ["train", str(bare), "--task", "cluster", "--quiet", "--out", str(tmp_path / "run")]
    assert main([*line, "--seed", "1", "--set", *SETS, "task.clusters=2"]) == 0
    (target,) = json.loads((tmp_path / "run" / "results.json").read_text())["targets"]
    assert "2 clusters, as you asked" in target["verdict"]
    assert "no labels" in target["verdict"]
    assert len(lamina.load(tmp_path / "run").card["clusters"]) == 2


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What a command answers as JSON."""
    assert main([*words, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_pictures_are_embedded_once_and_again_when_one_changes(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data, index = str(stripes / "run"), tmp_path / "stripes", str(tmp_path / "index")
    shutil.copytree(stripes / "stripes", data)
    search = ("search", run, str(data), str(data / "across" / "1.png"), "--index", index)
    first = said(capsys, *search)
    assert first["index"]["reused"] is False
    assert (first["index"]["rows"], first["index"]["graph"]) == (48, False)
    again = said(capsys, *search)
    assert again["index"]["reused"] is True
    assert again["queries"] == first["queries"]
    assert said(capsys, *search, "--exact")["queries"] == first["queries"]
    shutil.copy(data / "down" / "2.png", data / "down" / "copy.png")
    assert main([*search]) == 0
    assert "embedded again: the data has changed" in capsys.readouterr().err
    groups = said(capsys, "search", run, str(data), "--duplicates", "--likeness", "1", "--index", index)
    assert groups["index"]["reused"] is True
    (group,) = [group for group in groups["groups"] if group[0]["name"] == "down/2.png"]
    assert [item["name"] for item in group] == ["down/2.png", "down/copy.png"]
    assert main(["search", run, str(data), "--duplicates", "--likeness", "0.00001", "--index", index]) == 0
    told = capsys.readouterr()
    assert "near-duplicates" in told.out
    assert "more than half" in told.err


def test_pairs_are_verified_by_labels_by_a_table_and_one_by_one(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = str(stripes / "run"), stripes / "stripes"
    drawn = said(capsys, "verify", run, str(data), "--pairs", "400", "--out", str(tmp_path / "answers.csv"))
    assert (drawn["pairs"], drawn["judged"]["pairs"], drawn["judged"]["same"]) == (400, 200, 100)
    assert drawn["judged"]["auc"]["value"] > 0.6
    assert "both halves" in drawn["notes"][0]
    answers = (tmp_path / "answers.csv").read_text().splitlines()
    assert len(answers) == 401
    lines = ["one,other,same"]
    for number in range(12):
        lines += [
            f"stripes/across/{number}.png,stripes/{other}/{number + 1}.png,{int(other == 'across')}"
            for other in ("across", "down")
        ]
    table, threshold = stripes / "pairs.csv", str(tmp_path / "threshold.json")
    table.write_text("\n".join(lines))
    judged = said(capsys, "verify", run, str(table), "--keep", threshold)
    assert (judged["pairs"], judged["errors"], judged["judged"]["same"]) == (24, 0, 12)
    assert main(["verify", run, str(table)]) == 0
    assert "equal-error rate" in capsys.readouterr().out
    one, other = str(data / "across" / "0.png"), str(data / "down" / "0.png")
    two = said(capsys, "verify", run, one, one, "--threshold", threshold)
    assert two == {"likeness": pytest.approx(1), "threshold": judged["threshold"]["value"], "same": True}
    assert said(capsys, "verify", run, one, other)["same"] is None
    assert main(["verify", run, one, other, "--threshold", "0.99999"]) == 0
    assert "different (from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["search", "RUN", "DATA"], "--duplicates"),
        (["search", "RUN", "DATA", "DATA", "--duplicates"], "Leave one"),
        (["search", "RUN", "DATA", "DATA", "--likeness", "0.9"], "--duplicates"),
        (["search", "RUN", "DATA", "--duplicates", "--likeness", "7"], "up to 1"),
        (["search", "RUN", "DATA", "holiday.png"], "holiday.png"),
        (["search", "RUN", "DATA", "DATA", "--top", "0"], "--top"),
        (["verify", "RUN", "DATA", "--pairs", "1"], "--pairs"),
        (["verify", "RUN", "DATA", "--rate", "2"], "between 0 and 1"),
        (["verify", "RUN", "DATA", "--seed", "-1"], "--seed"),
        (["verify", "RUN", "DATA", "--rate", "0.1", "--threshold", "0.5"], "Leave one"),
        (["verify", "RUN", "DATA", "--keep", "x.json", "--threshold", "0.5"], "--threshold"),
        (["verify", "RUN", "DATA", "DATA", "--target", "kind"], "two rows"),
        (["verify", "RUN", "DATA", "DATA"], "48 rows, not one"),
        (["verify", "RUN", "DATA", "--target", "kind"], "no column 'kind'"),
        (["verify", "RUN", "DATA", "--threshold", "gone.json"], "gone.json"),
    ],
)
def test_wrong_searches_and_verifications_are_told(
    words: list[str], told: str, stripes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"RUN": str(stripes / "run"), "DATA": str(stripes / "stripes")}
    assert main([places.get(word, word) for word in words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "fix:" in error


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--task", "anomali"], "anomaly"),
        (["--task", "control"], "environment"),
        (["--task", "anomaly", "--set", "task.rat=0.1"], "rate"),
        (["--task", "anomaly", "--set", "task.rate=7"], "between 0 and 1"),
        (["--task", "anomaly", "--set", "task.normal=fine"], "--target"),
        (["--task", "anomaly", "--target", "kind", "--set", "task.normal=fin"], "fine"),
        (["--task", "anomaly", "--set", "method.name=contrastive"], "autoencoder"),
        (["--task", "anomaly", "--set", "method.name=supervised"], "autoencoder"),
        (["--task", "embed", "--set", "method.shar=0.1"], "There is no option"),
        (["--task", "embed", "--target", "kindd"], "kind"),
        (["--task", "embed", "--set", "task.size=3"], "has no option"),
        (["--task", "cluster", "--set", "task.number=3"], "clusters"),
        (["--task", "cluster", "--set", "task.clusters=1"], "from 2"),
        (["--task", "cluster", "--set", "task.clusters=500"], "training rows can fill"),
        (["--task", "cluster", "--set", "method.name=one_class"], "contrastive"),
    ],
)
def test_wrong_wishes_are_told(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    path = table(tmp_path, 60)
    assert main(["train", str(path), *more, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_model_without_embeddings_cannot_be_searched_by(strange: Path) -> None:
    from lamina.model.search import index

    with pytest.raises(InputError, match="no embeddings"):
        index(lamina.load(strange), [{"x": 1.0, "y": 2.0, "color": "red"}])


def series(folder: Path, name: str, steps: int, odd: range) -> Path:
    """A wave in time order, upside down for some steps."""
    random = np.random.default_rng(steps)
    value = np.sin(2 * np.pi * np.arange(steps) / 20) + random.normal(0, 0.05, steps)
    value[list(odd)] *= -1
    lines = [f"{step},{number:.4f},{int(step in odd)}" for step, number in enumerate(value)]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(["when,flow,odd", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def along(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run on one long series, and what it was tested on."""
    folder = tmp_path_factory.mktemp("along")
    train, test = series(folder, "train", 700, range(0)), series(folder, "test", 300, range(150, 170))
    line = ["train", str(train), "--test", str(test), "--task", "anomaly", "--target", "odd", "--quiet"]
    more = ["task.normal=0", "training.epochs=4", "optimizer.learning_rate=0.003"]
    assert main([*line, "--out", str(folder / "run"), "--set", *SETS, *more]) == 0
    return folder


def test_one_long_series_is_cut_into_windows_and_every_step_scored(along: Path) -> None:
    result = json.loads((along / "run" / "results.json").read_text())
    (target,) = result["targets"]
    assert target["scores"]["auc"]["value"] > 0.85
    assert target["scores"]["located"]["value"] == 1
    assert {item["name"] for item in target["baselines"]} == {"an isolation forest", "nearest neighbors"}
    curve = result["exhibits"][0]
    assert curve["title"] == "Scores over time"
    assert any("test.csv, line 152 to line 171" in line for line in curve["lines"])
    plan = (along / "run" / "plan.toml").read_text()
    assert "window = 20" in plan
    assert '"network.window.name" = "mlp: of a short window' in plan
    assert "threshold" in (along / "run" / "report.html").read_text()


def test_the_sealed_model_answers_a_series_step_by_step_as_it_was_judged(along: Path) -> None:
    model = lamina.load(along / "run")
    answers = model.predict(along / "test.csv")
    assert len(answers) == 300
    assert not answers.errors
    scores = np.array([answer["anomaly.score"] for answer in answers])
    target = json.loads((along / "run" / "results.json").read_text())["targets"][0]
    truth = np.isin(np.arange(300), range(150, 170))
    assert truth[scores.argmax()], "the strangest step is one of the strange ones, not beside them"
    area = (scores[truth][:, None] > scores[~truth]).mean()
    assert area == pytest.approx(target["scores"]["auc"]["value"], abs=1e-3)
    alarms = np.array([answer["anomaly"] for answer in answers])
    assert alarms[truth].mean() == pytest.approx(target["scores"]["found"]["value"])
    # Tested again by the column that judged in training, it is as good.
    again = lamina.score(along / "run", along / "test.csv")["targets"]["anomaly"]
    for name, score in target["scores"].items():
        if name != "alarms":
            assert again[name]["value"] == pytest.approx(score["value"], abs=1e-3), name
    rows = [{"flow": float(line.split(",")[1])} for line in (along / "test.csv").read_text().splitlines()[1:]]
    again = [answer["anomaly.score"] for answer in model.predict(rows, batch=7)]
    np.testing.assert_allclose(again, scores, atol=1e-4)
    assert main(["predict", str(along / "run"), str(along / "test.csv"), "--out", str(along / "answers.csv")]) == 0
    assert len((along / "answers.csv").read_text().splitlines()) == 301
    assert model.check_golden()["sound"]


def test_of_a_series_the_window_around_a_step_is_explained(along: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["explain", str(along / "run"), str(along / "test.csv"), "--row", "160", "--out"]
    assert main([*command, str(along / "page.html")]) == 0
    assert "rows 150 to 169; those that count most" in capsys.readouterr().out
    assert "rows 150 to 169: blue parts" in (along / "page.html").read_text()


def test_a_step_that_cannot_be_read_has_an_error_of_its_own_and_a_short_series_names_the_fix(along: Path) -> None:
    lines = (along / "test.csv").read_text().splitlines()
    lines[100] = "99,broken,0"
    (along / "damaged.csv").write_text("\n".join(lines) + "\n")
    model = lamina.load(along / "run")
    answers = model.predict(along / "damaged.csv")
    assert list(answers.errors) == [99]
    assert "broken" in answers.errors[99]
    with pytest.raises(InputError) as caught:
        model.predict([{"flow": 1.0}] * 19)
    assert "20 consecutive rows" in caught.value.fix


def test_a_finished_series_is_tested_again_from_its_plan(along: Path) -> None:
    before = json.loads((along / "run" / "results.json").read_text())["targets"]
    assert main(["resume", str(along / "run")]) == 0
    assert json.loads((along / "run" / "results.json").read_text())["targets"][0]["scores"] == before[0]["scores"]


def test_pictures_that_a_generator_cannot_make_raise_the_score(tmp_path: Path, cache: Path) -> None:
    """First the game, then the encoder, sealed with the generator and proven; the answer needs neither PyTorch."""
    small = ["network.width=8", "network.stages=2", "method.noise=8", "method.width=4", "method.critic=8"]
    line = ["train", str(pictures(tmp_path, 60)), "--task", "anomaly", "--quiet", "--out", str(tmp_path / "run")]
    more = ["method.name=anogan", "task.normal=across", "training.epochs=60", "training.batch_size=16"]
    assert main([*line, "--set", *SETS, *small, *more]) == 0
    target = json.loads((tmp_path / "run" / "results.json").read_text())["targets"][0]
    assert target["scores"]["auc"]["value"] > 0.8
    losses = [entry for entry in jsonl(tmp_path / "run" / "log.jsonl") if "loss" in entry]
    assert losses
    model = lamina.load(tmp_path / "run")
    folder = tmp_path / "stripes"
    usual, strange = (
        np.median([row["anomaly.score"] for row in model.predict(folder / name)]) for name in ("across", "down")
    )
    assert usual < strange
    (where,) = {tuple(row["anomaly.where"]) for row in model.predict(folder / "down")}
    assert where == ("x", "y", "width", "height")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The bluer a place" in page
    assert model.check_golden()["sound"]
