"""Learning from a memory of what was done: transitions in a ring, batches drawn from it again and again.

Lin 1992, "Self-improving reactive agents based on reinforcement learning, planning and teaching"; as the memory of a
deep network in Mnih et al. 2015, "Human-level control through deep reinforcement learning".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lamina.environments import Actions, Observations
from lamina.learn.batch import Batch
from lamina.learn.checkpoint import Block

if TYPE_CHECKING:
    from lamina.environments.vector import Stepped, Vector

Array = np.ndarray[Any, Any]

BRANCHES = 64
"""Children of a node of the sum tree: three wide levels cost fewer calls of NumPy than seventeen narrow ones."""
LEAST_PRIORITY = 1e-6
"""Added to every error, so that no transition is lost for good (Schaul et al. 2016)."""
RECENT = 100
"""Episodes whose mean return is shown."""
BLOCKS, LEAST_BLOCK = 512, 2**20
"""The most blocks that a memory is kept in beside checkpoints, and the least bytes of one where there are fewer. Every
checkpoint holds the block that is being filled, so they should not be large either."""


@dataclass(frozen=True)
class Transitions:
    """What is remembered of some actions.

    Attributes:
        observations: before the action, by field, [transition, ...].
        action: int64 [transition] or float32 [transition, size].
        reward: [transition], summed and discounted over the steps that the transition spans.
        discount: [transition], what the value of `following` counts; 0 where the episode was over for good.
        following: the observations after the last of the steps.
    """

    observations: Observations
    action: Array
    reward: Array
    discount: Array
    following: Observations


class Spans:
    """Joins single steps of several copies to transitions over `steps` of them (n-step returns, Sutton 1988).

    An episode's end cuts its last transitions short. A time limit (truncation) is none of the environment's doing: the
    value of the episode's last observation still counts (Pardo et al. 2018, "Time limits in reinforcement learning").
    """

    def __init__(self, copies: int, steps: int, discount: float) -> None:
        self.steps, self.discount = steps, discount
        self.past: deque[tuple[Observations, Array]] = deque(maxlen=steps)
        # Row `steps - 1 - age` belongs to the action that was taken `age` steps ago.
        self.sums = np.zeros((steps, copies))
        self.counts = np.zeros(copies, np.int64)
        self._powers = discount ** np.arange(steps - 1, -1, -1.0)[:, None]

    def add(self, observations: Observations, actions: Array, stepped: Stepped) -> Iterator[Transitions]:
        """The transitions that are complete after one more step of each copy."""
        if self.steps == 1:
            discount = np.where(stepped.terminated, 0.0, self.discount)
            yield Transitions(observations, actions, stepped.reward, discount, stepped.following)
            return
        self.past.append((observations, actions))
        self.sums[:-1] = self.sums[1:]
        self.sums[-1] = 0
        self.sums += self._powers * stepped.reward
        self.counts = np.minimum(self.counts + 1, self.steps)
        ended = stepped.terminated | stepped.truncated
        for age in range(self.steps - 1, -1, -1):
            ready = self.counts > age
            if age < self.steps - 1:
                ready &= ended
            if ready.any():
                yield self._since(age, ready, stepped)
        self.counts[ended] = 0

    def _since(self, age: int, ready: Array, stepped: Stepped) -> Transitions:
        observations, actions = self.past[-1 - age]
        return Transitions(
            {name: array[ready] for name, array in observations.items()},
            actions[ready],
            self.sums[self.steps - 1 - age, ready],
            np.where(stepped.terminated[ready], 0.0, self.discount ** (age + 1)),
            {name: array[ready] for name, array in stepped.following.items()},
        )

    def state(self) -> dict[str, Any]:
        return {
            "past": [[_tensors(observations), torch.from_numpy(actions)] for observations, actions in self.past],
            "sums": torch.from_numpy(self.sums),
            "counts": self.counts.tolist(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.past.clear()
        self.past.extend((_arrays(observations), _array(actions)) for observations, actions in state["past"])
        self.sums = _array(state["sums"])
        self.counts = np.array(state["counts"], np.int64)


class SumTree:
    """Numbers from 0 on, and draws in proportion to them: each node holds the sum of its children.

    Args:
        size: how many numbers, all 0 at first.
    """

    def __init__(self, size: int) -> None:
        self.levels: list[Array] = []
        nodes = size
        while nodes > 1 or not self.levels:
            nodes = -(-nodes // BRANCHES)
            self.levels.append(np.zeros((nodes, BRANCHES)))

    @property
    def leaves(self) -> Array:
        """float64 [size, and zeros up to a multiple of `BRANCHES`]."""
        return self.levels[0].reshape(-1)

    @property
    def total(self) -> float:
        """Sum of all."""
        return float(self.levels[-1].sum())

    def set(self, rows: Array, values: Array | float) -> None:
        """Give `rows` (int64) new values. Sums are taken anew, so that no rounding adds up."""
        self.leaves[rows] = values
        for level, above in zip(self.levels, self.levels[1:], strict=False):
            rows = rows // BRANCHES
            above.reshape(-1)[rows] = level[rows].sum(axis=1)

    def find(self, shares: Array) -> Array:
        """int64: for each share (0 to below 1) of the total the row it falls into; never one whose value is 0."""
        node = np.zeros(len(shares), np.int64)
        left = shares * self.total
        everyone = np.arange(len(shares))
        for level in reversed(self.levels):
            sums = level[node].cumsum(axis=1)
            # A node's own sum may differ from its children's in the last digit.
            left = np.minimum(left, np.nextafter(sums[:, -1], 0.0))
            child = (sums <= left[:, None]).sum(axis=1)
            left = left - np.where(child > 0, sums[everyone, child - 1], 0.0)
            node = node * BRANCHES + child
        return node


class Memory:
    """The last `size` transitions in NumPy arrays of the observations' own types; the oldest are overwritten.

    Args:
        size: the most transitions kept.
        observations: any observations, [copy, ...]: their fields, shapes and types.
        actions: any actions, [copy] or [copy, size].
        priority: 0 for uniform draws; else transitions are drawn in proportion to their error to this power
            (Schaul et al. 2016, "Prioritized experience replay").

    Attributes:
        inputs, targets: the arrays as `Batch` has them; the first `filled` rows are in use.
        added: transitions so far, with those that were overwritten.
    """

    def __init__(self, size: int, observations: Observations, actions: Array, priority: float = 0.0) -> None:
        def room(like: Array) -> Array:
            # Zeros that are never written take no memory.
            return np.zeros((size, *like.shape[1:]), like.dtype)

        self.size, self.priority = size, priority
        self.inputs = {name: room(array) for name, array in observations.items()}
        self.targets = {
            "action": room(actions),
            "reward": np.zeros(size, np.float32),
            "discount": np.zeros(size, np.float32),
            **{f"next.{name}": room(array) for name, array in observations.items()},
        }
        self.added = 0
        self.tree = SumTree(size) if priority else None
        self.highest = 1.0
        row = sum(array[:1].nbytes for array in self._arrays().values())
        self._block = min(max(-(-size // BLOCKS), LEAST_BLOCK // row), size)

    @property
    def filled(self) -> int:
        """Rows in use."""
        return min(self.added, self.size)

    @property
    def position(self) -> int:
        """The row that the next transition goes to."""
        return self.added % self.size

    def add(self, new: Transitions) -> None:
        """Remember transitions; at first each has the highest priority so far, to be looked at soon."""
        number, position = len(new.reward), self.position
        if position + number <= self.size:
            rows: Array | slice = slice(position, position + number)
        else:
            rows = np.arange(position, position + number) % self.size
        for name, array in new.observations.items():
            self.inputs[name][rows] = array
        for name, array in new.following.items():
            self.targets[f"next.{name}"][rows] = array
        self.targets["action"][rows] = new.action
        self.targets["reward"][rows] = new.reward
        self.targets["discount"][rows] = new.discount
        if self.tree is not None:
            self.tree.set(np.arange(position, position + number) % self.size, self.highest)
        self.added += number

    def draw(self, number: int, generator: np.random.Generator) -> Array:
        """int64 [number]: rows, uniform or by priority (then one from each of `number` equal shares)."""
        if self.tree is None:
            return generator.integers(0, self.filled, number)
        return self.tree.find((np.arange(number) + generator.random(number)) / number)

    def batch(self, rows: Array, correction: float = 0.0) -> Batch:
        """The transitions in `rows`; drawn by priority they weigh the less the likelier they were.

        Args:
            correction: 0 for no correction of the draw's bias, 1 for all of it (beta in Schaul et al. 2016).
        """
        weight = None
        if self.tree is not None:
            chance = self.tree.leaves[rows]
            # Divided by the largest weight in the batch, so that weights only ever make steps smaller.
            weight = torch.from_numpy(((chance.min() / chance) ** correction).astype(np.float32))
        return Batch(
            rows=torch.from_numpy(rows),
            inputs={name: torch.from_numpy(array.take(rows, 0)) for name, array in self.inputs.items()},
            targets={name: torch.from_numpy(array.take(rows, 0)) for name, array in self.targets.items()},
            weight=weight,
        )

    def prioritise(self, rows: Array, errors: Array) -> None:
        """Set the priorities of `rows` by the sizes of their errors."""
        if self.tree is not None:
            values = (np.abs(errors.astype(np.float64)) + LEAST_PRIORITY) ** self.priority
            self.highest = max(self.highest, float(values.max()))
            self.tree.set(rows, values)

    def _arrays(self) -> dict[str, Array]:
        """All that is remembered of a transition, by a name of its own."""
        return {
            **{f"inputs.{name}": array for name, array in self.inputs.items()},
            **{f"targets.{name}": array for name, array in self.targets.items()},
        }

    def state(self) -> dict[str, Any]:
        """Of the blocks that the rows are cut into, all but the one being filled are whole until they are overwritten.

        They are numbered on and on, so a number never means other transitions.
        """
        rounds, position = divmod(self.added, self.size)
        in_round, open_block = -(-self.size // self._block), position // self._block
        after = rounds * in_round + open_block
        # On the border between two blocks the one that is to be overwritten next is still whole.
        first = max(after - in_round + (position % self._block > 0), 0)
        begin = open_block * self._block
        return {
            "added": self.added,
            "block": self._block,
            "blocks": {
                number: Block(partial(self._rows, number % in_round * self._block)) for number in range(first, after)
            },
            "open": self._rows(begin) if position > begin else {},
            "priorities": None if self.tree is None else torch.from_numpy(self.tree.leaves[: self.filled]),
            "highest": self.highest,
        }

    def _rows(self, begin: int) -> dict[str, Tensor]:
        """The block that begins with this row, as far as it is in use; views."""
        end = min(begin + self._block, self.filled)
        return {name: torch.from_numpy(array[begin:end]) for name, array in self._arrays().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.highest = state["highest"]
        if "inputs" in state:
            # Of version 1 of checkpoints: all rows at once.
            self.added = state["position"] + (self.size if state["filled"] == self.size else 0)
            parts = {"inputs": state["inputs"], "targets": state["targets"]}
            self._put(0, {f"{part}.{name}": rows for part, named in parts.items() for name, rows in named.items()})
        else:
            self.added, self._block = state["added"], state["block"]
            in_round = -(-self.size // self._block)
            for number, block in state["blocks"].items():
                self._put(number % in_round * self._block, block.tensors())
            self._put(self.position // self._block * self._block, state["open"])
        if self.tree is not None:
            self.tree = SumTree(self.size)
            self.tree.set(np.arange(self.filled), state["priorities"].numpy())

    def _put(self, begin: int, rows: Mapping[str, Tensor]) -> None:
        arrays = self._arrays()
        for name, tensor in rows.items():
            arrays[name][begin : begin + len(tensor)] = tensor.numpy()


Act = Callable[[Observations, float], Array]
"""From observations and how far training is (0 to 1) to actions, with exploration."""


class Replay:
    """A source of batches: acts, remembers, and draws from the memory, so many batches for each step.

    Args:
        vector: the copies of the environment.
        actions: what can be done, for the random actions of the beginning.
        act: chooses actions afterwards.
        memory: where transitions are kept.
        spans: how single steps are joined.
        batch_size: transitions in a batch.
        warmup: steps over all copies with random actions, before the first batch.
        updates: batches for each step in the environment, over all copies; also less than 1.
        seed: of random actions and draws.
        correction: of draws by priority, at the beginning; it rises to 1 (Schaul et al. 2016).
        warmed: called once with the observations (by field) of the random beginning.

    Attributes:
        progress: how far training is, 0 to 1; whoever learns from the batches says so here.
        taken: steps in the environment so far, over all copies.
        returns: of the last episodes.
    """

    def __init__(
        self,
        vector: Vector,
        actions: Actions,
        act: Act,
        memory: Memory,
        spans: Spans,
        *,
        batch_size: int,
        warmup: int,
        updates: float,
        seed: int,
        correction: float = 0.4,
        warmed: Callable[[Mapping[str, Tensor]], None] | None = None,
    ) -> None:
        self.vector, self.memory, self.spans = vector, memory, spans
        self.batch_size, self.warmup, self.updates, self.correction = batch_size, warmup, updates, correction
        self._actions, self._act, self._warmed = actions, act, warmed
        self._generator = np.random.default_rng(seed)
        self.progress, self.taken, self.debt, self.warming = 0.0, 0, 0.0, True
        self.returns: deque[float] = deque(maxlen=RECENT)

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) for ever; the environment is stepped in between."""
        step = start
        while True:
            while self.debt < 1:
                self._advance()
            self.debt -= 1
            rows = self.memory.draw(self.batch_size, self._generator)
            correction = self.correction + (1 - self.correction) * self.progress
            yield step, self.memory.batch(rows, correction)
            step += 1

    def batches_in(self, steps: int) -> int:
        """How many batches so many steps in the environment give."""
        number = self.vector.number
        return max(int((-(-steps // number) - -(-self.warmup // number)) * number * self.updates), 0)

    def priorities(self, rows: Tensor, errors: Tensor) -> None:
        """The errors that the transitions `rows` of a batch turned out to have; waits for the device."""
        if self.memory.tree is not None:
            self.memory.prioritise(rows.cpu().numpy(), errors.float().cpu().numpy())

    def mean_return(self) -> float | None:
        """Of the last episodes; None before one has ended."""
        return sum(self.returns) / len(self.returns) if self.returns else None

    def _advance(self) -> None:
        """One step of every copy."""
        observations = self.vector.observations
        actions = self._random() if self.warming else self._act(observations, self.progress)
        stepped = self.vector.step(actions)
        for transitions in self.spans.add(observations, actions, stepped):
            self.memory.add(transitions)
        self.returns.extend(total for total, _ in stepped.ended)
        self.taken += self.vector.number
        if not self.warming:
            self.debt += self.vector.number * self.updates
        elif self.taken >= self.warmup and self.memory.filled:
            self.warming = False
            if self._warmed is not None:
                seen = {name: array[: self.memory.filled] for name, array in self.memory.inputs.items()}
                self._warmed(_tensors(seen))

    def _random(self) -> Array:
        number, size = self.vector.number, self._actions.size
        if self._actions.kind == "discrete":
            return self._generator.integers(0, size, number)
        return self._generator.uniform(-1, 1, (number, size)).astype(np.float32)

    def state(self) -> dict[str, Any]:
        return {
            "vector": self.vector.state(),
            "memory": self.memory.state(),
            "spans": self.spans.state(),
            "generator": self._generator.bit_generator.state,
            "progress": self.progress,
            "taken": self.taken,
            "debt": self.debt,
            "warming": self.warming,
            "returns": list(self.returns),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.vector.restore(state["vector"])
        self.memory.restore(state["memory"])
        self.spans.restore(state["spans"])
        # A copy that could not be brought back has begun another episode, to which its last steps do not belong.
        self.spans.counts = np.minimum(self.spans.counts, self.vector.lengths)
        self._generator.bit_generator.state = state["generator"]
        self.progress, self.taken, self.debt = state["progress"], state["taken"], state["debt"]
        self.warming = state["warming"]
        self.returns = deque(state["returns"], maxlen=RECENT)


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: _array(tensor) for name, tensor in tensors.items()}


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.numpy().copy()
    return array
