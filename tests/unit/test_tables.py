"""Tables: random access equals the stream, places, fingerprints, the cache, concatenation, flat memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lamina.data.content import under
from lamina.data.readers import collect, source, store
from lamina.data.tables import Table, concatenate, open_table, read_chunks
from lamina.errors import InputError


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """10,000 rows in several pieces."""
    folder = tmp_path_factory.mktemp("table")
    path = folder / "numbers.csv"
    path.write_text(
        "n,text,half\n" + "".join(f'{n},"line {n}\nmore",{n / 2 if n % 3 else ""}\n' for n in range(10_000))
    )
    return open_table(path, folder / "cache")


def test_all_rows_stream_in_order(table: Table) -> None:
    assert len(table) == 10_000
    seen: list[str] = []
    for rows, values in table.chunks(size=700):
        assert rows.tolist() == list(range(len(seen), len(seen) + len(rows)))
        assert list(values) == ["n", "text", "half"]
        seen += values["n"].tolist()
    assert seen == [str(n) for n in range(10_000)]


@pytest.mark.parametrize("few", [1, store._FEW])
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.integers(0, 9_999), max_size=40), size=st.integers(1, 50))
@example(rows=[*range(4_000, 4_200), 4_199, 4_198, 7], size=50)
def test_any_rows_in_any_order(table: Table, few: int, rows: list[int], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_FEW", few)
        found = table.take(rows, ["half", "n"])
        streamed = [
            (row, value)
            for numbers, values in table.chunks(np.array(rows, dtype=np.int64), ["n"], size)
            for row, value in zip(numbers.tolist(), values["n"].tolist(), strict=True)
        ]
    assert list(found) == ["half", "n"]
    assert found["n"].tolist() == [str(row) for row in rows]
    assert found["half"].tolist() == [str(row / 2) if row % 3 else None for row in rows]
    assert streamed == [(row, str(row)) for row in rows]


def test_a_few_rows_are_read_without_arrows_functions(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from lamina.data.tables import open_table\n"
        "table = open_table(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(table.take([0, 2, 5])['n'].tolist(), 'pyarrow.compute' in sys.modules)"
    )
    path = tmp_path / "numbers.csv"
    path.write_text("n,m\n" + "".join(f"{n},{n}\n" for n in range(6)))
    open_table(path, tmp_path / "cache")
    line = [sys.executable, "-c", program, str(path), str(tmp_path / "cache")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['0', '2', '5'] False"


def test_places_are_physical_lines(table: Table) -> None:
    assert [table.place(row) for row in (0, 1, 9_999)] == [f"numbers.csv, line {line}" for line in (2, 4, 20_000)]


def test_wrong_rows_and_columns(table: Table) -> None:
    with pytest.raises(InputError, match="no column 'txet'") as caught:
        table.take([0], ["txet"])
    assert "did you mean 'text'" in caught.value.fix
    for row in (-1, 10_000):
        with pytest.raises(IndexError):
            table.take([row])
        with pytest.raises(IndexError):
            table.place(row)


def test_the_cache_is_used_again_and_follows_the_data(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,x\n")
    first = open_table(path, tmp_path / "cache")
    (stored,) = (tmp_path / "cache").glob("*.arrow")
    stamp = stored.stat().st_mtime_ns
    assert open_table(path, tmp_path / "cache").fingerprint == first.fingerprint
    assert stored.stat().st_mtime_ns == stamp
    stored.write_bytes(stored.read_bytes()[:-10])
    assert open_table(path, tmp_path / "cache").take([0])["b"].tolist() == ["x"]
    path.write_text("a,b\n1,z\n")
    second = open_table(path, tmp_path / "cache")
    assert second.fingerprint != first.fingerprint
    assert second.take([0])["b"].tolist() == ["z"]


@pytest.mark.parametrize("kind", ["file", "folder", "memory"])
def test_a_table_has_another_fingerprint_when_a_file_that_it_names_changes(tmp_path: Path, kind: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/metadata.csv").write_text("path,y\n1.png,a\n2.png,b\n")
    for name in ("1.png", "2.png"):
        (tmp_path / "d" / name).write_bytes(b"x")
    named = {"path": [str(tmp_path / "d/1.png"), str(tmp_path / "d/2.png")], "y": ["a", "b"]}
    data = {"file": tmp_path / "d/metadata.csv", "folder": tmp_path / "d", "memory": named}[kind]
    first = open_table(data, tmp_path / "cache")
    assert open_table(data, tmp_path / "cache").fingerprint == first.fingerprint
    (tmp_path / "d/2.png").write_bytes(b"xy")
    assert open_table(data, tmp_path / "cache").fingerprint != first.fingerprint
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1


def test_files_are_found_in_a_column_that_begins_with_gaps(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"one")
        (tmp_path / name / "data.csv").write_text("photo,n\n" + ",1\n" * 70 + "1.png,2\n" * 30)
    first, second = (open_table(tmp_path / name / "data.csv", tmp_path / "cache") for name in ("a", "b"))
    both = concatenate(first, second)
    assert both.take([199], ["photo"])["photo"].tolist() == [str((tmp_path / "b" / "1.png").resolve())]
    (tmp_path / "a" / "1.png").write_bytes(b"another")
    assert open_table(tmp_path / "a" / "data.csv", tmp_path / "cache").fingerprint != first.fingerprint


def test_a_folder_has_another_fingerprint_when_a_file_changes(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "p" / name).parent.mkdir(parents=True)
        (tmp_path / "p" / name).write_bytes(b"x")
    first = open_table(tmp_path / "p", tmp_path / "cache").fingerprint
    assert open_table(tmp_path / "p", tmp_path / "cache").fingerprint == first
    (tmp_path / "p/b/2.png").write_bytes(b"xy")
    assert open_table(tmp_path / "p", tmp_path / "cache").fingerprint != first


def test_long_documents_are_stored_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "CHUNK_WEIGHT", 10_000)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"n": n, "text": "long " * 600}) + "\n" for n in range(50)))
    (stored,) = [open_table(path, tmp_path / "cache")]
    (arrow,) = (tmp_path / "cache").glob("*.arrow")
    with pa.ipc.open_file(arrow) as file:
        assert file.num_record_batches >= 10
    assert stored.take([49, 3, 25])["n"].tolist() == [49, 3, 25]
    assert max(len(chunk) for chunk in read_chunks(path, size=1000)) <= 5


def csv_table(folder: Path, name: str, text: str) -> Table:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return open_table(folder / name, folder / "cache")


def test_concatenated_tables(tmp_path: Path) -> None:
    first = csv_table(tmp_path / "one", "train.csv", "a,y,split\n1,n,train\n2,p,train\n3\n")
    second = csv_table(tmp_path / "two", "test.csv", "y,more,a\nn,!,4\n")
    both = concatenate(first, second)
    assert len(both) == 3
    assert both.boundary == 2
    assert both.columns == ("a", "y", "split")
    assert {name: values.tolist() for name, values in both.take([2, 0, 1, 2]).items()} == {
        "a": ["4", "1", "2", "4"],
        "y": ["n", "n", "p", "n"],
        "split": [None, "train", "train", None],
    }
    assert both.place(2) == "test.csv, line 2"
    assert both.unreadable == first.unreadable
    assert any("more" in note for note in both.notes)
    assert both.fingerprint not in (first.fingerprint, second.fingerprint)
    assert [rows.tolist() for rows, _ in both.chunks(size=2)] == [[0, 1], [2]]
    with pytest.raises(InputError, match=r"test\.csv lacks columns that train\.csv has: y") as caught:
        concatenate(first, csv_table(tmp_path / "three", "test.csv", "a,Y\n4,n\n"))
    assert "Known: a, Y" in caught.value.fix


def test_paths_of_two_folders_become_absolute(tmp_path: Path) -> None:
    for name in ("one/clips/1.wav", "two/clips/1.wav", "two/clips/2.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    first = csv_table(tmp_path / "one", "metadata.csv", "file,word\nclips/1.wav,yes\nclips/gone.wav,no\n")
    second = csv_table(tmp_path / "two", "metadata.csv", "file,word\n,no\nclips/2.wav,no\n")
    both = concatenate(first, second).take(np.arange(4))
    assert both["file"].tolist() == [
        str(tmp_path / "one/clips/1.wav"),
        str(tmp_path / "one/clips/gone.wav"),
        None,
        str(tmp_path / "two/clips/2.wav"),
    ]
    assert both["word"].tolist() == ["yes", "no", "no", "no"]
    same = concatenate(first, first)
    assert same.take([0])["file"].tolist() == ["clips/1.wav"]
    assert same.root == tmp_path / "one"


def test_tables_of_different_types_concatenate(tmp_path: Path) -> None:
    first = open_table(pa.table({"n": [1, 2], "t": ["a", "b"], "d": pa.array([0, None], pa.timestamp("us"))}), tmp_path)
    second = open_table([{"n": 0.5, "t": None, "d": "1970-01-02"}], tmp_path)
    both = concatenate(first, second).take([2, 0, 1])
    assert both["n"].tolist() == [0.5, 1.0, 2.0]
    assert both["t"].tolist() == [None, "a", "b"]
    assert both["d"][0] == "1970-01-02"
    assert both["d"][2] is None


values_of_one_kind: list[st.SearchStrategy[Any]] = [
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.booleans(),
    st.none() | st.text(st.characters(codec="utf-8")),
    st.none() | st.integers(-5, 2**70) | st.text(max_size=3) | st.lists(st.integers(0, 9), max_size=2),
]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries(dict(zip("ifbtm", values_of_one_kind, strict=True))), min_size=1, max_size=9)
)
def test_training_and_prediction_see_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    (chunk,) = read_chunks(rows)
    for data in (rows, _written(cache / "rows.jsonl", rows)):
        table = open_table(data, cache)
        trained = table.take(np.arange(len(table)))
        assert table.columns == read_chunks(data).columns
        for name, values in chunk.values.items():
            assert trained[name].dtype == values.dtype
            assert list(map(repr, trained[name].tolist())) == list(map(repr, values.tolist()))


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_chunk_reader_can_be_read_twice_and_names_places(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,x\n2\n3,z\n")
    reader = read_chunks(tmp_path / "a.csv", size=2)
    first, second = ([(chunk.start, chunk.values["a"].tolist(), chunk.errors) for chunk in reader] for _ in range(2))
    assert first == second == [(0, ["1", None], {1: "line 3: 1 field where the header has 2"}), (2, ["3"], {})]
    assert reader.place(2) == "a.csv, line 4"
    with pytest.raises(IndexError):
        reader.place(3)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,x\n")
    (tmp_path / "cache").write_text("a file, no folder")
    with pytest.raises(InputError, match="cannot be copied into the cache"):
        open_table(tmp_path / "a.csv", tmp_path / "cache")


def test_every_reader_is_reached() -> None:
    """A format in the lists of endings is one that `collect` answers."""
    for ending in collect.TABLES:
        with pytest.raises(InputError) as caught:
            collect._read_file(Path(f"/nowhere/none{ending}"))
        assert "no known format" not in caught.value.what


@given(
    st.sampled_from(["/data", "data", ".", "/", "../x", "/a b/c"]),
    st.text("ab./ \\", max_size=8) | st.lists(st.sampled_from(["a", "..", ".", ""]), max_size=4).map("/".join),
)
def test_a_name_under_a_folder_is_what_a_path_makes_of_it(root: str, value: str) -> None:
    assert under(Path(root), value) == str(Path(root) / value)
