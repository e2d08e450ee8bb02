"""SQLite: one table, or what one query gives; opened read-only."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from lamina.data.readers.source import Columns, Record, RowChunk, Source, Unit, check_columns, gather
from lamina.errors import InputError, nearest


def read(path: Path, selection: str = "") -> Source:
    """The rows of a table or a query.

    Args:
        path: the database file.
        selection: "#table", "?query=SELECT ..." or "" for the only table there is.

    Raises:
        InputError: no database, no or several tables, an unknown table, a query that fails or gives no rows.
    """
    with _connected(path) as connection:
        query, name, unit = _query(connection, path, selection)
        columns = Columns()
        cursor = _execute(connection, query, path)
        names = tuple(item[0] for item in cursor.description or ())[unit == "rowid" :]
        check_columns(names, f"{path.name}, {name}", fix="Name the columns in the query: SELECT a AS first, ...")
        columns.kinds = dict.fromkeys(names, "missing")
        count = 0
        for row in cursor:
            columns.see(dict(zip(names, row[unit == "rowid" :], strict=True)))
            count += 1
    if not count:
        raise InputError(f"{name} in {path.name} has no rows.", where=str(path), fix="Name a table or query with rows.")

    def records() -> Iterator[Record]:
        with _connected(path) as connection:
            for number, row in enumerate(_execute(connection, query, path), start=1):
                mark, values = (row[0], row[1:]) if unit == "rowid" else (number, row)
                weight = sum(len(value) for value in values if isinstance(value, str | bytes))
                yield mark, weight, dict(zip(names, values, strict=True))

    def chunks(size: int) -> Iterator[RowChunk]:
        return gather(records(), size, {}, columns.build)

    return Source(name, names, unit, chunks, columns.kinds)


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.text_factory = lambda content: content.decode("utf-8", errors="replace")
            yield connection
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{path.name} cannot be read as an SQLite database: {error}.",
            where=str(path),
            fix="Check that the file is complete and not in use by a program that writes it.",
        ) from None


def _query(connection: sqlite3.Connection, path: Path, selection: str) -> tuple[str, str, Unit]:
    """(SQL, name for the user, what its marks count)."""
    if selection.startswith("?query="):
        return selection.removeprefix("?query=").strip().rstrip(";"), "query", "row"
    found = connection.execute(
        "SELECT name, type FROM sqlite_master"
        " WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
    ).fetchall()
    kinds = dict(found)
    wanted = selection.removeprefix("#")
    if not wanted and len(kinds) != 1:
        raise InputError(
            f"{path.name} holds {len(kinds) or 'no'} tables" + (f": {', '.join(kinds)}." if kinds else "."),
            where=str(path),
            fix=f"Pick one: {path.name}#{next(iter(kinds))}, or use {path.name}?query=SELECT ..."
            if kinds
            else "Give a database with a table in it.",
        )
    table = wanted or next(iter(kinds))
    if table not in kinds:
        raise InputError(f"There is no table {table!r}.", where=str(path), fix=nearest(table, kinds))
    quoted = '"' + table.replace('"', '""') + '"'
    if kinds[table] == "table" and _has_rowid(connection, quoted):
        return f"SELECT rowid, * FROM {quoted} ORDER BY rowid", f"{table} table", "rowid"
    return f"SELECT * FROM {quoted}", f"{table} {kinds[table]}", "row"


def _has_rowid(connection: sqlite3.Connection, quoted: str) -> bool:
    """Whether `rowid` numbers the rows: not WITHOUT ROWID, nor where a column has that name."""
    columns = [row[1].lower() for row in connection.execute(f"PRAGMA table_info({quoted})")]
    try:
        connection.execute(f"SELECT rowid FROM {quoted} LIMIT 1")
    except sqlite3.OperationalError:
        return False
    return "rowid" not in columns


def _execute(connection: sqlite3.Connection, query: str, path: Path) -> sqlite3.Cursor:
    try:
        cursor = connection.execute(query)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise InputError(
            f"The query fails: {error}.", where=f"{path.name}: {query[:200]}", fix="Correct the SQL."
        ) from None
    if cursor.description is None:
        raise InputError("The query gives no rows.", where=f"{path.name}: {query[:200]}", fix="Write a SELECT.")
    return cursor
