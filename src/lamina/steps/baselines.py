"""The classical baselines on the same rows: fitted in step 2, scored in step 5."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamina.evaluate.assess import BaselineAnswers
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.prepare import Prepared
from lamina.tasks import Task

Array = np.ndarray[Any, Any]
SHARE = 0.2
"""Largest share of the budget that baselines may take."""
SECONDS = 120.0
"""What they may take where there is no budget."""
