"""How far attributions moved between two versions of the same inputs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xaibench.metrics import centre_shift, rank_correlation, structural_similarity, top_k_overlap

__all__ = ["Movement", "moved"]


@dataclass(frozen=True, kw_only=True)
class Movement:
    """Figures per sample, (n,), float64, of what became of its attribution."""

    rank_correlation: Tensor
    """Spearman's, of all values with their signs: 1 where their order stayed."""
    top_k_overlap: Tensor
    """Share of the places that counted most that still do: 1 where they are the same."""
    centre_shift: Tensor | None = None
    """How far the centre of mass went, as a share of the image's diagonal; None where values have no place."""
    similarity: Tensor | None = None
    """Structural similarity: 1 where the picture stayed; None where values have no place."""

    def figures(self) -> dict[str, Tensor]:
        """Those that there are, by name."""
        named = {
            "rank_correlation": self.rank_correlation,
            "top_k_overlap": self.top_k_overlap,
            "centre_shift": self.centre_shift,
            "similarity": self.similarity,
        }
        return {name: value for name, value in named.items() if value is not None}


def moved(before: Tensor, after: Tensor, *, share: float = 0.1, where: Tensor | None = None) -> Movement:
    """What became of attributions (n, ...): those of images have places as well, (n, channels, height, width).

    ``share`` is that of the places that count as the top; of texts and tables only values at ``where`` (n, ...), bool,
    count. Raises `InputError` for shapes that differ.

    >>> import torch
    >>> moved(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0]])).top_k_overlap
    tensor([0.], dtype=torch.float64)
    """
    image = before.ndim == 4
    ranks = rank_correlation(before, after, where)
    # A map without any order has a rank correlation of 0, also where it stayed.
    stayed = (before == after).flatten(1).all(dim=1)
    return Movement(
        rank_correlation=ranks.masked_fill(stayed, 1.0),
        top_k_overlap=top_k_overlap(before, after, share, where),
        centre_shift=centre_shift(before, after) if image else None,
        similarity=structural_similarity(before, after) if image else None,
    )
