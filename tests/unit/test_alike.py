"""Fields encoded as an earlier run did, whose weights are given."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from lamina import registry
from lamina.data.schema import Field
from lamina.data.tables import open_table
from lamina.errors import InputError
from lamina.modalities import Encoder
from lamina.modalities._canonical import object_array
from lamina.narrate import Silent
from lamina.plan import Plan, to_toml
from lamina.steps.alike import LIKE, encoded_alike, encoder_of
from lamina.steps.request import Request
from lamina.steps.understand import Understood

WORDS = [f"the {word} film was {word} again" for word in ("good", "bad", "long", "loud")] * 10


def column(name: str, modality: str, **options: Any) -> Field:
    return Field(name, modality, options=options)


def fitted(field: Field, values: list[Any]) -> Encoder:
    kind = registry.module("modalities", field.modality).Encoder
    encoder: Encoder = kind.fit(lambda: iter([object_array(values)]), dict(field.options))
    return encoder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An earlier run that has read words, ages and towns."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    fields = (column("words", "text"), column("age", "number"), column("town", "category"))
    values = {"words": WORDS, "age": [float(age) for age in range(40)], "town": ["Rome", "Oslo"] * 20}
    states = {field.name: fitted(field, values[field.name]).state() for field in fields}
    (folder / "prepared.json").write_text(json.dumps({"encoders": states}))
    (folder / "plan.toml").write_text(to_toml(Plan(schema=fields)))
    return folder


def understood(tmp_path: Path, *fields: Field, towns: tuple[str, ...] = ("Rome", "Oslo")) -> Understood:
    file = tmp_path / "few.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["words", "age", "town"])
        writer.writerows((text, row, towns[row % len(towns)]) for row, text in enumerate(WORDS))
    return Understood(open_table(str(file), tmp_path / "cache"), None, Plan(schema=fields), {})


def alike(found: Understood) -> list[str]:
    return [field.name for field in found.plan.schema if LIKE in field.options]


FIELDS = (column("words", "text"), column("age", "number"), column("town", "category"))


@pytest.mark.parametrize(
    ("weights", "fields", "towns", "expected"),
    [
        ("earlier", FIELDS, ("Rome", "Oslo"), ["words", "age", "town"]),
        ("words=earlier", FIELDS, ("Rome", "Oslo"), ["words"]),
        ("earlier", FIELDS, ("Bonn", "Lima"), ["words", "age"]),
        ("earlier", (column("words", "text", vocabulary=50), FIELDS[1]), ("Rome",), ["age"]),
        ("earlier", (column("age", "category"), column("words", "text")), ("Rome",), ["words"]),
        ("earlier", (Field("words", "text", role="target"), FIELDS[1]), ("Rome",), ["age"]),
    ],
    ids=["all", "one column", "unknown towns", "other options", "other modality", "a target"],
)
def test_what_an_earlier_run_has_read_is_read_as_it_did(
    run: Path, tmp_path: Path, weights: str, fields: tuple[Field, ...], towns: tuple[str, ...], expected: list[str]
) -> None:
    request = Request("few.csv", weights=(weights,), base=run.parent)
    found = encoded_alike(request, understood(tmp_path, *fields, towns=towns), Silent())
    assert alike(found) == expected
    states = json.loads((run / "prepared.json").read_text())["encoders"]
    for name in expected:
        encoder = encoder_of(found.schema[name])
        assert encoder is not None
        assert json.loads(json.dumps(encoder.state())) == states[name]


def test_other_weights_change_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"")
    for weights in ((), ("state.safetensors",)):
        before = understood(tmp_path, *FIELDS)
        after = encoded_alike(Request("few.csv", weights=weights, base=tmp_path), before, Silent())
        assert after.plan == before.plan
    assert encoder_of(FIELDS[0]) is None


def test_what_is_no_such_run_is_told(run: Path) -> None:
    with pytest.raises(InputError, match="there is none at nowhere"):
        encoder_of(column("words", "text", like="nowhere"))
    with pytest.raises(InputError, match="it reads words, age, town"):
        encoder_of(column("letters", "text", like=str(run)))
    with pytest.raises(InputError, match="not one of image values"):
        encoder_of(column("words", "image", like=str(run)))
    (run / "prepared.json").write_text("{")
    with pytest.raises(InputError, match="json cannot be read"):
        encoder_of(column("words", "text", like=str(run)))
