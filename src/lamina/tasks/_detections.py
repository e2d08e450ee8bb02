"""From a detector's outputs to boxes, and from encoded true boxes to those that scores compare with. NumPy only.

Encoded true boxes of a picture are float32 [1 + box, 6]: label, left, upper, right, lower edge in pixels of the encoded
picture, and area in pixels of the original one (below 0 of a crowd). The first entry is the original picture itself, so
that boxes can be brought back to its pixels. A label of EMPTY: there is no box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.modalities._frame import Frame
from lamina.modalities.boxes import Boxes
from lamina.tasks._average_precision import Answer, Truth
from lamina.tasks._boxes import Places, suppressed
from lamina.tasks._scores import sigmoid

Array = np.ndarray[Any, Any]

EMPTY, PICTURE = -1.0, -2.0
VALUES = 6
BESIDES = 5
"""Outputs of a place besides the classes: four distances and how well they fit."""
LARGEST_LOG = 8.0
FLOOR = 0.02
"""Less sure answers are none: they change no score noticeably, and there are thousands of them."""
CANDIDATES = 2000
"""The surest answers of a picture, before repeated ones are removed: MOST things of which each is answered by all its
places (SURE of `lamina.networks.blocks.detection`), and as much again for neighbors."""
MOST = 100
"""Boxes of one picture that are answered at most."""


def encoded(found: Boxes, labels: dict[str, int], frame: Frame, most: int) -> Array | str:
    """True boxes as float32 [1 + most, 6], or what is wrong with them."""
    unknown = sorted(set(found.labels) - set(labels))
    if unknown:
        return f"{unknown[0]!r} is no label of the training part"
    if len(found.labels) > most:
        return f"{len(found.labels)} boxes are more than the {most} that are kept (the task's option most_boxes)"
    array = empty(most)
    array[0] = PICTURE, 0, 0, found.width, found.height, found.width * found.height
    if len(found.labels):
        boxes = array[1 : 1 + len(found.labels)]
        boxes[:, 0] = [labels[label] for label in found.labels]
        boxes[:, 1:5] = into(frame, found.edges, found.width, found.height)
        boxes[:, 5] = np.where(found.crowd, -found.areas, found.areas)
    return array


def empty(most: int) -> Array:
    """A picture of unknown size without boxes."""
    array = np.zeros((1 + most, VALUES), dtype=np.float32)
    array[:, 0] = EMPTY
    return array


def into(frame: Frame, edges: Array, width: float, height: float) -> Array:
    """Boxes [box, 4] of an original picture in pixels of the encoded one."""
    place = frame.place(round(height), round(width))
    scale = np.array([place.width / width, place.height / height] * 2)
    return np.asarray(edges * scale + np.array([place.left, place.top] * 2))


def out_of(frame: Frame, edges: Array, width: float, height: float) -> Array:
    """The inverse of `into`, cut off at the picture's edges."""
    place = frame.place(round(height), round(width))
    scale = np.array([place.width / width, place.height / height] * 2)
    back = (edges - np.array([place.left, place.top] * 2)) / scale
    return np.asarray(np.clip(back, 0, np.array([width, height] * 2)))


@dataclass(frozen=True)
class Reader:
    """Reads a detector's outputs.

    Attributes:
        places: where its outputs lie.
        classes: how many.
        frame: the encoded picture.
        overlap: from which on two boxes of one class are one answer.
    """

    places: Places
    classes: int
    frame: Frame
    overlap: float

    def boxes(self, output: Array, least: float = FLOOR) -> Answer:
        """The boxes of one picture, in pixels of the encoded one, the surest first: output [place * (class + 5)]."""
        values = np.asarray(output, dtype=np.float32).reshape(len(self.places), self.classes + BESIDES)
        fit = sigmoid(values[:, -1])
        # The geometric mean of what it is and of how well the box fits: only both together make a good answer.
        sure = np.sqrt(sigmoid(values[:, : self.classes]) * fit[:, None])
        place, label = np.nonzero(sure >= least)
        scores = sure[place, label]
        chosen = np.argsort(-scores, kind="stable")[:CANDIDATES]
        place, label, scores = place[chosen], label[chosen], scores[chosen]
        reach = np.exp(np.clip(values[place, self.classes : self.classes + 4], -LARGEST_LOG, LARGEST_LOG))
        reach = reach.astype(np.float64) * self.places.strides[place, None]
        center = self.places.centers[place]
        edges = np.concatenate([center - reach[:, :2], center + reach[:, 2:]], axis=1)
        edges = np.clip(edges, 0, np.array([self.frame.width, self.frame.height] * 2))
        real = (edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1])
        edges, label, scores = edges[real], label[real], scores[real]
        kept = suppressed(edges, scores, label, self.overlap, MOST)
        return Answer(edges[kept], label[kept], scores[kept])

    def original(self, answer: Answer, width: float, height: float) -> Answer:
        """The same boxes in pixels of an original picture of this size, without those that lie beside it."""
        edges = out_of(self.frame, answer.edges, width, height)
        kept = (edges[:, 2:] > edges[:, :2]).all(axis=1)
        return Answer(edges[kept], answer.labels[kept], answer.scores[kept])

    def truth(self, target: Array) -> Truth:
        """The true boxes of one picture in its own pixels: target [1 + box, 6] as encoded."""
        width, height = sides(target)
        mine = target[1:][target[1:, 0] >= 0].astype(np.float64)
        edges = out_of(self.frame, mine[:, 1:5], width, height)
        return Truth(edges, mine[:, 0].astype(np.int64), np.abs(mine[:, 5]), mine[:, 5] < 0)


def sides(target: Array) -> tuple[float, float]:
    """(width, height) of the original picture: target [1 + box, 6] as encoded."""
    return float(target[0, 3]), float(target[0, 4])
