"""TF-IDF of words and of letters with ridge regression, its strength chosen by cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from _peer import Job, rows, serve
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union


def work(job: Job) -> np.ndarray[Any, Any]:
    train, test = rows(job.data / "train.csv"), rows(job.data / "test.csv")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2)
    model = GridSearchCV(
        make_pipeline(make_union(words, letters), Ridge()), {"ridge__alpha": [1.0, 3.0, 10.0]}, n_jobs=job.threads
    )
    model.fit([row["text"] for row in train], np.array([float(row["score"]) for row in train]))
    return np.asarray(model.predict([row["text"] for row in test]))


serve(work)
