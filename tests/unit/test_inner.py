"""What a sealed network's head reads, as its output: against PyTorch, for plain heads and for ensembles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from small_models import Linear, seal, table, table_model
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.model.few_shot import adapt, examples
from lamina.model.inner import encoder, with_vectors
from lamina.model.runtime import Model
from lamina.model.search import index

INPUTS, TARGETS = {"age": "number", "color": "category"}, {"price": "regress"}


class Members(Linear):
    """Two members with a layer of their own before a head of their own."""

    def __init__(self) -> None:
        super().__init__({"age": 1, "color": 1}, {"price": 2})
        self.hidden, self.head = nn.Parameter(torch.randn(2, 2, 3)), nn.Parameter(torch.randn(2, 3, 2))

    def inner(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, member, 3]."""
        joined = self.norm(torch.cat([inputs["age"].reshape(-1, 1), inputs["color"].reshape(-1, 1).float()], 1))
        return torch.relu(torch.bmm(joined.expand(2, -1, -1), self.hidden)).transpose(0, 1)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"price": torch.bmm(self.inner(inputs).transpose(0, 1), self.head).transpose(0, 1)}


class Headless(Linear):
    """Numbers in, the same numbers out."""

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"price": torch.cat([inputs["age"].reshape(-1, 1)] * 2, 1)[:, None, :]}


def embedded(model: Model) -> tuple[dict[str, Tensor], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    arrays, _ = model.encode(table())
    inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return inputs, encoder(model).outputs(arrays)["embedding"]


def test_a_plain_head_reads_what_the_layer_before_it_gives() -> None:
    sealed, network = table_model()
    inputs, found = embedded(Model(sealed))
    assert isinstance(network, Linear)
    network.eval()
    joined = torch.cat([inputs["age"].reshape(-1, 1), inputs["color"].reshape(-1, 1).float()], 1)
    np.testing.assert_allclose(found, network.norm(joined).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert b"head_1" in sealed.network
    assert b"head_" not in encoder(Model(sealed)).sealed.network.replace(b"heads.head_0", b""), "heads were kept"


def test_an_ensembles_members_are_put_side_by_side() -> None:
    sealed, network = seal(table(), INPUTS, TARGETS, build=lambda encoders: Members())
    inputs, found = embedded(Model(sealed))
    assert isinstance(network, Members)
    network.eval()
    with torch.no_grad():
        wanted = network.inner(inputs).flatten(1).numpy()
    assert found.shape == (40, 6)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_rows_are_searched_by_what_the_head_of_a_classifier_reads() -> None:
    sealed, _ = table_model()
    model, told = Model(sealed, threads=1), list[str]()
    found = with_vectors(model, told.append)
    assert "head" in told[0]
    inputs, plain = embedded(model)
    assert inputs
    vectors = index(found, table()).vectors
    np.testing.assert_allclose(vectors, plain / np.linalg.norm(plain, axis=1, keepdims=True), rtol=1e-5)
    ((first, second),) = index(found, table()).search(vectors[:1], 2)
    assert (first.row, first.likeness) == (0, pytest.approx(1, abs=1e-6))
    assert second.likeness <= first.likeness
    assert with_vectors(found) is found
    with pytest.raises(InputError, match="no embeddings"):
        index(model, table())


def test_a_network_without_a_head_is_refused() -> None:
    sealed, _ = seal(table(), INPUTS, TARGETS, build=lambda encoders: Headless({"age": 1, "color": 1}, {"price": 2}))
    with pytest.raises(InputError, match="no embeddings") as caught:
        encoder(Model(sealed))
    assert "--task embed" in caught.value.fix


def test_the_adapted_model_says_where_it_comes_from() -> None:
    reads = encoder(Model(table_model()[0]))
    rows = [{"age": age, "color": "red", "size": size} for age, size in ((1, "small"), (2, "small"), (80, "large"))]
    adapted = adapt(reads, examples(reads, rows, "size"))
    card = adapted.sealed.card
    assert card["adapted"]["from"] == "small"
    assert card["adapted"]["examples"] == {"large": 1, "small": 2}
    assert any("One example only of: large" in limit for limit in card["limits"])
    assert any("3 raw example rows" in limit for limit in card["limits"])
    assert Model(adapted.sealed).predict(rows)[2]["size"] == "large"
