"""PyTorch begins sooner in Lamina's own commands, and is whole where it is asked for what was left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lamina import ahead


def said(code: str) -> list[str]:
    """The lines that a Python of its own prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


LEARNS = """
import sys
from lamina import ahead
ahead.spare_torch()
import torch
from lamina.learn import optimizers
from lamina.plan import OptimizerPlan
network = torch.nn.Linear(2, 1)
(optimizer,) = optimizers.build([{"params": list(network.parameters())}], OptimizerPlan())
network(torch.ones(3, 2)).sum().backward()
optimizers.take_step(optimizer)
print("torch._decomp" in sys.modules, type(sys.modules[ahead.ABSTRACT]).__name__)
"""


def test_training_needs_nothing_of_what_is_spared() -> None:
    assert said(LEARNS) == ["False", "_Later"]


EXPORTS = """
from lamina.model.export import graph_of
class Called(torch.nn.Module):
    def forward(self, *arrays):
        return network(arrays[0])
content = graph_of(Called(), (torch.ones(2, 2),), ({0: torch.export.Dim.AUTO},), ("x",), ("y",))
print(len(content) > 0, type(sys.modules[ahead.ABSTRACT]).__name__, torch._meta_registrations.__name__)
"""


def test_exporting_has_all_of_it() -> None:
    assert said(LEARNS + EXPORTS)[2:] == ["True", "module", ahead.ABSTRACT]


def test_whoever_asks_for_something_of_it_gets_it() -> None:
    code = (
        "from lamina import ahead; ahead.spare_torch(); import torch\n"
        "from torch._meta_registrations import register_meta\n"
        "print(register_meta.__name__, torch.empty(2, 3, device='meta').t().shape[0])"
    )
    assert said(code) == ["register_meta", "3"]


def test_nothing_is_spared_of_what_is_there() -> None:
    import torch

    ahead.spare_torch()
    ahead.whole_torch()
    assert not isinstance(sys.modules[ahead.ABSTRACT], ahead._Later)
    assert torch.empty(2, 3, device="meta").t().shape == (3, 2)
    assert ahead.load_torch() is None


@pytest.mark.parametrize(("call", "spared"), [("main()", True), ("main(sys.argv[1:])", False)])
def test_only_a_program_that_is_laminas_own_is_spared_anything(call: str, spared: bool) -> None:
    code = f"""
import atexit, sys
from lamina import ahead
from lamina.cli import main
atexit.register(lambda: print(isinstance(sys.modules.get(ahead.ABSTRACT), ahead._Later), flush=True))
sys.argv = ["lamina", "train", "no such file.csv"]
{call}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(spared)]
    assert "no such file.csv" in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libraries are loaded ahead on Linux")
def test_the_library_is_linked_before_the_import() -> None:
    code = """
import sys
from lamina import ahead, cores
cores.available = lambda: 2
ahead.load_torch().join()
print("libtorch_cpu" in open("/proc/self/maps").read(), "torch" in sys.modules)
import torch
print(int(torch.ones(3).sum()))
cores.available = lambda: 1
del sys.modules["torch"]
print(ahead.load_torch())
"""
    assert said(code) == ["True", "False", "3", "None"]


def test_a_library_that_is_not_there_is_no_hindrance(tmp_path: Path) -> None:
    ahead._load(tmp_path / "libtorch_cpu.so")


COLLECTS = """
import gc, weakref
from lamina import ahead
{begin}
class Garbage:
    def __init__(self):
        self.itself = self
left = weakref.ref(Garbage())
before = gc.get_freeze_count()
with ahead.uncollected():
    print(gc.isenabled())
    print(left() is None or not before)
    kept = [[] for _ in range(1000)]
print(gc.isenabled(), gc.get_freeze_count() - before >= 1000)
gc.disable()
with ahead.uncollected():
    pass
print(gc.isenabled())
"""


@pytest.mark.parametrize(("begin", "frozen"), [("ahead.spare_torch()", "True"), ("", "False")])
def test_objects_that_stay_are_not_searched_for_garbage(begin: str, frozen: str) -> None:
    assert said(COLLECTS.format(begin=begin)) == ["False", "True", "True", frozen, "False"]
