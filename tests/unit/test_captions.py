"""Captions: scores, tokens, batches, and a network whose sealed graphs write what it would."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from lamina.data.examples import Examples
from lamina.data.schema import Field
from lamina.errors import InputError
from lamina.evaluate import captions, translation
from lamina.learn.captioned import SOURCE, Captioned
from lamina.learn.loader import Loader
from lamina.learn.stream import NEXT, TEXT
from lamina.modalities import Feature
from lamina.modalities._files import objects
from lamina.modalities.image import Encoder
from lamina.model.export_writer import export_writer
from lamina.model.format import Sealed
from lamina.model.runtime import Model
from lamina.networks.assembly import build_body
from lamina.networks.writers import captioner
from lamina.plan import NetworkPlan
from lamina.tasks._written import BOUNDARY
from lamina.tasks.caption import Task

TEXTS = ["a red dog", "a blue cat runs", "the red cat"]


def test_cider_counts_rare_words_and_no_repetition() -> None:
    wanted = [["a red dog"], ["a blue cat"], ["a green bird"]]
    right = captions.cider([text for (text,) in wanted], wanted)
    # All n-grams up to three words are there; there is none of four.
    assert right == pytest.approx([7.5, 7.5, 7.5])
    common, rare = captions.cider(["a", "dog", ""], [wanted[0], wanted[0], wanted[0]])[:2]
    assert common == rare == 0
    everywhere, telling, nothing = (
        captions.cider([text, "a blue cat", "a green bird"], wanted)[0] for text in ("a", "dog", "")
    )
    # What every picture's caption has tells nothing of one.
    assert everywhere == nothing == 0 < telling
    twice = captions.cider(["a red dog dog dog dog", "a blue cat", "a green bird"], wanted)[0]
    assert twice < right[0]


def test_cider_by_hand() -> None:
    """Two pictures; of the first "dog" is found of "red dog": words weigh log 2 each."""
    found = captions.cider(["dog", "cat"], [["red dog"], ["cat"]])
    alike = (math.log(2) ** 2) / (math.log(2) * math.sqrt(2) * math.log(2))
    assert found[0] == pytest.approx(10 * alike / 4 * math.exp(-1 / (2 * 6.0**2)))


def test_of_several_references_the_best_counts() -> None:
    one, other = "the small cat sleeps on a mat", "a dog runs over the green field"
    for sums, score in ((translation.bleu_sums, translation.bleu), (translation.chrf_sums, translation.chrf)):
        alone, both = (float(score(sums([one], wanted).sum(axis=0))) for wanted in ([one], [[other, one]]))
        assert alone == both == pytest.approx(100)
        assert float(score(sums([one], [[other]]).sum(axis=0))) < 50
    assert np.array_equal(translation.bleu_sums([one], [other]), translation.bleu_sums([one], [[other]]))


def fitted(**options: object) -> Task:
    values = objects([*TEXTS * 20, None, "  "])
    return Task.fit(Field("text", "text", role="target"), lambda: [values], options)  # type: ignore[arg-type]


def test_captions_are_tokens_between_their_ends() -> None:
    task = fitted(vocabulary=300)
    found = task.encode(objects([" a red dog \n", None, "a red dog"]))
    assert found.array.dtype == np.int32
    assert found.array.shape == (3, task.width + 1)
    assert np.array_equal(found.array[0], found.array[2])
    length = int((found.array[0] > 0).sum())
    assert found.array[0, 0] == found.array[0, length - 1] == BOUNDARY
    assert task.decode(found.array[:1, 1:])[""][0] == "a red dog"
    assert list(found.errors) == [1]
    again = Task.restore(task.state())
    assert again == task


def test_a_caption_that_is_too_long_has_no_end() -> None:
    task = fitted(vocabulary=300, length=8)
    found = task.encode(objects(["a blue cat runs and a blue dog runs and a bird flies"])).array
    assert (found != 0).all()
    assert found[0, -1] != BOUNDARY


@pytest.mark.parametrize(
    ("options", "words"),
    [({"beams": 0}, "beams"), ({"length": 4}, "length"), ({"penalty": "much"}, "penalty"), ({"beam": 2}, "beams")],
)
def test_wrong_options_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        fitted(**options)
    assert words in f"{caught.value} {caught.value.fix}"


def test_without_captions_there_is_nothing_to_learn() -> None:
    with pytest.raises(InputError, match="not one caption"):
        Task.fit(Field("text", "text"), lambda: [objects([None, " "])], {})


def batches(padding: int = 0) -> Captioned:
    pictures = np.arange(5 * 2 * 2 * 1, dtype=np.uint8).reshape(5, 2, 2, 1)
    tokens = np.zeros((5, 6), np.int32)
    for row, ids in enumerate([[7], [8, 9], [5, 6, 7, 8], [], [9]]):
        tokens[row, : len(ids) + 2] = [BOUNDARY, *ids, BOUNDARY]
    loader = Loader(Examples({"p": pictures, "t": tokens}, 5), np.arange(5), ["p"], ["t"], 2, seed=3)
    return Captioned(loader, padding)


def test_every_token_is_told_after_those_before_it() -> None:
    for batch in batches().once():
        text, following = batch.inputs[TEXT], batch.targets[NEXT]
        assert text.shape == following.shape
        assert bool((text[:, 0] == BOUNDARY).all())
        assert torch.equal(text[:, 1:][following[:, 1:] != 0], following[:, :-1][following[:, 1:] != 0])
        assert torch.equal(text == 0, following == 0)
        assert bool((following != 0).any(dim=0).all())


def test_batches_are_the_same_from_any_start() -> None:
    source = batches()
    some = [batch for (_, batch), _ in zip(source.batches(), range(5), strict=False)]
    _, again = next(source.batches(3))
    assert torch.equal(again.rows, some[3].rows)
    assert torch.equal(again.inputs[SOURCE], some[3].inputs[SOURCE])


PICTURE = Feature("image", (12, 16, 3), "uint8", {"mean": [120.0] * 3, "std": [60.0] * 3})


def network(**options: object) -> captioner.Captioner:
    torch.manual_seed(0)
    body = build_body({"p": NetworkPlan("convolutional", ("p",), {"width": 8, "hidden": 16})}, {"p": PICTURE})
    sizes = {"width": 16, "depth": 2, "heads": 2, "dropout": 0.0, **options}
    return captioner.build(fitted(vocabulary=300).tokens.get_vocab_size(), 12, body, captioner.Options(**sizes)).eval()  # type: ignore[arg-type]


def test_step_by_step_it_tells_what_it_tells_at_once() -> None:
    told, pictures = network(), torch.randint(0, 256, (3, 12, 16, 3), dtype=torch.uint8)
    text = torch.randint(4, 200, (3, 5))
    with torch.no_grad():
        whole = told({SOURCE: pictures, TEXT: text})
        memory, cache, parts = told.read(pictures), torch.zeros(3, 4, 2, 0, 8), []
        for place in range(5):
            logits, cache = told.step(text[:, place : place + 1], cache, memory)
            parts.append(logits)
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-4)
    looks = told.attention({SOURCE: pictures, TEXT: text})
    assert looks.shape == (3, 5, *told.grid)
    assert torch.allclose(looks.sum(dim=(2, 3)), torch.ones(3, 5), atol=1e-5)


def test_what_it_writes_depends_on_the_picture_and_on_where_things_are() -> None:
    told = network()
    picture = torch.zeros(1, 12, 16, 3, dtype=torch.uint8)
    picture[:, :6] = 255
    text = torch.tensor([[BOUNDARY, 20]])
    with torch.no_grad():
        one, other = (told({SOURCE: shown, TEXT: text}) for shown in (picture, picture.flip(1)))
    assert not torch.allclose(one, other, atol=1e-4)


def sealed() -> tuple[Sealed, captioner.Captioner]:
    told, task = network(), fitted(vocabulary=300)
    task = Task("text", task.tokenizer, 12, 3)
    encoder = Encoder(12, 16, 3, "stretch", (120.0,) * 3, (60.0,) * 3, 0.0)
    first, second = export_writer(told, "image", (12, 16, 3))
    field = {"field": asdict(Field("p", "image")), "modality": "image", "state": encoder.state()}
    return Sealed(
        network=first,
        inputs={"p": "source"},
        outputs={"text": "memory"},
        encoders={"p": field},
        tasks={"text": {"task": "caption", "state": task.state()}},
        decoder=second,
    ), told


def test_the_sealed_graphs_write_as_the_network() -> None:
    content, told = sealed()
    model = Model(content, threads=1)
    assert model.writer is not None
    pictures = np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)
    tokens, _ = model.writer.greedy(pictures)
    for row, picture in enumerate(pictures):
        text = [BOUNDARY]
        for _ in range(12):
            inputs = {SOURCE: torch.from_numpy(picture[None]), TEXT: torch.tensor([text])}
            with torch.no_grad():
                text.append(int(told(inputs)[0, -1].argmax()))
            if text[-1] == BOUNDARY:
                break
        own = [token for token in tokens[row].tolist() if token]
        assert own == [token for token in text[1:] if token != BOUNDARY][: len(own)]
    together = [row["text"] for row in model.predict([{"p": picture} for picture in pictures])]
    assert together == [model.predict([{"p": picture}])[0]["text"] for picture in pictures]


def test_a_picture_that_cannot_be_read_is_one_error() -> None:
    model = Model(sealed()[0], threads=1)
    rows = model.predict([{"p": np.zeros((12, 16, 3), np.uint8)}, {"p": b"no picture"}, {"p": None}])
    assert [row["error"] is None for row in rows] == [True, False, False]


def test_a_writer_that_reads_a_text_is_not_one_for_pictures() -> None:
    content, _ = sealed()
    from small_models import writing_model

    other, _ = writing_model(True)
    for parts in (
        {"decoder": other.decoder},
        {"network": other.network},
        {"encoders": {"p": {**other.encoders["prompt"], "field": asdict(Field("p", "text"))}}},
    ):
        with pytest.raises(InputError) as caught:
            Model(Sealed(**{**vars(content), **parts}), threads=1)
        assert caught.value.fix


def test_a_network_without_places_is_refused() -> None:
    numbers = Feature("numbers", (3,), "float32", {})
    body = build_body({"p": NetworkPlan("mlp", ("p",), {})}, {"p": numbers})
    with pytest.raises(InputError, match="what is where"):
        captioner.build(300, 12, body, captioner.Options())
