"""Who may import whom: the direction of the layers, no cycles, and no PyTorch where a sealed model runs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "lamina"
LAYERS = [
    {"errors", "registry", "cores", "files", "plan", "narrate", "data.schema"},
    {"data", "modalities"},
    {"environments"},
    {"networks", "tasks", "baselines", "demo"},
    {"learn"},
    {"methods"},
    {"choose", "evaluate", "explain", "model", "run"},
    {"report", "steps", "api", "using", "lamina"},
    {"cli", "__main__"},
]
WITHOUT_TORCH = [
    "lamina.model.runtime",
    "lamina.model.predict",
    "lamina.explain.explain",
    "lamina.evaluate.sealed",
    "lamina.cli.predict",
    "lamina.cli.search",
    "lamina.cli.generate",
    "lamina.model.forecast",
    "lamina.model.generate",
    "lamina.cli.write",
    "lamina.model.write",
    "lamina.model.writer",
    "lamina.model.policy",
    "lamina.model.search",
    "lamina.cli.few_shot",
    "lamina.steps.few_shot",
    "lamina.cli.verify",
    "lamina.using",
    "lamina.model.fastest",
    "lamina.evaluate.verification",
    "lamina.model.hnsw",
    "lamina.model.kept",
    "lamina.model.verify",
    "lamina.environments.play",
]


HEAVY = ("torch", "polars", "pyarrow", "sklearn", "lightgbm", "pandas", "onnx", "scipy", "transformers")


def modules() -> dict[str, Path]:
    found = {}
    for file in ROOT.rglob("*.py"):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        name = "lamina" if name == "__init__" else name
        found[name] = file
    return found


def imports(file: Path) -> set[str]:
    """Names of modules that `file` imports, inside functions too; not those for types alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes: list[ast.AST] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            nodes.append(child)
            visit(child)

    visit(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def inner(names: set[str], known: set[str]) -> set[str]:
    found = {name.removeprefix("lamina.") for name in names if name.startswith("lamina.")}
    return {name for name in found if name in known and name != "lamina"}


def layer(name: str) -> int:
    for number, members in enumerate(LAYERS):
        if name in members:
            return number
    return next(number for number, members in enumerate(LAYERS) if name.split(".")[0] in members)


def test_every_module_has_a_layer() -> None:
    for name in modules():
        layer(name)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_downwards(name: str) -> None:
    known = set(modules())
    for other in inner(imports(modules()[name]), known):
        assert layer(other) <= layer(name), f"{name} imports {other}, which is above it"


def test_no_cycles() -> None:
    """Counting imports inside functions too: what is put off still goes round."""
    known = modules()
    graph = {name: inner(imports(file), set(known)) - {name} for name, file in known.items()}
    state: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        state[name] = 1
        for other in graph[name]:
            assert state.get(other) != 1, " -> ".join((*path, name, other))
            if other not in state:
                visit(other, (*path, name))
        state[name] = 2

    for name in graph:
        if name not in state:
            visit(name, ())


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_the_runtime_needs_no_torch_nor_any_training_library(module: str) -> None:
    code = (
        "import sys, importlib\n"
        f"for heavy in {HEAVY!r}:\n"
        "    sys.modules[heavy] = None\n"
        f"importlib.import_module({module!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["-c", "import lamina"], set()),
        (["-m", "lamina", "--help"], set()),
        (["-m", "lamina", "predict", "--help"], set()),
        (["-m", "lamina", "train", "--help"], set()),
        (["-m", "lamina", "search", "--help"], set()),
        (["-m", "lamina", "verify", "--help"], set()),
    ],
)
def test_starting_imports_nothing_heavy(words: list[str], allowed: set[str]) -> None:
    heavy = {
        "torch",
        "numpy",
        "onnxruntime",
        "polars",
        "pyarrow",
        "sklearn",
        "lightgbm",
        "jinja2",
        "rich",
        "PIL",
        "transformers",
        "usearch",
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, env=environment, check=True
    )
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert loaded & heavy <= allowed


def test_torchvision_and_torchaudio_are_absent() -> None:
    import importlib.util

    assert importlib.util.find_spec("torchvision") is None
    assert importlib.util.find_spec("torchaudio") is None


def test_no_file_is_too_long_or_named_after_nothing() -> None:
    for name, file in modules().items():
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 500, name
        last = name.split(".")[-1]
        assert last not in ("utils", "util", "helpers", "base", "manager", "common", "misc"), name


def test_no_pickle() -> None:
    for name, file in modules().items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                if [alias.name for alias in node.names] == ["UnpicklingError"]:
                    continue
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert not names & {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}, name
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), name
