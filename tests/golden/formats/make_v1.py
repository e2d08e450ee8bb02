"""Makes the kept sample of the sealed format, version 1: `python tests/golden/formats/make_v1.py FILE.lamina`.

Run once, when the version was current. The kept file is never made again: it proves that old files stay readable.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "unit"))

from small_models import table, table_model

from lamina.model import golden
from lamina.model.format import write
from lamina.model.runtime import Model

if __name__ == "__main__":
    sealed = golden.sealed_with(
        Model(table_model()[0], threads=1), {name: values[:8] for name, values in table().items()}
    )
    write(Path(sys.argv[1]), sealed)
