"""Small data sets that come with scikit-learn: no download."""

from __future__ import annotations

import numpy as np
import torch

from xaibench.data.arrays import ArraySource

__all__ = ["breast_cancer", "digits"]


def digits() -> ArraySource:
    """1,797 handwritten digits, 8x8 grey (Alpaydin and Kaynak, UCI, 1998), scaled from 0..16 to [0, 1]."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images.astype(np.float32) / 16)[:, None]
    labels = torch.from_numpy(raw.target.astype(np.int64))
    return ArraySource.divided("image", images, labels, tuple(map(str, range(10))))


def breast_cancer() -> ArraySource:
    """569 tumours, 30 measurements of cell nuclei in raw units (Street, Wolberg and Mangasarian, 1993)."""
    from sklearn.datasets import load_breast_cancer

    raw = load_breast_cancer()
    table = torch.from_numpy(raw.data.astype(np.float32))
    labels = torch.from_numpy(raw.target.astype(np.int64))
    return ArraySource.divided(
        "tabular", table, labels, tuple(map(str, raw.target_names)), tuple(map(str, raw.feature_names))
    )
