"""Soft actor-critic: learns continuous actions from a memory of what was done, as random as their worth allows.

Haarnoja et al. 2018, "Soft actor-critic algorithms and applications" (arXiv:1812.05905): two critics, a policy of
squashed normal distributions, and a temperature that holds the policy's entropy at a set level.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lamina.environments import Actions, Observations
from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.learn.recorded import Code
from lamina.learn.replay import Memory, Replay, Spans
from lamina.learn.straight import Straight, straight_forward
from lamina.methods._control import Array, Setting, acted, tensors
from lamina.networks.assembly.observed import Observed
from lamina.networks.blocks.options import positive, share, whole

LOWEST, HIGHEST = -20.0, 2.0
"""Bounds of the logarithm of the standard deviation, as in the authors' code."""


@dataclass(frozen=True)
class Options:
    """Settings of a soft actor-critic.

    Attributes:
        copies: of the environment, side by side.
        warmup: steps with random actions before learning, over all copies.
        memory: transitions remembered.
        batch_size: transitions a batch.
        updates: batches for each step in the environment, over all copies; its authors take 1, which makes the most
            of steps that are dear (a robot, a slow simulation). A batch costs as much as a hundred steps of most
            simulations, and with one in four steps learning takes hardly more steps.
        discount: what a reward one step later counts.
        steps: whose rewards are taken as they came before the critics' own estimate is used (n-step); above 1 the
            entropy of the steps in between is left out.
        priority: power of the error in a transition's chance to be drawn; 0 draws uniformly.
        correction: of the bias that this brings, at the beginning; it rises to 1.
        target_rate: share of the way to the critics that their targets go after each batch.
        entropy: wanted of the policy, for each number of an action; the paper's is -1.
        temperature: what entropy counts against reward, at the beginning.
        automatic: the temperature follows the wanted entropy; else it stays.
    """

    copies: int = whole(4)
    warmup: int = whole(1000)
    memory: int = whole(1_000_000)
    batch_size: int = whole(256)
    updates: float = positive(0.25)
    discount: float = share(0.99)
    steps: int = whole(1)
    priority: float = share(0.0)
    correction: float = share(0.4)
    target_rate: float = positive(0.005)
    entropy: float = -1.0
    temperature: float = positive(1.0)
    automatic: bool = True


class Mean(nn.Module):
    """The policy without chance: {"action": [row, 1, size]}, before the tanh.

    Args:
        network: with the heads "action" (the mean) and "log_scale".
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"action": self.network(inputs)["action"]}


class Temperature(nn.Module):
    """What entropy counts against reward; learned as its logarithm, so that it stays positive."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(value)))

    def forward(self) -> Tensor:
        return self.log.exp()


def squashed(mean: Tensor, log_scale: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions tanh(mean + scale * noise), [row, size], and the logarithm of their density, [row].

    The density of the normal distribution is divided by the tanh's slope (the paper's appendix C). The slope's
    logarithm, log(1 - tanh(x)^2), is written as 2 (log 2 - x - softplus(-2 x)), which is exact however large x is.
    """
    before = mean + log_scale.exp() * noise
    slope = 2 * (math.log(2) - before - functional.softplus(-2 * before))
    density = -0.5 * noise.square() - log_scale - (0.5 * math.log(2 * math.pi) + slope)
    return torch.tanh(before), density.sum(dim=1)


class SoftActorCritic:
    """Owns the policy, two critics, their slower targets, the temperature, and an optimizer for each.

    Attributes:
        policy: the best action before its tanh.
        replay: where batches come from; it is told how far training is, and the errors of each batch.
    """

    squashes = True
    means: Literal["preferences", "values"] = "preferences"
    replay: Replay

    def __init__(self, setting: Setting, options: Options) -> None:
        self.options, self.device, self.reach = options, setting.device, setting.world.reach
        self.size, self.acted = setting.world.actions.size, acted(setting.world)
        self.policy = Mean(setting.network({"action": self.size, "log_scale": self.size})).to(setting.device)
        # Each critic overrates some actions; the lower of two values is more often right (Fujimoto et al. 2018).
        critics = [setting.network({"value": 1}, action=True) for _ in range(2)]
        self.critics = nn.ModuleList(critics).to(setting.device)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.temperature = Temperature(options.temperature).to(setting.device)
        for network in (*self.critics, *self.targets):
            if isinstance(network, Observed) and isinstance(self.policy.network, Observed):
                # What is observed is normalised alike for all.
                network.normalizers = self.policy.network.normalizers
        for part in (self.policy, self.critics, self.targets):
            _settle(part)
        self._critics, self._policy, self._temperature = (
            optimizers.build([{"params": list(part.parameters())}], setting.optimizer)
            for part in (self.critics, self.policy, self.temperature)
        )
        self.optimizers = [*self._critics, *self._policy, *self._temperature]
        # The critics judge the policy's actions and must not learn from them: each loss has its own weights.
        modules = [self.policy, self.critics, self.targets, self.temperature]
        self._judged_values = Straight(self.judge_values, modules, list(self.critics.parameters()))
        self._judged_policy = Straight(self.judge_policy, modules, list(self.policy.parameters()))
        self._explored: Code | None = None
        self._slow: list[Tensor] = list(self.targets.parameters())
        self._quick: list[Tensor] = list(self.critics.parameters())

    @torch.inference_mode()
    def act(self, observations: Observations) -> Array:
        """The policy's best actions, float32 [copy, size], each from -1 to 1."""
        mean: Tensor = self.policy(tensors(observations, self.device))["action"][:, 0]
        best: Array = mean.tanh().cpu().numpy()
        return best

    @torch.no_grad()
    def explore(self, observations: Observations, progress: float) -> Array:
        """Actions drawn from the policy; PyTorch's generator, whose state the loop keeps."""
        inputs = tensors(observations, self.device)
        if self._explored is None:
            names = list(observations)
            self._explored = straight_forward(
                self.policy,
                lambda *given: (self._random(dict(zip(names, given, strict=True))),),
                list(inputs.values()),
            )
        (action,) = self._explored(*inputs.values())
        taken: Array = action.cpu().numpy()
        return taken

    def _random(self, inputs: Mapping[str, Tensor]) -> Tensor:
        mean, log_scale = self._distribution(inputs)
        return torch.tanh(mean + log_scale.exp() * torch.randn_like(mean))

    def _distribution(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the standard deviation before the tanh, [row, size]."""
        outputs: dict[str, Tensor] = self.policy.network(inputs)
        return outputs["action"][:, 0].float(), outputs["log_scale"][:, 0].float().clamp(LOWEST, HIGHEST)

    def _drawn(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Fresh actions of the policy, with gradient, and the logarithm of their density."""
        mean, log_scale = self._distribution(inputs)
        return squashed(mean, log_scale, torch.randn_like(mean))

    def follow(self, observations: Mapping[str, Tensor]) -> None:
        """Normalise by these observations from now on.

        Only once, before the first batch: were the moments to move on, what the networks have learned about everything
        in the memory would change its meaning with them.
        """
        if isinstance(self.policy.network, Observed):
            self.policy.network.follow({name: tensor.to(self.device) for name, tensor in observations.items()})
            self.policy.network.widen(self.reach)

    @torch.no_grad()
    def goal(self, batch: Batch) -> Tensor:
        """What the taken actions turned out to be worth: reward, and the soft value of what followed, [row]."""
        following = {name: batch.targets[f"next.{name}"] for name in batch.inputs}
        action, density = self._drawn(following)
        soft = _lower(self.targets, {**following, self.acted: action}) - self.temperature() * density
        goal: Tensor = batch.targets["reward"] + batch.targets["discount"] * soft
        return goal

    def judge_values(self, batch: Batch) -> tuple[Loss, dict[str, Tensor]]:
        """The critics' squared errors; each row's "value", and its mean absolute "error"."""
        first, second = _values(self.critics, {**batch.inputs, self.acted: batch.targets["action"]})
        goal = self.goal(batch)
        each = 0.5 * ((first - goal).square() + (second - goal).square())
        if batch.weight is not None:
            each = each * batch.weight
        errors = 0.5 * ((first - goal).abs() + (second - goal).abs())
        return Loss(each.sum(), _number(batch)), {"value": first.detach(), "error": errors.detach()}

    def judge_policy(self, batch: Batch) -> tuple[Loss, dict[str, Tensor]]:
        """The policy's actions should be worth much, and be random; the "entropy" that each of them stands for."""
        action, density = self._drawn(batch.inputs)
        worth = _lower(self.critics, {**batch.inputs, self.acted: action})
        cost = self.temperature().detach() * density - worth
        return Loss(cost.sum(), _number(batch)), {"entropy": -density.detach()}

    def judge_temperature(self, batch: Batch, entropy: Tensor) -> Loss:
        """The temperature falls while there is more entropy than wanted, and rises while there is less."""
        too_much = entropy.mean() - self.options.entropy * self.size
        number = _number(batch)
        return Loss(self.temperature() * too_much * number, number)

    def loss(self, batch: Batch) -> Loss:
        """The critics' squared errors."""
        return self.judge_values(batch)[0]

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """One step of the critics, one of the policy, one of the temperature; then the targets follow."""
        self.replay.progress = engine.progress
        batch = batch.to(engine.device)
        metrics, values = self._judged_values.descend(batch, engine, self._critics)
        self.replay.priorities(batch.rows, values["error"])
        policy, drawn = self._judged_policy.descend(batch, engine, self._policy)
        if self.options.automatic:
            engine.descend(lambda part: self.judge_temperature(part, drawn["entropy"]), batch, self._temperature)
        with torch.no_grad():
            torch._foreach_lerp_(self._slow, self._quick, self.options.target_rate)
        metrics |= {name: value.mean() for name, value in (values | drawn).items()}
        metrics |= {"policy": policy["loss"], "temperature": self.temperature().detach()}
        total = self.replay.mean_return()
        return metrics if total is None else {**metrics, "return": torch.tensor(total)}

    def _parts(self) -> dict[str, nn.Module]:
        return {
            "policy": self.policy,
            "critics": self.critics,
            "targets": self.targets,
            "temperature": self.temperature,
        }

    def weights(self) -> dict[str, Tensor]:
        """The policy's under "policy.", then "critics.", "targets." and "temperature."."""
        parts = self._parts().items()
        return {f"{part}.{name}": value for part, module in parts for name, value in module.state_dict().items()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put `weights` (as from `weights`) into the networks."""
        for part, module in self._parts().items():
            found = {name: value for name, value in weights.items() if name.startswith(f"{part}.")}
            module.load_state_dict({name.removeprefix(f"{part}."): value for name, value in found.items()})

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The policy in evaluation mode; afterwards as it was."""
        self.policy.eval()
        try:
            with torch.inference_mode():
                yield self.policy
        finally:
            _settle(self.policy)

    def state(self) -> dict[str, Any]:
        return {
            "weights": self.weights(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.load(state["weights"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _values(critics: Sequence[nn.Module] | nn.ModuleList, known: Mapping[str, Tensor]) -> list[Tensor]:
    """Each critic's value of the observations with an action, [row]."""
    return [critic(known)["value"][:, 0, 0].float() for critic in critics]


def _lower(critics: nn.ModuleList, known: Mapping[str, Tensor]) -> Tensor:
    """The lower of the two critics' values, [row]."""
    first, second = _values(critics, known)
    return torch.minimum(first, second)


def _number(batch: Batch) -> Tensor:
    return torch.tensor(float(len(batch)), device=batch.rows.device)


def _settle(network: nn.Module) -> None:
    """Dropout and batch statistics at rest: else the values that are learned would not be those that act.

    Recurrent parts stay in training mode: on a GPU they give gradients in no other.
    """
    for module in network.modules():
        module.training = isinstance(module, nn.RNNBase)


def suits(actions: Actions) -> bool:
    """Numbers that are all bounded: the tanh needs an end on both sides."""
    return actions.kind == "continuous" and bool(np.isfinite([*actions.low, *actions.high]).all())


def steps_each(options: Options) -> float:
    """Steps in the environment for one batch."""
    return 1 / options.updates


def build(setting: Setting, options: Options) -> tuple[SoftActorCritic, Replay]:
    """The method, and the source of its batches."""
    vector = setting.copies(options.copies)
    method = SoftActorCritic(setting, options)
    like = np.zeros((options.copies, method.size), np.float32)
    method.replay = Replay(
        vector,
        setting.world.actions,
        method.explore,
        # No larger than all that there will be to remember.
        Memory(max(min(options.memory, setting.steps), options.copies), vector.observations, like, options.priority),
        Spans(options.copies, options.steps, options.discount),
        batch_size=options.batch_size,
        warmup=options.warmup,
        updates=options.updates,
        seed=setting.seed,
        correction=options.correction,
        warmed=method.follow,
    )
    return method, method.replay
