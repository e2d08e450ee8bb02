"""Weights from elsewhere, freezing, layer-wise rates and low-rank adapters."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lamina import plan as plans
from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.networks import efficientnet
from lamina.networks.assembly import Assembly, build_assembly
from lamina.networks.transfer.freezing import apply_freezing, merge_lora, parameter_groups, unfreeze
from lamina.networks.transfer.lora import Adapted
from lamina.networks.transfer.weights import family_of, load_weights, read_tensors, suggestion, transfer
from lamina.plan import NetworkPlan, Plan

IMAGE = Feature("image", (16, 16, 3), "uint8")
TEXT = Feature("tokens", (8,), "int32", size=30)


def network_of(family: str, seed: int = 0, outputs: int = 2, **options: Any) -> Assembly:
    torch.manual_seed(seed)
    feature = TEXT if family in ("bag", "transformer", "huggingface") else IMAGE
    return build_assembly({"main": NetworkPlan(family, ("x",), options)}, {"x": feature}, {"y": outputs})


def images(rows: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"x": torch.randint(0, 256, (rows, 16, 16, 3), dtype=torch.uint8, generator=generator)}


def tokens(rows: int = 6) -> dict[str, Tensor]:
    return {"x": torch.randint(1, 30, (rows, 8), generator=torch.Generator().manual_seed(0), dtype=torch.int32)}


def step(network: Assembly, inputs: dict[str, Tensor]) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(network, weight_decay=0.1), lr=0.05)
    network.train()
    network(inputs)["y"].pow(2).sum().backward()
    optimizer.step()


def save_run(folder: Path, network: Assembly, plan: Plan, name: str = "weights.safetensors", prefix: str = "") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "plan.toml").write_text(plans.to_toml(plan))
    save_file({prefix + key: value.clone() for key, value in network.state_dict().items()}, folder / name)
    return folder


def test_a_run_gives_its_weights_but_not_its_heads(tmp_path: Path) -> None:
    old = network_of("resnet", seed=1, outputs=5, width=8)
    plan = Plan(network={"main": NetworkPlan("resnet", ("x",), {"width": 8})})
    save_run(tmp_path / "old", old, plan)
    new = network_of("resnet", seed=2, width=8)
    start = new.heads["y"].weight.clone()
    notes = load_weights(new, {"main": NetworkPlan("resnet", ("x",), weights="old")}, tmp_path)
    assert "taken from old" in notes[0]
    assert torch.equal(old.eval().embed(images()), new.eval().embed(images()))
    assert torch.equal(new.heads["y"].weight, start)
    assert new.pretrained == {"main"}
    assert suggestion("old", tmp_path) == ("resnet", {"width": 8})


def test_a_running_average_in_a_checkpoint_serves_too(tmp_path: Path) -> None:
    old = network_of("bag", seed=1)
    save_run(tmp_path, old, Plan(), "checkpoints/000000010.safetensors", "/method/average/")
    new = network_of("bag", seed=2)
    transfer(new, "main", tmp_path)
    assert torch.equal(old.eval().embed(tokens()), new.eval().embed(tokens()))


def test_embeddings_of_other_tokens_keep_their_start(tmp_path: Path) -> None:
    old = network_of("bag", seed=1)
    save_run(tmp_path, old, Plan())

    def encoders(tokenizer: str) -> Any:
        return {"x": SimpleNamespace(state=lambda: {"tokenizer": tokenizer, "length": 8})}

    states = {"encoders": {"text": {"tokenizer": "mine", "length": 64}}}
    (tmp_path / "prepared.json").write_text(json.dumps(states))
    same, other = network_of("bag", seed=2), network_of("bag", seed=2)
    transfer(same, "main", tmp_path, encoders("mine"))
    assert torch.equal(old.eval().embed(tokens()), same.eval().embed(tokens()))
    found = transfer(other, "main", tmp_path, encoders("another"))
    embeddings = {name for name, _ in network_of("bag").network("main").named_parameters() if "grams" in name}
    assert set(found.left) == set(found.untouched) == embeddings
    assert set(found.taken) == {name for name, _ in other.network("main").named_parameters()} - embeddings


def test_what_does_not_fit_is_reported_and_nothing_at_all_is_refused(tmp_path: Path) -> None:
    save_run(tmp_path, network_of("resnet", width=8, stages=2), Plan())
    larger = network_of("resnet", seed=2, width=8, stages=3)
    found = transfer(larger, "main", tmp_path)
    assert any(name.startswith("blocks.2.") for name in found.untouched)
    assert found.left == ()
    with pytest.raises(InputError, match="Nothing in the weights"):
        transfer(network_of("bag"), "main", tmp_path)


def test_efficientnet_weights_with_lukemelas_names_are_all_used(tmp_path: Path) -> None:
    source = network_of("efficientnet", seed=1)
    given = with_lukemelas_names(source.network("main").state_dict())
    given["_fc.weight"], given["_fc.bias"] = torch.zeros(1000, 1280), torch.zeros(1000)
    torch.save(given, tmp_path / "lite0.pth")
    target = network_of("efficientnet", seed=2)
    found = transfer(target, "main", tmp_path)
    assert set(found.left) == {"_fc.weight", "_fc.bias"}
    assert found.untouched == ()
    assert torch.equal(source.eval().embed(images()), target.eval().embed(images()))
    assert suggestion(str(tmp_path)) == ("efficientnet", {"variant": "lite0"})


def with_lukemelas_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names to theirs, written down from their repository's module."""
    starts = [sum(stage[0] for stage in efficientnet.STAGES[:number]) for number in range(len(efficientnet.STAGES))]
    inner = {"expand.conv": "_expand_conv", "expand.norm": "_bn0", "depthwise.conv": "_depthwise_conv",
             "depthwise.norm": "_bn1", "project.conv": "_project_conv", "project.norm": "_bn2"}  # fmt: skip
    outer = {"stem.conv": "_conv_stem", "stem.norm": "_bn0", "last.conv": "_conv_head", "last.norm": "_bn1"}
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "body":
            block = starts[int(parts[1])] + int(parts[2])
            name = f"_blocks.{block}.{inner['.'.join(parts[3:5])]}.{parts[5]}"
        else:
            name = f"{outer['.'.join(parts[:2])]}.{parts[2]}"
        renamed[name] = tensor
    return renamed


def test_a_hugging_face_folder_gives_the_answers_of_its_own_library(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=24, max_position_embeddings=16)  # fmt: skip
    torch.manual_seed(0)
    other = BertForMaskedLM(config).eval()
    other.save_pretrained(tmp_path)
    plan = NetworkPlan("huggingface", ("x",), weights=str(tmp_path))
    network = build_assembly({"text": plan}, {"x": TEXT}, {"y": 2}).eval()
    load_weights(network, {"text": plan})
    inputs = tokens()
    inputs["x"][1:, 5:] = 0
    mask = (inputs["x"] != 0).long()
    hidden = other.bert(input_ids=inputs["x"].long(), attention_mask=mask).last_hidden_state
    mean = (hidden * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
    assert torch.allclose(network.embed(inputs)[:, 0], mean, atol=1e-6)
    assert network.layers() == ["embeddings", "layer1", "layer2", "pool", "heads.y"]
    assert family_of(str(tmp_path)) == "huggingface"
    longer = Feature("tokens", (99,), "int32", size=30)
    network = build_assembly({"text": plan}, {"x": longer}, {"y": 2}).eval()
    load_weights(network, {"text": plan})
    more = {"x": torch.cat([inputs["x"], torch.ones(len(mask), 20, dtype=torch.int32)], dim=1)}
    read = {"x": more["x"][:, :16]}
    assert torch.equal(network.embed(more), network.embed(read)), "no more tokens than there are positions for"
    with pytest.raises(InputError, match="has 31 tokens"):
        build_assembly({"text": plan}, {"x": Feature("tokens", (8,), "int32", size=31)}, {"y": 2})


def test_a_network_learns_at_its_own_rate() -> None:
    plans = {name: NetworkPlan("bag", ("x",)) for name in ("slow", "usual")}
    assembly = build_assembly(plans, {"x": TEXT}, {"y": 2})
    groups = parameter_groups(assembly, rates={"slow": 0.1})
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    for parts, expected in ((assembly.network("slow"), 0.1), (assembly.network("usual"), 1.0), (assembly.heads, 1.0)):
        assert {rate[id(parameter)] for parameter in parts.parameters()} == {expected}
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="rate"):
            parameter_groups(assembly, rates={"slow": wrong})


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": [1]}'])
def test_a_damaged_index_of_weights_is_one_clear_error(index: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(InputError, match="index of weights"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("config", ["[]", "{}", '{"model_type": ["bert"]}'])
def test_a_configuration_of_no_model_is_one_clear_error(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match="what kind of model"):
        network_of("huggingface", folder=str(tmp_path))


def test_a_backbone_without_its_last_convolution_is_not_taken_for_one_of_known_size(tmp_path: Path) -> None:
    given = with_lukemelas_names(network_of("efficientnet").network("main").state_dict())
    del given["_conv_head.weight"]
    torch.save(given, tmp_path / "lite0.pth")
    with pytest.raises(InputError, match="which network"):
        suggestion(str(tmp_path))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was_run"),))


def test_weights_that_are_missing_damaged_or_hostile_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    with pytest.raises(InputError, match="cannot be read as tensors alone"):
        read_tensors(tmp_path / "evil.pth")
    assert not (tmp_path / "was_run").exists()
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(InputError, match="cannot be read"):
        read_tensors(tmp_path / "cut.safetensors")
    (tmp_path / "empty").mkdir()
    (tmp_path / "shards").mkdir()
    index = {"weight_map": {"a": "../cut.safetensors"}}
    (tmp_path / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="outside the folder"):
        read_tensors(tmp_path / "shards")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="no state dictionary"):
        read_tensors(tmp_path / "other.pth")
    network = network_of("bag")
    for path, problem in (("nowhere", "no weights at"), ("empty", "holds no weights"), ("m.lamina", "sealed model")):
        with pytest.raises(InputError, match=problem):
            load_weights(network, {"main": NetworkPlan("bag", ("x",), weights=path)}, tmp_path)


def test_frozen_networks_keep_weights_and_statistics() -> None:
    network = network_of("resnet", width=8)
    apply_freezing(network, "main", "all")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    step(network, images())
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"heads.y.weight", "heads.y.bias"}
    apply_freezing(network, "main", "none")
    step(network, images())
    after = network.state_dict()
    assert all(not torch.equal(value, before[name]) for name, value in after.items())


def test_gradual_unfreezing_goes_from_the_top_and_ends_with_everything() -> None:
    network = network_of("resnet", width=8)
    apply_freezing(network, "main", "gradual")
    groups = [parameter for group in parameter_groups(network) for parameter in group["params"]]
    assert len(groups) == len(list(network.parameters()))
    seen = []
    for progress in (0.0, 0.15, 0.3, 0.45, 0.5, 1.0):
        unfreeze(network, "main", progress)
        network.train()
        learning = [stage.name for stage in network.stages() if all(p.requires_grad for p in stage.module.parameters())]
        assert learning == network.layers()[-len(learning) :]
        for stage in network.stages():
            norms = [part for part in stage.module.modules() if isinstance(part, nn.BatchNorm2d)]
            assert all(part.training is (stage.name in learning) for part in norms)
        seen.append(len(learning))
    assert seen[0] == 1
    assert seen == sorted(seen)
    assert seen[-2:] == [len(network.layers())] * 2


def test_layer_wise_rates_fall_from_the_heads_down_and_only_maps_decay() -> None:
    network = network_of("transformer", width=16, depth=2, heads=2, positions="learned")
    groups = parameter_groups(network, layer_decay=0.5, weight_decay=0.1)
    place = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(place) == len(list(network.parameters()))
    names = dict(network.named_parameters())

    def group_of(name: str) -> dict[str, Any]:
        return place[id(names[name])]

    inside = "networks.main."
    assert group_of("heads.y.weight")["lr"] == 1.0
    assert group_of(f"{inside}layers.1.feed.out.weight")["lr"] == 0.5**3
    assert group_of(f"{inside}layers.0.feed.out.weight")["lr"] == 0.5**4
    assert group_of(f"{inside}entry.project.project.weight")["lr"] == 0.5**5
    decaying = {name for name in names if group_of(name)["weight_decay"] > 0}
    assert f"{inside}layers.0.attention.joint.weight" in decaying
    assert not any(name.endswith(("bias", "norm.weight", "positions", "project.project.weight")) for name in decaying)
    assert group_of(f"{inside}layers.0.attention.joint.weight")["matrix"]
    assert not group_of("heads.y.weight")["matrix"]
    assert not group_of(f"{inside}entry.project.project.weight")["matrix"]


def test_layer_wise_rates_hold_for_pretrained_networks_where_there_are_some() -> None:
    features = {"a": TEXT, "b": TEXT}
    network = build_assembly({"one": NetworkPlan("bag", ("a",)), "two": NetworkPlan("bag", ("b",))}, features, {"y": 2})
    network.pretrained.add("two")
    rates = {
        id(parameter): group["lr"]
        for group in parameter_groups(network, layer_decay=0.5)
        for parameter in group["params"]
    }
    assert {rates[id(parameter)] for parameter in network.network("one").parameters()} == {1.0}
    assert {rates[id(parameter)] for parameter in network.network("two").parameters()} == {0.25, 0.125}


@pytest.mark.parametrize("family", ["transformer", "efficientnet"])
def test_low_rank_adapters_start_at_nothing_learn_alone_and_merge_exactly(family: str) -> None:
    options = {"width": 16, "depth": 1, "heads": 2, "dropout": 0.0} if family == "transformer" else {"dropout": 0.0}
    inputs = tokens() if family == "transformer" else images()
    network = network_of(family, **options)
    start = network.eval().embed(inputs)
    apply_freezing(network, "main", "lora", rank=4)
    assert torch.allclose(network.eval().embed(inputs), start, atol=1e-6)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for _ in range(2):
        step(network, inputs)
        network.zero_grad()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("heads.") or ".down." in name or ".up." in name for name in changed)
    adapted = network.eval().embed(inputs)
    assert not torch.allclose(adapted, start, atol=1e-3)
    assert merge_lora(network) > 0
    assert not any(isinstance(part, Adapted) for part in network.modules())
    assert torch.allclose(network.embed(inputs), adapted, atol=1e-4)
    assert network.state_dict().keys() == network_of(family, **options).state_dict().keys()


def test_a_run_with_adapters_gives_merged_weights(tmp_path: Path) -> None:
    options = {"width": 16, "depth": 1, "heads": 2}
    old = network_of("transformer", seed=1, **options)
    apply_freezing(old, "main", "lora")
    for _ in range(2):
        step(old, tokens())
    save_run(tmp_path, old, Plan())
    new = network_of("transformer", seed=2, **options)
    found = transfer(new, "main", tmp_path)
    assert found.left == ()
    assert found.untouched == ()
    assert torch.allclose(old.eval().embed(tokens()), new.eval().embed(tokens()), atol=1e-5)


def test_wrong_ways_of_freezing_are_refused() -> None:
    network = network_of("resnet", width=8)
    with pytest.raises(InputError, match="frozen is 'al'"):
        apply_freezing(network, "main", "al")
    with pytest.raises(InputError, match="no network called 'man'"):
        apply_freezing(network, "man", "all")
    bag = network_of("bag")
    bag.network("main").hidden[2] = nn.Identity()
    with pytest.raises(InputError, match="no linear layers"):
        apply_freezing(bag, "main", "lora")
    assert all(parameter.requires_grad for parameter in bag.parameters())
