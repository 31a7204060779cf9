"""The parts of one input that a reader can take away: regions of a picture, words, features."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.explainers.baselines import BaselineName
    from xaibench.types import Classifier

__all__ = ["Parts", "parts_of"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parts of ``x`` (1, ...) by name; ``index``, broadcastable to it, numbers them from 0, with -1 for none.

    ``blank`` (1, ...) is what stands in the place of those that are taken away.
    """

    x: Tensor
    blank: Tensor
    index: Tensor
    names: tuple[str, ...]

    def without(self, removed: Collection[int]) -> Tensor:
        """The input (1, ...) with the blank in the place of some parts."""
        import torch

        gone = torch.isin(self.index, torch.tensor(sorted(removed), dtype=torch.int64)) & (self.index >= 0)
        return torch.where(gone.expand(self.x.shape), self.blank, self.x)

    def sums(self, values: Tensor) -> list[float]:
        """What attributions (1, ...) of the input's elements come to in each part."""
        return [float(values[(self.index == part).expand(values.shape)].sum()) for part in range(len(self.names))]

    def by_importance(self, values: Tensor) -> list[int]:
        """The parts by what attributions (1, ...) give them, the largest first."""
        sums = self.sums(values)
        return sorted(range(len(sums)), key=lambda part: -sums[part])

    def until_changed(self, model: Classifier, order: Collection[int], removed: Collection[int]) -> tuple[int, ...]:
        """``removed``, and as many more in this order as it takes to change the prediction; all where none do."""
        gone, now = list(removed), int(model.predict(self.x))
        for part in order:
            if gone and int(model.predict(self.without(gone))) != now:
                break
            if part not in gone:
                gone.append(part)
        return tuple(gone)


def parts_of(model: Classifier, x: Tensor, *, cut: str, segments: int, fill: BaselineName) -> Parts:
    """The parts of an input (1, ...): ``cut`` is ``superpixels`` or ``grid`` for images, and counts for them alone."""
    from xaibench.explainers.baselines import baseline_inputs
    from xaibench.explainers.players import players_of

    players = players_of("grid" if model.task == "image" and cut == "grid" else "auto", segments, model, x)
    count = int(players.count[0])
    if model.task == "text":
        words = model.tokens(x)[0]
        names = [words[place] or "·" for place in (players.index[0] >= 0).nonzero().flatten().tolist()]
    else:
        names = [str(place + 1) for place in range(count)]
    return Parts(x=x, blank=baseline_inputs(fill, model, x), index=players.index, names=tuple(names))
