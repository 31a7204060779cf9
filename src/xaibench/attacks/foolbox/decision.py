"""Attacks of Foolbox that need no gradients: they look at the model's decisions, one at its scores."""

from __future__ import annotations

from dataclasses import dataclass

from xaibench.attacks.base import attacks
from xaibench.attacks.foolbox.frame import Entry, FoolboxAttack
from xaibench.types import Capability

__all__ = ["Boundary", "GenAttack", "HopSkipJump", "Pointwise"]


@attacks.register("boundary")
@dataclass(frozen=True, kw_only=True)
class Boundary(FoolboxAttack):
    """A random walk along the decision boundary, ever closer to the input.

    Brendel et al., *Decision-based adversarial attacks: reliable attacks against black-box machine learning models*
    (ICLR 2018). All samples walk along the same random directions, and take all ``steps``: to stop early, Foolbox
    looks at the whole batch.
    """

    entry = Entry(
        by_norm={"l2": "BoundaryAttack"},
        needs=(Capability.DETERMINISTIC,),
        draws="shared",
        start="BlendedStart",
        fixed={"source_step_convergance": 0.0},
    )

    steps: int = 2000
    spherical_step: float = 0.01
    source_step: float = 0.01
    step_adaptation: float = 1.5


@attacks.register("hop_skip_jump")
@dataclass(frozen=True, kw_only=True)
class HopSkipJump(FoolboxAttack):
    """Gradient steps at the decision boundary, each gradient estimated from decisions around it.

    Chen et al., *HopSkipJumpAttack: a query-efficient decision-based attack* (S&P 2020). Step i of ``steps`` asks for
    ``initial_evaluations`` * sqrt(i) decisions, at most ``max_evaluations``, and holds as many copies of the batch.
    """

    entry = Entry(
        by_norm={"l2": "EachL2HopSkipJump", "linf": "EachLinfHopSkipJump"},
        needs=(Capability.DETERMINISTIC,),
        draws="inner",
        start="BlendedStart",
        renamed={
            "initial_evaluations": "initial_gradient_eval_steps",
            "max_evaluations": "max_gradient_eval_steps",
        },
    )

    steps: int = 32
    initial_evaluations: int = 100
    max_evaluations: int = 1000
    gamma: float = 1.0
    batch_size: int = 16


@attacks.register("pointwise")
@dataclass(frozen=True, kw_only=True)
class Pointwise(FoolboxAttack):
    """Starts from salt-and-pepper noise and sets feature after feature back, as long as the model stays fooled.

    Schott et al., *Towards the first adversarially robust neural network model on MNIST* (ICLR 2019). In other norms
    than L0 it then moves the rest towards the input. One sample at a time: the order of features is drawn for a batch.
    """

    entry = Entry(
        by_norm={"l0": "L0Pointwise", "l1": "LpPointwise", "l2": "LpPointwise"},
        needs=(Capability.DETERMINISTIC,),
        draws="alone",
        start="SaltAndPepperStart",
    )


@attacks.register("gen_attack")
@dataclass(frozen=True, kw_only=True)
class GenAttack(FoolboxAttack):
    """A population of perturbations that breed and mutate, aimed at the runner-up class by the model's scores.

    Alzantot et al., *GenAttack: practical black-box attacks with gradient-free optimization* (GECCO 2019). One sample
    at a time: Foolbox draws parents for a batch.
    """

    entry = Entry(by_norm={"linf": "SeededGenAttack"}, needs=(), draws="alone", targeted=True)
    shares = ("mutation_probability", "mutation_range")

    steps: int = 100
    population: int = 10
    mutation_probability: float = 0.1
    mutation_range: float = 0.15
    sampling_temperature: float = 0.3
