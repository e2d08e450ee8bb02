"""AutoGluon with its preset for the best quality and a time limit."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from _peer import Job, serve
from autogluon.tabular import TabularDataset, TabularPredictor

TARGET = "price"


def work(job: Job) -> np.ndarray[Any, Any]:
    train, test = TabularDataset(str(job.data / "train.csv")), TabularDataset(str(job.data / "test.csv"))
    with tempfile.TemporaryDirectory() as place:
        model = TabularPredictor(TARGET, eval_metric="root_mean_squared_error", path=place, verbosity=0)
        model.fit(train, presets="best_quality", time_limit=job.seconds, num_cpus=job.threads)
        return np.asarray(model.predict(test.drop(columns=TARGET)))


serve(work)
