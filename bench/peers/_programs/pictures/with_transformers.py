"""Hugging Face's Trainer with a module of one's own."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _network import ResNet
from _peer import Job, Watch, serve
from _pictures import BATCH, DECAY, RATE, SMOOTHING, WARM_UP, WORKERS, answers_of, prepare
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments


class Module(torch.nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = ResNet(classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.network(images)
        if labels is None:
            return {"logits": logits}
        loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
        return {"loss": loss, "logits": logits}


class Tell(TrainerCallback):
    def __init__(self, job: Job, examples: int, answer: Callable[[], np.ndarray[Any, Any]]) -> None:
        self.job, self.examples, self.answer, self.watch = job, examples, answer, Watch()

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.watch()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.job.epoch(self.examples, self.watch(), self.answer)


def collate(items: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    return {
        "images": torch.stack([image for image, _ in items]),
        "labels": torch.tensor([label for _, label in items]),
    }


def work(job: Job) -> np.ndarray[Any, Any]:
    train, test = prepare(job)
    module, steps = Module(len(train.classes)), math.ceil(len(train) / BATCH)
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=job.epochs * steps + 1, pct_start=WARM_UP
    )
    held_out = DataLoader(test, 512, num_workers=WORKERS)

    def answer() -> np.ndarray[Any, Any]:
        return np.array(train.classes)[answers_of(module.network, held_out)]

    with tempfile.TemporaryDirectory() as place:
        asked = TrainingArguments(
            place, num_train_epochs=job.epochs, per_device_train_batch_size=BATCH, per_device_eval_batch_size=512,
            dataloader_num_workers=WORKERS, dataloader_persistent_workers=True,
            save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True, seed=job.seed,
            remove_unused_columns=False,
        )  # fmt: skip
        trainer = Trainer(
            module, asked, data_collator=collate, train_dataset=train, optimizers=(optimizer, schedule),
            callbacks=[Tell(job, len(train), answer)],
        )  # fmt: skip
        trainer.train()
        answers = trainer.predict(test).predictions
    return np.array(train.classes)[answers.argmax(1)]


serve(work)
