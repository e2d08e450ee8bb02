"""Sealed models behind HTTP: the same answers as without, whatever is sent."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from small_models import forecasting_model, objects, seal, table_model, writing_model

from lamina.cli import main
from lamina.cli.serve import _listening
from lamina.errors import InputError
from lamina.model.format import write
from lamina.model.runtime import Model, load
from lamina.serve.app import Limits, Server, application
from lamina.serve.queue import FullError, Queue
from lamina.serve.values import answer, asked

ROW = {"age": 31, "color": "red"}


def picture(color: int) -> bytes:
    target = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), color, np.uint8)).save(target, "PNG")
    return target.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sealed models: of a table, of pictures, of series, and one that translates."""
    folder = tmp_path_factory.mktemp("models")
    pictures = {"photo": objects([picture(10 * n) for n in range(20)]), "kind": objects(["a", "b"] * 10)}
    sealed = {
        "customers": table_model()[0],
        "photos": seal(pictures, {"photo": "image"}, {"kind": "classify"})[0],
        "shops": forecasting_model(),
        "words": writing_model(True)[0],
    }
    for name, model in sealed.items():
        write(folder / f"{name}.lamina", model)
    return {name: folder / f"{name}.lamina" for name in sealed}


@pytest.fixture(scope="module")
def models(files: Mapping[str, Path]) -> dict[str, Model]:
    return {name: load(file, threads=1) for name, file in files.items()}


class Running:
    """A server in a thread, on any free port."""

    def __init__(self, server: Server, host: str = "127.0.0.1") -> None:
        self.socket = _listening(host, 0)
        self.port = self.socket.getsockname()[1]
        self.uvicorn = uvicorn.Server(uvicorn.Config(application(server, host), log_level="error"))
        self.thread = threading.Thread(target=self.uvicorn.run, args=([self.socket],))
        self.thread.start()

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """(status, JSON or bytes, headers)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, sent, {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        found, told = response.read(), {name.lower(): value for name, value in response.getheaders()}
        connection.close()
        is_json = told.get("content-type", "").startswith("application/json")
        return response.status, json.loads(found) if is_json else found, told

    def rows(self, name: str, rows: list[Any]) -> list[dict[str, Any]]:
        status, found, _ = self.ask("POST", f"/models/{name}/predict", {"rows": rows})
        assert status == 200, found
        return list(found["answers"])

    def close(self) -> None:
        self.uvicorn.should_exit = True
        self.thread.join()


@pytest.fixture(scope="module")
def running(models: Mapping[str, Model]) -> Iterator[Running]:
    server = Server(models, Limits(bytes=100_000, rows=50))
    found = Running(server)
    yield found
    found.close()
    server.close()


def test_answers_are_those_of_the_model(running: Running, models: Mapping[str, Model]) -> None:
    rows = [ROW, {"age": None, "color": "no such color"}, {"age": "54.5", "color": "blue"}]
    assert running.rows("customers", rows) == models["customers"].predict(rows).to_rows()


def test_one_bad_row_is_one_error_entry(running: Running) -> None:
    good, bad, other = running.rows("customers", [ROW, {**ROW, "age": "many"}, ROW])
    assert "age" in bad["error"]
    assert bad["bought"] is None
    assert good["error"] is None
    assert good == other


def test_files_come_in_base64_or_alone(running: Running, models: Mapping[str, Model]) -> None:
    content = picture(90)
    (wanted,) = models["photos"].predict([{"photo": content}]).to_rows()
    text = base64.b64encode(content).decode()
    sent = [{"photo": text}, {"photo": f"data:image/png;base64,{text}"}, {"photo": {"base64": text}}]
    assert running.rows("photos", sent) == [wanted] * 3
    status, found, _ = running.ask("POST", "/models/photos/predict", content, {"content-type": "image/png"})
    assert status == 200
    assert found["answers"] == [wanted]


@pytest.fixture(scope="module")
def dotted() -> Iterator[Running]:
    """A model whose column of pictures has a name with a dot in it, as nested JSON gives them."""
    pictures = {"shown.photo": objects([picture(10 * n) for n in range(20)]), "kind": objects(["a", "b"] * 10)}
    server = Server({"nested": Model(seal(pictures, {"shown.photo": "image"}, {"kind": "classify"})[0], threads=1)})
    found = Running(server)
    yield found
    found.close()
    server.close()


def test_no_name_of_a_file_is_read(running: Running, dotted: Running, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture(1))
    names = [str(tmp_path / "secret.png"), "secret.png", "file:///etc/passwd", {"file": "x.png"}, 7, ["x"]]
    for found in running.rows("photos", [{"photo": name} for name in names]):
        assert "base64" in found["error"]
        assert found["kind"] is None
    for name in names[:2]:
        # However it is written: as part of something nested, too.
        (found,) = dotted.rows("nested", [{"shown": {"photo": name}}])
        assert "base64" in found["error"]
    text = base64.b64encode(picture(90)).decode()
    assert dotted.rows("nested", [{"shown": {"photo": text}}])[0]["error"] is None
    (broken,) = running.rows("photos", [{"photo": base64.b64encode(b"no picture").decode()}])
    assert broken["error"]


def test_series_and_texts_are_answered_as_without(running: Running, models: Mapping[str, Model]) -> None:
    days = [f"2026-01-{day:02d}" for day in range(1, 9)]
    rows = [
        {"day": day, "shop": "a", "sold": number if number < 6 else None, "promo": 0, "rain": 0}
        for number, day in enumerate(days)
    ]
    found = running.rows("shops", rows)
    assert found == [answer(row) for row in models["shops"].predict(rows).to_rows()]
    assert len(found) == 2
    texts = [{"prompt": "the cat sat"}, {"prompt": "the dog"}]
    assert running.rows("words", texts) == models["words"].predict(texts).to_rows()


def test_requests_that_come_together_get_their_own_answers(running: Running, models: Mapping[str, Model]) -> None:
    def ask(number: int) -> list[dict[str, Any]]:
        return running.rows("customers", [{"age": 20 + number, "color": "red"}] * (1 + number % 3))

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(100)))
    for number, rows in enumerate(found):
        (wanted,) = models["customers"].predict([{"age": 20 + number, "color": "red"}]).to_rows()
        assert len(rows) == 1 + number % 3
        assert all(row["price"] == pytest.approx(wanted["price"], rel=1e-5) for row in rows)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "no JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        ({"row": ROW}, 400, "no list of rows"),
        ({"rows": [1]}, 400, "no list of rows"),
        ({"rows": []}, 400, "no rows"),
        ({"rows": [{"age": 3}]}, 400, "'color'"),
        ({"rows": [ROW] * 51}, 400, "51 rows"),
        (b" " * 100_001, 413, "100,000 bytes"),
    ],
)
def test_a_wrong_request_is_told_what_and_how(running: Running, body: Any, status: int, words: str) -> None:
    found, document, _ = running.ask("POST", "/models/customers/predict", body)
    assert found == status
    assert words in document["error"]["what"]
    assert document["error"]["fix"]
    assert running.rows("customers", [ROW])[0]["error"] is None


def test_a_body_without_a_length_is_read_no_further_than_is_taken(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    chunks = (b" " * 10_000 for _ in range(11))
    connection.request("POST", "/models/customers/predict", chunks, {"content-type": "application/json"})
    assert connection.getresponse().status == 413
    connection.close()


def test_other_addresses_methods_and_types_are_refused(running: Running) -> None:
    status, found, _ = running.ask("POST", "/models/custommers/predict", {"rows": [ROW]})
    assert status == 404
    assert "did you mean 'customers'" in found["error"]["fix"]
    assert running.ask("GET", "/nothing")[0] == 404
    assert running.ask("GET", "/models/customers/predict")[0] == 405
    assert running.ask("POST", "/predict", {"rows": [ROW]})[0] == 400
    assert running.ask("POST", "/models/customers/predict", b"a,b", {"content-type": "text/csv"})[0] == 415
    assert running.ask("POST", "/models/customers/predict", b"x", {"content-type": "image/png"})[0] == 400
    assert running.ask("GET", "/page.html/../app.py")[0] == 404


def test_bodies_of_many_clients_are_bounded_together(models: Mapping[str, Model]) -> None:
    server = Server({"customers": models["customers"]}, Limits(bytes=50_000, together=60_000))
    found = Running(server)
    try:
        slow = http.client.HTTPConnection("127.0.0.1", found.port)
        slow.putrequest("POST", "/predict")
        slow.putheader("content-length", "40000")
        slow.endheaders(b" " * 30_000)
        while server._held < 30_000:
            time.sleep(0.001)
        body = json.dumps({"rows": [ROW]}).encode() + b" " * 35_000
        status, told, headers = found.ask("POST", "/predict", body)
        assert status == 503
        assert headers["retry-after"] == "1"
        assert "Ask again" in told["error"]["fix"]
        slow.close()
        while server._held:
            time.sleep(0.001)
        assert found.ask("POST", "/predict", body)[0] == 200
        assert server._held == 0
    finally:
        found.close()
        server.close()


def test_a_fault_of_the_server_says_nothing_of_its_insides(
    models: Mapping[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server({"customers": models["customers"]})
    monkeypatch.setattr(server.queues["customers"], "ask", lambda asked: 1 / 0)
    found = Running(server)
    try:
        status, told, _ = found.ask("POST", "/predict", {"rows": [ROW]})
        assert status == 500
        assert "division" not in json.dumps(told)
        assert told["error"]["fix"]
        assert b'lamina_requests_total{path="/predict",status="500"} 1' in found.ask("GET", "/metrics")[1]
    finally:
        found.close()
        server.close()


def test_a_page_elsewhere_cannot_point_its_name_here(running: Running) -> None:
    assert running.ask("GET", "/models", headers={"host": "evil.example"})[0] == 400
    assert running.ask("GET", "/models", headers={"host": f"localhost:{running.port}"})[0] == 200


def test_models_are_described_without_their_rows(running: Running, models: Mapping[str, Model]) -> None:
    status, found, _ = running.ask("GET", "/models")
    assert status == 200
    told = {model["name"]: model for model in found["models"]}
    assert set(told) == set(models)
    age, color = told["customers"]["reads"]
    assert age == {"column": "age", "modality": "number"}
    assert color == {"column": "color", "modality": "category", "values": ["blue", "green", "red"]}
    assert told["customers"]["targets"]["bought"]["task"] == "classify"
    assert running.ask("GET", "/models/customers")[1] == told["customers"]
    assert [column["column"] for column in told["shops"]["reads"]] == ["shop", "day", "sold", "promo", "rain"]
    assert (told["shops"]["rows"], told["photos"]["rows"]) == ("the steps of series, in order", "each by itself")
    _, api, _ = running.ask("GET", "/openapi.json")
    assert set(api["paths"]) >= {f"/models/{name}/predict" for name in models}
    assert "image/*" in api["paths"]["/models/photos/predict"]["post"]["requestBody"]["content"]


def test_the_page_runs_no_code_from_elsewhere(running: Running) -> None:
    status, found, headers = running.ask("GET", "/")
    assert status == 200
    assert b'<script src="page.js">' in found
    assert "'unsafe" not in headers["content-security-policy"]
    for name in ("page.js", "page.css"):
        status, found, _ = running.ask("GET", f"/{name}")
        assert status == 200
        assert b"http://" not in found
        assert b"https://" not in found
        assert b"innerHTML" not in found


def test_what_was_asked_is_counted(running: Running) -> None:
    running.rows("customers", [ROW, {**ROW, "age": "many"}])
    status, found, _ = running.ask("GET", "/metrics")
    assert status == 200
    lines = dict(line.rsplit(" ", 1) for line in found.decode().splitlines() if not line.startswith("#"))
    assert int(lines['lamina_rows_total{model="customers"}']) >= 2
    assert int(lines['lamina_row_errors_total{model="customers"}']) >= 1
    asked = int(lines['lamina_requests_total{path="/models/{name}/predict",status="200"}'])
    assert int(lines['lamina_request_seconds_bucket{path="/models/{name}/predict",le="+Inf"}']) >= asked
    assert lines['lamina_waiting_rows{model="customers"}'] == "0"


def test_a_token_is_asked_for_everywhere_but_for_health_and_the_page(models: Mapping[str, Model]) -> None:
    server = Server({"customers": models["customers"]}, token="let-me-in")
    found = Running(server)
    try:
        assert found.ask("GET", "/health")[1]["status"] == "ok"
        assert found.ask("GET", "/")[0] == 200
        for method, path in (("GET", "/models"), ("GET", "/metrics"), ("POST", "/predict")):
            assert found.ask(method, path, {"rows": [ROW]})[0] == 401
            for wrong in ("Bearer let-me-inn", "let-me-in", "Basic let-me-in"):
                assert found.ask(method, path, {"rows": [ROW]}, {"authorization": wrong})[0] == 401
            assert found.ask(method, path, {"rows": [ROW]}, {"authorization": "Bearer let-me-in"})[0] == 200
    finally:
        found.close()
        server.close()


class Slow:
    """A model that answers when it is told to, and notes how many rows came together."""

    def __init__(self, model: Model) -> None:
        self.model, self.inputs, self.columns, self.targets = model, model.inputs, model.columns, model.targets
        self.tasks, self.writer = model.tasks, model.writer
        self.go, self.batches = threading.Event(), list[int]()

    def fitting(self, batch: int) -> int:
        return 4

    def stream(self, rows: Any) -> Any:
        self.go.wait()
        chunks = list(rows)
        self.batches.append(sum(map(len, chunks)))
        if any("bad" in chunk.values["color"] for chunk in chunks):
            raise InputError("This one is bad.", fix="Leave it out.")
        for chunk in chunks:
            yield from self.model.stream(type(rows)([chunk]))


def test_what_waits_is_answered_together_and_a_failure_is_its_own(models: Mapping[str, Model]) -> None:
    model: Any = Slow(models["customers"])
    queue = Queue(model, 8)

    def ask(*colors: str) -> Any:
        return queue.ask(asked({"rows": [{"age": 1, "color": color} for color in colors]}, model, 100))

    first = ask("red")
    while queue.waiting:
        time.sleep(0.001)
    second, third, fourth, fifth = ask("red"), ask("bad"), ask("blue", "red"), ask("red", "red", "blue")
    with pytest.raises(FullError):
        ask("red", "red")
    model.go.set()
    assert len(first.result()) == 1
    assert len(second.result()) == 1
    with pytest.raises(InputError, match="This one is bad"):
        third.result()
    assert len(fourth.result()) == 2
    assert len(fifth.result()) == 3
    # Those of the fourth to be tried were tried again one by one, as one of them failed.
    assert model.batches == [1, 4, 1, 1, 2, 3]
    queue.close()
    with pytest.raises(FullError):
        ask("red")


def test_small_answers_do_not_wait_for_the_client(running: Running) -> None:
    """asyncio sets TCP_NODELAY only on sockets whose protocol is named."""
    assert running.socket.proto == socket.IPPROTO_TCP


def test_numbers_that_json_does_not_have_are_null() -> None:
    found = answer({"a": float("nan"), "b": np.float32(np.inf), "c": [np.int64(3), None, b"x"]})
    assert json.loads(json.dumps(found, allow_nan=False)) == {"a": None, "b": None, "c": [3, None, "eA=="]}
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    text = answer(pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2])))), pixels)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{customers}", "{customers}"], "Two models would be served"),
        (["{customers}", "--port", "70000"], "--port is 70000"),
        (["{customers}", "--port", "{taken}"], "Cannot listen on"),
        (["{customers}", "--host", "256.1.1.1"], "There is no address"),
        (["{customers}", "--most-rows", "0"], "at least one row"),
        (["{customers}", "--token-file", "{missing}"], "The token cannot be read"),
        (["{customers}", "--token-file", "{customers}"], "token"),
        (["{missing}"], "There is no"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_served(
    words: list[str], told: str, files: Mapping[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        known = {"customers": files["customers"], "missing": tmp_path / "none", "taken": other.getsockname()[1]}
        assert main(["serve", *(word.format(**known) for word in words)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "fix:" in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_from_the_command_line_and_ends_when_told(files: Mapping[str, Path], number: int) -> None:
    command = [sys.executable, "-m", "lamina", "serve", str(files["customers"]), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("customers at http://127.0.0.1:")
        port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/predict", json.dumps([ROW]), {"content-type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["answers"][0]["error"] is None
        process.send_signal(number)
        assert process.wait() in (0, -signal.SIGTERM)
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()  # type: ignore[union-attr]
