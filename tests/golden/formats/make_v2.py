"""Makes the kept sample of the sealed format, version 2: `python tests/golden/formats/make_v2.py FILE.lamina`.

Run once, when the version was current. The kept file is never made again: it proves that old files stay readable.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "unit"))

from small_models import writing_model

from lamina.model import golden
from lamina.model.format import write
from lamina.model.runtime import Model

if __name__ == "__main__":
    prompts = np.array(["the cat sat", "a dog", "on the mat and the dog", "", "mat", "the the the"], object)
    write(Path(sys.argv[1]), golden.sealed_with(Model(writing_model(reads=True)[0], threads=1), {"prompt": prompts}))
