"""What a detector learns from: which place answers for which box, and how wrong it is.

Everything is in pixels of the encoded picture; a box is its left, upper, right and lower edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NEAR = 2.5
"""A place may answer for a box whose middle is so many strides away at most (Ge et al. 2021)."""
SURE = 10
"""Most places that answer for one box."""
OVERLAP_WEIGHT = 3.0
"""Of the overlap against the class, where places are chosen (Ge et al. 2021)."""
FAR = 1e5
"""What a place costs that is not in the middle of the box."""
LARGEST_LOG = 8.0
"""Logarithm of the largest distance in strides; keeps the exponential finite."""


@dataclass(frozen=True)
class Wanted:
    """The boxes of a batch.

    Attributes:
        boxes: float32 [row, box, 4].
        labels: int64 [row, box], 0 where there is no box.
        present: bool [row, box], a box to be found.
        crowd: bool [row, box], a box within which nothing is wrong.
    """

    boxes: Tensor
    labels: Tensor
    present: Tensor
    crowd: Tensor


@dataclass(frozen=True)
class Assigned:
    """Which place answers for which box.

    Attributes:
        answers: bool [row, place], answers for some box.
        box: int64 [row, place], for which; 0 where for none.
        free: bool [row, place], lies in a crowd and answers for nothing: whatever it says is not wrong.
    """

    answers: Tensor
    box: Tensor
    free: Tensor


def boxes_at(distances: Tensor, centers: Tensor, strides: Tensor) -> Tensor:
    """[row, place, 4]: edges, from the logarithms of the distances to the four sides in strides.

    Args:
        distances: [row, place, 4]: left, up, right, down.
        centers: [place, 2].
        strides: [place].
    """
    reach = torch.exp(distances.clamp(-LARGEST_LOG, LARGEST_LOG)) * strides[:, None]
    return torch.cat([centers - reach[..., :2], centers + reach[..., 2:]], dim=-1)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes [..., 4] that are broadcast against each other."""
    common, whole = _common_and_whole(first, second)
    return common / whole.clamp_min(1e-9)


def generalized_overlap(first: Tensor, second: Tensor) -> Tensor:
    """GIoU of boxes [..., 4] (Rezatofighi et al. 2019): the overlap, less the share of the smallest box around both
    that neither covers; so boxes that do not touch still feel where to go. From -1 to 1.
    """
    common, whole = _common_and_whole(first, second)
    around = _area(
        torch.cat(
            [torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:])], dim=-1
        )
    ).clamp_min(1e-9)
    return common / whole.clamp_min(1e-9) - (around - whole) / around


def _common_and_whole(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low).clamp_min(0).prod(dim=-1)
    return common, _area(first) + _area(second) - common


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(dim=-1)


def focal(logits: Tensor, wanted: Tensor, balance: float = 0.25, focus: float = 2.0) -> Tensor:
    """Focal loss of each yes or no (Lin et al. 2017): -balance (1 - p)^focus log p for a yes, and so for a no.

    What is easily answered hardly counts, so that the many empty places do not outweigh the few others.

    Args:
        logits, wanted: of one shape; `wanted` is 0 or 1.
    """
    plain = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    chance = torch.sigmoid(logits)
    wrong = wanted * (1 - chance) + (1 - wanted) * chance
    return (wanted * balance + (1 - wanted) * (1 - balance)) * wrong**focus * plain


@torch.no_grad()
def assign(logits: Tensor, boxes: Tensor, centers: Tensor, strides: Tensor, wanted: Wanted) -> Assigned:
    """Let the places answer for a box that do so at the least cost (SimOTA, Ge et al. 2021, "YOLOX").

    A place can answer for a box if it lies in it or near its middle. The cost is how wrong it is at present; a box gets
    as many places as the ten that overlap it most overlap it in sum. A place that several boxes want goes to the
    cheapest.

    Args:
        logits: [row, place, class].
        boxes: [row, place, 4], what the places answer at present.
        centers: [place, 2].
        strides: [place].
    """
    inside, central = _where(centers, strides, wanted.boxes)
    possible = (inside | central) & wanted.present[:, :, None]
    shared = overlap(wanted.boxes[:, :, None], boxes[:, None]) * possible
    index = wanted.labels[:, None, :].expand(-1, logits.shape[1], -1)
    # Binary cross entropy of all classes with one yes: softplus of all, less the logit of that one.
    classes = functional.softplus(logits).sum(dim=2)[:, None] - logits.gather(2, index).transpose(1, 2)
    cost = classes - OVERLAP_WEIGHT * torch.log(shared + 1e-8) + FAR * ~(inside & central)
    cost = torch.where(possible, cost, torch.inf)
    number = min(SURE, cost.shape[2])
    places = shared.topk(number, dim=2).values.sum(dim=2).long().clamp_min(1)
    cheapest = cost.topk(number, dim=2, largest=False)
    chosen = (torch.arange(number, device=cost.device) < places[:, :, None]) & torch.isfinite(cheapest.values)
    claimed = torch.zeros_like(possible).scatter(2, cheapest.indices, chosen)
    cost = torch.where(claimed, cost, torch.inf)
    answers = claimed.any(dim=1)
    box = torch.where(answers, cost.argmin(dim=1), 0)
    covered = (inside & wanted.crowd[:, :, None]).any(dim=1)
    return Assigned(answers, box, covered & ~answers)


def _where(centers: Tensor, strides: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """bool [row, box, place] twice: the place lies in the box; it lies near its middle."""
    x, y = centers[:, 0], centers[:, 1]
    left, top, right, bottom = (edge[:, :, None] for edge in boxes.unbind(dim=2))
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    near = NEAR * strides
    return inside, ((x - (left + right) / 2).abs() < near) & ((y - (top + bottom) / 2).abs() < near)


def wanted_of(target: Tensor) -> Wanted:
    """The boxes of encoded targets [row, 1 + box, 6] (`lamina.tasks._detections`), without places that no row uses."""
    boxes = target[:, 1:]
    there = boxes[..., 0] >= 0
    if target.device.type == "cpu":
        # Elsewhere to ask for the number would be to wait.
        used = int(there.any(dim=0).nonzero().max()) + 1 if bool(there.any()) else 1
        boxes, there = boxes[:, :used], there[:, :used]
    crowd = boxes[..., 5] < 0
    labels = torch.where(there, boxes[..., 0], 0).long()
    return Wanted(torch.nan_to_num(boxes[..., 1:5]), labels, there & ~crowd, there & crowd)


def detection_loss(outputs: Tensor, target: Tensor, centers: Tensor, strides: Tensor, box_weight: float) -> Tensor:
    """[row]: the sum over the places of how wrong their classes, their boxes and their trust in these are.

    Args:
        outputs: float32 [row, place, class + 5]: logits of the classes, logarithms of four distances, and the logit of
            how well the box fits.
        target: [row, 1 + box, 6] as encoded.
        centers: [place, 2].
        strides: [place].
        box_weight: of the boxes against the classes.
    """
    classes = outputs.shape[2] - 5
    logits, fits = outputs[..., :classes], outputs[..., -1]
    boxes = boxes_at(outputs[..., classes : classes + 4], centers, strides)
    wanted = wanted_of(target)
    found = assign(logits, boxes, centers, strides, wanted)
    true = wanted.boxes.gather(1, found.box[:, :, None].expand(-1, -1, 4))
    label = wanted.labels.gather(1, found.box)
    yes = functional.one_hot(label, classes).to(logits.dtype) * found.answers[:, :, None]
    of_classes = (focal(logits, yes) * ~found.free[:, :, None]).sum(dim=(1, 2))
    # A box is compared only where there is one: elsewhere it would be with the first, or with nothing.
    chosen = found.answers.to(logits.dtype)
    of_boxes = ((1 - generalized_overlap(boxes, true)) * chosen).sum(dim=1)
    shared = overlap(boxes.detach(), true)
    of_fit = functional.binary_cross_entropy_with_logits(fits, shared.clamp(0, 1), reduction="none") * chosen
    return of_classes + box_weight * of_boxes + of_fit.sum(dim=1)
