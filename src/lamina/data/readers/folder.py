"""Folders: pictures and sounds by class, or tables with the files they name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lamina.data.readers import paired
from lamina.data.readers.locate import MEDIA, PARQUET, TABLES, file_hash, leads_nowhere, stem, suffix, suffix_of
from lamina.data.readers.source import Collection, Part, RowChunk, Source, object_array
from lamina.errors import InputError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_IGNORED = {"thumbs.db", "desktop.ini", "__macosx"}
_DOCUMENTS = ("readme", "license", "licence", "about", "citation", "authors", "copying")
_LAYOUT = "Make one folder per class (photos/cat/1.jpg), or train/ and test/ with a folder per class in each."


class File(NamedTuple):
    """A file under the root: its relative path with forward slashes, and why it cannot be used ("" if it can)."""

    path: str
    problem: str
    stamp: str


ReadFile = Callable[[Path], Source]


def read(root: Path, read_file: ReadFile, *, labelled: bool) -> Collection:
    """A folder in any of the layouts that this module knows.

    Args:
        root: the folder.
        read_file: reads one table.
        labelled: True for training: folders' names are classes. False for prediction: all files, at any depth.

    Raises:
        InputError: no usable files, empty class folders, folders nested deeper than classes, unclear tables.
    """
    top = _entries(root)
    tables = [item for item in top if item.is_file() and suffix_of(item.name) in TABLES]
    folders = [item for item in top if item.is_dir()]
    chosen = _choose_tables(root, tables, folders)
    if chosen:
        return _tables(root, chosen, tables, read_file)
    pairs = paired.rows_of({folder.name: partial(_entries, root / folder.name) for folder in folders}, SPLITS)
    if pairs:
        return _pairs(root, pairs)
    if not labelled:
        return _all_media(root)
    named = {folder.name: SPLITS[folder.name.lower()] for folder in folders if folder.name.lower() in SPLITS}
    files = walk(root)
    if named and _holds_folders(root, named):
        return _split_media(root, named, [folder.name for folder in folders], files)
    return _media(root, files, {folder.name: "" for folder in folders})


def _pairs(root: Path, pairs: Sequence[paired.Pair]) -> Collection:
    """Pictures with a picture that belongs to each."""
    files = {file.path: file for file in walk(root)}
    rows: list[paired.Pair] = []
    unreadable: list[paired.Pair] = []
    for pair in pairs:
        problem = files[pair.path].problem if pair.path in files else ""
        (unreadable if problem else rows).append(pair)
    kind = pairs[0].kind
    columns: dict[str, list[Any]] = {"path": [pair.path for pair in rows], kind: [pair.other for pair in rows]}
    if len({pair.split for pair in rows}) > 1:
        columns["split"] = [pair.split for pair in rows]
    missing = [(pair.path, files[pair.path].problem) for pair in unreadable]
    used = {pair.path for pair in pairs} | {pair.other for pair in pairs}
    alone = [path for path, file in files.items() if path not in used and not file.problem]
    notes = [f"{len(alone)} files belong to no pair, first {alone[0]}: they were left out."] if alone else []
    source = path_source(root.name, columns)
    return Collection(root.name, (Part(source),), root, fingerprint(list(files.values())), tuple(missing), tuple(notes))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            usable = (item for item in found if not _is_hidden(item.name) and not leads_nowhere(item))
            return sorted(usable, key=lambda item: item.name)
    except PermissionError:
        raise InputError(f"{folder} may not be opened.", where=str(folder), fix="Give yourself permission.") from None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _IGNORED


def _choose_tables(
    root: Path, tables: Sequence[os.DirEntry[str]], folders: Sequence[os.DirEntry[str]]
) -> list[tuple[Path, str]]:
    """(table, split) of the tables that are the data; empty if pictures or sounds are."""
    paths = [Path(item.path) for item in tables]
    described = [path for path in paths if stem(path) == "metadata"]
    if len(described) > 1:
        shown = ", ".join(path.name for path in described)
        raise InputError(
            f"{root.name} has several metadata tables: {shown}.", where=str(root), fix="Name the one to use."
        )
    if described:
        return [(described[0], "")]
    by_split: dict[str, Path] = {}
    for path in paths:
        split = SPLITS.get(stem(path), "")
        if split and split in by_split:
            raise InputError(
                f"{by_split[split].name} and {path.name} both are the {split} part.",
                where=str(root),
                fix="Keep one of them.",
            )
        if split:
            by_split[split] = path
    if "train" in by_split:
        ordered: list[tuple[Path, str]] = [
            (by_split[split], split) for split in ("train", "validation", "test") if split in by_split
        ]
        return ordered if len(ordered) > 1 else [(ordered[0][0], "")]
    if len(folders) > 1 or not paths:
        return []
    if len(paths) == 1 or all(suffix(path) in PARQUET for path in paths):
        return [(path, "") for path in paths]
    shown = ", ".join(path.name for path in paths[:10])
    raise InputError(
        f"{root.name} has {len(paths)} tables ({shown}), and it is not clear which is the data.",
        where=str(root),
        fix=f"Name one, e.g. {root / paths[0].name}, or call them train and test.",
    )


def _tables(
    root: Path, chosen: list[tuple[Path, str]], tables: Sequence[os.DirEntry[str]], read_file: ReadFile
) -> Collection:
    paths = [path for path, _ in chosen]
    unused = sorted({item.name for item in tables} - {path.name for path in paths})
    notes = [f"Left out of {root.name}: {', '.join(unused)}."] if unused else []
    if len(chosen) > 1 and not chosen[0][1]:
        from lamina.data.readers.columnar import read_parts

        parts = [Part(read_parts(paths, root.name))]
    else:
        parts = [Part(read_file(path), split) for path, split in chosen]
    parts = same_columns(parts, notes)
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(f"{path.name} {file_hash(path)} ".encode())
    files = walk(root) if any(item.is_dir() for item in _entries(root)) else []
    for file in files:
        digest.update(f"{file.path} {file.stamp}\n".encode())
    return Collection(root.name, tuple(parts), root, digest.hexdigest(), notes=tuple(notes))


def same_columns(parts: list[Part], notes: list[str]) -> list[Part]:
    """The parts with the first one's columns; what a later part has beyond them is left out, with a note.

    Raises:
        InputError: a later part lacks a column, or a part has a column `split` beside being one.
    """
    wanted = parts[0].source.columns
    result = []
    for part in parts:
        columns = part.source.columns
        if part.split and "split" in columns:
            raise InputError(
                f"{part.source.name} has a column 'split', and its name says the split as well.",
                where=part.source.name,
                fix="Put all rows into one table, or remove the column.",
            )
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise InputError(
                f"{part.source.name} lacks columns that {parts[0].source.name} has: {', '.join(missing)}.",
                where=part.source.name,
                fix=f"Train on {parts[0].source.name} alone, or complete {part.source.name}.",
            )
        extra = [name for name in columns if name not in wanted]
        if extra:
            notes.append(f"Left out of {part.source.name}: {', '.join(extra)} (not in {parts[0].source.name}).")
            part = replace(part, source=_narrowed(part.source, wanted))
        result.append(part)
    return result


def _narrowed(source: Source, columns: tuple[str, ...]) -> Source:
    def chunks(size: int) -> Iterator[RowChunk]:
        for chunk in source.chunks(size):
            yield replace(chunk, values={name: chunk.values[name] for name in columns})

    def batches() -> Iterator[Any]:
        assert source.batches is not None
        for batch in source.batches():
            yield batch.select(list(columns))

    return replace(source, columns=columns, chunks=chunks, batches=batches if source.batches else None)


def walk(root: Path) -> list[File]:
    """All files under `root`, sorted by path; links are followed, but no folder is entered twice."""
    found: list[File] = []
    seen: set[tuple[int, int]] = set()

    def enter(folder: str, prefix: str) -> None:
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                found.append(File(prefix.rstrip("/"), "a link to a folder that was read already", ""))
                return
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as items:
                for item in items:
                    if _is_hidden(item.name):
                        continue
                    if not leads_nowhere(item) and item.is_dir():
                        enter(item.path, f"{prefix}{item.name}/")
                    else:
                        found.append(_file(item, prefix + item.name))
        except PermissionError:
            found.append(File(prefix.rstrip("/"), "a folder that may not be opened", ""))

    enter(str(root), "")
    return sorted(found, key=lambda file: file.path)


def _file(item: os.DirEntry[str], path: str) -> File:
    try:
        status = item.stat()
    except OSError as error:
        gone = item.is_symlink() and isinstance(error, FileNotFoundError)
        reason = "a link to a file that does not exist" if gone else f"cannot be read: {error.strerror}"
        return File(path, reason, "")
    stamp = f"{status.st_size} {status.st_mtime_ns}"
    if not path.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in path):
        return File(path.encode(errors="backslashreplace").decode(), "its name is not valid UTF-8", stamp)
    if not item.is_file():
        return File(path, "no ordinary file", stamp)
    if suffix_of(item.name) not in MEDIA:
        return File(path, "neither a picture nor a sound", stamp)
    if status.st_size == 0:
        return File(path, "an empty file", stamp)
    if not os.access(item.path, os.R_OK):
        return File(path, "may not be read", stamp)
    return File(path, "", stamp)


def fingerprint(files: Sequence[File]) -> str:
    """Hash of relative paths, sizes and modification times (not of the contents: that would read every file)."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(f"{file.path} {file.stamp}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _is_document(path: str) -> bool:
    """READMEs and licences beside the classes are no lost data."""
    return "/" not in path and path.lower().startswith(_DOCUMENTS)


def _holds_folders(root: Path, named: dict[str, str]) -> bool:
    inside = [name for name in named if any(item.is_dir() for item in _entries(root / name))]
    if inside and len(inside) < len(named):
        without = next(name for name in named if name not in inside)
        raise InputError(
            f"{without}/ has no class folders, but {inside[0]}/ has.", where=str(root / without), fix=_LAYOUT
        )
    if not inside and set(named.values()) >= {"train", "test"}:
        raise InputError(
            f"{' and '.join(f'{name}/' for name in named)} have no class folders.", where=str(root), fix=_LAYOUT
        )
    return bool(inside)


def _split_media(root: Path, named: dict[str, str], folders: list[str], files: list[File]) -> Collection:
    if "train" not in named.values():
        raise InputError(
            f"{root.name} has {', '.join(f'{name}/' for name in named)}, but no train/.",
            where=str(root),
            fix=f"Name the one folder to read, e.g. {root / next(iter(named))}.",
        )
    others = [name for name in folders if name not in named]
    notes = []
    for name in others:
        count = sum(file.path.startswith(f"{name}/") and not file.problem for file in files)
        notes.append(f"{name}/ is neither train, validation nor test: its {count} files were left out.")
    kept = [file for file in files if file.path.split("/", 1)[0] not in others]
    order = {"train": 0, "validation": 1, "test": 2}
    splits = dict(sorted(named.items(), key=lambda item: order[item[1]]))
    return _media(root, kept, splits, notes)


def _media(root: Path, files: list[File], tops: dict[str, str], notes: Sequence[str] = ()) -> Collection:
    """Files by class. `tops` maps the top folders to their split, or to "" where they are the classes."""
    by_split = any(tops.values())
    depth = 3 if by_split else 2
    unreadable: list[tuple[str, str]] = []
    rows: list[tuple[str, str, str]] = []
    loose = [file for file in files if "/" not in file.path and not file.problem]
    if loose and not any(file for file in files if "/" in file.path and not file.problem):
        return _flat(root, files)
    deep = 0
    for file in files:
        parts = file.path.split("/")
        if file.problem:
            if not _is_document(file.path):
                unreadable.append((file.path, file.problem))
        elif len(parts) < depth:
            unreadable.append((file.path, "in no class folder"))
        elif len(parts) > depth:
            deep += 1
            unreadable.append((file.path, "deeper than the class folders"))
        else:
            rows.append((file.path, parts[-2], tops[parts[0]] if by_split else ""))
    if not rows:
        raise _no_rows(root, files, deep)
    _check_classes(root, rows, tops, by_split, deep)
    if by_split:
        order = {"train": 0, "validation": 1, "test": 2}
        rows.sort(key=lambda row: order[row[2]])
    columns = {"path": [row[0] for row in rows], "label": [row[1] for row in rows]}
    if len({row[2] for row in rows}) > 1:
        columns["split"] = [row[2] for row in rows]
    source = path_source(root.name, columns)
    return Collection(root.name, (Part(source),), root, fingerprint(files), tuple(unreadable), tuple(notes))


def _check_classes(
    root: Path, rows: list[tuple[str, str, str]], tops: dict[str, str], by_split: bool, deep: int
) -> None:
    filled = {path.rsplit("/", 1)[0] for path, _, _ in rows}
    wanted = (
        [f"{top}/{item.name}" for top in tops for item in _entries(root / top) if item.is_dir()]
        if by_split
        else list(tops)
    )
    empty = [folder for folder in wanted if folder not in filled]
    if empty and deep:
        raise InputError(
            f"{empty[0]}/ has folders inside: folders are nested deeper than classes.", where=str(root), fix=_LAYOUT
        )
    if empty:
        raise InputError(
            f"The class folder {empty[0]}/ has no pictures or sounds"
            + (f" (and {len(empty) - 1} more)." if len(empty) > 1 else "."),
            where=str(root / empty[0]),
            fix="Fill it or remove it.",
        )
    classes = {label for _, label, _ in rows}
    if "images" in classes and classes & {"annotations", "labels"}:
        raise InputError(
            f"{root.name} has the folders {', '.join(sorted(classes))}: pictures with annotations, not classes.",
            where=str(root),
            fix="Give a metadata.csv that names the files and their labels, one folder per class, or the folders "
            "images and masks with the same names in both.",
        )


def _no_rows(root: Path, files: list[File], deep: int) -> InputError:
    if deep:
        return InputError(
            f"{root.name} holds folders of folders of folders: where are the classes?", where=str(root), fix=_LAYOUT
        )
    if files:
        shown = ", ".join(file.path for file in files[:5])
        return InputError(
            f"{root.name} has no table, picture or sound that can be read among its {len(files)} files ({shown}).",
            where=str(root),
            fix=f"Known endings: {' '.join(TABLES + MEDIA)}",
        )
    return InputError(f"The folder {root.name} holds no files.", where=str(root), fix="Give a folder with data in it.")


def _flat(root: Path, files: list[File]) -> Collection:
    unreadable = tuple((file.path, file.problem) for file in files if file.problem and not _is_document(file.path))
    source = path_source(root.name, {"path": [file.path for file in files if not file.problem]})
    return Collection(root.name, (Part(source),), root, fingerprint(files), unreadable)


def _all_media(root: Path) -> Collection:
    """For prediction: one row for every file at any depth, also for those that cannot be used."""
    files = [file for file in walk(root) if not (file.problem and _is_document(file.path))]
    if not any(not file.problem for file in files):
        raise _no_rows(root, files, 0)
    problems = {number: file.problem for number, file in enumerate(files) if file.problem}
    source = path_source(root.name, {"path": [file.path for file in files]}, problems)
    return Collection(root.name, (Part(source),), root, fingerprint(files))


def one_file(path: Path) -> Collection:
    """A single picture or sound as a table of one row."""
    source = path_source(path.name, {"path": [path.name]})
    return Collection(path.name, (Part(source),), path.parent, file_hash(path))


def path_source(
    name: str, columns: Mapping[str, Sequence[str | None]], problems: dict[int, str] | None = None
) -> Source:
    """Columns of text, `path` among them, as a source; `problems` says of which rows why they cannot be used."""
    arrays = {column: object_array(values) for column, values in columns.items()}
    rows = len(arrays["path"])
    problems = problems or {}

    def chunks(size: int) -> Iterator[RowChunk]:
        for start in range(0, rows, size):
            stop = min(start + size, rows)
            errors = {number - start: problems[number] for number in range(start, stop) if number in problems}
            values = {column: array[start:stop] for column, array in arrays.items()}
            yield RowChunk(start, values, errors, np.arange(start, stop))

    return Source(name, tuple(arrays), "path", chunks, dict.fromkeys(arrays, "text"))
