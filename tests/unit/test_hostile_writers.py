"""A sealed model that translates has a second graph, of which holds what holds for the first; and what both write."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from small_models import writing_model
from test_hostile_models import Entries, external, foreign_domain, local_function, loop, nested, signed

from lamina.errors import InputError
from lamina.modalities.text import Encoder
from lamina.model import format  # noqa: A004
from lamina.model.format import DECODER, NETWORK
from lamina.model.runtime import Model, load
from lamina.model.sentences import sentences, translated
from lamina.model.write import write
from lamina.tasks._tokenizer import trained
from lamina.tasks.translate import Task as Translation

KEPT = Path(__file__).parents[1] / "golden" / "formats"
GRAPHS = (NETWORK, DECODER)


def entries(name: str = "v2-writer.lamina") -> Entries:
    with zipfile.ZipFile(KEPT / name) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_decoder(change: Callable[[onnx.ModelProto], None]) -> bytes:
    content = entries()
    model = onnx.load_from_string(content[DECODER])
    change(model)
    return signed({**content, DECODER: model.SerializeToString()}, GRAPHS)


def with_state(**state: Any) -> bytes:
    content = entries()
    tasks = json.loads(content["tasks.json"])
    tasks["answer"]["state"].update(state)
    return signed({**content, "tasks.json": json.dumps(tasks).encode()}, GRAPHS)


def other_heads(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[2].dim_value = 10**6


def one_output(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def another_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", 1, [1]))


def without_decoder(**manifest: Any) -> bytes:
    content = entries()
    del content[DECODER]
    return signed(content, **manifest)


def beside_a_table() -> bytes:
    return signed({**entries("v1-tiny.lamina"), DECODER: entries()[DECODER]}, GRAPHS, version=2)


ATTACKS: dict[str, Callable[[], bytes]] = {
    "weights in a file beside": lambda: with_decoder(external("secret")),
    "a foreign operator": lambda: with_decoder(foreign_domain),
    "a function of its own": lambda: with_decoder(local_function),
    "an endless loop": lambda: with_decoder(loop),
    "graphs in graphs in graphs": lambda: with_decoder(nested),
    "ONNX Runtime's own format": lambda: signed({**entries(), DECODER: b"\x20\0\0\0ORTM" + bytes(500)}, GRAPHS),
    "an empty decoder": lambda: signed({**entries(), DECODER: b""}, GRAPHS),
    "a compressed decoder": lambda: signed(entries(), (NETWORK,)),
    "a changed byte": lambda: format_packed({**entries(), DECODER: entries()[DECODER] + b"\0"}),
    "no decoder": without_decoder,
    "a decoder in the first version": lambda: signed(entries(), GRAPHS, version=1),
    "a decoder that nothing is read for": beside_a_table,
    "a cache of a million heads": lambda: with_decoder(other_heads),
    "a decoder that keeps nothing": lambda: with_decoder(one_output),
    "a decoder that wants more": lambda: with_decoder(another_input),
    "texts without end": lambda: with_state(width=10**9),
    "a million beams": lambda: with_state(beams=10**6),
    "a penalty that is no number": lambda: with_state(penalty=float("inf")),
    "no tokenizer": lambda: with_state(tokenizer="{}"),
}


def format_packed(content: Entries) -> bytes:
    from test_hostile_models import packed

    return packed(content, GRAPHS)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_one_clear_error(attack: str, tmp_path: Path) -> None:
    (tmp_path / "hostile.lamina").write_bytes(ATTACKS[attack]())
    with pytest.raises(InputError) as caught:
        load(tmp_path / "hostile.lamina", threads=1)
    assert caught.value.fix


def test_the_kept_file_is_what_the_attacks_start_from() -> None:
    assert load(signed(entries(), GRAPHS)).check_golden()["sound"]


def test_a_file_with_one_graph_stays_of_the_first_version(tmp_path: Path) -> None:
    for reads, version in ((False, 1), (True, 2)):
        sealed, _ = writing_model(reads)
        format.write(tmp_path / "model.lamina", sealed)
        again = format.read(tmp_path / "model.lamina")
        assert (again.network, again.decoder, again.tasks) == (sealed.network, sealed.decoder, sealed.tasks)
        with zipfile.ZipFile(tmp_path / "model.lamina") as archive:
            assert json.loads(archive.read("manifest.json"))["version"] == version
            assert (DECODER in archive.namelist()) == reads


@pytest.fixture(scope="module")
def writer() -> Model:
    return Model(writing_model(False)[0], threads=1)


def test_the_same_seed_writes_the_same_text_and_another_does_not(writer: Model) -> None:
    one, same, other = (write(writer, "the cat", 30, 1.0, 1.0, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert write(writer, "the cat", 30, temperature=0) == write(writer, "the cat", 30, temperature=0, seed=5)
    assert write(writer, "", 5) is not None


def test_every_prompt_is_answered_by_itself(writer: Model) -> None:
    prompts = ["the cat", "a much longer prompt that is not seen whole by this model", "", "the dog ran", None]
    together = [row["answer"] for row in writer.predict([{"prompt": prompt} for prompt in prompts])]
    alone = [writer.predict([{"prompt": prompt}])[0]["answer"] for prompt in prompts]
    assert together == alone
    assert len(set(together)) > 1


def test_a_prompt_that_is_a_number_is_read_as_it_is_written(writer: Model) -> None:
    """This network writes the last byte again and again."""
    assert [write(writer, prompt, 3, temperature=0) for prompt in ("12.10", "3.0", "7.5")] == ["000", "000", "555"]


def test_translations_do_not_depend_on_what_is_translated_beside() -> None:
    model = Model(writing_model(True)[0], threads=1)
    texts = ["the cat", "the dog ran to the mat and sat on the cat", "mat", ""]
    together = [row["answer"] for row in model.predict([{"prompt": text} for text in texts])]
    assert together == [model.predict([{"prompt": text}])[0]["answer"] for text in texts]
    assert model.writer is not None
    tokens = model.writer.translate(np.array([[5, 6, 7]], np.int32))
    assert tokens.shape == (1, 12)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tokens": 0}, "--tokens"),
        ({"temperature": -1.0}, "--temperature"),
        ({"temperature": float("nan")}, "--temperature"),
        ({"top_p": 0.0}, "--top-p"),
        ({"top_p": 1.5}, "--top-p"),
        ({"seed": -1}, "--seed"),
        ({"prompt": "\udcff"}, "UTF-8"),
    ],
)
def test_what_cannot_be_written_is_told(wrong: dict[str, Any], said: str, writer: Model) -> None:
    with pytest.raises(InputError, match=said) as caught:
        write(writer, **wrong)
    assert caught.value.fix


def test_a_model_that_does_not_write_says_so() -> None:
    with pytest.raises(InputError, match="does not write"):
        write(load(KEPT / "v1-tiny.lamina"), "the cat")


class Echo:
    """Writes what it reads, as a writer of sealed models does."""

    def __init__(self, tokenizer: str, width: int) -> None:
        self.task, self.read = Translation("answer", tokenizer, width), list[int]()

    def outputs(self, encoded: np.ndarray) -> np.ndarray:
        self.read += (encoded > 0).sum(axis=1).tolist()
        return encoded.astype(np.float32)


def test_a_long_text_is_translated_in_parts_of_whole_sentences() -> None:
    tokens = trained(["the cat sat on the mat and the dog ran to the cat " * 5], 300)
    encoder, echo = Encoder("exact", 40, tokens, unknown=2, cut="nothing"), Echo(tokens, 40)
    texts = ["the cat sat. the mat! And 3.10 dogs ran?\n\n“Cats,” he said... Why? " * 9, "好。行。" * 20, "a cat", ""]
    answers, errors = translated(echo, encoder, texts)  # type: ignore[arg-type]
    assert answers.tolist() == [texts[0].strip(), *texts[1:]]
    assert not errors
    assert max(echo.read) <= 40
    assert len(echo.read) > 12


def test_a_sentence_that_is_too_long_is_an_error_of_its_row() -> None:
    model = Model(writing_model(True)[0], threads=1)
    long = "the cat. " + "the dog and " * 20 + "the cat"
    wrong, right, odd = model.predict([{"prompt": long}, {"prompt": "the cat"}, {"prompt": b"\xff"}])
    assert wrong["answer"] is None
    assert "a sentence of" in wrong["error"]
    assert "at most 16 are read" in wrong["error"]
    assert right["error"] is None
    assert right["answer"] is not None
    assert "UTF-8" in odd["error"]
    (encoder,) = (item.encoder for item in model.inputs.values())
    assert list(encoder.encode(np.array(["the cat", long], object)).errors) == [1]


def test_sentences_end_where_they_do_in_many_languages() -> None:
    text = 'He left, e.g. by train. "Why?" she asked... Nobody knew!  好。行。\nstill\n\nso'
    found = sentences(text)
    assert "".join(piece.text + piece.gap for piece in found) == text
    assert [piece.text for piece in found] == [
        "He left, e.g. by train.", '"Why?"', "she asked...", "Nobody knew!", "好。", "行。", "still", "so",
    ]  # fmt: skip
    assert sentences("") == []
    assert [piece.text for piece in sentences("3.5 is a number")] == ["3.5 is a number"]
