"""Keras 3: the same network in its layers, its PyDataset and `fit`; the backend is that of KERAS_BACKEND."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from _peer import Job, Watch, pictures, serve
from keras import layers
from PIL import Image

BATCH, RATE, DECAY, WARM_UP, SMOOTHING = 128, 1e-2, 0.05, 0.2, 0.1
MEAN, DEVIATION = 72.9, 90.0


class Files(keras.utils.PyDataset):
    """PNG files in one folder for each class, opened batch by batch by two threads."""

    def __init__(self, folder: Any, batch: int, shuffle: bool, seed: int) -> None:
        super().__init__(workers=2)
        self.files, self.labels, self.classes = pictures(folder)
        self.batch, self.shuffle, self.random = batch, shuffle, np.random.default_rng(seed)
        self.order = np.arange(len(self.files))
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self.files) // self.batch if self.shuffle else math.ceil(len(self.files) / self.batch)

    def on_epoch_end(self) -> None:
        if self.shuffle:
            self.random.shuffle(self.order)

    def __getitem__(self, number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        chosen = self.order[number * self.batch : (number + 1) * self.batch]
        images = []
        for index in chosen:
            with Image.open(self.files[index]) as picture:
                images.append(np.asarray(picture.convert("L"), np.float32))
        labels = np.array([self.labels[index] for index in chosen])
        pixels = (np.stack(images)[..., None] - MEAN) / DEVIATION
        return pixels, np.eye(len(self.classes), dtype=np.float32)[labels]


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Up and down along cosines, as PyTorch's OneCycleLR."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.up, self.down = WARM_UP * steps, (1 - WARM_UP) * steps

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        rising = (1 - keras.ops.cos(math.pi * keras.ops.minimum(step / self.up, 1.0))) / 2
        falling = (1 + keras.ops.cos(math.pi * keras.ops.clip((step - self.up) / self.down, 0.0, 1.0))) / 2
        return RATE * keras.ops.where(step < self.up, 0.04 + 0.96 * rising, falling)


class Tell(keras.callbacks.Callback):
    def __init__(self, job: Job, examples: int, answer: Callable[[], np.ndarray[Any, Any]]) -> None:
        super().__init__()
        self.job, self.examples, self.answer, self.watch = job, examples, answer, Watch()

    def on_epoch_begin(self, *_: Any) -> None:
        self.watch()

    def on_epoch_end(self, *_: Any) -> None:
        self.job.epoch(self.examples, self.watch(), self.answer)


def convolution(values: Any, width: int, kernel: int, stride: int = 1) -> Any:
    started = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return layers.Conv2D(width, kernel, stride, "same", use_bias=False, kernel_initializer=started)(values)


def network(classes: int) -> keras.Model:
    start = keras.Input((28, 28, 1))
    values = layers.MaxPooling2D()(convolution(start, 32, 3))
    values = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(values))
    for number, width in enumerate((32, 64, 128)):
        branch = layers.BatchNormalization(momentum=0.9)(convolution(values, width, 3, 2 if number else 1))
        branch = layers.BatchNormalization(momentum=0.9)(convolution(layers.ReLU()(branch), width, 3))
        if number:
            values = layers.AveragePooling2D(2, padding="same")(values)
            values = layers.BatchNormalization(momentum=0.9)(convolution(values, width, 1))
        values = layers.ReLU()(branch + values)
    pooled = (layers.GlobalAveragePooling2D()(values) + layers.GlobalMaxPooling2D()(values)) / 2
    return keras.Model(start, layers.Dense(classes)(pooled))


def work(job: Job) -> np.ndarray[Any, Any]:
    keras.utils.set_random_seed(job.seed)
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(job.threads)
    train, test = Files(job.data / "train", BATCH, True, job.seed), Files(job.data / "test", 512, False, 0)
    model = network(len(train.classes))
    model.compile(
        keras.optimizers.AdamW(OneCycle(job.epochs * len(train)), weight_decay=DECAY),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMOOTHING),
    )

    def answer() -> np.ndarray[Any, Any]:
        return np.array(train.classes)[model.predict(test, verbose=0).argmax(1)]

    model.fit(train, epochs=job.epochs, verbose=0, callbacks=[Tell(job, len(train) * BATCH, answer)])
    return answer()


serve(work)
