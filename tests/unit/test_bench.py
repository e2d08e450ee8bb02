"""What the benchmarks rest on: the same network for all, and scores that cannot be wrong."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from bench import _machine
from bench.__main__ import places
from bench.accuracy.__main__ import with_earlier
from bench.peers import __main__ as of_peers
from bench.peers.__main__ import JOBS, PROGRAMS, Job, Peer, Usage, _reached, _seconds_to_score

from lamina.modalities import Feature
from lamina.networks.assembly import build_assembly
from lamina.plan import NetworkPlan


def program(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PROGRAMS)
    return importlib.import_module(name)


def test_peers_train_the_network_that_lamina_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(0, 256, (5, 28, 28, 1), dtype=torch.uint8)
    mean, deviation = 72.9, 90.0
    feature = Feature("image", (28, 28, 1), "uint8", details={"mean": [mean], "std": [deviation]})
    own = build_assembly({"photo": NetworkPlan("resnet", ("photo",))}, {"photo": feature}, {"label": 10}).eval()
    theirs = program("_network", monkeypatch).ResNet().eval()
    names, tensors = list(theirs.state_dict()), list(own.state_dict().values())
    assert len(names) == len(tensors)
    shapes = [tensor.shape for tensor in theirs.state_dict().values()]
    theirs.load_state_dict(
        {name: tensor.reshape(shape) for name, tensor, shape in zip(names, tensors, shapes, strict=True)}
    )
    standard = ((pixels.float() - mean) / deviation).permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(theirs(standard), own({"photo": pixels})["label"][:, 0], rtol=1e-4, atol=1e-5)


def test_every_peer_has_its_program() -> None:
    for job in JOBS.values():
        for peer in job.peers.values():
            assert (PROGRAMS / f"{peer.program}.py").is_file()
            assert peer.tells.split("[")[0] in " ".join([*peer.packages, *peer.alone])


def test_pictures_are_listed_in_the_order_of_their_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("test/t-shirt-top/2.png", "test/t-shirt/1.png", "test/bag/3.png", "test/bag/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, labels, classes = program("_peer", monkeypatch).pictures(tmp_path / "test")
    truth = JOBS["pictures"].truth(tmp_path)
    assert [classes[label] for label in labels] == truth.tolist() == [file.parent.name for file in files]
    assert truth.tolist() == ["bag", "bag", "t-shirt", "t-shirt-top"]


def test_lower_errors_and_higher_shares_reach_what_is_wanted() -> None:
    table, pictures = JOBS["table"], JOBS["pictures"]
    assert _reached(table, table.wanted - 1)
    assert not _reached(table, table.wanted + 1)
    assert _reached(pictures, pictures.wanted + 0.01)
    assert not _reached(pictures, pictures.wanted - 0.01)
    assert table.score(np.array([1.0, 3.0]), np.array([1.0, 5.0])) == np.sqrt(2.0)


def test_a_peers_answering_between_passes_is_not_its_time(tmp_path: Path) -> None:
    job = replace(JOBS["pictures"], truth=lambda _: np.array(["a", "b", "b", "b"]), wanted=0.75)
    right, wrong = np.array(["a", "b", "b", "a"]), np.array(["a", "a", "a", "a"])
    used = Usage(wall=40.0)
    for number, (at, answers) in enumerate(((10.0, wrong), (20.0, right), (30.0, right))):
        np.save(tmp_path / f"pass-{number}.npy", answers)
        used.lines.append((at, {"examples": 1, "answers": f"pass-{number}.npy", "answering": 3.0}))
    assert _seconds_to_score(job, used, right, tmp_path, tmp_path) == 20.0 - 2 * 3.0
    never = replace(job, wanted=0.9)
    assert _seconds_to_score(never, used, right, tmp_path, tmp_path) is None
    told = replace(used, lines=[])
    assert _seconds_to_score(job, told, right, tmp_path, tmp_path) == 40.0


def test_further_rounds_are_added_to_those_of_a_kept_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tool that tells of no passes has the score at its end, in each round; others in rounds of their own."""
    job = replace(JOBS["table"], wanted=10.0)
    figures = {"processor seconds": 1.0, "peak MB": 1.0, "examples a second": None}
    asked = []

    def lamina(job: Job, data: Path, seed: int) -> dict[str, float | None]:
        asked.append(("Lamina", seed))
        own = {"seconds until training": 2.0, "seconds to the score": 5.0 + seed}
        return {**figures, **own, "score": 9.0, "seconds": 20.0 + seed}

    def peer(
        peer: Peer, python: Path, job: Job, data: Path, seed: int, watched: bool = False
    ) -> dict[str, float | None]:
        passes = "textbook" in peer.program
        asked.append((peer.program, seed))
        if watched:
            return {"seconds to the score": 7.0}
        told = {"seconds until training": 1.0 if passes else None}
        return {**figures, **told, "score": 9.0 + 2 * seed, "seconds": 30.0 + seed}

    monkeypatch.setattr(of_peers, "run_lamina", lamina)
    monkeypatch.setattr(of_peers, "run_peer", peer)
    monkeypatch.setattr(of_peers, "environment_of", lambda *_: (tmp_path, 1.0))
    monkeypatch.setattr(of_peers, "_version", lambda *_: "1")
    monkeypatch.setattr(_machine, "RESULTS", tmp_path)
    monkeypatch.setitem(JOBS, "table", job)
    words = ["--data", str(tmp_path), "--only", "table", "--tools", "LightGBM", "textbook PyTorch", "Lamina"]
    assert of_peers.main([*words, "--rounds", "1"]) == 0
    assert asked == [("Lamina", 0), ("table/with_lightgbm", 0), ("table/textbook", 0), ("table/textbook", 0)]
    assert of_peers.main([*words, "--rounds", "2", "--watched", "0", "--more"]) == 0
    assert [seed for _, seed in asked[4:]] == [1, 1, 1, 2, 2, 2]
    tools = _machine.kept("peers-table")["tools"]
    assert {name: part["score"]["n"] for name, part in tools.items()} == dict.fromkeys(tools, 3)
    assert tools["Lamina"]["soon"]["each"] == [5.0, 6.0, 7.0]
    assert tools["LightGBM"]["soon"]["each"] == [30.0, None, None]
    assert tools["textbook PyTorch"]["soon"]["each"] == [7.0]
    with pytest.raises(SystemExit, match="leave out --more"):
        of_peers.main([*words[:-1], "--more"])


def test_programs_of_peers_are_no_benchmarks() -> None:
    known = places()
    assert {"accuracy", "peers", "speed", "transfer", "table"} <= known.keys()
    assert not any("_programs" in place for place in known.values())


def test_further_seeds_stand_beside_those_that_were_kept() -> None:
    """Every list by seed grows, and what is told of all of them is told anew."""

    def one(value: float, lead: float, different: float) -> dict[str, Any]:
        return {
            "score": "mae", "values": [value], **_machine.spread([value]), "all scores": {"mae": [value]},
            "baselines": {"mean": {"mae": [value + lead]}}, "verdicts": ["fine"], "largest difference": different,
            "beyond mean": [lead], "median beyond": lead, "command": "lamina train DATA",
        }  # fmt: skip

    found = with_earlier({"machine": {"cores": 2}, **one(3.0, 1.0, 0.2)}, one(2.0, 4.0, 0.1))
    assert found["values"] == [3.0, 2.0]
    assert (found["n"], found["median"], found["least"], found["most"]) == (2, 2.5, 2.0, 3.0)
    assert found["all scores"] == {"mae": [3.0, 2.0]}
    assert found["baselines"] == {"mean": {"mae": [4.0, 6.0]}}
    assert found["verdicts"] == ["fine", "fine"]
    assert found["largest difference"] == 0.2
    assert found["median beyond"] == 2.5
    assert found["earlier machines"] == [{"cores": 2}]
