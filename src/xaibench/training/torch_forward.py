"""One batch of one training step, as an objective sees a torch module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xaibench.rng import SampleRng
from xaibench.threats import Threat
from xaibench.training.learner import given
from xaibench.types import Bounds, Classifier

if TYPE_CHECKING:
    from xaibench.training.torch_learner import TorchLearner

__all__ = ["TorchForward"]


@dataclass
class TorchForward:
    """`Forward` over a learner's module, for one process's ``part`` of a batch."""

    learner: TorchLearner
    rng: SampleRng
    progress: float
    given_threat: Threat | None
    part: float

    def __post_init__(self) -> None:
        self.ascended = ExitStack()
        """What brings ascended weights back when the batch is over."""

    @property
    def bounds(self) -> Bounds:
        return self.learner.bounds

    @property
    def threat(self) -> Threat:
        return given(self.given_threat)

    @property
    def memory(self) -> MutableMapping[str, Tensor]:
        return self.learner._memory

    @property
    def classifier(self) -> Classifier:
        return self.learner.classifier

    def __call__(self, x: Tensor, *, shift: Tensor | None = None) -> tuple[Tensor, ...]:
        self.learner._resume_training()
        return self.learner._forward(x, shift)

    @torch.no_grad()
    def evaluate(self, x: Tensor) -> Tensor:
        self.learner._attack_mode()
        return self.learner._forward(x)[0]

    @torch.no_grad()
    def embed(self, x: Tensor) -> Tensor:
        return self.learner._shift.embeddings(x)

    def input_gradient(
        self,
        x: Tensor,
        loss: Callable[[Tensor], Tensor],
        *,
        shift: Tensor | None = None,
        differentiable: bool = False,
    ) -> Tensor:
        point = (x if shift is None else shift).detach().requires_grad_()
        self.learner._attack_mode()
        logits = self.learner._forward(point if shift is None else x, None if shift is None else point)[0]
        scale = self.learner._attack_scale
        (gradient,) = torch.autograd.grad(loss(logits) * scale, point, create_graph=differentiable)
        return gradient / scale if scale != 1 else gradient

    def ascend_weights(self, loss: Callable[[], Tensor], gamma: float) -> None:
        moving = [p for p in self.learner._module.parameters() if p.requires_grad and p.ndim >= 2]
        with _kept(self.learner._module.buffers()):  # batch norm learns from the pass at the moved weights alone
            # The scale keeps small gradients from vanishing in half precision; below, only their direction counts.
            scaled = loss() * self.part * self.learner._attack_scale
            found = torch.autograd.grad(scaled, moving, allow_unused=True)
        gradients = {p: gradient for p, gradient in zip(moving, found, strict=True) if gradient is not None}
        self.learner._processes.add_up(gradients.values())  # the weights move alike in all processes
        with torch.no_grad():
            for parameter, gradient in gradients.items():
                step = gradient * (gamma * parameter.norm() / gradient.norm().clamp_min(1e-12))
                self.ascended.callback(_restore, parameter, parameter.clone())
                parameter.add_(step)


@contextmanager
def _kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    """The values of these tensors before the block come back after it."""
    before = [(tensor, tensor.clone()) for tensor in tensors]
    try:
        yield
    finally:
        for tensor, value in before:
            _restore(tensor, value)


@torch.no_grad()
def _restore(parameter: Tensor, value: Tensor) -> None:
    parameter.copy_(value)
