"""The contract of a forecaster: from a window of the past and what is known of the future to the next steps.

A module `lamina/networks/forecasters/NAME.py` offers

- `Options`: a frozen dataclass of its sizes with defaults, among them `dropout`;
- `build(shape, options) -> nn.Module`: its `forward(past, future, about)` takes channels of the steps before the
  origin, [row, length, past], of which channel 0 is the target from its center in units of its spread and channel 1
  whether it was observed; channels of the steps to come, [row, horizon, future]; and what is known of the series,
  [row, about]. It gives [row, horizon, output].

What the outputs mean is the same for all (`_forecaster`): corrections of a linear forecast, as quantiles. These are no
families of `lamina.networks`: those give one vector for one field.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Sizes that the data decides.

    Attributes:
        length, horizon: steps of the past and of the future.
        past, future, about: channels of each.
        outputs: of each step.
    """

    length: int
    horizon: int
    past: int
    future: int
    about: int
    outputs: int
