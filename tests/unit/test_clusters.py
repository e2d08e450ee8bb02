"""Clusters: the task, how many there are, what sets them apart, how labels judge; against scikit-learn and by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from lamina.errors import InputError
from lamina.evaluate import judge
from lamina.steps.unlabelled import group, grouping
from lamina.steps.unlabelled.differences import Trait, difference, sets_apart
from lamina.steps.unlabelled.grouping import Grouping, chosen_number, firmness, grouped, rand_index
from lamina.steps.unlabelled.kmeans import k_means, nearest
from lamina.tasks import cluster

Array = np.ndarray[Any, Any]


def unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def around(sizes: tuple[int, ...], noise: float = 0.1, width: int = 6, seed: int = 0) -> tuple[Array, Array]:
    """(Vectors around the first axes, which axis each is around)."""
    random = np.random.default_rng(seed)
    truth = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return unit(np.eye(width)[truth] + random.normal(0, noise, (len(truth), width))), truth


@pytest.fixture(scope="module")
def fitted() -> tuple[cluster.Task, Array, Array]:
    vectors, truth = around((30, 60, 10))
    return cluster.Task("cluster", 6).fitted(vectors, truth), vectors, truth


def test_the_nearest_centroid_answers_and_the_largest_cluster_is_the_first(
    fitted: tuple[cluster.Task, Array, Array],
) -> None:
    task, vectors, truth = fitted
    answers = task.decode(vectors)
    assert answers[""].tolist() == np.array([2, 1, 3])[truth].tolist()
    means = np.stack([vectors[truth == number].mean(axis=0, dtype=np.float64) for number in (1, 0, 2)])
    np.testing.assert_allclose(task.centroids, means, atol=1e-6)
    far = np.linalg.norm(vectors[:, None] - means, axis=2)
    np.testing.assert_allclose(answers[".distance"], far.min(axis=1), atol=1e-6)
    shares = np.stack([answers[f".p.{number}"] for number in (1, 2, 3)], axis=1)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(answers[".p"], shares.max(axis=1))
    assert (shares.argmax(axis=1) + 1).tolist() == answers[""].tolist()


def test_typicality_is_the_share_of_members_farther_out(fitted: tuple[cluster.Task, Array, Array]) -> None:
    task, vectors, _ = fitted
    answers = task.decode(vectors)
    inside = answers[""] == 1
    distances = answers[".distance"][inside]
    farther = (distances[None, :] > distances[:, None]).mean(axis=1)
    np.testing.assert_allclose(answers[".typicality"][inside], farther, atol=0.03)
    stranger = unit(-np.ones((1, 6)))
    assert task.decode(stranger)[".typicality"][0] == 0


def test_a_row_between_two_centroids_belongs_to_both_by_half(fitted: tuple[cluster.Task, Array, Array]) -> None:
    task, _, _ = fitted
    middle = np.mean(task.centroids[:2], axis=0, keepdims=True)
    answers = task.decode(middle)
    assert answers[".p.1"][0] == pytest.approx(0.5)
    assert answers[".p.2"][0] == pytest.approx(0.5)


def test_memberships_are_those_of_round_gaussians() -> None:
    random = np.random.default_rng(1)
    vectors = np.concatenate([random.normal([sign * 0.1, 0], 0.1, (4000, 2)) for sign in (-1, 1)])
    task = cluster.Task("cluster", 2).fitted(vectors, np.repeat([0, 1], 4000))
    # The variance of the Gaussians is that around the nearest centroid, in both directions alike.
    within = task.squares(vectors).min(axis=1).mean() / 2
    assert task.temperature == pytest.approx(2 * within, rel=0.1)


def test_before_it_is_fitted_there_is_no_cluster() -> None:
    answers = cluster.Task("cluster", 4).decode(np.ones((3, 4), np.float32))
    assert answers[""].tolist() == [0, 0, 0]
    assert set(answers) == {"", ".p", ".distance", ".typicality"}


def test_the_state_is_strict_json_and_empty_rows_decode(fitted: tuple[cluster.Task, Array, Array]) -> None:
    for task in (fitted[0], cluster.Task("cluster", 4)):
        again = cluster.Task.restore(json.loads(json.dumps(task.state(), allow_nan=False)))
        assert again == task
        assert all(len(values) == 0 for values in again.decode(np.zeros((0, task.width), np.float32)).values())


@pytest.mark.parametrize(
    "damage",
    [
        {"centroids": [[1e300] * 6] * 3},
        {"centroids": [[float("nan")] * 6] * 3},
        {"centroids": [[0.1] * 5] * 3},
        {"centroids": [[0.1] * 6] * 2},
        {"centroids": 7},
        {"levels": [[1.0, 0.0] * 50 + [0.0]] * 3},
        {"levels": [[0.5]] * 3},
        {"temperature": 0.0},
        {"temperature": float("inf")},
        {"size": -1},
    ],
)
def test_a_damaged_state_is_refused(damage: dict[str, Any], fitted: tuple[cluster.Task, Array, Array]) -> None:
    with pytest.raises((ValueError, TypeError)):
        cluster.Task.restore({**fitted[0].state(), **damage})


def test_outputs_have_length_one() -> None:
    output = cluster.Task("cluster", 2).combine(torch.tensor([[[3.0, 0.0], [3.0, 8.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    np.testing.assert_allclose(output, [[0.6, 0.8], [0, 0]])


def test_rounding_agrees_and_another_network_does_not(fitted: tuple[cluster.Task, Array, Array]) -> None:
    task, vectors, _ = fitted
    edge = np.mean(task.centroids[:2], axis=0, keepdims=True).astype(np.float32)
    step = np.sign(np.subtract(*task.centroids[:2])).astype(np.float32)[None]
    rows = np.concatenate([vectors, edge + 1e-6 * step])
    moved = np.concatenate([vectors, edge - 1e-6 * step])
    agreed = task.agreement(rows, moved)
    assert agreed.holds
    assert agreed.ties == 1
    assert not task.agreement(rows, rows[::-1]).holds
    assert not task.agreement(rows, rows + np.float32(0.01)).holds


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cluster": 3}, "clusters"),
        ({"clusters": 1}, "from 2"),
        ({"most": 2.5}, "from 2"),
        ({"clusters": True}, "from 2"),
    ],
)
def test_wrong_options_name_the_fix(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        group.check(options, 1000)
    assert said in caught.value.fix
    with pytest.raises(InputError, match="more than 60 training rows") as caught:
        group.check({"clusters": 50}, 60)
    assert "at most 30" in caught.value.fix


def test_three_groups_are_found_and_the_same_again() -> None:
    vectors, truth = around((60, 60, 60))
    found = grouped(vectors, clusters=None, most=5, seed=3)
    assert found.clusters == 3
    assert adjusted_rand_score(truth, found.members) == 1
    assert found.firmness[1] > 0.95
    again = grouped(vectors, clusters=None, most=5, seed=3)
    assert (again.stability, again.reference) == (found.stability, found.reference)
    assert again.members.tolist() == found.members.tolist()


@pytest.mark.parametrize("shape", ["round", "long", "square"])
def test_a_cloud_without_groups_is_one_cluster(shape: str) -> None:
    random = np.random.default_rng(4)
    cloud = random.uniform(-1, 1, (240, 2)) if shape == "square" else random.normal(size=(240, 2))
    cloud[:, 0] *= 6 if shape == "long" else 1
    # Far from the origin the sphere is flat, and keeps the shape.
    found = grouped(unit(np.column_stack([cloud, np.full(240, 40.0)])), clusters=None, most=4, seed=0)
    assert found.clusters == 1
    assert "no stable grouping" in found.reason
    assert max(found.firmness) < grouping.LEAST


def test_equal_rows_and_few_rows_are_one_cluster() -> None:
    for vectors in (np.ones((50, 3), np.float32) / np.sqrt(3), unit(np.random.default_rng(0).normal(size=(15, 3)))):
        found = grouped(vectors.astype(np.float32), clusters=None, most=20, seed=0)
        assert found.clusters == 1
        assert found.tried == ()
        assert "too few" in found.reason


def test_a_given_number_is_taken_unless_fewer_rows_differ() -> None:
    vectors, _ = around((40, 40))
    found = grouped(vectors, clusters=4, most=20, seed=0)
    assert found.clusters == 4
    assert found.tried == (4,)
    assert found.firmness[0] < grouping.LEAST
    assert "as you asked" in found.reason
    assert grouped(np.eye(3, dtype=np.float32)[[0, 1] * 20], clusters=4, most=20, seed=0).clusters == 2


def test_of_numbers_that_are_about_as_firm_the_largest_is_chosen() -> None:
    assert firmness(1.0, 0.5) == 1
    assert firmness(0.5, 0.5) == 0
    assert firmness(0.6, 0.5) == pytest.approx(0.2)
    assert chosen_number([2, 3, 4, 5], [1.0, 0.8, 0.99, 0.6], [0.9, 0.5, 0.5, 0.5]) == 4
    assert chosen_number([2, 3], [0.6, 0.7], [0.5, 0.6]) == 1
    assert chosen_number([], [], []) == 1
    assert Grouping(np.zeros(3, np.int64), (2, 3), (0.6, 0.7), (0.5, 0.6)).best == 1


def test_the_principal_directions_keep_what_k_means_sees() -> None:
    vectors, truth = around((50, 50, 50), width=40)
    reduced = grouping.principal(vectors, 3)
    assert reduced.shape == (150, 3)
    np.testing.assert_allclose(reduced.mean(axis=0), 0, atol=1e-6)
    singular = np.linalg.svd(vectors.astype(np.float64) - vectors.mean(axis=0), compute_uv=False)[:3]
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=0), singular, rtol=1e-4)
    middles = np.stack([reduced[truth == number].mean(axis=0) for number in range(3)])
    assert nearest(reduced, middles).tolist() == truth.tolist()


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_many_sets_are_clustered_at_once_as_scikit_learn_clusters_each(far: float) -> None:
    random = np.random.default_rng(7)
    middles = random.normal(0, 2, (5, 6, 3))
    # Single precision: far from the origin points would run together if they were not brought back first.
    sets = np.stack([some[random.integers(0, 6, 300)] for some in middles]) + random.normal(0, 0.3, (5, 300, 3)) + far
    found = k_means(sets, 6, random, starts=5)
    for points, centroids, inertia in zip(sets, found.centroids, found.inertia, strict=True):
        known = KMeans(6, n_init=10, random_state=0).fit(points)
        assert inertia == pytest.approx(known.inertia_, rel=0.002)
        by_hand = np.square(points[:, None] - centroids).sum(axis=2).min(axis=1).sum()
        assert by_hand == pytest.approx(inertia, rel=1e-3)
        assert adjusted_rand_score(known.labels_, nearest(points, centroids)) > 0.99


def test_a_set_is_clustered_in_pieces_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(8).normal(size=(1, 500, 4))
    whole = k_means(points, 7, np.random.default_rng(0), starts=3)
    monkeypatch.setattr("lamina.steps.unlabelled.kmeans.TOGETHER", 2000)
    again = k_means(points, 7, np.random.default_rng(0), starts=3)
    assert again.inertia == pytest.approx(whole.inertia, rel=1e-3)


def test_centroids_are_means_of_their_points_even_where_two_are_as_near() -> None:
    # 1 lies as near to 0 as to 2: it must not count in both.
    found = k_means(np.array([[[0.0], [0.0], [2.0], [2.0], [1.0]]]), 2, np.random.default_rng(0), starts=4)
    ends = sorted(found.centroids[0, :, 0].tolist())
    assert ends in (pytest.approx([0, 5 / 3]), pytest.approx([1 / 3, 2]))
    assert found.inertia[0] == pytest.approx(2 / 3)


def test_fewer_different_points_than_clusters_are_all_centroids() -> None:
    found = k_means(np.array([[[0.0], [3.0]] * 10]), 4, np.random.default_rng(0), starts=2)
    assert set(found.centroids[0, :, 0].tolist()) == {0.0, 3.0}
    assert found.inertia[0] == pytest.approx(0, abs=1e-9)


def test_agreement_is_scikit_learn_s_adjusted_rand_index() -> None:
    random = np.random.default_rng(9)
    one = random.integers(0, 5, 400)
    for other in (one, (one + 1) % 5, random.integers(0, 3, 400), np.where(random.random(400) < 0.7, one, 0), one * 0):
        assert rand_index(one, other) == pytest.approx(adjusted_rand_score(one, other))
    assert rand_index(one * 0, one * 0) == 1


def test_partitions_are_scored_as_scikit_learn_does() -> None:
    random = np.random.default_rng(5)
    truth = random.integers(0, 4, 200)
    found = np.where(random.random(200) < 0.6, truth, random.integers(0, 3, 200))
    weights = random.integers(0, 3, (5, 200)).astype(np.float64)
    judged = judge.partitions("", found, truth)
    for row in weights:
        rows = np.repeat(np.arange(200), row.astype(int))
        ari, nmi = adjusted_rand_score(truth[rows], found[rows]), normalized_mutual_info_score(truth[rows], found[rows])
        assert judged.scores["ari"](row[None])[0] == pytest.approx(ari)
        assert judged.scores["nmi"](row[None])[0] == pytest.approx(nmi)
    once = np.ones((1, 200))
    assert judge.partitions("", truth * 0, truth).scores["ari"](once)[0] == pytest.approx(0)
    assert judge.partitions("", truth * 0, truth * 0).scores["nmi"](once)[0] == 1


def test_what_sets_a_cluster_apart_is_said_the_most_striking_first() -> None:
    inside = np.arange(100) < 30
    income = np.where(inside, 50.0, 20.0) + np.arange(100) % 3
    color = Trait("color", "red", (inside | (np.arange(100) % 10 == 9)).astype(np.float64))
    noise = Trait("noise", "", np.tile([0.0, 1.0], 50))
    found = sets_apart([noise, color, Trait("income", "", income)], inside)
    assert [sentence.split()[0] for sentence in found] == ["income", "color:"]
    assert "higher" in found[0]
    assert '"red" in 100% (elsewhere 10%)' in found[1]
    by_hand = (income[inside].mean() - income[~inside].mean()) / income.std()
    assert difference(Trait("income", "", income), inside) == pytest.approx(by_hand)
    assert difference(Trait("income", "", np.full(100, np.nan)), inside) == 0
    assert difference(Trait("income", "", np.full(100, 7.0)), inside) == 0
    assert sets_apart([color], np.ones(100, bool)) == ()
