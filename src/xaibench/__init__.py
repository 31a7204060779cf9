"""xaibench: explain, break, harden and prove any trained classifier.

Importing this package is light: each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# OpenMP reads this when torch is first imported. Its idle threads would spin, and take TensorFlow's time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_HOME = {
    "Attribution": "explainers",
    "Bounds": "types",
    "Capability": "types",
    "Card": "card",
    "Classifier": "types",
    "CounterfactualResult": "counterfactuals",
    "Data": "data",
    "Evaluation": "evaluate",
    "InputError": "errors",
    "KerasClassifier": "classifiers",
    "L0": "threats",
    "L1": "threats",
    "L2": "threats",
    "Linf": "threats",
    "Plan": "evaluate",
    "RobustnessResult": "robustness",
    "SklearnClassifier": "classifiers",
    "Spec": "registry",
    "TorchClassifier": "classifiers",
    "UnsupportedError": "errors",
    "Words": "threats",
    "compress": "compression",
    "counterfactual": "counterfactuals",
    "embedding_map": "overview",
    "evaluate_robustness": "robustness",
    "explain": "explainers",
    "global_importance": "overview",
    "harden": "training",
    "load_data": "data",
    "load_model": "zoo",
    "nearest_neighbours": "examples",
    "permutation_importance": "overview",
    "prototypes": "examples",
    "run": "report",
    "tracin": "examples",
    "train": "training",
}

__all__ = [
    "L0",
    "L1",
    "L2",
    "Attribution",
    "Bounds",
    "Capability",
    "Card",
    "Classifier",
    "CounterfactualResult",
    "Data",
    "Evaluation",
    "InputError",
    "KerasClassifier",
    "Linf",
    "Plan",
    "RobustnessResult",
    "SklearnClassifier",
    "Spec",
    "TorchClassifier",
    "UnsupportedError",
    "Words",
    "compress",
    "counterfactual",
    "embedding_map",
    "evaluate_robustness",
    "explain",
    "global_importance",
    "harden",
    "load_data",
    "load_model",
    "nearest_neighbours",
    "permutation_importance",
    "prototypes",
    "run",
    "tracin",
    "train",
]

if TYPE_CHECKING:
    from xaibench.card import Card
    from xaibench.classifiers import KerasClassifier, SklearnClassifier, TorchClassifier
    from xaibench.compression import compress
    from xaibench.counterfactuals import CounterfactualResult, counterfactual
    from xaibench.data import Data, load_data
    from xaibench.errors import InputError, UnsupportedError
    from xaibench.evaluate import Evaluation, Plan
    from xaibench.examples import nearest_neighbours, prototypes, tracin
    from xaibench.explainers import Attribution, explain
    from xaibench.overview import embedding_map, global_importance, permutation_importance
    from xaibench.registry import Spec
    from xaibench.report import run
    from xaibench.robustness import RobustnessResult, evaluate_robustness
    from xaibench.threats import L0, L1, L2, Linf, Words
    from xaibench.training import harden, train
    from xaibench.types import Bounds, Capability, Classifier
    from xaibench.zoo import load_model


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
