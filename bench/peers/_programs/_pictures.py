"""Pictures as PyTorch's tutorials read them, and the recipe that all peers of one network share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from _peer import Job, pictures
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

BATCH, RATE, DECAY, WARM_UP, SMOOTHING = 128, 1e-2, 0.05, 0.2, 0.1
MEAN, DEVIATION = 72.9, 90.0
WORKERS = 2


class Files(Dataset[tuple[Tensor, int]]):
    """PNG files in one folder for each class, opened one by one, standardised."""

    def __init__(self, folder: object) -> None:
        self.files, self.labels, self.classes = pictures(folder)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as picture:
            pixels = np.asarray(picture.convert("L"), np.float32)
        return torch.from_numpy((pixels - MEAN) / DEVIATION).unsqueeze(0), self.labels[index]


def prepare(job: Job) -> tuple[Files, Files]:
    """Seed and threads set; (train, test)."""
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    return Files(job.data / "train"), Files(job.data / "test")


def loaders(train: Files, test: Files) -> tuple[DataLoader[tuple[Tensor, int]], DataLoader[tuple[Tensor, int]]]:
    """Shuffled batches to train with, and the test rows in order."""
    return (
        DataLoader(train, BATCH, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True),
        DataLoader(test, 512, num_workers=WORKERS),
    )


@torch.no_grad()
def answers_of(network: nn.Module, held_out: DataLoader[tuple[Tensor, int]]) -> np.ndarray[Any, Any]:
    """The classes' numbers that a network answers; it is in training mode afterwards as before."""
    training = network.training
    network.eval()
    answers = torch.cat([network(images).argmax(1) for images, _ in held_out])
    network.train(training)
    return answers.numpy()
