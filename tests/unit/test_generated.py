"""Making pictures: distances between distributions, networks of every size, what judges, what is drawn."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors

from lamina.evaluate.generated import Moments, frechet, nearest, precision_recall
from lamina.methods._relativistic import shifted
from lamina.modalities import Feature
from lamina.model.generate import slerp
from lamina.networks.adversarial import growth
from lamina.networks.adversarial.critic import Critic
from lamina.networks.adversarial.generator import Generator
from lamina.steps.generate import judging, simple
from lamina.steps.generate.learner import some_of
from lamina.steps.generate.sheets import sheet, side_by_side
from lamina.tasks.generate import Task


def test_frechet_is_that_of_the_formula() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=(300, 6)), random.normal(1, 2, (400, 6)) @ random.normal(size=(6, 6))
    apart = one.mean(0) - other.mean(0)
    covariances = np.cov(one.T), np.cov(other.T)
    wanted = apart @ apart + np.trace(covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real)
    assert frechet(Moments.of(one), Moments.of(other)) == pytest.approx(wanted, rel=1e-6)
    assert frechet(Moments.of(one), Moments.of(one)) == pytest.approx(0, abs=1e-8)


def test_weights_count_as_repeated_rows() -> None:
    rows = np.random.default_rng(1).normal(size=(5, 3))
    weighted, repeated = Moments.of(rows, np.array([2, 0, 1, 1, 3.0])), Moments.of(rows[[0, 0, 2, 3, 4, 4, 4]])
    np.testing.assert_allclose(weighted.mean, repeated.mean)
    np.testing.assert_allclose(weighted.covariance, repeated.covariance)


def test_precision_and_recall_are_those_of_neighborhoods() -> None:
    random = np.random.default_rng(2)
    real = random.normal(size=(200, 2))
    made = np.concatenate([random.normal(0, 0.1, (50, 2)), random.normal(30, 1, (50, 2))])
    precision, recall = precision_recall(real, made)
    reach = NearestNeighbors(n_neighbors=4).fit(real).kneighbors(real)[0][:, 3]
    wanted = np.mean([(np.linalg.norm(real - row, axis=1) <= reach + 1e-9).any() for row in made])
    assert precision == pytest.approx(wanted) == 0.5
    assert recall < 0.5, "what is made covers the middle only"
    assert precision_recall(real, real) == (1.0, 1.0)
    assert nearest(real[[7, 3]] + 1e-6, real).tolist() == [7, 3]


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 48, 3), (33, 20, 3), (5, 5, 1), (64, 64, 3)])
@pytest.mark.parametrize("classes", [0, 4])
def test_networks_of_every_size_fit_together(shape: tuple[int, int, int], classes: int) -> None:
    generator, critic = Generator(shape, 6, classes, 4), Critic(shape, classes, 4)
    inputs = {"noise": torch.randn(3, 6), "class": torch.tensor([0, 2, 3])}
    made = generator(inputs)
    assert made.shape == (3, shape[2], *shape[:2])
    assert made.abs().max() <= 1
    assert critic(made, inputs["class"] if classes else None).shape == (3,)
    first, doublings = growth(*shape[:2], 5)
    assert all(side * 2**doublings >= whole for side, whole in zip(first, shape[:2], strict=True))


def test_an_unknown_class_is_any_class() -> None:
    generator = Generator((8, 8, 1), 4, 4, 4).eval()
    noise = torch.randn(2, 4)
    made = [generator({"noise": noise, "class": torch.full((2,), code)}) for code in (0, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[1], made[2])


def test_pairs_are_shifted_alike() -> None:
    torch.manual_seed(0)
    pictures = torch.arange(36.0).reshape(1, 1, 6, 6).repeat(20, 1, 1, 1)
    one, other = shifted((pictures, pictures + 100), [2, 1])
    assert torch.equal(one + 100, other)
    assert {float(value) for value in one[:, 0, 3, 3]} <= {
        6.0 * row + column for row in range(1, 6) for column in (2, 3, 4)
    }
    assert len({float(value) for value in one[:, 0, 3, 3]}) > 5


def test_mirrored_pictures_tell_how() -> None:
    pictures = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1).repeat(40, axis=0)
    found, ways = judging.turned(pictures, np.random.default_rng(0))
    for picture, way in zip(found, ways, strict=True):
        assert np.array_equal(picture, np.flip(pictures[0], tuple(axis - 1 for axis in judging.WAYS[way])))
    assert set(ways.tolist()) == {0, 1, 2, 3}


def test_a_judge_repeats_and_learns() -> None:
    random = np.random.default_rng(0)
    answers = random.integers(0, 2, 128)
    pictures = (random.integers(0, 60, (128, 12, 12, 1)) + 150 * answers[:, None, None, None]).astype(np.uint8)
    feature = Feature("image", (12, 12, 1), "uint8", details={"mean": [100.0], "std": [70.0]})
    engine = judging.Engine(torch.device("cpu"))

    def one() -> judging.Judge:
        draw = judging.of_rows(pictures, answers, np.arange(128))
        return judging.trained(judging.fresh(feature, 2, 3, engine.device), judging.Drawn(draw, True, 3), 20, engine)

    first, second = one(), one()
    assert np.array_equal(first.features(pictures, engine.device), second.features(pictures, engine.device))
    assert (first.answers(pictures, engine.device) == answers).mean() > 0.95


def test_the_simple_tool_draws_what_it_has_seen() -> None:
    random = np.random.default_rng(0)
    codes = np.repeat([2, 3], 100)
    pictures = np.where(codes == 2, 60, 180)[:, None, None, None] + random.normal(0, 5, (200, 6, 6, 1))
    models, _ = simple.normals(pictures.clip(0, 255).astype(np.uint8), codes, np.arange(200), 0)
    made = simple.drawn(models, codes, (6, 6, 1), 0)
    assert abs(made[codes == 2].mean() - 60) < 3
    assert abs(made[codes == 3].mean() - 180) < 3
    assert made[codes == 2].std() == pytest.approx(5, abs=1.5)


def test_noise_between_keeps_its_length() -> None:
    one, other = (np.random.default_rng(seed).normal(size=(1, 64)) for seed in (0, 1))
    middle = np.linalg.norm(slerp(one, other, 0.5))
    assert middle == pytest.approx((np.linalg.norm(one) + np.linalg.norm(other)) / 2, rel=0.1)
    unit = one.astype(np.float32) / np.float32(np.linalg.norm(one))
    for share in (0.0, 0.3, 1.0):
        assert slerp(unit, unit, share) == pytest.approx(unit), "from a noise to itself there is but one way"
    assert slerp(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]), 0.5).tolist() == [[1.0, 0.0]]


def test_a_sheet_is_a_picture() -> None:
    assert sheet(np.zeros((5, 8, 8, 3), np.uint8), 4).startswith(b"\x89PNG")


def test_states_are_checked() -> None:
    task = Task("picture", (4, 4, 1), "kind", ("a", "b"))
    assert Task.restore(task.state()) == task
    with pytest.raises(ValueError, match="pictures of"):
        Task.restore({**task.state(), "shape": [10**6, 4, 1]})
    outputs = np.array([[0.0, 1.0, 0.5, 2.0] * 4], np.float32)
    assert task.pictures(outputs).reshape(-1)[:4].tolist() == [0, 255, 128, 255]
    assert not task.agreement(outputs, outputs + 0.01).holds
    assert task.agreement(outputs, outputs).holds


def test_rows_that_are_compared_are_of_every_class() -> None:
    rows = np.arange(100, 1100)
    chosen = some_of(rows, 50)
    assert len(set(chosen.tolist())) == 50
    assert len({row // 100 for row in chosen}) >= 9, (
        "folders come class by class: the first rows are of the first class"
    )
    assert np.array_equal(chosen, some_of(rows, 50))
    assert np.array_equal(some_of(rows, 2000), rows)


def test_first_columns_stand_side_by_side(tmp_path: Path) -> None:
    for number in range(3):
        pictures = np.full((8, 60, 60, 1), 0, np.uint8)
        pictures[::4] = 80 * (number + 1)
        (tmp_path / f"{number}.png").write_bytes(sheet(pictures, 4))
    found = np.asarray(Image.open(io.BytesIO(side_by_side(sorted(tmp_path.glob("*.png")), 4))))
    assert found.shape == (122, 183)
    assert [int(found[5, 61 * number + 5]) for number in range(3)] == [80, 160, 240]
