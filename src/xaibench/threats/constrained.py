"""Rules of tables on top of a ball: features that stay, whole numbers, one-hot groups, bounds of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from xaibench.errors import InputError, unknown_name
from xaibench.rng import SampleRng
from xaibench.threats.base import Threat, check_threat, contains
from xaibench.threats.geometry import place
from xaibench.threats.whole import best_whole
from xaibench.types import Bounds

__all__ = ["Constrained"]

Limits = tuple[float | None, ...]


@dataclass(frozen=True)
class Constrained:
    """A ball whose points are valid rows of a table (n, features).

    Features by index: those in ``immutable`` stay; those in ``integer`` are whole numbers; of each group in ``one_hot``
    exactly one is 1 and the others are 0; ``lower`` and ``upper`` narrow the box, one number per feature or None where
    there is no further limit. Moving a one-hot group from one member to another is a change of 1 in two features.

    An attack searches among fractions: `sample`, `ascend` and `project` keep to the ball, the box and the immutable
    features. `finish` makes a valid row of any point, and `contains` accepts valid rows only.
    """

    threat: Threat
    _: KW_ONLY
    immutable: tuple[int, ...] = ()
    integer: tuple[int, ...] = ()
    one_hot: tuple[tuple[int, ...], ...] = ()
    lower: Limits | None = None
    upper: Limits | None = None

    def __post_init__(self) -> None:
        for field in ("immutable", "integer", "lower", "upper"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, tuple(getattr(self, field)))
        object.__setattr__(self, "one_hot", tuple(tuple(group) for group in self.one_hot))
        for group in self.one_hot:
            if len(group) < 2:
                raise InputError(f"expected one-hot groups of at least two features, got {group}")
        discrete = [*self.integer, *(index for group in self.one_hot for index in group)]
        twice = next((index for index in discrete if discrete.count(index) > 1), None)
        if twice is not None:
            raise InputError(f"expected each feature once in `integer` and `one_hot`, got {twice} twice")
        for index in (*self.immutable, *discrete):
            if not isinstance(index, int) or isinstance(index, bool) or index < 0:
                raise InputError(f"expected features by index, 0 or more, got {index!r}")

    @classmethod
    def named(
        cls,
        threat: Threat,
        feature_names: Sequence[str],
        *,
        immutable: Sequence[str] = (),
        integer: Sequence[str] = (),
        one_hot: Sequence[Sequence[str]] = (),
        lower: dict[str, float] | None = None,
        upper: dict[str, float] | None = None,
    ) -> Self:
        """The same with features by name; a name that is not among ``feature_names`` raises `InputError`."""
        index = {name: position for position, name in enumerate(feature_names)}

        def at(name: str) -> int:
            if name not in index:
                raise unknown_name("feature", name, index)
            return index[name]

        def limits(given: dict[str, float] | None) -> Limits | None:
            by_index = {at(name): value for name, value in (given or {}).items()}
            return tuple(by_index.get(position) for position in range(len(index))) if by_index else None

        return cls(
            threat,
            immutable=tuple(map(at, immutable)),
            integer=tuple(map(at, integer)),
            one_hot=tuple(tuple(map(at, group)) for group in one_hot),
            lower=limits(lower),
            upper=limits(upper),
        )

    @property
    def norm(self) -> str:
        """That of the ball."""
        return self.threat.norm

    @property
    def eps(self) -> float:
        """Radius of the ball."""
        return self.threat.eps

    @property
    def scale(self) -> tuple[float, ...] | None:
        """Unit of distance for each feature."""
        return self.threat.scale

    @property
    def options(self) -> dict[str, Any]:
        """The rules, as JSON-able keywords."""
        return {
            "immutable": list(self.immutable),
            "integer": list(self.integer),
            "one_hot": [list(group) for group in self.one_hot],
            "lower": self.lower and list(self.lower),
            "upper": self.upper and list(self.upper),
        }

    def check(self, bounds: Bounds, input_shape: Sequence[int]) -> None:
        """Raise `InputError` if the ball or a rule does not fit rows of this shape (features,)."""
        if len(input_shape) != 1:
            raise InputError(f"expected rows of features for a constrained threat, got shape {tuple(input_shape)}")
        features = input_shape[0]
        for index in (*self.immutable, *self.integer, *(index for group in self.one_hot for index in group)):
            if index >= features:
                raise InputError(f"expected features in 0..{features - 1}, got {index}")
        for field in ("lower", "upper"):
            limits = getattr(self, field)
            if limits is not None and len(limits) != features:
                raise InputError(f"expected `{field}` for each of {features} features, got {len(limits)}")
        self._box(bounds, features)
        check_threat(self.threat, bounds, input_shape)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """That of the ball."""
        return self.threat.distance(a, b)

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int | Tensor = 0) -> Tensor:
        """Points of the ball with the immutable features put back."""
        self._check_rows(x)
        box = self._box(bounds, x.shape[1])
        return torch.where(self._movable(x), self.threat.sample(rng, x, box, step), x)

    def ascend(self, x: Tensor, gradient: Tensor, size: float | Tensor, bounds: Bounds) -> Tensor:
        """The steepest move of the features that may move."""
        slope = gradient * self._movable(x)
        return self.threat.ascend(x, slope, size, self._box(bounds, x.shape[1]))

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """The nearest point of ball and box with the clean values of the features that may not move."""
        self._check_rows(clean)
        x = torch.where(self._movable(x), x, clean)
        return self.threat.project(x, clean, self._box(bounds, x.shape[1]))

    def finish(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """A valid row near each of ``x`` (n, features), within the ball around its clean row.

        Whole numbers are rounded towards the clean value first. Then single steps up to the nearest whole number and
        changes of one-hot groups to the largest member are taken, the most decided ones first, as far as the ball
        allows; what it has left bounds the other features.
        """
        x = self.project(x, clean, bounds)
        box = self._box(bounds, x.shape[1])
        offset = x.double() - clean.double()
        moves = best_whole(offset, clean.double(), self.threat, box, integer=self.integer, one_hot=self.one_hot)
        rest = offset.clone()
        rest[:, [*self.integer, *(index for group in self.one_hot for index in group)]] = 0
        return place(moves + self._room(moves, rest, clean), clean, box, None)

    def contains(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """Whether each of ``x`` (n, features) is a valid row within the ball: bool (n,)."""
        self._check_rows(clean)
        valid = contains(self.threat, x, clean, self._box(bounds, x.shape[1]))
        for index in self.immutable:
            valid = valid & (x[:, index] == clean[:, index])
        for index in self.integer:
            valid = valid & (x[:, index] == x[:, index].round())
        for group in self.one_hot:
            valid = valid & _is_one_hot(x[:, group])
        return valid

    def _room(self, moves: Tensor, rest: Tensor, clean: Tensor) -> Tensor:
        """As much of ``rest`` (n, features) as the ball has left beside ``moves``."""
        start = clean.double()
        if self.norm == "l0":
            left = self.eps - (moves != 0).sum(dim=1, keepdim=True)
            rank = rest.abs().argsort(dim=1, descending=True, stable=True).argsort(dim=1, stable=True)
            return rest * (rank < left)
        low = torch.zeros_like(rest[:, :1])
        high = torch.ones_like(low)
        fits = self.distance(start + moves + rest, start) <= self.eps
        for _ in range(40):
            middle = (low + high) / 2
            inside = (self.distance(start + moves + middle * rest, start) <= self.eps)[:, None]
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        return rest * torch.where(fits[:, None], 1.0, low)

    def _movable(self, x: Tensor) -> Tensor:
        """Features that a valid row may change at all: bool (features,)."""
        movable = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
        for group in self.one_hot:
            members = torch.eye(x.shape[1], dtype=torch.float64, device=x.device)[list(group)]
            costs = self.distance(members[1:], members[:1].expand_as(members[1:]))
            movable[list(group)] = bool((costs <= self.eps).any())
        movable[list(self.immutable)] = False
        return movable

    def _box(self, bounds: Bounds, features: int) -> Bounds:
        """The bounds, narrowed."""
        if self.lower is None and self.upper is None:
            return bounds
        limit = torch.zeros(features, dtype=torch.float64)
        low, high = (side.expand(features).tolist() for side in bounds.tensors(limit))
        lower, upper = self.lower or (None,) * features, self.upper or (None,) * features
        return Bounds(
            tuple(value if own is None else max(value, own) for value, own in zip(low, lower, strict=True)),
            tuple(value if own is None else min(value, own) for value, own in zip(high, upper, strict=True)),
        )

    def _check_rows(self, clean: Tensor) -> None:
        for index in self.integer:
            column = clean[:, index]
            if bool((column != column.round()).any()):
                odd = float(column[column != column.round()][0])
                raise InputError(f"expected whole numbers in feature {index}, got {odd:g}")
        for group in self.one_hot:
            if not bool(_is_one_hot(clean[:, group]).all()):
                raise InputError(f"expected one 1 and else 0 in the one-hot features {group}, got other values")


def _is_one_hot(members: Tensor) -> Tensor:
    """Whether exactly one value of each row (n, members) is 1 and the others are 0: bool (n,)."""
    return ((members == 0) | (members == 1)).all(dim=1) & (members.sum(dim=1) == 1)
