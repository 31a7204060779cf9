"""Noise and simple changes of images, through Foolbox: the least that a model has to bear."""

from __future__ import annotations

from dataclasses import dataclass

from xaibench.attacks.base import attacks
from xaibench.attacks.foolbox.frame import ANY, Entry, FoolboxAttack

__all__ = [
    "BlendedNoise",
    "ContrastReduction",
    "ContrastSearch",
    "GaussianBlur",
    "GaussianNoise",
    "Inversion",
    "SaltAndPepper",
    "UniformNoise",
]


@attacks.register("gaussian_noise")
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(FoolboxAttack):
    """Gaussian noise on the sphere: the first of ``repeats`` draws that fools the model.

    Rauber & Bethge, *Fast differentiable clipping-aware normalization and rescaling* (2020): what the box cuts off is
    made up for by the other features.
    """

    entry = Entry(by_norm={"l2": "L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack"}, needs=())

    repeats: int = 100


@attacks.register("uniform_noise")
@dataclass(frozen=True, kw_only=True)
class UniformNoise(FoolboxAttack):
    """Uniform noise scaled to the surface of the ball: the first of ``repeats`` draws that fools the model.

    Rauber et al., *Foolbox: a Python toolbox to benchmark the robustness of machine learning models* (2017); in L2
    aware of clipping, like `GaussianNoise`.
    """

    entry = Entry(
        by_norm={"l2": "L2ClippingAwareRepeatedAdditiveUniformNoiseAttack", "linf": "LinfUniformNoise"}, needs=()
    )

    repeats: int = 100


@attacks.register("blended_noise")
@dataclass(frozen=True, kw_only=True)
class BlendedNoise(FoolboxAttack):
    """The least share of a uniformly random input, blended in, that fools the model.

    Rauber et al., *Foolbox: a Python toolbox to benchmark the robustness of machine learning models* (2017).
    ``directions`` bounds the draws of a random input of another class, ``steps`` are shares tried along the way.
    """

    entry = Entry(by_norm=dict.fromkeys(ANY, "LinearSearchBlendedUniformNoiseAttack"), needs=())

    directions: int = 1000
    steps: int = 100


@attacks.register("salt_and_pepper")
@dataclass(frozen=True, kw_only=True)
class SaltAndPepper(FoolboxAttack):
    """More and more features set to the ends of their range at random, until the model is fooled.

    Rauber et al., *Foolbox: a Python toolbox to benchmark the robustness of machine learning models* (2017). Of an
    image all channels of a pixel change, if ``across_channels``; the smallest change found in L2 is kept.
    """

    entry = Entry(by_norm=dict.fromkeys(("l0", "l1", "l2"), "SaltAndPepperNoiseAttack"), needs=())

    steps: int = 200
    across_channels: bool = True


@attacks.register("contrast_reduction")
@dataclass(frozen=True, kw_only=True)
class ContrastReduction(FoolboxAttack):
    """The whole radius towards an even grey of value ``target`` (0 is black, 1 is white).

    Rauber et al., *Foolbox Native* (JOSS 2020).
    """

    entry = Entry(by_norm={"l2": "L2ContrastReductionAttack"}, needs=())
    shares = ("target",)

    target: float = 0.5


@attacks.register("contrast_search")
@dataclass(frozen=True, kw_only=True)
class ContrastSearch(FoolboxAttack):
    """The least reduction of contrast that fools the model, by binary search towards a grey of value ``target``.

    Rauber et al., *Foolbox Native* (JOSS 2020).
    """

    entry = Entry(by_norm=dict.fromkeys(ANY, "BinarySearchContrastReductionAttack"), needs=())
    shares = ("target",)

    binary_search_steps: int = 15
    target: float = 0.5


@attacks.register("gaussian_blur")
@dataclass(frozen=True, kw_only=True)
class GaussianBlur(FoolboxAttack):
    """The first of ``steps`` ever wider Gaussian blurs of an image that fools the model.

    Rauber et al., *Foolbox: a Python toolbox to benchmark the robustness of machine learning models* (2017).
    """

    entry = Entry(by_norm=dict.fromkeys(ANY, "GaussianBlurAttack"), needs=())
    tasks = ("image",)

    steps: int = 100


@attacks.register("inversion")
@dataclass(frozen=True, kw_only=True)
class Inversion(FoolboxAttack):
    """The negative of the input, as far as the radius allows.

    Hosseini et al., *On the limitation of convolutional neural networks in recognizing negative images* (ICMLA 2017).
    """

    entry = Entry(by_norm=dict.fromkeys(ANY, "InversionAttack"), needs=())
