"""Tasks without answers, how they are judged, and search: against scikit-learn and by hand."""

from __future__ import annotations

import base64
import io
import json
import math
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from memory_table import MemoryTable
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from lamina.data.examples import Examples
from lamina.data.schema import Field, Schema
from lamina.data.split import Split
from lamina.errors import InputError
from lamina.evaluate import judge
from lamina.learn.batch import Batch
from lamina.learn.engine import Engine
from lamina.methods import one_class
from lamina.methods._unlabelled_learner import Objective
from lamina.modalities import Feature
from lamina.model.search import Index
from lamina.plan import Plan, TaskPlan
from lamina.steps.request import Request
from lamina.steps.unlabelled import collapse, describe, detect
from lamina.steps.unlabelled.choose import decided
from lamina.steps.unlabelled.labels import Labels, labels_of, of_ordinary, ordinary, usual
from lamina.steps.unlabelled.learner import Learner, width_of
from lamina.tasks import anomaly, embed
from lamina.tasks._where import Scale, around

RANDOM = np.random.default_rng(0)
PLACES = (("price", ()), ("photo", (2, 3)))


def test_an_alarm_is_raised_for_the_asked_share_of_ordinary_rows() -> None:
    output = RANDOM.normal(size=(5000, 8)).astype(np.float32)
    task = anomaly.Task("anomaly", PLACES, rate=0.05).calibrated(output)
    answers = task.decode(output)
    assert answers[""].mean() == pytest.approx(0.05, abs=0.005)
    assert answers[".rarity"].min() >= 0
    assert answers[".rarity"].max() <= 1
    assert np.all(np.diff(answers[".rarity"][np.argsort(output[:, 0])]) >= 0)


@pytest.mark.parametrize(("rows", "rate"), [(100_000, 0.001), (1000, 0.003), (199, 0.01), (99, 0.01), (99, 0.05)])
def test_new_ordinary_rows_raise_alarms_as_often_as_asked(rows: int, rate: float) -> None:
    """However rare alarms are to be, and however few rows say what is ordinary: on average over such rows."""
    random = np.random.default_rng(2)
    shares = []
    for _ in range(max(1, 100_000 // rows)):
        task = anomaly.Task("anomaly", rate=rate).calibrated(random.exponential(size=(rows, 1)) ** 3)
        shares.append(math.exp(-(task.threshold ** (1 / 3))))
    assert np.mean(shares) == pytest.approx(rate, rel=0.25)


def test_a_wish_for_fewer_alarms_than_rows_can_show_is_met_by_the_highest() -> None:
    scores = np.arange(20.0)[:, None]
    assert anomaly.Task("anomaly", rate=0.01).calibrated(scores).threshold == 19
    assert anomaly.Task("anomaly", rate=0.99).calibrated(scores).threshold == 0


def test_a_threshold_is_kept_and_that_of_older_files_is_read() -> None:
    task = anomaly.Task("anomaly", rate=0.001).calibrated(RANDOM.normal(size=(500, 1)))
    state = json.loads(json.dumps(task.state()))
    assert anomaly.Task.restore(state) == task
    older = anomaly.Task.restore({name: part for name, part in state.items() if name != "limit"})
    assert older.levels[-2] < older.threshold < older.levels[-1]


def test_the_strangest_field_is_named() -> None:
    output = np.zeros((2, 8), np.float32)
    output[0, 1], output[1, 2:] = 3.0, 2.0
    assert anomaly.Task("anomaly", PLACES).decode(output)[".where"].tolist() == ["price", "photo"]
    parts = anomaly.Task("anomaly", PLACES).parts(output)
    assert parts["photo"].shape == (2, 2, 3)
    assert parts["price"].shape == (2,)


def test_a_field_may_be_called_as_a_part_of_the_answer() -> None:
    task = anomaly.Task("anomaly", (("score", ()), ("x", ())))
    answer = task.decode(np.array([[7.0, 1.0, 2.0]]))
    assert (answer[".score"][0], answer[".score.part"][0], answer[".where"][0]) == (7, 1, "x")


def heated(grid: tuple[int, ...], *places: Any, value: float = 5.0) -> np.ndarray[Any, Any]:
    """Outputs of one row, with some places strange."""
    part = np.full(grid, -0.5)
    for place in places:
        part[place] = value
    return np.concatenate([[9.0], part.ravel()])[None]


def test_the_strange_part_of_a_picture_is_a_box_in_its_own_pixels() -> None:
    scale = Scale("image", (32, 32), "pad")
    task = anomaly.Task("anomaly", (("photo", (8, 8)),), scales={"photo": scale})
    output = heated((8, 8), (3, 4), (3, 5), (7, 0))
    assert task.decode(output)[".where"][0] == {"x": 16, "y": 12, "width": 8, "height": 4}
    whole = np.zeros((1, 40, 80, 3), np.uint8)
    photo = np.empty(1, object)
    photo[0] = whole[0]
    # 80 x 40 lies in 32 x 32 as 32 x 16, eight pixels from the top.
    assert task.placed(output, {"photo": photo}, None)[".where"][0] == {"x": 40, "y": 10, "width": 20, "height": 10}
    photo[0] = b"no picture"
    assert task.placed(output, {"photo": photo}, None)[".where"][0] == task.decode(output)[".where"][0]
    photo[0] = None
    assert task.placed(output, {"photo": photo}, None)[".where"][0] == task.decode(output)[".where"][0]
    cut = replace(task, scales={"photo": replace(scale, resize="crop")})
    photo[0] = whole[0]
    # Its middle, 40 x 40, is all that is read.
    assert cut.placed(output, {"photo": photo}, None)[".where"][0] == {"x": 40, "y": 15, "width": 10, "height": 5}
    assert anomaly.Task.restore(json.loads(json.dumps(task.state()))) == task


def test_what_is_joined_to_the_strangest_place_is_part_of_it_and_nothing_else() -> None:
    part = np.array([[[9.0, 5, 0, 9], [0, 5, 0, 0], [0, 4, 0, 6]], [[-1, -2, -3, -4], [-5] * 4, [-6] * 4]])
    found = around(part)
    assert found[0].astype(int).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert np.argwhere(found[1]).tolist() == [[0, 0]], "where nothing is strange, the strangest place alone"


def test_the_strange_stretch_of_a_series_is_told_in_its_own_steps_with_its_channel() -> None:
    task = anomaly.Task("anomaly", (("wave", (4, 2)),), scales={"wave": Scale("series", (20,))})
    output = heated((4, 2), (2, 1), (3, 1))
    assert task.decode(output)[".where"][0] == {"channel": 1, "first": 10, "last": 19}
    longer = np.empty(1, object)
    longer[0] = np.zeros((39, 2)).tolist()
    assert task.placed(output, {"wave": longer}, None)[".where"][0] == {"channel": 1, "first": 20, "last": 38}
    uneven = anomaly.Task("anomaly", (("wave", (3,)),), scales={"wave": Scale("series", (10,))})
    assert uneven.decode(heated((3,), 1))[".where"][0] == {"first": 4, "last": 6}


def test_the_strange_stretch_of_a_sound_is_told_in_its_own_seconds() -> None:
    scale = Scale("spectrogram", (100,), step=0.01, seconds=1.0, rate=1000)
    task = anomaly.Task("anomaly", (("sound", (4,)),), scales={"sound": scale})
    sounds = np.empty(3, object)
    loud = np.zeros(4000, np.float32)
    loud[2500:3500] = 0.5
    sounds[:] = [np.zeros(1000, np.float32), np.zeros(600, np.float32), loud]
    found = task.placed(np.repeat(heated((4,), 2), 3, axis=0), {"sound": sounds}, None)[".where"]
    assert found[0] == {"start": 0.5, "end": 0.75}
    assert found[1] == {"start": 0.5, "end": 0.6}, "no longer than the sound"
    # The loudest stretch is heard, found to within a hundredth of it and with a tenth of a second to spare.
    assert found[2]["start"] == pytest.approx(2.9 + 0.05, abs=0.07)


def test_of_several_fields_each_says_where_and_the_strangest_is_named() -> None:
    places = (("price", ()), ("photo", (8, 8)))
    task = anomaly.Task("anomaly", places, scales={"photo": Scale("image", (16, 16))})
    output = np.concatenate([[[3.0, 0.5]], heated((8, 8), (0, 0), value=20.0)[:, 1:]], axis=1)
    answer = task.decode(output)
    assert answer[".where"][0] == "photo", "a strange spot does not vanish among places that are as ever"
    assert answer[".photo.where"][0] == {"x": 0, "y": 0, "width": 2, "height": 2}
    assert set(task.decode(output[:0])) == set(answer)


def test_the_report_draws_where_the_strangest_rows_are_strange() -> None:
    """Pictures, sounds and series as the network reads them; what is strange is bluer than what is not."""
    scales = {
        "photo": Scale("image", (16, 16)),
        "sound": Scale("spectrogram", (40,), step=0.01, seconds=0.4, rate=1000),
        "wave": Scale("series", (20,)),
    }
    places = (("photo", (4, 4)), ("sound", (4,)), ("wave", (4, 2)))
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "photo": np.full((3, 16, 16, 3), 200, np.uint8),
        "sound": np.zeros((3, 40, 8), np.float16),
        "wave": RANDOM.normal(size=(3, 20, 2)).astype(np.float32),
    }
    raw = {"photo": list(arrays["photo"]), "sound": [RANDOM.normal(size=400)] * 3, "wave": arrays["wave"].tolist()}
    modality = {"photo": "image", "sound": "audio", "wave": "series"}
    prepared: Any = SimpleNamespace(
        split=SimpleNamespace(test=np.arange(3)),
        table=MemoryTable(raw),
        schema=Schema(tuple(Field(name, kind) for name, kind in modality.items())),
        encoders={
            name: SimpleNamespace(feature=Feature(scales[name].kind, arrays[name].shape[1:], str(arrays[name].dtype)))
            for name in arrays
        },
        examples=SimpleNamespace(take=lambda names, rows: {name: arrays[name][rows] for name in names}),
    )
    outputs = np.zeros((3, 29))
    outputs[1, 0], outputs[1, 1:3], outputs[1, -1] = 9.0, 40.0, 3.0
    strangest, ordinary = detect._strangest(prepared, anomaly.Task("anomaly", places, scales=scales), outputs)
    assert strangest.lines[0].startswith("memory, row 1 (score 9, in photo 0 to 8 across and 0 to 4 down)")
    assert len(strangest.pictures) == len(ordinary.pictures) == 9, "three fields of three rows"

    def blueness(uri: str) -> Any:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).astype(float)
        return pixels[:, :, 2] - pixels[:, :, 0]

    first, usual = blueness(strangest.pictures[0]), blueness(ordinary.pictures[0])
    assert first[:20, :60].mean() > 50 > first[80:].mean() == pytest.approx(0) == usual.mean()
    assert blueness(strangest.pictures[6])[:, -30:].mean() > 50, "of the channel that is strange, its end"


def test_scales_that_do_not_fit_are_refused() -> None:
    state = anomaly.Task("anomaly", (("photo", (8, 8)),), scales={"photo": Scale("image", (32, 32))}).state()
    for damage in ({"size": [32]}, {"size": [0, 32]}, {"kind": "series"}, {"step": math.inf}, {"kind": "none"}):
        with pytest.raises(ValueError, match="scale"):
            anomaly.Task.restore({**state, "scales": {"photo": {**state["scales"]["photo"], **damage}}})
    with pytest.raises(ValueError, match="scale"):
        anomaly.Task.restore({**state, "scales": {"other": state["scales"]["photo"]}})


def test_before_calibration_there_is_no_alarm() -> None:
    assert not anomaly.Task("anomaly").decode(np.full((3, 1), 1e9, np.float32))[""].any()


@pytest.mark.parametrize(
    "task",
    [anomaly.Task("anomaly", PLACES, 0.1).calibrated(RANDOM.normal(size=(50, 8))), embed.Task("embedding", 12)],
)
def test_the_state_is_strict_json_and_empty_rows_decode(task: anomaly.Task | embed.Task) -> None:
    again = type(task).restore(json.loads(json.dumps(task.state(), allow_nan=False)))
    assert again == task
    assert all(len(values) == 0 for values in again.decode(np.zeros((0, task.width), np.float32)).values())


def test_an_embedding_has_length_one_and_holds_even_for_nothing() -> None:
    task = embed.Task("embedding", 4)
    output = task.combine(torch.tensor([[[3.0, 0.0, 4.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]))
    np.testing.assert_allclose(output[0], [0.6, 0, 0.8, 0])
    assert torch.isfinite(output).all()
    assert task.decode(output.numpy())[""][0] == pytest.approx([0.6, 0, 0.8, 0])


@pytest.mark.parametrize("task", [anomaly.Task("anomaly", PLACES), embed.Task("embedding", 8)])
def test_rounding_agrees_and_another_network_does_not(task: anomaly.Task | embed.Task) -> None:
    output = RANDOM.normal(size=(40, 8)).astype(np.float32)
    assert task.agreement(output, output + np.float32(1e-6)).holds
    assert not task.agreement(output, output + np.float32(0.01)).holds


@pytest.mark.parametrize("ties", [False, True])
def test_detections_are_scored_as_scikit_learn_does(ties: bool) -> None:
    strange = RANDOM.random(300) < 0.2
    score = RANDOM.normal(size=300) + strange
    score = score.round(0) if ties else score
    weights = RANDOM.integers(0, 3, (4, 300)).astype(np.float64)
    found = judge.detections("", score, strange)
    for row in weights:
        kept = row > 0
        truth, values, weight = strange[kept], score[kept], row[kept]
        auc = roc_auc_score(truth, values, sample_weight=weight)
        precision = average_precision_score(truth, values, sample_weight=weight)
        assert found.scores["auc"](row[None])[0] == pytest.approx(auc)
        assert found.scores["average_precision"](row[None])[0] == pytest.approx(precision)


def test_probes_see_classes_that_lie_apart_and_none_in_noise() -> None:
    codes = RANDOM.integers(0, 3, 400)
    apart = np.eye(3)[codes] * 5 + RANDOM.normal(size=(400, 3))
    noise = RANDOM.normal(size=(400, 3))
    once = np.ones((1, 100))
    for vectors, low, high in ((apart, 0.95, 1.0), (noise, 0.15, 0.55)):
        found = judge.probes("", vectors[:300], codes[:300], vectors[300:], codes[300:], seed=0)
        for score in found.scores.values():
            assert low <= score(once)[0] <= high


def test_rows_without_a_label_teach_the_probes_nothing() -> None:
    codes = np.array([0, 1, -1, -1])
    near = judge.probes("", np.eye(4), codes, np.eye(4)[:2], np.array([0, 1]), seed=0)
    assert near.scores["knn_accuracy"](np.ones((1, 2)))[0] == 1


def labels(*values: str | None) -> Labels:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return Labels("kind", column)


def test_ordinary_rows_are_those_with_the_label() -> None:
    known = labels("fine", "odd", "fine", None, "fine", "fine", "odd")
    parts = Split(np.arange(4), np.array([4, 5]), np.array([6]), "random", "", ())
    train, validation = of_ordinary(parts, known, ordinary(known, {"normal": "fine"}))
    assert train.tolist() == [0, 2]
    assert validation.tolist() == [4, 5]
    assert usual(known, np.arange(7)) == "fine"
    assert usual(known, np.array([3])) == "fine", "where no training row has a label"
    with pytest.raises(InputError, match="No row is labelled"):
        ordinary(known, {"normal": "good"})
    with pytest.raises(InputError, match="no column of labels"):
        ordinary(None, {"normal": "fine"})


def test_a_column_of_labels_that_is_empty_is_none() -> None:
    schema = Schema((Field("x", "number"), Field("kind", "category", "label")))
    for values, there in (([None, None], False), ([None, "odd"], True)):
        assert (labels_of(MemoryTable({"x": [1, 2], "kind": values}), schema) is not None) is there


@pytest.mark.parametrize(("known", "part"), [((None, None, "a", "b"), "training"), (("a", "b", None, None), "test")])
def test_where_a_part_has_no_labels_vectors_are_not_probed(known: tuple[str | None, ...], part: str) -> None:
    parts = Split(np.arange(2), np.array([], np.int64), np.array([2, 3]), "column", "", ())
    trained: Any = SimpleNamespace(labels=labels(*known), prepared=SimpleNamespace(split=parts))
    result = describe._judged(trained, embed.Task("embedding", 2), np.eye(2))
    assert f"no {part} row has one" in result.verdict
    assert set(result.scores) == {"spread", "effective_rank"}


def test_the_effective_rank_counts_directions_that_vectors_differ_in() -> None:
    line = RANDOM.normal(size=(200, 1)) * RANDOM.normal(size=(1, 16)) + 3
    assert collapse.effective_rank(line) == pytest.approx(1, abs=1e-6)
    assert collapse.effective_rank(RANDOM.normal(size=(5000, 16))) == pytest.approx(16, abs=0.1)
    # Two directions, one of them three times as long: by hand.
    two = np.stack([np.repeat([3.0, -3, 0, 0], 50), np.repeat([0, 0, 1.0, -1], 50)], axis=1)
    assert collapse.effective_rank(two) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    for equal in (np.ones((5, 3)), np.zeros((5, 3)), np.zeros((0, 3)), np.ones((1, 3))):
        assert collapse.effective_rank(equal) == 0


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        (np.full((60, 8), 8**-0.5), "hardly differ"),
        (np.sign(RANDOM.normal(size=(60, 1))) * np.full((60, 8), 8**-0.5), "use one"),
        (RANDOM.normal(size=(60, 8)), ""),
        (RANDOM.normal(size=(60, 2)), ""),
    ],
)
def test_a_collapse_is_told_once_while_it_learns_and_stands_in_the_report(vectors: Any, told: str) -> None:
    """A point, a line, and vectors that are as they should be."""
    size = vectors.shape[1]
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    objective = Objective(torch.nn.Identity())  # type: ignore[arg-type]
    objective.forward = lambda inputs: {"embedding": inputs["x"][:, None]}
    batch = Batch(torch.arange(len(unit)), {"x": torch.from_numpy(unit)}, {}, None)
    loader: Any = SimpleNamespace(rows=np.arange(len(unit)), batch=lambda rows: batch, once=lambda: [batch])
    method: Any = SimpleNamespace(
        sealed=objective, evaluating=lambda: nullcontext(objective), judge=lambda batch: torch.zeros(len(unit))
    )
    engine = Engine(torch.device("cpu"))
    said: list[str] = []
    learner = Learner(method, engine, loader, loader, describes=True, say=said.append)
    for _ in range(4):
        scores = learner.validation_scores()
    assert list(scores) == ["score", "loss", "spread", "effective_rank"]
    assert len(said) == bool(told)
    assert all(told in sentence and "--set" in sentence for sentence in said)
    parts = Split(np.array([], np.int64), np.array([], np.int64), np.arange(60), "random", "", ())
    prepared = SimpleNamespace(split=parts, table=MemoryTable({"x": [0.0] * 60}), schema=Schema(()))
    trained: Any = SimpleNamespace(
        labels=None, prepared=prepared, name="embedding", learner=learner, outputs=lambda task, rows: unit
    )
    assert embed.Task("embedding", size).width == width_of(learner)
    tested = describe.tested(trained)
    assert [finding.severity for finding in tested.findings] == ["warning"] * bool(told)
    assert told in tested.result.verdict


def test_a_one_class_description_that_is_one_point_is_told() -> None:
    objective: Any = SimpleNamespace(
        vectors=lambda inputs: inputs["x"], spread=lambda vectors: vectors.std(), least=one_class.OneClass.least
    )
    batch = Batch(torch.arange(9), {"x": torch.full((9, 8), 0.7)}, {}, None)
    loader: Any = SimpleNamespace(rows=np.arange(9), batch=lambda rows: batch)
    method: Any = SimpleNamespace(sealed=objective, evaluating=lambda: nullcontext(objective))
    learner = Learner(method, SimpleNamespace(device=torch.device("cpu")), loader, loader)  # type: ignore[arg-type]
    assert "collapsed" in learner.apart().sentence  # type: ignore[union-attr]
    batch.inputs["x"][0] = 1.0
    assert not learner.apart().sentence, "one direction is as good as many"  # type: ignore[union-attr]
    objective.vectors = lambda inputs: None
    assert learner.apart() is None


@pytest.mark.parametrize(("name", "keep"), [("anogan", "last"), ("autoencoder", "best")])
def test_of_a_method_by_stages_the_last_weights_are_kept_and_no_others(name: str, keep: str) -> None:
    """While the critic still learns, the loss of an encoder that has not begun may be lower than it will ever be."""
    feature = Feature("image", (16, 16, 1), "uint8")
    prepared: Any = SimpleNamespace(
        encoders={"x": SimpleNamespace(feature=feature)},
        tasks={},
        split=SimpleNamespace(train=np.arange(500)),
        examples=Examples({"x": np.zeros((500, 16, 16, 1), np.uint8)}, 500),
    )
    plan = Plan(task={"anomaly": TaskPlan("anomaly")})
    request = Request("data", sets=(f"method.name={name}",))
    chosen = decided(request, prepared, plan, None)
    assert chosen.training.keep == keep
    usual = decided(Request("data"), prepared, plan, None)
    assert usual.method.name == "autoencoder"
    assert "method.name=transformations" in usual.reasons["method.name"]
    asked = Request("data", sets=(f"method.name={name}", "training.keep=best"))
    for given in (None, chosen):
        if keep == "best":
            assert decided(asked, prepared, plan, given).training.keep == "best"
            continue
        with pytest.raises(InputError, match="the last weights are kept") as caught:
            decided(asked, prepared, plan, given)
        assert caught.value.where == "training.keep"


def test_search_finds_the_nearest_and_keeps_places() -> None:
    vectors = RANDOM.normal(size=(50, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(50) * 2
    index = Index(vectors, rows, tuple(f"{row}.png" for row in rows), {1: "torn"})
    found = index.search(vectors[[7, 3]], top=3)
    assert [items[0].row for items in found] == [14, 6]
    assert found[0][0].name == "14.png"
    exact = np.sort(vectors @ vectors[7])[::-1][:3]
    assert [item.likeness for item in found[0]] == pytest.approx(exact.tolist(), abs=1e-6)
    assert len(index.search(vectors[:1], top=1000)[0]) == 50
