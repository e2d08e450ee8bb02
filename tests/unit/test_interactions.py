"""Tables of interactions: who is recognised, what factorisation computes, and the baselines for them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from memory_table import MemoryTable
from scipy.sparse import csr_matrix
from torch import Tensor

from lamina.baselines import BaselineFeatures, Block
from lamina.baselines._interactions import fit_biases, pair_of
from lamina.baselines._run import reads
from lamina.baselines.item_neighbors import COMMON, ItemNeighbors, similarities
from lamina.baselines.item_neighbors import fit as fit_neighbors
from lamina.choose import networks, training
from lamina.data.recognise import recognise
from lamina.modalities import Feature
from lamina.networks.blocks.partners import Partners, different_pairs
from lamina.networks.factorisation import Factorisation, Options, build, pair_products, two_largest
from lamina.plan import NetworkPlan
from lamina.tasks import regress

Array = np.ndarray[Any, Any]
ROWS = 400
RANDOM = np.random.default_rng(0)
USER, ITEM = Feature("category", (), "int32", size=62), Feature("category", (), "int32", size=82)
FEATURES = {
    "user": USER,
    "item": ITEM,
    "when": Feature("numbers", (1,), "float32"),
    "kinds": Feature("numbers", (3,), "float32"),
}


def ratings(**more: Any) -> MemoryTable:
    items = RANDOM.integers(0, 60, ROWS)
    columns = {
        "user": RANDOM.integers(1, 40, ROWS),
        "item": items,
        "rating": RANDOM.normal(3, 1, ROWS),
        "title": [f"The film {item}" for item in items],
    }
    return MemoryTable({**columns, **more})


def test_numbers_of_users_and_items_are_names_and_a_title_for_each_says_nothing_more() -> None:
    schema = recognise(ratings(), ["rating"])
    found = {field.name: (field.modality, field.role) for field in schema}
    assert found["user"] == found["item"] == ("category", "input")
    assert "names, not amounts" in schema["user"].reason
    assert schema["title"].role == "ignore"
    assert "same again as `item`" in schema["title"].reason
    assert "--set schema.title.role=input" in schema["title"].reason
    asked = recognise(ratings(), ["rating"], {"title": {"role": "input"}})
    assert asked["title"].role == "input"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"item": RANDOM.normal(size=ROWS)}, "fractions are amounts"),
        ({"item": RANDOM.integers(0, 5, ROWS)}, "a few whole numbers may be a scale"),
        ({"item": RANDOM.permutation(ROWS * 3)[:ROWS]}, "what is new in every row meets nobody twice"),
    ],
)
def test_one_name_alone_makes_no_numbers_names(change: dict[str, Any], why: str) -> None:
    assert recognise(ratings(**change), ["rating"])["user"].modality == "number", why


def test_a_column_that_tells_items_apart_less_or_more_than_their_numbers_is_kept() -> None:
    table = ratings()
    items = np.array(table.take(np.arange(ROWS), ["item"])["item"])
    for kept in ([f"kind {item % 12}" for item in items], [f"copy {row % 100}" for row in range(ROWS)]):
        assert recognise(ratings(item=items, title=kept), ["rating"])["title"].role == "input"


def test_factorisation_is_chosen_for_what_is_about_two_parties_only() -> None:
    plans, reasons = networks.choose(FEATURES, 5000, {})
    assert plans["table"].name == "factorisation"
    assert "user and item" in reasons["network.table.name"]
    assert training.recipe(plans, False) is training.RECIPES["factorisation"]
    many = {**FEATURES, **{f"x{number}": Feature("numbers", (1,), "float32") for number in range(10)}}
    assert networks.choose(many, 5000, {})[0]["table"].name == "tabm", "tail numbers and airports among much else"
    assert networks.choose(FEATURES, 300, {})[0]["table"].name == "tabm", "too few rows"
    small = {**FEATURES, "item": Feature("category", (), "int32", size=12)}
    assert networks.choose(small, 5000, {})[0]["table"].name == "tabm"
    asked = networks.choose(FEATURES, 5000, {"table": NetworkPlan("mlp")})[0]
    assert asked["table"].name == "mlp"


def inputs_of(users: Array, items: Array, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "user": torch.from_numpy(users.astype(np.int32)),
        "item": torch.from_numpy(items.astype(np.int32)),
        "when": torch.randn(len(users), 1, generator=generator),
        "kinds": torch.randn(len(users), 3, generator=generator),
    }


def some_inputs(rows: int = 50) -> dict[str, Tensor]:
    generator = np.random.default_rng(3)
    return inputs_of(generator.integers(0, 62, rows), generator.integers(0, 82, rows))


def test_forward_is_the_sum_over_all_pairs_of_fields() -> None:
    torch.manual_seed(0)
    options = Options(members=2, width=5, biases=3, history=20, spread=1.0)
    network = build(FEATURES, options).eval()
    rows = some_inputs()
    network.remember([rows])
    answer = network(rows)
    assert answer.shape == (50, 2, 8)
    table = network.fields.table
    assert table is not None
    user, item = rows["user"].long(), rows["item"].long()
    met: dict[int, set[int]] = {}
    met_by: dict[int, set[int]] = {}
    for one, other in zip(user.tolist(), item.tolist(), strict=True):
        if one >= 2 and other >= 2:
            met.setdefault(one, set()).add(other)
            met_by.setdefault(other, set()).add(one)
    maps = [part.weight for part in network.fields.maps]
    for row in range(50):
        vectors = [
            table.weight[user[row]],
            table.weight[62 + item[row]],
            maps[0] @ rows["when"][row],
            maps[1] @ rows["kinds"][row],
        ]
        parts = [vector.view(2, 8)[:, :5] for vector in vectors]
        for place, (known, value) in enumerate(((met, int(user[row])), (met_by, int(item[row])))):
            partners = sorted(known.get(value, ()))
            if partners:
                own = cast(Partners, network.partners[place]).table.weight[partners].sum(dim=0)
                parts[place] = parts[place] + own.view(2, 5) / len(partners) ** 0.5
        pairs = sum((parts[i] * parts[j] for i in range(4) for j in range(i)), torch.zeros(2, 5))
        biases = sum((vector.view(2, 8)[:, 5:] for vector in vectors), torch.zeros(2, 3))
        torch.testing.assert_close(answer[row], torch.cat([pairs, biases], dim=1), atol=1e-5, rtol=1e-4)


def test_products_of_all_pairs() -> None:
    factors = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]]])
    assert pair_products(factors).tolist() == [[1 * 3 + 1 * 0.5 + 3 * 0.5, -2.0 + 8.0 - 4.0]]


def test_the_partner_in_a_training_row_is_left_out() -> None:
    part = Partners(5, 6, 4, most=3, spread=1.0)
    part.remember(np.array([[2, 3], [2, 4], [3, 3]]))
    vectors = part.table.weight
    part.train()
    index, partner = torch.tensor([2, 2, 3, 2, 0]), torch.tensor([3, 5, 3, 0, 4])
    found = part(index, partner)
    both = (vectors[3] + vectors[4]) / 2**0.5
    nothing = torch.zeros(4)
    torch.testing.assert_close(found, torch.stack([vectors[4], both, nothing, both, nothing]))
    part.eval()
    torch.testing.assert_close(part(index, partner), torch.stack([both, both, vectors[3], both, nothing]))
    torch.testing.assert_close(part.folded()(index, partner), part(index, partner))


def test_of_too_many_partners_some_are_remembered_in_steady_order() -> None:
    part = Partners(4, 50, 2, most=5, spread=1.0)
    pairs = different_pairs([(np.full(40, 2), np.arange(5, 45)), (np.full(3, 2), np.array([0, 1, 5]))], others=50)
    assert pairs.tolist() == [[2, other] for other in range(5, 45)], "unknown and missing ones are no partners"
    part.remember(pairs)
    assert part.known[2].tolist() == [5, 14, 24, 34, 44]
    assert not part.known[3].any()


def test_the_two_largest_categories_are_the_parties() -> None:
    shop = Feature("category", (), "int32", size=7)
    assert two_largest({"shop": shop, "item": ITEM, "user": USER}) == ("item", "user")
    assert two_largest({"shop": shop, "when": FEATURES["when"]}) == ()


def test_unknown_users_and_items_get_what_is_known_of_the_other() -> None:
    torch.manual_seed(0)
    network = build({"user": USER, "item": ITEM}, Options(members=1, spread=1.0)).eval()
    rows = {"user": torch.tensor([0, 99, -1, 5]), "item": torch.tensor([7, 7, 7, 7])}
    first, beyond, below, other = network(rows)
    assert torch.equal(first, beyond)
    assert torch.equal(first, below)
    assert not torch.equal(first, other)
    network.train()
    network.fields.chance = 0.5
    hidden = network.fields.hidden(torch.full((1000, 2), 5))
    assert set(hidden.unique().tolist()) == {0, 5}
    assert 0.4 < float((hidden == 0).float().mean()) < 0.6


def planted(seed: int = 0) -> tuple[Array, Array, Array]:
    """A matrix of biases and two factors that 60 users and 80 items have, seen at half of its places."""
    generator = np.random.default_rng(seed)
    users, items = (places + 2 for places in np.nonzero(generator.random((60, 80)) < 0.5))
    left, right = generator.normal(0, 1, (62, 2)), generator.normal(0, 1, (82, 2))
    high, good = generator.normal(0, 0.5, 62), generator.normal(0, 0.5, 82)
    answers = high[users] + good[items] + (left[users] * right[items]).sum(axis=1)
    order = generator.permutation(len(users))
    return users[order], items[order], answers[order] + generator.normal(0, 0.1, len(users))


def learned(network: Factorisation, users: Array, items: Array, answers: Array) -> torch.nn.Linear:
    """A head for the network, both trained for a few hundred steps."""
    head = torch.nn.Linear(network.output.width, 1)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=0.02)
    wanted = torch.from_numpy(answers.astype(np.float32))
    rows = {"user": torch.from_numpy(users), "item": torch.from_numpy(items)}
    network.remember([rows])
    network.train()
    for _ in range(300):
        optimizer.zero_grad()
        (head(network(rows)).mean(dim=(1, 2)) - wanted).square().mean().backward()
        optimizer.step()
    network.eval()
    return head


def test_factors_are_found_that_biases_do_not_see() -> None:
    users, items, answers = planted()
    cut = len(users) * 3 // 4
    torch.manual_seed(0)
    network = build({"user": USER, "item": ITEM}, Options(members=2, width=4, dropout=0.0))
    head = learned(network, users[:cut], items[:cut], answers[:cut])
    rows = {"user": torch.from_numpy(users[cut:]), "item": torch.from_numpy(items[cut:])}
    with torch.inference_mode():
        wrong = head(network(rows)).mean(dim=(1, 2)).numpy() - answers[cut:]
    biases = fit_biases(users[:cut], items[:cut], (62, 82), answers[:cut], 1.0)
    alone = biases.of(users[cut:], items[cut:]) - answers[cut:]
    assert np.sqrt(np.mean(wrong**2)) < 0.5 * np.sqrt(np.mean(alone**2))


def test_biases_solve_the_ridge_problem() -> None:
    users, items = np.array([2, 2, 3, 3, 4]), np.array([2, 3, 2, 4, 4])
    target = np.array([1.0, 2.0, 4.0, 3.0, 0.0])
    found = fit_biases(users, items, (5, 5), target, 0.5)
    design = np.zeros((5, 6))
    design[np.arange(5), users - 2] = 1
    design[np.arange(5), items + 1] = 1
    exact = np.linalg.solve(design.T @ design + 0.5 * np.eye(6), design.T @ (target - target.mean()))
    np.testing.assert_allclose(np.concatenate([found.first[2:], found.second[2:]]), exact, atol=0.02)
    assert found.of(np.array([0]), np.array([0])).tolist() == [2.0], "nobody known: the mean"
    assert found.of(np.array([0]), np.array([3]))[0] == pytest.approx(2.0 + found.second[3])


def test_similarities_by_hand() -> None:
    left = csr_matrix(np.array([[1.0, 2.0, 0.0], [1.0, 1.0, -1.0], [0.0, 3.0, -2.0]]))
    met = csr_matrix((left.toarray() != 0).astype(float))
    found = similarities(left, met, 2).toarray()
    # Users 0 and 1 met items 0 and 1; the cosine is over these two only.
    assert found[0, 1] == pytest.approx(3 / np.sqrt(2 * 5) * 2 / (2 + COMMON))
    assert found[1, 0] == found[0, 1]
    assert found[0, 2] == found[1, 2] == found[0, 0] == 0, "opposite tastes and the item itself are no neighbors"


def blocks(users: Array, items: Array) -> BaselineFeatures:
    columns = (Block("item", "codes", items, size=82), Block("user", "codes", users, size=62))
    return BaselineFeatures(columns, len(users))


def test_similar_items_tell_more_than_biases_and_nothing_of_new_users() -> None:
    users, items, answers = planted()
    cut, end = len(users) // 2, len(users) * 3 // 4
    parts = [blocks(users[some], items[some]) for some in (slice(0, cut), slice(cut, end), slice(end, None))]
    task = regress.Task("y", "none", "mse", 0.0, 1.0, -9.0, 9.0)
    fitted = fit_neighbors(parts[0], answers[:cut], task, validation=(parts[1], answers[cut:end]), seed=0, seconds=9.0)
    assert isinstance(fitted, ItemNeighbors)
    assert fitted.turned, "items have more levels, wherever they stand"
    with_biases = fitted.biases.of(items[end:], users[end:]) - answers[end:]
    wrong = fitted.answer(parts[2])[:, 0] - answers[end:]
    assert np.mean(wrong**2) < 0.9 * np.mean(with_biases**2)
    new = blocks(np.array([0, 0]), np.array([3, 0]))
    expected = [fitted.biases.mean + fitted.biases.first[3], fitted.biases.mean]
    np.testing.assert_allclose(fitted.answer(new)[:, 0], expected, rtol=1e-5)


def test_baselines_for_two_parties_leave_other_tables_alone() -> None:
    both = blocks(np.array([2, 3]), np.array([2, 3]))
    few = BaselineFeatures((Block("kind", "codes", np.array([2, 3]), size=5), both.blocks[0]), 2)
    assert pair_of(few) is None
    for name in ("biases", "item_neighbors"):
        assert reads(name, both)
        assert not reads(name, few)
    assert reads("linear", few)
