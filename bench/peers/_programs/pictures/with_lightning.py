"""PyTorch Lightning: a LightningModule and its Trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import torch
from _network import ResNet
from _peer import Job, Watch, serve
from _pictures import DECAY, RATE, SMOOTHING, WARM_UP, answers_of, loaders, prepare
from torch import Tensor


class Module(lightning.LightningModule):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = ResNet(classes)
        self.loss_of = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        loss: Tensor = self.loss_of(self.network(images), labels)
        return loss

    def predict_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        answers: Tensor = self.network(batch[0]).argmax(1)
        return answers

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=RATE, weight_decay=DECAY)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=WARM_UP)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Tell(lightning.Callback):
    def __init__(self, job: Job, examples: int, answer: Callable[[], np.ndarray[Any, Any]]) -> None:
        self.job, self.examples, self.answer, self.watch = job, examples, answer, Watch()

    def on_train_epoch_start(self, *_: Any) -> None:
        self.watch()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.job.epoch(self.examples, self.watch(), self.answer)


def work(job: Job) -> np.ndarray[Any, Any]:
    lightning.seed_everything(job.seed, verbose=False)
    train, test = prepare(job)
    batches, held_out = loaders(train, test)
    module = Module(len(train.classes))

    def answer() -> np.ndarray[Any, Any]:
        return np.array(train.classes)[answers_of(module.network, held_out)]

    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=job.epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[Tell(job, len(batches) * batches.batch_size, answer)],
    )  # fmt: skip
    trainer.fit(module, batches)
    answers = torch.cat(trainer.predict(module, held_out))
    return np.array(train.classes)[answers.numpy()]


serve(work)
