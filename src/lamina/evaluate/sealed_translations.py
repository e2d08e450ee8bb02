"""Scores of a sealed model that translates: what it writes with its search, beside references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina.data.tables import read_chunks
from lamina.data.texts import of_value
from lamina.errors import InputError
from lamina.evaluate.judged import compared
from lamina.evaluate.scored import Scored, check_columns
from lamina.evaluate.translation import judged
from lamina.modalities.text import Encoder
from lamina.model.sentences import translated

if TYPE_CHECKING:
    from lamina.model.runtime import Model

TEXTS = "texts"


def score(model: Model, data: Any, seed: int) -> Scored:
    """BLEU and chrF with intervals over texts, as the fifth step of training tells them.

    Args:
        data: a table with the column that is read and the one that is written. Texts that are read are written as
            `lamina predict` does; a row without a text in either column counts as an error, and a text that
            the model cannot read whole as one that it writes nothing for.

    Raises:
        InputError: a column is missing, or no row has both texts.
    """
    (target,), (source,), reader = model.tasks, model.columns, read_chunks(data, labelled=True)
    (encoder,), writer = (item.encoder for item in model.inputs.values()), model.writer
    assert isinstance(encoder, Encoder)
    assert writer is not None
    check_columns((source, target), reader.columns, reader.name)
    found, wanted, rows = list[str](), list[str](), 0
    for chunk in reader:
        read, references = ([of_value(value)[0] for value in chunk.values[name]] for name in (source, target))
        both = [row for row, texts in enumerate(zip(read, references, strict=True)) if all(texts)]
        # What cannot be read whole is answered with nothing, and so it is scored.
        found += translated(writer, encoder, chunk.values[source][both])[0].tolist()
        # As in training: what stands around a reference is not to be written.
        wanted += [references[row].strip() for row in both]
        rows += len(read)
    if not found:
        raise InputError(
            f"No row has both a text in {source!r} and its translation in {target!r}.",
            where=reader.name,
            fix=f"Fill {target!r} with the right translations: they are what the model's own are compared with.",
        )
    scores, _ = compared(judged("", found, wanted), (), len(found), seed)
    return Scored(rows, rows - len(found), {target: scores}, TEXTS, TEXTS)
