"""Networks with smaller weights: what becomes smaller, what stays, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lamina.model import quantize

Array = np.ndarray[Any, Any]
WIDE = 64


def weights(rows: int, columns: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def network(table: Array, *, also_multiplied: bool = False, large: float = 1.0) -> bytes:
    """Looks tokens up, multiplies, and adds in one of two ways that an If chooses between."""
    values = {
        "table": table, "matrix": weights(WIDE, WIDE, 1) * large, "stack": weights(WIDE, WIDE, 2)[None],
        "bias": weights(1, WIDE, 3)[0], "branch": weights(WIDE, WIDE, 4), "no": np.array(False),
    }  # fmt: skip
    yes = helper.make_graph(
        [helper.make_node("MatMul", ["second", "branch"], ["left"])], "yes", [],
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, None)],
    )  # fmt: skip
    no = helper.make_graph(
        [helper.make_node("Add", ["second", "bias"], ["right"])], "no", [],
        [helper.make_tensor_value_info("right", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["found"], "look"),
        helper.make_node("MatMul", ["found", "matrix"], ["first"], "multiply"),
        helper.make_node("MatMul", ["first", "stack"], ["second"], "ensemble"),
        helper.make_node("If", ["no"], ["third"], "choose", then_branch=yes, else_branch=no),
    ]
    if also_multiplied:
        nodes.append(helper.make_node("MatMul", ["third", "table"], ["answer"], "again"))
    else:
        nodes.append(helper.make_node("Identity", ["third"], ["answer"], "last"))
    graph = helper.make_graph(
        nodes, "network", [helper.make_tensor_value_info("tokens", TensorProto.INT32, ["batch", 3])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["batch", 3, None])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


TOKENS = np.random.default_rng(9).integers(0, 300, (50, 3)).astype(np.int32)


def answer(content: bytes) -> Array:
    session = onnxruntime.InferenceSession(content, disabled_optimizers=["ConstantFolding"])
    return np.asarray(session.run(None, {"tokens": TOKENS})[0])


def kinds(content: bytes) -> dict[str, str]:
    graph = onnx.load_from_string(content).graph
    return {tensor.name: TensorProto.DataType.Name(tensor.data_type) for tensor in graph.initializer}


@pytest.mark.parametrize("also_multiplied", [False, True], ids=["looked up", "looked up and multiplied"])
def test_weights_in_16_bits_are_half_the_size_and_answer_alike(also_multiplied: bool) -> None:
    content = network(weights(WIDE if also_multiplied else 300, WIDE), also_multiplied=also_multiplied)
    tokens = TOKENS % (WIDE if also_multiplied else 300)
    small = quantize.to_half(content)
    found = kinds(small)
    assert found["table"] == found["matrix"] == found["stack"] == "FLOAT16"
    assert found["bias"] == "FLOAT", "too small to matter"
    assert found["branch"] == "FLOAT", "read inside a branch"
    sessions = [
        onnxruntime.InferenceSession(each, disabled_optimizers=["ConstantFolding"]) for each in (content, small)
    ]
    one, other = (session.run(None, {"tokens": tokens})[0] for session in sessions)
    assert np.abs(other - one).max() < 2e-3 * one.std()
    assert quantize.to_half(content) == small


def test_a_weight_beyond_16_bits_stays() -> None:
    content = network(weights(300, WIDE), large=1e5)
    small = quantize.to_half(content)
    assert kinds(small)["matrix"] == "FLOAT"
    assert kinds(small)["table"] == "FLOAT16"
    assert np.isfinite(answer(small)).all()


def test_8_bits_are_a_quarter_and_stacks_of_matrices_stay() -> None:
    content = network(weights(300, WIDE))
    small = quantize.to_int8(content, [{"tokens": TOKENS[:25]}, {"tokens": TOKENS[25:]}])
    found = kinds(small)
    assert (found["table_quantized"], found["matrix_quantized"]) == ("UINT8", "INT8")
    assert found["stack"] == "FLOAT"
    one, other = answer(content), answer(small)
    assert np.sqrt(np.mean((other - one) ** 2)) < 0.05 * one.std()
    assert quantize.to_int8(content, [{"tokens": TOKENS[:25]}, {"tokens": TOKENS[25:]}]) == small
