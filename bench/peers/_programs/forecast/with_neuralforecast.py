"""NeuralForecast's N-HiTS: settings in turn while there is time, the best on the last four weeks of training answers.

The first settings are the documented ones; each training stops where those weeks are predicted no better any more.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import numpy as np
import pandas
from _peer import Job, serve
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MAE
from neuralforecast.models import NHITS

HORIZON, DAY = 48, 48
KNOWN = ["workday", "temperature"]
USUAL = {"input_size": 5 * HORIZON, "scaler_type": "identity", "learning_rate": 1e-3}
TRIED = (
    USUAL,
    USUAL | {"scaler_type": "robust"},
    USUAL | {"scaler_type": "robust", "input_size": 7 * DAY},
    USUAL | {"scaler_type": "standard", "input_size": 7 * DAY},
    USUAL | {"scaler_type": "robust", "input_size": 2 * DAY},
    USUAL | {"scaler_type": "robust", "input_size": 14 * DAY},
    USUAL | {"scaler_type": "robust", "input_size": 7 * DAY, "learning_rate": 3e-4},
    USUAL | {"scaler_type": "robust", "input_size": 7 * DAY, "dropout_prob_theta": 0.2},
)


def table(job: Job, name: str) -> pandas.DataFrame:
    """A file with the columns that NeuralForecast expects."""
    found = pandas.read_csv(job.data / name, parse_dates=["timestamp"])
    return found.rename(columns={"timestamp": "ds", "demand": "y"}).assign(unique_id="demand")


def work(job: Job) -> np.ndarray[Any, Any]:
    train, test = table(job, "train.csv"), table(job, "test.csv")
    begin, best, answers = time.perf_counter(), math.inf, np.zeros(len(test))
    for tried, settings in enumerate(TRIED):
        left = job.seconds - (time.perf_counter() - begin)
        if tried and left < 10:
            break
        model = NHITS(
            h=HORIZON, loss=MAE(), futr_exog_list=KNOWN, max_steps=3000, val_check_steps=50,
            early_stop_patience_steps=10, random_seed=job.seed, accelerator="cpu", logger=False,
            enable_progress_bar=False, enable_model_summary=False, max_time={"seconds": max(left, 1)}, **settings,
        )  # fmt: skip
        forecaster = NeuralForecast(models=[model], freq="30min")
        found = forecaster.cross_validation(
            pandas.concat([train, test], ignore_index=True), n_windows=None, val_size=28 * DAY, test_size=len(test),
            step_size=HORIZON,
        )  # fmt: skip
        error = min(float(loss) for _, loss in forecaster.models[0].valid_trajectories)
        job.tell(settings=settings, validation=error, steps=forecaster.models[0].global_step)
        if error < best:
            best, answers = error, found.sort_values("ds")["NHITS"].to_numpy()
    return answers


logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
serve(work)
