"""fastai: its Learner and its one-cycle training, on PyTorch's DataLoaders (its vision part needs torchvision)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from _network import ResNet
from _peer import Job, Watch, serve
from _pictures import DECAY, RATE, SMOOTHING, WARM_UP, loaders, prepare
from fastai.callback.core import Callback
from fastai.callback.schedule import Learner  # adds fit_one_cycle
from fastai.data.core import DataLoaders
from fastai.optimizer import Adam


class Tell(Callback):
    def __init__(self, job: Job, examples: int) -> None:
        self.job, self.examples, self.watch = job, examples, Watch()

    def before_train(self) -> None:
        self.watch()

    def after_train(self) -> None:
        self.job.epoch(self.examples, self.watch())


def work(job: Job) -> np.ndarray[Any, Any]:
    train, test = prepare(job)
    batches, held_out = loaders(train, test)
    network = ResNet(len(train.classes))
    learner = Learner(
        DataLoaders(batches, []), network, torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING),
        opt_func=partial(Adam, decouple_wd=True), cbs=[Tell(job, len(batches) * batches.batch_size)],
    )  # fmt: skip
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(job.epochs, RATE, wd=DECAY, pct_start=WARM_UP)
    network.eval()
    with torch.no_grad():
        answers = torch.cat([network(images).argmax(1) for images, _ in held_out])
    return np.array(train.classes)[answers.numpy()]


serve(work)
