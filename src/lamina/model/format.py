"""The sealed file NAME.lamina: a ZIP of JSON and ONNX, written the same way every time and read with suspicion.

Entries: manifest.json (format, versions, sizes and SHA-256 of the others, the network's input and output
names), network.onnx, encoders.json, tasks.json, card.json, golden.json; from version 2 on perhaps decoder.onnx, the
graph that writes on from what the network has read. A file without it has version 1. There is no pickle, and nothing in
the file names another file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import lamina
from lamina.data.schema import Json
from lamina.errors import InputError, nearest
from lamina.files import write_bytes
from lamina.model import graph

VERSION = 2
FORMAT = "lamina model"
NETWORK, MANIFEST = "network.onnx", "manifest.json"
JSON_PARTS = ("encoders", "tasks", "card", "golden")
ENTRIES = (MANIFEST, NETWORK, *(f"{part}.json" for part in JSON_PARTS))
DECODER = "decoder.onnx"
"""An entry that only some files have."""
GRAPHS = (NETWORK, DECODER)

LARGEST_JSON = 128 << 20
LARGEST_MANIFEST = 1 << 20
LARGEST_NETWORK = 2 << 30
"""Protobuf allows no message of 2 GiB."""
LARGEST_RATIO = 200
"""A tokenizer's JSON packs about 5 times; a bomb about 1,000 times."""
DEEPEST_JSON = 64
LARGEST_VALUES = 10_000_000
"""In all JSON entries together: three bytes of text can take a hundred of memory once they are read."""

_END_RECORD = struct.Struct("<4s4H2LH")
_LARGEST_DIRECTORY, _MOST_ENTRIES = 4096, 64


@dataclass(frozen=True)
class Sealed:
    """What a sealed file holds.

    Attributes:
        network: ONNX bytes: inputs [batch, ...] in the encoders' dtypes, outputs [batch, width] float32.
        inputs: field name to the graph's input name.
        outputs: target name to the graph's output name.
        encoders: {field name: {"field": Field as a dict, "modality": name, "state": encoder.state()}}.
        tasks: {target: {"task": name, "state": task.state()}}.
        card: what a person should know before using the model.
        golden: raw examples with the expected answers (see `lamina.model.golden`).
        decoder: ONNX bytes of the graph that writes, where the network only reads (see `lamina.model.writer`).
        lamina: the version that sealed it.
    """

    network: bytes
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    encoders: Mapping[str, Json]
    tasks: Mapping[str, Json]
    card: Mapping[str, Json] = field(default_factory=dict)
    golden: Mapping[str, Json] = field(default_factory=dict)
    decoder: bytes = b""
    lamina: str = lamina.__version__


def write(path: Path, sealed: Sealed) -> int:
    """Seal to `path`, beside and renamed; the same parts give the same bytes. Returns the size in bytes.

    Raises:
        InputError: the folder cannot be written.
    """
    content = to_bytes(sealed)
    write_bytes(path, content)
    return len(content)


def to_bytes(sealed: Sealed) -> bytes:
    """The sealed file's bytes."""
    entries = {NETWORK: sealed.network, **({DECODER: sealed.decoder} if sealed.decoder else {})}
    for part in JSON_PARTS:
        entries[f"{part}.json"] = _to_json(getattr(sealed, part))
    manifest = {
        "format": FORMAT,
        "version": VERSION if sealed.decoder else 1,
        "lamina": sealed.lamina,
        "entries": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(entries.items())
        },
        "inputs": dict(sealed.inputs),
        "outputs": dict(sealed.outputs),
    }
    entries[MANIFEST] = _to_json(manifest)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in (*ENTRIES, DECODER)[: len(entries)]:
            # The earliest time that ZIP knows: the bytes must not depend on the clock.
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if _worth_packing(name, entries[name]) else zipfile.ZIP_STORED
            archive.writestr(info, entries[name])
    return target.getvalue()


def _worth_packing(name: str, content: bytes) -> bool:
    """Weights hardly shrink; and what shrinks like a bomb (blank pictures) would be refused as one."""
    return name not in GRAPHS and len(content) <= LARGEST_RATIO / 2 * len(zlib.compress(content))


def read(source: str | os.PathLike[str] | bytes) -> Sealed:
    """Read a sealed file, or its bytes, checking everything that it says about itself.

    Raises:
        InputError: missing, a folder, empty, truncated, no sealed model, damaged, newer than this Lamina,
            or hostile (too large, unknown entries, foreign operators, external data, ...).
    """
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), "the bytes given")
    path = Path(source)
    try:
        with path.open("rb") as file:
            return _read(file, str(path))
    except (FileNotFoundError, NotADirectoryError):
        siblings = [item.name for item in path.parent.glob("*.lamina")] if path.parent.is_dir() else []
        hint = nearest(path.name, siblings) if siblings else "Give the path of a .lamina file that lamina train made."
        raise InputError(f"There is no model at {path}.", fix=hint) from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a model.", fix=f"Did you mean {path / 'model.lamina'}?") from None
    except PermissionError:
        raise InputError(f"{path} may not be read.", fix="Change its permissions.") from None
    except (OSError, ValueError) as error:
        # What no path can be, such as words that are too long for one, or a disk that fails.
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{str(path)[:200]!r} cannot be read: {reason}.",
            fix="Give the path of a .lamina file that lamina train made.",
        ) from None


_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, OverflowError, OSError)
"""What unpacking raises where names are no text, or entries lie beyond any file."""


def _read(file: BinaryIO, where: str) -> Sealed:
    _check_directory(file, where)
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_archive(archive, where)
    except _UNREADABLE as error:
        raise graph.damaged(f"The model file is damaged: {error}.", where) from None
    except (RuntimeError, NotImplementedError) as error:
        # zipfile's words for encrypted entries and for unknown versions of the format.
        raise graph.damaged(f"The model file cannot be unpacked: {error}.", where) from None


def _check_directory(file: BinaryIO, where: str) -> None:
    """Look at the ZIP's end record before `zipfile` builds an object for each entry it claims to have."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise graph.damaged("The model file is empty.", where)
    file.seek(max(size - _END_RECORD.size, 0))
    tail = file.read(_END_RECORD.size)
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        raise InputError(
            "The file is not a sealed model.", where=where, fix="Give a .lamina file that lamina train made."
        )
    if len(tail) < _END_RECORD.size or not tail.startswith(b"PK\x05\x06"):
        raise graph.damaged("The model file is truncated: its end is missing.", where)
    _, disk, directory_disk, here, entries, directory, offset, comment = _END_RECORD.unpack(tail)
    if entries > _MOST_ENTRIES or here != entries or directory > _LARGEST_DIRECTORY:
        raise InputError(
            f"The archive has {entries} entries; a sealed model has {len(ENTRIES)}.",
            where=where,
            fix="Give a .lamina file that lamina train made.",
        )
    if disk or directory_disk or comment or offset + directory + _END_RECORD.size != size:
        raise graph.damaged("The model file is damaged: its directory is not where it says.", where)
    file.seek(0)


def _read_archive(archive: zipfile.ZipFile, where: str) -> Sealed:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if MANIFEST in names:
        # Before the entries: a newer version may well have others.
        _check_size(archive.getinfo(MANIFEST), where)
        _check_version(_from_json(_entry(archive, MANIFEST, where), MANIFEST, where), where)
    for name in names:
        if name not in (*ENTRIES, DECODER):
            raise InputError(
                f"The archive holds {name[:100]!r}, which is no part of a sealed model.",
                where=where,
                fix="Give a .lamina file that lamina train made.",
            )
    if len(set(names)) != len(names):
        raise graph.damaged("The model file holds one entry twice.", where)
    for name in ENTRIES:
        if name not in names:
            raise graph.damaged(f"The model file has no {name}.", where)
    for info in infos:
        _check_size(info, where)
    manifest = _from_json(_entry(archive, MANIFEST, where), MANIFEST, where)
    listed = _check_manifest(manifest, set(names) - {MANIFEST}, where)
    content = {name: _verified(archive, name, listed, where) for name in names if name != MANIFEST}
    _check_values([content[f"{part}.json"] for part in JSON_PARTS], where)
    parts = {part: _from_json(content[f"{part}.json"], f"{part}.json", where) for part in JSON_PARTS}
    decoder = content.get(DECODER, b"")
    for name in set(GRAPHS) & set(content):
        graph.check(content[name], where)
    return Sealed(
        network=content[NETWORK],
        inputs=manifest["inputs"],
        outputs=manifest["outputs"],
        decoder=decoder,
        lamina=str(manifest.get("lamina", "")),
        **parts,
    )


def _check_size(info: zipfile.ZipInfo, where: str) -> None:
    sizes = {**dict.fromkeys(GRAPHS, LARGEST_NETWORK), MANIFEST: LARGEST_MANIFEST}
    largest = sizes.get(info.filename, LARGEST_JSON)
    if info.file_size > largest:
        raise graph.damaged(f"{info.filename} is {info.file_size:,} bytes; at most {largest:,} are allowed.", where)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise graph.damaged(f"{info.filename} is packed in a way that sealed models do not use.", where)
    if info.filename in GRAPHS and info.compress_type != zipfile.ZIP_STORED:
        raise graph.damaged(f"{info.filename} is compressed, which sealed models do not do.", where)
    if info.file_size > 4096 and info.file_size > LARGEST_RATIO * max(info.compress_size, 1):
        raise graph.damaged(f"{info.filename} would grow more than {LARGEST_RATIO}-fold when unpacked.", where)


def _check_values(parts: Sequence[bytes], where: str) -> None:
    """Refuse JSON of more values than a model can have, by the marks that stand before each, before it is read."""
    values = sum(part.count(mark) for part in parts for mark in (b",", b"[", b"{"))
    if values > LARGEST_VALUES:
        raise graph.damaged(f"The JSON inside has {values:,} values; at most {LARGEST_VALUES:,} are allowed.", where)


def _entry(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    """An entry's bytes: never more than it declares, whatever its packed data would give."""
    declared = archive.getinfo(name).file_size
    with archive.open(name) as packed:
        content = packed.read(declared)
        if len(content) != declared or packed.read(1):
            raise graph.damaged(f"{name} is not of the size it declares.", where)
    return content


def _check_version(manifest: Mapping[str, Json], where: str) -> None:
    if manifest.get("format") != FORMAT:
        raise InputError(
            "The file is not a sealed model.", where=where, fix="Give a .lamina file that lamina train made."
        )
    version = manifest.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise graph.damaged(f"The model's format version is {str(version)[:50]!r}.", where)
    if version > VERSION:
        raise InputError(
            f"The model has format version {version} (sealed by Lamina {str(manifest.get('lamina'))[:50]}); "
            f"this Lamina reads up to {VERSION}.",
            where=where,
            fix="Update Lamina: pip install --upgrade lamina",
        )


def _check_manifest(manifest: Mapping[str, Json], present: set[str], where: str) -> Mapping[str, Json]:
    for part in ("inputs", "outputs"):
        names = manifest.get(part)
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise graph.damaged(f"The manifest's {part} are no table of names.", where)
    listed = manifest.get("entries")
    if DECODER in present and manifest["version"] < 2:
        raise graph.damaged(f"A model of format version {manifest['version']} has no {DECODER}.", where)
    if not isinstance(listed, dict) or set(listed) != present:
        raise graph.damaged("The manifest does not list the file's entries.", where)
    return listed


def _verified(archive: zipfile.ZipFile, name: str, listed: Mapping[str, Json], where: str) -> bytes:
    content = _entry(archive, name, where)
    if listed[name] != {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}:
        raise graph.damaged(f"{name} has been changed since the model was sealed: its checksum differs.", where)
    return content


def _to_json(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=False, separators=(",", ":")).encode("utf-8")


def _from_json(content: bytes, name: str, where: str) -> dict[str, Json]:
    try:
        value = json.loads(content)
    except RecursionError:
        raise graph.damaged(f"{name} is nested too deeply.", where) from None
    except ValueError as error:
        raise graph.damaged(f"{name} is not valid JSON: {error}.", where) from None
    if not isinstance(value, dict):
        raise graph.damaged(f"{name} is not a JSON object.", where)
    if _deeper_than(value, DEEPEST_JSON):
        raise graph.damaged(f"{name} is nested too deeply.", where)
    return value


def _deeper_than(value: Json, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            part
            for item in level
            for part in (item.values() if isinstance(item, dict) else item)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True
