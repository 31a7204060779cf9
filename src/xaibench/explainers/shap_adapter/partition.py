"""Owen values by SHAP's partition explainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.perturb import Game
from xaibench.explainers.players import Partition, Players, players_of
from xaibench.explainers.shap_adapter.guard import guarded
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["ShapPartition"]


@explainers.register("shap_partition")
@dataclass(frozen=True, kw_only=True)
class ShapPartition:
    """Owen values: Shapley values in which players join by clusters of neighbours, that are split from the top down.

    By SHAP (Lundberg & Lee, *A unified approach to interpreting model predictions*, NeurIPS 2017). Players that lie
    near each other are clustered (average linkage). Clusters with the largest effect are split first, until ``budget``
    evaluations are spent; players of a cluster that was not split share its value. The values add up to the change of
    the logit from the baseline. A player's value is shared out evenly among its elements. For ``players`` and
    ``segments`` see `Partition`.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    players: Partition = "auto"
    segments: int = 64
    budget: int = 1000

    def __post_init__(self) -> None:
        if self.budget < 4:
            raise InputError(f"expected `budget` >= 4 evaluations, got {self.budget}")

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        baseline = baseline_inputs(self.baseline, model, logit.x)
        game = Game(logit, players_of(self.players, self.segments, model, logit.x), baseline)
        values = torch.zeros(game.players.present.shape, dtype=torch.float64, device=logit.x.device)
        for row, count in enumerate(game.players.count.tolist()):
            values[row, :count] = self._owen(game, row, count).to(values.device)
        return logit.attribution(game.spread(values), seed=seed, baseline=baseline, change=game.change)

    def _owen(self, game: Game, row: int, count: int) -> Tensor:
        """Values (count,) of the players of one sample."""
        if count < 2:
            return game.change[row].expand(count)

        def score(there: np.ndarray) -> np.ndarray:
            coalitions = torch.zeros(len(there), game.players.most, dtype=torch.bool, device=game.change.device)
            coalitions[:, :count] = torch.from_numpy(np.asarray(there) > 0.5).to(coalitions.device)
            rows = torch.full((len(there),), row, device=coalitions.device)
            return game.value(rows, coalitions).cpu().numpy()

        with guarded(0) as shap:
            masker = shap.maskers.Partition(np.zeros((1, count)), clustering=_clusters(game.players, row, count))
            explainer = shap.PartitionExplainer(score, masker)
            found = explainer(np.ones((1, count)), max_evals=self.budget, silent=True)
        return torch.from_numpy(np.asarray(found.values, np.float64).reshape(count))


def _clusters(players: Players, row: int, count: int) -> Any:
    """Pairs of clusters as scipy writes them, by the distance between the players' centres."""
    from scipy.cluster.hierarchy import linkage

    index = players.index[row]
    index = index.reshape(-1, *index.shape[-2:]).amax(dim=0) if index.ndim > 2 else index
    place = (index >= 0).nonzero().cpu().numpy()
    owner = index[index >= 0].cpu().numpy()
    size = np.bincount(owner, minlength=count)
    centres = np.stack(
        [np.bincount(owner, weights=axis, minlength=count) / np.maximum(size, 1) for axis in place.T], axis=1
    )
    return linkage(centres, method="average")
