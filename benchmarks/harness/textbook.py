"""PGD-AT as others write it: two textbook loops, and the trainer of the Adversarial Robustness Toolbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PGD", "art_madry", "textbook"]


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent at Linf in [0, 1], with steps of 2.5 radii in all."""

    eps: float
    steps: int
    random_start: bool = True

    @property
    def size(self) -> float:
        """Length of a step."""
        return 2.5 * self.eps / self.steps


def textbook(net: nn.Module, pgd: PGD, *, backward: bool = False) -> Callable[[Tensor, Tensor], float]:
    """A step that returns its loss; with ``backward`` the attack computes gradients of the weights too."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def step(x: Tensor, y: Tensor) -> float:
        net.eval()
        point = (x + torch.empty_like(x).uniform_(-pgd.eps, pgd.eps)).clamp(0, 1) if pgd.random_start else x.clone()
        for _ in range(pgd.steps):
            point.requires_grad_()
            loss = F.cross_entropy(net(point), y, reduction="sum")
            if backward:
                loss.backward()
                gradient = point.grad
                assert gradient is not None
            else:
                (gradient,) = torch.autograd.grad(loss, point)
            point = point.detach() + pgd.size * gradient.sign()
            point = torch.min(torch.max(point, x - pgd.eps), x + pgd.eps).clamp(0, 1)
        net.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(net(point), y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def art_madry(net: nn.Module, pgd: PGD, shape: tuple[int, ...]) -> Callable[[Tensor, Tensor], float]:
    """A step of ART's Madry trainer; it does not tell its loss."""
    from art.defences.trainer import AdversarialTrainerMadryPGD
    from art.estimators.classification import PyTorchClassifier

    model = PyTorchClassifier(
        net,
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(net.parameters(), 1e-3),
        input_shape=shape,
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    trainer = AdversarialTrainerMadryPGD(
        model, nb_epochs=1, batch_size=128, eps=pgd.eps, eps_step=pgd.size, max_iter=pgd.steps, num_random_init=1
    )

    def step(x: Tensor, y: Tensor) -> float:
        trainer.fit(x.numpy(), y.numpy(), nb_epochs=1)
        return float("nan")

    return step
