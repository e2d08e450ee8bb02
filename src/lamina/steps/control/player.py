"""From a plan and an environment to a method and its experience: the same for training, resuming and measuring."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from lamina import registry
from lamina.environments import COPY_SEED, VALIDATION_SEED, World, use_seed
from lamina.environments.play import Played, play
from lamina.environments.vector import Vector
from lamina.environments.workers import Workers
from lamina.errors import InputError
from lamina.learn.batch import Source
from lamina.learn.engine import Engine
from lamina.learn.loop import Learns
from lamina.methods._control import Acts, Setting, acted
from lamina.modalities import Feature
from lamina.networks.assembly import build_assembly
from lamina.networks.assembly.observed import Observed
from lamina.networks.blocks.options import read_options
from lamina.plan import NetworkPlan, Plan
from lamina.steps.control.understand import opened
from lamina.tasks.control import Task

VALIDATION_EPISODES = 20
"""Of one validation: enough to tell a much better policy from a luckier one, and cheap beside the learning."""
LEAST_EPISODES = 5
"""Of a validation or test where the budget has no time for more."""


class Learning(Learns, Acts, Protocol):
    """A method of control."""


@dataclass
class Player:
    """What learns, from what experience, and how it is scored."""

    world: World
    method: Learning
    source: Source
    engine: Engine
    each: float
    """Steps in the environment for one step of the loop."""
    before: int
    """Steps in the environment before the first step of the loop."""
    seed: int
    episodes: int
    """That a validation plays."""
    vectors: Sequence[Vector]
    """The copies of the environment that experience comes from."""
    workers: int = 0
    """Processes that step copies; 0: this one does."""
    processes: Workers | None = None
    """Those that run already."""
    seconds: float = math.inf
    """That a validation may take; it plays fewer episodes then."""

    @property
    def exact(self) -> bool:
        """False once an episode could not be brought back when the run was resumed."""
        return all(vector.exact for vector in self.vectors)

    def close(self) -> None:
        """Give back what the copies hold: there is no more experience afterwards, but it can still play episodes."""
        try:
            for vector in self.vectors:
                vector.close()
        finally:
            if self.processes is not None:
                self.processes.close()
                self.processes = None

    def steps_in(self, steps: int) -> int:
        """Steps of the loop for so many steps in the environment."""
        return max(1, round(steps / self.each))

    def validation_scores(self) -> dict[str, float]:
        """The mean return of the policy, without exploration, over episodes that are the same each time."""
        played = self.play(self.episodes, self.seed_of(VALIDATION_SEED), seconds=self.seconds)
        mean = float(played.returns.mean())
        return {"score": mean, "mean_return": mean, "episodes": float(len(played.returns))}

    def play(self, episodes: int, seed: int, *, keep: int = 0, seconds: float = math.inf) -> Played:
        """Episodes of the policy as it would be sealed now; at least LEAST_EPISODES, and more within the seconds."""
        with self.method.evaluating(), self._playing() as workers:
            return play(
                self.world, self.method.act, episodes, seed, keep=keep, seconds=seconds, least=LEAST_EPISODES,
                workers=workers,
            )  # fmt: skip

    @contextmanager
    def _playing(self) -> Iterator[Workers | None]:
        """The processes that play episodes; where none run any more, others for as long as that takes."""
        if self.processes is not None or not self.workers:
            yield self.processes
            return
        workers = Workers(self.world, self.workers)
        try:
            yield workers
        finally:
            workers.close()

    def seed_of(self, what: int) -> int:
        """A seed that no other use of the environment has."""
        return use_seed(self.seed, what)


def features_of(world: World) -> dict[str, Feature]:
    """What the encoders of the observations give, by field."""
    return {name: encoder.feature for name, encoder in world.encoders.items()}


def build(plan: Plan, world: World, device: torch.device, *, acting: bool = True) -> Player:
    """Networks, method, experience and engine as the plan says; random only through the plan's seed.

    Args:
        acting: False where nothing will be done in the environment, which then needs no worker processes.

    Raises:
        InputError: the method does not suit the actions, or an option is unknown or out of range.
    """
    module = registry.module("methods", plan.method.name)
    check_suits(plan.method.name, world)
    options = read_options(module.Options, plan.method.options, "method.options")
    torch.manual_seed(plan.seed)
    vectors: list[Vector] = []
    processes = Workers(world, plan.training.workers) if acting and plan.training.workers else None

    def copies(number: int) -> Vector:
        workers = plan.training.workers
        if workers > number:
            raise InputError(
                f"There are {workers} worker processes for {number} copies of the environment.",
                where="training.workers",
                fix=f"Give at most {number}, or more copies: --set method.copies={workers}",
            )
        vectors.append(Vector(world, number, use_seed(plan.seed, COPY_SEED), processes))
        return vectors[-1]

    setting = Setting(
        world=world,
        copies=copies,
        network=_Networks(plan, world, device),
        optimizer=plan.optimizer,
        steps=plan.training.steps,
        seed=plan.seed,
        device=device,
    )
    try:
        method, source = module.build(setting, options)
    except BaseException:
        if processes is not None:
            processes.close()
        raise
    training = plan.training
    engine = Engine(device, training.precision, training.accumulation, training.clip)
    return Player(
        world=world,
        method=method,
        source=source,
        engine=engine,
        each=module.steps_each(options),
        before=getattr(options, "warmup", 0),
        seed=plan.seed,
        episodes=VALIDATION_EPISODES,
        vectors=vectors,
        workers=plan.training.workers,
        processes=processes,
    )


def check_suits(name: str, world: World) -> None:
    """Raises InputError where a method cannot choose among the environment's actions."""
    registry.module("methods", name)
    fitting = [other for other in methods() if registry.module("methods", other).suits(world.actions)]
    if name not in fitting:
        actions = "one of several actions" if world.actions.kind == "discrete" else "numbers"
        raise InputError(
            f"The method {name!r} does not learn to choose {actions} in an environment.",
            where="method.name",
            fix=f"Choose one of: {', '.join(fitting)}.",
        )


def methods() -> list[str]:
    """The methods that learn in environments."""
    return [name for name in registry.names("methods") if hasattr(registry.module("methods", name), "suits")]


@dataclass
class _Networks:
    """Builds the plan's networks behind normalisers of the observations."""

    plan: Plan
    world: World
    device: torch.device

    def __call__(self, heads: Mapping[str, int], *, action: bool = False) -> nn.Module:
        features, networks, name = features_of(self.world), dict(self.plan.network), acted(self.world)
        if action:
            features[name] = Feature("numbers", (self.world.actions.size,), "float32")
            networks = _reading_action(networks, name)
        assembly = build_assembly(networks, features, heads)
        return Observed(assembly, features, frozenset({name})).to(self.device)


def _reading_action(networks: dict[str, NetworkPlan], name: str) -> dict[str, NetworkPlan]:
    """The first network for plain columns reads the action as well; without one, dense layers of its own do."""
    for key, part in networks.items():
        if part.name == "dense":
            return {**networks, key: replace(part, fields=(*part.fields, name))}
    return {**networks, name: NetworkPlan("dense", (name,))}


def trained(plan: Plan, base: Path, weights: Mapping[str, Tensor]) -> nn.Module:
    """A run's policy with its final weights, in evaluation mode."""
    player = build(plan, opened(plan, base), torch.device("cpu"), acting=False)
    player.close()
    player.method.load(weights)
    return player.method.policy.eval()


def task_of(method: Learning, name: str, world: World) -> Task:
    """How the policy's outputs become actions, for the sealed model."""
    return Task(name, world.actions, method.means, method.squashes)


def weights_of(method: Learning) -> dict[str, Tensor]:
    """The weights to keep, on the processor; networks that share some have them each for itself."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in method.weights().items()}
