"""A sealed policy at work in an environment of one's own: observations in, actions out; no PyTorch, no Gymnasium."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.environments import World
from lamina.environments.spaces import raw
from lamina.errors import InputError
from lamina.tasks.control import Task

if TYPE_CHECKING:
    from lamina.model.runtime import Model


class Policy:
    """Chooses an action for one observation at a time, and remembers earlier ones where the policy is shown them.

    >>> policy = Policy(lamina.load("runs/CartPole-v1"))  # doctest: +SKIP
    >>> policy.reset()
    >>> action = policy.act(observation)

    Raises:
        InputError: the model is no policy.
    """

    def __init__(self, model: Model) -> None:
        (self.name, task), *_ = model.tasks.items()
        if not isinstance(task, Task):
            raise InputError(
                "This model answers questions about data; it does not act.", where=model.where, fix="Use `predict`."
            )
        self.model, self.task = model, task
        known = model.card.get("data", {})
        self.world = World(
            name=str(known.get("source", "")),
            make=_closed,
            fields=tuple(item.field for item in model.inputs.values()),
            encoders={name: item.encoder for name, item in model.inputs.items()},
            actions=task.actions,
            history=int(known.get("history", 1)),
        )
        self._recent: deque[Any] = deque(maxlen=self.world.history)

    def reset(self) -> None:
        """A new episode begins: forget what was observed."""
        self._recent.clear()

    def act(self, observation: Any) -> Any:
        """The action for what is observed now, as the environment's `step` takes it.

        Raises:
            InputError: the observation is not like those that the policy knows.
        """
        # The environment may write to what it has given.
        self._recent.append(deepcopy(observation) if self.world.history > 1 else observation)
        try:
            values = raw(self.world, observation if self.world.history == 1 else list(self._recent))
        except (ValueError, TypeError, LookupError) as error:
            raise InputError(
                f"The observation cannot be read: {error}.",
                fix=f"Give one like those of {self.world.name}, with {', '.join(self.model.inputs)}.",
            ) from None
        answer = self.model.predict([values])[0]
        if answer["error"] is not None:
            raise InputError(f"The observation cannot be read: {answer['error']}.", fix="Give one of the same form.")
        if self.task.actions.sizes:
            return np.array(answer[self.name], np.int64)
        if self.task.actions.kind == "discrete":
            return int(answer[self.name])
        return np.atleast_1d(np.asarray(answer[self.name], np.float32))


def _closed(mode: str | None) -> Any:
    raise InputError("A sealed policy does not open environments.", fix="Open it yourself, and give its observations.")
