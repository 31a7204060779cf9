"""Labels as they come (indices or words) to class indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import InputError

__all__ = ["check_labels", "read_labels"]

_MAX_CLASSES = 100_000


def read_labels(raw: np.ndarray, class_names: Sequence[str] | None, where: str) -> tuple[Tensor, tuple[str, ...]]:
    """Class indices (n,) int64 and class names, from integers (taken as indices) or words.

    Without given names, integers are named by themselves, 0 to the largest, and words are their own names, sorted.
    """
    if raw.ndim != 1:
        raise InputError(f"expected one label a row in {where}, got labels of shape {raw.shape}")
    if raw.dtype.kind == "b":
        raw = raw.astype(str)
    if raw.dtype.kind in "UO":
        words = [str(word) for word in raw.tolist()]
        names = tuple(class_names) if class_names else tuple(sorted(set(words)))
        index = {name: i for i, name in enumerate(names)}
        unknown = next((word for word in words if word not in index), None)
        if unknown is not None:
            raise InputError(f"expected labels among {', '.join(names)} in {where}, got {unknown!r}")
        return torch.tensor([index[word] for word in words], dtype=torch.int64), names
    if raw.dtype.kind not in "iu":
        raise InputError(f"expected labels as integers or words in {where}, got {raw.dtype}")
    largest = int(raw.max()) if len(raw) else -1
    if largest >= _MAX_CLASSES:
        raise InputError(f"expected class indices below {_MAX_CLASSES} as labels in {where}, got {largest}")
    labels = torch.from_numpy(raw.astype(np.int64))
    if class_names is None:
        class_names = tuple(map(str, range(largest + 1)))
    check_labels(labels, len(class_names), where)
    return labels, tuple(class_names)


def check_labels(labels: Tensor, classes: int, where: str) -> None:
    """Refuse labels outside 0..classes - 1."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InputError(f"expected labels from 0 to {classes - 1} in {where}, got {int(wrong[0])}")
