"""Long texts with a pretrained encoder in the Hugging Face format: a tiny one, made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from fixtures import only_trained, write_csv
from safetensors.torch import load_file

import lamina
from lamina.cli import main
from lamina.plan import read

GOOD, BAD = ("fine", "lovely", "bright"), ("poor", "dull", "broken")
OTHER = tuple(f"word{number}" for number in range(30))
LONG = 200
"""Words of a text; the telling ones stand where the pretrained encoder does not read."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("weights")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *OTHER]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({name: number for number, name in enumerate(names)}, unk_token="[UNK]")
    )
    tokenizer.add_special_tokens(names[:4])
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = BertConfig(vocab_size=len(names), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=24, max_position_embeddings=64)  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    rows = []
    for number in range(240):
        words = list(random.choice(OTHER, LONG))
        words[LONG // 2 + 40 :] = random.choice(GOOD if number % 2 else BAD, LONG // 2 - 40)
        rows.append({"note": " ".join(words), "mood": "good" if number % 2 else "bad"})
    monkeypatch.chdir(tmp_path)
    return write_csv(tmp_path / "notes.csv", rows)


def test_a_long_text_is_read_to_its_end_beside_the_pretrained_network(notes: Path, weights: Path) -> None:
    words = ["train", str(notes), "--target", "mood", "--weights", f"note={weights}", "--quiet", "--out", "run"]
    sets = ["network.dropout=0.2", "network.note+words.hidden=16", "training.epochs=4", "training.threads=1"]
    assert main([*words, "--set", *sets]) == 0
    plan = read(Path("run/plan.toml"))
    assert {name: part.name for name, part in plan.network.items()} == {"note": "huggingface", "note+words": "bag"}
    assert plan.network["note"].options["dropout"] == 0.2
    assert plan.network["note"].rate < 1 == plan.network["note+words"].rate
    assert plan.network["note+words"].options["hidden"] == 16
    results = json.loads(Path("run/results.json").read_text())
    assert results["seal"]["same_answers"] == 1
    assert results["targets"][0]["scores"]["accuracy"]["value"] > 0.9, "the telling words come after the 64th"
    answers = lamina.load("run").predict([{"note": " ".join([*OTHER * 5, *GOOD * 10])}]).to_rows()
    assert answers[0]["mood"] == "good"


def test_the_pretrained_part_learns_slower_and_its_weights_are_kept(notes: Path, weights: Path) -> None:
    words = ("train", str(notes), "--target", "mood", "--weights", f"note={weights}", "--quiet")
    only_trained(notes.parent, Path("run"), *words, "--set", "training.epochs=1", "training.threads=1")
    given, found = load_file(weights / "model.safetensors"), load_file("run/weights.safetensors")
    changes = [
        float((found[f"networks.note.encoder.{name}"] - tensor).abs().max())
        for name, tensor in given.items()
        if f"networks.note.encoder.{name}" in found
    ]
    assert changes
    assert 0 < max(changes) < 0.05
