"""Distillation objectives against their formulas, written out in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError
from xaibench.rng import SampleRng
from xaibench.threats import Linf
from xaibench.training.objectives import Distillation, RobustDistillation
from xaibench.types import Bounds

TEACHER = torch.tensor([[1.0, -2.0], [0.5, 0.0], [-1.0, 3.0]])
STUDENT = torch.tensor([[0.2, 0.1], [-0.3, 0.4], [0.0, -0.5]])
X = torch.tensor([[0.3, -0.2], [1.0, 0.5], [-0.7, 0.1], [0.0, 0.9]])
Y = torch.tensor([0, 2, 1, 1])


def linear(weight: Tensor) -> TorchClassifier:
    module = nn.Linear(2, len(weight), bias=False)
    module.load_state_dict({"weight": weight})
    return TorchClassifier(module, task="tabular", bounds=(-9.0, 9.0), input_shape=(2,))


@dataclass
class Pass:
    """A `Forward` of the student, as far as distillation uses one."""

    classifier: TorchClassifier
    threat: Any = None
    bounds: Bounds = Bounds(-9.0, 9.0)  # noqa: RUF009  # frozen

    @property
    def rng(self) -> SampleRng:
        return SampleRng(torch.arange(4), 0, "objective")

    def __call__(self, x: Tensor) -> tuple[Tensor]:
        return (self.classifier.module(x),)

    def input_gradient(self, x: Tensor, loss: Any) -> Tensor:
        point = x.clone().requires_grad_()
        return torch.autograd.grad(loss(self(point)[0]), point)[0]


def taught(objective: Any, weight: Tensor = TEACHER) -> Any:
    """The objective with a teacher that is in no folder."""
    objective.__dict__["_teacher"] = linear(weight)
    return objective


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def expected(moved: Tensor, judged: Tensor, temperature: float, alpha: float) -> float:
    """``alpha T^2 mean KL(teacher(x) || student(moved)) + (1 - alpha) mean CE(student(judged), y)``."""
    told = softmax((X @ TEACHER.T).double().numpy() / temperature)
    own = softmax((moved @ STUDENT.T).double().numpy() / temperature)
    divergence = (told * (np.log(told) - np.log(own))).sum(1).mean()
    right = softmax((judged @ STUDENT.T).double().numpy())[np.arange(4), Y.numpy()]
    return float(alpha * temperature**2 * divergence - (1 - alpha) * np.log(right).mean())


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (4.0, 0.9), (2.5, 0.25), (3.0, 0.0)])
def test_distillation_is_the_formula(temperature: float, alpha: float) -> None:
    objective = taught(Distillation(teacher="t", temperature=temperature, alpha=alpha))
    forward: Any = Pass(linear(STUDENT))
    assert objective.perturb(forward, X, Y) is X
    found = objective.loss(forward, X, X, Y)
    assert float(found.loss.detach()) == pytest.approx(expected(X, X, temperature, alpha), rel=1e-5)
    torch.testing.assert_close(found.logits, X @ STUDENT.T)


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (4.0, 0.9), (2.5, 0.25)])
def test_robust_distillation_is_the_formula(temperature: float, alpha: float) -> None:
    objective = taught(RobustDistillation(teacher="t", temperature=temperature, alpha=alpha, steps=5))
    forward: Any = Pass(linear(STUDENT), Linf(0.1))
    moved = objective.perturb(forward, X, Y)
    assert (moved - X).abs().max() <= 0.1 + 1e-6
    told = nn.functional.cross_entropy
    assert told(moved @ STUDENT.T, Y) > told(X @ STUDENT.T, Y)
    found = objective.loss(forward, X, moved, Y)
    assert float(found.loss.detach()) == pytest.approx(expected(moved, X, temperature, alpha), rel=1e-5)
    torch.testing.assert_close(found.logits, moved @ STUDENT.T)


def test_the_gradient_keeps_its_size_at_high_temperatures() -> None:
    """Hinton et al., section 2.1: T^2 times the gradient tends to that of half the squared difference of logits."""
    sizes = []
    for temperature in (100.0, 1000.0):
        forward: Any = Pass(linear(STUDENT))
        taught(Distillation(teacher="t", temperature=temperature, alpha=1.0)).loss(forward, X, X, Y).loss.backward()
        sizes.append(forward.classifier.module.weight.grad)
    difference = X @ (STUDENT - TEACHER).T
    limit = (difference - difference.mean(1, keepdim=True)).T @ X / (3 * 4)
    torch.testing.assert_close(sizes[0], limit, rtol=0.05, atol=0.01)
    torch.testing.assert_close(sizes[1], limit, rtol=0.01, atol=1e-3)


def test_a_teacher_of_other_classes_is_refused() -> None:
    objective = taught(Distillation(teacher="t"), TEACHER[:2])
    forward: Any = Pass(linear(STUDENT))
    with pytest.raises(InputError, match=r"in 3 classes, got one of tabular inputs in 2"):
        objective.loss(forward, X, X, Y)
