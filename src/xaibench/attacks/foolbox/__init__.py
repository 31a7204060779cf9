"""Attacks that Foolbox 3.3 runs, behind the protocol, the checks and the random numbers that all attacks share.

Not taken over: its FGSM, PGD, BIM and MI-FGSM families, which are `fgsm` and `pgd` here; ``SpatialAttack``, which is
`spatial`; ``LinearSearchContrastReductionAttack``, which is `contrast_search` in equal steps; additive noise drawn
once, which is `gaussian_noise` and `uniform_noise` with ``repeats=1``; ``DatasetAttack``, which gives a sample the
other samples of its batch; ``BinarizationRefinementAttack``, which refines what another attack found on a model that
rounds its inputs at a threshold one has to know.
"""

from xaibench.attacks.foolbox.decision import Boundary, GenAttack, HopSkipJump, Pointwise
from xaibench.attacks.foolbox.gradient import (
    DDN,
    EAD,
    FMN,
    BrendelBethge,
    CarliniWagner,
    DeepFool,
    NewtonFool,
    SparseL1Descent,
    VirtualAdversarial,
)
from xaibench.attacks.foolbox.noise import (
    BlendedNoise,
    ContrastReduction,
    ContrastSearch,
    GaussianBlur,
    GaussianNoise,
    Inversion,
    SaltAndPepper,
    UniformNoise,
)

__all__ = [
    "DDN",
    "EAD",
    "FMN",
    "BlendedNoise",
    "Boundary",
    "BrendelBethge",
    "CarliniWagner",
    "ContrastReduction",
    "ContrastSearch",
    "DeepFool",
    "GaussianBlur",
    "GaussianNoise",
    "GenAttack",
    "HopSkipJump",
    "Inversion",
    "NewtonFool",
    "Pointwise",
    "SaltAndPepper",
    "SparseL1Descent",
    "UniformNoise",
    "VirtualAdversarial",
]
