"""What attacks on text share: the checks of inputs and of successes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from xaibench.attacks.base import check_labels, wrong_task
from xaibench.errors import InputError
from xaibench.threats import Threat, Words, check_threat, contains
from xaibench.types import Capability, Classifier, Task, require

__all__ = ["TEXT", "TextMethod", "WordSearch", "attack_words"]

TEXT: tuple[Task, ...] = ("text",)
"""The tasks that these attacks exist for."""

WordSearch = Callable[[Tensor, Tensor, Words], Tensor]
"""From correctly classified texts (n, length), their classes (n,) and the fitted threat to candidates (n, length)."""


class TextMethod(Protocol):
    """What the frame asks of an attack."""

    name: ClassVar[str]

    @property
    def batch_size(self) -> int:
        """Texts to a pass of the model."""
        ...


def attack_words(
    method: TextMethod,
    search: WordSearch,
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    threat: Threat,
    needs: Sequence[Capability] = (),
) -> Tensor:
    """Run a search on the correctly classified texts, a batch at a time, and keep verified successes."""
    if model.task != "text":
        raise wrong_task(model.task)
    require(model, method.name, *needs)
    if not isinstance(threat, Words):
        raise InputError(f"expected a threat of words for text, got {threat.norm}")
    if x.ndim != 2 or x.is_floating_point() or not len(x):
        raise InputError(f"expected a batch of token ids (n, length), got {x.dtype} {tuple(x.shape)}")
    check_labels(model, x, y)
    check_threat(threat, model.bounds, x.shape[1:])
    x, y = x.detach().to(model.device, torch.int64), y.to(model.device)
    threat = threat.fit(model)
    result = x.clone()
    for rows in torch.arange(len(x), device=x.device).split(method.batch_size):
        rows = rows[model.predict(x[rows]) == y[rows]]  # noqa: PLW2901 - what is left to attack of this batch
        if not len(rows):
            continue
        found = search(x[rows], y[rows], threat)
        success = contains(threat, found, x[rows], model.bounds) & (model.predict(found) != y[rows])
        result[rows[success]] = found[success]
    return result
