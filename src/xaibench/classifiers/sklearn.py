"""A fitted scikit-learn classifier, for methods that only ask: a baseline to compare networks with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from xaibench.classifiers.base import ModelClassifier
from xaibench.classifiers.engine import Engine
from xaibench.classifiers.interface import Interface, Options
from xaibench.classifiers.outputs import LOG_PROBABILITIES, log_probabilities
from xaibench.errors import InputError, UnsupportedError
from xaibench.types import Capability, LossGradient

__all__ = ["SklearnClassifier"]

_LACKS = MappingProxyType(
    {
        Capability.LOGITS: LOG_PROBABILITIES,
        Capability.GRADIENTS: "a scikit-learn estimator computes no gradients",
        Capability.EMBEDDINGS: "the inputs are not token ids",
        **dict.fromkeys(
            (Capability.ACTIVATIONS, Capability.ATTENTION, Capability.TORCH_MODULE),
            "a scikit-learn estimator has no layers",
        ),
        Capability.WEIGHTS: "a scikit-learn estimator is no network with weights",
    }
)


class SklearnClassifier(ModelClassifier):
    """A fitted scikit-learn classifier of tables that gives probabilities; its logits are their logarithms.

    It is taken as it is, never read from a file: pickles can run code. ``mean`` and ``std`` scale features before the
    estimator; class names are its ``classes_`` unless given.

    >>> from sklearn.tree import DecisionTreeClassifier
    >>> tree = DecisionTreeClassifier().fit([[0.0], [1.0]], ["cold", "warm"])
    >>> model = SklearnClassifier(tree)
    >>> model.class_names, model.predict(torch.tensor([[0.9]])).tolist()
    (('cold', 'warm'), [1])
    """

    def __init__(self, estimator: Any, **options: Unpack[Options]) -> None:
        classes = _classes(estimator)
        options = {"task": "tabular", "class_names": tuple(map(str, classes)), "outputs": "probabilities", **options}
        if options["task"] != "tabular":
            raise InputError(f"expected task tabular for a scikit-learn estimator, got {options['task']!r}")
        self.estimator = estimator
        super().__init__(_SklearnEngine(estimator, interface := Interface.of(options)), interface)


class _SklearnEngine:
    framework = "sklearn"
    dtype = torch.float64
    vocabulary = None
    device = torch.device("cpu")
    layers: tuple[str, ...] = ()
    limits: Mapping[Capability, str] = _LACKS

    def __init__(self, estimator: Any, interface: Interface) -> None:
        self._estimator = estimator
        self._interface = interface
        self.input_shape: tuple[int | None, ...] | None = (int(estimator.n_features_in_),)

    def candidates(self) -> Iterator[tuple[int | None, ...]]:
        """None: the width is known."""
        return iter(())

    def state(self) -> Iterator[tuple[str, np.ndarray]]:
        """Nothing by name: see `description`."""
        return iter(())

    def description(self) -> str:
        """A hash of all that the estimator holds."""
        import joblib

        return f"{type(self._estimator).__qualname__} {joblib.hash(self._estimator, hash_name='sha1')}"

    def footprint(self, x: Tensor) -> int:
        """Little: the table and the probabilities."""
        return 8 * (x.numel() + len(self._estimator.classes_))

    def randomised(self, seed: int, layers: Sequence[str] | None) -> Engine:
        """Refused."""
        raise UnsupportedError(_LACKS[Capability.WEIGHTS])

    def to(self, device: torch.device) -> None:
        """Estimators stay on the CPU."""
        if device.type != "cpu":
            raise UnsupportedError(f"a scikit-learn estimator runs on the CPU only: expected cpu, got {device}")

    def logits(self, x: Tensor, embeddings: Tensor | None) -> Tensor:
        """Log-probabilities."""
        table = self._interface.normalise(x.detach()).numpy()
        return log_probabilities(torch.from_numpy(np.array(self._estimator.predict_proba(table), np.float64)), len(x))

    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor], embeddings: Tensor | None
    ) -> LossGradient:
        """Refused."""
        raise UnsupportedError(_LACKS[Capability.GRADIENTS])


def _classes(estimator: Any) -> np.ndarray:
    """The classes of a fitted estimator that this can wrap."""
    if not hasattr(estimator, "predict_proba"):
        raise InputError(f"expected a scikit-learn classifier with predict_proba, got {type(estimator).__name__}")
    classes = getattr(estimator, "classes_", None)
    if classes is None or not hasattr(estimator, "n_features_in_"):
        raise InputError(f"expected a fitted estimator, got {type(estimator).__name__} before `fit`")
    if isinstance(classes, list):
        raise InputError(f"expected an estimator of one label, got {type(estimator).__name__} with {len(classes)}")
    return np.asarray(classes)
