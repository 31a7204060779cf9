"""Adversarial attacks: given a threat model, the inputs that a classifier gets wrong."""

from xaibench.attacks import foolbox
from xaibench.attacks.apgd import APGDCE, APGDDLR, APGDT
from xaibench.attacks.base import Attack, attacks
from xaibench.attacks.fab import FAB, FABT
from xaibench.attacks.gradient import FGSM, PGD
from xaibench.attacks.spatial import SpatialSearch
from xaibench.attacks.square import Square
from xaibench.attacks.text import CharacterEdits, HotFlip, WordInsertion, WordSubstitution
from xaibench.attacks.transfer import Transfer

__all__ = [
    "APGDCE",
    "APGDDLR",
    "APGDT",
    "FAB",
    "FABT",
    "FGSM",
    "PGD",
    "Attack",
    "CharacterEdits",
    "HotFlip",
    "SpatialSearch",
    "Square",
    "Transfer",
    "WordInsertion",
    "WordSubstitution",
    "attacks",
    "foolbox",
]
