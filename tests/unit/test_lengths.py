"""Batches of similar length: every row once, nothing lost but padding, and the same answers."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina.modalities import Feature, token_lengths
from lamina.model import lengths
from lamina.model.export import export
from lamina.networks.assembly import build_assembly
from lamina.plan import NetworkPlan
from lamina.tasks import regress


@given(
    st.lists(st.integers(0, 20), max_size=200),
    st.integers(1, 100),
    st.sampled_from([0, 7]),
)
def test_every_row_comes_once_and_only_padding_is_cut(counts: list[int], size: int, padding: int) -> None:
    tokens = np.full((len(counts), 20), padding, dtype=np.int32)
    for row, count in enumerate(counts):
        tokens[row, :count] = row + 100
    other = np.arange(len(counts), dtype=np.float32)
    seen: list[int] = []
    for rows, arrays in lengths.batches({"note": tokens, "age": other}, {"note": padding}, size):
        assert 0 < len(rows) <= size
        assert np.array_equal(arrays["age"], other[rows])
        width = arrays["note"].shape[1]
        assert width >= lengths.LEAST
        assert np.array_equal(arrays["note"], tokens[rows, :width])
        assert (tokens[rows, width:] == padding).all()
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(counts)))


def test_without_free_fields_rows_keep_their_order() -> None:
    arrays = {"age": np.arange(10)}
    found = [rows.tolist() for rows, _ in lengths.batches(arrays, {}, 4)]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_padding_within_a_text_is_no_end() -> None:
    assert token_lengths(np.array([[5, 0, 5, 0], [0, 0, 0, 0]]), 0).tolist() == [3, 0]


def test_exported_networks_take_tokens_of_any_length_where_there_are_enough() -> None:
    import onnxruntime

    for length, free in ((24, True), (lengths.LEAST, False)):
        torch.manual_seed(0)
        feature = Feature("tokens", (length,), "int32", size=30)
        assembly = build_assembly({"note": NetworkPlan("bag", ("note",))}, {"note": feature}, {"y": 2}).eval()
        task = regress.Task("y", "none", "mse", 0.0, 1.0, -9.0, 9.0)
        session = onnxruntime.InferenceSession(export(assembly, {"note": feature}, {"y": task}).network)
        (taken,) = session.get_inputs()
        assert isinstance(taken.shape[1], int) is not free
