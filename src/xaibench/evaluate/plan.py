"""What is to be measured: the whole input of an evaluation, as data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from xaibench.card import Strict, first_problem
from xaibench.errors import InputError, unknown_name
from xaibench.evaluate.options import ModelOptions
from xaibench.registry import Spec

__all__ = ["Plan"]


class Plan(Strict):
    """One evaluation of one classifier; two runs of the same plan give the same numbers.

    Fields left at None are settled when the model is known: see `xaibench.evaluate.settle`. Bad values raise
    `InputError`.

    >>> plan = Plan(model="digits-cnn", eps=0.1, attacks=("fgsm", "pgd:steps=40"))
    >>> Plan(**plan.model_dump()) == plan
    True
    """

    model: str = Field(min_length=1, description="name, folder, weights file or module:factory of the classifier")
    weights: str | None = Field(default=None, description="weights file for a model given as module:factory")
    options: ModelOptions = Field(
        default=ModelOptions(), description="how to read a model that is neither a model folder nor a classifier"
    )
    given: tuple[Literal["data", "model"], ...] = Field(
        default=(), description="what was passed to `run` as an object, and is only named here"
    )
    data: str | None = Field(default=None, description="name or path of the data; None: what the model was trained on")
    split: str = Field(default="test", min_length=1, description="split of the data")
    n: int = Field(default=200, ge=1, description="number of samples, a seeded selection of the split")
    seed: int = Field(default=0, ge=0, description="seed of the selection of samples and of every attack")
    norm: Literal["linf", "l2", "l1", "l0", "words"] = Field(
        default="linf", description="norm of the threat model; for text always words"
    )
    eps: float | None = Field(
        default=None,
        gt=0,
        description="radius of the threat model: input units, fractions of each feature's range for tables, or a"
        " number of features for l0 and of words for text; None: customary for the data",
    )
    curve: tuple[float, ...] | None = Field(
        default=None, description="radii of the robust accuracy curve; 0 and eps are always among them"
    )
    attacks: tuple[str, ...] = Field(
        default=("fgsm", "pgd", "verdict"),
        description="attacks and ensembles of them as specs, the last is the main one; of the default, those that exist"
        " for the task",
    )
    proofs: int = Field(
        default=100,
        ge=0,
        description="number of samples, of those that no attack broke, that linear bounds try to prove",
    )
    checks: bool = Field(default=True, description="whether self-checks of the robustness numbers are made")
    thorough: bool = Field(default=False, description="whether the costly self-checks are made as well")
    minimal: int | None = Field(
        default=None,
        ge=0,
        description="number of samples whose distance to the nearest adversarial example is searched; None: 50, but"
        " none for text",
    )
    corruptions: int | None = Field(
        default=None, ge=0, description="number of samples that are corrupted in every way; None: 100 images"
    )
    explainers: tuple[str, ...] = Field(default=("saliency", "integrated_gradients"), description="explainers as specs")
    samples: int = Field(default=6, ge=0, description="number of samples that are explained")
    assessed: int = Field(
        default=16, ge=0, description="number of samples on which explainers are assessed; 0: none, nor what is below"
    )
    compared: int = Field(
        default=32, ge=0, description="number of broken samples whose explanations are compared with those before"
    )
    manipulated: int | None = Field(
        default=None,
        ge=0,
        description="number of samples whose explanations are attacked themselves; None: 16, but none for text",
    )
    batch_size: int | None = Field(default=None, ge=1, description="samples per batch and shard")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(f"bad plan: {first_problem(error)}") from None
        if any(radius < 0 or not math.isfinite(radius) for radius in self.curve or ()):
            raise InputError(f"bad plan: expected radii >= 0 in `curve`, got {self.curve}")
        self._check_methods()

    def _check_methods(self) -> None:
        from xaibench.attacks import attacks
        from xaibench.explainers import explainers
        from xaibench.robustness import ensemble_names

        ensembles = ensemble_names()
        for spec in map(Spec.parse, self.attacks):
            if spec.name not in attacks and spec.name not in ensembles:
                raise unknown_name("attack", spec.name, (*attacks.names(), *ensembles))
            if spec.name in ensembles and spec.params:
                raise InputError(f"expected no parameters for {spec.name}, got {spec}")
        single = [spec for spec in self.attacks if spec not in ensembles]
        made = {spec: attacks.create(spec) for spec in single}
        if len(set(made.values())) < len(single) or len(set(self.attacks)) < len(self.attacks):
            raise InputError(f"bad plan: expected each of `attacks` once, got {', '.join(self.attacks)}")
        if len({explainers.create(spec) for spec in self.explainers}) < len(self.explainers):
            raise InputError(f"bad plan: expected each of `explainers` once, got {', '.join(self.explainers)}")

    @classmethod
    def read(cls, path: Path | str) -> Plan:
        """Read a plan from a JSON file."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"expected a plan at {path}, got {error.strerror}") from None
        except ValueError as error:
            raise InputError(f"expected a plan as JSON in {path}, got: {error}") from None
        if not isinstance(values, dict):
            raise InputError(f"expected a plan as a JSON object in {path}, got {type(values).__name__}")
        return cls(**values)
