"""Every format: what it gives, that training and prediction see the same, and what is said of what cannot be read."""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import http.server
import io
import json
import sqlite3
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.data.readers import archive, delimited, remote
from lamina.data.tables import open_table, read_chunks
from lamina.errors import InputError, MissingDependencyError

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20


def rows_of(data: object, cache: Path) -> dict[str, list[Any]]:
    """The table's columns, after checking that prediction sees the same readable rows."""
    table = open_table(data, cache)
    trained = {name: values.tolist() for name, values in table.take(np.arange(len(table))).items()}
    reader = read_chunks(data, size=3)
    assert reader.columns == table.columns
    predicted: dict[str, list[Any]] = {name: [] for name in reader.columns}
    start = 0
    for chunk in reader:
        assert chunk.start == start
        start += len(chunk)
        for name, values in chunk.values.items():
            predicted[name] += [value for row, value in enumerate(values.tolist()) if row not in chunk.errors]
    assert {name: alike(values) for name, values in predicted.items()} == {
        name: alike(values) for name, values in trained.items()
    }
    return trained


def alike(values: list[Any]) -> list[Any]:
    """Values with NaN as None: a whole number is int or float by whether its chunk has gaps, and 3 == 3.0."""
    return [None if value != value else value for value in values]


def errors_of(data: object) -> dict[int, str]:
    return {chunk.start + at: reason for chunk in read_chunks(data, size=2) for at, reason in chunk.errors.items()}


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "a,b\n1,x\n,y\n"),
        ("a.csv", "a;b\n1;x\n;y\n"),
        ("a.csv", "sep=;\r\na;b\r\n1;x\r\n;y\r\n"),
        ("a.csv", "\ufeffa,b\r\n1,x\r\n\r\n,y"),
        ("a.csv", '"a","b"\n"1","x"\n"","y"\n'),
        ("a.csv", "a,b,\n1,x,\n,y,\n".replace("a,b,", "a,b")),
        ("a.tsv", "a\tb\n1\tx\n\ty\n"),
        ("a.txt", "a|b\n1|x\n|y\n"),
        ("a.csv", "a,b\n1,x\n,y\n".encode("utf-16")),
        ("a.csv", "a,b\n1,x\n,y\n".encode("utf-16-le")),
        ("a.csv.gz", gzip.compress(b"a,b\n1,x\n,y\n", mtime=0)),
    ],
)
def test_delimited_cells_are_text_and_empty_ones_missing(tmp_path: Path, name: str, content: str | bytes) -> None:
    path = write(tmp_path / name, content)
    assert rows_of(path, tmp_path / "cache") == {"a": ["1", None], "b": ["x", "y"]}


def test_a_delimiter_inside_quoted_text_does_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,score\n"a; b; c, ""d""",1\n"two\nlines; here",2\n')
    assert rows_of(path, tmp_path / "cache") == {"text": ['a; b; c, "d"', "two\nlines; here"], "score": ["1", "2"]}


def test_one_column_of_text_with_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\nhello, world\nbye\n")
    assert rows_of(path, tmp_path / "cache") == {"text": ["hello, world", "bye"]}


def test_other_encodings_are_read_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "city,price\nKöln,5 €\n".encode("cp1252"))
    assert rows_of(path, tmp_path / "cache") == {"city": ["Köln"], "price": ["5 €"]}
    assert "Windows-1252" in open_table(path, tmp_path / "cache").notes[0]
    write(path, "city,price\nKöln,\x81\n".encode("latin-1"))
    assert "Latin-1" in open_table(path, tmp_path / "cache").notes[0]


def test_an_undecodable_byte_far_into_the_file_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"a,b\n" + b"1,x\n" * 600_000 + b"2,\xe9\n")
    *_, last = read_chunks(path)
    assert last.values["b"][-1] == "é"


def test_ragged_rows_and_open_quotes_are_error_rows_and_cost_no_other_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", 'a,b\n1,x\n2\n3,y,z\n4,"open\n5,"Joe" Smith\n6,"fine\nhere"\n7,\n8,"open at the end\n9,w\n'
    )
    table = open_table(path, tmp_path / "cache")
    assert table.take(np.arange(len(table)))["a"].tolist() == ["1", "5", "6", "7", "9"]
    assert [place for place, _ in table.unreadable] == [f"a.csv, line {line}" for line in (3, 4, 5, 10)]
    assert table.place(2) == "a.csv, line 7"
    assert table.place(3) == "a.csv, line 9"
    assert sorted(errors_of(path)) == [1, 2, 3, 7]
    assert "3 fields where the header has 2" in errors_of(path)[2]
    rows_of(path, tmp_path / "cache")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.lists(
            st.text(
                st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cc", "Cs"])
                | st.sampled_from('",;\n\t')
            ),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=12,
    ),
    delimiter=st.sampled_from(delimited.DELIMITERS),
)
def test_what_csv_writes_is_read_back(tmp_path: Path, rows: list[list[str]], delimiter: str) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([["first name", "second name", "third name"], *rows])
    (chunk,) = read_chunks(path)
    assert not chunk.errors
    expected = [[cell or None for cell in column] for column in zip(*rows, strict=True)]
    assert [values.tolist() for values in chunk.values.values()] == expected


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.lists(st.sampled_from(["a", "1", ",", '"', '""', "\n", "\r\n", " "]), max_size=60).map("".join))
def test_damaged_csv_never_loses_a_line(tmp_path: Path, body: str) -> None:
    records = list(delimited._records(io.StringIO(f"h,i\n{body}", newline=""), ","))
    starts = [line for line, _ in records]
    assert starts == sorted(set(starts))
    letters = sum(len("".join(f).replace('"', "")) for _, f in records if isinstance(f, list))
    bad = [line for line, fields in records if not isinstance(fields, list)]
    lines = io.StringIO(f"h,i\n{body}", newline="").readlines()
    lost = sum(len(lines[line - 1]) for line in bad)
    kept = len("".join(lines).translate(str.maketrans("", "", '",\r\n')))
    assert letters + lost >= kept


def test_jsonl_gives_typed_columns_whatever_the_order_of_keys(tmp_path: Path) -> None:
    lines = [
        {"n": 1, "x": 1, "t": "a", "f": True, "l": ["p", "q"], "m": 1, "big": 2**60},
        {"t": None, "x": 2.5, "l": None, "m": "one", "f": False, "late": 3},
        {"n": 3, "t": "", "x": None, "l": [], "m": [1], "f": True, "o": {"deep": {"er": 5}}, "big": 1},
    ]
    path = write(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, lines)))
    found = rows_of(path, tmp_path / "cache")
    assert found["big"] == [2**60, None, 1]
    assert found["t"] == ["a", None, ""]
    assert found["f"] == [True, False, True]
    assert found["l"] == [["p", "q"], None, []]
    assert found["m"] == [1, "one", [1]]
    assert list(map(repr, found["n"])) == ["1.0", "nan", "3.0"]
    assert list(map(repr, found["x"])) == ["1.0", "2.5", "nan"]
    assert found["o.deep.er"][2] == 5
    assert "late" in found


def test_bad_json_lines_are_error_rows(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", b'{"a": 1}\n{"a": 2\n[3]\n{"a": 4}\n{"a": "\xff"}\n'.replace(b'{"a": "\xff"}\n', b"")
    )
    assert rows_of(path, tmp_path / "cache") == {"a": [1, 4]}
    assert sorted(errors_of(path)) == [1, 2]
    places = [place for place, _ in open_table(path, tmp_path / "cache").unreadable]
    assert places == ["a.jsonl, line 2", "a.jsonl, line 3"]


def test_a_json_array_longer_than_the_window_is_streamed(tmp_path: Path) -> None:
    rows = [{"n": number, "t": "ü]},{[" * (number % 400)} for number in range(1500)]
    path = write(tmp_path / "a.json", json.dumps(rows, indent=1))
    assert path.stat().st_size > 4 * (1 << 18)
    found = rows_of(path, tmp_path / "cache")
    assert found["n"] == list(range(1500))
    assert found["t"][399] == rows[399]["t"]


def test_json_lines_in_a_file_called_json(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"a": 1}\n{"a": 2}\n')
    assert rows_of(path, tmp_path / "cache") == {"a": [1, 2]}


def test_half_a_surrogate_pair_is_replaced_alike(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": "\\ud83d", "b": "\\ud83d\\ude00"}\n')
    assert rows_of(path, tmp_path / "cache") == {"a": ["\ufffd"], "b": ["😀"]}


def typed_table() -> pa.Table:
    return pa.table(
        {
            "whole": pa.array([1, 2, 3], pa.int16()),
            "gaps": pa.array([1, None, 3], pa.int32()),
            "exact": pa.array([2**60 + 1, None, 3], pa.int64()),
            "half": pa.array([0.5, None, 1.5], pa.float32()),
            "truth": pa.array([True, None, False]),
            "word": pa.array(["a", None, "b"]).dictionary_encode(),
            "money": pa.array([1, None, 3]).cast(pa.decimal128(25, 2)),
            "day": pa.array([0, None, 1], pa.date32()),
            "moment": pa.array([1_000_000, None, 2_000_000], pa.timestamp("us", tz="Europe/Berlin")),
            "spell": pa.array([1500, None, 2], pa.duration("ms")),
            "list": pa.array([["a"], None, []], pa.list_(pa.string())),
            "inner": pa.array([{"x": 1}, {"x": 2}, {"x": 3}]),
            "raw": pa.array([b"1", None, b"\x00"]),
            "huge": pa.array([2**64 - 1, None, 1], pa.uint64()),
        }
    )


@pytest.mark.parametrize("kind", ["parquet", "feather", "stream", "frame", "polars"])
def test_typed_formats(tmp_path: Path, kind: str) -> None:
    table = typed_table()
    data: object = tmp_path / "a.arrow"
    if kind == "parquet":
        data = tmp_path / "a.parquet"
        pq.write_table(table, data, row_group_size=2)
    elif kind == "feather":
        with pa.ipc.new_file(str(data), table.schema) as writer:
            writer.write_table(table)
    elif kind == "stream":
        with pa.ipc.new_stream(str(data), table.schema) as writer:
            writer.write_table(table)
    else:
        import polars

        data = table if kind == "frame" else polars.from_arrow(table)
    opened = open_table(data, tmp_path / "cache")
    found = opened.take([0, 1, 2])
    kinds = {name: values.dtype.str for name, values in found.items()}
    assert kinds == {
        "whole": "<i8",
        "gaps": "<f8",
        "exact": "|O",
        "half": "<f8",
        "truth": "|O",
        "word": "|O",
        "money": "<f8",
        "day": "<M8[us]",
        "moment": "<M8[us]",
        "spell": "<f8",
        "list": "|O",
        "inner.x": "<i8",
        "raw": "|O",
        "huge": "|O",
    }
    assert found["exact"].tolist() == [2**60 + 1, None, 3]
    assert found["huge"].tolist() == ["18446744073709551615", None, "1"]
    assert found["moment"][0] == np.datetime64("1970-01-01T00:00:01")
    assert found["spell"][0] == 1.5
    assert found["list"].tolist() == [["a"], None, []]
    assert opened.take([0, 2])["gaps"].dtype == np.int64
    rows_of(data, tmp_path / "cache")


def test_parquet_in_parts(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), folder / "part-0.parquet")
    pq.write_table(pa.table({"b": ["z"], "a": [0.5]}), folder / "part-1.parquet")
    assert rows_of(folder, tmp_path / "cache") == {"a": [1.0, 2.0, 0.5], "b": ["x", "y", "z"]}


def workbook(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    """A minimal .xlsx of inline strings and numbers."""
    kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    package = "application/vnd.openxmlformats-package.relationships+xml"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    content = "http://schemas.openxmlformats.org/package/2006"

    def cell(column: int, row: int, value: Any) -> str:
        at = f"{chr(65 + column)}{row}"
        if value is None:
            return ""
        if isinstance(value, str):
            return f'<c r="{at}" t="inlineStr"><is><t>{value}</t></is></c>'
        return f'<c r="{at}"><v>{value}</v></c>'

    with zipfile.ZipFile(path, "w") as book:
        names = list(sheets)
        overrides = "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{sheet}.worksheet+xml"/>'
            for n in range(len(names))
        )
        book.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{content}/content-types"><Default Extension="rels" ContentType="{package}"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{sheet}.sheet.main+xml"/>'
            f"{overrides}</Types>",
        )
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{content}/relationships">'
            f'<Relationship Id="r" Type="{kinds}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{content}/relationships">'
            + "".join(
                f'<Relationship Id="s{n}" Type="{kinds}/worksheet" Target="worksheets/sheet{n}.xml"/>'
                for n in range(len(names))
            )
            + "</Relationships>",
        )
        listed = "".join(f'<sheet name="{name}" sheetId="{n + 1}" r:id="s{n}"/>' for n, name in enumerate(names))
        book.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{kinds}"><sheets>{listed}</sheets></workbook>'
        )
        for n, name in enumerate(names):
            body = "".join(
                f'<row r="{r + 1}">' + "".join(cell(c, r + 1, value) for c, value in enumerate(row)) + "</row>"
                for r, row in enumerate(sheets[name])
            )
            book.writestr(
                f"xl/worksheets/sheet{n}.xml", f'<worksheet xmlns="{main}"><sheetData>{body}</sheetData></worksheet>'
            )
    return path


def test_excel_takes_the_first_sheet_or_the_one_named(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", {"One": [["a", "b"], [1.5, "x"], [None, "y"]], "Two": [["c"], ["z"]]})
    found = rows_of(path, tmp_path / "cache")
    assert found["b"] == ["x", "y"]
    assert repr(found["a"]) == "[1.5, nan]"
    assert rows_of(f"{path}#Two", tmp_path / "cache") == {"c": ["z"]}
    with pytest.raises(InputError, match="no sheet 'Tow'") as caught:
        open_table(f"{path}#Tow", tmp_path / "cache")
    assert "did you mean 'Two'" in caught.value.fix
    with pytest.raises(InputError, match="Two columns are called 'a'"):
        open_table(workbook(tmp_path / "b.xlsx", {"S": [["a", "a"], [1, 2]]}), tmp_path / "cache")
    with pytest.raises(InputError, match="has no rows"):
        open_table(workbook(tmp_path / "c.xlsx", {"S": [["a", "b"]]}), tmp_path / "cache")


def database(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def test_sqlite(tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.db",
        "CREATE TABLE loans (amount INTEGER, rate REAL, note TEXT, mixed)",
        "INSERT INTO loans VALUES (1, 0.5, 'x', 1), (2, 1.5, NULL, 'two'), (3, NULL, 'z', NULL)",
        "DELETE FROM loans WHERE amount = 2",
    )
    found = rows_of(path, tmp_path / "cache")
    assert found["amount"] == [1, 3]
    assert found["note"] == ["x", "z"]
    assert found["mixed"][0] == 1
    assert open_table(path, tmp_path / "cache").place(1) == "loans table, row 3 (rowid)"
    query = f"{path}?query=SELECT amount AS a FROM loans WHERE amount > 1"
    assert rows_of(query, tmp_path / "cache") == {"a": [3]}
    database(path, "CREATE TABLE other (x)", "INSERT INTO other VALUES (7)")
    assert rows_of(f"{path}#other", tmp_path / "cache") == {"x": [7]}
    with pytest.raises(InputError, match="2 tables: loans, other"):
        open_table(path, tmp_path / "cache")
    before = path.read_bytes()
    for query in ("DELETE FROM loans", "DROP TABLE loans", "SELECT nothing FROM loans"):
        with pytest.raises(InputError):
            open_table(f"{path}?query={query}", tmp_path / "cache")
    assert path.read_bytes() == before


def classes(root: Path, *files: str) -> Path:
    for file in files:
        write(root / file, PNG)
    return root


def test_a_folder_per_class(tmp_path: Path) -> None:
    root = classes(tmp_path / "photos", "dog/2.png", "cat/1.PNG", "cat/3.jpg", ".hidden/x.png", "cat/Thumbs.db")
    write(root / "cat/notes.txt", "hello")
    write(root / "cat/empty.png", b"")
    write(root / "README.md", "hello")
    (root / "dog/broken.png").symlink_to("nowhere.png")
    table = open_table(root, tmp_path / "cache")
    assert {name: values.tolist() for name, values in table.take([0, 1, 2]).items()} == {
        "path": ["cat/1.PNG", "cat/3.jpg", "dog/2.png"],
        "label": ["cat", "cat", "dog"],
    }
    assert dict(table.unreadable) == {
        "cat/empty.png": "an empty file",
        "cat/notes.txt": "neither a picture nor a sound",
        "dog/broken.png": "a link to a file that does not exist",
    }
    assert table.root == root
    assert table.place(1) == "cat/3.jpg"
    (chunk,) = read_chunks(root)
    assert chunk.values["path"].tolist() == [
        "cat/1.PNG", "cat/3.jpg", "cat/empty.png", "cat/notes.txt", "dog/2.png", "dog/broken.png",
    ]  # fmt: skip
    assert sorted(chunk.errors) == [2, 3, 5]


def test_train_and_test_folders(tmp_path: Path) -> None:
    root = classes(
        tmp_path / "p", "test/a/1.png", "train/a/2.png", "train/b/3.png", "Valid/b/4.png", "test-new/a/5.png"
    )
    table = open_table(root, tmp_path / "cache")
    assert table.take(np.arange(4))["split"].tolist() == ["train", "train", "validation", "test"]
    assert table.take([3])["path"].tolist() == ["test/a/1.png"]
    assert "test-new/" in table.notes[0]
    assert "1 files" in table.notes[0]
    assert len(table) == 4


def test_a_flat_folder_and_one_file(tmp_path: Path) -> None:
    root = classes(tmp_path / "p", "b.png", "a.wav")
    assert rows_of(root, tmp_path / "cache") == {"path": ["a.wav", "b.png"]}
    (chunk,) = read_chunks(root / "b.png")
    assert chunk.values["path"].tolist() == ["b.png"]
    assert read_chunks(root / "b.png").root == root


def test_metadata_with_backslashes(tmp_path: Path) -> None:
    root = classes(tmp_path / "p", "images/x/1.png", "images/2.png")
    write(root / "metadata.csv", "file,label\nimages\\x\\1.png,a\nimages/2.png,b\nimages\\none.png,b\n")
    found = rows_of(root, tmp_path / "cache")
    assert found["file"] == ["images/x/1.png", "images/2.png", "images\\none.png"]
    table = open_table(root, tmp_path / "cache")
    assert table.root == root
    assert "backslashes" in table.notes[0]


def test_train_and_test_tables(tmp_path: Path) -> None:
    write(tmp_path / "d/train.csv", "a,y\n1,n\n2,p\n")
    write(tmp_path / "d/test.csv", "y,a,more\nn,3,!\n")
    write(tmp_path / "d/other.csv", "z\n1\n")
    assert rows_of(tmp_path / "d", tmp_path / "cache") == {
        "a": ["1", "2", "3"],
        "y": ["n", "p", "n"],
        "split": ["train", "train", "test"],
    }
    table = open_table(tmp_path / "d", tmp_path / "cache")
    assert any("more" in note for note in table.notes)
    assert any("other.csv" in note for note in table.notes)
    assert [table.place(row) for row in (1, 2)] == ["train.csv, line 3", "test.csv, line 2"]
    write(tmp_path / "d/test.csv", "a\n3\n")
    with pytest.raises(InputError, match=r"lacks columns that train\.csv has: y"):
        open_table(tmp_path / "d", tmp_path / "cache")


def pack_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def pack_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("pack", "name"), [(pack_zip, "p.zip"), (pack_tar, "p.tar.gz")])
@pytest.mark.parametrize("wrapper", ["", "photos/"])
def test_archives_of_folders(tmp_path: Path, pack: Callable[..., Path], name: str, wrapper: str) -> None:
    path = pack(tmp_path / name, {f"{wrapper}cat/1.png": PNG, f"{wrapper}dog/2.png": PNG, "__MACOSX/cat/._1.png": b"x"})
    table = open_table(path, tmp_path / "cache")
    assert table.take([0, 1])["label"].tolist() == ["cat", "dog"]
    assert table.root is not None
    assert (table.root / "cat/1.png").read_bytes() == PNG
    assert len(open_table(path, tmp_path / "cache")) == 2
    reader = read_chunks(path)
    (chunk,) = reader
    assert chunk.values["path"].tolist() == ["cat/1.png", "dog/2.png"]
    root = reader.root
    assert root is not None
    assert (root / "dog/2.png").is_file()
    del reader
    assert not root.exists()


def test_an_archive_of_one_table(tmp_path: Path) -> None:
    assert rows_of(pack_zip(tmp_path / "a.zip", {"a.csv": b"a,b\n1,x\n"}), tmp_path / "cache") == {
        "a": ["1"],
        "b": ["x"],
    }


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"])
@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_no_member_leaves_the_folder(tmp_path: Path, pack: Callable[..., Path], name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = pack(inside / ("p.zip" if pack is pack_zip else "p.tar.gz"), {name: PNG})
    with pytest.raises(InputError, match="leaves its folder"):
        open_table(path, inside / "cache")
    assert not list(tmp_path.rglob("*evil*"))


def test_links_in_archives_are_left_out_and_listed(tmp_path: Path) -> None:
    path = tmp_path / "p.tar"
    with tarfile.open(path, "w") as file:
        link = tarfile.TarInfo("cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        file.addfile(link)
        for name in ("cat/1.png", "dog/1.png"):
            member = tarfile.TarInfo(name)
            member.size = len(PNG)
            file.addfile(member, io.BytesIO(PNG))
    for _ in range(2):
        table = open_table(path, tmp_path / "cache")
        assert table.unreadable == (("p.tar: cat/link.png", "a link; links in archives are not followed"),)
        assert len(table) == 2


def test_bombs_are_refused_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SMALLEST_LIMIT", 1 << 20)
    path = pack_zip(tmp_path / "p.zip", {"a/1.png": bytes(30 << 20)})
    with pytest.raises(InputError, match="unpacks to more than"):
        open_table(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_urls(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a.csv", b"a,b\n1,x\n")
    memory.pipe("/bucket/photos/cat/1.png", PNG)
    memory.pipe("/bucket/photos/dog/2.png", PNG)
    assert rows_of("memory://bucket/a.csv", tmp_path / "cache") == {"a": ["1"], "b": ["x"]}
    assert open_table("memory://bucket/photos", tmp_path / "cache").take([0, 1])["label"].tolist() == ["cat", "dog"]
    assert rows_of((write(tmp_path / "x y.csv", "a,b\n1,x\n")).as_uri(), tmp_path / "cache") == {"a": ["1"], "b": ["x"]}
    with pytest.raises(InputError, match="no such file"):
        open_table("memory://bucket/none.csv", tmp_path / "cache")
    with pytest.raises(InputError):
        open_table("nonsense://bucket/none.csv", tmp_path / "cache")


def test_http(tmp_path: Path) -> None:
    write(tmp_path / "web/a b.csv", "a,b\n1,x\n")
    handler = functools.partial(_QuietHandler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert rows_of(f"{address}/a%20b.csv?raw=1", tmp_path / "cache") == {"a": ["1"], "b": ["x"]}
        with pytest.raises(InputError, match="answers 404"):
            open_table(f"{address}/none.csv", tmp_path / "cache")
        server.shutdown()
    with pytest.raises(InputError, match="cannot be reached"):
        open_table(f"{address}/a.csv", tmp_path / "cache")


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Say nothing."""


def _bad_files(folder: Path) -> dict[str, str]:
    """File name to what the error must say; the files are written to `folder`."""
    png_named_csv = PNG + bytes(range(256)) * 10
    files: dict[str, tuple[str | bytes, str]] = {
        "empty.csv": (b"", "is empty"),
        "spaces.csv": (b" \n\n", "is empty"),
        "header.csv": ("a,b\n", "a header but no rows"),
        "no_header.csv": ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "no header"),
        "no_header2.csv": ("good film,pos\nbad film,neg\nnice,pos\nfine,pos\n", "no header"),
        "double.csv": ("a,b,a\n1,2,3\n", "Two columns are called 'a'"),
        "unnamed.csv": ("a,,c\n1,2,3\n", "Column 2 of 3 has no name"),
        "index.csv": (",a\n0,2\n", "Column 1 of 2 has no name"),
        "misfit.csv": ("a,b\n1,2,3\n4,5,6\n", "header has 2 names, but the rows have 3"),
        "garbage.csv": (bytes(range(1, 256)) * 20, "binary"),
        "picture.csv": (png_named_csv, "a PNG picture"),
        "parquet.csv": (b"PAR1" + b"x" * 100, "a Parquet file"),
        "book.csv": (b"PK\x03\x04" + b"x" * 100, "Excel workbook"),
        "page.csv": ("<!DOCTYPE html><html></html>", "web page"),
        "pointer.csv": ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        "nul.csv": (b"a,b\n1,2\n\x00\x00\x00\n", "NUL bytes"),
        "half16.csv": ("a,b\n1,2\n".encode("utf-16") + b"\x00", "UTF-16"),
        "short.csv.gz": (gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 999)[:-20], "damaged or cut short"),
        "fake.csv.gz": (b"a,b\n1,2\n", "damaged or cut short"),
        "quote.csv": ('"a,b\n1,2\n', "header of quote.csv cannot be read"),
        "all_bad.jsonl": ("{1}\n{2}\n", "no rows with values"),
        "scalar.json": ("5", "not an array of objects"),
        "object.json": ('{"a": [1, 2], "b": [3, 4]}', "not an array of objects"),
        "pretty.json": ('{\n  "a": 1\n}\n', "not an array of objects"),
        "numbers.json": ("[1, 2]", "no rows with values"),
        "open.json": ('[{"a": 1}, {"a": 2}', "not valid JSON"),
        "broken.json": ('[{"a": 1}, {"a": }]', "not valid JSON"),
        "two.json": ('[{"a": 1}] [{"a": 2}]', "goes on after the end"),
        "nothing.json": ("[]", "no rows"),
        "bad.parquet": (b"PAR1 nothing PAR1", "cannot be read as Parquet"),
        "bad.feather": (b"nothing at all", "cannot be read as Arrow"),
        "bad.xlsx": (b"PK\x03\x04 nothing", "cannot be read as Excel"),
        "bad.db": (b"SQLite format 3\x00" + b"x" * 2000, "cannot be read as an SQLite"),
        "no.sqlite": (b"hello there" * 100, "cannot be read as an SQLite"),
        "bad.zip": (b"PK\x03\x04 nothing", "no complete archive"),
        "bad.tar.gz": (gzip.compress(b"x" * 2000)[:-9], "no complete archive|cut short"),
        "unknown.xyz": ("a,b\n1,2\n", "no known format"),
        "ending": ("a,b\n1,2\n", "no ending"),
    }
    for name, (content, _) in files.items():
        write(folder / name, content)
    return {name: message for name, (_, message) in files.items()}


def test_bad_files_each_give_one_clear_error_on_both_sides(tmp_path: Path) -> None:
    for name, message in _bad_files(tmp_path / "bad").items():
        path = tmp_path / "bad" / name
        for read in (lambda path=path: open_table(path, tmp_path / "cache"), lambda path=path: list(read_chunks(path))):
            with pytest.raises(InputError, match=message) as caught:
                read()
            assert caught.value.fix
            assert caught.value.where or name in caught.value.what
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_missing_files_are_answered_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "loans.csv", "a,b\n1,2\n")
    with pytest.raises(InputError, match="no file or folder") as caught:
        open_table(tmp_path / "loan.csv", tmp_path / "cache")
    assert "loans.csv" in caught.value.fix
    with pytest.raises(InputError) as caught:
        open_table(tmp_path / "none/x.csv", tmp_path / "cache")
    assert "does not exist" in caught.value.fix
    with pytest.raises(InputError, match="has no meaning"):
        open_table(f"{tmp_path / 'loans.csv'}#Sheet", tmp_path / "cache")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds no files"),
        (["notes.txt"], "no table, picture or sound"),
        (["a/b/c/1.png", "a/b/c/2.png"], "folders of folders of folders"),
        (["a/1.png", "b/c/1.png"], "deeper than classes"),
        (["a/1.png", "b/notes.txt"], "class folder b/ has no pictures"),
        (["train/1.png", "test/a/2.png"], "train/ has no class folders"),
        (["train/1.png", "test/2.png"], "no class folders"),
        (["test/a/1.png", "val/a/1.png"], "no train/"),
        (["images/1.png", "annotations/1.png"], "not classes"),
        (["a.csv", "b.csv"], "not clear which"),
        (["metadata.csv", "metadata.jsonl"], "several metadata tables"),
        (["train.csv", "test.csv", "test.tsv"], "both are the test part"),
    ],
)
def test_unclear_folders(tmp_path: Path, files: list[str], message: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    classes(root, *files)
    with pytest.raises(InputError, match=message) as caught:
        open_table(root, tmp_path / "cache")
    assert caught.value.fix


def test_data_in_memory(tmp_path: Path) -> None:
    import pandas

    frame = pandas.DataFrame(
        {
            "n": [1, 2, 3],
            "x": [0.5, None, 1.5],
            "t": ["a", None, "b"],
            "m": [1, "two", None],
            "c": pandas.Categorical(["p", "q", "p"]),
        }
    )
    found = rows_of(frame, tmp_path / "cache")
    assert found["n"] == [1, 2, 3]
    assert found["t"] == ["a", None, "b"]
    assert found["m"] == ["1", "two", None]
    assert found["c"] == ["p", "q", "p"]
    columns = {
        "n": np.arange(3, dtype=np.uint8),
        "t": ["a", None, "b"],
        "l": np.eye(3),
        "d": np.array(["2020-01-01"] * 3, "datetime64[D]"),
    }
    found = rows_of(columns, tmp_path / "cache")
    assert found["n"] == [0, 1, 2]
    assert found["l"][1] == [0.0, 1.0, 0.0]
    assert found["d"][0].year == 2020
    rows = [{"a": 1, "b": "x"}, {"b": None, "c": [1, "z"]}, {"a": np.int64(3)}]
    assert rows_of(rows, tmp_path / "cache")["c"] == [None, [1, "z"], None]
    assert rows_of({"a": 1, "b": "x"}, tmp_path / "cache") == {"a": [1], "b": ["x"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "type int"),
        ([], "no rows"),
        ([5], "Row 0 is no mapping"),
        ({}, "no columns"),
        ({"a": [1, 2], "b": [1]}, "different lengths"),
        ({"a": []}, "no rows"),
        ({"a": np.array([1j])}, "has the type complex128"),
        ([{}], "no columns"),
    ],
)
def test_unfit_data_in_memory(tmp_path: Path, data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_table(data, tmp_path / "cache")


def test_frames_with_equal_values_have_equal_fingerprints(tmp_path: Path) -> None:
    import polars

    first = polars.DataFrame({"a": [1, None, 3], "t": ["x", None, "z"]})
    second = polars.concat([first[:1], first[1:]], rechunk=False)
    other = polars.DataFrame({"a": [1, None, 4], "t": ["x", None, "z"]})
    prints = [open_table(frame, tmp_path / "cache").fingerprint for frame in (first, second, other)]
    assert prints[0] == prints[1] != prints[2]


def test_prediction_needs_only_numpy(tmp_path: Path) -> None:
    """CSV, JSON, SQLite, folders and archives are read without pyarrow, polars, pandas and fsspec."""
    write(tmp_path / "a.csv", "a,b\n1,x\n")
    write(tmp_path / "a.jsonl", '{"a": 1}\n')
    write(tmp_path / "a.parquet", "PAR1")
    database(tmp_path / "a.db", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
    classes(tmp_path / "p", "a/1.png")
    pack_zip(tmp_path / "p.zip", {"cat/1.png": PNG})
    program = """
import sys
for name in ("pyarrow", "polars", "pandas", "fsspec", "torch"):
    sys.modules[name] = None
from lamina.data.tables import read_chunks
from lamina.errors import MissingDependencyError
for name in ("a.csv", "a.jsonl", "a.db", "p", "p.zip"):
    assert sum(len(chunk) for chunk in read_chunks(name)) == 1, name
assert sum(len(chunk) for chunk in read_chunks([{"a": 1}, {"a": 2}])) == 2
try:
    read_chunks("a.parquet")
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "lamina[tables]" in done.stdout
    assert issubclass(MissingDependencyError, InputError)


def test_worse_pictures_beside_better_ones_are_pairs(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    root.mkdir()
    names = [f"{number}.png" for number in range(10)]
    classes(root, *(f"{kind}/{name}" for kind in ("Noisy", "clean") for name in names))
    table = open_table(root, tmp_path / "cache")
    found = table.take(np.arange(10))
    assert found["path"].tolist() == [f"Noisy/{name}" for name in names]
    assert found["restored"].tolist() == [f"clean/{name}" for name in names]
    for name in names[:2]:
        (root / "clean" / name).rename(root / "clean" / f"other{name}")
    assert open_table(root, tmp_path / "cache").columns == ("path", "label"), "where names differ they are classes"
    parts = tmp_path / "parts"
    classes(
        parts, *(f"{part}/{kind}/{name}" for part in ("train", "test") for kind in ("low", "high") for name in names)
    )
    assert open_table(parts, tmp_path / "cache").columns == ("path", "restored", "split")


def test_pictures_beside_masks_are_pairs(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    classes(root, "images/b.png", "images/a.jpg", "images/alone.png", "masks/a.png", "masks/b.png", "masks/other.png")
    table = open_table(root, tmp_path / "cache")
    found = table.take(np.arange(3), ["path", "mask"])
    assert table.columns == ("path", "mask")
    assert found["path"].tolist() == ["images/a.jpg", "images/alone.png", "images/b.png"]
    assert found["mask"].tolist() == ["masks/a.png", None, "masks/b.png"]
    assert [chunk.values["path"].tolist() for chunk in read_chunks(root)] == [found["path"].tolist()]


def test_pairs_of_a_training_and_a_test_part(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    classes(root, *(f"{part}/{kind}/{name}.png" for part in ("test", "train") for kind in ("Images", "masks")
                    for name in "ab"))  # fmt: skip
    table = open_table(root, tmp_path / "cache")
    found = table.take(np.arange(4), list(table.columns))
    assert found["split"].tolist() == ["train", "train", "test", "test"]
    assert found["mask"].tolist()[:2] == ["train/masks/a.png", "train/masks/b.png"]


def test_letters_of_utf_16_are_no_control_characters(tmp_path: Path) -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "ru.csv").write_bytes("\ufeffимя;город\nИван;Москва\nПётр;Казань\n".encode(encoding))
        assert rows_of(tmp_path / "ru.csv", tmp_path / "cache")["город"] == ["Москва", "Казань"]


def test_links_in_a_circle_are_listed(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        write(tmp_path / "p" / name, PNG)
    for place in ("cat/round", "round"):
        (tmp_path / "p" / place).symlink_to("round")
    table = open_table(tmp_path / "p", tmp_path / "cache")
    assert table.take([0, 1])["path"].tolist() == ["cat/1.png", "dog/2.png"]
    assert [place for place, _ in table.unreadable] == ["cat/round", "round"]
    assert sorted(errors_of(tmp_path / "p")) == [1, 3]
    for name in ("images/1.png", "masks/1.png"):
        write(tmp_path / "q" / name, PNG)
    (tmp_path / "q/masks/round.png").symlink_to("round.png")
    assert len(open_table(tmp_path / "q", tmp_path / "cache")) == 1


def test_rows_in_the_log_of_a_database_count_as_a_change(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert len(open_table(tmp_path / "a.db", tmp_path / "cache")) == 1
        connection.execute("INSERT INTO t VALUES (2)")
        connection.commit()
        assert len(open_table(tmp_path / "a.db", tmp_path / "cache")) == 2


def test_pictures_in_memory_that_differ_inside_have_different_fingerprints(tmp_path: Path) -> None:
    pictures = [np.zeros((40, 40)), np.zeros((40, 40))]
    pictures[1][20, 20] = 1
    prints = {open_table({"p": [picture] * 2, "y": [1, 2]}, tmp_path / "cache").fingerprint for picture in pictures}
    assert len(prints) == 2


def test_arrays_of_several_axes_in_a_data_frame_keep_their_values(tmp_path: Path) -> None:
    import pandas

    pictures = [np.arange(1600.0).reshape(40, 40) + n for n in range(2)]
    found = open_table(pandas.DataFrame({"p": [*pictures, None]}), tmp_path / "cache").take([0, 1, 2])["p"]
    assert [found[0], found[1], found[2]] == [*(picture.tolist() for picture in pictures), None]
    with pytest.raises(InputError, match="arrays in column 'p'"):
        open_table(pandas.DataFrame({"p": [pictures[0], pictures[0][None]]}), tmp_path / "cache")


def test_numbers_without_end_in_json(tmp_path: Path) -> None:
    endless = "9" * 5000
    (tmp_path / "a.jsonl").write_text(f'{{"a": 1}}\n{{"a": {endless}}}\n{{"a": 3}}\n')
    assert errors_of(tmp_path / "a.jsonl") == {1: "line 2: a whole number of thousands of digits"}
    (tmp_path / "a.json").write_text(f'[{{"a": 1}}, {{"a": {endless}}}]')
    with pytest.raises(InputError, match="thousands of digits") as raised:
        open_table(tmp_path / "a.json", tmp_path / "cache")
    assert "record 2" in str(raised.value)


def test_an_address_that_ends_in_dots_leaves_its_folder_alone(tmp_path: Path) -> None:
    kept = write(tmp_path / "downloads/other/a.csv", "a\n1\n")
    with pytest.raises(InputError):
        remote.download("http://127.0.0.1:9/x/%2e%2e", tmp_path)
    assert "/.." not in str(remote._target("http://127.0.0.1:9/x/%2e%2e", tmp_path))
    assert kept.exists()


def test_a_name_too_long_for_the_disk_is_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("x" * 300 + ".csv", "a,b\n1,2\n")
    with pytest.raises(InputError, match="cannot be unpacked"):
        open_table(tmp_path / "a.zip", tmp_path / "cache")
