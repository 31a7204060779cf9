"""What is to be explained, read and checked: the classes, and texts that have words at all."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers.base import Targets
from xaibench.types import Classifier

__all__ = ["check_pictures", "check_words", "padding_of", "read_targets"]

_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def read_targets(targets: Targets, n: int, classes: int) -> Tensor:
    """Classes (n,), int64: one number for all samples, or one for each, as a tensor, an array or a list.

    Raises `InputError` for what is not one of ``classes``.
    """
    try:
        found = targets if isinstance(targets, Tensor) else torch.as_tensor(np.asarray(targets))
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"expected targets as one class or {n} class indices, got {_shown(targets)}") from None
    if found.dtype not in _WHOLE or tuple(found.shape) not in ((), (n,)):
        raise InputError(f"expected targets as one class or {n} class indices, got {_shown(targets)}")
    if found.numel() and (int(found.min()) < 0 or int(found.max()) >= classes):
        raise InputError(f"expected targets in 0..{classes - 1}, got {int(found.min())}..{int(found.max())}")
    return found.to(torch.int64).expand(n).clone()


def check_pictures(method: str, x: Tensor) -> None:
    """Raise `UnsupportedError` for inputs of a model of images that have no height and width, such as signals."""
    if x.ndim != 4:
        raise UnsupportedError(f"{method} needs images (n, channels, height, width), got {tuple(x.shape)}")


def check_words(model: Classifier, x: Tensor) -> None:
    """Raise `InputError` for token ids (n, length) of which a row is padding alone: there is nothing to explain."""
    empty = (x == padding_of(model)).all(dim=1).nonzero().flatten().tolist()
    if empty:
        raise InputError(f"expected texts with words, got none in text {empty[0]} of {len(x)}: nothing to explain")


def padding_of(model: Classifier) -> int:
    """The token id that pads texts; 0 where the model does not say."""
    try:
        return model.vocabulary.padding
    except UnsupportedError:
        return 0


def _shown(targets: object) -> str:
    if isinstance(targets, Tensor | np.ndarray):
        return f"{targets.dtype} {tuple(targets.shape)}"
    return repr(targets) if len(repr(targets)) <= 60 else f"{repr(targets)[:60]}..."
