"""Loading a hostile file runs no code, escapes no folder and exhausts no memory: a corpus of attacks on the format."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lamina.errors import InputError
from lamina.model.format import ENTRIES, MANIFEST, NETWORK, read
from lamina.model.runtime import load

KEPT = Path(__file__).parents[1] / "golden" / "formats" / "v1-tiny.lamina"
Entries = dict[str, bytes]


def entries() -> Entries:
    with zipfile.ZipFile(KEPT) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(entries()[name])
    return found


def packed(content: Entries, stored: tuple[str, ...] = (NETWORK,), kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, part in content.items():
            archive.writestr(name, part, zipfile.ZIP_STORED if name in stored else kind)
    return target.getvalue()


def with_part(name: str, part: bytes | dict[str, Any]) -> bytes:
    """The kept model with one entry replaced, its checksum made right again."""
    content = entries()
    content[name] = part if isinstance(part, bytes) else json.dumps(part).encode()
    return signed(content)


def signed(content: Entries, stored: tuple[str, ...] = (NETWORK,), **manifest: Any) -> bytes:
    described = json.loads(content[MANIFEST])
    described["entries"] = {
        name: {"bytes": len(part), "sha256": hashlib.sha256(part).hexdigest()}
        for name, part in content.items()
        if name != MANIFEST
    }
    content[MANIFEST] = json.dumps({**described, **manifest}).encode()
    return packed(content, stored)


def with_network(change: Callable[[onnx.ModelProto], None]) -> bytes:
    model = onnx.load_from_string(entries()[NETWORK])
    change(model)
    return with_part(NETWORK, model.SerializeToString())


def patched(content: bytes, offset: int, value: bytes, signature: bytes = b"PK\x01\x02", entry: str = NETWORK) -> bytes:
    """The archive with bytes of one entry's directory record replaced."""
    at = content.index(signature)
    while entry.encode() != content[at + 46 : at + 46 + len(entry)]:
        at = content.index(signature, at + 1)
    return content[: at + offset] + value + content[at + offset + len(value) :]


def external(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def function_by_a_long_key() -> bytes:
    """A function whose key has a bit beyond the 32nd, which protobuf drops: to others it is an unknown field."""
    function = onnx.FunctionProto(name="hidden", domain="there").SerializeToString()
    content = entries()[NETWORK] + _number(1 << 32 | 25 << 3 | 2) + _number(len(function)) + function
    return with_part(NETWORK, content)


def _number(value: int) -> bytes:
    """A protobuf varint."""
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def external_in_constant(model: onnx.ModelProto) -> None:
    tensor = onnx.TensorProto(name="t", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret")
    model.graph.node.append(helper.make_node("Constant", [], ["stolen"], value=tensor))


def external_in_branch(model: onnx.ModelProto) -> None:
    inner = onnx.ModelProto()
    external_in_constant(inner)
    inner.graph.name = "branch"
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner.graph, else_branch=inner.graph))


def foreign_domain(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def local_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("", "f", ["a"], ["b"], [node], model.opset_import))


def sparse(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("s", 1, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [5])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**12]))


def loop(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["y"], body=helper.make_graph([], "body", [], [])))


def nested(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "inner", [], [])
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=graph)], "outer", [], [])
    model.graph.node.extend(graph.node)


def huge_tensor(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.dims[:] = [10**6, 10**7]


def other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


def changed_encoder(**state: Any) -> bytes:
    encoders = document("encoders.json")
    encoders["age"]["state"].update(state)
    return with_part("encoders.json", encoders)


def image_of(height: int, width: int) -> bytes:
    encoders = document("encoders.json")
    encoders["age"]["modality"] = "image"
    encoders["age"]["state"] = {
        "height": height, "width": width, "channels": 3, "resize": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1],
        "extreme_share": 0.0, "missing": "error",
    }  # fmt: skip
    return with_part("encoders.json", encoders)


def other_modality(name: str) -> bytes:
    encoders = document("encoders.json")
    encoders["age"]["modality"] = name
    return with_part("encoders.json", encoders)


def other_task(**state: Any) -> bytes:
    tasks = document("tasks.json")
    tasks["bought"]["state"].update(state)
    return with_part("tasks.json", tasks)


def without(name: str) -> bytes:
    content = entries()
    del content[name]
    return packed(content)


def with_extra(name: str) -> bytes:
    return packed({name if part == "card.json" else part: content for part, content in entries().items()})


def twice() -> bytes:
    target = io.BytesIO(packed({name: part for name, part in entries().items() if name != "card.json"}))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(target, "a") as archive:
        archive.writestr("golden.json", b"{}")
    return target.getvalue()


def many_entries() -> bytes:
    return packed({f"{number}.txt": b"" for number in range(5000)})


def zip64() -> bytes:
    content = packed(entries())
    end = content.rindex(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    return content[:end] + locator + content[end:]


def far_entry() -> bytes:
    """An entry that lies 2 ** 64 - 1 bytes into the file, as the extra field of its directory record says."""
    content = signed(entries())
    at = content.index(b"PK\x01\x02")
    length = struct.unpack("<H", content[at + 28 : at + 30])[0]
    extra = struct.pack("<2HQ", 1, 8, 2**64 - 1)
    record = content[at : at + 30] + struct.pack("<H", len(extra)) + content[at + 32 : at + 42] + b"\xff" * 4
    record += content[at + 46 : at + 46 + length] + extra
    content = content[:at] + record + content[at + 46 + length :]
    end = content.rindex(b"PK\x05\x06") + 12
    size = struct.unpack("<L", content[end : end + 4])[0] + len(extra)
    return content[:end] + struct.pack("<L", size) + content[end + 4 :]


def bomb() -> bytes:
    content = entries()
    content["golden.json"] = b'{"rows":' + b" " * 100_000_000 + b"[]}"
    return signed(content)


def many_values() -> bytes:
    """Less than a megabyte, whose JSON of 30 would take a gigabyte once it is read."""
    # With numbers in between it does not shrink as a bomb does.
    return signed(
        {**entries(), "card.json": b'{"a":[' + b"".join(b"{}," * 100 + b"%d," % n for n in range(100_000)) + b"0]}"}
    )


def deep(name: str) -> bytes:
    return signed({**entries(), name: b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"}, stored=(NETWORK, name))


def rather_deep(name: str) -> bytes:
    return with_part(name, b'{"a":' + b"[" * 500 + b"]" * 500 + b"}")


ATTACKS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"age,color\n31,red\n",
    "only the first bytes of a zip": lambda: b"PK\x03\x04",
    "truncated": lambda: KEPT.read_bytes()[:-100],
    "truncated in the middle": lambda: KEPT.read_bytes()[:1000],
    "garbage inside": lambda: KEPT.read_bytes()[:200] + os.urandom(500) + KEPT.read_bytes()[700:],
    "something in front": lambda: b"PK\x03\x04" + b"#!/bin/sh\n" + KEPT.read_bytes(),
    "something behind": lambda: KEPT.read_bytes() + b"rm -rf",
    "an entry that climbs out": lambda: with_extra("../../escape.txt"),
    "an entry with an absolute path": lambda: with_extra("/tmp/escape.txt"),
    "an unknown entry": lambda: with_extra("run.py"),
    "one entry more": lambda: packed({**entries(), "run.py": b"x"}),
    "an entry twice": twice,
    "no network": lambda: without(NETWORK),
    "no manifest": lambda: without(MANIFEST),
    "thousands of entries": many_entries,
    "zip64": zip64,
    "an entry beyond all files": far_entry,
    "a bomb": bomb,
    "JSON of millions of empty objects": many_values,
    "a declared size beyond all limits": lambda: patched(packed(entries()), 24, struct.pack("<L", 0xFFFFFFF0)),
    "a declared size that is too small": lambda: patched(
        packed(entries()), 24, struct.pack("<L", 10), entry="encoders.json"
    ),
    "encrypted": lambda: patched(packed(entries()), 8, b"\x01\x00", entry=MANIFEST),
    "packed otherwise": lambda: packed(entries(), kind=zipfile.ZIP_BZIP2),
    "a compressed network": lambda: packed(entries(), stored=()),
    "a changed byte": lambda: packed({**entries(), "card.json": b'{"name":"other"}'}),
    "a newer version": lambda: signed(entries(), version=99),
    "a version that is no number": lambda: signed(entries(), version="1; import os"),
    "another format": lambda: signed(entries(), format="something else"),
    "names that are no text": lambda: signed(entries(), inputs={"age": ["input_0_age"]}),
    "names of nothing": lambda: signed(entries(), outputs={"bought": "no", "price": "such"}),
    "JSON nested 200,000 deep": lambda: deep("card.json"),
    "JSON nested 500 deep": lambda: rather_deep("card.json"),
    "JSON that is a list": lambda: with_part("tasks.json", b"[]"),
    "JSON with a number of a million digits": lambda: signed(
        {**entries(), "card.json": b'{"a":' + b"9" * 1_000_000 + b"}"}, stored=(NETWORK, "card.json")
    ),
    "JSON that is not UTF-8": lambda: with_part("card.json", b'{"a":"\xff\xfe"}'),
    "an empty network": lambda: with_part(NETWORK, b""),
    "a network of noise": lambda: with_part(NETWORK, bytes(range(256)) * 20),
    "ONNX Runtime's own format": lambda: with_part(NETWORK, b"\x20\0\0\0ORTM" + bytes(500)),
    "weights in a file beside": lambda: with_network(external("secret")),
    "weights in a file above": lambda: with_network(external("../../../../etc/hostname")),
    "weights in a file by its full path": lambda: with_network(external("/etc/hostname")),
    "weights in memory": lambda: with_network(external("*/_ORT_MEM_ADDR_/*")),
    "a constant in another file": lambda: with_network(external_in_constant),
    "a constant in another file, in a branch": lambda: with_network(external_in_branch),
    "a foreign operator": lambda: with_network(foreign_domain),
    "a function of its own": lambda: with_network(local_function),
    "a function of its own, by a key of more than 32 bits": function_by_a_long_key,
    "a sparse tensor of a trillion elements": lambda: with_network(sparse),
    "a tensor of ten trillion elements": lambda: with_network(huge_tensor),
    "an endless loop": lambda: with_network(loop),
    "graphs in graphs in graphs": lambda: with_network(nested),
    "another input shape": lambda: with_network(other_input),
    "an unknown modality": lambda: other_modality("../../evil"),
    "a private module as modality": lambda: other_modality("_canonical"),
    "a module elsewhere as modality": lambda: other_modality("os"),
    "an encoder without what it needs": lambda: with_part(
        "encoders.json", {name: {**part, "state": {}} for name, part in document("encoders.json").items()}
    ),
    "an encoder with something more": lambda: changed_encoder(__class__="os.system"),
    "an encoder that is no object": lambda: with_part("encoders.json", {"age": 5}),
    "an encoder of pictures without end": lambda: image_of(10**6, 10**6),
    "no inputs": lambda: with_part("encoders.json", {}),
    "a task without what it needs": lambda: with_part("tasks.json", {"bought": {"task": "classify", "state": {}}}),
    "a task of other classes": lambda: other_task(labels=["a", "b", "c"], counts=[1, 1, 1]),
    "a task with text for numbers": lambda: other_task(scale="1; import os"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_one_clear_error(attack: str, tmp_path: Path) -> None:
    file = tmp_path / "hostile.lamina"
    file.write_bytes(ATTACKS[attack]())
    (tmp_path / "secret").write_bytes(bytes(1000))
    before = sorted(tmp_path.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            load(file, threads=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(file) in str(caught.value)
    assert caught.value.fix
    assert peak < 60 << 20
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("more", [1, 5])
def test_a_newer_version_with_other_entries_asks_for_an_update(more: int) -> None:
    content = {**entries(), **{f"part{number}.json": b"{}" for number in range(more)}}
    with pytest.raises(InputError, match="version 3") as caught:
        load(signed(content, version=3), threads=1)
    assert "Update" in caught.value.fix


@pytest.mark.parametrize("path", [str(KEPT / "model.lamina"), "a\0b", "word " * 1000], ids=["no folder", "nul", "long"])
def test_what_is_no_path_is_one_clear_error(path: str) -> None:
    with pytest.raises(InputError) as caught:
        load(path)
    assert caught.value.fix


def test_the_kept_file_is_what_the_attacks_start_from() -> None:
    assert load(signed(entries())).check_golden()["sound"]
    assert tuple(entries()) == ENTRIES


@pytest.mark.parametrize(("make", "fix"), [("missing.lamina", "v1.lamina"), (".", "model.lamina")])
def test_a_path_that_is_no_file_names_what_was_meant(make: str, fix: str, tmp_path: Path) -> None:
    (tmp_path / "v1.lamina").write_bytes(KEPT.read_bytes())
    with pytest.raises(InputError) as caught:
        load(tmp_path / make)
    assert fix in caught.value.fix


def test_loading_runs_no_operator_so_that_a_constant_cannot_grow() -> None:
    """A few bytes of graph that would fold into 1 GB of zeros when ONNX Runtime optimises it."""

    def grow(model: onnx.ModelProto) -> None:
        shape = numpy_helper.from_array(np.array([16000, 16000], dtype=np.int64), "grown_shape")
        model.graph.initializer.append(shape)
        output = model.graph.output[0].name
        for node in model.graph.node:
            node.output[:] = ["small" if name == output else name for name in node.output]
        nodes = [
            helper.make_node("ConstantOfShape", ["grown_shape"], ["grown"]),
            helper.make_node("ReduceSum", ["grown"], ["none"], keepdims=0),
            helper.make_node("Add", ["small", "none"], [output]),
        ]
        model.graph.node.extend(nodes)

    content = with_network(grow)
    code = (
        "import resource, sys\n"
        "from lamina.model.runtime import load\n"
        "content = sys.stdin.buffer.read()\n"
        "import onnxruntime\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "load(content, threads=1)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=True)
    kilobytes = int(done.stdout)
    assert kilobytes < 200_000


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def _golden(value: Any) -> bytes:
    golden = document("golden.json")
    golden["rows"][0]["age"] = value
    return with_part("golden.json", golden)


def _npy(header: bytes, content: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def test_a_pickle_among_the_golden_examples_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "touched"
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    array = _npy(header, pickle.dumps(np.array([_Touch(str(marker))], dtype=object)))
    model = load(_golden({"array": base64.b64encode(array).decode()}))
    with pytest.raises(InputError, match="golden"):
        model.check_golden()
    assert not marker.exists()


@pytest.mark.parametrize(
    "value",
    [
        {"bytes": "not base64!"},
        {"array": base64.b64encode(b"no array").decode()},
        {"array": base64.b64encode(
            _npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n", b"x")).decode()},
        {"other": 1},
    ],
)  # fmt: skip
def test_hostile_golden_examples_are_one_clear_error(value: Any) -> None:
    model = load(_golden(value))
    with pytest.raises(InputError, match="golden"):
        model.check_golden()


def test_reading_keeps_nothing_open(tmp_path: Path) -> None:
    file = tmp_path / "model.lamina"
    file.write_bytes(KEPT.read_bytes())
    read(file)
    file.unlink()
    assert not file.exists()
