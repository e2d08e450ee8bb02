"""Changes to whole batches that keep their meaning, as tensor operations on the batch's device.

`augment(inputs, plans, features)` applies to each field the augmentations that its plan names, `augment_with_targets`
does to targets that lie on a picture what is done to that; `blend` mixes examples with others (mixup, cutmix). Nothing
is changed in place; shapes, dtypes and padding stay. What there is for each kind of feature, with the meaning of its
strength, is in `STRENGTHS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.errors import InputError, nearest
from lamina.learn import _boxes, _mosaic, _pictures, _sequences
from lamina.learn.batch import Batch
from lamina.modalities import Feature
from lamina.tasks import Layout

Strengths = Mapping[str, Any]

STRENGTHS: dict[str, dict[str, tuple[float, str]]] = {
    "image": {
        "flip": (1, "chance of mirroring left and right (true: 0.5)"),
        "flip_vertical": (1, "chance of mirroring top and bottom (true: 0.5)"),
        "translate": (0.5, "largest shift as a share of the side; the border is reflected"),
        "rotate": (180, "largest turn in degrees"),
        "scale": (0.9, "largest change of size as a share"),
        "crop": (0.95, "largest share of the area that is cut away; the rest is enlarged"),
        "brightness": (1, "largest change as a share of white"),
        "contrast": (1, "largest change of the contrast as a share"),
        "saturation": (1, "largest change of the color's strength as a share"),
        "erase": (1, "chance of covering a rectangle of 2% to 20% of the area with the mean color (true: 0.5)"),
        "mosaic": (1, "share of a batch that is put together of four pictures; their boxes go along (true: 0.5)"),
    },
    "spectrogram": {
        "tempo": (0.5, "largest change of the pace as a share, at the same pitch"),
        "speed": (0.5, "largest change of pace and pitch together as a share, as of a tape that runs faster or slower"),
        "time_shift": (0.9, "largest shift as a share of the sound's length"),
        "time_mask": (0.9, "largest share of the time that is blanked, in two stretches"),
        "frequency_mask": (0.9, "largest share of the bands that is blanked, in two stretches"),
        "gain": (40, "largest change of loudness in dB"),
        "noise": (5, "standard deviation of added noise, in standard deviations of a band"),
        "white_noise": (1, "chance of white noise, 10 to 40 dB below the sound (true: 0.5)"),
        "background": (1, "chance of another sound of the batch behind it, 10 to 30 dB below (true: 0.5)"),
    },
    "tokens": {"drop": (0.9, "share of the tokens replaced by the unknown token, of items left out")},
    "series": {
        "jitter": (5, "standard deviation of added noise, in standard deviations of the channel"),
        "scale": (0.9, "largest change of size as a share"),
        "shift": (0.9, "largest shift as a share of the length; the end values are repeated"),
        "warp": (0.5, "largest local change of the pace as a share"),
    },
    "numbers": {"noise": (5, "standard deviation of added noise, in standard deviations")},
    "category": {"drop": (0.9, "share of the values replaced by unknown")},
}
"""By kind of feature: the augmentations, their largest strength, and what the strength means."""

CHANCES = frozenset({"flip", "flip_vertical", "erase", "mosaic", "white_noise", "background"})
CHANGES: dict[str, Callable[[Tensor, Mapping[str, float], Feature, torch.Generator | None], Tensor]] = {
    "image": _pictures.change,
    "spectrogram": _sequences.change_spectrogram,
    "tokens": _sequences.change_tokens,
    "series": _sequences.change_series,
    "numbers": _sequences.change_numbers,
    "category": _sequences.change_category,
}
MOVES: dict[str, Callable[[Tensor, _pictures.Movement, int, int], Tensor]] = {
    "map": lambda target, movement, height, width: _pictures.moved(target, movement),
    "picture": lambda target, movement, height, width: _pictures.moved(target, movement),
    "places": _boxes.moved,
}
"""By kind of layout: how a target that lies on a picture of some height and width is moved with it."""
CUTTABLE = frozenset({"image", "spectrogram", "series"})
MIXABLE = CUTTABLE | {"numbers"}
LINE_ART = 0.8
"""A larger share of nearly black or white pixels in one channel: drawn letters or digits, not photographs."""


def defaults(feature: Feature, rows: int, layouts: Collection[str] = ()) -> dict[str, Any]:
    """Careful augmentations for a kind of feature and a number of training rows.

    Pictures shift a little and are mirrored. Mirroring suits photographs and things; writing loses by it, so
    it is left out for line art in one channel (see LINE_ART) — where the color of drawn signs or a left/right
    meaning says otherwise, set `training.augment.FIELD.flip` to false. Sounds are masked (SpecAugment, Park et
    al. 2019), shifted and made louder or softer; the fewer the rows, the stronger. Numbers and categories are
    left alone: noise rarely helps tables.

    Where boxes are to be found, pictures are enlarged, but not shifted: what is reflected at a border would be
    things that no box is around. Where the answer is a sequence along a sound, it is not shifted, which would cut off
    its beginning or end, but played faster or slower (Ko et al. 2015), with white noise behind half of them.

    Args:
        layouts: the kinds of layouts that the answers have.
    """
    few = rows < 5_000
    if feature.kind == "image":
        height, width, channels = feature.shape
        if "places" in layouts:
            colors = {"brightness": 0.15, "contrast": 0.2} | ({"saturation": 0.3} if channels == 3 else {})
            # Of four pictures together nothing but boxes can be said.
            together = {"mosaic": 0.3 if few else 0.2} if set(layouts) == {"places"} else {}
            return {"flip": True, "crop": 0.5 if few else 0.3} | together | colors
        writing = channels == 1 and float(feature.details.get("extreme_share", 0.0)) > LINE_ART
        plan: dict[str, Any] = {"translate": 0.08} if min(height, width) >= 8 else {}
        if not writing:
            plan["flip"] = True
        if channels == 3 and min(height, width) >= 32:
            plan |= {"scale": 0.15, "brightness": 0.1, "contrast": 0.15} if few else {"brightness": 0.1}
        return plan
    if feature.kind == "spectrogram":
        mask = 0.15 if few else 0.1
        if "steps" in layouts:
            return {"speed": 0.1, "time_mask": mask, "frequency_mask": 2 * mask, "gain": 4.0, "white_noise": 0.5}
        return {"time_shift": 0.1, "time_mask": mask, "frequency_mask": mask, "gain": 4.0}
    if feature.kind == "tokens":
        return {"drop": 0.1 if rows < 20_000 else 0.05}
    if feature.kind == "series":
        return {"jitter": 0.03, "scale": 0.1}
    return {}


def augment(
    inputs: Mapping[str, Tensor],
    plans: Mapping[str, Strengths],
    features: Mapping[str, Feature],
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """The batch with every planned field changed, each example differently.

    Args:
        inputs: encoded tensors by field name, [batch, ...].
        plans: field name to augmentations and their strengths; 0 or false switches one off.
        features: what the fields are.
        generator: the source of chance; None for PyTorch's own.

    Raises:
        InputError: a field or an augmentation that there is not, or a strength out of range.
    """
    return augment_with_targets(inputs, {}, {}, plans, features, generator)[0]


def augment_with_targets(
    inputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    layouts: Mapping[str, Layout],
    plans: Mapping[str, Strengths],
    features: Mapping[str, Feature],
    generator: torch.Generator | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """As `augment`, and the targets, moved as the picture that they lie on.

    Args:
        targets: encoded, by name, [batch, ...].
        layouts: of the answers to them; those of a kind in MOVES lie on the one picture among the inputs.
    """
    changed, others = dict(inputs), dict(targets)
    lying = {name: layout.kind for name, layout in layouts.items() if layout.kind in MOVES}
    for name, plan in plans.items():
        if name not in features or name not in inputs:
            raise InputError(
                f"There is no input field {name!r} to augment.",
                where=f"training.augment.{name}",
                fix=nearest(name, features),
            )
        strengths = checked(name, plan, features[name])
        if not strengths or not len(inputs[name]):
            continue
        if "mosaic" in strengths:
            _check_mosaic(name, others, lying)
            changed[name], others = _mosaic.mosaic(inputs[name], others, strengths["mosaic"], generator)
        if not lying or features[name].kind != "image":
            changed[name] = CHANGES[features[name].kind](changed[name], strengths, features[name], generator)
            continue
        movement = _pictures.movement_of(changed[name], strengths, generator)
        still = changed[name] if movement is None else _pictures.moved(changed[name], movement)
        changed[name] = _pictures.finished(still, strengths, features[name], generator)
        if movement is not None:
            height, width = features[name].shape[:2]
            others |= {target: MOVES[kind](others[target], movement, height, width) for target, kind in lying.items()}
    return changed, others


def _check_mosaic(name: str, targets: Mapping[str, Tensor], lying: Mapping[str, str]) -> None:
    """Of four pictures together only boxes can be said; a class of one of them would be wrong for the others."""
    if any(lying.get(target) != "places" for target in targets):
        raise InputError(
            "A mosaic of four pictures has the boxes of all, but no other answer.",
            where=f"training.augment.{name}.mosaic",
            fix=f"Set training.augment.{name}.mosaic=0, or learn boxes alone.",
        )


def checked(name: str, plan: Strengths, feature: Feature) -> dict[str, float]:
    """The plan's strengths above 0 as numbers.

    Raises:
        InputError: an augmentation that this kind of feature does not have, or a strength out of range.
    """
    if not isinstance(plan, Mapping):
        raise InputError(
            f"The augmentations of a field are a table, not {plan!r}.",
            where=f"training.augment.{name}",
            fix=f"Write for example training.augment.{name}.{next(iter(STRENGTHS[feature.kind]))}=0.1",
        )
    known = STRENGTHS[feature.kind]
    strengths: dict[str, float] = {}
    for key, value in plan.items():
        place = f"training.augment.{name}.{key}"
        if key not in known:
            raise InputError(
                f"There is no augmentation {key!r} for {feature.kind}.", where=place, fix=nearest(key, known)
            )
        largest, meaning = known[key]
        strength = (0.5 if value else 0.0) if key in CHANCES and isinstance(value, bool) else value
        wrong = isinstance(strength, bool) and strength
        if wrong or not isinstance(strength, int | float) or not 0 <= strength <= largest:
            raise InputError(
                f"The strength of {key!r} cannot be {value!r}.",
                where=place,
                fix=f"Give a number from 0 to {largest:g}: {meaning}.",
            )
        if strength:
            strengths[key] = float(strength)
    return strengths


@dataclass(frozen=True)
class Mixed:
    """A batch whose examples are blends of two.

    Attributes:
        inputs: blended inputs, dtypes and shapes as before.
        permutation: int64 [batch], each example's partner.
        share: float32 [batch], each example's own share; its partner has the rest.
    """

    inputs: dict[str, Tensor]
    permutation: Tensor
    share: Tensor


def mixup(
    inputs: Mapping[str, Tensor],
    features: Mapping[str, Feature],
    alpha: float,
    generator: torch.Generator | None = None,
) -> Mixed:
    """Weighted means of pairs of examples, the weight from Beta(alpha, alpha) (mixup: Zhang et al. 2018).

    Raises:
        InputError: a field has no mean (tokens, categories), or alpha is not positive.
    """
    _blendable(inputs, features, alpha, MIXABLE, "mixup")
    some = next(iter(inputs.values()))
    share = _shares(some, alpha, generator)
    partner = _partners(some, generator)
    mixed = {name: _mean(values, values[partner], share) for name, values in inputs.items()}
    return Mixed(mixed, partner, share)


def cutmix(
    inputs: Mapping[str, Tensor],
    features: Mapping[str, Feature],
    alpha: float,
    generator: torch.Generator | None = None,
) -> Mixed:
    """A rectangle of a partner pasted into each example (CutMix: Yun et al. 2019); of a series, a stretch of time.

    With several fields the first one's rectangle sets the share; the others get rectangles of nearly the same.

    Raises:
        InputError: a field has no place to cut (tokens, categories, numbers), or alpha is not positive.
    """
    _blendable(inputs, features, alpha, CUTTABLE, "cutmix")
    some = next(iter(inputs.values()))
    wanted = _shares(some, alpha, generator)
    partner = _partners(some, generator)
    mixed: dict[str, Tensor] = {}
    shares: list[Tensor] = []
    for name, values in inputs.items():
        flat = features[name].kind == "series"
        inside = _pictures.rectangles(values.shape[1], 1 if flat else values.shape[2], 1 - wanted, values, generator)
        shares.append(1 - inside.float().mean(dim=(1, 2)))
        where = inside if values.ndim == 3 else inside.unsqueeze(3)
        mixed[name] = torch.where(where, values[partner], values)
    return Mixed(mixed, partner, torch.stack(shares).mean(dim=0))


def blend(
    batch: Batch,
    features: Mapping[str, Feature],
    mixup: float = 0.0,
    cutmix: float = 0.0,
    generator: torch.Generator | None = None,
) -> Batch:
    """The batch blended by mixup or cutmix (each batch by one of them, where both have a strength above 0).

    Raises:
        InputError: a field that cannot be blended so, or a negative strength.
    """
    if not mixup and not cutmix:
        return batch
    chance = float(torch.rand((), generator=generator, device=generator.device if generator else None))
    cut = bool(cutmix) and (not mixup or chance < 0.5)
    function, alpha = (_cutmix, cutmix) if cut else (_mixup, mixup)
    mixed = function(batch.inputs, features, alpha, generator)
    other = {name: target[mixed.permutation] for name, target in batch.targets.items()}
    return replace(batch, inputs=mixed.inputs, other=other, share=mixed.share)


_mixup, _cutmix = mixup, cutmix


def _blendable(
    inputs: Mapping[str, Tensor], features: Mapping[str, Feature], alpha: float, kinds: frozenset[str], what: str
) -> None:
    if not alpha > 0:
        raise InputError(
            f"The strength of {what} cannot be {alpha!r}.",
            where=f"training.{what}",
            fix="Give a number above 0, usually 0.2 to 1, or 0 to switch it off.",
        )
    for name in inputs:
        if features[name].kind not in kinds:
            raise InputError(
                f"The field {name!r} ({features[name].kind}) cannot be blended by {what}.",
                where=f"training.{what}",
                fix=f"Set training.{what}=0: it blends {', '.join(sorted(kinds))} only.",
            )


def _shares(values: Tensor, alpha: float, generator: torch.Generator | None) -> Tensor:
    draws = _beta(float(alpha)).to(values.device)
    return draws[_pictures.integers(len(values), len(draws), values, generator)]


@lru_cache(maxsize=8)
def _beta(alpha: float, draws: int = 1 << 14) -> Tensor:
    """A fixed sample of Beta(alpha, alpha) to draw from: PyTorch's own sampler takes no generator."""
    return torch.from_numpy(np.random.default_rng(0).beta(alpha, alpha, draws).astype(np.float32))


def _partners(values: Tensor, generator: torch.Generator | None) -> Tensor:
    return _pictures.uniform(len(values), values, generator).argsort()


def _mean(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    weight = share.reshape(-1, *([1] * (first.ndim - 1)))
    mixed = torch.lerp(second.float(), first.float(), weight)
    return mixed.to(first.dtype) if first.is_floating_point() else mixed.round_().to(first.dtype)
