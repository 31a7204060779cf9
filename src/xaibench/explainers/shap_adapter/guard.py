"""What SHAP changes in a process while it runs, put back."""

from __future__ import annotations

import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["guarded"]

_ONE = threading.RLock()


@contextmanager
def guarded(seed: int) -> Iterator[Any]:
    """The module `shap`, with numpy's global generator seeded, for one thread at a time.

    Afterwards that generator, Python's own (from which Keras layers draw), and TensorFlow's recording and registry of
    gradients are as they were, also when the body raises: SHAP's explainers use the first and replace parts of the
    others.
    """
    with _ONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

        states = random.getstate(), np.random.get_state()
        gradients = _gradient_state()
        np.random.seed(seed % 2**32)
        try:
            yield shap
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            _restore(gradients)


def _gradient_state() -> tuple[Any, dict[str, Any]] | None:
    if "tensorflow" not in sys.modules:
        return None
    from tensorflow.python.eager import execute
    from tensorflow.python.framework import ops

    registry = ops._gradient_registry._registry
    return execute.record_gradient, {name: dict(entry) for name, entry in registry.items()}


def _restore(state: tuple[Any, dict[str, Any]] | None) -> None:
    if state is None:
        return
    from tensorflow.python.eager import execute
    from tensorflow.python.framework import ops

    execute.record_gradient = state[0]
    registry = ops._gradient_registry._registry
    registry.clear()
    registry.update(state[1])
