"""Scores of a sealed model that writes captions: what it writes with its search, beside those that people gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina.data.tables import read_chunks
from lamina.data.texts import of_value
from lamina.errors import InputError
from lamina.evaluate.captions import judged
from lamina.evaluate.judged import compared
from lamina.evaluate.scored import Scored, check_columns

if TYPE_CHECKING:
    from lamina.model.runtime import Model

CAPTIONS = "captions"


def score(model: Model, data: Any, seed: int) -> Scored:
    """CIDEr-D, BLEU and chrF with intervals over pictures, as the fifth step of training tells them.

    Args:
        data: a table with the column of pictures and that of captions. Rows with the same picture are one picture with
            several captions; a row without a caption, or with a picture that cannot be read, counts as an error.

    Raises:
        InputError: a column is missing, or no row has both.
    """
    (target,), (source,), reader = model.tasks, model.columns, read_chunks(data, labelled=True)
    check_columns((source, target), reader.columns, reader.name)
    wanted, found, rows, used = dict[Any, list[str]](), dict[Any, str](), 0, 0
    for chunk in reader:
        values, captions = chunk.values[source], [of_value(value)[0].strip() for value in chunk.values[target]]
        keys = [value if isinstance(value, str | bytes) else (rows, row) for row, value in enumerate(values)]
        fresh = [row for row, key in enumerate(keys) if captions[row] and key not in found]
        # Rows of one chunk may share a picture, which is then looked at once.
        first = list({keys[row]: row for row in reversed(fresh)}.values())
        answers = model.predict({source: values[first]}, root=reader.root) if first else []
        found |= {
            keys[row]: str(answer[target])
            for row, answer in zip(first, answers, strict=True)
            if answer["error"] is None
        }
        for key, caption in zip(keys, captions, strict=True):
            if caption and key in found:
                wanted.setdefault(key, []).append(caption)
                used += 1
        rows += len(keys)
    if not wanted:
        raise InputError(
            f"No row has both a picture in {source!r} and its caption in {target!r}.",
            where=reader.name,
            fix=f"Fill {target!r} with captions: they are what the model's own are compared with.",
        )
    texts = [found[key] for key in wanted]
    scores, _ = compared(judged("", texts, list(wanted.values())), (), len(texts), seed)
    return Scored(rows, rows - used, {target: scores}, CAPTIONS, CAPTIONS)
