"""The nearest rows, near-duplicates, the graph and the kept index: against comparison of everything, and by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lamina.errors import InputError
from lamina.model import hnsw, kept, nearest, search
from lamina.model.kept import open_index
from lamina.model.search import Index

Array = np.ndarray[Any, Any]


def unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def clustered(rows: int, size: int = 24, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    centers = random.normal(size=(rows // 20, size))
    return unit(centers[random.integers(0, len(centers), rows)] + 0.5 * random.normal(size=(rows, size)))


def index_of(vectors: Array) -> Index:
    return Index(vectors, np.arange(len(vectors)), tuple(f"{row}.png" for row in range(len(vectors))), {})


@pytest.mark.parametrize("blocks", [(256, 16_384), (7, 31)])
@pytest.mark.parametrize("top", [1, 5, 40, 1000])
def test_the_nearest_are_those_of_a_full_sort(
    top: int, blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "QUERIES", blocks[0])
    monkeypatch.setattr(nearest, "ROWS", blocks[1])
    vectors = clustered(400)
    queries = clustered(30, seed=1)
    rows, likeness = nearest.nearest(queries, vectors, top)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :top]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(likeness, np.take_along_axis(exact, order, axis=1), atol=1e-12)


def test_of_equals_the_earlier_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "ROWS", 3)
    vectors = np.zeros((10, 2), np.float32)
    vectors[:, 0] = 1
    vectors[4] = (0, 1)
    rows, likeness = nearest.nearest(vectors[:2], vectors, 4)
    assert rows.tolist() == [[0, 1, 2, 3]] * 2
    assert likeness.tolist() == [[1.0] * 4] * 2
    assert nearest.nearest(vectors[:0], vectors, 4)[0].shape == (0, 4)


@pytest.mark.parametrize("blocks", [(256, 16_384), (2, 3)])
def test_groups_of_near_duplicates_by_hand(blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Angles in degrees; 0.98 is 11.5 degrees: 0, 10 and 20 are a chain, 90 and 95 a pair, 200 is alone."""
    monkeypatch.setattr(nearest, "QUERIES", blocks[0])
    monkeypatch.setattr(nearest, "ROWS", blocks[1])
    angles = np.radians([90, 0, 200, 20, 95, 10])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    groups = index_of(vectors).duplicates(0.98)
    assert [[item.row for item in group] for group in groups] == [[1, 3, 5], [0, 4]]
    assert [round(item.likeness, 4) for item in groups[0]] == [1.0, 0.9397, 0.9848]
    assert groups[1][1].name == "4.png"
    assert index_of(vectors).duplicates(0.999) == []
    assert len(index_of(vectors).duplicates(0.98)) == len(index_of(vectors[::-1]).duplicates(0.98))


def test_the_same_vectors_are_duplicates_at_the_highest_likeness() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(60, 33)))
    groups = index_of(np.concatenate([vectors, vectors])).duplicates(1.0)
    assert [[item.row for item in group] for group in groups] == [[row, row + 60] for row in range(60)]


def test_where_all_is_alike_there_is_one_group() -> None:
    vectors = np.tile(unit(np.ones((1, 8))), (3000, 1))
    (group,) = index_of(vectors).duplicates()
    assert len(group) == 3000


def components(likeness: Array, least: float) -> list[list[int]]:
    """Groups by walking from row to row."""
    left, found = set(range(len(likeness))), []
    while left:
        waiting, group = [min(left)], set[int]()
        while waiting:
            row = waiting.pop()
            if row in left:
                left.remove(row)
                group.add(row)
                waiting += np.flatnonzero(likeness[row] >= least).tolist()
        if len(group) > 1:
            found.append(sorted(group))
    return sorted(found, key=lambda group: (-len(group), group[0]))


@pytest.mark.parametrize("least", [0.7, 0.8, 0.9])
def test_groups_are_the_connected_rows(least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERIES", 50)
    monkeypatch.setattr(nearest, "ROWS", 90)
    vectors = clustered(300, 6)
    groups = [[item.row for item in group] for group in index_of(vectors).duplicates(least)]
    assert groups == components(vectors.astype(np.float64) @ vectors.T, least)
    assert groups


def test_the_graph_finds_nearly_all_and_the_same_vectors_give_the_same_graph() -> None:
    vectors = clustered(3000)
    graph = hnsw.build(vectors)
    rows, likeness = graph.nearest(vectors[:200], 10)
    exact, exact_likeness = nearest.nearest(vectors[:200], vectors, 10)
    recall = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(rows, exact, strict=True)])
    assert recall > 0.97
    assert graph.recall > 0.97
    same = rows[:, 0] == exact[:, 0]
    np.testing.assert_array_equal(likeness[same, 0], exact_likeness[same, 0])
    assert np.all(np.diff(likeness, axis=1) <= 0)
    assert graph.nearest(vectors[:1], 3)[0].tolist() == exact[:1, :3].tolist()
    assert hnsw.build(vectors).to_bytes() == graph.to_bytes()


def test_a_graph_that_misses_much_says_so() -> None:
    vectors = clustered(500)
    graph = hnsw.build(vectors)
    other = hnsw.Graph(np.roll(vectors, 250, axis=0), graph._built, 1.0)
    assert hnsw.measured(other) < 0.5


def test_a_graph_is_read_only_for_its_vectors() -> None:
    vectors = clustered(200)
    graph = hnsw.build(vectors)
    again = hnsw.read(graph.to_bytes(), vectors, graph.recall)
    assert again is not None
    np.testing.assert_array_equal(again.nearest(vectors[:9], 5)[0], graph.nearest(vectors[:9], 5)[0])
    assert hnsw.read(graph.to_bytes(), vectors[:100], 1.0) is None


def test_the_graph_groups_near_duplicates_as_comparing_all_does() -> None:
    random = np.random.default_rng(0)
    some = unit(random.normal(size=(300, 16)))
    vectors = np.concatenate([some, unit(some[:40] + 0.001 * random.normal(size=(40, 16)))])
    graph = hnsw.build(vectors)
    np.testing.assert_array_equal(graph.alike(0.98), nearest.alike(vectors, 0.98))


class Vectors:
    """Stands for a sealed model whose one column `x` holds lists of numbers that are vectors already."""

    def __init__(self, size: int = 4, network: bytes = b"network") -> None:
        from lamina.tasks.embed import Task

        self.tasks = {"embedding": Task("embedding", size)}
        self.sealed = SimpleNamespace(network=network, encoders={}, tasks={})
        self.inputs = {"x": SimpleNamespace(field=SimpleNamespace(columns=("x",), name="x", modality="vector"))}
        self.columns = ("x",)
        self.where = "a test"
        self.encoded = 0

    def fitting(self, batch: int) -> int:
        return batch

    def encode(self, values: Mapping[str, Array], root: Path | None) -> tuple[dict[str, Array], dict[int, str]]:
        self.encoded += len(values["x"])
        array = np.zeros((len(values["x"]), self.tasks["embedding"].size), np.float32)
        errors = {}
        for row, value in enumerate(values["x"]):
            if value is None:
                errors[row] = "missing"
            else:
                array[row] = unit(np.array([json.loads(value)]))[0]
        return {"x": array}, errors

    def outputs(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {"embedding": arrays["x"]}


def table(folder: Path, rows: int = 30) -> Path:
    random = np.random.default_rng(0)
    path = folder / "rows.tsv"
    lines = [str(random.normal(size=4).round(3).tolist()) for _ in range(rows)]
    path.write_text(
        "\n".join(["id\tx", *(f"{number}\t{line}" for number, line in enumerate(lines)), f"{rows}\t"]) + "\n"
    )
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(path: Path, model: Vectors | None = None, folder: Path | None = None) -> tuple[kept.Kept, int, list[str]]:
    """(What is opened, how many rows were encoded for it, what was told)."""
    model, told = model or Vectors(), list[str]()
    found = open_index(model, str(path), folder, told.append)  # type: ignore[arg-type]
    return found, model.encoded, told


def test_rows_are_embedded_once(tmp_path: Path, cache: Path) -> None:
    path = table(tmp_path)
    first, encoded, told = opened(path)
    assert (encoded, first.reused, len(first.index.rows)) == (31, False, 30)
    assert told == ["the rows are embedded, once"]
    again, encoded, told = opened(path)
    assert (encoded, again.reused, told) == (0, True, [])
    np.testing.assert_array_equal(again.index.vectors, first.index.vectors)
    np.testing.assert_array_equal(again.index.rows, first.index.rows)
    assert again.index.names == first.index.names
    assert again.index.errors == first.index.errors == {30: "missing"}


def test_another_model_and_changed_data_are_embedded_again_and_it_is_said(tmp_path: Path, cache: Path) -> None:
    path, folder = table(tmp_path), tmp_path / "index"
    opened(path, folder=folder)
    before = sorted(item.name for item in folder.iterdir())
    found, encoded, told = opened(path, Vectors(network=b"another"), folder)
    assert (encoded, found.reason) == (31, "the index was made by another model")
    assert found.reason in told[0]
    assert opened(path, Vectors(network=b"another"), folder)[0].reused
    path.write_text(path.read_text().replace("id\tx", "id\tx\n99\t[1, 2, 3, 4]"))
    found, encoded, _ = opened(path, Vectors(network=b"another"), folder)
    assert (encoded, found.reason) == (32, "the data has changed")
    after = sorted(item.name for item in folder.iterdir())
    assert len(after) == len(before) == 3, "the old files are gone"
    assert after != before
    path.write_text(path.read_text() + "100\t[1, 2, 3, 5]\n")
    assert opened(path)[1] == 33
    assert opened(path)[1] == 0


def test_pictures_that_change_while_their_table_does_not(tmp_path: Path) -> None:
    model: Any = Vectors()
    model.inputs["x"].field.modality = "image"
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "rows.csv").write_text("id,x\n1,a.png\n2,missing.png\n")
    before = kept.data_digest(model, str(tmp_path / "rows.csv"))
    assert kept.data_digest(model, str(tmp_path / "rows.csv")) == before
    (tmp_path / "a.png").write_bytes(b"another")
    assert kept.data_digest(model, str(tmp_path / "rows.csv")) != before


@pytest.mark.parametrize("name", ["complete.json", "vectors.f32", "rows.json"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone", "nonsense"])
def test_a_damaged_index_is_built_again(name: str, how: str, tmp_path: Path, cache: Path) -> None:
    path, folder = table(tmp_path), tmp_path / "index"
    first, _, _ = opened(path, folder=folder)
    expected = np.array(first.index.vectors)
    (file,) = folder.glob(f"{name}*")
    content = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
        if name == "complete.json":
            for rest in folder.iterdir():
                rest.unlink()
    else:
        content[len(content) // 2] ^= 255
        file.write_bytes({"cut": content[:-5], "changed": content, "nonsense": b"[1]"}[how])
    found, encoded, _ = opened(path, folder=folder)
    assert (encoded, found.reused) == (31, False)
    assert found.reason == ("" if (name, how) == ("complete.json", "gone") else "the kept index is damaged")
    np.testing.assert_array_equal(found.index.vectors, expected)
    assert opened(path, folder=folder)[0].reused


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"vectors.f32": "../../etc/passwd", "rows.json": "0" * 32}},
        {"files": "none"},
        {"rows": 10**12},
        {"rows": -1},
        {"size": 0},
        {"rows": "many"},
    ],
)
def test_a_hostile_description_only_leads_to_a_new_index(change: Any, tmp_path: Path, cache: Path) -> None:
    path, folder = table(tmp_path), tmp_path / "index"
    opened(path, folder=folder)
    description = json.loads((folder / "complete.json").read_text())
    (folder / "complete.json").write_text(json.dumps({**description, **change}))
    assert opened(path, folder=folder)[0].reason == "the kept index is damaged"


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="no index"):
        opened(table(tmp_path), folder=tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_cache_that_cannot_be_written_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "file"))
    found, _, _ = opened(table(tmp_path))
    assert found.folder is None
    assert len(found.index.search(found.index.vectors[:1], 3)[0]) == 3


@pytest.fixture
def small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs from 10 rows and for one comparison on."""
    for name in ("GRAPH_FROM", "WORTH_READING", "WORTH_BUILDING"):
        monkeypatch.setattr(hnsw, name, 10 if name == "GRAPH_FROM" else 1)


def test_a_graph_is_built_once_and_kept(
    tmp_path: Path, cache: Path, small_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path)
    first = opened(path)[0].for_queries(3)
    assert first.index.graph is not None
    built: list[int] = []
    build = hnsw.build
    monkeypatch.setattr(hnsw, "build", lambda vectors: built.append(1) or build(vectors))
    again = opened(path)[0].for_queries(3)
    assert again.index.graph is not None
    assert (again.reused, built) == (True, [])
    assert again.index.graph.recall == first.index.graph.recall
    assert again.index.search(first.index.vectors[:4]) == first.index.search(first.index.vectors[:4])
    assert [item.likeness for item in again.index.search(first.index.vectors[:1], 1)[0]] == pytest.approx([1.0])


@pytest.mark.parametrize("how", ["changed", "forged", "another secret"])
def test_a_graph_that_this_user_did_not_write_is_never_read(
    how: str, tmp_path: Path, cache: Path, small_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = table(tmp_path), tmp_path / "index"
    opened(path, folder=folder)[0].for_queries(3)
    (file,) = folder.glob("graph.hnsw.*")
    if how == "another secret":
        (cache / "secret").write_bytes(os.urandom(32))
    else:
        content = file.read_bytes()[:-1] + b"?"
        file.write_bytes(content)
        if how == "forged":
            description = json.loads((folder / "complete.json").read_text())
            digest = kept._digest(description["files"]["vectors.f32"].encode(), content)
            file.rename(folder / f"graph.hnsw.{digest}")
            description["graph"]["digest"] = digest
            (folder / "complete.json").write_text(json.dumps(description))
    read: list[int] = []
    monkeypatch.setattr(hnsw, "read", lambda *parts: read.append(1))
    found = opened(path, folder=folder)[0]
    assert found.reused, "the vectors are still good"
    assert found.for_queries(3).index.graph is not None
    assert read == []
    monkeypatch.undo()
    assert len(list(folder.glob("graph.hnsw.*"))) == 1


def test_only_this_user_can_read_the_secret(cache: Path) -> None:
    secret = kept._secret()
    assert len(secret) == 32
    assert kept._secret() == secret
    if os.name == "posix":
        assert (cache / "secret").stat().st_mode & 0o077 == 0
    (cache / "secret").write_bytes(b"short")
    assert len(kept._secret()) == 32


def test_a_graph_only_where_it_pays(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hnsw, "GRAPH_FROM", 10)
    monkeypatch.setattr(hnsw, "WORTH_READING", 60)
    monkeypatch.setattr(hnsw, "WORTH_BUILDING", 300)
    path = table(tmp_path)
    assert opened(path)[0].for_queries(1).index.graph is None
    assert opened(path)[0].for_queries(2).index.graph is None, "reading would pay, but none is kept"
    assert opened(path)[0].for_duplicates().index.graph is None, "30 rows are fewer than pays for near-duplicates"
    monkeypatch.setattr(hnsw, "DUPLICATES_FROM", 30)
    assert opened(path)[0].for_duplicates().index.graph is not None
    assert opened(path)[0].for_queries(2).index.graph is not None, "one is kept now"
    monkeypatch.setattr(hnsw, "GRAPH_FROM", 31)
    assert opened(path)[0].for_queries(100).index.graph is None


def test_without_the_library_all_is_compared_and_said(
    tmp_path: Path, cache: Path, small_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hnsw, "installed", lambda: False)
    found = opened(table(tmp_path))[0].for_queries(3)
    assert found.index.graph is None
    assert "lamina[search]" in found.graph_reason
    assert len(found.index.search(found.index.vectors[:2], 5)) == 2


def test_rows_in_memory_are_not_kept(cache: Path) -> None:
    model: Any = Vectors()
    found = open_index(model, [{"x": "[1, 0, 0, 0]"}, {"x": "[0, 1, 0, 0]"}])
    assert (found.folder, found.reused, len(found.index.rows)) == (None, False, 2)
    assert not cache.exists()
    assert search.index(model, [{"x": "[1, 0, 0, 0]"}]).search(found.index.vectors, 1)[1][0].likeness == 0


@pytest.mark.parametrize(
    ("modality", "value", "name"),
    [
        ("image", "birds/owl.png", "birds/owl.png"),
        ("text", "a  line\nand more", "a line and more…"),
        ("text", "word " * 100, " ".join(["word"] * 20) + "…"),
        ("image", b"bytes", ""),
        ("vector", "[1, 0, 0, 0]", ""),
    ],
)
def test_rows_are_called_by_their_file_or_text(modality: str, value: Any, name: str) -> None:
    model: Any = Vectors()
    model.inputs["x"].field.modality = modality
    model.encode = lambda values, root: ({"x": np.eye(4, dtype=np.float32)[: len(values["x"])]}, {})
    assert search.index(model, [{"x": value}]).names == (name,)


@pytest.mark.parametrize(
    ("given", "modality", "is_value"),
    [
        ("a fine day", "text", True),
        ("a fine day", "image", False),
        ('{"x": "a"}', "text", False),
        ("photo.png", "text", False),
        ("https://example.org/a", "text", False),
        (".", "text", False),
        ("long " * 2000, "text", True),
    ],
)
def test_words_are_a_value_and_names_of_files_are_not(given: str, modality: str, is_value: bool) -> None:
    from lamina.model.rows import as_data

    model: Any = Vectors()
    model.inputs["x"].field.modality = modality
    assert as_data(given, model) == ([{"x": given}] if is_value else given)
