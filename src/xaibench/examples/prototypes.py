"""A few samples that stand for a data set, and those that they represent badly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.examples.features import layer_features, read_samples
from xaibench.examples.neighbours import Distance, distances
from xaibench.types import Classifier, Inputs

__all__ = ["Prototypes", "k_medoids", "mmd_critic", "prototypes"]

_MOST = 5000
_JITTER = 1e-9


@dataclass(frozen=True, kw_only=True)
class Prototypes:
    """Positions in the data of samples that stand for it."""

    index: Tensor
    """(count,), int64, in the order in which they were chosen."""
    criticisms: Tensor
    """(criticisms,), int64: samples that the prototypes represent badly; empty unless asked for."""
    nearest: Tensor
    """(m,), int64: for each sample of the data, which of the prototypes (0..count-1) is nearest."""
    objective: float
    """What was made small: the mean distance to the nearest medoid, or the squared maximum mean discrepancy."""
    method: str
    layer: str | None


def prototypes(
    model: Classifier,
    data: Data | Inputs,
    *,
    count: int,
    criticisms: int = 0,
    method: Literal["mmd_critic", "k_medoids"] = "mmd_critic",
    metric: Distance = "euclidean",
    layer: str | None = None,
) -> Prototypes:
    """``count`` prototypes of ``data`` (m, ...) in the features of a layer (see `layer_features`).

    ``mmd_critic`` is Kim et al., *Examples are not enough, learn to criticize! Criticism for interpretability*
    (NeurIPS 2016), with a Gaussian kernel whose width is the median distance; see `mmd_critic`. ``k_medoids`` is
    Kaufman & Rousseeuw, *Clustering by means of medoids* (1987); see `k_medoids`. For the prototypes of a class, give
    its rows alone.

    Raises `InputError` unless 1 <= count, 0 <= criticisms, and both fit the data, of at most 5,000 samples;
    criticisms are defined for ``mmd_critic`` alone.

    >>> from xaibench import load_data, load_model
    >>> found = prototypes(load_model("digits-cnn"), load_data("digits", n=60), count=4, criticisms=2)
    >>> len(found.index), len(found.criticisms), len(found.nearest)
    (4, 2, 60)
    """
    x, _ = read_samples(model, data)
    if len(x) > _MOST:
        raise InputError(f"expected at most {_MOST} samples to choose from, got {len(x)}: take a part of them")
    if count < 1 or criticisms < 0 or count + criticisms > len(x):
        raise InputError(
            f"expected count >= 1 and criticisms >= 0, together at most {len(x)}, got {count} and {criticisms}"
        )
    rows = layer_features(model, x, layer)
    apart = distances(rows, rows, metric)
    if method == "mmd_critic":
        kernel = gaussian_kernel(apart)
        index, critics, objective = mmd_critic(kernel, count, criticisms)
    elif method == "k_medoids":
        if criticisms:
            raise InputError(f"expected no criticisms with k_medoids, got {criticisms}: mmd_critic has them")
        (index, objective), critics = k_medoids(apart, count), torch.empty(0, dtype=torch.int64)
    else:
        raise InputError(f"expected method 'mmd_critic' or 'k_medoids', got {method!r}")
    return Prototypes(
        index=index,
        criticisms=critics.to(index.device),
        nearest=apart[:, index].argmin(dim=1),
        objective=objective,
        method=method,
        layer=layer,
    )


def gaussian_kernel(distance: Tensor) -> Tensor:
    """exp(-(d / width) ** 2 / 2) of distances (m, m), the width their median over pairs of different samples."""
    pairs = distance[~torch.eye(len(distance), dtype=torch.bool, device=distance.device)]
    positive = pairs[pairs > 0]
    width = positive.median() if len(positive) else distance.new_tensor(1.0)
    return torch.exp(-(distance / width).square() / 2)


def mmd_critic(kernel: Tensor, count: int, criticisms: int = 0) -> tuple[Tensor, Tensor, float]:
    """Prototypes (count,), criticisms (criticisms,) and the squared maximum mean discrepancy, by a kernel (m, m).

    Prototypes are added one by one, each the one that brings their distribution nearest to that of the data. Criticisms
    are then the samples at which the two differ most (the witness function), kept apart by the log-determinant of their
    kernel: Kim et al., *Examples are not enough, learn to criticize!* (NeurIPS 2016), algorithms 1 and 2.

    >>> x = torch.tensor([0.0, 0.1, 0.2, 5.0, 9.0, 9.1, 9.2])
    >>> kernel = torch.exp(-(x[:, None] - x[None]).square().double())
    >>> [chosen.tolist() for chosen in mmd_critic(kernel, 2, 1)[:2]]
    [[5, 1], [3]]
    """
    kernel = kernel.double()
    m, mean = len(kernel), kernel.mean(dim=1)
    chosen: list[int] = []
    within, with_chosen, at_chosen = 0.0, torch.zeros_like(mean), 0.0
    for size in range(1, count + 1):
        inner = (within + 2 * with_chosen + kernel.diagonal()) / size**2
        gain = 2 * (at_chosen + mean) / size - inner
        gain[chosen] = -torch.inf
        best = int(gain.argmax())
        within += float(2 * with_chosen[best] + kernel[best, best])
        at_chosen += float(mean[best])
        with_chosen = with_chosen + kernel[best]
        chosen.append(best)
    discrepancy = float(mean.mean()) - 2 * at_chosen / count + within / count**2
    witness = (mean - with_chosen / count).abs()
    critics = _criticisms(kernel, witness, taken=chosen, count=criticisms)
    index = torch.tensor(chosen, device=kernel.device)
    return index, torch.tensor(critics, dtype=torch.int64, device=kernel.device), max(0.0, discrepancy if m else 0.0)


def _criticisms(kernel: Tensor, witness: Tensor, *, taken: list[int], count: int) -> list[int]:
    """Greedily the largest sum of witness values plus the log-determinant of the kernel of the chosen."""
    chosen: list[int] = []
    # What is left of each sample's own kernel once the chosen ones are projected out: a pivoted Cholesky factor.
    left, factor = kernel.diagonal().clone(), kernel.new_zeros(len(kernel), max(1, count))
    for step in range(count):
        value = witness + left.clamp_min(_JITTER).log()
        value[[*taken, *chosen]] = -torch.inf
        best = int(value.argmax())
        column = kernel[best] - factor[:, :step] @ factor[best, :step]
        factor[:, step] = column / left[best].clamp_min(_JITTER).sqrt()
        left = left - factor[:, step].square()
        chosen.append(best)
    return chosen


def k_medoids(distance: Tensor, count: int) -> tuple[Tensor, float]:
    """Medoids (count,) by distances (m, m), and the mean distance of a sample to its nearest medoid.

    Kaufman & Rousseeuw, *Clustering by means of medoids* (1987): medoids are added greedily, then exchanged for other
    samples, the best exchange first, until none helps. That is a local optimum. All exchanges of a round are weighed at
    once, after Schubert & Rousseeuw, *Faster k-medoids clustering* (SISAP 2019).

    >>> x = torch.tensor([0.0, 0.1, 0.2, 9.0, 9.1, 9.2])
    >>> k_medoids((x[:, None] - x[None]).abs(), 2)[0].sort().values.tolist()
    [1, 4]
    """
    distance = distance.double()
    medoids = [int(distance.sum(dim=0).argmin())]
    while len(medoids) < count:
        nearest = distance[:, medoids].amin(dim=1, keepdim=True)
        total = torch.minimum(distance, nearest).sum(dim=0)
        total[medoids] = torch.inf
        medoids.append(int(total.argmin()))
    while True:
        change, place, candidate = _best_exchange(distance, medoids)
        if change >= -1e-12 * float(distance.sum()):
            break
        medoids[place] = candidate
    index = torch.tensor(medoids, device=distance.device)
    return index, float(distance[:, index].amin(dim=1).mean())


def _best_exchange(distance: Tensor, medoids: list[int]) -> tuple[float, int, int]:
    """The change of the summed distance by the best exchange, the place in ``medoids``, and what goes there."""
    near, order = distance[:, medoids].sort(dim=1)
    first = near[:, :1]
    second = near[:, 1:2] if len(medoids) > 1 else torch.full_like(first, torch.inf)
    owner = order[:, 0]
    # A sample of another medoid gains what the candidate is nearer; one of the removed medoid falls to the next best.
    others = (torch.minimum(distance, first) - first).sum(dim=0)
    own = torch.minimum(distance, second) - torch.minimum(distance, first)
    lost = distance.new_zeros(len(medoids), len(distance)).index_add_(0, owner, own)
    change = others + lost
    change[:, medoids] = torch.inf
    best = int(change.argmin())
    place, candidate = divmod(best, len(distance))
    return float(change[place, candidate]), place, candidate
