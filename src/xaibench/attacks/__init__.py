"""Adversarial attacks: given a threat model, the inputs that a classifier gets wrong."""

from xaibench.attacks.base import Attack, attacks
from xaibench.attacks.gradient import FGSM, PGD

__all__ = ["FGSM", "PGD", "Attack", "attacks"]
