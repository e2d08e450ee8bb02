"""A multilayer perceptron on standardised numbers and one-hot categories, as PyTorch's tutorials have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import torch
from _peer import Job, Watch, serve
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

TARGET, BATCH, RATE = "price", 256, 1e-3


def work(job: Job) -> np.ndarray[Any, Any]:
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    train, test = pandas.read_csv(job.data / "train.csv"), pandas.read_csv(job.data / "test.csv")
    both = pandas.get_dummies(pandas.concat([train, test], keys=["train", "test"]).drop(columns=TARGET), dtype=float)
    inputs = both.loc["train"]
    center, spread = inputs.mean(), inputs.std() + 1e-9
    middle, width = train[TARGET].mean(), train[TARGET].std()
    rows = torch.tensor(((inputs - center) / spread).to_numpy(), dtype=torch.float32)
    wanted = torch.tensor(((train[TARGET] - middle) / width).to_numpy(), dtype=torch.float32)
    network = nn.Sequential(
        nn.Linear(rows.shape[1], 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1)
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    batches = DataLoader(TensorDataset(rows, wanted), BATCH, shuffle=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs=job.epochs, steps_per_epoch=len(batches))
    held_out = torch.tensor(((both.loc["test"] - center) / spread).to_numpy(), dtype=torch.float32)

    @torch.no_grad()
    def answer() -> np.ndarray[Any, Any]:
        return np.asarray(network(held_out)[:, 0].numpy() * width + middle)

    for _ in range(job.epochs):
        watch = Watch()
        for values, truth in batches:
            optimizer.zero_grad()
            nn.functional.mse_loss(network(values)[:, 0], truth).backward()
            optimizer.step()
            schedule.step()
        job.epoch(len(rows), watch(), answer)
    return answer()


serve(work)
