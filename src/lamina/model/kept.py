"""An index that is kept on disk: the data is embedded once, and again only if it or the model has changed.

A folder with `complete.json` (format, model, data, checksums; written last) and the files that it names, each with its
own checksum in its name: the vectors as raw float32, the rows and names as JSON, and for large sets the graph. What is
damaged is built again. The graph is read by a library that trusts its bytes, so its checksum is keyed with a secret of
this user: of a folder that came from elsewhere the graph is built again and never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lamina
from lamina.data.examples import COMPLETE, cache_folder, trim_cache
from lamina.data.readers.collect import is_unpacked
from lamina.data.readers.locate import file_hash
from lamina.data.schema import Json
from lamina.data.tables import read_chunks
from lamina.errors import InputError
from lamina.files import CannotWriteError, write_bytes, write_text
from lamina.model import hnsw
from lamina.model.search import Index, embedding_of, index

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]

FORMAT, VERSION = "lamina index", 1
VECTORS, ROWS, GRAPH = "vectors.f32", "rows.json", "graph.hnsw"
DIGEST = 32
"""Hexadecimal digits of a checksum."""
SECRET_BYTES = 32
MOST_BYTES = 10 * 2**30
"""Of all indexes in the cache together; those not used for longest go first."""
LARGEST_DESCRIPTION, LARGEST_ROWS = 1 << 20, 1 << 30
FILES = ("image", "audio", "video")
"""Modalities whose values are paths of files, which can change while the table that names them does not."""


@dataclass(frozen=True)
class Kept:
    """An index and where it is kept.

    Attributes:
        index: the rows by their vectors.
        folder: where it is kept; None if it is not, as of data in memory.
        reused: it was there, and only has been read.
        reason: why the rows had to be embedded, "" if they had not.
        graph_reason: why there is no graph although there would be use for one, "" otherwise.
    """

    index: Index
    folder: Path | None
    reused: bool
    reason: str = ""
    graph_reason: str = ""

    def for_queries(self, number: int) -> Kept:
        """With a graph, if so many queries are answered the sooner for it; built and kept, or read."""
        return self._for_comparisons(number * len(self.index.rows))

    def for_duplicates(self) -> Kept:
        """With a graph, if the comparison of all rows with all others takes longer."""
        rows = len(self.index.rows)
        return self if rows < hnsw.DUPLICATES_FROM else self._for_comparisons(rows**2 // 2)

    def _for_comparisons(self, comparisons: int) -> Kept:
        if len(self.index.rows) < hnsw.GRAPH_FROM or comparisons < hnsw.WORTH_READING:
            return self
        if not hnsw.installed():
            reason = "all rows are compared: a graph would be faster (pip install 'lamina[search]')"
            return replace(self, graph_reason=reason if comparisons >= hnsw.WORTH_BUILDING else "")
        graph = None if self.folder is None else _read_graph(self.folder, self.index.vectors)
        if graph is None and comparisons >= hnsw.WORTH_BUILDING:
            graph = hnsw.build(self.index.vectors)
            if self.folder is not None:
                _keep_graph(self.folder, graph)
        return replace(self, index=replace(self.index, graph=graph))


def open_index(
    model: Model, data: Any, folder: Path | None = None, tell: Callable[[str], None] = lambda line: None
) -> Kept:
    """The rows of the data by their vectors: read, if they are kept for this model and this data, or embedded and kept.

    Args:
        data: as for `lamina.model.rows.open_rows`; what is in memory is not kept.
        folder: where to keep them; by default in Lamina's cache.
        tell: told why rows are embedded again.

    Raises:
        InputError: the model gives no embeddings, no row can be read, or the folder holds something else.
    """
    embedding_of(model)
    if not isinstance(data, str | os.PathLike) or str(data).lstrip().startswith("{"):
        return Kept(index(model, data), None, reused=False)
    asked = {
        "format": FORMAT,
        "version": VERSION,
        "lamina": lamina.__version__,
        "model": model_digest(model),
        "data": data_digest(model, data),
    }
    place = _default_folder(str(asked["model"]), os.fsdecode(data)) if folder is None else folder
    if folder is not None:
        _check_folder(folder)
    found, reason = _read(place, asked)
    if found is not None:
        return Kept(found, place, reused=True)
    tell(f"the rows are embedded{' again' if reason else ', once'}{': ' if reason else ''}{reason}")
    built = index(model, data)
    try:
        _keep(place, built, asked)
    except (OSError, CannotWriteError):
        # A cache that cannot be written is no hindrance; a folder that the user named is.
        if folder is not None:
            raise
        return Kept(built, None, reused=False, reason=reason)
    if folder is None:
        trim_cache(place.parent, MOST_BYTES)
    return Kept(built, place, reused=False, reason=reason)


def model_digest(model: Model) -> str:
    """Changes with whatever changes the vectors: the network and the encoders."""
    parts = json.dumps([model.sealed.encoders, model.sealed.tasks], sort_keys=True).encode()
    return _digest(model.sealed.network, parts)


def data_digest(model: Model, data: Any) -> str:
    """Changes with the data: the bytes of a table or archive, and sizes and times of the files named in it."""
    text = os.fsdecode(data)
    if is_unpacked(data) and Path(text).is_file():
        return file_hash(Path(text))
    reader = read_chunks(data)
    digest = hashlib.blake2b(reader.collection.fingerprint.encode(), digest_size=DIGEST // 2)
    columns = [item.field.columns[0] for item in model.inputs.values() if item.field.modality in FILES]
    columns = [name for name in columns if name in reader.columns]
    if columns and reader.root is not None:
        for chunk in reader:
            for name in columns:
                digest.update(_stamps(reader.root, chunk.values[name]))
    return digest.hexdigest()


def _stamps(root: Path, values: Array) -> bytes:
    """Size and time of each file that is there."""
    stamps = []
    for value in values.tolist():
        if isinstance(value, str) and value:
            with suppress(OSError, ValueError):
                status = (root / value).stat()
                stamps.append(f"{status.st_size} {status.st_mtime_ns}")
                continue
        stamps.append("")
    return "\n".join(stamps).encode()


def _default_folder(model: str, data: str) -> Path:
    where = data if "://" in data else str(Path(data).resolve())
    return cache_folder() / "indexes" / _digest(model.encode(), where.encode(errors="surrogateescape"))


def _check_folder(folder: Path) -> None:
    """Nothing but an index may be written over."""
    if folder.is_file() or (folder.is_dir() and not (folder / COMPLETE).exists() and any(folder.iterdir())):
        raise InputError(
            f"{folder} holds something that is no index.", where="--index", fix="Name a new folder, or an empty one."
        )


def _read(folder: Path, asked: Mapping[str, Json]) -> tuple[Index | None, str]:
    """(The index, "") or (None, why it cannot be used, "" if there is none)."""
    try:
        description = _description(folder)
    except FileNotFoundError:
        return None, ""
    except _UNUSABLE:
        return None, "the kept index is damaged"
    reasons = {
        "format": "the folder holds no index",
        "version": "the index has another format",
        "lamina": "the index was made by another version of Lamina",
        "model": "the index was made by another model",
        "data": "the data has changed",
    }
    for name, reason in reasons.items():
        if description.get(name) != asked[name]:
            return None, reason
    try:
        found = _read_rows(folder, description)
    except _UNUSABLE:
        return None, "the kept index is damaged"
    with suppress(OSError):
        os.utime(folder / COMPLETE)
    return found, ""


_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a file can raise that is damaged, or was never written by us."""


def _description(folder: Path) -> dict[str, Any]:
    description = json.loads(_read_file(folder / COMPLETE, LARGEST_DESCRIPTION))
    if not isinstance(description, dict):
        raise ValueError("no description")
    return description


def _read_rows(folder: Path, description: Mapping[str, Any]) -> Index:
    count, size = int(description["rows"]), int(description["size"])
    path = folder / _named(VECTORS, description["files"])
    if count < 1 or size < 1 or path.stat().st_size != 4 * count * size or _digest_of(path) != path.suffix[1:]:
        raise ValueError("the vectors are damaged")
    vectors = np.memmap(path, np.float32, "r", shape=(count, size))
    path = folder / _named(ROWS, description["files"])
    content = _read_file(path, LARGEST_ROWS)
    if _digest(content) != path.suffix[1:]:
        raise ValueError("the rows are damaged")
    table = json.loads(content)
    rows = np.array(table["rows"], np.int64)
    names = tuple(map(str, table["names"])) or ("",) * count
    if rows.shape != (count,) or len(names) != count:
        raise ValueError("the rows are others")
    return Index(vectors, rows, names, {int(row): str(reason) for row, reason in table["errors"].items()})


def _named(name: str, files: Mapping[str, Any]) -> str:
    """A file's name in the folder: nothing that a description says leads out of it."""
    digest = str(files[name])
    if len(digest) != DIGEST or not set(digest) <= set("0123456789abcdef"):
        raise ValueError("no checksum")
    return f"{name}.{digest}"


def _read_file(path: Path, largest: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError("too large")
    return content


def _keep(folder: Path, built: Index, asked: Mapping[str, Json]) -> None:
    table = {
        "rows": built.rows.tolist(),
        "names": list(built.names) if any(built.names) else [],
        "errors": {str(row): reason for row, reason in built.errors.items()},
    }
    contents = {VECTORS: np.ascontiguousarray(built.vectors, "<f4").tobytes(), ROWS: json.dumps(table).encode()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_bytes(folder / f"{name}.{_digest(content)}", content)
    files = {name: _digest(content) for name, content in contents.items()}
    _describe(folder, {**asked, "rows": len(built.rows), "size": built.vectors.shape[1], "files": files, "graph": None})


def _describe(folder: Path, description: Mapping[str, Json]) -> None:
    """From the moment that the description is renamed the new files count; then the old ones go."""
    write_text(folder / COMPLETE, json.dumps(description))
    graph = description["graph"]
    files = {**description["files"], **({GRAPH: graph["digest"]} if graph else {})}
    for name in (VECTORS, ROWS, GRAPH):
        for old in folder.glob(f"{name}.{'[0-9a-f]' * DIGEST}"):
            if old.suffix[1:] != files.get(name):
                old.unlink(missing_ok=True)


def _keep_graph(folder: Path, graph: hnsw.Graph) -> None:
    with suppress(*_UNUSABLE, CannotWriteError):
        content, description = graph.to_bytes(), _description(folder)
        digest = _graph_digest(content, description)
        write_bytes(folder / f"{GRAPH}.{digest}", content)
        _describe(folder, {**description, "graph": {"digest": digest, "recall": graph.recall}})


def _read_graph(folder: Path, vectors: Array) -> hnsw.Graph | None:
    """The kept graph, if this user has written it and it is whole."""
    with suppress(*_UNUSABLE):
        description = _description(folder)
        kept = description["graph"]
        if kept is None:
            return None
        content = (folder / _named(GRAPH, {GRAPH: kept["digest"]})).read_bytes()
        if secrets.compare_digest(_graph_digest(content, description), kept["digest"]):
            return hnsw.read(content, vectors, float(kept["recall"]))
    return None


def _graph_digest(content: bytes, description: Mapping[str, Any]) -> str:
    """Of the graph and of the vectors that it is over, keyed: nobody else can make one that fits."""
    return _digest(str(description["files"][VECTORS]).encode(), content, key=_secret())


def _secret() -> bytes:
    """Random bytes that only this user can read: who cannot read them cannot forge a graph."""
    path = cache_folder() / "secret"
    with suppress(OSError):
        found = path.read_bytes()
        if len(found) == SECRET_BYTES:
            return found
        path.unlink()
    made = secrets.token_bytes(SECRET_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(place, "wb") as file:
        file.write(made)
    return made


def _digest(*contents: bytes, key: bytes = b"") -> str:
    digest = hashlib.blake2b(digest_size=DIGEST // 2, key=key)
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST // 2)).hexdigest()
