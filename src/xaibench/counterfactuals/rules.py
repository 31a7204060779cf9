"""Which changes of a row are allowed: features that stay, directions, whole numbers, one-hot groups, limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.errors import InputError, unknown_name
from xaibench.threats import Constrained, Linf
from xaibench.types import Bounds

__all__ = ["Feature", "Rules"]

Feature = int | str
"""A feature of a table by index or by name."""


@dataclass(frozen=True)
class Rules:
    """Rules of a table by index of the feature; see `counterfactual` for what they mean."""

    immutable: tuple[int, ...]
    increasing: tuple[int, ...]
    decreasing: tuple[int, ...]
    integer: tuple[int, ...]
    one_hot: tuple[tuple[int, ...], ...]
    bounds: Bounds
    """The box, narrowed."""

    @classmethod
    def read(
        cls,
        names: Sequence[str],
        bounds: Bounds,
        *,
        immutable: Sequence[Feature] = (),
        increasing: Sequence[Feature] = (),
        decreasing: Sequence[Feature] = (),
        integer: Sequence[Feature] = (),
        one_hot: Sequence[Sequence[Feature]] = (),
        lower: Mapping[Feature, float] | None = None,
        upper: Mapping[Feature, float] | None = None,
    ) -> Rules:
        """Read features by name or index; what is not there, or cannot hold together, raises `InputError`."""

        def at(feature: Feature) -> int:
            if isinstance(feature, str):
                if feature not in names:
                    raise unknown_name("feature", feature, names)
                return list(names).index(feature)
            if isinstance(feature, bool) or not 0 <= feature < len(names):
                raise InputError(f"expected features in 0..{len(names) - 1}, got {feature!r}")
            return int(feature)

        def limits(given: Mapping[Feature, float] | None) -> tuple[float | None, ...]:
            known = {at(feature): float(value) for feature, value in (given or {}).items()}
            return tuple(known.get(index) for index in range(len(names)))

        low, high = (side.expand(len(names)).tolist() for side in bounds.tensors(torch.zeros(1, dtype=torch.float64)))
        low = [max(own, a) if a is not None else own for own, a in zip(low, limits(lower), strict=True)]
        high = [min(own, b) if b is not None else own for own, b in zip(high, limits(upper), strict=True)]
        for name, least, most in zip(names, low, high, strict=True):
            if not least < most:
                raise InputError(f"expected lower < upper for feature {name!r}, got {least:g} and {most:g}")
        rules = cls(
            tuple(map(at, immutable)),
            tuple(map(at, increasing)),
            tuple(map(at, decreasing)),
            tuple(map(at, integer)),
            tuple(tuple(map(at, group)) for group in one_hot),
            Bounds(tuple(low), tuple(high)),
        )
        if still := {*rules.increasing} & {*rules.decreasing}:
            name = names[min(still)]
            raise InputError(f"expected features to be increasing, decreasing or immutable, got {name!r} as both")
        members = {index for group in rules.one_hot for index in group}
        if both := members & {*rules.increasing, *rules.decreasing, *rules.immutable}:
            raise InputError(f"expected whole groups to stay or to move, got a rule for {names[min(both)]!r} alone")
        rules._constraint()
        return rules

    @property
    def discrete(self) -> tuple[int, ...]:
        """Features whose values are counted rather than measured."""
        return (*self.integer, *(index for group in self.one_hot for index in group))

    def _constraint(self) -> Constrained:
        """The rules that a threat knows, of any size."""
        return Constrained(Linf(1e30), immutable=self.immutable, integer=self.integer, one_hot=self.one_hot)

    def limits(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The least and largest values (n, features) that each row may take; clean values outside the box may stay."""
        low, high = (side.expand_as(clean).clone() for side in self.bounds.tensors(clean))
        low, high = torch.minimum(low, clean), torch.maximum(high, clean)
        for index in (*self.immutable, *self.increasing):
            low[:, index] = clean[:, index]
        for index in (*self.immutable, *self.decreasing):
            high[:, index] = clean[:, index]
        return low, high

    def check(self, clean: Tensor) -> None:
        """Raise `InputError` for clean rows (n, features) whose own whole numbers or groups are not valid."""
        self._constraint().contains(clean, clean, self.bounds)

    def keep(self, x: Tensor, clean: Tensor) -> Tensor:
        """Whether each of ``x`` (n, features) keeps the rules: bool (n,)."""
        low, high = self.limits(clean)
        boxed = ((x >= low) & (x <= high)).all(dim=1)
        return boxed & self._constraint().contains(x, clean, self.bounds)

    def steps_back(self, x: Tensor, clean: Tensor) -> Iterator[Tensor]:
        """``x`` (n, features) with one whole number a step nearer to its clean value, or one group back at it."""
        for index in self.integer:
            nearer = x.clone()
            nearer[:, index] -= (x[:, index] - clean[:, index]).sign()
            yield nearer
        for group in self.one_hot:
            nearer = x.clone()
            nearer[:, list(group)] = clean[:, list(group)]
            yield nearer

    def changed(self, x: Tensor, clean: Tensor) -> Tensor:
        """How many features (n,), int64, differ; a one-hot group counts as one."""
        differs = x != clean
        groups = [differs[:, list(group)] for group in self.one_hot]
        return differs.sum(dim=1) - sum((part.sum(dim=1) - part.any(dim=1).long() for part in groups), start=0)
