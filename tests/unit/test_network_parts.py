"""The parts of networks, their options, and the assembly of several."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.networks import bag, efficientnet, recurrent, resnet, transformer
from lamina.networks.assembly import FuseOptions, assemble, build_assembly, count_parameters
from lamina.networks.blocks.attention import Rotary
from lamina.networks.blocks.depth import StochasticDepth, chances
from lamina.networks.blocks.fields import Codes, Pixels, lengths, trimmed, within
from lamina.networks.blocks.options import read_options
from lamina.networks.blocks.pooling import PoolSequence, masked_maximum, masked_mean, pool_map
from lamina.networks.blocks.spelling import SpelledEmbedding, hashed_runs
from lamina.networks.blocks.table import Categories, PiecewiseLinear, TableInput, embedding_width
from lamina.networks.heads.vector import MemberLinear
from lamina.plan import NetworkPlan

IMAGE = Feature("image", (12, 12, 1), "uint8", details={"mean": [100.0], "std": [50.0]})
NUMBER = Feature("numbers", (1,), "float32", details={"bins": [-1.0, 0.0, 1.0, 3.0]})
COLOR = Feature("category", (), "int32", size=4)
TEXT = Feature("tokens", (6,), "int32", size=20)


def mixed(seed: int = 0, **fuse: float) -> nn.Module:
    torch.manual_seed(seed)
    plans = {
        "table": NetworkPlan("tabm", ("age", "type"), {"members": 3, "width": 8}),
        "photo": NetworkPlan("resnet", ("photo",), {"width": 8, "stages": 2}),
    }
    features = {"age": NUMBER, "type": COLOR, "photo": IMAGE}
    options = FuseOptions(width=8, **fuse)  # type: ignore[arg-type]
    return build_assembly(plans, features, {"keys": 2, "b.c": 1, "b_c": 4}, options)


def mixed_inputs(rows: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "age": torch.randn(rows, 1, generator=generator),
        "type": torch.randint(0, 4, (rows,), generator=generator, dtype=torch.int32),
        "photo": torch.randint(0, 256, (rows, 12, 12, 1), generator=generator, dtype=torch.uint8),
    }


def test_pixels_are_standardised_by_the_training_images() -> None:
    images = torch.tensor([0, 100, 150, 250], dtype=torch.uint8).reshape(1, 2, 2, 1)
    values = Pixels(IMAGE)(images)
    assert values.shape == (1, 1, 2, 2)
    assert torch.allclose(values.flatten(), torch.tensor([-2.0, 0.0, 1.0, 3.0]))


def test_lengths_count_steps_up_to_the_last_used_one() -> None:
    tokens = torch.tensor([[3, 4, 0, 0], [5, 0, 6, 0], [0, 0, 0, 0]])
    assert lengths("tokens", tokens).tolist() == [2, 3, 1]
    assert lengths("spectrogram", tokens.unsqueeze(2).half()).tolist() == [2, 3, 1]
    assert lengths("series", tokens.unsqueeze(2).float()).tolist() == [4, 4, 4]
    assert trimmed("tokens", tokens).shape == (3, 3)
    assert within(torch.tensor([2, 0]), 3).tolist() == [[True, True, False], [False, False, False]]


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_masked_pooling_is_pooling_of_the_part_within(steps: int, used: int, seed: int) -> None:
    used = min(used, steps)
    values = torch.randn(1, steps, 3, generator=torch.Generator().manual_seed(seed))
    mask = within(torch.tensor([used]), steps)
    assert torch.allclose(masked_mean(values, mask), values[:, :used].mean(1), atol=1e-6)
    assert torch.equal(masked_maximum(values, mask), values[:, :used].amax(1))
    attention = PoolSequence(3, "attention")
    alone = attention(values[:, :used], mask[:, :used])
    assert torch.allclose(attention(values, mask), alone, atol=1e-6)
    image = values.transpose(1, 2).unsqueeze(3).expand(-1, -1, -1, 2)
    assert torch.allclose(pool_map(image, "mixed", mask), pool_map(image[:, :, :used], "mixed"), atol=1e-6)
    statistics = pool_map(image, "statistics", mask)
    assert statistics.shape == (1, 2 * 3 * 2)
    assert torch.allclose(statistics, pool_map(image[:, :, :used], "statistics"), atol=1e-5)
    assert torch.allclose(statistics[:, :6:2], values[:, :used].mean(1), atol=1e-5)
    # The deviation of a single step is 0; the floor under the root leaves a hundredth.
    spread = (values[:, :used].var(1, correction=0) + 1e-4).sqrt()
    assert torch.allclose(statistics[:, 6::2], spread, atol=1e-4)


@pytest.mark.parametrize(("frames", "bands"), [(1, 4), (7, 64), (98, 64), (318, 64), (998, 40)])
@pytest.mark.parametrize("halvings", [-1, 3])
def test_spectrograms_of_all_sizes_are_pooled_into_statistics_whatever_the_padding(
    frames: int, bands: int, halvings: int
) -> None:
    feature = Feature("spectrogram", (frames, bands), "float16")
    options = resnet.Options(width=8, pooling="statistics", halvings=halvings)
    network = resnet.build({"clip": feature}, options).eval()
    clips = torch.randn(3, frames, bands, generator=torch.Generator().manual_seed(0)).half()
    clips[1, frames // 2 + 1 :] = 0
    vectors = network({"clip": clips})
    assert vectors.shape == (3, 1, network.output.width)
    assert torch.isfinite(vectors).all()
    assert [name for name, _ in network.stages()][-1] == "pool"
    trained = {id(parameter) for _, part in network.stages() for parameter in part.parameters()}
    assert trained == {id(parameter) for parameter in network.parameters()}


def test_piecewise_linear_fills_the_bins_below_a_value() -> None:
    layer = PiecewiseLinear([[0.0, 1.0, 3.0], [0.0, 1.0]], 2)
    with torch.no_grad():
        layer.linear.weight.zero_()
        layer.linear.bias.zero_()
        layer.bins.copy_(torch.eye(2).expand(2, 2, 2))
    shares = layer(torch.tensor([[2.0, 0.25], [-5.0, 9.0]]))
    assert shares[0].tolist() == [[1.0, 0.5], [0.25, 0.0]]
    assert shares[1].tolist() == [[0.0, 0.0], [1.0, 0.0]]


def test_piecewise_linear_stays_at_its_end_values_beyond_the_training_range() -> None:
    layer = PiecewiseLinear([[0.0, 1.0, 3.0], [-1.0, 0.0, 1.0]], 2)
    nn.init.normal_(layer.bins)
    beyond, ends = layer(torch.tensor([[9.0, -9.0], [-9.0, 9.0]])), layer(torch.tensor([[3.0, -1.0], [0.0, 1.0]]))
    assert torch.equal(beyond, ends)


def test_categories_of_different_columns_never_share_an_embedding_and_unknown_indices_are_unknown() -> None:
    features = {"a": COLOR, "b": COLOR, "c": Feature("category", (), "int32", size=300)}
    table = Categories(features)
    assert table.width == 2 * embedding_width(4) + embedding_width(300)
    inputs = {name: torch.tensor([2, 4, -1, 0]) for name in features}
    values = table(inputs)
    first, second = values[:, : embedding_width(4)], values[:, embedding_width(4) : 2 * embedding_width(4)]
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], first[3])
    assert torch.equal(first[2], first[3])


def test_table_input_passes_missing_flags_and_wide_fields_as_they_are() -> None:
    features = {
        "a": Feature("numbers", (2,), "float32", details={"bins": [0.0, 1.0, 2.0]}),
        "b": Feature("numbers", (4,), "float32"),
    }
    part = TableInput(features, "auto", 5)
    assert part.width == 1 + 4 + 5
    flag, wide = torch.tensor([[0.5, 1.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert part({"a": flag, "b": wide})[0, :5].tolist() == [1.0, 1.0, 2.0, 3.0, 4.0]
    assert TableInput(features, "none", 5).width == 6


def test_table_input_reads_every_step_of_a_series() -> None:
    features = {"a": Feature("numbers", (1,), "float32"), "s": Feature("series", (3, 2), "float32")}
    part = TableInput(features, "none", 5)
    assert part.width == 7
    steps = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    assert part({"a": torch.tensor([[9.0]]), "s": steps})[0].tolist() == [9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_rotary_scores_depend_on_the_distance_only() -> None:
    rotary = Rotary(10, 8)
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    queries, keys = rotary(query.expand(-1, -1, 10, -1)), rotary(key.expand(-1, -1, 10, -1))
    scores = (queries @ keys.transpose(2, 3))[0, 0]
    assert torch.allclose(scores[2, 5], scores[4, 7], atol=1e-5)
    assert not torch.allclose(scores[2, 5], scores[2, 6], atol=1e-3)


def test_stochastic_depth_keeps_the_mean_and_drops_whole_rows() -> None:
    torch.manual_seed(0)
    part = StochasticDepth(0.25)
    values = part(torch.ones(8000, 3))
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (values == values[:, :1]).all()
    assert values.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(part.eval()(torch.ones(4, 3)), torch.ones(4, 3))
    assert chances(0.4, 3) == [0.0, 0.2, 0.4]


def test_a_batch_of_one_row_can_be_learned_from() -> None:
    sound = {"x": Feature("spectrogram", (24, 16), "float16")}
    numbers = {"x": Feature("numbers", (1,), "float32")}
    for family, features, options in (
        ("resnet", sound, {"pooling": "statistics", "width": 8, "halvings": 1, "stages": 2}),
        ("mlp", numbers, {"norm": "batch", "width": 8}),
    ):
        network = build_assembly({"n": NetworkPlan(family, ("x",), options)}, features, {"y": 2}).train()
        values = torch.randn(4, *features["x"].shape, generator=torch.Generator().manual_seed(0))
        network({"x": values})
        before = {
            name: value.clone() for name, value in network.state_dict().items() if name.endswith("norm.running_mean")
        }
        network({"x": values[:1]})["y"].sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


@given(st.integers(8, 512))
@settings(max_examples=40, deadline=None)
def test_residual_networks_work_mainly_on_small_maps(side: int) -> None:
    halvings = resnet.halvings_for(side, 2)
    after = math.ceil(side / 2**halvings)
    last = math.ceil(after / 2 ** (resnet.stages_for(after, 2) - 1))
    assert after <= 64
    assert 2 <= last <= 8


@pytest.mark.parametrize("side", [8, 28, 33, 64, 200])
def test_residual_networks_take_all_sizes(side: int) -> None:
    feature = Feature("image", (side, side + 3, 3), "uint8")
    network = resnet.build({"photo": feature}, resnet.Options(width=4))
    output = network({"photo": torch.randint(0, 256, (2, side, side + 3, 3), dtype=torch.uint8)})
    assert output.shape == (2, 1, network.output.width)


def test_efficientnet_lite_has_the_published_size_and_same_padding() -> None:
    photo = Feature("image", (32, 32, 3), "uint8")
    # 4,652,008 with the classifier of 1,000 classes (1,281,000), as the original.
    network = efficientnet.build({"photo": photo}, efficientnet.Options())
    assert count_parameters(network)[0] == 4_652_008 - 1_281_000
    assert efficientnet.Convolution(3, 4, 3, 2)._padding(224) == (0, 1)
    assert efficientnet.Convolution(3, 4, 5, 1)._padding(7) == (2, 2)
    gray = efficientnet.build({"photo": IMAGE}, efficientnet.Options(resize=40))
    assert gray({"photo": mixed_inputs(2)["photo"]}).shape == (2, 1, 1280)
    with pytest.raises(InputError, match="1 or 3 channels, not 4"):
        efficientnet.build({"photo": Feature("image", (32, 32, 4), "uint8")}, efficientnet.Options())


def test_options_are_checked_for_name_type_and_range() -> None:
    options = read_options(resnet.Options, {"dropout": 0, "width": 8, "pooling": "average"}, "network.a.options")
    assert options == resnet.Options(width=8, dropout=0.0, pooling="average")
    for wrong in ({"widht": 8}, {"width": 0}, {"width": True}, {"width": 1.5}, {"dropout": 1.0}, {"dropout": -0.1},
                  {"dropout": math.nan}, {"pooling": "median"}, {"squeeze_excite": 1}):  # fmt: skip
        with pytest.raises(InputError) as error:
            read_options(resnet.Options, wrong, "network.a.options")
        assert next(iter(wrong)) in str(error.value)
        assert "network.a.options" in str(error.value)
    with pytest.raises(InputError, match="kernel is 4"):
        resnet.build({"photo": IMAGE}, resnet.Options(kernel=4))


def test_several_networks_and_targets_of_any_name() -> None:
    network = mixed()
    outputs = network(mixed_inputs(5))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "keys": (5, 3, 2),
        "b.c": (5, 3, 1),
        "b_c": (5, 3, 4),
    }
    assert network.layers()[0] == "table.columns"
    assert network.layers()[-4:] == ["fuse", "heads.keys", "heads.b.c", "heads.b_c"]


def test_layers_are_found_by_name_and_unknown_ones_named_with_the_nearest() -> None:
    network = mixed()
    assert isinstance(network.layer("photo.block2"), resnet.Block)
    assert isinstance(network.layer("photo.block2.branch.0"), nn.Conv2d)
    assert isinstance(network.layer("table.blocks.0.linear"), nn.Linear)
    assert isinstance(network.layer("heads.b.c"), MemberLinear)
    assert network.layer("photo") is network.network("photo")
    with pytest.raises(InputError, match=r"no layer called 'photo\.blok2'") as error:
        network.layer("photo.blok2")
    assert "did you mean 'photo.block2'?" in str(error.value)
    alone = build_assembly({"photo": NetworkPlan("resnet", ("photo",), {"width": 4})}, {"photo": IMAGE}, {"y": 2})
    assert alone.layer("block1") is alone.layer("photo.block1")


def test_modality_dropout_always_leaves_a_network() -> None:
    network = mixed(modality_dropout=0.9)
    inputs = mixed_inputs(64)
    seen: list[torch.Tensor] = []
    network.fuse.hidden.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network.train()
    network(inputs)
    kept = seen[0].unflatten(2, (2, 8)).abs().sum((1, 3)) > 0
    assert kept.any(1).all()
    assert not kept.all()
    network.eval()
    network(inputs)
    assert (seen[1].unflatten(2, (2, 8)).abs().sum((1, 3)) > 0).all()


def test_requests_that_make_no_network_are_refused() -> None:
    plan = NetworkPlan("bag", ("text",))
    with pytest.raises(InputError, match="no input field 'text'"):
        build_assembly({"a": plan}, {"txt": TEXT}, {"y": 2})
    with pytest.raises(InputError, match="There is no network called 'bagg'"):
        build_assembly({"a": NetworkPlan("bagg", ("text",))}, {"text": TEXT}, {"y": 2})
    with pytest.raises(InputError, match="no network to assemble"):
        assemble({}, {"y": 2})
    with pytest.raises(InputError, match="no target to assemble"):
        build_assembly({"a": plan}, {"text": TEXT}, {})
    with pytest.raises(InputError, match="reads one field, not 2"):
        build_assembly({"a": NetworkPlan("bag", ("text", "more"))}, {"text": TEXT, "more": TEXT}, {"y": 2})
    with pytest.raises(InputError, match="cannot be shared by 3 heads"):
        build_assembly({"a": NetworkPlan("transformer", ("text",), {"heads": 3})}, {"text": TEXT}, {"y": 2})
    with pytest.raises(InputError, match="Rotary positions are for sequences"):
        build_assembly(
            {"a": NetworkPlan("transformer", ("photo",), {"positions": "rotary"})}, {"photo": IMAGE}, {"y": 2}
        )


def test_members_of_an_ensemble_differ_from_the_start_and_share_most_weights() -> None:
    torch.manual_seed(0)
    features = {f"x{number}": NUMBER for number in range(4)}
    plans = {"table": NetworkPlan("tabm", tuple(features), {"members": 8, "width": 32})}
    network = build_assembly(plans, features, {"y": 1}).eval()
    inputs = {name: torch.randn(5, 1) for name in features}
    answers = network(inputs)["y"]
    assert answers.std(dim=1).min() > 1e-3
    one = build_assembly(
        {"table": NetworkPlan("tabm", tuple(features), {"members": 1, "width": 32})}, features, {"y": 1}
    )
    assert count_parameters(network)[0] < 3 * count_parameters(one)[0]


def test_word_order_counts_in_pairs_only() -> None:
    torch.manual_seed(0)
    tokens, swapped = torch.tensor([[3, 4, 5, 0]]), torch.tensor([[5, 4, 3, 0]])
    for grams, same in ((1, True), (2, False)):
        network = build_assembly(
            {"a": NetworkPlan("bag", ("text",), {"grams": grams})}, {"text": TEXT}, {"y": 2}
        ).eval()
        answers = [network({"text": values})["y"] for values in (tokens, swapped)]
        assert torch.allclose(*answers, atol=1e-6) is same


def test_weighted_sums_are_the_members_sums_of_their_vectors_and_so_are_the_gradients() -> None:
    generator = torch.Generator().manual_seed(3)
    index = torch.randint(0, 7, (4, 5), generator=generator)
    table = torch.randn(7, 2 * 3, generator=generator, requires_grad=True)
    weight = torch.rand(4, 5, 2, generator=generator).requires_grad_()
    sums = bag.weighted_sums(index, table, weight)
    expected = torch.einsum("blm,blmw->bmw", weight, table[index].unflatten(2, (2, 3)))
    assert sums.shape == (4, 2, 3)
    assert torch.allclose(sums, expected, atol=1e-6)
    pull = torch.randn(4, 2, 3, generator=generator)
    for one, other in zip(
        torch.autograd.grad(sums, (table, weight), pull),
        torch.autograd.grad(expected, (table, weight), pull),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("family", [transformer, recurrent])
def test_sequence_networks_read_the_beginning_of_long_texts_only(family: ModuleType) -> None:
    torch.manual_seed(0)
    feature = Feature("tokens", (12,), "int32", size=20)
    network = family.build({"note": feature}, family.Options(longest=8)).eval()
    tokens = torch.randint(1, 20, (3, 12))
    after, within_ = tokens.clone(), tokens.clone()
    after[:, 8:] = (tokens[:, 8:] + 1) % 19 + 1
    within_[:, 7] = (tokens[:, 7] + 1) % 19 + 1
    answer = network({"note": tokens})
    assert torch.equal(answer, network({"note": after}))
    assert not torch.allclose(answer, network({"note": within_}))


def test_a_spelled_embedding_shares_letters_and_folds_into_a_plain_one() -> None:
    torch.manual_seed(0)
    layer = SpelledEmbedding(["", "", "Ġenjoy", "Ġenjoyable", "Ġdull"], 256, 0.0625)
    with torch.no_grad():
        layer.tokens.weight.zero_()
    _, _, enjoy, enjoyable, dull = layer(torch.arange(5))
    assert torch.cosine_similarity(enjoy, enjoyable, dim=0) > 0.3 > torch.cosine_similarity(enjoy, dull, dim=0)
    assert layer(torch.tensor([0, 1])).eq(0).all()  # what stands for no text has no letters
    nn.init.normal_(layer.tokens.weight)
    tokens = torch.tensor([[2, 3, 3], [4, 0, 2]])
    torch.testing.assert_close(layer.folded()(tokens), layer(tokens))
    layer(tokens).sum().backward()
    assert layer.letters.weight.grad is not None
    assert layer.letters.weight.grad[0].eq(0).all()


def test_runs_of_letters() -> None:
    assert hashed_runs("", 99) == []
    assert len(hashed_runs("ab", 20_000)) == len({"<ab", "ab>", "<ab>"})
    assert len(hashed_runs("a" * 100, 50)) == 24
    assert all(0 < number <= 9 for number in hashed_runs("Ġwonderful", 9))


def test_each_code_of_a_grid_is_an_input_of_its_own() -> None:
    grid = torch.tensor([[[[0, 2]], [[1, 7]]]], dtype=torch.uint8)
    found = Codes(3)(grid)
    assert found.shape == (1, 6, 2, 1)
    # The first channel's three kinds, then the second's; 7 is none of them.
    assert found[0, :, 0, 0].tolist() == [1, 0, 0, 0, 0, 1]
    assert found[0, :, 1, 0].tolist() == [0, 1, 0, 0, 0, 0]
