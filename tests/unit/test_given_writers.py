"""Causal models that are given: their networks beside the library's own, their tokens, what of them learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import given_writers as given
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lamina import registry
from lamina.errors import InputError
from lamina.learn.engine import Engine
from lamina.learn.stream import NEXT, TEXT, scored
from lamina.methods import next_token
from lamina.modalities import _given_tokens
from lamina.modalities._given_tokens import NO_TOKEN, GivenTokens
from lamina.modalities.text import Encoder
from lamina.model.decoding import written
from lamina.networks.blocks.options import read_options
from lamina.networks.transfer import causal
from lamina.networks.transfer.freezing import adapters, freeze_stages
from lamina.networks.transfer.lora import add_adapters, merge_adapters
from lamina.plan import NetworkPlan, OptimizerPlan, Plan
from lamina.steps.written import given_model
from lamina.steps.written.learner import TorchSteps
from lamina.tasks import _streams
from lamina.tasks.write import Task

LINES = [f"The {one} cat sees the {other} bird, and écoute.\n" for one in ("old", "red") for other in "abc"] * 20
ODD = [
    "Twice  two spaces,\n\ttabs \r\n", "naïve ﬁne ½ 日本語 😀", " leading", "", "e\u0301 is composed, \u00e9 was",
    f"it says {given.END} and <s> and </s> and <0x41>", "x" * 30_000 + "\n" + "y z " * 9000,
]  # fmt: skip
"""Texts that a tokenizer may do something to."""
KINDS = {"byte-level": given.byte_level, "spaced": given.spaced}
SMALL: dict[str, Any] = {
    "vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OTHER = {"head_dim": 16, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "rms_norm_eps": 1e-4}


def network(folder: Path, context: int = 40) -> Any:
    """The folder's model as a network of ours."""
    model = causal.given(folder)
    module = registry.module("networks/writers", model.writer)
    options = read_options(module.Options, model.described.options, "options")
    own = module.build(model.described.vocabulary, context, 0, options)
    causal.fill(own, model)
    return own.eval()


def library(name: str, changes: dict[str, Any]) -> Any:
    """A model of the library's own, with weights that make a difference everywhere."""
    import transformers

    sizes = {"vocab_size": 120, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "eos_token_id": 2,
             "bos_token_id": 2} if name == "GPT2" else SMALL  # fmt: skip
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    torch.manual_seed(0)
    theirs = getattr(transformers, head)(getattr(transformers, f"{name}Config")(**{**sizes, **changes})).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.normal_(0, 0.3 if weight.ndim > 1 else 0.5)
    return theirs


@pytest.mark.parametrize(
    ("name", "changes", "shards"),
    [
        ("Llama", {}, False), ("Llama", {**OTHER, "rope_theta": 500_000.0}, True), ("Mistral", {}, False),
        ("Qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 1}, False), ("GPT2", {}, False),
        ("GPT2", {"n_inner": 40, "layer_norm_epsilon": 1e-3}, True),
    ],
)  # fmt: skip
def test_log_odds_are_those_of_the_library(name: str, changes: dict[str, Any], shards: bool, tmp_path: Path) -> None:
    theirs = library(name, changes)
    theirs.save_pretrained(tmp_path, **({"max_shard_size": "20KB"} if shards else {}))
    assert (tmp_path / "model.safetensors.index.json").exists() is shards
    (tmp_path / "tokenizer.json").write_text("{}")
    own = network(tmp_path)
    tokens = torch.randint(0, 120, (3, 40), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    slots, heads, each = own.cache_shape
    cache, found = torch.zeros(3, slots, heads, 0, each), []
    with torch.inference_mode():
        wanted, whole = theirs(input_ids=tokens.long()).logits, own({TEXT: tokens})
        for part in (tokens[:, :7], tokens[:, 7:8], tokens[:, 8:9], tokens[:, 9:]):
            logits, cache = own.step(part, cache)
            found.append(logits)
    assert float(wanted.std()) > 0.5
    torch.testing.assert_close(whole, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat(found, dim=1), wanted, atol=1e-5, rtol=1e-5)
    assert causal.given(tmp_path).numbers == sum(weight.numel() for weight in theirs.parameters())


def test_old_spellings_of_a_configuration_mean_the_same(tmp_path: Path) -> None:
    tokenizer = given.byte_level(LINES)
    new = given.llama(tmp_path / "new", tokenizer, rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    old = given.llama(tmp_path / "old", tokenizer, rope_theta=500.0, rope_scaling=None, architectures=None)
    tokens = torch.arange(20, dtype=torch.int32).unsqueeze(0)
    with torch.inference_mode():
        one, other = (network(folder)({TEXT: tokens}) for folder in (new, old))
        usual = network(given.llama(tmp_path / "usual", tokenizer))({TEXT: tokens})
    assert torch.equal(one, other)
    assert not torch.allclose(one, usual)


def tokens_of(kind: str, folder: Path, **changes: Any) -> GivenTokens:
    file = folder / "tokenizer.json"
    content = json.loads(KINDS[kind](LINES))
    file.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return GivenTokens(_given_tokens.exact(file))


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_byte_comes_back_from_a_given_models_tokens(kind: str, tmp_path: Path) -> None:
    tokens = tokens_of(kind, tmp_path)
    sizes = _streams.bytes_of_tokens(tokens)
    start, end = (0, 0) if kind == "byte-level" else (1, 2)
    assert sizes[start] == sizes[end] == 0
    for text in ODD:
        ids = _streams.stream(tokens, [text], start, end)
        assert ids[0] == start
        assert (ids == start).sum() == 1
        assert sizes[ids].sum() == len(text.encode())
        assert tokens.joined(ids.tolist()) == text.encode()
        assert tokens.decode(ids.tolist()) == text
    both = _streams.stream(tokens, ODD[:2], start, end)
    assert tokens.decode(both.tolist()) == "".join(ODD[:2])
    # Far fewer tokens than bytes: the merges are at work.
    assert len(_streams.stream(tokens, LINES, start, end)) < 0.6 * sum(len(line.encode()) for line in LINES)


def test_what_is_written_on_begins_where_the_prompt_ended(tmp_path: Path) -> None:
    """A space at the beginning of what goes on is not lost, nor is one put before a text."""
    for kind in KINDS:
        tokens = tokens_of(kind, tmp_path)
        ids = tokens.encode(["The old cat"])[0]
        assert "".join(tokens.decode(ids[place : place + 1]) for place in range(len(ids))) == "The old cat"
        assert not tokens.decode(ids).startswith(" ")
    half = tokens.encode(["日"])[0][:1]
    assert tokens.decode(half) == "�"


def test_steps_that_change_a_text_are_left_out_or_refused(tmp_path: Path) -> None:
    composed = tokens_of("byte-level", tmp_path, normalizer={"type": "NFC"})
    assert composed.decode(composed.encode(["e\u0301"])[0]) == "e\u0301"
    prefixed = tokens_of("byte-level", tmp_path, pre_tokenizer={
        "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True,
    })  # fmt: skip
    assert prefixed.decode(prefixed.encode(["cat"])[0]) == "cat"
    for changes, said in (
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "mark for spaces"),
        (
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [
                        {"type": "WhitespaceSplit"},
                        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
                    ],
                }
            },
            "between words .WhitespaceSplit",
        ),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}, "WordLevel"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            tokens_of("byte-level", tmp_path, **changes)
        assert "byte-level" in caught.value.fix


def test_a_tokenizer_without_all_bytes_is_refused_where_one_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(given.spaced(LINES, 120, fallback=False), encoding="utf-8")
    tokens = GivenTokens(_given_tokens.exact(file))
    assert tokens.decode(tokens.encode(["The old cat"])[0]) == "The old cat"
    with pytest.raises(InputError, match="near 'The old 日'"):
        tokens.encode(["The old 日"])


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = given.llama(tmp_path, given.byte_level(LINES, 290))
    (folder / "tokenizer.json").write_text(given.spaced(LINES, 600), encoding="utf-8")
    with pytest.raises(InputError, match="the model knows 2"):
        given_model.tokenizer_of(causal.given(folder))


def test_the_encoder_and_the_task_keep_a_token_of_number_0(tmp_path: Path) -> None:
    tokens = tokens_of("spaced", tmp_path)
    text = _given_tokens.exact(tmp_path / "tokenizer.json")
    encoder = Encoder("given", 6, text, NO_TOKEN, 1, start=True, cut="start")
    prompts = np.array(["cat", "", "the old cat sees the red bird"], object)
    found = Encoder.restore(encoder.state()).encode(prompts).array
    assert found[1].tolist() == [1] + 5 * [NO_TOKEN]
    assert found[0, 0] == found[2, 0] == 1
    assert encoder.decode(found)[0] == "cat"
    whole = tokens.encode(["the old cat sees the red bird"])[0]
    assert found[2, 1:].tolist() == whole[-5:]
    task = Task("answer", text, 32, 8, start=1, end=2, size=tokens.size)
    again = Task.restore(json.loads(json.dumps(task.state())))
    assert (again, again.padding, Task("answer", text).padding) == (task, NO_TOKEN, 0)
    assert again.decode(np.array([[*whole, 2, NO_TOKEN]], np.float32))[""][0] == "the old cat sees the red bird"
    assert set(Task("answer", text).state()) == {"name", "tokenizer", "context", "width"}
    for wrong in ({"start": tokens.size}, {"end": -1}, {"size": 1 << 40}):
        with pytest.raises(ValueError, match="of "):
            Task.restore({**task.state(), **wrong})


def test_nothing_is_asked_where_there_is_no_token() -> None:
    tokens = np.array([0, 3, 0, 0, 2, 1, 0], np.int32)
    batches = list(scored(tokens, 4, 2, NO_TOKEN))
    asked = np.concatenate([batch.targets[NEXT].numpy().ravel() for batch in batches])
    assert asked[asked != NO_TOKEN].tolist() == tokens[1:].tolist()
    logits = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0))
    each = next_token.losses(logits, torch.tensor([[0, NO_TOKEN, 4]]), padding=NO_TOKEN)
    chances = logits.log_softmax(dim=2)
    torch.testing.assert_close(each, torch.stack([-chances[0, 0, 0], torch.tensor(0.0), -chances[0, 2, 4]])[None])


def test_a_token_of_number_0_is_written_and_a_text_ends_with_its_own(tmp_path: Path) -> None:
    own = network(given.gpt2(tmp_path, given.byte_level(LINES)))
    prompt = np.array([[5, 6, 7]], np.int32)

    def wanted(*tokens: int) -> Callable[[Any], Any]:
        left = iter(tokens)
        return lambda logits: np.array([next(left)], np.int32)

    step = TorchSteps(own, 1, torch.device("cpu"))
    found, _ = written(step, prompt, 4, 40, end=9, pick=wanted(0, 3, 9), padding=NO_TOKEN)
    assert found.tolist() == [[0, 3, NO_TOKEN, NO_TOKEN]]


def test_what_learns_is_what_was_asked_for(tmp_path: Path) -> None:
    folder = given.llama(tmp_path, given.byte_level(LINES))
    tokens = torch.arange(12, dtype=torch.int32).unsqueeze(0)

    def learning(own: Any) -> set[str]:
        return {name for name, weight in own.named_parameters() if weight.requires_grad}

    everything = learning(network(folder))
    for how in ("none", "all", "gradual", "lora"):
        own = network(folder)
        before = own({TEXT: tokens}).detach()
        thaw = freeze_stages(own, how)
        assert torch.equal(own({TEXT: tokens}), before), "freezing alone changes nothing"
        if how == "none":
            assert learning(own) == everything
        elif how == "all":
            assert learning(own) == {"trunk.norm.scale", "trunk.last.weight"}
        elif how == "gradual":
            assert thaw is not None
            counts = []
            for share in (0.0, 0.13, 0.26, 0.5):
                thaw(share)
                counts.append(len(learning(own)))
            assert counts[0] == 2 < counts[1] < counts[2] < counts[3] == len(everything)
        else:
            assert learning(own)
            assert all("layers" in name and (".up." in name or ".down." in name) for name in learning(own))


def test_adapters_alone_are_kept_and_are_the_same_when_added(tmp_path: Path) -> None:
    folder = given.gpt2(tmp_path, given.byte_level(LINES))
    own = network(folder)
    freeze_stages(own, "lora")
    method = next_token.build(own, next_token.Options(), OptimizerPlan("adamw", 0.05), padding=NO_TOKEN)
    batch = next(scored(np.arange(30, dtype=np.int32) % 7, 16, 4, NO_TOKEN))
    before = method.loss(batch).sum.item()
    for _ in range(5):
        method.loss(batch).sum.backward()
        method.optimizers[0].step()
        method.optimizers[0].zero_grad()
    after = method.loss(batch).sum.item()
    assert after < before - 1
    kept = {name: value.clone() for name, value in method.state()["network"].items()}
    assert kept
    assert all(name.rpartition(".")[2] == "scale" or ".up." in name or ".down." in name for name in kept)
    fresh = network(folder)
    freeze_stages(fresh, "lora")
    other = next_token.build(fresh, next_token.Options(), OptimizerPlan("adamw", 0.05), padding=NO_TOKEN)
    other.load(kept)
    assert other.loss(batch).sum.item() == after
    merge_adapters(fresh)
    torch.testing.assert_close(fresh(batch.inputs), own(batch.inputs), atol=1e-5, rtol=1e-5)
    assert [name for name, _ in fresh.named_parameters()] == [name for name, _ in network(folder).named_parameters()]


def test_an_average_is_of_the_adapters_alone(tmp_path: Path) -> None:
    own = network(given.gpt2(tmp_path, given.byte_level(LINES)))
    freeze_stages(own, "lora")
    method = next_token.build(own, next_token.Options(), OptimizerPlan("adamw", 0.05), 0.5, padding=NO_TOKEN)
    batch = next(scored(np.arange(30, dtype=np.int32) % 7, 16, 4, NO_TOKEN))
    engine = Engine(torch.device("cpu"))
    for _ in range(3):
        method.update(batch, engine)
    name = "trunk.layers.0.attention.out.up.weight"
    latest, average = own.state_dict()[name].clone(), method.weights()[name].clone()
    assert not torch.equal(latest, average)
    assert "trunk.embedding.weight" not in method.weights()
    with method.evaluating() as evaluated:
        assert torch.equal(evaluated.state_dict()[name], average)
    assert torch.equal(own.state_dict()[name], latest)


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _configured(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _without_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in tensors.items() if "down" not in name}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "said", "fix"),
    [
        (_without("config.json"), "no config.json", "Hugging Face"),
        (_without("tokenizer.json"), "no tokenizer.json", "save_pretrained"),
        (_without("model.safetensors"), "no model.safetensors", "again"),
        (_pickled, "pickle .pytorch_model.bin.", "save_pretrained"),
        (lambda folder: (folder / "config.json").write_text("{"), "no valid JSON", "again"),
        (_configured(architectures=["BertModel"], model_type="bert"), "BertModel, which does not write", "Llama"),
        (_configured(architectures=["GemmaForCausalLM"]), "Gemma.* no network", "Qwen2ForCausalLM"),
        (_configured(rope_scaling={"type": "linear", "factor": 2.0}), "rope_scaling", "without it"),
        (_configured(rope_parameters={"rope_type": "llama3", "factor": 8.0}), "rope_parameters", "without it"),
        (_configured(hidden_act="gelu"), 'hidden_act = "gelu"', "without it"),
        (_configured(quantization_config={"bits": 4}), "quantization_config", "without it"),
        (_configured(hidden_size=0), "hidden_size = 0", "without it"),
        (_configured(num_hidden_layers=10**6), "num_hidden_layers", "without it"),
        (_configured(vocab_size=10**7), "files are too small", "again"),
        (_configured(eos_token_id=None), "which token ends", "eos_token_id"),
        (_configured(eos_token_id=5000), "eos_token_id = 5000", "without it"),
        (_configured(num_key_value_heads=3), "cannot share", "divides"),
        (_configured(intermediate_size=60), "another shape", "config.json fits"),
        (_configured(tie_word_embeddings=None, attention_bias=True), "lacks", "config.json fits"),
        (_without_tensor, "lacks: .*feed.out", "config.json fits"),
    ],
)
def test_folders_that_cannot_be_learned_on_from_are_told(
    change: Callable[[Path], None], said: str, fix: str, tmp_path: Path
) -> None:
    folder = given.llama(tmp_path / "model", given.byte_level(LINES))
    change(folder)
    with pytest.raises(InputError, match=said) as caught:
        network(folder)
    assert fix in caught.value.fix


def test_a_sliding_window_is_a_limit_of_the_context(tmp_path: Path) -> None:
    tokenizer = given.byte_level(LINES)
    known = {"architectures": ["MistralForCausalLM"], "sliding_window": 20}
    assert causal.given(given.llama(tmp_path / "one", tokenizer, **known)).described.positions == 20
    unused = {"architectures": ["MistralForCausalLM"], "sliding_window": None}
    model = causal.given(given.llama(tmp_path / "two", tokenizer, **unused))
    assert model.described.positions == 64
    assert [given_model.context_of(model, wanted) for wanted in (16, 64, 256)] == [16, 64, 64]


def test_another_content_is_another_fingerprint(tmp_path: Path) -> None:
    folder = given.llama(tmp_path, given.byte_level(LINES))
    first = causal.given(folder).fingerprint
    assert causal.given(folder).fingerprint == first
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] + 1
    save_file(tensors, folder / "model.safetensors")
    assert causal.given(folder).fingerprint != first


def test_a_model_that_no_sealed_file_has_room_for_is_refused(tmp_path: Path) -> None:
    model = causal.given(given.llama(tmp_path, given.byte_level(LINES)))
    given_model.check_size(model)
    with pytest.raises(InputError, match="room for 500,000,000"):
        given_model.check_size(replace(model, numbers=500_000_001))
    options = {**model.described.options, "tied": True, "width": 4096}
    described = replace(model.described, options=options, vocabulary=100_000)
    with pytest.raises(InputError, match="embeddings"):
        given_model.check_size(replace(model, numbers=400_000_000, described=described))


def test_held_out_parts_are_as_long_as_there_is_time_for(tmp_path: Path) -> None:
    model = causal.given(given.llama(tmp_path, given.byte_level(LINES)))
    most = {"validation": 32_768, "test": 1_000_000}
    assert given_model.enough(model, 3600, most) == most
    large = replace(model, numbers=500_000_000)
    some, more = (given_model.enough(large, seconds, most) for seconds in (600, 36_000))
    assert some["validation"] <= more["validation"] <= most["validation"]
    assert some["test"] < more["test"] < most["test"]


@pytest.mark.parametrize(
    ("back", "shown"),
    [
        ("XBCDEFGHIJ" + "k" * 99, "'ABCDEFGHIJ'"),
        ("ABCDEFGHIJ" + "k" * 89 + "?" * 10, "'" + "k" * 30 + "'"),
        ("", "'ABC"),
    ],
    ids=["first", "last", "all"],
)
def test_it_is_told_where_a_text_and_what_comes_back_part(back: str, shown: str) -> None:
    assert shown in _given_tokens._difference("ABCDEFGHIJ" + "k" * 99, back.encode())


def test_a_plan_says_rank_and_strength_of_adapters() -> None:
    asked = Plan(network={"writer": NetworkPlan(frozen="lora")})
    assert adapters("writer", asked.network["writer"]) == {"rank": 8, "strength": 16.0}
    part = asked.with_set(["network.rank=2", "network.strength=4"]).network["writer"]
    assert adapters("writer", part) == {"rank": 2, "strength": 4.0}
    own = torch.nn.Sequential(torch.nn.Linear(8, 8))
    add_adapters(own, part.rank or 0, part.strength or 0.0)
    assert [tuple(value.shape) for name, value in own.named_parameters() if ".down." in name] == [(2, 8)]
    for wrong in ("rank=0", "strength=0", "strength=-1", "frozen=all"):
        bad = asked.with_set(["network.rank=2", f"network.{wrong}"]).network["writer"]
        with pytest.raises(InputError) as error:
            adapters("writer", bad)
        assert error.value.fix
    with pytest.raises(InputError, match="whole number"):
        asked.with_set(["network.rank=two"])
