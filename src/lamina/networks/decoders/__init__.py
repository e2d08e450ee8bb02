"""Decoders: from a vector back to encoded fields, for methods that learn by reconstruction.

Where a network knows more of a field than a vector (`lamina.networks.Local`), its decoder may read that: a vector for
each of the network's places.

A decoder is a module with

- `grid`: the places its errors tell of (`lamina.networks.decoders.places`), () for one;
- `forward(vector)`: [row, width], or [row, *places, width], to a prediction;
- `errors(prediction, target)`: [row, *grid] float32, how wrong it is at each place: 0 for a perfect one, about 1 for a
  blind guess, so that places and fields can be compared and averaged. `target` is the field as encoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks.decoders.maps import ImageDecoder, SeriesDecoder, SpectrogramDecoder
from lamina.networks.decoders.plain import CategoryDecoder, EachTokenDecoder, NumbersDecoder, TokensDecoder

KINDS: dict[str, Any] = {
    "numbers": NumbersDecoder,
    "category": CategoryDecoder,
    "tokens": TokensDecoder,
    "image": ImageDecoder,
    "spectrogram": SpectrogramDecoder,
    "series": SeriesDecoder,
}


def build_decoder(width: int, feature: Feature, channels: bool = False, places: Sequence[int] = ()) -> nn.Module:
    """The decoder of a field from vectors of `width`; fresh weights.

    Args:
        channels: of a series, every channel has places of its own.
        places: the network's, of each of which there is a vector; () where there is one vector of all.
    """
    if feature.kind == "series":
        return SeriesDecoder(width, feature, places, channels)
    if not places:
        decoder: nn.Module = KINDS[feature.kind](width, feature)
        return decoder
    if feature.kind == "tokens":
        return EachTokenDecoder(width, feature, places)
    return (
        ImageDecoder(width, feature, places) if feature.kind == "image" else SpectrogramDecoder(width, feature, places)
    )


class Decoders(nn.Module):
    """A decoder for every field.

    Args:
        channels: every channel of a series has places of its own.
        places: by field, where its decoder reads a vector for each of the network's places.

    Attributes:
        grids: the places of each field.
    """

    def __init__(
        self,
        width: int,
        features: Mapping[str, Feature],
        channels: bool = False,
        places: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        # A list: names of fields may hold what PyTorch refuses in names of modules.
        known = places or {}
        self.parts = nn.ModuleList(
            build_decoder(width, feature, channels, known.get(name, ())) for name, feature in features.items()
        )
        self.grids: dict[str, tuple[int, ...]] = {
            name: part.grid  # type: ignore[misc]
            for name, part in zip(features, self.parts, strict=True)
        }

    def forward(self, vector: Tensor, local: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Predictions by field from [row, width], and from [row, *places, width] of the fields in `local`."""
        known = local or {}
        return {name: part(known.get(name, vector)) for name, part in zip(self.grids, self.parts, strict=True)}

    def errors(self, predictions: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """[row, *grid] by field."""
        return {
            name: part.errors(predictions[name], targets[name])  # type: ignore[operator]
            for name, part in zip(self.grids, self.parts, strict=True)
        }


__all__ = ["Decoders", "build_decoder"]
