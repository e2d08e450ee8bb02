"""What every network family keeps, over every family in the folder and every kind of input it accepts."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lamina import registry
from lamina.errors import InputError
from lamina.learn.memory import Watched
from lamina.modalities import Feature
from lamina.model import lengths, quantize
from lamina.model.export import folded, free_axes
from lamina.model.quick_export import operators_read_once, traced_once
from lamina.networks import Local, Remembering, Stepwise
from lamina.networks.assembly import Assembly, build_assembly
from lamina.networks.bag import Bag
from lamina.networks.blocks import fields
from lamina.networks.blocks.options import read_options
from lamina.networks.edsr import Edsr
from lamina.networks.mlp import Perceptron
from lamina.plan import NetworkPlan

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"width": 16, "depth": 2},
    "tabm": {"members": 4, "width": 16, "numeric_width": 4},
    "factorisation": {"members": 2, "width": 8},
    "resnet": {"width": 8, "stages": 2, "squeeze_excite": True, "stochastic_depth": 0.1, "dropout": 0.1},
    "edsr": {"width": 8, "depth": 2},
    "recurrent": {"width": 8, "embedding": 8},
    "transformer": {"width": 16, "depth": 1, "heads": 2, "stochastic_depth": 0.1},
    "conformer": {"width": 16, "depth": 1, "heads": 2, "kernel": 5, "channels": 4, "stochastic_depth": 0.1},
    "efficientnet": {},
    "bag": {"members": 2, "width": 8, "buckets": 64, "hidden": 16},
    "huggingface": {},
}
"""Options that make the test quick; a family that is not here is tested at its defaults."""

EXTRA: dict[str, list[dict[str, Any]]] = {
    "mlp": [{"norm": "batch", "residual": False}, {"numeric": "auto"}],
    "factorisation": [{"hidden": 8}, {"history": 0, "members": 1}],
    "tabm": [{"variant": "mini", "numeric": "periodic"}],
    "resnet": [{"pooling": "statistics", "width": 8, "stages": 2}],
    "edsr": [{"residual": 0.1, "width": 8, "depth": 1}],
    "recurrent": [{"cell": "gru", "pooling": "attention", "depth": 2, "bidirectional": False}],
    "transformer": [{"pooling": "cls", "positions": "learned", "feed": "gelu"}],
    "conformer": [{"pooling": "attention", "halvings": 1}],
    "bag": [{"grams": 3, "members": 1}],
}
"""Further options of families, each tried on the first kind they accept."""

ROWS = 8


def features_of(kind: str) -> dict[str, Feature]:
    """Features of one kind, as encoders give them; two columns of each shape for tables."""
    spellings = ["", "", "", *(f"Ġword{number}" for number in range(47))]
    image = {"mean": [100.0, 120.0, 90.0], "std": [60.0, 50.0, 70.0]}
    known: dict[str, dict[str, Feature]] = {
        "numbers": {
            "age": Feature("numbers", (1,), "float32", details={"bins": [-2.0, -0.5, 0.0, 0.5, 2.0]}),
            "pay": Feature("numbers", (2,), "float32", details={"bins": [-1.0, 0.0, 0.1, 3.0]}),
            "flat": Feature("numbers", (1,), "float32"),
            "when": Feature("numbers", (5,), "float32"),
        },
        "category": {
            "type": Feature("category", (), "int32", size=5),
            "a.b": Feature("category", (), "int32", size=5),
            "town": Feature("category", (), "int32", size=40),
        },
        "tokens": {"text": Feature("tokens", (12,), "int32", size=50, details={"spellings": spellings})},
        "image": {"photo": Feature("image", (20, 18, 3), "uint8", details=image)},
        "spectrogram": {"sound": Feature("spectrogram", (24, 12), "float16")},
        "series": {"curve": Feature("series", (30, 2), "float32")},
    }
    return known[kind]


def inputs_of(features: Mapping[str, Feature], rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Random encoded inputs, with padding of various lengths (one row is all padding)."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, feature in features.items():
        shape = (rows, *feature.shape)
        if feature.kind in ("category", "tokens"):
            arrays[name] = generator.integers(1, feature.size, shape).astype(np.int32)
        elif feature.kind == "image":
            arrays[name] = generator.integers(0, 256, shape).astype(np.uint8)
        else:
            arrays[name] = generator.normal(size=shape).astype(feature.dtype)
        if feature.kind in ("tokens", "spectrogram"):
            for row in range(rows):
                arrays[name][row, feature.shape[0] - (row * 5) % (feature.shape[0] + 1) :] = 0
            arrays[name][0] = arrays[name][0] if rows == 1 else arrays[name][-1]
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def tiny_bert(folder: Path) -> str:
    """A folder in the Hugging Face format with the smallest sensible encoder (no weights)."""
    config = {
        "model_type": "bert",
        "vocab_size": 60,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


CASES = [
    (family, kind, SMALL.get(family, {}))
    for family in registry.names("networks")
    for kind in registry.module("networks", family).ACCEPTS
] + [
    (family, registry.module("networks", family).ACCEPTS[0], {**SMALL[family], **options})
    for family, more in EXTRA.items()
    for options in more
]
every_case = pytest.mark.parametrize(("family", "kind", "options"), CASES, ids=lambda value: str(value))


@pytest.fixture
def made(family: str, kind: str, options: dict[str, Any], tmp_path: Path) -> tuple[Assembly, dict[str, Feature]]:
    return make(family, kind, options, tmp_path), features_of(kind)


def make(family: str, kind: str, options: Mapping[str, Any], folder: Path) -> Assembly:
    features = features_of(kind)
    if family == "huggingface":
        options = {**options, "folder": tiny_bert(folder / "bert")}
    torch.manual_seed(3)
    assembly = build_assembly({"only": NetworkPlan(family, tuple(features), options)}, features, {"answer": 3})
    part = assembly.network("only")
    if isinstance(part, Remembering):
        part.remember([inputs_of(features, 64)])
    return assembly


@every_case
def test_activations_that_are_computed_again_change_nothing(made: tuple[Assembly, dict[str, Feature]]) -> None:
    """Neither gradients nor what is counted in buffers, in training mode (`lamina.learn.memory`)."""
    network, features = made
    found = []
    for one, again in ((network, False), (copy.deepcopy(network), True)):
        torch.manual_seed(3)
        one.train()
        with Watched(one, torch.device("cpu")).recomputed() if again else nullcontext():
            outputs = one(inputs_of(features, ROWS))
            torch.stack([output.square().mean() for output in outputs.values()]).sum().backward()  # type: ignore[no-untyped-call]
        gradients = [torch.zeros(()) if weight.grad is None else weight.grad for weight in one.parameters()]
        found.append([*gradients, *one.buffers(), torch.get_rng_state()])
    for value, wanted in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(value, wanted)


@every_case
def test_stages_cover_every_weight_once(made: tuple[Assembly, dict[str, Feature]]) -> None:
    network, _ = made
    found = [id(parameter) for stage in network.stages() for parameter in stage.module.parameters()]
    assert sorted(found) == sorted(id(parameter) for parameter in network.parameters())
    for stage in network.stages():
        by_name = [id(parameter) for parameter in network.layer(stage.name).parameters()]
        assert by_name == [id(parameter) for parameter in stage.module.parameters()]


@every_case
def test_gradients_reach_every_weight_and_eight_examples_are_learned(
    made: tuple[Assembly, dict[str, Feature]],
) -> None:
    network, features = made
    inputs = inputs_of(features, ROWS)
    if features.keys() & {"text", "sound"}:
        # Rows that are all padding cannot be told apart.
        inputs = {name: values.clone() for name, values in inputs.items()}
        for values in inputs.values():
            values[:, :6] = inputs_of(features, 64)[next(iter(features))][2::8, :6].abs().clamp_min(1)[:ROWS]
            values[:, 0] = (torch.arange(1, ROWS + 1).reshape(-1, *[1] * (values.ndim - 2))).to(values.dtype)
    answers = torch.arange(ROWS) % 3
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "chance"):
            module.chance = 0.0
    network.train()

    def loss() -> Tensor:
        output = network(inputs)["answer"]
        assert output.shape == (ROWS, network.output.members, 3)
        return nn.functional.cross_entropy(output.flatten(0, 1), answers.repeat_interleave(network.output.members))

    loss().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0 or unreachable(name, features), name
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        if value < 0.02:
            break
    assert value < 0.1


def unreachable(name: str, features: Mapping[str, Feature]) -> bool:
    """A shift of all scores that softmax takes away."""
    return name.endswith((".score.bias", ".key.bias"))


@every_case
def test_same_seed_same_answer_and_evaluation_is_steady(
    family: str, kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    features = features_of(kind)
    inputs = inputs_of(features, 5)
    answers = []
    for _ in range(2):
        network = make(family, kind, options, tmp_path)
        network(inputs)["answer"].sum().backward()
        network.eval()
        first, second = network(inputs)["answer"], network(inputs)["answer"]
        assert torch.equal(first, second)
        assert torch.isfinite(first).all()
        # One row at a time gives the same answers: nothing leaks between the rows of a batch.
        for row in range(5):
            alone = network({name: values[row : row + 1] for name, values in inputs.items()})["answer"]
            assert torch.allclose(alone[0], first[row], atol=1e-4)
        answers.append(first)
    assert torch.equal(*answers)


@every_case
def test_padding_at_the_end_changes_nothing(made: tuple[Assembly, dict[str, Feature]]) -> None:
    network, features = made
    name, feature = next(iter(features.items()))
    if feature.kind not in ("tokens", "spectrogram") or network.layers()[0] == "stem":
        # Convolutions see the edge of the padding; only their pooling leaves it out.
        return
    network.eval()
    values = inputs_of(features, 2)[name]
    values[:, feature.shape[0] // 2 :] = 0
    shorter = values[:, : feature.shape[0] // 2]
    assert torch.allclose(network({name: values})["answer"], network({name: shorter})["answer"], atol=1e-5)


@every_case
def test_steps_have_the_promised_shape_and_padding_holds_nothing(made: tuple[Assembly, dict[str, Feature]]) -> None:
    network, features = made
    part = network.network("only")
    if not isinstance(part, Stepwise):
        return
    network.eval()
    inputs = inputs_of(features, 6)
    kind, values = next(iter(features.values())).kind, next(iter(inputs.values()))
    found = part.sequence(inputs)
    assert found.shape == (6, part.steps.number, part.steps.width)
    used = (fields.lengths(kind, values) + part.steps.stride - 1) // part.steps.stride
    heard = torch.arange(part.steps.number)[None, :] < used[:, None]
    assert torch.equal((found != 0).any(dim=2), heard)
    # What the rows of a batch are padded with changes none of them.
    for row in range(6):
        alone = part.sequence({name: values[row : row + 1] for name, values in inputs.items()})
        assert torch.allclose(alone[0], found[row], atol=1e-5)
    part.without_vector()
    assert torch.equal(part.sequence(inputs), found)
    assert "pool" not in [name for name, _ in part.stages()]


@every_case
def test_places_are_told_beside_the_same_vector(made: tuple[Assembly, dict[str, Feature]]) -> None:
    network, features = made
    part = network.network("only")
    if not isinstance(part, Local):
        placeless = isinstance(part, Bag | Edsr | Perceptron)
        assert features.keys() & {"age", "type"} or placeless, "all others know of places"
        return
    network.eval()
    inputs = inputs_of(features, 6)
    vector, known = part.local(inputs)
    assert torch.equal(vector, part(inputs))
    assert known.shape[2:] == (*part.places.grid[1:], part.places.width)
    # Of every row there is what its own length holds; the rows beside it change nothing.
    assert known.shape[1] <= part.places.grid[0]
    for row in range(6):
        _, alone = part.local({name: values[row : row + 1] for name, values in inputs.items()})
        assert torch.allclose(alone[0], known[row, : alone.shape[1]], atol=1e-4)
    kind = next(iter(features.values())).kind
    if kind not in ("tokens", "spectrogram"):
        assert known.shape[1] == part.places.grid[0]


# Exporting takes seconds: of the further options, those that bring other operators into the graph.
@pytest.mark.parametrize(
    ("family", "kind", "options"),
    [case for case in CASES if not case[2].keys() & {"norm", "grams"} and case[2].get("numeric") != "auto"],
    ids=lambda value: str(value),
)
def test_exports_agrees_with_onnx_runtime_and_shrinks(made: tuple[Assembly, dict[str, Feature]]) -> None:
    network, features = made
    # A step of training moves the statistics of normalisation off their start.
    network(inputs_of(features, ROWS))
    network.eval()
    inputs = inputs_of(features, 3)
    tokens = tuple(name for name, feature in features.items() if feature.kind == "tokens")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), operators_read_once(), traced_once():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            folded(copy.deepcopy(network)),
            kwargs={"inputs": inputs},
            dynamo=True,
            verbose=False,
            optimize=False,
            dynamic_shapes={"inputs": dict(zip(inputs, free_axes(features, tokens), strict=True))},
        )
    assert exported is not None
    session = onnxruntime.InferenceSession(exported.model_proto.SerializeToString())
    for rows in (1, 7):
        others = inputs_of(features, rows, seed=rows)
        names = [item.name for item in session.get_inputs()]
        feed = {given: values.numpy() for given, values in zip(names, others.values(), strict=True)}
        answer = session.run(None, feed)[0]
        with torch.inference_mode():
            assert np.abs(answer - network(others)["answer"].numpy()).max() < 1e-4
        # Cut to fewer tokens, the others' answers stay as they are.
        width = lengths.LEAST + 1
        few = {name: values[:, :width].numpy() if name in tokens else values.numpy() for name, values in others.items()}
        short = np.array([all(not values[row, width:].any() for name, values in others.items() if name in tokens)
                          for row in range(rows)])  # fmt: skip
        again = session.run(None, dict(zip(names, few.values(), strict=True)))[0]
        assert np.abs(again - answer)[short].max(initial=0) < 1e-5
    content = exported.model_proto.SerializeToString()
    many = inputs_of(features, 64, seed=5)
    feed = dict(zip(names, (values.numpy() for values in many.values()), strict=True))
    with torch.inference_mode():
        answer = network(many)["answer"].numpy()
    for small, most in ((quantize.to_half(content), 0.01), (quantize.to_int8(content, [feed]), 0.3)):
        found = onnxruntime.InferenceSession(small, disabled_optimizers=["ConstantFolding"]).run(None, feed)[0]
        assert np.sqrt(np.mean((found - answer) ** 2)) < most * answer.std()


@pytest.mark.parametrize("family", registry.names("networks"))
def test_wrong_requests_are_refused_with_a_fix(family: str, tmp_path: Path) -> None:
    module = registry.module("networks", family)
    option = dataclasses.fields(module.Options)[-1].name
    with pytest.raises(InputError, match="no option") as error:
        read_options(module.Options, {option + "x": 1}, "network.a.options")
    assert f"did you mean '{option}'" in str(error.value)
    for item in dataclasses.fields(module.Options):
        with pytest.raises(InputError):
            read_options(module.Options, {item.name: [object]}, "network.a.options")
    others = {"numbers", "category", "tokens", "image", "spectrogram", "series"} - set(module.ACCEPTS)
    for kind in sorted(others):
        with pytest.raises(InputError, match="does not read"):
            make(family, kind, {}, tmp_path)
    with pytest.raises(InputError, match="no fields"):
        module.build({}, module.Options())
