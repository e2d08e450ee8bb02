"""Rows with parts of them hidden or taken from other rows: what reconstruction learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.modalities import Feature
from lamina.networks.blocks.fields import lengths
from lamina.networks.decoders.places import grid_of, spread

PLAIN = ("numbers", "category")
"""One value a field: there is no part of it to hide, so that another row's value stands in for it."""


@dataclass(frozen=True)
class Corrupted:
    """Inputs with parts that are not the row's own.

    Attributes:
        inputs: by field; shapes and dtypes as before.
        places: bool [row, *grid] by field: which places were changed; for tokens [row, length].
    """

    inputs: dict[str, Tensor]
    places: dict[str, Tensor]


def corrupt(inputs: Mapping[str, Tensor], features: Mapping[str, Feature], share: float, least: bool) -> Corrupted:
    """Hide a share of every row's places; draws from PyTorch's generator.

    Numbers and categories get another row's value (Yoon et al. 2020, VIME; Bahri et al. 2022, SCARF): it is as likely
    as any, so that only the row's other fields tell that it is wrong. Patches of pictures get the mean color, a stretch
    of a series or sound its mean, tokens become the unknown one, or a pretrained network's own for this.

    Args:
        share: of the plain fields, patches, steps and tokens.
        least: hide at least one plain field (of several), and one place of every other field.
    """
    plain = [name for name, feature in features.items() if feature.kind in PLAIN]
    found = swap(inputs, {name: features[name] for name in plain}, share, least and len(plain) > 1)
    for name, feature in features.items():
        if name in plain:
            continue
        values = inputs[name]
        if feature.kind == "tokens":
            mask = _some_tokens(values, feature, share, least)
            hiding = feature.details.get("mask", feature.details.get("unknown", 1))
            changed = torch.where(mask, int(hiding), values)
        elif feature.kind == "image":
            mask = _some(torch.rand((len(values), *grid_of(feature)), device=values.device), share, least)
            mean = feature.details.get("mean") or [127.5] * values.shape[3]
            fill = torch.tensor(mean, device=values.device).round().to(values.dtype)
            changed = torch.where(spread(mask, feature).unsqueeze(3), fill, values)
        else:
            mask = _stretch(values, feature, share, least)
            changed = values * ~spread(mask, feature).unsqueeze(2)
        found.inputs[name], found.places[name] = changed, mask
    return found


def swap(inputs: Mapping[str, Tensor], features: Mapping[str, Feature], share: float, least: bool = False) -> Corrupted:
    """A share of every row's fields, all of one value each, with another row's value; all other inputs as they are."""
    changed, places = dict(inputs), {}
    if features:
        some = inputs[next(iter(features))]
        mask = _some(torch.rand((len(some), len(features)), device=some.device), share, least)
        for number, name in enumerate(features):
            values, places[name] = inputs[name], mask[:, number]
            other = values[torch.rand(len(values), device=values.device).argsort()]
            where = mask[:, number].reshape(-1, *([1] * (values.ndim - 1)))
            changed[name] = torch.where(where, other, values)
    return Corrupted(changed, places)


def _some(chances: Tensor, share: float, least: bool) -> Tensor:
    """bool, as `chances` [row, ...]: those below `share`, and of every row the lowest where at least one is wanted."""
    mask = chances < share
    if least:
        flat = chances.flatten(1)
        mask = mask | (flat == flat.amin(dim=1, keepdim=True)).reshape(mask.shape)
    return mask


def _some_tokens(tokens: Tensor, feature: Feature, share: float, least: bool) -> Tensor:
    """bool [row, length]: never padding, nor a token that stands for no text."""
    details = feature.details
    kept = torch.tensor(sorted({0, int(details.get("padding", 0)), *details.get("special", ())}), device=tokens.device)
    chances = torch.rand(tokens.shape, device=tokens.device).masked_fill(torch.isin(tokens, kept), 2.0)
    return _some(chances, share, least) & (chances < 1.0)


def _stretch(values: Tensor, feature: Feature, share: float, least: bool) -> Tensor:
    """bool [row, places]: one stretch within what is no padding; it may run over the end to the beginning."""
    places = grid_of(feature)[0]
    used = lengths(feature.kind, values) * places
    used = (used + feature.shape[0] - 1) // feature.shape[0]
    wide = used * share
    # The fraction is a chance, so that the share holds on average.
    wide = (wide + torch.rand(len(values), device=values.device)).floor().clamp_min(1.0 if least else 0.0)
    start = (torch.rand(len(values), device=values.device) * used).floor()
    place = torch.arange(places, device=values.device)
    beyond = (place - start.unsqueeze(1)) % used.unsqueeze(1)
    return (beyond < wide.unsqueeze(1)) & (place < used.unsqueeze(1))
