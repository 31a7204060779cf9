"""Trained models of any framework behind the one `xaibench.types.Classifier` protocol.

TensorFlow is imported when the first Keras model or SavedModel is wrapped, never before.
"""

from __future__ import annotations

from xaibench.classifiers.exported import ExportedClassifier
from xaibench.classifiers.interface import Options
from xaibench.classifiers.keras import KerasClassifier
from xaibench.classifiers.savedmodel import SavedModelClassifier
from xaibench.classifiers.sklearn import SklearnClassifier
from xaibench.classifiers.torch import TorchClassifier

__all__ = [
    "ExportedClassifier",
    "KerasClassifier",
    "Options",
    "SavedModelClassifier",
    "SklearnClassifier",
    "TorchClassifier",
]
