"""Who may import whom: the direction of the layers, no cycles, and no PyTorch where a sealed model runs."""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "lamina"
LAYERS = [
    {"errors", "registry", "cores", "launched", "ahead", "files", "plan", "narrate", "data.schema"},
    {"data", "modalities"},
    {"environments"},
    {"networks", "tasks", "baselines", "demo"},
    {"learn"},
    {"methods"},
    {"choose", "evaluate", "explain", "model", "run"},
    {"report", "steps", "serve", "api", "using", "lamina"},
    {"cli", "__main__"},
]
WITHOUT_TORCH = [
    "lamina.model.runtime",
    "lamina.model.predict",
    "lamina.explain.explain",
    "lamina.explain.counterfactual",
    "lamina.evaluate.sealed",
    "lamina.cli.predict",
    "lamina.cli.search",
    "lamina.cli.generate",
    "lamina.model.forecast",
    "lamina.model.generate",
    "lamina.cli.chat",
    "lamina.cli.write",
    "lamina.model.chat",
    "lamina.model.write",
    "lamina.model.writer",
    "lamina.model.policy",
    "lamina.model.search",
    "lamina.cli.few_shot",
    "lamina.steps.few_shot",
    "lamina.steps.session",
    "lamina.cli.verify",
    "lamina.using",
    "lamina.model.fastest",
    "lamina.evaluate.verification",
    "lamina.model.hnsw",
    "lamina.model.kept",
    "lamina.model.verify",
    "lamina.serve.app",
    "lamina.cli.serve",
    "lamina.environments.play",
    "lamina.environments.worker",
]


HEAVY = ("torch", "polars", "pyarrow", "sklearn", "lightgbm", "pandas", "onnx", "scipy", "transformers")


@functools.cache
def modules() -> dict[str, Path]:
    found = {}
    for file in ROOT.rglob("*.py"):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        name = "lamina" if name == "__init__" else name
        found[name] = file
    return found


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def imports(file: Path) -> set[str]:
    """Names of modules that `file` imports, inside functions too; not those for types alone."""
    tree = parsed(file)
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


ANSWERING = {"numpy", "onnxruntime"}
"""What answering a table of rows may import."""
TRAINING = ANSWERING | {"jinja2", "lightgbm", "onnx", "onnxscript", "pyarrow", "safetensors", "sklearn", "torch"}
"""What training on a table of rows may import itself."""
BROUGHT = {
    "cloudpickle", "colorama", "dateutil", "filelock", "google", "joblib", "markupsafe", "ml_dtypes", "mpmath",
    "narwhals", "networkx", "nvidia", "onnx_ir", "packaging", "pandas", "pytz", "rich", "scipy", "setuptools", "sympy",
    "tabulate", "threadpoolctl", "torchgen", "tqdm", "triton", "typing_extensions",
}  # fmt: skip
"""What those import in their turn."""
TELL = """
import atexit, json, runpy, sys, sysconfig
from pathlib import Path
before, place = set(sys.modules), Path(sysconfig.get_path("purelib"))
def tell():
    files = [Path(str(getattr(sys.modules[name], "__file__", None) or "")) for name in set(sys.modules) - before]
    inside = {file.relative_to(place).parts[0].partition(".")[0] for file in files if file.is_relative_to(place)}
    print(json.dumps(sorted(inside)), file=sys.stderr)
atexit.register(tell)
if sys.argv[1:]:
    runpy.run_module("lamina", run_name="__main__", alter_sys=True)
else:
    import lamina
"""
"""Runs a command, or only imports Lamina, and tells the packages that it has imported: the folders and files beside
each other in the place of installed packages, for a part of one may call itself anything."""


def imported(folder: Path, *words: str) -> set[str]:
    """The packages that are not Python's own and that a command imports."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent), "LAMINA_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", TELL, *words], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1])) - {"lamina"}


@pytest.mark.parametrize(
    "words", ["", "--help", "predict --help", "train --help", "search --help", "verify --help", "serve --help"]
)
def test_starting_imports_no_package_at_all(words: str, tmp_path: Path) -> None:
    assert imported(tmp_path, *words.split()) == set()


def test_answering_imports_numpy_and_the_runtime_alone(tmp_path: Path) -> None:
    model = Path(__file__).parents[1] / "golden" / "formats" / "v1-tiny.lamina"
    (tmp_path / "rows.csv").write_text("age,color\n31,red\n54,blue\n")
    assert imported(tmp_path, "predict", str(model), "rows.csv", "--out", "answers.csv") == ANSWERING
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 3


def test_training_imports_what_it_is_allowed_to(tmp_path: Path) -> None:
    rows = [f"{number % 17},{'red' if number % 3 else 'blue'},{int(number % 17 > 8)}" for number in range(80)]
    (tmp_path / "rows.csv").write_text("\n".join(["size,color,large", *rows]) + "\n")
    words = ["train", "rows.csv", "--target", "large", "--quiet", "--out", "run", "--set", "training.epochs=1"]
    more = ["training.threads=1", "network.name=mlp", "network.width=8"]
    found = imported(tmp_path, *words, *more)
    assert (tmp_path / "run" / "model.lamina").exists()
    assert found <= TRAINING | BROUGHT
    assert found >= {"numpy", "onnxruntime", "torch"}


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
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                if [alias.name for alias in node.names] == ["UnpicklingError"]:
                    continue
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert not names & {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}, name
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), name
