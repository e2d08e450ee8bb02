"""Recommendations in parts: interactions and their parts, windows, masks, losses, item-kNN, scores, decoding."""

from __future__ import annotations

import dataclasses
import itertools
import json
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from memory_table import MemoryTable

from lamina.choose.hardware import Hardware
from lamina.data.schema import Field
from lamina.errors import InputError
from lamina.evaluate import recommended as scores
from lamina.learn.batch import Batch
from lamina.learn.windows import NEXT, WEIGHT, Windows
from lamina.methods import next_item
from lamina.methods.next_item import sampled_losses
from lamina.modalities import Feature
from lamina.modalities._moments import is_time
from lamina.modalities.items import Encoder
from lamina.model import histories
from lamina.model.answers import Part
from lamina.model.export import export, folded
from lamina.model.forecast import Column
from lamina.networks.recommenders import sequential, two_tower
from lamina.networks.recommenders._items import Items
from lamina.networks.recommenders._recommender import ANSWER, HISTORY, MASKED, About, Recommender
from lamina.plan import DataPlan, OptimizerPlan, Plan, TaskPlan
from lamina.steps.recommend import choose, described, factors, interactions, learner, prepare, simple
from lamina.steps.recommend.interactions import TEST, TRAIN, VALIDATION, Interactions
from lamina.steps.recommend.understand import DEFAULTS, recognise
from lamina.tasks.recommend import Task, Written, best, check_options

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)


def plan(**options: Any) -> Plan:
    named = {"user": "user", "item": "item", "time": "time", "rating": "", **DEFAULTS, **options}
    return Plan(data=DataPlan(split="time"), task={"recommended": TaskPlan("recommend", named)})


def table(rows: int = 200, users: int = 10, items: int = 15) -> dict[str, list[Any]]:
    """Interactions at random moments, some of them equal."""
    random = np.random.default_rng(1)
    return {
        "user": [f"u{number}" for number in random.integers(0, users, rows)],
        "item": [f"i{number}" for number in random.integers(0, items, rows)],
        "time": [str(number) for number in random.integers(0, 60, rows)],
    }


def read(columns: dict[str, list[Any]], **options: Any) -> Interactions:
    return interactions.read(MemoryTable(columns), plan(**options))


def test_no_interaction_of_an_earlier_part_comes_after_one_of_a_later() -> None:
    columns = table()
    found = read(columns, repeat=True)
    times = np.array([float(columns["time"][row]) for row in found.row])
    latest = {part: times[found.part == part].max() for part in (TRAIN, VALIDATION)}
    earliest = {part: times[found.part == part].min() for part in (VALIDATION, TEST)}
    assert latest[TRAIN] < earliest[VALIDATION]
    assert latest[VALIDATION] < earliest[TEST]
    assert abs(found.rows_of(TEST) / len(found.user) - 0.2) < 0.05
    trained = {columns["item"][row] for row in found.row[found.part == TRAIN]}
    assert set(found.catalogue) == trained


def test_what_only_comes_later_is_no_item_of_the_catalogue() -> None:
    columns = table()
    order = np.argsort(np.array(columns["time"], float), kind="stable")
    columns["item"][order[-1]] = "brand new"
    found = read(columns)
    assert "brand new" not in found.catalogue
    which = interactions.asked(found, TEST, seed=0)
    assert (which.target == 0).sum() == 1
    # Even where columns of the interactions describe items: those of the test part are not known before it.
    assert "brand new" not in read({**columns, "kind": ["a"] * 200}, about_items=["kind"]).catalogue


def test_an_item_that_a_table_describes_is_in_the_catalogue_though_nobody_had_it() -> None:
    columns = table()
    order = np.argsort(np.array(columns["time"], float), kind="stable")
    columns["item"][order[-1]] = "brand new"
    options = plan(about_items=["kind"])
    found = interactions.read(MemoryTable(columns), options, ["untouched", "brand new", "i3"])
    without = read(columns)
    assert found.catalogue == (*without.catalogue, "untouched", "brand new")
    assert found.counts.tolist() == without.counts.tolist()
    assert found.cold == 2
    assert interactions.asked(found, TEST, seed=0).target.max() == len(found.catalogue)
    again = found.without_cold()
    assert again.catalogue == without.catalogue
    assert again.item.tolist() == without.item.tolist()


def test_items_of_the_validation_part_are_known_before_the_test() -> None:
    columns = table()
    part = read(columns).part
    row = int(read(columns).row[np.flatnonzero(part == VALIDATION)[0]])
    columns["item"][row] = "late"
    assert "late" not in read(columns).catalogue
    found = read({**columns, "kind": ["a"] * 200}, about_items=["kind"])
    assert found.catalogue[len(found.counts) :] == ("late",)


def test_what_describes_items_is_fitted_on_those_of_the_training_part() -> None:
    columns = table()
    found = interactions.read(MemoryTable(columns), plan(), ["new", "i1", "other"])
    items = MemoryTable({
        "item": ["new", "i1", "i2", "new", None, "other"], "size": ["9000", "1", "3", "5", "7", None],
        "kind": ["only new", "a", "b", "a", "a", "b"], "nothing": [None] * 6,
        "title": ["one", "two", "three", "four", "five", "six"],
    })  # fmt: skip
    about = described.by_id(items, "item")
    assert (set(about.places), about.left_out) == ({"new", "i1", "i2", "other"}, 2)
    names = {"size": "number", "kind": "category", "nothing": "category", "title": "text"}
    asked = plan(about_items=list(names))
    asked = dataclasses.replace(asked, schema=tuple(Field(name, modality) for name, modality in names.items()))
    left_out: list[tuple[str, str]] = []
    raw, array = prepare._about_items(MemoryTable(columns), about, asked, found, left_out)
    assert [name for name, _ in left_out] == ["nothing", "title"]
    assert raw["size"][list(found.catalogue).index("new")] == "9000"
    trained = array[: len(found.counts)]
    assert len(array) == len(found.catalogue)
    assert np.abs(trained).max() < 20, "9000 is not among what numbers are standardised by"
    # A kind that no item of the training part has is none of the marks.
    assert not array[list(found.catalogue).index("new"), -2:].any()


def test_a_table_of_items_describes_them_beside_the_interactions() -> None:
    random = np.random.default_rng(0)
    items = random.integers(0, 20, 300)
    columns = {
        "user": random.integers(0, 30, 300).tolist(), "item": items.tolist(),
        "title": [f"Film {item}" for item in items],
        "price": random.normal(size=300).tolist(), "time": list(range(300)),
    }  # fmt: skip
    beside = MemoryTable({
        "item": list(range(25)), "title": [f"Film {item}" for item in range(25)],
        "genres": [("A|B", "B|C", "C|A", "A")[item % 4] for item in range(25)], "price": [1.0] * 25, "note": ["x"] * 25,
    })  # fmt: skip
    fields, options = recognise(MemoryTable(columns), {}, ignored={"note"}, beside=beside)
    assert options["about_items"] == ["title", "genres"]
    assert {field.name: field.modality for field in fields}["genres"] == "set"
    assert {field.name: field.role for field in fields}["price"] == "ignore"
    _, named = recognise(MemoryTable(columns), {"about_items": ["genres"]}, beside=beside)
    assert named["about_items"] == ["genres"]
    with pytest.raises(InputError, match="no column 'item'") as caught:
        described.by_id(MemoryTable({"id": [1, 2]}), "item")
    assert "'item'" in caught.value.fix


def test_a_feature_that_cannot_be_used_is_named() -> None:
    columns = {**table(), "age": [None] * 200, "town": ["a", "b"] * 100}
    schema = (Field("age", "number"), Field("town", "category"))
    asked = dataclasses.replace(plan(about_users=["age", "town"]), schema=schema)
    found = interactions.read(MemoryTable(columns), asked)
    left_out: list[tuple[str, str]] = []
    raw, encoders = prepare._about_users(MemoryTable(columns), asked, found, left_out)
    assert list(raw) == list(encoders) == ["town"]
    assert [(name, bool(reason)) for name, reason in left_out] == [("age", True)]


def test_each_history_is_what_its_user_had_before() -> None:
    columns = table()
    found = read(columns, repeat=True)
    which = interactions.asked(found, TEST, seed=0)
    histories = which.histories(slice(None), 50)
    order = np.argsort(np.array(columns["time"], float), kind="stable")
    mine = {user: [columns["item"][row] for row in order if columns["user"][row] == user] for user in found.users}
    for row, user in enumerate(which.user):
        had = [found.catalogue[code - 1] for code in histories[row] if code]
        whole = [item for item in mine[found.users[user]] if item in found.catalogue]
        assert had == whole[: len(had)]
        if which.target[row]:
            assert whole[len(had)] == found.catalogue[which.target[row] - 1]
    assert which.lengths().tolist() == (histories > 0).sum(axis=1).tolist()


def test_repetitions_and_low_ratings_are_left_out_and_counted() -> None:
    columns = {**table(), "rating": [str(1 + row % 5) for row in range(200)]}
    found = read(columns, rating="rating", liked=3.0)
    pairs = list(zip(found.user.tolist(), [columns["item"][row] for row in found.row], strict=True))
    assert len(pairs) == len(set(pairs))
    assert found.low == 80
    assert found.low + found.again + len(found.user) == 200


def test_a_rating_that_cannot_be_read_is_not_a_low_one() -> None:
    ratings = ["5"] * 200
    ratings[7] = "five stars"
    found = read({**table(), "rating": ratings}, rating="rating", liked=3.0)
    assert (found.low, found.dropped) == (0, ((7, "no rating"),))
    with pytest.raises(InputError, match="are no interaction") as caught:
        read({**table(), "rating": ["five stars"] * 200}, rating="rating", liked=3.0)
    assert "no rating" in (caught.value.where or "")
    assert not read({**table(), "rating": ["five stars"] * 200}, rating="rating").dropped


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user": ["me"] * 200}, "one user"),
        ({"item": ["i1"] * 200}, "20"),
        ({"user": ["u1", None] * 100}, "no user"),
        ({"time": ["soon", "1"] * 100}, "no time"),
    ],
)
def test_data_that_nothing_can_be_learned_from_is_refused(change: dict[str, list[Any]], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read({**table(), **change})
    assert said in f"{caught.value.what} {caught.value.where} {caught.value.fix}"
    assert caught.value.fix


def test_columns_are_recognised_by_name_and_content() -> None:
    random = np.random.default_rng(0)
    items, users = random.integers(0, 20, 300), random.integers(0, 30, 300)
    columns = {
        "userId": users.tolist(),
        "movieId": items.tolist(),
        "rating": random.integers(1, 6, 300).tolist(),
        "timestamp": random.integers(10**9, 2 * 10**9, 300).tolist(),
        "title": [f"Film number {item}" for item in items],
        "country": [("no", "ch", "de")[user % 3] for user in users],
        "noise": random.normal(size=300).tolist(),
    }
    fields, options = recognise(MemoryTable(columns), {})
    assert (options["user"], options["item"]) == ("userId", "movieId")
    assert (options["time"], options["rating"]) == ("timestamp", "rating")
    assert (options["about_items"], options["about_users"]) == (["title"], ["country"])
    assert next(field for field in fields if field.name == "noise").role == "ignore"
    _, asked = recognise(MemoryTable(columns), {"item": "title", "about_items": [], "about_users": []})
    assert (asked["item"], asked["about_items"]) == ("title", [])


@pytest.mark.parametrize("other", ["runtime", "playtime_forever", "sentiment", "release_date", "birthdate"])
@pytest.mark.parametrize("when", ["timestamp", "eventTime", "timeSeen", "created_at"])
def test_the_time_is_that_of_the_interaction(when: str, other: str) -> None:
    """Neither how long something takes, nor a day that belongs to the item or to the user."""
    random = np.random.default_rng(0)
    items, users = random.integers(0, 20, 300), random.integers(0, 30, 300)
    whose = {"playtime_forever": random.integers(0, 900, 300), "sentiment": random.normal(size=300), "birthdate": users}
    columns = {
        "user": users.tolist(),
        "item": items.tolist(),
        other: (whose.get(other, items) + 1990).tolist(),
        when: random.integers(10**9, 2 * 10**9, 300).tolist(),
    }
    assert recognise(MemoryTable(columns), {})[1]["time"] == when
    del columns[when]
    # Of what is constant for a user, a session with its moment looks like a person with a birthday.
    assert recognise(MemoryTable(columns), {})[1]["time"] == ("birthdate" if other == "birthdate" else "")


def test_dates_are_put_in_order_whichever_way_they_are_written() -> None:
    days = np.sort(np.random.default_rng(0).integers(0, 300, 200))
    moments = [date(2021, 1, 1) + timedelta(int(day)) for day in days]
    for form in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y"):
        written = [moment.strftime(form) for moment in moments]
        assert is_time(np.array(written, dtype=object))
        found = read({**table(), "time": written}, repeat=True)
        assert np.all(np.diff(found.row[np.argsort(found.recency)]) > 0), form


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "task.user=COLUMN"),
        ({"user": "a", "item": "bb"}, "did you mean 'b'"),
        ({"user": "a", "item": "b", "about_items": ["z"]}, "'z'"),
        ({"user": "a", "item": "b", "liked": 4}, "task.rating=COLUMN"),
    ],
)
def test_what_cannot_be_recognised_names_the_fix(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        recognise(MemoryTable({"a": ["x", "y"] * 20, "b": ["p", "q", "r", "s"] * 10}), given)
    assert said in f"{caught.value.what} {caught.value.fix}"


@pytest.mark.parametrize(
    "options",
    [{"historyy": 3}, {"history": 0}, {"k": 1000}, {"repeat": 1}, {"liked": "high"}, {"user": 3}, {"about_items": "x"}],
)
def test_a_wrong_option_names_the_fix(options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        check_options(options)
    assert caught.value.fix


def windows(lengths: list[int], length: int = 8, batch: int = 3) -> Windows:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    codes = np.concatenate([100 * number + np.arange(1, size + 1) for number, size in enumerate(lengths)])
    about = {"age": np.arange(len(lengths), dtype=np.float32)[:, None]}
    return Windows(codes.astype(np.int32), codes / 1000, starts, length, batch, about, seed=3)


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_every_code_is_asked_for_once_an_epoch_after_those_before_it(epoch: int) -> None:
    source = windows([1, 5, 9, 40, 0, 23])
    seen = []
    for step, batch in source.batches(epoch * source.steps):
        if step == (epoch + 1) * source.steps:
            break
        history, following = batch.inputs[HISTORY].numpy(), batch.targets[NEXT].numpy()
        for row, number in enumerate(batch.rows.tolist()):
            assert batch.inputs["age"][row] == number
            for place in np.flatnonzero(following[row]):
                code = int(following[row, place])
                # Codes count up: those before it are the ones just below.
                assert history[row, :place].tolist() == list(range(code - place, code))
                assert place == (code - 1) % 100 or place >= source.context
                assert batch.targets[WEIGHT][row, place] == pytest.approx(code / 1000)
                seen.append(code)
    assert sorted(seen) == source.codes.tolist()


def cut_one_by_one(source: Windows, epoch: int) -> list[tuple[int, int, int]]:
    """The windows of an epoch, each cut after the other."""
    generator = np.random.default_rng([source.seed, epoch])
    found = []
    for sequence, (start, end) in enumerate(zip(source.starts[:-1].tolist(), source.starts[1:].tolist(), strict=True)):
        stop, full = end, source.length + 1
        size = int(generator.integers(1, source.each + 1)) if end - start > full else full
        while stop > start:
            first = start if stop - start <= full else max(start, stop - size)
            found.append((sequence, first, stop))
            stop, size = first, source.each
    return [tuple(cut) for cut in generator.permutation(np.array(found, np.int64), axis=0).tolist()]


@pytest.mark.parametrize("length", [1, 3, 8, 20])
def test_windows_are_those_that_are_cut_one_by_one(length: int) -> None:
    source = windows([1, 5, 9, 40, 0, 23, length + 1, length + 2, 200], length)
    for epoch in range(4):
        cuts = iter(cut_one_by_one(source, epoch))
        for step, batch in source.batches(epoch * source.steps):
            if step == (epoch + 1) * source.steps:
                break
            for row, (sequence, first, stop) in enumerate(itertools.islice(cuts, len(batch))):
                begin = max(int(source.starts[sequence]), stop - length - 1)
                codes, weights = (
                    source.codes[begin:stop].tolist(),
                    source.weights[first:stop].astype(np.float32).tolist(),
                )
                steps = batch.inputs[HISTORY].shape[1]
                asked, rest = [0] * (first - begin), [0] * (steps + 1 - len(codes))
                assert int(batch.rows[row]) == sequence
                assert batch.inputs[HISTORY][row].tolist() == (codes[:-1] + rest)[:steps]
                assert batch.targets[NEXT][row].tolist() == asked + codes[first - begin :] + rest
                assert batch.targets[WEIGHT][row].tolist() == asked + weights + rest
                assert float(batch.inputs["age"][row]) == sequence
        assert next(cuts, None) is None


@pytest.mark.parametrize("name", ["sequential", "two_tower"])
def test_histories_are_as_long_as_a_batch_needs_and_that_changes_no_gradient(name: str) -> None:
    lengths = [3, 9, 2, 9, 5, 7, 1, 9]
    short, long = windows(lengths, 40, 4), windows([*lengths, 41], 40, 9)
    assert {batch.inputs[HISTORY].shape[1] for _, batch in itertools.islice(short.batches(), 6)} == {8}
    _, batch = next(long.batches())
    assert batch.inputs[HISTORY].shape[1] == 40
    found = []
    for wide in (False, True):
        network = recommender(name, steps=40)
        method = next_item.build(network, next_item.Options(hidden=0.0), OptimizerPlan())
        codes = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 10, 11], [11, 3, 4, 0, 0, 0, 0, 0, 0]])
        history = torch.where(codes.roll(-1, dims=1) > 0, codes, 0)[:, :8]
        history, codes, weight = (
            torch.nn.functional.pad(value, (0, 32 * wide)) for value in (history, codes, torch.ones(2, 9))
        )
        inputs = {HISTORY: history, "age": torch.tensor([[0.2], [0.7]]), "town": torch.tensor([1, 2])}
        loss = method.loss(Batch(torch.arange(2), inputs, {NEXT: codes, WEIGHT: weight}))
        (loss.sum / loss.weight).backward()
        found.append({key: value.grad for key, value in network.named_parameters() if value.grad is not None})
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], msg=key)


def test_batches_are_the_same_from_any_start() -> None:
    source = windows([30, 12, 7, 50])
    whole = [batch for _, batch in zip(range(12), (batch for _, batch in source.batches(0)), strict=False)]
    _, again = next(source.batches(9))
    assert torch.equal(again.inputs[HISTORY], whole[9].inputs[HISTORY])
    first, later = whole[0].targets[NEXT], whole[source.steps].targets[NEXT]
    assert first.shape != later.shape or not torch.equal(first, later)


def recommender(name: str = "sequential", repeat: bool = False, steps: int = 6) -> Recommender:
    torch.manual_seed(0)
    items = Items(torch.arange(20.0), torch.rand(20, 3), 8, hidden=0.5)
    about = About({"age": Feature("numbers", (1,), "float32"), "town": Feature("category", (), "int32", 4)}, 8)
    module = {"sequential": sequential, "two_tower": two_tower}[name]
    return Recommender(items, about, module.build(steps, module.Options(width=8)), steps, repeat).eval()


def inputs(histories: list[list[int]], length: int = 10) -> dict[str, torch.Tensor]:
    padded = torch.tensor([row + [0] * (length - len(row)) for row in histories], dtype=torch.int32)
    return {
        HISTORY: padded,
        "age": torch.linspace(-1, 1, len(histories))[:, None],
        "town": torch.tensor([2] * len(histories), dtype=torch.int32),
    }


@pytest.mark.parametrize("name", ["sequential", "two_tower"])
def test_a_state_knows_nothing_of_what_comes_after_it(name: str) -> None:
    network = recommender(name)
    vectors = network.items()
    one, other = inputs([[3, 5, 7, 9, 2]], 6), inputs([[3, 5, 7, 1, 4]], 6)
    first, second = network.states(one, vectors), network.states(other, vectors)
    assert first.shape == (1, 7, 8)
    torch.testing.assert_close(first[:, :4], second[:, :4])
    assert (first[:, 4] - second[:, 4]).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["sequential", "two_tower"])
def test_what_is_in_the_history_is_masked_however_long_ago(name: str) -> None:
    given = inputs([[3, 5, 7, 9, 2, 1, 4, 8, 20], [], [6]])
    found = recommender(name)(given)[ANSWER]
    assert found.shape == (3, 1, 20)
    masked = [set((np.flatnonzero(row <= MASKED) + 1).tolist()) for row in found[:, 0].detach().numpy()]
    assert masked == [{3, 5, 7, 9, 2, 1, 4, 8, 20}, set(), {6}]
    assert (recommender(name, repeat=True)(given)[ANSWER] > MASKED).all()


@pytest.mark.parametrize("name", ["sequential", "two_tower"])
def test_padding_changes_nothing_and_only_the_last_items_are_read(name: str) -> None:
    network = recommender(name, repeat=True)
    short, long = network(inputs([[4, 2]], 8))[ANSWER], network(inputs([[4, 2]], 30))[ANSWER]
    torch.testing.assert_close(short, long)
    torch.testing.assert_close(
        network(inputs([[9, 9, 1, 2, 3, 4, 5, 6]]))[ANSWER], network(inputs([[1, 2, 3, 4, 5, 6]]))[ANSWER]
    )


def test_items_are_folded_and_exported_to_the_same_answers() -> None:
    import onnxruntime

    network = recommender()
    given = inputs([[3, 5], [], [1, 2, 3, 4, 5, 6, 7]], 12)
    task = Task(ANSWER, tuple(f"i{number}" for number in range(20)), 3)
    features = {
        HISTORY: Feature("tokens", (12,), "int32", 21),
        "age": Feature("numbers", (1,), "float32"),
        "town": Feature("category", (), "int32", 4),
    }
    with torch.no_grad():
        wanted = network(given)[ANSWER][:, 0].numpy()
        sealed = export(network, features, {ANSWER: task})
        again = folded(recommender())(given)[ANSWER][:, 0].numpy()
    np.testing.assert_allclose(again, wanted, atol=1e-6)
    session = onnxruntime.InferenceSession(sealed.network)
    (found,) = session.run(None, {sealed.inputs[name]: values.numpy() for name, values in given.items()})
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert task.agreement(wanted, found).holds


def test_an_item_tower_hides_ids_in_training_only() -> None:
    network = recommender()
    torch.testing.assert_close(network.items(), network.items())
    network.items.train()
    shown = network.items()
    alone = network.items.described(network.items.features)  # type: ignore[misc]
    hidden = ((shown - alone).abs().max(dim=1).values == 0).sum()
    assert 0 < hidden < 20


def test_cold_items_are_known_by_their_features_alone() -> None:
    torch.manual_seed(0)
    features = torch.rand(23, 3)
    items = Items(torch.arange(1, 21.0).flip(0), features, 8, hidden=0.5).eval()
    assert len(items()) == len(items.bias) == 20
    with torch.no_grad():
        items.offset.fill_(0.25)
        vectors, bias = items.catalogue()
        again, other = items.folded().catalogue()
        assert items.described is not None
        torch.testing.assert_close(vectors[20:], items.described(features[20:]))
        torch.testing.assert_close(vectors[:20], items())
        # As if had half as often as what was had once.
        torch.testing.assert_close(bias[20:], (items.bias[-1] - np.log(2) + 0.25).expand(3))
    torch.testing.assert_close(again, vectors)
    torch.testing.assert_close(other, bias)
    assert "offset" not in Items(torch.ones(20), features[:20], 8, 0.5).state_dict(), "as it was in older runs"


def test_the_mean_probability_of_cold_items_is_put_right() -> None:
    odds = np.array([-3.0, -1.0, -8.0, -1e9])
    for share in (0.001, 0.2, 0.6):
        found = 1 / (1 + np.exp(-np.clip(odds + learner.shift(odds, share), -700, 700)))
        assert found.mean() == pytest.approx(share)


def test_the_sampled_loss_estimates_the_full_one() -> None:
    torch.manual_seed(0)
    states, vectors, bias = torch.randn(6, 4), torch.randn(50, 4), torch.randn(50)
    places, counts = torch.arange(6), torch.arange(50.0)
    full = torch.nn.functional.cross_entropy(states @ vectors.T + bias, places, reduction="none")
    found = sampled_losses(states, vectors, bias, places, counts, 200_000)
    torch.testing.assert_close(found, full, atol=0.03, rtol=0.0)
    # The sum over the other items is estimated without bias: its mean over small samples is the true one.
    own = (states * vectors[places]).sum(dim=1) + bias[places]
    sums = torch.stack(
        [(sampled_losses(states, vectors, bias, places, counts, 20) + own).exp() for _ in range(4000)]
    ).mean(dim=0)
    torch.testing.assert_close(sums, (full + own).exp(), rtol=0.1, atol=0.0)


def neighbors(user: list[int], item: list[int], items: int) -> simple._Neighbors:
    return simple._Neighbors(np.array(user), np.array(item), items)


def test_item_knn_by_hand() -> None:
    # Items 0 and 1 share two of their users (2 and 3 in all), 0 and 2 one (2 and 1).
    found = neighbors([0, 0, 1, 1, 2, 0], [0, 1, 0, 1, 1, 2], 3)
    scored = found.scores(1.0)(np.array([[1, 0], [2, 3]], np.int32))
    one, two, three = 2 / np.sqrt(2 * 3), 1 / np.sqrt(2 * 1), 1 / np.sqrt(3 * 1)
    np.testing.assert_allclose(scored, [[0, one, two], [one + two, three, three]], rtol=1e-6)
    late = found.scores(0.5)(np.array([[2, 3]], np.int32))
    np.testing.assert_allclose(late, [[0.5 * one + two, three, 0.5 * three]], rtol=1e-6)


def test_a_user_is_folded_in_by_the_equation_of_the_paper() -> None:
    vectors = RANDOM.normal(size=(6, 4)).astype(np.float32)
    times = np.array([0, 2, 0, 1, 0, 0])
    confidence = np.diag(1 + 3.0 * times)
    wanted = np.linalg.solve(
        vectors.T @ confidence @ vectors + 0.5 * np.eye(4), vectors.T @ confidence @ (times > 0).astype(float)
    )
    found = factors.Factors(vectors, 3.0, 0.5).scores(np.array([[2, 4, 2, 0, 0], [0] * 5], np.int32))
    np.testing.assert_allclose(found[0], vectors @ wanted, rtol=1e-4, atol=1e-5)
    assert not found[1].any(), "nothing is known of who had nothing"


def test_factors_find_what_goes_together_and_are_the_least_squares() -> None:
    user = np.repeat(np.arange(40), 4)
    item = np.concatenate([RANDOM.permutation(6)[:4] + 6 * (number % 2) for number in range(40)])
    found = factors.fit(user, item, 13, 3.0, 1.0)
    scored = found.scores(np.array([[1, 2], [8, 9]], np.int32))
    assert set(np.argsort(-scored[0])[:6]) == set(range(6))
    assert set(np.argsort(-scored[1])[:6]) == set(range(6, 12))
    assert not found.items[12].any(), "nobody had it"
    again = factors.fit(user, item, 13, 3.0, 1.0)
    assert np.array_equal(again.items, found.items)
    # Each step solves its half: no other vector of one user is better.
    own = factors._all(user, item, 40, found.items, 3.0, 1.0)

    def loss(vectors: Array) -> float:
        had = np.zeros((40, 13))
        had[user, item] = 1
        return float(((1 + 3 * had) * (had - vectors @ found.items.T) ** 2).sum() + (vectors**2).sum())

    assert all(loss(own) <= loss(own + RANDOM.normal(0, 0.01, own.shape).astype(np.float32)) for _ in range(5))


def test_of_very_many_interactions_a_factorisation_learns_from_some_users() -> None:
    assert factors.share_of_users(100_000, 1_000, 9_000, 0) == 1
    assert 0 < factors.share_of_users(20_000_000, 100_000, 20_000, 300) < 1
    assert factors.share_of_users(20_000_000, 100_000, 1_000_000, 10) == 0


def prepared(lengths: list[int], popular: float, now: float, often: int = 100) -> Any:
    """What the choice of a network looks at."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    spread = np.linspace(-0.1, 0.1, 30)
    one = simple.Simple(simple.POPULAR, lambda histories: histories, 0.0, False, each=np.full(30, popular))
    other = simple.Simple(simple.POPULAR_NOW, lambda histories: histories, 0.0, False, each=now + spread)
    return SimpleNamespace(interactions=SimpleNamespace(starts=starts, counts=np.array([often])), simpler=(one, other))


@pytest.mark.parametrize(
    ("lengths", "budget", "work", "name"),
    [
        ([2, 3, 4, 30], 0.0, 1.0, "two_tower"),
        ([8, 9, 30], 0.0, 1.0, "sequential"),
        ([8, 9, 30], 20.0, 1.0, "two_tower"),
        ([8, 9, 30], 120.0, 1e13, "two_tower"),
    ],
)
def test_order_is_read_where_histories_are_long_and_there_is_time(
    lengths: list[int], budget: float, work: float, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Hardware(torch.device("cpu"), 2, False, "two cores")
    monkeypatch.setattr(choose.hardware, "detect", lambda: machine)
    found, reason = choose._network(prepared(lengths, 0.1, 0.1), budget, work)
    assert found == name
    assert reason
    assert choose._network(prepared(lengths, 0.1, 0.1, often=10), budget, work)[0] == "two_tower"


def test_what_is_old_counts_less_where_recent_popularity_foretells_more() -> None:
    assert choose._half_life(prepared([5], 0.1, 0.1)) == 0
    assert choose._half_life(prepared([5], 0.1, 0.11)) == 0, "that may be luck"
    assert 0 < choose._half_life(prepared([5], 0.1, 0.2)) < 1


def test_recent_popularity_counts_the_latest_only_and_breaks_ties_by_all_time() -> None:
    counts = simple._recent(np.array([0, 0, 0, 2, 1]), np.array([0.0, 0.1, 0.2, 0.9, 1.0]), 0.3, 3)
    assert np.argsort(-counts, kind="stable").tolist() == [1, 2, 0]


def test_places_and_scores_by_hand() -> None:
    given = np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3], [1.0, 2.0, 3.0]])
    places = scores.ranks(given, np.array([3, 2, 0]))
    assert places.tolist() == [2, 2, np.inf]
    assert scores.recall(places, 1).tolist() == [0, 0, 0]
    assert scores.recall(places, 2).tolist() == [1, 1, 0]
    np.testing.assert_allclose(scores.ndcg(places, 10), [1 / np.log2(3), 1 / np.log2(3), 0])
    assert scores.by_user(np.array([1.0, 0, 1, 1]), np.array([7, 7, 2, 7])).tolist() == [1, pytest.approx(2 / 3)]


def test_places_agree_with_the_lists() -> None:
    given = RANDOM.integers(0, 5, (40, 30)).astype(float)
    target = RANDOM.integers(1, 31, 40)
    places, lists = scores.ranks(given, target), best(given, 10)
    for row in range(40):
        assert lists[row].tolist() == np.argsort(-given[row], kind="stable")[:10].tolist()
        assert (target[row] - 1 in lists[row]) == (places[row] <= 10)


def test_lists_that_are_scored_hold_nothing_of_the_history() -> None:
    for hidden in (-np.inf, MASKED):
        found = scores.listed(np.array([[0.5, hidden, 2.0], [1.0, 3.0, hidden]]))
        assert found.tolist() == [[2, 0, -1], [1, 0, -1]]
        assert scores.coverage(found[:, :1], 3) == pytest.approx(2 / 3)
        assert scores.coverage(found[:1], 3) == pytest.approx(2 / 3), "the item that is masked is recommended to nobody"


def test_what_is_known_of_a_user_was_known_in_training() -> None:
    table = MemoryTable({"level": ["gold", "new", None, "new", "gold"]})
    rows, users, part = np.arange(5), np.array([0, 0, 1, 1, 2]), np.array([TEST, TRAIN, TRAIN, VALIDATION, TEST])
    assert prepare._first_values(table, "level", rows, users, 4, part).tolist() == ["new", "new", "gold", None]


def test_answers_are_lists_without_masked_items() -> None:
    task = Task("recommended", ("a", "b", "c", "d"), 3)
    output = np.array([[1.0, 3.0, 2.0, 0.0], [MASKED, 1.0, MASKED, 1.0]], np.float32)
    found = task.decode(output)
    assert found[""].tolist() == [["b", "c", "a"], ["b", "d"]]
    np.testing.assert_allclose(found[".p"][0], np.exp([3, 2, 1]) / np.exp([0, 1, 2, 3]).sum(), rtol=1e-6)
    assert found[".p"][1] == pytest.approx([0.5, 0.5])
    assert Task.restore(json.loads(json.dumps(task.state()))) == task
    assert task.decode(np.zeros((0, 4), np.float32))[""].tolist() == []


def test_rounding_agrees_and_another_network_does_not() -> None:
    task = Task("recommended", tuple(map(str, range(30))), 5)
    output = RANDOM.normal(size=(20, 30)).astype(np.float32)
    output[:, 3] = MASKED
    assert task.agreement(output, output + np.float32(1e-6)).holds
    assert not task.agreement(output, output + RANDOM.normal(0, 0.01, output.shape).astype(np.float32)).holds
    unmasked = output.copy()
    unmasked[:, 3] = 0
    assert not task.agreement(output, unmasked).holds


def test_lists_are_encoded_in_order_and_strangers_left_out() -> None:
    encoder = Encoder(("31", "7", "x"), 3)
    found = encoder.encode(np.array(["31|7", '["x", 31.0, "x", "x"]', "nobody|7", "", None], object))
    assert found.array.tolist() == [[1, 2, 0], [1, 3, 3], [2, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert not found.errors
    assert encoder.encode(np.array([[31, 7, 31, 31]], object).reshape(1, -1)).array.tolist() == [[2, 1, 1]]


def asked_with(data: Any, *, repeat: bool = False, dates: bool = False, size: int = 2) -> tuple[Any, dict[int, str]]:
    """(Raw rows of the model's inputs by user, reasons), as a recommender with an age is asked with a table."""
    rows = Written("user", "item", "day", "stars", 3.0, repeat, dates, True)
    inputs = {"history": Column(Field("history", "items")), "age": Column(Field("age", "number"))}
    model: Any = SimpleNamespace(
        inputs=inputs, columns=("history", "age"), targets=("recommended",), fitting=lambda batch: min(batch, size),
        answer_columns=("recommended", "recommended.p"), tasks={"recommended": Task("recommended", ("a",), 1, rows)},
    )  # fmt: skip
    assert histories.written(model) == rows
    found = histories.opened(data, model, rows, tuple(data[0]), 8)
    if found is None:
        return None, {}
    asked, errors, start = [], {}, 0
    assert found.lines is not None
    for chunk in found:
        answers = {"recommended": np.full(len(chunk), "x", object), "recommended.p": np.zeros(len(chunk))}
        part = found.lines.of(chunk, Part(len(chunk), answers, chunk.errors))
        asked += list(zip(part.columns["user"], chunk.values["history"], chunk.values["age"], strict=True))
        errors |= {start + row: reason for row, reason in part.errors.items()}
        start += len(chunk)
    return asked, errors


def rows_of(*lines: str) -> list[dict[str, Any]]:
    return [dict(zip(("user", "item", "day", "stars", "age"), line.split(","), strict=True)) for line in lines]


def test_a_table_of_interactions_is_a_history_for_each_user() -> None:
    data = rows_of("u2,a,5,4,", "u1,b,3,5,31", "u2,c,1,3,40", "u2,a,9,5,", "u1,d,4,2,", "new,,,,20", "u2,e,5,4,41")
    asked, errors = asked_with(data)
    assert asked == [("u2", ["c", "a", "e"], "40"), ("u1", ["b"], "31"), ("new", [], "20")]
    assert not errors
    assert asked_with(data, repeat=True)[0][0][1] == ["c", "a", "e", "a"]
    for row in data:
        row["day"] = row["day"] and f"0{row['day']}/01/2024" if row is not data[3] else "01/02/2024"
    assert asked_with(data, repeat=True, dates=True)[0][0][1] == ["c", "a", "e", "a"], "the first of February"


def test_a_row_of_interactions_that_cannot_be_used_is_an_error_of_its_own() -> None:
    asked, errors = asked_with(rows_of("u1,a,soon,4,", "u1,b,3,5,", ",c,1,3,", "u3,a,2,many,"))
    assert asked[0] == ("u1", ["b"], None)
    assert {row: (asked[row][0], reason) for row, reason in errors.items()} == {
        1: ("u1", "user 'u1': row 0: there is no readable value of 'day'"),
        2: (None, "row 2: there is no readable value of 'user'"),
        3: ("u3", "user 'u3': row 3: there is no readable value of 'stars'"),
    }


def test_histories_are_no_table_of_interactions() -> None:
    assert asked_with([{"history": "a|b", "age": "3", "user": "u1"}])[0] is None
    assert asked_with([{"age": "3"}])[0] is None
    with pytest.raises(InputError, match="day"):
        asked_with([{"user": "u1", "item": "a", "stars": "5", "age": "3"}])
    state = json.loads(json.dumps(Task("r", ("a",), 1, Written("u", "i", "", "", 0.0, False, False, False)).state()))
    assert Task.restore(state).state() == Task.restore(state).state() == {**state, "items": ["a"]}
    del state["rows"]
    assert Task.restore(state).rows is None, "as it was in older files"
    with pytest.raises((KeyError, ValueError)):
        Task.restore({**state, "rows": {"user": ""}})


def test_a_file_of_lists_in_which_nothing_comes_twice_is_a_set() -> None:
    from lamina.modalities import items

    assert items.recognise(np.array([["a", "b"], ["b"], ["c", "a"], ["a", "c"], ["b", "c"]], object), "x") is None


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(ValueError, match="items"):
        Encoder.restore({"items": [], "length": 5})
    with pytest.raises(ValueError, match="lists"):
        Encoder.restore({"items": ["a"], "length": 10**9})
    with pytest.raises(ValueError, match="items"):
        Task.restore({"name": "recommended", "items": ["a"], "k": 0})
