"""Maps of a layer: samples as points of a plane, near where the model sees them alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.examples import layer_features
from xaibench.rng import check_seed
from xaibench.types import Classifier, Inputs

__all__ = ["EmbeddingMap", "embedding_map"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingMap:
    """n samples in the plane, and m others, such as attacked ones, in the same one."""

    points: Tensor
    """(n, 2), float64."""
    others: Tensor | None
    """(m, 2), float64; None where none were given."""
    trustworthiness: float
    """Share, from 0 to 1, of the neighbourhoods of the map that are those of the layer: what lies near in the plane,
    but far in the layer, costs (Venna & Kaski, *Neighborhood preservation in nonlinear projection methods: an
    experimental study*, ICANN 2001)."""
    neighbours: int
    """The size of the neighbourhoods that this was measured with."""
    explained: Tensor | None
    """(2,), float64: the shares of the variance along both axes, for PCA."""
    method: Literal["pca", "tsne"]
    layer: str | None
    """None: what enters the last dense layer."""


def embedding_map(
    model: Classifier,
    inputs: Inputs,
    others: Inputs | None = None,
    *,
    layer: str | None = None,
    method: Literal["pca", "tsne"] = "pca",
    perplexity: float | None = None,
    neighbours: int | None = None,
    seed: int = 0,
) -> EmbeddingMap:
    """Samples (n, ...), and others (m, ...) such as their attacked versions, in one plane, by a layer's output.

    The axes of ``pca`` are those along which ``inputs`` vary most (Pearson, 1901), each pointing where its largest
    weight is positive; the others are projected onto them. ``tsne`` (van der Maaten & Hinton, *Visualizing data using
    t-SNE*, JMLR 2008) lays out all samples together, from PCA as its start; its distances between groups and its group
    sizes mean nothing, and ``seed`` plays no part but in ties. ``neighbours`` are 10 and ``perplexity`` is 30 unless
    given, or fewer where there are few samples: just under half and a third of them. See `layer_features` for layers.

    Raises `InputError` for fewer than 4 samples, or neighbourhoods or perplexities that these cannot fill.

    >>> from xaibench import load_data, load_model
    >>> digits = load_data("digits", "test", n=60).inputs
    >>> found = embedding_map(load_model("digits-cnn"), digits, digits.flip(3))
    >>> found.points.shape, found.others.shape, found.trustworthiness > 0.5
    (torch.Size([60, 2]), torch.Size([60, 2]), True)
    """
    from sklearn.manifold import trustworthiness

    rows = layer_features(model, inputs, layer).double()
    more = rows[:0] if others is None else layer_features(model, others, layer).double()
    both = torch.cat([rows, more]).cpu()
    n, total = len(rows), len(both)
    if method not in ("pca", "tsne"):
        raise InputError(f"expected method 'pca' or 'tsne', got {method!r}")
    if n < 4 or both.shape[1] < 2:
        raise InputError(f"expected at least 4 samples of at least 2 features, got {n} of {both.shape[1]}")
    check_seed(seed)
    neighbours = min(10, (total - 1) // 2) if neighbours is None else neighbours
    perplexity = min(30.0, (total - 1) / 3) if perplexity is None else perplexity
    if not 1 <= neighbours < total / 2:
        raise InputError(f"expected 1 <= neighbours < {total / 2:g}, half of the samples, got {neighbours}")
    explained: Tensor | None = None
    if method == "pca":
        flat, explained = _pca(both[:n], both)
    else:
        if not 0 < perplexity < total:
            raise InputError(f"expected 0 < perplexity < {total}, the samples, got {perplexity:g}")
        flat = _tsne(both, perplexity, seed)
    return EmbeddingMap(
        points=flat[:n],
        others=None if others is None else flat[n:],
        trustworthiness=float(trustworthiness(both.numpy(), flat.numpy(), n_neighbors=neighbours)),
        neighbours=neighbours,
        explained=explained,
        method=method,
        layer=layer,
    )


def _pca(fitted: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (m, d) along the first two principal axes of others, and the shares of variance of these axes."""
    centre = fitted.mean(dim=0)
    _, spread, axes = torch.linalg.svd(fitted - centre, full_matrices=False)
    axes = axes[:2]
    sign = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    share = spread.square() / spread.square().sum().clamp_min(1e-300)
    return (rows - centre) @ (axes * sign).T, share[:2]


def _tsne(rows: Tensor, perplexity: float, seed: int) -> Tensor:
    from sklearn.manifold import TSNE

    start, _ = _pca(rows, rows)
    scale = start[:, 0].std().clamp_min(1e-300)
    # The usual size of the start: small, so that the layout is free to unfold.
    method = TSNE(
        perplexity=perplexity, init=(1e-4 * start / scale).float().numpy(), learning_rate="auto", random_state=seed
    )
    return torch.from_numpy(method.fit_transform(rows.float().numpy())).double()
