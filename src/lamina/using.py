"""What `import lamina` offers for models at work: score, search, compare, verify, counterfactuals,
generate; needs no PyTorch.

A model is given as `lamina.load` gives it, or as its file or run folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.api import load
from lamina.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from lamina.model.runtime import Model
    from lamina.model.search import Found
    from lamina.model.verify import Verified


def _opened(model: Model | str | Path) -> Model:
    return load(model) if isinstance(model, str | Path) else model


def score(
    model: Model | str | Path,
    data: Any,
    *,
    target: str = "",
    normal: str = "",
    by: Sequence[str] = (),
    episodes: int = 100,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a sealed model on data that holds the true answers, or a policy in fresh episodes of an environment.

    Args:
        data: a path, rows, columns or a frame; or the name of an environment, e.g. "gym:CartPole-v1".
        target: of a model that learned without answers, the column that judges: labels, or what was taken next.
        normal: of a detector, the label of ordinary rows.
        by: of classes and numbers, columns by whose groups answers are compared; the model need not know them.
        episodes: of an environment.
        seed: of the episodes, or of the intervals.

    Returns:
        What `lamina test --json` prints: {"rows", "errors", "counted", "targets": {target: {score: {"value", ...}}}}.

    Raises:
        InputError: nothing could be scored; the text says what to do.
    """
    from lamina.environments import is_environment
    from lamina.evaluate.sealed import play_model, score_model

    if isinstance(data, str) and is_environment(data):
        return play_model(_opened(model), data, episodes, seed)
    return score_model(_opened(model), data, seed, target, normal, (by,) if isinstance(by, str) else by)


def counterfactuals(
    model: Model | str | Path,
    data: Any,
    row: int = 0,
    *,
    target: str = "",
    to: Any = None,
    keep: str | Sequence[str] = (),
    among: Any = None,
) -> dict[str, Any]:
    """What would have to change in one row of a table for another answer (Wachter et al. 2018).

    It tells what the model would answer, not what would happen: what a model goes by need not be a cause.

    Args:
        data: a path, rows, columns or a frame; or one row as a dict or JSON.
        row: which row, counted from 0.
        target: which answer, if there are several.
        to: the class wished for (by default the likeliest other one), or ">= NUMBER" or "<= NUMBER".
        keep: columns that cannot change.
        among: data whose values are tried, instead of those that the model knows.

    Returns:
        What `lamina explain --change --json` prints: {"before", "changes": [{"columns": [{"field", "from", "to"}],
        "answer", "value", "distance"}], ...}, the fewest columns first.

    Raises:
        InputError: the row cannot be answered, or the wish is none or is fulfilled already.
    """
    from lamina.explain import counterfactual

    kept = (keep,) if isinstance(keep, str) else keep
    return counterfactual.counterfactuals(_opened(model), data, row, target=target, to=to, keep=kept, among=among)


def search(
    model: Model | str | Path,
    data: Any,
    query: Any,
    top: int = 5,
    *,
    exact: bool = False,
    index: str | Path | None = None,
) -> list[list[Found]]:
    """The rows of a data set that are most like each row of the query, the most alike first.

    Args:
        data: what to search in; of a path the embedded rows are kept for the next search.
        query: a file, words, a row as JSON or as a dict, or several rows.
        top: how many to find for each.
        exact: compare with all rows, however many there are.
        index: the folder where embedded rows are kept; by default in the cache.

    Returns:
        For each row of the query, what was found: `row`, `name` and `likeness`, at most 1.

    Raises:
        InputError: the model gives no vectors, or no row can be read.
    """
    from lamina.model.inner import with_vectors
    from lamina.model.kept import open_index
    from lamina.model.rows import as_data
    from lamina.model.search import index as embedded

    if top < 1:
        raise InputError(f"The number of rows to find is {top}.", where="top", fix="Give at least 1.")
    reads = with_vectors(_opened(model))
    kept = open_index(reads, data, None if index is None else Path(index))
    asked = embedded(reads, as_data(query, reads) if isinstance(query, str) else query)
    kept = kept if exact else kept.for_queries(len(asked.rows))
    return kept.index.search(asked.vectors, top)


def compare(model: Model | str | Path, one: str, other: str) -> float:
    """The likeness of two rows, each given as a file, as words or as JSON: at most 1, for the same.

    Raises:
        InputError: the model gives no vectors, or one of the two is not one row.
    """
    from lamina.model.inner import with_vectors
    from lamina.model.verify import compare as compared

    return compared(with_vectors(_opened(model)), one, other)


def verify(
    model: Model | str | Path,
    data: Any,
    *,
    target: str = "",
    threshold: float | str | Path | None = None,
    rate: float | None = None,
    pairs: int = 5000,
    seed: int = 0,
    index: str | Path | None = None,
) -> Verified:
    """How well a model tells whether two rows are the same, and from which likeness on to say so.

    Args:
        data: a table with the columns one, other and perhaps same, or rows with labels, of which pairs are drawn.
        target: the column of labels; by default the folders that files lie in.
        threshold: a likeness, or the file that `lamina verify --keep` wrote; by default one is chosen.
        rate: the share of false accepts to choose it for; by default both errors are equal.
        pairs, seed: how many are drawn, and by what.
        index: the folder where embedded rows are kept; by default in the cache.

    Returns:
        `judged` (ROC AUC, equal-error rate, ... with intervals), `threshold`, `mistakes`, `answers()`, and `roc`, the
        curve.

    Raises:
        InputError: the model gives no vectors, or the data has no pairs and no labels.
    """
    from lamina.model.inner import with_vectors
    from lamina.model.verify import read_threshold
    from lamina.model.verify import verify as verified

    reads = with_vectors(_opened(model))
    chosen = None if threshold is None else read_threshold(str(threshold), reads)
    folder = None if index is None else Path(index)
    return verified(
        reads, data, target=target, threshold=chosen, rate=rate, number=pairs, seed=seed, folder=folder
    )  # fmt: skip


def generate(
    model: Model | str | Path,
    count: int = 16,
    classes: str | Sequence[str] = (),
    *,
    seed: int = 0,
    truncation: float = 0.0,
) -> tuple[np.ndarray[Any, Any], list[str | None]]:
    """New pictures from a sealed generator, and the class of each.

    Args:
        count: how many, of all classes together.
        classes: those to make, in turn; none named: all in turn.
        seed: the same makes the same.
        truncation: e.g. 1.0: more typical pictures, but less varied ones; 0: none.

    Returns:
        uint8 [count, height, width, channel]; names, or None where the model knows no classes.

    Raises:
        InputError: a class that the model does not know, or it makes nothing.
    """
    from lamina.model.generate import generate as made

    return made(_opened(model), count, (classes,) if isinstance(classes, str) else classes, seed, truncation)
