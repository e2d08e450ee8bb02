"""The contract of a task: what is asked, in one file.

A module `lamina/tasks/NAME.py` offers

- `suits(field, description) -> Recognition | None`: is this the task that a target of this modality asks for?
- `Task`: a frozen dataclass, one per target, that keeps the protocol `Task` below; or, where what is asked for is in
  no column of a table, `Answering` and `Comparable`; or, where the answer is a text, `Writing`. The module then says in
  `ENVIRONMENT` (a task for environments) or `UNLABELLED` (for rows without answers) what its own answer is called; or
  in `ADAPTED`, which command puts it on top of a model that is sealed already, as no training asks for it.

Where rows are read in a way of their own (as windows of series, histories, texts), `WAY` names the folder of
`lamina/steps/` that has all five steps; where only what is learned and tested is of a way of its own, `LATER` names the
folder that has steps 3 to 5. A task without a target that learns by classes, so that all parts need rows of every
class, says so in `STRATIFIED`.

A task module is imported by the sealed model's runtime, so it never imports PyTorch at module
level; `loss` and `combine`, which only training and export call, import it inside.

A task that reads inputs of some modalities only names them in `READS`: all other inputs are left out. What it asks of
encoders by modality, where the user does not say otherwise, is in `INPUTS`.

Where the same inputs may have several right answers, one in each row, `SEVERAL` says so.

A task whose answer is no vector says in `layout` how its flat outputs lie (`LaidOut`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np

from lamina import registry
from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded
from lamina.modalities._frame import Frame
from lamina.tasks._agreement import Agreement

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

MOST_OUTPUTS = 1 << 22
"""Outputs of one row, in all layouts: with what a network holds on the way to them (`lamina.model.runtime` counts 16
numbers for each) 256 MiB. A sealed file that asks for more is not opened, so nothing that does is trained."""


@dataclass(frozen=True)
class Score:
    """A figure of merit: its value, whether higher is better, and its unit ("" for shares)."""

    value: float
    higher_is_better: bool
    unit: str = ""


@dataclass(frozen=True)
class Layout:
    """How one row's outputs lie; wherever rows are handled they are flat: `prod(shape)` numbers, the last axis fastest.

    Attributes:
        kind: what the axes of `shape` are, and so which head (`lamina.networks.heads`) makes them:
            "vector" (width): the answer of a task that has no layout;
            "map"    (channel, height, width): an answer for every pixel of the encoded picture, or a multiple of them;
            "picture" (channel, height, width): a better picture, as large as the encoded one or a multiple of it;
            "places" (place, value): an answer for every place of a pyramid's levels, flattened;
            "steps"  (step, symbol): an answer for every step of a sequence.
        shape: the axes' lengths.
        head: options of the head that makes it.
    """

    kind: Literal["vector", "map", "picture", "places", "steps"]
    shape: tuple[int, ...]
    head: Mapping[str, Json] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many outputs a row has."""
        return prod(self.shape)


@runtime_checkable
class LaidOut(Protocol):
    """A task whose answer is no vector; its `width` is `layout.size`.

    What it answers lies on what is put in. So its `fit` takes more than `Task.fit` does: `inputs`, the fitted encoders
    of the input fields by name, and `root`, the folder that relative paths in the values start from. And its `encode`
    takes `inputs`, the raw values of the input fields by name, of the same rows (`encode_target`).

    Its encoded targets have any shape, [row, ...]. Those that lie on the pixels of a picture are moved with it when it
    is turned or shifted in training: of a "map", [row, height, width] labels or [row, height, width, channel] colors.
    """

    @property
    def layout(self) -> Layout: ...


@runtime_checkable
class Mapped(LaidOut, Protocol):
    """A task whose answer lies on a picture, pixel by pixel or a multiple of them.

    Attributes:
        source: the input field of pictures that it lies on.
        frame: how they are encoded.
        window: (height, width) of the usual training picture; much larger ones are answered in parts of this size.
        unscaled: every pixel counts as it is: what is not as large as a window is cut or widened, never resized.
    """

    @property
    def source(self) -> str: ...

    @property
    def frame(self) -> Frame: ...

    @property
    def window(self) -> tuple[int, int]: ...

    @property
    def unscaled(self) -> bool: ...

    def averaged(self, output: Array) -> Array:
        """float32 [row, channel, height, width] from [row, width]: what may be interpolated and averaged."""
        ...

    def decode_map(self, values: Array) -> dict[str, Any]:
        """One picture's answers by suffix, from such numbers [channel, height, width] at any size.

        A NumPy array among them is a picture, which `lamina predict` writes as a PNG.
        """
        ...


@runtime_checkable
class Joined(Mapped, Protocol):
    """A task whose answer keeps part of the picture that is put in, at that picture's own size."""

    def joined(self, values: Array, pixels: Array) -> Array:
        """The answer [channel, height, width], brought to the picture's size, with what is kept of the picture.

        Args:
            pixels: uint8 [height, width, channel], as the encoder's `whole` gives it.
        """
        ...


def layout_of(task: Answering) -> Layout:
    """The task's layout; a vector where it has none."""
    return task.layout if isinstance(task, LaidOut) else Layout("vector", (task.width,))


def check_width(task: Answering, inputs: Iterable[str]) -> None:
    """Raises InputError if a task has more outputs than a sealed model may, before anything is trained.

    Args:
        inputs: the input fields, of which the first is named in the fix.
    """
    if task.width <= MOST_OUTPUTS:
        return
    layout = layout_of(task)
    smaller = f"--set schema.{next(iter(inputs), 'COLUMN')}"
    fixes = {
        "places": f"Encode the pictures smaller ({smaller}.size=256), or answer at coarser places: "
        f"--set task.{task.name}.finest=8",
        "steps": f"Hear less of each sound ({smaller}.seconds=10), or give texts of fewer different characters.",
    }
    raise InputError(
        f"{task.name!r} would have {task.width:,} outputs a row ({' x '.join(f'{side:,}' for side in layout.shape)}); "
        f"a sealed model may have {MOST_OUTPUTS:,}.",
        where=f"the target {task.name!r}",
        fix=fixes.get(layout.kind, f"Encode the pictures smaller: {smaller}.size=256"),
    )


def outlined(names: Iterable[str]) -> bool:
    """Does one of these tasks learn from outlines, where a folder has boxes and outlines (`OUTLINES` of its module)?"""
    return any(getattr(registry.module("tasks", name), "OUTLINES", False) for name in names if name)


def encode_target(task: Task, values: Values, inputs: Mapping[str, Values], root: Path | None) -> Encoded:
    """A target's values as the task's loss wants them.

    Args:
        inputs: raw values of the input fields by name, of the same rows: where answers lie on them.
        root: the folder that relative paths in the values start from.
    """
    encode: Callable[..., Encoded] = task.encode
    return encode(values, root, inputs) if isinstance(task, LaidOut) else encode(values, root)


@runtime_checkable
class Placed(Protocol):
    """A task that answers in pixels of the encoded picture, and can say where that is in the original one."""

    def placed(self, output: Array, inputs: Mapping[str, Values], root: Path | None) -> dict[str, Values]:
        """What `decode` gives, in pixels of the original pictures; where one cannot be read, as it is.

        Args:
            inputs: raw values of the input fields by name, of the same rows.
            root: the folder that relative paths in them start from.
        """
        ...


@dataclass(frozen=True)
class Sight:
    """Something of a task's answers that is worth seeing in the report.

    Attributes:
        title, text: for the reader.
        pictures: uint8 [height, width(, 3)] each, shown side by side.
        lines: what is listed.
        rows: positions of the rows whose sounds are to be heard.
        across: pictures that belong together, as a line; 0 for as many as there is room for.
    """

    title: str
    text: str = ""
    pictures: tuple[Array, ...] = ()
    lines: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    across: int = 0


@runtime_checkable
class Shown(Protocol):
    """A task whose answers say more to the eye than their scores."""

    def sights(self, output: Array, target: Array, inputs: Callable[[Array], Mapping[str, Array]]) -> tuple[Sight, ...]:
        """What the report is to show of the test rows.

        Args:
            output, target: [row, width] and the encoded targets; they may lie on disk.
            inputs: from positions among the rows to their encoded inputs by field.
        """
        ...


@runtime_checkable
class Choosy(Protocol):
    """A task that knows which network suits it, and what may be done in training to the picture that it lies on."""

    @property
    def family(self) -> tuple[str, str]:
        """(name of a family of networks, reason)."""
        ...

    @property
    def augmentation(self) -> Mapping[str, Json]:
        """Changes and their strengths, in place of the usual ones."""
        ...


@dataclass(frozen=True)
class Simple:
    """What a simple tool answers.

    Attributes:
        name: of the tool, for the reader.
        answer: from encoded inputs by field to [row, width], in the form of the network's outputs.
        note: what was chosen for it, and on what, or "".
    """

    name: str
    answer: Callable[[Mapping[str, Array]], Array]
    note: str = ""


@runtime_checkable
class Rivalled(Protocol):
    """A task that is compared with tools of its own, as those for tables have no answer of its form."""

    def rivals(self, inputs: Mapping[str, Array], target: Array, seed: int) -> tuple[Simple, ...]:
        """Tools that have learned from some training rows, encoded."""
        ...


@runtime_checkable
class Described(Protocol):
    """A task that says in words what was expected of a row and what was answered, for the report's worst rows."""

    def described(self, output: Array, target: Array) -> tuple[str, str]:
        """(expected, answered) of one row: output [width], target as encoded, without the row axis."""
        ...


@runtime_checkable
class Counted(Protocol):
    """A task whose answers are right or wrong; the share of right ones is its score "accuracy" or "exact_match"."""

    def right(self, output: Array, target: Array) -> Array:
        """bool [row]: which rows are answered rightly."""
        ...


def right_rows(one: tuple[Task, Array], other: tuple[Task, Array], target: Array) -> tuple[Array, Array] | None:
    """Which rows each of two tools has right, of their tasks and outputs; None where no answer is simply right."""
    (task, output), (second, others) = one, other
    if not isinstance(task, Counted) or not isinstance(second, Counted):
        return None
    return task.right(output, target), second.right(others, target)


@runtime_checkable
class Stated(Protocol):
    """A task whose answers need a word of explanation, to who trains the model and to who uses it."""

    def stated(self) -> tuple[str, ...]:
        """Plain sentences."""
        ...


class Answering(Protocol):
    """What a sealed model needs of a task: from the network's outputs to answers.

    `output` is what the sealed network gives for this target: [row, width] float32 (for classes log-probabilities or
    logits before calibration, for numbers standardised location and log-scale, for actions preferences or values).
    """

    task: ClassVar[str]

    @property
    def name(self) -> str:
        """The target's column, or what the answer is called."""
        ...

    @property
    def width(self) -> int:
        """How many outputs the head needs for one row."""
        ...

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, width] to [row, width]: how an ensemble answers as one. Exported to ONNX."""
        ...

    def decode(self, output: Array) -> dict[str, Values]:
        """Answers by column suffix, e.g. {"": answer, ".p": ..., ".p.yes": ...}; NumPy only."""
        ...

    def state(self) -> dict[str, Json]: ...

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self: ...


@runtime_checkable
class Comparable(Protocol):
    """A task whose answers are neither labels nor one number: it says itself whether two networks answer alike."""

    def agreement(self, before: Array, after: Array) -> Agreement:
        """Compare two networks' outputs, [row, width] each."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A task whose answers are numbers of any size: only it knows whether a difference between two is a large one."""

    def spreads(self, answer: Mapping[str, Json]) -> Mapping[str, float]:
        """What differences of one row's answer are measured by, in the target's unit; both by column suffix."""
        ...


@runtime_checkable
class Writing(Protocol):
    """A task whose answer is written token by token, on the graphs of `lamina.model.writer`.

    There is no head and no output to combine: `output` is tokens [row, width], padded with `padding`, as float32.
    """

    @property
    def reads(self) -> str:
        """The modality of what is read besides the text that is written: "text", "image", or "" for nothing."""
        ...

    @property
    def context(self) -> int:
        """Tokens that the network sees at most of what it writes."""
        ...

    @property
    def beams(self) -> int:
        """Beginnings that the search keeps, where something is read."""
        ...

    @property
    def penalty(self) -> float:
        """How much the search prefers longer texts."""
        ...

    @property
    def width(self) -> int:
        """Tokens that are written for a row, at most."""
        ...

    @property
    def tokens(self) -> Any:
        """The tokenizer."""
        ...

    @property
    def start(self) -> int:
        """The token that stands before a text."""
        ...

    @property
    def end(self) -> int:
        """The token that ends a text."""
        ...

    @property
    def padding(self) -> int:
        """What stands where there is no token."""
        ...


class Task(Answering, Protocol):
    """One target's question: encoding, loss, decoding, scores, baselines; `target` is what `encode` gives."""

    @classmethod
    def fit(cls, field: Field, chunks: Chunks, options: Mapping[str, Json]) -> Self:
        """Learn labels or scaling from the training part's target values.

        Raises:
            InputError: one class only, no usable number, more classes than rows / 2, ...
        """
        ...

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """Targets as the loss wants them; a missing or unknown target is an error of that row."""
        ...

    def loss(self, output: Tensor, target: Tensor, options: Mapping[str, Json]) -> Tensor:
        """Loss of each row: output [row, member, width], target as encoded, result [row].

        options: "label_smoothing" (share), "class_weights" (list), "soft" (target is [row, width]
        probabilities, from mixup). The mean over members is taken here.
        """
        ...

    def calibrated(self, output: Array, target: Array) -> Self:
        """A task that also knows temperature, thresholds and conformal quantiles (validation part)."""
        ...

    def uncalibrated(self) -> Self:
        """Without what `calibrated` learned: for the outputs of another model."""
        ...

    def scores(self, output: Array, target: Array) -> dict[str, Score]:
        """The usual scores of this task; the first is the one to report and to stop on."""
        ...

    def scorer(self, output: Array, target: Array, only: str = "") -> Callable[[Array], dict[str, Array]]:
        """The same scores, or `only` one, by weight [replicate, row], how often each row counts: [replicate] each.

        Intervals, paired differences and subgroups ask it: sorting and comparing are done once.
        """
        ...

    def row_losses(self, output: Array, target: Array) -> Array:
        """[row] how wrong each answer is (higher is worse): for worst mistakes and paired tests."""
        ...
