"""The contract of a modality, for every file in `lamina/modalities`."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest

from lamina import registry
from lamina.errors import InputError
from lamina.modalities import Encoded, FeatureKind, Recognition
from lamina.modalities._canonical import object_array

NAMES = tuple(
    name for name in registry.names("modalities") if not hasattr(registry.module("modalities", name), "TARGET_ONLY")
)
"""Those that can be inputs; the others have tests of their own."""


def number_samples(folder: Path) -> np.ndarray[Any, Any]:
    return object_array(["1.5", "1,200", " 3 ", None, "-7", "$12", "1e3", "2.25", "NA", "8", "0", "6.5"])


def category_samples(folder: Path) -> np.ndarray[Any, Any]:
    return object_array(["red", "green", "red", None, " red ", "blue", "green", "", "red", "green", "blue", "red"])


def set_samples(folder: Path) -> np.ndarray[Any, Any]:
    return object_array(["a|b", "b", "a|c", None, "c|b|a", "a", "a | b", "c", "b|c", "a", "b", "a|b"])


def time_samples(folder: Path) -> np.ndarray[Any, Any]:
    days = ["2020-01-31", "2020-02-01 13:45", "2021-07-09T08:00:30", None, "2019-12-25", "2020-05-05"]
    return object_array([*days, "", "2020-06-01", "2020-06-02", "2020-06-03", "2020-06-04", "2020-06-05"])


def series_samples(folder: Path) -> np.ndarray[Any, Any]:
    waves = [[math.sin(step * pace / 5) for step in range(8 + pace % 3)] for pace in range(1, 11)]
    return object_array([*waves, json.dumps(waves[2]), None])


def text_samples(folder: Path) -> np.ndarray[Any, Any]:
    subjects = ("The quick brown fox", "A slow green turtle", "My neighbor's old dog")
    endings = (
        "jumps over the lazy cat today",
        "walks home in heavy rain",
        "sleeps on the warm stones",
        "sings at night",
    )
    return object_array([f"{subject} {ending}." for subject in subjects for ending in endings])


def image_samples(folder: Path) -> np.ndarray[Any, Any]:
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    paths = [folder / f"picture{number}.png" for number in range(12)]
    for path in paths:
        image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)
    return object_array(map(str, paths))


def audio_samples(folder: Path) -> np.ndarray[Any, Any]:
    soundfile = pytest.importorskip("soundfile")
    paths = [folder / f"sound{number}.wav" for number in range(12)]
    for number, path in enumerate(paths):
        length = 4000 + 200 * number
        soundfile.write(path, 0.3 * np.sin(np.arange(length) * (0.05 + number / 50)), 8000)
    return object_array(map(str, paths))


def vector_samples(folder: Path) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    pairs = [random.normal((5, -300), (1, 80)) for _ in range(8)]
    first, *others = (pair.tolist() for pair in pairs)
    return object_array([*others, pairs[0], tuple(first), json.dumps(first), None, [0.1, 2]])


def frames_samples(folder: Path) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    stacks = [random.integers(0, 256, (1 + number % 3, 12, 10, 3), dtype=np.uint8) for number in range(11)]
    return object_array([*stacks, stacks[0].tolist()])


def items_samples(folder: Path) -> np.ndarray[Any, Any]:
    baskets = [["tea", "milk", "tea"], ["milk", "milk"], ["bread"], ["tea", "bread", "tea", "milk"], ["bread", "bread"]]
    return object_array([*baskets, json.dumps(baskets[0]), *baskets[::-1], None])


def window_samples(folder: Path) -> np.ndarray[Any, Any]:
    tables: list[Any] = []
    for number in range(10):
        days = [f"2024-{1 + number % 3:02d}-{day:02d}" for day in range(1, 15 + number)]
        sold = [round(20 + number + 5 * math.sin(place / 2), 2) for place in range(len(days))]
        tables.append({"day": days, "sold": sold})
    tables[3]["sold"][4] = None
    return object_array([*tables, json.dumps(tables[3]), None])


SAMPLES: dict[str, Callable[[Path], np.ndarray[Any, Any]]] = {
    "number": number_samples,
    "category": category_samples,
    "set": set_samples,
    "time": time_samples,
    "series": series_samples,
    "text": text_samples,
    "image": image_samples,
    "audio": audio_samples,
    "vector": vector_samples,
    "frames": frames_samples,
    "items": items_samples,
    "window": window_samples,
}
"""Twelve values of each modality, some missing where the modality has a spelling for that."""

JUNK: tuple[Any, ...] = (
    None,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "\x00",
    "\ud800",
    "nonsense",
    "[",
    "[1, [2]]",
    "🙂" * 300,
    "99999999999999999999",
    "../../etc/passwd",
    "31/02/2020",
    b"",
    b"\xff\x00",
    True,
    0,
    -1,
    10**400,
    1e308,
    5e-324,
    [],
    [1, 2, "x"],
    [[1, 2], [3]],
    [None, None, None],
    {"a": 1},
    np.float32(0.1),
    np.datetime64("2020-01-01"),
    np.datetime64("NaT"),
    np.timedelta64(3, "D"),
    np.arange(3.0),
    np.zeros((2, 2, 2)),
)


@dataclass(frozen=True)
class Case:
    module: ModuleType
    values: np.ndarray[Any, Any]
    encoder: Any


def cut(values: np.ndarray[Any, Any], size: int) -> Callable[[], list[np.ndarray[Any, Any]]]:
    return lambda: [values[start : start + size] for start in range(0, len(values), size)]


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name = request.param
    assert name in SAMPLES, f"write samples for the new modality {name!r} in SAMPLES"
    module = registry.module("modalities", name)
    values = SAMPLES[name](tmp_path_factory.mktemp(name))
    return Case(module, values, module.Encoder.fit(cut(values, 5), {}))


def same(first: Encoded, second: Encoded) -> None:
    assert first.array.dtype == second.array.dtype
    assert first.array.tobytes() == second.array.tobytes()
    assert dict(first.errors) == dict(second.errors)


def whole(case: Case, encoded: Encoded, rows: int) -> None:
    feature = case.encoder.feature
    assert encoded.array.shape == (rows, *feature.shape)
    assert encoded.array.dtype == np.dtype(feature.dtype)
    if encoded.array.dtype.kind == "f":
        assert np.isfinite(encoded.array).all()
    elif feature.size and rows:
        assert encoded.array.min() >= 0
        assert encoded.array.max() < feature.size
    assert all(0 <= row < rows and isinstance(reason, str) and reason for row, reason in encoded.errors.items())


def test_every_modality_has_samples() -> None:
    assert set(NAMES) <= set(SAMPLES)


def test_no_modality_imports_what_the_sealed_model_lacks() -> None:
    code = (
        "import sys; from lamina import registry\n"
        "for name in registry.names('modalities'): registry.module('modalities', name)\n"
        "heavy = 'torch polars pandas pyarrow sklearn scipy PIL soundfile tokenizers'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_itself(case: Case) -> None:
    assert case.module.__name__.endswith(f".{case.encoder.modality}")
    assert type(case.encoder).__dataclass_params__.frozen


def test_recognises_its_own_samples(case: Case) -> None:
    found = case.module.recognise(case.values, "column")
    assert isinstance(found, Recognition)
    assert 0.5 <= found.confidence <= 1
    assert found.reason


def test_recognises_nothing_in_missing_values(case: Case) -> None:
    assert case.module.recognise(object_array([None] * 6), "column") is None


def test_wins_on_its_own_samples(case: Case) -> None:
    """No other modality is as sure of these values."""
    sure = {}
    for name in NAMES:
        found = registry.module("modalities", name).recognise(case.values, "column")
        if found is not None:
            sure[name] = found.confidence
    assert max(sure, key=lambda name: sure[name]) == case.encoder.modality, sure


def test_description_is_json(case: Case) -> None:
    summary = case.module.describe(case.values)
    assert summary
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    json.dumps(case.module.describe(case.values[:0]), allow_nan=False)


def test_feature_is_well_formed(case: Case) -> None:
    feature = case.encoder.feature
    assert feature.kind in get_args(FeatureKind)
    assert all(isinstance(size, int) and size > 0 for size in feature.shape)
    json.dumps(dict(feature.details), allow_nan=False)
    axes = {"numbers": 1, "category": 0, "tokens": 1, "image": 3, "spectrogram": 2, "series": 2}
    kinds = {"category": "int32", "tokens": "int32", "image": "uint8", "spectrogram": "float16"}
    assert len(feature.shape) == axes[feature.kind]
    assert feature.dtype == kinds.get(feature.kind, "float32")


def test_encodes_whole_arrays(case: Case) -> None:
    whole(case, case.encoder.encode(case.values), len(case.values))


def test_encodes_no_rows(case: Case) -> None:
    whole(case, case.encoder.encode(object_array([])), 0)


def test_state_restores_bit_for_bit(case: Case) -> None:
    restored = type(case.encoder).restore(json.loads(json.dumps(case.encoder.state(), allow_nan=False)))
    assert restored.feature == case.encoder.feature
    same(restored.encode(case.values), case.encoder.encode(case.values))
    same(restored.encode(object_array(JUNK)), case.encoder.encode(object_array(JUNK)))
    assert restored.state() == case.encoder.state()


def test_fitting_does_not_depend_on_chunks(case: Case) -> None:
    for size in (1, 12):
        assert case.module.Encoder.fit(cut(case.values, size), {}).state() == case.encoder.state()


def test_encoding_does_not_depend_on_the_batch(case: Case) -> None:
    values = object_array([*case.values.tolist(), *JUNK])
    together = case.encoder.encode(values)
    for row in range(len(values)):
        alone = case.encoder.encode(values[row : row + 1])
        assert alone.array[0].tobytes() == together.array[row].tobytes(), values[row]
        assert alone.errors.get(0) == together.errors.get(row), values[row]


def test_no_value_raises(case: Case) -> None:
    whole(case, case.encoder.encode(object_array(JUNK)), len(JUNK))
    for value in JUNK:
        whole(case, case.encoder.encode(object_array([value])), 1)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(3),
        np.array([0.5, np.nan]),
        np.array([True, False]),
        np.array(["2020-01-01", "NaT"], dtype="datetime64[us]"),
        np.array(["x", "y"]),
    ],
    ids=["int", "float", "bool", "time", "text"],
)
def test_no_dtype_raises(case: Case, values: np.ndarray[Any, Any]) -> None:
    whole(case, case.encoder.encode(values), len(values))


def test_a_missing_value_is_told_from_the_rest_or_is_an_error(case: Case) -> None:
    """A row with an error holds the encoding of a missing value."""
    missing = case.encoder.encode(object_array([None]))
    encoded = case.encoder.encode(object_array(JUNK))
    for row in encoded.errors:
        assert encoded.array[row].tobytes() == missing.array[0].tobytes(), JUNK[row]


@pytest.mark.parametrize("values", [[], [None, None, None]], ids=["empty", "missing"])
def test_fitting_on_nothing_names_the_fix(case: Case, values: list[None]) -> None:
    with pytest.raises(InputError) as caught:
        case.module.Encoder.fit(lambda: [object_array(values)], {})
    assert "ignore" in caught.value.fix


def test_unknown_option_names_the_known_ones(case: Case) -> None:
    with pytest.raises(InputError, match="no_such_option") as caught:
        case.module.Encoder.fit(cut(case.values, 5), {"no_such_option": 1})
    assert "Known" in caught.value.fix


def test_decodes_every_row(case: Case) -> None:
    encoded = case.encoder.encode(case.values)
    assert len(case.encoder.decode(encoded.array)) == len(case.values)
    assert len(case.encoder.decode(encoded.array[:0])) == 0


def test_decoding_and_encoding_again_changes_nothing(case: Case) -> None:
    if case.encoder.feature.kind in ("spectrogram", "tokens"):
        pytest.skip("sound is not rebuilt from its spectrogram; text comes back without its surrounding space")
    encoded = case.encoder.encode(case.values)
    kept = [row for row in range(len(case.values)) if row not in encoded.errors]
    again = case.encoder.encode(case.encoder.decode(encoded.array[kept]))
    assert not again.errors
    np.testing.assert_allclose(again.array.astype(np.float64), encoded.array[kept].astype(np.float64), atol=2e-4)


def test_values_stay_as_they_were(case: Case) -> None:
    before = list(case.values)
    case.encoder.encode(case.values)
    case.module.recognise(case.values, "column")
    case.module.describe(case.values)
    assert all(first is second for first, second in zip(before, case.values, strict=True))


def test_the_media_libraries_are_here() -> None:
    """Without them the suite would skip image and audio unnoticed."""
    assert importlib.util.find_spec("PIL")
    assert importlib.util.find_spec("soundfile")
