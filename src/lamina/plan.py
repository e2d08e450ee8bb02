"""The whole run as one typed value: `plan.toml` on disk. An unknown key is an error."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from lamina.data.schema import Field
from lamina.errors import InputError, nearest

VERSION = 1


@dataclass(frozen=True)
class DataPlan:
    """Where the examples come from and how they are divided.

    Attributes:
        train: the data as the user named it.
        test: a second source that is only for testing, or "".
        split: how test rows were chosen: "given", "column", "random", "stratified", "time", "group".
        column: the column of the split, group or time, where there is one.
        test_share: share of rows held out for testing where no test data was given.
        validation_share: share of the remaining rows held out for choices, calibration and early stopping.
        fingerprint: hash of the raw data; resume refuses other data.
        bad_rows: the largest share of unreadable rows that a run accepts.
    """

    train: str = ""
    test: str = ""
    split: str = "stratified"
    column: str = ""
    test_share: float = 0.2
    validation_share: float = 0.1
    fingerprint: str = ""
    bad_rows: float = 0.01


@dataclass(frozen=True)
class NetworkPlan:
    """A network for one group of inputs.

    Attributes:
        name: a file in `lamina/networks`.
        fields: the input fields it reads.
        options: the family's options.
        weights: where its first weights come from: "" (random), a Lamina run, a Hugging Face folder or a state dict.
        frozen: "none", "all", "gradual" (unfreeze from the top) or "lora".
    """

    name: str = ""
    fields: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    frozen: Literal["none", "all", "gradual", "lora"] = "none"


@dataclass(frozen=True)
class TaskPlan:
    """What is asked of one target: a file in `lamina/tasks`, and its options."""

    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerPlan:
    """A name in `lamina.learn.optimizers` and its usual settings."""

    name: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    beta2: float = 0.999
    layer_decay: float = 1.0
    """Factor of the learning rate from each stage to the one before it (1: the same everywhere)."""


@dataclass(frozen=True)
class SchedulePlan:
    """A name in `lamina.learn.schedules`; `warmup` is the share of all steps."""

    name: str = "one_cycle"
    warmup: float = 0.1
    final: float = 0.0
    """Learning rate at the end as a share of the highest."""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingPlan:
    """How the loop runs.

    Attributes:
        epochs: passes over the training part.
        batch_size: examples for one optimizer step.
        accumulation: parts into which a batch is cut to save memory.
        clip: largest norm of the gradient (0: no clipping).
        precision: "fp32" or "bf16".
        threads: CPU threads for training.
        ema: decay of the running average of weights that is evaluated and sealed (0: none).
        patience: evaluations without improvement before stopping early (0: never).
        evaluations: how many times the validation part is scored during the run.
        label_smoothing, mixup, cutmix: regularisation of classification.
        augment: augmentations by field name, passed to `lamina.learn.augment`.
        balance: "none", "weights" or "sampling" against uneven classes.
        find_rate: run the learning-rate finder before training.
        compile: compile the network.
        average: "ema" to seal the averaged weights, "best" for the best evaluation's, "last".
    """

    epochs: float = 10.0
    batch_size: int = 128
    accumulation: int = 1
    clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = 0
    ema: float = 0.0
    patience: int = 0
    evaluations: int = 10
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    augment: Mapping[str, Any] = field(default_factory=dict)
    balance: Literal["none", "weights", "sampling"] = "none"
    find_rate: bool = False
    compile: bool = False
    checkpoint_seconds: float = 30.0


@dataclass(frozen=True)
class MethodPlan:
    """A file in `lamina/methods`, and its options."""

    name: str = "supervised"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All decisions of one run, and why each was taken."""

    version: int = VERSION
    name: str = ""
    seed: int = 0
    budget: float = 0.0
    """Seconds for all five steps; 0: no limit."""
    data: DataPlan = field(default_factory=DataPlan)
    schema: tuple[Field, ...] = ()
    task: Mapping[str, TaskPlan] = field(default_factory=dict)
    network: Mapping[str, NetworkPlan] = field(default_factory=dict)
    method: MethodPlan = field(default_factory=MethodPlan)
    optimizer: OptimizerPlan = field(default_factory=OptimizerPlan)
    schedule: SchedulePlan = field(default_factory=SchedulePlan)
    training: TrainingPlan = field(default_factory=TrainingPlan)
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why: the decision's dotted key to a sentence for the user."""
