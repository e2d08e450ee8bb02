"""A table of ratings, from its numbers of users and items to a sealed model that meets new ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina.cli import main
from lamina.plan import read

USERS, ITEMS = 50, 70


def write_ratings(file: Path) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Three ratings in four of all that there could be; gives how good each item is."""
    generator = np.random.default_rng(0)
    strict, good = generator.normal(0, 0.4, USERS), generator.normal(0, 0.7, ITEMS)
    taste, kind = generator.normal(0, 0.8, USERS), generator.normal(0, 0.8, ITEMS)
    users, items = np.nonzero(generator.random((USERS, ITEMS)) < 0.75)
    wanted = 3 + strict[users] + good[items] + taste[users] * kind[items] + generator.normal(0, 0.3, len(users))
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["user", "item", "title", "rating", "split"])
        for row in generator.permutation(len(users)):
            part = "test" if row % 5 == 0 else "train"
            title = f"The film number {items[row]}"
            writer.writerow([users[row] + 1, 1000 + items[row] * 3, title, f"{wanted[row]:.2f}", part])
    return good


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("ratings")
    write_ratings(folder / "ratings.csv")
    words = ["--target", "rating", "--quiet", "--out", str(folder / "run")]
    sets = ["training.threads=1", "training.epochs=15", "network.members=2", "network.width=8"]
    assert main(["train", str(folder / "ratings.csv"), *words, "--set", *sets]) == 0
    return folder / "run"


def test_ratings_are_factorised_and_beat_biases(run: Path) -> None:
    plan = read(run / "plan.toml")
    assert plan.network["table"].name == "factorisation"
    assert plan.network["table"].fields == ("user", "item")
    (found,) = json.loads((run / "results.json").read_text(encoding="utf-8"))["targets"]
    names = [item["name"] for item in json.loads((run / "baselines.json").read_text(encoding="utf-8"))["rating"]]
    assert {"biases of both parties", "similar items (nearest neighbors)"} <= set(names)
    with np.load(run / "baselines.npz") as outputs:
        assert np.isfinite(outputs["rating/biases of both parties"]).all()
    # Of the spread of 1.2, biases leave 0.7 and the planted tastes 0.3.
    assert found["scores"]["rmse"]["value"] < 0.6


def test_new_users_and_items_are_answered_by_what_is_known_of_the_other(run: Path) -> None:
    good = write_ratings(run.parent / "again.csv")
    best, worst = 1000 + 3 * int(good.argmax()), 1000 + 3 * int(good.argmin())
    model = lamina.load(run / "model.lamina")
    rows = [{"user": 777, "item": item} for item in (best, worst, 9)]
    high, low, unknown = (row["rating"] for row in model.predict(rows).to_rows())
    assert high > unknown > low
    assert high - low > 1
    assert 2.5 < unknown < 3.5, "nothing is known: about the mean"
