"""The networks that models are made of, by name: those of the shipped ones, and of the hubs' packages.

Each is a frozen dataclass whose fields are its whole configuration; `build` makes an untrained network that takes
normalised inputs and returns logits (torch) or ends in softmax or sigmoid (Keras, as its users write models).
"""

from __future__ import annotations

from xaibench.architectures import hubs, keras_networks, sequence, tabular, vision
from xaibench.architectures.base import Architecture, architectures

__all__ = ["Architecture", "architectures"]

_families = (hubs, keras_networks, sequence, tabular, vision)
