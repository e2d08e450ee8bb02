"""LightGBM with early stopping on a tenth of the training rows."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas
from _peer import Job, serve

TARGET = "price"


def work(job: Job) -> np.ndarray[Any, Any]:
    train, test = pandas.read_csv(job.data / "train.csv"), pandas.read_csv(job.data / "test.csv")
    for name in train.select_dtypes(exclude="number"):
        train[name] = train[name].astype("category")
        test[name] = pandas.Categorical(test[name], train[name].cat.categories)
    held_out = train.sample(frac=0.1, random_state=job.seed)
    learned = train.drop(held_out.index)
    model = lightgbm.LGBMRegressor(
        n_estimators=5000, learning_rate=0.03, num_leaves=63, subsample=0.8, subsample_freq=1, colsample_bytree=0.8,
        random_state=job.seed, n_jobs=job.threads, verbose=-1,
    )  # fmt: skip
    model.fit(
        learned.drop(columns=TARGET), learned[TARGET], eval_set=[(held_out.drop(columns=TARGET), held_out[TARGET])],
        callbacks=[lightgbm.early_stopping(100, verbose=False)],
    )  # fmt: skip
    return np.asarray(model.predict(test[train.columns.drop(TARGET)]))


serve(work)
