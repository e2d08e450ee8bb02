"""The sealed network answers as the trained one does, for every kind of input; and parity says so when it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.modalities import Feature
from lamina.model.export import export
from lamina.model.parity import compare
from lamina.tasks import tag
from lamina.tasks.classify import Task as Classify
from lamina.tasks.regress import Task as Regress

FEATURES = {
    "size in mm": Feature("numbers", (2,), "float32"),
    "Größe": Feature("numbers", (1,), "float32"),
    "color": Feature("category", (), "int32", 5),
    "words": Feature("tokens", (6,), "int32", 11),
    "photo": Feature("image", (8, 8, 3), "uint8"),
    "sound": Feature("spectrogram", (10, 4), "float16"),
    "t": Feature("series", (9, 1), "float32"),
}
TASKS = {
    "kind": Classify("kind", ("a", "b", "c"), (5, 5, 5), "accuracy", scale=1.7),
    "price": Regress("price", "log", "mse", 2.0, 0.5, 0.0, 100.0),
}


class Everything(nn.Module):
    """Reads every kind of feature, with the layers that behave differently in training."""

    def __init__(self) -> None:
        super().__init__()
        self.color, self.words = nn.Embedding(5, 3), nn.Embedding(11, 4, padding_idx=0)
        self.photo, self.series = nn.Conv2d(3, 4, 3), nn.GRU(1, 3, batch_first=True)
        self.sound = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.norm, self.drop = nn.BatchNorm1d(2 + 1 + 3 + 4 + 4 + 4 + 3), nn.Dropout(0.5)
        self.kind, self.price = nn.Linear(21, 2 * 3), nn.Linear(21, 2 * 2)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        photo = self.photo(inputs["photo"].permute(0, 3, 1, 2).float() / 255).mean((2, 3))
        parts = [
            inputs["size in mm"], inputs["Größe"], self.color(inputs["color"]), self.words(inputs["words"]).mean(1),
            photo, self.sound(inputs["sound"].float()).mean(1), self.series(inputs["t"])[0][:, -1],
        ]  # fmt: skip
        joined = self.drop(self.norm(torch.cat(parts, 1)))
        return {"kind": self.kind(joined).unflatten(1, (2, 3)), "price": self.price(joined).unflatten(1, (2, 2))}


def inputs(rows: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    found = {}
    for name, feature in FEATURES.items():
        shape = (rows, *feature.shape)
        if feature.dtype in ("int32", "uint8"):
            found[name] = random.integers(0, feature.size or 256, shape).astype(feature.dtype)
        else:
            found[name] = random.normal(size=shape).astype(feature.dtype)
    return found


def test_every_kind_of_input_is_exported_in_its_own_type_and_answers_alike_for_any_batch() -> None:
    import onnxruntime

    torch.manual_seed(0)
    network = Everything().train()
    exported = export(network, FEATURES, TASKS)
    assert network.training
    assert all(
        name.isascii() and name.isidentifier() for name in (*exported.inputs.values(), *exported.outputs.values())
    )
    session = onnxruntime.InferenceSession(exported.network, providers=["CPUExecutionProvider"])
    network.eval()
    for rows in (1, 2, 33):
        arrays = inputs(rows, seed=rows)
        with torch.no_grad():
            answers = network({name: torch.from_numpy(array) for name, array in arrays.items()})
            trained = {name: task.combine(answers[name]).numpy() for name, task in TASKS.items()}
        feed = {exported.inputs[name]: array for name, array in arrays.items()}
        found = session.run([exported.outputs[name] for name in TASKS], feed)
        sealed = dict(zip(TASKS, found, strict=True))
        parity = compare(trained, sealed, TASKS)
        assert (parity.rows, parity.same_answers, parity.ties) == (rows, 1.0, 0)
        assert parity.largest_difference < 1e-4


def test_a_network_that_fixes_the_batch_size_is_refused() -> None:
    class Fixed(nn.Module):
        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"kind": inputs["color"].float().reshape(2, 1, 1).expand(2, 2, 3)}

    with pytest.raises(LaminaError, match=r"batch|export"):
        export(Fixed(), {"color": FEATURES["color"]}, {"kind": TASKS["kind"]})


def outputs(rows: int = 50) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(1)
    return {
        "kind": random.normal(size=(rows, 3)).astype(np.float32),
        "price": random.normal(size=(rows, 2)).astype(np.float32),
    }


def test_equal_outputs_are_equal() -> None:
    parity = compare(outputs(), outputs(), TASKS)
    assert (parity.same_answers, parity.largest_difference, parity.rows) == (1.0, 0.0, 50)


@pytest.mark.parametrize(
    ("target", "row", "column", "change"),
    [("kind", 3, 0, 0.1), ("kind", 3, 1, 50.0), ("price", 7, 0, 0.01), ("price", 0, 0, np.nan), ("kind", 1, 0, np.inf)],
)
def test_a_different_answer_fails(target: str, row: int, column: int, change: float) -> None:
    sealed = outputs()
    sealed[target][row, column] += change
    with pytest.raises(LaminaError, match=f"{target}.*row {row}|row {row}.*{target}"):
        compare(outputs(), sealed, TASKS)


def test_a_lost_row_fails() -> None:
    with pytest.raises(LaminaError, match="49 rows instead of 50"):
        compare(outputs(), {name: array[:-1] for name, array in outputs().items()}, TASKS)


def test_rounding_of_a_large_logit_is_a_tie() -> None:
    network, sealed = outputs(), outputs()
    network["kind"][5], sealed["kind"][5] = [20.0, 20.000008, 0.0], [20.0, 19.999996, 0.0]
    assert compare(network, sealed, TASKS).ties == 1


def test_two_labels_that_are_certain_make_no_tie_of_a_third() -> None:
    task = tag.Task("labels", ("a", "b", "c"), (2, 2, 2), 4, "")
    network, sealed = np.array([[20.0, 20.0, 0.003]]), np.array([[20.0, 20.0, -0.0005]])
    with pytest.raises(LaminaError, match="row 0"):
        compare({"labels": network}, {"labels": sealed}, {"labels": task})


def test_a_tie_that_falls_the_other_way_is_said_but_does_not_fail() -> None:
    network, sealed = outputs(), outputs()
    network["kind"][5] = [1.0, 1.0, 0.0]
    sealed["kind"][5] = [1.0, np.nextafter(np.float32(1), np.float32(2)), 0.0]
    parity = compare(network, sealed, TASKS)
    assert parity.ties == 1
    assert parity.same_answers == pytest.approx(49 / 50)
