"""An embedding bag over words, as PyTorch's tutorial on text classification has it, for a number."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import torch
from _peer import Job, Watch, rows, serve
from torch import Tensor, nn
from torch.utils.data import DataLoader

BATCH, RATE, WIDTH = 64, 3e-3, 64


def tokens(text: str) -> list[str]:
    """Words and marks, small letters."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


class Network(nn.Module):
    def __init__(self, words: int) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(words, WIDTH)
        self.layers = nn.Sequential(nn.Dropout(0.3), nn.Linear(WIDTH, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 1))

    def forward(self, words: Tensor, starts: Tensor) -> Tensor:
        answers: Tensor = self.layers(self.bag(words, starts))[:, 0]
        return answers


def work(job: Job) -> np.ndarray[Any, Any]:
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    train, test = rows(job.data / "train.csv"), rows(job.data / "test.csv")
    counts = Counter(word for row in train for word in tokens(row["text"]))
    known = {word: number for number, (word, count) in enumerate(counts.most_common(), 1) if count > 1}

    def collate(items: list[dict[str, str]]) -> tuple[Tensor, Tensor, Tensor]:
        texts = [[known.get(word, 0) for word in tokens(row["text"])] or [0] for row in items]
        starts = np.cumsum([0, *(len(text) for text in texts[:-1])])
        scores = torch.tensor([float(row["score"]) for row in items])
        return torch.tensor([word for text in texts for word in text]), torch.from_numpy(starts), scores

    network = Network(len(known) + 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    batches = DataLoader(train, BATCH, shuffle=True, collate_fn=collate)  # type: ignore[arg-type]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs=job.epochs, steps_per_epoch=len(batches))
    held_out = DataLoader(test, 512, collate_fn=collate)  # type: ignore[arg-type]

    @torch.no_grad()
    def answer() -> np.ndarray[Any, Any]:
        network.eval()
        return torch.cat([network(words, starts) for words, starts, _ in held_out]).numpy()

    for _ in range(job.epochs):
        watch = Watch()
        network.train()
        for words, starts, scores in batches:
            optimizer.zero_grad()
            nn.functional.mse_loss(network(words, starts), scores).backward()
            optimizer.step()
            schedule.step()
        job.epoch(len(train), watch(), answer)
    return answer()


serve(work)
