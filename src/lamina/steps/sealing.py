"""Export, seal, prove: the same for every kind of task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lamina.data.schema import Chunk, Field, Json
from lamina.errors import LaminaError
from lamina.evaluate.results import Seal
from lamina.modalities import Encoder
from lamina.model import golden, parity
from lamina.model.export import export
from lamina.model.format import Sealed, write
from lamina.model.runtime import Model
from lamina.run import Run
from lamina.tasks import Answering

Array = np.ndarray[Any, Any]


def sealed_parts(
    network: nn.Module,
    fields: Mapping[str, Field],
    encoders: Mapping[str, Encoder],
    tasks: Mapping[str, Answering],
    card: Mapping[str, Json],
    examples: Chunk,
    root: Path | None,
) -> Sealed:
    """What the file will hold.

    Args:
        network: from encoded inputs to outputs by answer; it is left as it is.
        fields: of the inputs, by name.
        examples: raw rows to keep with the answers (`lamina.model.golden`).
        root: the folder that relative paths in them start from.
    """
    exported = export(network, {name: encoder.feature for name, encoder in encoders.items()}, tasks)
    inputs = {
        name: {"field": asdict(fields[name]), "modality": fields[name].modality, "state": encoder.state()}
        for name, encoder in encoders.items()
    }
    sealed = Sealed(
        network=exported.network,
        inputs=exported.inputs,
        outputs=exported.outputs,
        encoders=inputs,
        tasks={name: {"task": task.task, "state": task.state()} for name, task in tasks.items()},
        card=card,
    )
    return golden.sealed_with(Model(sealed, threads=1), examples, root)


def prove_and_write(
    run: Run, sealed: Sealed, chunks: Iterable[Chunk], root: Path | None, outputs: Mapping[str, Array]
) -> tuple[Model, Seal]:
    """Answer raw test rows with the sealed model, and only if it answers as the network did give it its name.

    Args:
        chunks: the test rows' raw values by column, in order.
        outputs: the network's outputs for them by answer, members combined.

    Raises:
        LaminaError: the sealed model answers otherwise than the trained network; there is then no model file.
    """
    model = Model(sealed)
    proof = parity.prove(model, chunks, root, outputs)
    if proof.same_answers < 1 and proof.ties == 0:
        raise LaminaError(
            f"The sealed model gives another answer for {1 - proof.same_answers:.2%} of the test rows.",
            fix="The model was not sealed; report this as a fault of Lamina.",
        )
    size = write(run.model, sealed)
    return model, Seal(
        run.model.name, size, proof.rows, proof.same_answers, proof.largest_difference, proof.rows_per_second
    )
