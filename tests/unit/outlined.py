"""A folder in COCO's form with outlines in all three ways of writing them, and the masks that they are made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as reference

Array = np.ndarray[Any, Any]
HEIGHT, WIDTH = 24, 32
CATEGORIES = ({"id": 3, "name": "square"}, {"id": 8, "name": "disc"})


def folder_of_outlines(root: Path, pictures: int) -> dict[str, Array]:
    """Half of the pictures are for testing; each shows a disc and, on top of it, a square, every second one the disc
    alone. Returns their masks by file name: 1 a disc, 2 a square.
    """
    random = np.random.default_rng(0)
    truth: dict[str, Array] = {}
    for part, numbers in (("train", range(pictures // 2)), ("test", range(pictures // 2, pictures))):
        images, annotations = [], []
        (root / part).mkdir(parents=True)
        for number in numbers:
            y, x = int(random.integers(8, HEIGHT - 8)), int(random.integers(8, WIDTH - 8))
            rows, columns = np.mgrid[:HEIGHT, :WIDTH]
            disc = (rows - y) ** 2 + (columns - x) ** 2 < 50
            mask = disc.astype(np.uint8)
            counts = reference.encode(np.asfortranarray(mask))["counts"].decode()
            things: list[tuple[int, Any]] = [(8, {"size": [HEIGHT, WIDTH], "counts": counts})]
            if number % 4 == 1:
                turns = np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel()])))
                lengths = np.diff(turns, prepend=0, append=mask.size).tolist()
                things = [(8, {"size": [HEIGHT, WIDTH], "counts": lengths})]
            if number % 2 == 0:
                mask[y - 3 : y + 4, x - 3 : x + 4] = 2
                things.insert(0, (3, [[x - 3, y - 3, x + 4, y - 3, x + 4, y + 4, x - 3, y + 4]]))
            picture = np.clip(60 + 60 * mask + random.normal(0, 9, mask.shape), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root / part / f"{number}.png")
            truth[f"{number}.png"] = mask
            images.append({"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT})
            annotations += [
                {
                    "id": 1,
                    "image_id": number,
                    "category_id": code,
                    "bbox": [x - 7, y - 7, 15, 15],
                    "segmentation": outline,
                }
                for code, outline in things
            ]
        document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(document))
    return truth
