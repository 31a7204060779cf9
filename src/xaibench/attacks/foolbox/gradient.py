"""Gradient attacks of Foolbox: most search for the smallest perturbation that fools the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xaibench.attacks.base import attacks
from xaibench.attacks.foolbox.frame import Entry, FoolboxAttack
from xaibench.errors import InputError
from xaibench.types import Capability

__all__ = [
    "DDN",
    "EAD",
    "FMN",
    "BrendelBethge",
    "CarliniWagner",
    "DeepFool",
    "NewtonFool",
    "SparseL1Descent",
    "VirtualAdversarial",
]


@attacks.register("carlini_wagner")
@dataclass(frozen=True, kw_only=True)
class CarliniWagner(FoolboxAttack):
    """Least squared distance plus a constant times the margin, the constant by binary search.

    Carlini & Wagner, *Towards evaluating the robustness of neural networks* (S&P 2017). Each of the
    ``binary_search_steps`` takes all of its ``steps``: stopping early looks at the whole batch.
    """

    entry = Entry(
        by_norm={"l2": "L2CarliniWagnerAttack"}, renamed={"step_size": "stepsize"}, fixed={"abort_early": False}
    )

    binary_search_steps: int = 9
    steps: int = 200
    step_size: float = 0.05
    confidence: float = 0.0
    initial_const: float = 0.01


@attacks.register("deepfool")
@dataclass(frozen=True, kw_only=True)
class DeepFool(FoolboxAttack):
    """Steps to the nearest boundary of the linearised model, until one is crossed.

    Moosavi-Dezfooli et al., *DeepFool: a simple and accurate method to fool deep neural networks* (CVPR 2016).
    ``candidates`` is how many of the likeliest classes are considered, at least 2.
    """

    entry = Entry(by_norm={"l2": "L2DeepFoolAttack", "linf": "LinfDeepFoolAttack"})

    steps: int = 50
    candidates: int = 10
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates < 2:
            raise InputError(f"expected `candidates` >= 2, got {self.candidates}")


@attacks.register("ddn")
@dataclass(frozen=True, kw_only=True)
class DDN(FoolboxAttack):
    """Follows the gradient on a sphere that shrinks by ``gamma`` while the model is fooled and grows while it is not.

    Rony et al., *Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and defenses*
    (CVPR 2019).
    """

    entry = Entry(by_norm={"l2": "DDNAttack"})
    shares = ("gamma",)

    steps: int = 100
    init_epsilon: float = 1.0
    gamma: float = 0.05


@attacks.register("fmn")
@dataclass(frozen=True, kw_only=True)
class FMN(FoolboxAttack):
    """Follows the gradient in a ball whose radius follows the distance to the boundary, in any norm.

    Pintor et al., *Fast minimum-norm adversarial attacks through adaptive norm constraints* (NeurIPS 2021). Steps
    shrink from ``max_step_size`` to a hundredth of it.
    """

    entry = Entry(
        by_norm={"l0": "L0FMN", "l1": "L1FMN", "l2": "L2FMN", "linf": "LinfFMN"},
        renamed={"max_step_size": "max_stepsize"},
    )
    shares = ("gamma",)

    steps: int = 100
    max_step_size: float = 1.0
    gamma: float = 0.05


@attacks.register("ead")
@dataclass(frozen=True, kw_only=True)
class EAD(FoolboxAttack):
    """Elastic net: like `CarliniWagner`, with ``regularization`` times the L1 distance added, by iterative shrinkage.

    Chen et al., *EAD: elastic-net attacks to deep neural networks via adversarial examples* (AAAI 2018).
    ``decision_rule`` says which of the points found is the smallest.
    """

    entry = Entry(by_norm={"l1": "EADAttack"}, renamed={"step_size": "initial_stepsize"}, fixed={"abort_early": False})

    binary_search_steps: int = 9
    steps: int = 200
    step_size: float = 0.01
    confidence: float = 0.0
    initial_const: float = 0.01
    regularization: float = 0.01
    decision_rule: Literal["EN", "L1"] = "L1"


@attacks.register("newton_fool")
@dataclass(frozen=True, kw_only=True)
class NewtonFool(FoolboxAttack):
    """Lowers the probability of the label by Newton steps.

    Jang et al., *Objective metrics and gradient descent algorithms for adversarial examples in machine learning*
    (ACSAC 2017).
    """

    entry = Entry(by_norm={"l2": "NewtonFoolAttack"}, renamed={"step_size": "stepsize"})

    steps: int = 100
    step_size: float = 0.01


@attacks.register("virtual_adversarial")
@dataclass(frozen=True, kw_only=True)
class VirtualAdversarial(FoolboxAttack):
    """The direction in which the prediction diverges most, by power iteration from a random one; labels play no part.

    Miyato et al., *Distributional smoothing with virtual adversarial training* (ICLR 2016). ``xi`` is the length of
    the finite difference.
    """

    entry = Entry(by_norm={"l2": "PatientVirtualAdversarial"}, draws="alone")

    steps: int = 5
    xi: float = 0.01


@attacks.register("sparse_l1_descent")
@dataclass(frozen=True, kw_only=True)
class SparseL1Descent(FoolboxAttack):
    """Gradient steps along the features above a ``quantile`` of the gradient, projected onto the L1 ball.

    Tramèr & Boneh, *Adversarial training and robustness for multiple perturbations* (NeurIPS 2019). ``step_size`` is a
    share of the radius.
    """

    entry = Entry(by_norm={"l1": "EachSparseL1Descent"}, renamed={"step_size": "rel_stepsize"})
    shares = ("quantile",)

    steps: int = 20
    step_size: float = 0.2
    quantile: float = 0.95


@attacks.register("brendel_bethge")
@dataclass(frozen=True, kw_only=True)
class BrendelBethge(FoolboxAttack):
    """Walks along the boundary from a point that fools the model: each step the best one within a trust region.

    Brendel et al., *Accurate, reliable and fast robustness evaluation* (NeurIPS 2019). ``learning_rate`` sizes the
    trust region.
    """

    entry = Entry(
        by_norm={
            "l0": "EachL0BrendelBethge",
            "l1": "EachL1BrendelBethge",
            "l2": "EachL2BrendelBethge",
            "linf": "EachLinfBrendelBethge",
        },
        needs=(Capability.GRADIENTS, Capability.DETERMINISTIC),
        start="BlendedStart",
        renamed={"learning_rate": "lr"},
    )
    shares = ("momentum",)

    steps: int = 200
    learning_rate: float = 0.001
    momentum: float = 0.8
    binary_search_steps: int = 10
    overshoot: float = 1.1
