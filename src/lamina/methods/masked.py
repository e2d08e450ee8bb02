"""Masked prediction: parts of a row are hidden, and what stood there is told from the rest.

Tables: fields with another row's value are to be put right (Yoon et al. 2020, "VIME"; the values are drawn as in Bahri
et al. 2022, "SCARF"). Pictures: patches are covered and only they count, as in Xie et al. 2022, "SimMIM", after He et
al. 2022, "Masked autoencoders are scalable vision learners"; with the mean color in their place any network can read
them. Series and sounds: stretches of time. Texts: tokens are made unknown, and which ones they were is asked (Devlin et
al. 2019, "BERT").

What stands at a place is told from what the network knows of that place, where it knows something
(`lamina.networks.Local`), and of the whole row; by one layer only, so that it is the network which must know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.learn.batch import Batch
from lamina.methods._unlabelled import Setting
from lamina.methods._unlabelled_corruption import PLAIN, corrupt
from lamina.methods._unlabelled_learner import Objective, Unlabelled, deviation
from lamina.modalities import Feature
from lamina.networks.assembly import Assembly
from lamina.networks.blocks.options import share, whole
from lamina.networks.decoders import Decoders

GIVES = ("embed", "cluster")


@dataclass(frozen=True)
class Options:
    """Settings of masked prediction.

    Attributes:
        share: of fields, patches, steps and tokens that are hidden.
        hidden: units of the layer between the body and the decoders, of each place.
    """

    share: float = share(0.4)
    hidden: int = whole(256)


class Masked(Objective):
    """Body, a hidden layer, decoders; the loss is the mean of the fields' errors where they were hidden.

    The row's vector is added to every place's: it learns what holds for all of them.

    Args:
        body: without heads.
        features: of the fields it reads.
    """

    def __init__(self, body: Assembly, features: Mapping[str, Feature], options: Options) -> None:
        super().__init__(body)
        self.features, self.options = dict(features), options
        self.hidden = nn.Linear(body.output.width, options.hidden)
        self.read = {name: places for name, places in body.places.items() if name in features}
        self.near = nn.ModuleList(nn.Linear(places.width, options.hidden) for places in self.read.values())
        places = {name: places.grid for name, places in self.read.items()}
        self.decoders = Decoders(options.hidden, features, places=places)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"embedding": [row, 1, width]}."""
        return {"embedding": self.embed(inputs).unsqueeze(1)}

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """ "vectors", the body's, and the decoders' predictions as "whole.FIELD"."""
        members, known = self.body.local(inputs)
        vectors = members.mean(dim=1)
        row = self.hidden(vectors)
        local = {
            name: torch.relu(near(known[name]) + row.reshape(len(row), *[1] * len(places.grid), -1))
            for near, (name, places) in zip(self.near, self.read.items(), strict=True)
        }
        found = self.decoders(torch.relu(row), local)
        return {"vectors": vectors, **{f"whole.{name}": prediction for name, prediction in found.items()}}

    def prepare(self, batch: Batch) -> Batch:
        """Parts of the inputs hidden; targets "whole.FIELD", the fields as they were (of a text the hidden tokens
        only), and "hidden.FIELD", bool [row, *grid]."""
        found = corrupt(batch.inputs, self.features, self.options.share, least=True)
        targets: dict[str, Tensor] = {}
        for name, feature in self.features.items():
            whole, mask = batch.inputs[name], found.places[name]
            if feature.kind == "tokens":
                whole = torch.where(mask, whole, int(feature.details.get("padding", 0)))
                mask = mask if name in self.read else mask.any(dim=1)
            targets[f"whole.{name}"], targets[f"hidden.{name}"] = whole, mask
        return Batch(batch.rows, found.inputs, targets, batch.weight)

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over each row's fields of which something was hidden; "spread" of the embeddings (`deviation`)."""
        found, wanted = ({name: part[f"whole.{name}"] for name in self.features} for part in (outputs, batch.targets))
        total = fields = torch.zeros(len(batch), device=batch.rows.device)
        for name, error in self.decoders.errors(found, wanted).items():
            error = error.reshape(len(batch), -1)
            # Of a long text a network reads the beginning.
            hidden = batch.targets[f"hidden.{name}"].reshape(len(batch), -1)[:, : error.shape[1]].float()
            number = hidden.sum(dim=1)
            total = total + (error * hidden).sum(dim=1) / number.clamp_min(1.0)
            fields = fields + (number > 0)
        return total / fields.clamp_min(1.0), {"spread": deviation(outputs["vectors"])}


def reads(features: Mapping[str, Feature]) -> bool:
    """Whatever has a rest that something can be told from: of a table, at least two fields."""
    return len(features) > 1 or any(feature.kind not in PLAIN for feature in features.values())


def build(setting: Setting, options: Options) -> Unlabelled:
    """The method, with fresh weights from PyTorch's generator."""
    return Unlabelled(Masked(setting.body(), setting.features, options).to(setting.device), setting)
