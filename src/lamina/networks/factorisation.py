"""Factorisation of tables of interactions, such as ratings: biases and inner products of factors.

Every value of every field has a bias and a vector of factors; an answer is made of the sum of a row's biases and of the
products of its vectors, pair by pair: biased matrix factorisation (Koren, Bell & Volinsky 2009, "Matrix factorization
techniques for recommender systems") for two fields, a factorisation machine (Rendle 2010, "Factorization machines")
for more. The products of all pairs are taken at once and stay one number a factor (He & Chua 2017, "Neural
factorization machines"), so that a head for any task can read them.

The two fields of most values know each other's partners (`lamina.networks.blocks.partners`): to a user's own vector
comes that of the films rated, and to a film's that of its users. A perceptron beside the products (Guo et al. 2017,
"DeepFM") is an option.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks import OutputShape
from lamina.networks.blocks.fields import check_fields
from lamina.networks.blocks.options import positive, share, whole
from lamina.networks.blocks.partners import Partners, different_pairs
from lamina.networks.heads.vector import MemberLinear

ACCEPTS = ("category", "numbers")


@dataclass(frozen=True)
class Options:
    """Sizes of a factorisation.

    Attributes:
        members: factorisations of the same size that learn side by side, and answer as one.
        width: factors of a member.
        biases: numbers that a value adds to a row's bias: heads of several outputs need several.
        history: partners of a value that are remembered at most; 0 for none.
        dropout: chance of leaving a factor out: this, and not weight decay, keeps frequent and rare values small alike.
        hide: chance of hiding a category's value, so that unknown users and items are learned as well.
        hidden: units of a member's perceptron beside the products; 0 for none.
        spread: of the factors at the start.
    """

    members: int = whole(4)
    width: int = whole(32)
    biases: int = whole(4)
    history: int = whole(256, least=0)
    dropout: float = share(0.1)
    hide: float = share(0.02)
    hidden: int = whole(0, least=0)
    spread: float = positive(0.05)


class FieldVectors(nn.Module):
    """One vector for each field of a row, [batch, field, width]: categories first, then fields of numbers.

    A category's vectors are embeddings, all in one table, with 0 for values out of range; those of a field of numbers
    are its numbers' vectors times the numbers, as in every factorisation machine.
    """

    starts: Tensor
    sizes: Tensor

    def __init__(self, features: Mapping[str, Feature], width: int, spread: float, hide: float) -> None:
        super().__init__()
        self.categories = [name for name, feature in features.items() if feature.kind == "category"]
        self.numbers = [name for name, feature in features.items() if feature.kind == "numbers"]
        self.count, self.chance = len(features), hide
        sizes = [features[name].size for name in self.categories]
        self.register_buffer("sizes", torch.tensor(sizes, dtype=torch.int64), persistent=False)
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.int64), persistent=False)
        self.table = nn.Embedding(sum(sizes), width) if sizes else None
        # A list: names of fields may hold what PyTorch refuses in names of modules.
        self.maps = nn.ModuleList(nn.Linear(features[name].shape[0], width, bias=False) for name in self.numbers)
        for weight in self.parameters():
            nn.init.normal_(weight, std=spread)

    def codes(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """int64 [batch, category]: the values of the categories, 0 where out of range."""
        index = torch.stack([inputs[name] for name in self.categories], dim=1).long()
        return torch.where((index >= 0) & (index < self.sizes), index, 0)

    def hidden(self, codes: Tensor) -> Tensor:
        """`codes` of which some are unknown, during training."""
        if not (self.training and self.chance):
            return codes
        return torch.where(torch.rand(codes.shape, device=codes.device) < self.chance, 0, codes)

    def forward(self, inputs: Mapping[str, Tensor], codes: Tensor | None) -> Tensor:
        parts = [part(inputs[name]) for name, part in zip(self.numbers, self.maps, strict=True)]
        numbers = torch.stack(parts, dim=1) if parts else None
        if self.table is None or codes is None:
            return cast(Tensor, numbers)
        embedded: Tensor = self.table(codes + self.starts)
        return embedded if numbers is None else torch.cat([embedded, numbers], dim=1)


class Factorisation(nn.Module):
    """Fields' vectors, what their partners add, products of all pairs, and a perceptron where wanted."""

    def __init__(self, features: Mapping[str, Feature], options: Options) -> None:
        super().__init__()
        self.members, self.width = options.members, options.width
        self.each = options.width + options.biases
        self.fields = FieldVectors(features, self.members * self.each, options.spread, options.hide)
        self.pair = two_largest(features) if options.history else ()
        width, most = self.members * options.width, options.history
        sizes = [features[name].size for name in self.pair]
        self.partners = nn.ModuleList(
            Partners(size, other, width, most, options.spread / 5)
            for size, other in zip(sizes, reversed(sizes), strict=True)
        )
        self.dropout = nn.Dropout(options.dropout)
        self.hidden = (
            nn.Sequential(
                MemberLinear(self.members, self.fields.count * options.width, options.hidden),
                nn.ReLU(),
                nn.Dropout(options.dropout),
            )
            if options.hidden
            else None
        )
        self.output = OutputShape(self.each + options.hidden, self.members)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, member, width + biases + hidden]."""
        codes = self.fields.codes(inputs) if self.fields.categories else None
        seen = None if codes is None else self.fields.hidden(codes)
        vectors = self.fields(inputs, seen).unflatten(2, (self.members, self.each))
        factors, biases = vectors[..., : self.width], vectors[..., self.width :]
        if codes is not None and seen is not None and self.pair:
            factors = factors + self._of_partners(codes, seen)
        factors = self.dropout(factors)
        parts = [pair_products(factors), biases.sum(dim=1)]
        if self.hidden is not None:
            parts.append(self.hidden(factors.transpose(1, 2).flatten(2)))
        return torch.cat(parts, dim=2)

    def _of_partners(self, codes: Tensor, seen: Tensor) -> Tensor:
        """[batch, field, member, width]: what the partners add to each field's factors; 0 for all but two fields."""
        first, second = (self.fields.categories.index(name) for name in self.pair)
        added = {
            first: self.partners[0](seen[:, first], codes[:, second]),
            second: self.partners[1](seen[:, second], codes[:, first]),
        }
        nothing = torch.zeros_like(added[first])
        rows = torch.stack([added.get(number, nothing) for number in range(self.fields.count)], dim=1)
        return rows.view(*rows.shape[:2], self.members, self.width)

    @torch.no_grad()
    def remember(self, rows: Iterable[Mapping[str, Tensor]]) -> None:
        """Know which values of the two largest categories go together in these rows."""
        if not self.pair:
            return
        one, other = cast(Partners, self.partners[0]), cast(Partners, self.partners[1])
        columns = ((inputs[self.pair[0]].cpu().numpy(), inputs[self.pair[1]].cpu().numpy()) for inputs in rows)
        pairs = different_pairs(columns, others=other.known.shape[0])
        one.remember(pairs)
        turned = pairs[:, ::-1]
        other.remember(turned[turned[:, 0].argsort(kind="stable")])

    def stages(self) -> list[tuple[str, nn.Module]]:
        """fields, partners where two categories are read, hidden where there is a perceptron."""
        found: list[tuple[str, nn.Module]] = [("fields", self.fields)]
        if self.pair:
            found.append(("partners", self.partners))
        return found if self.hidden is None else [*found, ("hidden", self.hidden)]


def pair_products(factors: Tensor) -> Tensor:
    """The elementwise products of all pairs of fields, added up: [batch, field, ..., width] to [batch, ..., width].

    sum over i < j of v_i * v_j = ((sum of v)^2 - sum of v^2) / 2, in linear time (Rendle 2010).
    """
    return 0.5 * (factors.sum(dim=1).square() - factors.square().sum(dim=1))


def two_largest(features: Mapping[str, Feature]) -> tuple[str, ...]:
    """The two categories of the most values, in the table's order; none where there is one category only."""
    names = [name for name, feature in features.items() if feature.kind == "category"]
    largest = sorted(names, key=lambda name: -features[name].size)[:2]
    return tuple(name for name in names if name in largest) if len(largest) == 2 else ()


def build(features: Mapping[str, Feature], options: Options) -> Factorisation:
    """A factorisation of any number of categories and numbers."""
    check_fields("factorisation", ACCEPTS, features)
    return Factorisation(features, options)
