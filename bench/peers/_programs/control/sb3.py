"""stable-baselines3 as its documentation has it, with the settings of its zoo and networks of Lamina's size.

    python sb3.py ENVIRONMENT METHOD STEPS SEED WANTED

Prints one line of JSON: seconds of training, steps a second, mean return of 100 fresh episodes, and the seconds of
training after which 20 episodes had the mean return WANTED for the first time (null: never). Playing those episodes, a
dozen times in the run, does not count as its time.
"""

from __future__ import annotations

import json
import sys
import time

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from torch import nn

# rl-baselines3-zoo, hyperparams/{ppo,dqn,sac}.yml; where it has another network, the one that Lamina uses.
PPO_USUAL = {"policy_kwargs": {"net_arch": [64, 64], "activation_fn": nn.Tanh}}
SETTINGS = {
    ("CartPole-v1", "ppo"): (
        8, PPO_USUAL | {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20,
                        "ent_coef": 0.0, "learning_rate": lambda left: left * 0.001,
                        "clip_range": lambda left: left * 0.2},
    ),
    ("LunarLander-v3", "ppo"): (
        16, PPO_USUAL | {"n_steps": 1024, "batch_size": 64, "gae_lambda": 0.98, "gamma": 0.999, "n_epochs": 4,
                         "ent_coef": 0.01},
    ),
    ("CartPole-v1", "dqn"): (
        1, {"learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100000, "learning_starts": 1000, "gamma": 0.99,
            "target_update_interval": 10, "train_freq": 256, "gradient_steps": 128, "exploration_fraction": 0.16,
            "exploration_final_eps": 0.04, "policy_kwargs": {"net_arch": [256, 256]}},
    ),
    ("LunarLander-v3", "dqn"): (
        1, {"learning_rate": 6.3e-4, "batch_size": 128, "buffer_size": 50000, "learning_starts": 0, "gamma": 0.99,
            "target_update_interval": 250, "train_freq": 4, "gradient_steps": -1, "exploration_fraction": 0.12,
            "exploration_final_eps": 0.1, "policy_kwargs": {"net_arch": [256, 256]}},
    ),
    ("Pendulum-v1", "sac"): (1, {"learning_rate": 1e-3, "policy_kwargs": {"net_arch": [256, 256]}}),
}  # fmt: skip
METHODS = {"ppo": PPO, "dqn": DQN, "sac": SAC}
LOOKS, EPISODES = 12, 20


class Watch(BaseCallback):
    """Plays episodes a dozen times in a run, with the clock stopped.

    Attributes:
        playing: seconds that playing took.
        reached: seconds of learning when the mean return was as wanted; None before.
    """

    def __init__(self, name: str, steps: int, seed: int, wanted: float) -> None:
        super().__init__()
        self.world = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make(name))
        self.world.reset(seed=20_000 + seed)
        self.every, self.next, self.wanted = steps // LOOKS, steps // LOOKS, wanted
        self.playing, self.reached = 0.0, None
        self.begin = time.perf_counter()

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.next and self.reached is None:
            self.next += self.every
            begin = time.perf_counter()
            mean, _ = evaluate_policy(self.model, self.world, n_eval_episodes=EPISODES)
            self.playing += time.perf_counter() - begin
            if mean >= self.wanted:
                self.reached = time.perf_counter() - self.begin - self.playing
        return True


def main() -> None:
    name, method, steps, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    wanted = float(sys.argv[5])
    torch.set_num_threads(1)
    copies, settings = SETTINGS[name, method]
    worlds = make_vec_env(name, n_envs=copies, seed=seed)
    model = METHODS[method]("MlpPolicy", worlds, seed=seed, device="cpu", **settings)
    watch = Watch(name, steps, seed, wanted)
    watch.begin = begin = time.perf_counter()
    model.learn(total_timesteps=steps, callback=watch)
    seconds = time.perf_counter() - begin - watch.playing
    world = gymnasium.make(name)
    world = gymnasium.wrappers.RecordEpisodeStatistics(world)
    world.reset(seed=10_000 + seed)
    returns, _ = evaluate_policy(model, world, n_eval_episodes=100, return_episode_rewards=True)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "steps": steps,
                "steps_per_second": steps / seconds,
                "mean_return": float(np.mean(returns)),
                "seconds_to_wanted": watch.reached,
            }
        )
    )


if __name__ == "__main__":
    main()
