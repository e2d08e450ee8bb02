"""A loop as PyTorch's tutorials have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from _network import ResNet
from _peer import Job, Watch, serve
from _pictures import DECAY, RATE, SMOOTHING, WARM_UP, answers_of, loaders, prepare


def work(job: Job) -> np.ndarray[Any, Any]:
    train, test = prepare(job)
    batches, held_out = loaders(train, test)
    network = ResNet(len(train.classes))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, epochs=job.epochs, steps_per_epoch=len(batches), pct_start=WARM_UP
    )
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)

    def answer() -> np.ndarray[Any, Any]:
        return np.array(train.classes)[answers_of(network, held_out)]

    network.train()
    for _ in range(job.epochs):
        watch = Watch()
        for images, labels in batches:
            optimizer.zero_grad()
            loss_of(network(images), labels).backward()
            optimizer.step()
            schedule.step()
        job.epoch(len(batches) * batches.batch_size, watch(), answer)
    return answer()


serve(work)
