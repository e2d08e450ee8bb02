"""Deep Q-network: learns what each action is worth from a memory of what was done, and takes the best.

Mnih et al. 2015, "Human-level control through deep reinforcement learning", with the parts of Rainbow (Hessel et al.
2018) that can be switched: double (van Hasselt et al. 2016), duelling (Wang et al. 2016), prioritised (Schaul et al.
2016) and n-step (Sutton 1988).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
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
from lamina.methods._control import Array, Setting, tensors
from lamina.networks.assembly.observed import Observed
from lamina.networks.blocks.options import positive, share, whole


@dataclass(frozen=True)
class Options:
    """Settings of a deep Q-network.

    Attributes:
        copies: of the environment, side by side.
        warmup: steps with random actions before learning, over all copies.
        memory: transitions remembered.
        batch_size: transitions a batch.
        updates: batches for each step in the environment, over all copies. Mnih et al. learn from one batch in four
            steps: where steps are cheap, more of them teach more than more batches from the same ones; where
            they are dear (a robot, a slow simulation), 1 makes the most of each.
        discount: what a reward one step later counts.
        steps: whose rewards are taken as they came before the network's own estimate is used (n-step). More than one
            spreads rewards sooner, but what is remembered was done by older policies: of CartPole and LunarLander the
            one was learned well with 3 only and the other with 1 only.
        double: the network chooses the next action and the target network says its value, against overrating.
        duelling: the value of the state and the advantages of the actions are learned apart.
        priority: power of the error in a transition's chance to be drawn (Schaul et al. use 0.6); 0 draws uniformly.
        correction: of the bias that this brings, at the beginning; it rises to 1.
        target_every: batches from one change of the target network to the next.
        target_rate: share of the way to the network that the target network then goes; 1 copies.
        exploration_first, exploration_last: chance of a random action, at the beginning and after `exploration_share`.
        exploration_share: of the training over which the chance falls, on a straight line.
    """

    copies: int = whole(8)
    warmup: int = whole(1000)
    memory: int = whole(100_000)
    batch_size: int = whole(128)
    updates: float = positive(0.25)
    discount: float = share(0.99)
    steps: int = whole(3)
    double: bool = True
    duelling: bool = True
    priority: float = share(0.0)
    correction: float = share(0.4)
    target_every: int = whole(1)
    target_rate: float = positive(0.005)
    exploration_first: float = positive(1.0)
    exploration_last: float = share(0.05)
    exploration_share: float = positive(0.2)


class Values(nn.Module):
    """What each action is worth: {"action": [row, 1, choices]} from observations.

    Args:
        network: with the head "action", or with "value" and "advantage".
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.network(inputs)
        if "action" in outputs:
            return {"action": outputs["action"]}
        value, advantage = outputs["value"], outputs["advantage"]
        # Without the mean taken off, value and advantages could drift against each other (Wang et al. 2016, eq. 9).
        return {"action": value + advantage - advantage.mean(dim=2, keepdim=True)}


class DeepQ:
    """Owns the network, the slower target network and the optimizer.

    Attributes:
        policy: the values of the actions; the highest is the policy's.
        replay: where batches come from; it is told how far training is, and the errors of each batch.
    """

    squashes = False
    means: Literal["preferences", "values"] = "values"
    replay: Replay

    def __init__(self, setting: Setting, options: Options) -> None:
        self.options, self.device, self.reach = options, setting.device, setting.world.reach
        self.choices = setting.world.actions.size
        heads = {"value": 1, "advantage": self.choices} if options.duelling else {"action": self.choices}
        self.policy = _settled(Values(setting.network(heads)).to(setting.device))
        self.target = _settled(copy.deepcopy(self.policy).requires_grad_(False))
        if isinstance(self.policy.network, Observed) and isinstance(self.target.network, Observed):
            # What is observed is normalised alike for both.
            self.target.network.normalizers = self.policy.network.normalizers
        self.optimizers = optimizers.build([{"params": list(self.policy.parameters())}], setting.optimizer)
        self._judged = Straight(self.judge, [self.policy, self.target], list(self.policy.parameters()))
        self._explored: Code | None = None
        self._slow: list[Tensor] = list(self.target.parameters())
        self._quick: list[Tensor] = list(self.policy.parameters())
        self._generator = np.random.default_rng([setting.seed, 1])
        self.updates = 0

    @torch.inference_mode()
    def act(self, observations: Observations) -> Array:
        """The best actions, int64 [copy]."""
        best: Array = self._best(tensors(observations, self.device)).cpu().numpy()
        return best

    def _best(self, inputs: Mapping[str, Tensor]) -> Tensor:
        best: Tensor = self.policy(inputs)["action"][:, 0].argmax(dim=1)
        return best

    def explore(self, observations: Observations, progress: float) -> Array:
        """The best actions, but random ones with the chance that falls with the progress (epsilon-greedy)."""
        number = len(next(iter(observations.values())))
        random = self._generator.random(number) < self.exploration(progress)
        actions = self._generator.integers(0, self.choices, number)
        if random.all():
            # Early on, most steps need no network at all.
            return actions
        arrays = tensors(observations, self.device).values()
        if self._explored is None:
            names = list(observations)
            self._explored = straight_forward(
                self.policy, lambda *given: (self._best(dict(zip(names, given, strict=True))),), list(arrays)
            )
        with torch.no_grad():
            return np.where(random, actions, self._explored(*arrays)[0].cpu().numpy())

    def exploration(self, progress: float) -> float:
        """The chance of a random action."""
        options = self.options
        left = max(0.0, 1.0 - progress / options.exploration_share)
        return options.exploration_last + (options.exploration_first - options.exploration_last) * left

    def follow(self, observations: Mapping[str, Tensor]) -> None:
        """Normalise by these observations from now on.

        Only once, before the first batch: were the moments to move on, what the networks have learned about everything
        in the memory would change its meaning with them, for the target network at another time than for the network.
        """
        if isinstance(self.policy.network, Observed):
            self.policy.network.follow({name: tensor.to(self.device) for name, tensor in observations.items()})
            self.policy.network.widen(self.reach)

    @torch.no_grad()
    def goal(self, batch: Batch) -> Tensor:
        """What the taken actions turned out to be worth: reward, and the discounted value of what followed, [row]."""
        following = {name: batch.targets[f"next.{name}"] for name in batch.inputs}
        values = self.target(following)["action"][:, 0].float()
        if self.options.double:
            best = self.policy(following)["action"][:, 0].argmax(dim=1, keepdim=True)
            value = values.gather(1, best)[:, 0]
        else:
            value = values.amax(dim=1)
        goal: Tensor = batch.targets["reward"] + batch.targets["discount"] * value
        return goal

    def judge(self, batch: Batch) -> tuple[Loss, dict[str, Tensor]]:
        """The loss; the "value" of each action, and by what "error" it differs from what the action was worth."""
        values = self.policy(batch.inputs)["action"][:, 0].float()
        taken = values.gather(1, batch.targets["action"].unsqueeze(1))[:, 0]
        errors = taken - self.goal(batch)
        # Squares up to 1, straight beyond that: Mnih et al. 2015 clip the error's gradient.
        each = functional.huber_loss(errors, torch.zeros_like(errors), reduction="none")
        if batch.weight is not None:
            each = each * batch.weight
        number = torch.tensor(float(len(batch)), device=each.device)
        return Loss(each.sum(), number), {"value": taken.detach(), "error": errors.detach().abs()}

    def loss(self, batch: Batch) -> Loss:
        """Huber's loss of the errors."""
        return self.judge(batch)[0]

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """One step of the network, and of the target network where it is due."""
        self.replay.progress = engine.progress
        batch = batch.to(engine.device)
        metrics, each = self._judged.descend(batch, engine, self.optimizers)
        self.replay.priorities(batch.rows, each["error"])
        self.updates += 1
        if self.updates % self.options.target_every == 0:
            with torch.no_grad():
                torch._foreach_lerp_(self._slow, self._quick, self.options.target_rate)
        metrics |= {name: value.mean() for name, value in each.items()}
        metrics["exploration"] = torch.tensor(self.exploration(engine.progress))
        total = self.replay.mean_return()
        return metrics if total is None else {**metrics, "return": torch.tensor(total)}

    def weights(self) -> dict[str, Tensor]:
        """The policy's under "policy.", the target network's under "target."."""
        parts = {"policy": self.policy, "target": self.target}
        return {
            f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()
        }

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put `weights` (as from `weights`) into the networks."""
        for part, module in (("policy", self.policy), ("target", self.target)):
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
            _settled(self.policy)

    def state(self) -> dict[str, Any]:
        return {
            "policy": dict(self.policy.state_dict()),
            "target": dict(self.target.state_dict()),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self._generator.bit_generator.state,
            "updates": self.updates,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self.target.load_state_dict(state["target"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._generator.bit_generator.state = state["generator"]
        self.updates = state["updates"]


def _settled(network: Values) -> Values:
    """Dropout and batch statistics at rest: else the values that are learned would not be those that act.

    Recurrent parts stay in training mode: on a GPU they give gradients in no other.
    """
    for module in network.modules():
        module.training = isinstance(module, nn.RNNBase)
    return network


def suits(actions: Actions) -> bool:
    """Choices only."""
    return actions.kind == "discrete"


def steps_each(options: Options) -> float:
    """Steps in the environment for one batch."""
    return 1 / options.updates


def build(setting: Setting, options: Options) -> tuple[DeepQ, Replay]:
    """The method, and the source of its batches."""
    vector = setting.copies(options.copies)
    method = DeepQ(setting, options)
    like = np.zeros(options.copies, np.int64)
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
