"""Proximal policy optimisation: several epochs on each rollout, within a clipped distance of the policy that played.

Schulman et al. 2017, "Proximal policy optimization algorithms". What the paper leaves open decides whether it works;
each such detail is named below with where it is from: Engstrom et al. 2020, "Implementation matters in deep policy
gradients"; Andrychowicz et al. 2021, "What matters for on-policy deep actor-critic methods?"; Huang et al. 2022, "The
37 implementation details of proximal policy optimization".

Two more details are where everything of their kind is: the gradient of both networks together is clipped by the engine
(`training.clip`, 0.5 suits), and the learning rate falls by the loop's schedule ("linear", to 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lamina.environments import Actions, Observations
from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.collector import Collector
from lamina.learn.engine import Engine
from lamina.methods._control import Array, Setting, tensors
from lamina.networks.assembly.observed import LARGEST, Normalizer, Observed
from lamina.networks.blocks.options import positive, share, whole
from lamina.networks.blocks.table import Categories
from lamina.networks.dense import Dense
from lamina.plan import OptimizerPlan

ROWS = 1024
"""Observations that are judged at once, so that long rollouts of pictures do not exhaust the memory."""
LARGEST_REWARD = 10.0
"""Standard deviations beyond which a scaled reward is clipped (Huang et al. 2022, detail 9 of the nine for control)."""

FARTHEST = 20.0
"""Nats by which an action may become likelier; its square still fits a float32 after the exponential."""


@dataclass(frozen=True)
class Options:
    """How experience is collected and learned from.

    Attributes:
        copies: of the environment, side by side.
        horizon: steps of each copy in a rollout; copies * horizon rows are learned from at once.
        epochs: passes over a rollout.
        minibatches: parts that each pass is cut into, one step of the optimizers each.
        discount: what a reward one step later is worth.
        trace: lambda of generalised advantage estimation: 0 trusts the values, near 1 the rewards that came.
        clip: how far the probability of an action may move, as a share, before its gradient is cut.
        entropy: weight of the policy's entropy, which keeps it exploring.
        value_weight: weight of the values' loss.
        clip_value: how far a value may move likewise; 0 for any distance, as clipping did not help in any of the three
            studies.
        target_kl: a rollout is learned from no further once the policy has moved 1.5 times as far from the one that
            played, in nats; 0 for no such limit.
        scale_rewards: divide rewards by the running standard deviation of the discounted return.
        deviation: of a Gaussian policy's actions at the beginning, where 1 is half the way between the bounds.
    """

    copies: int = whole(16)
    horizon: int = whole(64)
    epochs: int = whole(6)
    minibatches: int = whole(4)
    discount: float = share(0.99)
    trace: float = share(0.95)
    clip: float = positive(0.2)
    entropy: float = share(0.01)
    value_weight: float = positive(0.5)
    clip_value: float = field(default=0.0, metadata={"least": 0.0})
    target_kl: float = field(default=0.0, metadata={"least": 0.0})
    scale_rewards: bool = True
    deviation: float = positive(0.6)


def suits(actions: Actions) -> bool:
    """Both kinds."""
    return actions.kind in ("discrete", "continuous")


def steps_each(options: Options) -> float:
    """Steps in the environment for one rollout."""
    return options.copies * options.horizon


class Ppo:
    """A policy and a value network, which share no weights (Andrychowicz et al. 2021).

    Both stay as they are when they are evaluated: with dropout or a batch's own statistics the policy that learns would
    not be the one that played. For the same reason their normalisers follow a rollout only once it is learned from.

    Args:
        policy: to {"action": [row, 1, width]}: log probabilities up to a constant, or means.
        value: to {"value": [row, 1, 1]}.
        actions: what can be done.
        optimizer: which one, and its rate.
        options: how to learn.
        seed: of exploration and of the order of rows.

    Attributes:
        recent_return: mean return of recent episodes, for the log.
    """

    squashes = False
    means: Literal["preferences", "values"] = "preferences"

    def __init__(
        self, policy: Observed, value: Observed, actions: Actions, optimizer: OptimizerPlan, options: Options, seed: int
    ) -> None:
        self.policy, self.value, self.options = _settled(policy), _settled(value), options
        # At first the policy is nearly the same whatever is observed, which matters much (Andrychowicz et al. 2021).
        for last, gain in ((policy.head("action"), 0.01), (value.head("value"), 1.0)):
            nn.init.orthogonal_(last.weight, gain)
            nn.init.zeros_(last.bias)
        self.device = next(policy.parameters()).device
        parameters = [*policy.parameters(), *value.parameters()]
        self.log_deviation: nn.Parameter | None = None
        if actions.kind == "continuous":
            # One for all observations (Schulman et al. 2015), so that exploration cannot collapse in places.
            start = torch.full((actions.size,), math.log(options.deviation), device=self.device)
            self.log_deviation = nn.Parameter(start)
            parameters.append(self.log_deviation)
        # Adam's epsilon of 1e-5 instead of 1e-8 (Huang et al. 2022, detail 3).
        self.optimizers: list[Optimizer] = optimizers.build([{"params": parameters, "eps": 1e-5}], optimizer)
        self.random = np.random.default_rng(seed)
        self.scale = RewardScale(options.discount, options.copies)
        self.recent_return: Callable[[], float | None] = lambda: None
        self._policy, self._value = forward(policy, "action"), forward(value, "value")

    def explore(self, observations: Observations) -> dict[str, Array]:
        """An "action" for each copy, drawn from the policy, and the "output" of the network that it was drawn from."""
        output = self._policy(observations)
        if self.log_deviation is None:
            # The highest sum of a log probability and Gumbel noise is a draw: no probabilities need be computed.
            return {"action": (output + self.random.gumbel(size=output.shape)).argmax(axis=1), "output": output}
        noise = self.random.standard_normal(output.shape, np.float32)
        # Not clipped to the bounds here: the environment does that, and the probability is that of the draw.
        deviation = np.exp(self.log_deviation.detach().cpu().numpy())
        return {"action": output + deviation * noise, "output": output}

    def values(self, observations: Observations) -> Array:
        """float32 [row]: expected discounted rewards, in the scale of `scale`."""
        rows = len(next(iter(observations.values())))
        parts = [
            self._value({name: array[start : start + ROWS] for name, array in observations.items()})
            for start in range(0, rows, ROWS)
        ]
        return np.concatenate(parts)[:, 0]

    def act(self, observations: Observations) -> Array:
        """The likeliest actions: int64 [environment] or float32 [environment, size]."""
        output = self._policy(observations)
        return output.argmax(axis=1) if self.log_deviation is None else output

    def loss(self, batch: Batch) -> Loss:
        """Clipped objective, values' error and entropy of rows of a `_rollout`."""
        options, targets = self.options, batch.targets
        output = self.policy.assembly(batch.inputs)["action"][:, 0].float()
        value = self.value.assembly(batch.inputs)["value"][:, 0, 0].float()
        log_probability, entropy = self._distribution(output, targets["action"])
        # So far apart only by accident, but its power would be infinite then, and so end the training.
        moved = (log_probability - targets["log_probability"]).clamp(max=FARTHEST)
        ratio = moved.exp()
        policy_loss = clipped_objective(ratio, targets["advantage"], options.clip)
        value_loss = value_error(value, targets["value"], targets["return"], options.clip_value)
        each = policy_loss + options.value_weight * value_loss - options.entropy * entropy
        with torch.no_grad():
            metrics = {
                "policy_loss": policy_loss.mean(),
                "value_loss": value_loss.mean(),
                "entropy": entropy.mean(),
                # Never negative, and of little variance (Schulman 2020, "Approximating KL divergence").
                "kl": (ratio - 1 - moved).mean(),
                "clipped": ((ratio - 1).abs() > options.clip).float().mean(),
            }
        return Loss(each.sum(), torch.tensor(float(len(batch)), device=each.device), metrics)

    def _distribution(self, output: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log probability [row] of the actions and entropy [row] under the network's outputs [row, width]."""
        if self.log_deviation is None:
            every = output.log_softmax(dim=1)
            return every.gather(1, action.unsqueeze(1)).squeeze(1), -(every.exp() * every).sum(dim=1)
        constant = 0.5 * math.log(2 * math.pi)
        distance = (action - output) * torch.exp(-self.log_deviation)
        each = -0.5 * distance.square() - (self.log_deviation + constant)
        return each.sum(dim=1), (self.log_deviation + 0.5 + constant).sum().expand(len(output))

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """Learn from a rollout of `Collector`, in several epochs of shuffled minibatches."""
        batch = batch.to(engine.device)
        rollout = self._rollout(batch)
        steps: list[dict[str, Tensor]] = []
        for minibatch in self._minibatches(rollout):
            steps.append(engine.descend(self.loss, minibatch, self.optimizers))
            # Reading it waits for the device, so only where it is wanted.
            if self.options.target_kl and float(steps[-1]["kl"]) > 1.5 * self.options.target_kl:
                break
        for network in (self.policy, self.value):
            network.follow(batch.inputs)
        metrics = {name: torch.stack([step[name] for step in steps]).mean() for name in steps[0]}
        error = rollout.targets["return"] - rollout.targets["value"]
        metrics["explained"] = 1 - error.var() / rollout.targets["return"].var().clamp_min(1e-8)
        recent = self.recent_return()
        return metrics if recent is None else {**metrics, "return": torch.tensor(recent)}

    @torch.no_grad()
    def _rollout(self, batch: Batch) -> Batch:
        """What is learned from: normalised observations, actions as they were drawn, advantages and returns."""
        options, targets = self.options, batch.targets
        reward, value, next_value, ended = (
            targets[name].cpu().numpy().reshape(-1, options.copies)
            for name in ("reward", "value", "next_value", "ended")
        )
        if options.scale_rewards:
            reward = self.scale(reward, ended)
        found = advantages(reward, value, next_value, ended, options.discount, options.trace).reshape(-1)
        advantage = torch.from_numpy(found).to(batch.rows.device)
        log_probability, _ = self._distribution(targets["output"], targets["action"])
        return Batch(
            batch.rows,
            # Both networks have followed the same observations, so one's normalisers serve both; once, not every epoch.
            _normalized(self.policy, batch.inputs),
            {
                "action": targets["action"],
                "log_probability": log_probability,
                "value": targets["value"],
                "advantage": advantage,
                "return": targets["value"] + advantage,
            },
        )

    def _minibatches(self, rollout: Batch) -> Iterator[Batch]:
        """Every row once an epoch, in a new order each time."""
        rows, parts = len(rollout), self.options.minibatches
        for _ in range(self.options.epochs):
            order = torch.from_numpy(self.random.permutation(rows)).to(rollout.rows.device)
            for index in order.tensor_split(min(parts, rows)):
                targets = {name: tensor[index] for name, tensor in rollout.targets.items()}
                # Normalised by minibatch (Huang et al. 2022, detail 7); here, as the loss may be cut into parts.
                deviation, mean = torch.std_mean(targets["advantage"], correction=0)
                targets["advantage"] = (targets["advantage"] - mean) / (deviation + 1e-8)
                yield Batch(
                    rollout.rows[index], {name: tensor[index] for name, tensor in rollout.inputs.items()}, targets
                )

    def weights(self) -> dict[str, Tensor]:
        """The weights of both networks with their normalisers, as "policy....", "value....", and "log_deviation"."""
        found = {f"policy.{name}": tensor for name, tensor in self.policy.state_dict().items()}
        found |= {f"value.{name}": tensor for name, tensor in self.value.state_dict().items()}
        return found if self.log_deviation is None else {**found, "log_deviation": self.log_deviation.detach()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take `weights` (as from `weights`)."""
        for prefix, network in (("policy.", self.policy), ("value.", self.value)):
            network.load_state_dict(
                {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
            )
        if self.log_deviation is not None:
            with torch.no_grad():
                self.log_deviation.copy_(weights["log_deviation"])

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
            "weights": self.weights(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": self.random.bit_generator.state,
            "scale": self.scale.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.load(state["weights"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.random.bit_generator.state = state["random"]
        self.scale.restore(state["scale"])


def build(setting: Setting, options: Options) -> tuple[Ppo, Collector]:
    """Policy and values with fresh weights, and where their experience comes from."""
    actions = setting.world.actions
    policy = cast(Observed, setting.network({"action": actions.size}).to(setting.device))
    value = cast(Observed, setting.network({"value": 1}).to(setting.device))
    method = Ppo(policy, value, actions, setting.optimizer, options, setting.seed)
    source = Collector(setting.copies(options.copies), method, options.horizon)
    method.recent_return = lambda: source.recent_return
    return method, source


def _settled(network: Observed) -> Observed:
    """In evaluation mode, but for recurrent parts: on a GPU these give gradients in training mode only."""
    for module in network.modules():
        module.training = isinstance(module, nn.RNNBase)
    return network


def _normalized(network: Observed, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `network` hands to its assembly."""
    pairs = zip(network.fields, network.normalizers, strict=True)
    return {**inputs, **{name: normalizer(inputs[name]) for name, normalizer in pairs}}


def advantages(reward: Array, value: Array, next_value: Array, ended: Array, discount: float, trace: float) -> Array:
    """Generalised advantage estimation (Schulman et al. 2016), float32 [time, copy]; all arguments likewise.

    A_t = d_t + discount * trace * A_{t+1} within an episode, where d_t = reward_t + discount * next_value_t - value_t.
    """
    found = reward + np.float32(discount) * next_value - value
    decay = np.where(ended, 0.0, discount * trace).astype(np.float32)
    for time in range(len(found) - 2, -1, -1):
        found[time] += decay[time] * found[time + 1]
    return cast(Array, found)


def clipped_objective(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """-min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A), [row]: no gain from moving further than `clip`."""
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def value_error(value: Tensor, before: Tensor, target: Tensor, clip: float) -> Tensor:
    """Half the squared error, [row]; with `clip` the larger one of the value's and of it within `clip` of `before`."""
    error = (value - target).square()
    if clip:
        error = torch.maximum(error, (before + (value - before).clamp(-clip, clip) - target).square())
    return 0.5 * error


class RewardScale:
    """Divides rewards by the running standard deviation of the discounted return so far (Engstrom et al. 2020).

    The mean is left in: without it the sign of a reward could turn.
    """

    def __init__(self, discount: float, copies: int) -> None:
        self.discount = discount
        self.returns = np.zeros(copies)
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def __call__(self, reward: Array, ended: Array) -> Array:
        """Count rewards [time, copy] in, and scale them: float32 [time, copy]."""
        seen = np.empty(reward.shape)
        for time, goes_on in enumerate(~ended):
            seen[time] = self.returns * self.discount + reward[time]
            self.returns = seen[time] * goes_on
        # Moments of both parts merged (Chan, Golub & LeVeque 1983).
        apart, total = seen.mean() - self.mean, self.count + seen.size
        self.squares += float(seen.var()) * seen.size + float(apart**2) * self.count * seen.size / total
        self.mean += float(apart) * seen.size / total
        self.count = total
        deviation = math.sqrt(self.squares / self.count + 1e-8)
        return np.clip(reward / deviation, -LARGEST_REWARD, LARGEST_REWARD).astype(np.float32)

    def state(self) -> dict[str, Any]:
        return {"returns": self.returns.tolist(), "count": self.count, "mean": self.mean, "squares": self.squares}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.returns = np.array(state["returns"])
        self.count, self.mean, self.squares = state["count"], state["mean"], state["squares"]


def forward(network: Observed, head: str) -> Callable[[Observations], Array]:
    """A network as a function of NumPy arrays: float32 [row, width] of one head, by the weights of the moment.

    For a handful of observations PyTorch's calls take eight times as long as the arithmetic, and a policy is asked at
    every step. So dense layers over plain columns on the CPU are computed in NumPy.
    """
    part, last = network.assembly.network(network.assembly.names[0]), network.head(head)
    device = last.weight.device
    if device.type == "cpu" and len(network.assembly.names) == 1 and isinstance(part, Dense) and _plain(part):
        return _dense_forward(network, part, last)

    def modules(observations: Observations) -> Array:
        with torch.inference_mode():
            return cast(Array, network(tensors(observations, device))[head][:, 0].float().cpu().numpy())

    return modules


def _plain(dense: Dense) -> bool:
    """Does it read columns as they are, through layers of a linear map and an activation?"""
    columns = dense.columns
    return (
        columns.piecewise is None
        and columns.periodic is None
        and all(start == 0 for _, start in columns.plain)
        and all(len(cast(nn.Sequential, layer)) == 2 for layer in dense.layers)
    )


def _dense_forward(network: Observed, dense: Dense, last: nn.Linear) -> Callable[[Observations], Array]:
    def view(tensor: Tensor) -> Array:
        return cast(Array, tensor.detach().numpy())

    # Optimizers and `load_state_dict` write in place, so these views stay the weights.
    numbers = [name for name, _ in dense.columns.plain]
    moments = {
        name: (view(cast(Normalizer, normalizer).mean), view(cast(Normalizer, normalizer).variance))
        for name, normalizer in zip(network.fields, network.normalizers, strict=True)
    }
    embeddings = [] if dense.columns.categories is None else _embeddings(dense.columns.categories, view)
    layers = [
        (view(linear.weight).T, view(linear.bias), ACTIVATIONS[type(activation)])
        for linear, activation in cast(list[tuple[nn.Linear, nn.Module]], dense.layers)
    ]
    weight, bias = view(last.weight).T, view(last.bias)

    def normal(name: str, values: Array) -> Array:
        if name not in moments:
            return values
        mean, variance = moments[name]
        values = (values - mean) / np.sqrt(variance + 1e-8)
        return cast(Array, np.minimum(np.maximum(values, -LARGEST), LARGEST))

    def run(observations: Observations) -> Array:
        parts = [normal(name, observations[name]) for name in numbers]
        parts += [embed(observations) for embed in embeddings]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        for inner, shift, activation in layers:
            values = activation(values @ inner + shift)
        return cast(Array, values @ weight + bias)

    return run


def _embeddings(categories: Categories, view: Callable[[Tensor], Array]) -> list[Callable[[Observations], Array]]:
    def embedding(width: int, names: list[str]) -> Callable[[Observations], Array]:
        sizes, starts = (view(categories.get_buffer(f"{part}_{width}")) for part in ("sizes", "starts"))
        table = view(cast(nn.Embedding, categories.tables[str(width)]).weight)

        def embed(observations: Observations) -> Array:
            index = np.stack([observations[name] for name in names], axis=1)
            index = np.where((index >= 0) & (index < sizes), index, 0) + starts
            return cast(Array, table[index].reshape(len(index), -1))

        return embed

    return [embedding(width, names) for width, names in categories.groups.items()]


ACTIVATIONS: dict[type[nn.Module], Callable[[Array], Array]] = {
    nn.Tanh: np.tanh,
    nn.ReLU: lambda values: np.maximum(values, 0),
    nn.SiLU: lambda values: values / (1 + np.exp(-values)),
}
