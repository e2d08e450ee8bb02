"""fastai: its Learner and its one-cycle training, on PyTorch's DataLoaders (its vision part needs torchvision)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from _network import ResNet
from _peer import Job, Watch, serve
from _pictures import DECAY, RATE, SMOOTHING, WARM_UP, answers_of, loaders, prepare
from fastai.callback.core import Callback
from fastai.callback.schedule import Learner  # adds fit_one_cycle
from fastai.data.core import DataLoaders
from fastai.optimizer import Adam


class Tell(Callback):
    def __init__(self, job: Job, examples: int, answer: Callable[[], np.ndarray[Any, Any]]) -> None:
        self.job, self.examples, self.answer, self.watch = job, examples, answer, Watch()

    def before_train(self) -> None:
        self.watch()

    def after_train(self) -> None:
        self.job.epoch(self.examples, self.watch(), self.answer)


def work(job: Job) -> np.ndarray[Any, Any]:
    train, test = prepare(job)
    batches, held_out = loaders(train, test)
    network = ResNet(len(train.classes))

    def answer() -> np.ndarray[Any, Any]:
        return np.array(train.classes)[answers_of(network, held_out)]

    learner = Learner(
        DataLoaders(batches, []), network, torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING),
        opt_func=partial(Adam, decouple_wd=True), cbs=[Tell(job, len(batches) * batches.batch_size, answer)],
    )  # fmt: skip
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(job.epochs, RATE, wd=DECAY, pct_start=WARM_UP)
    return answer()


serve(work)
