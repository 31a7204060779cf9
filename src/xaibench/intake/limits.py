"""How large a model that somebody adds may be, and what looking at it may take."""

from __future__ import annotations

from typing import Final

__all__ = [
    "HUB_BYTES",
    "HUB_SECONDS",
    "MEGABYTE",
    "MODEL_BYTES",
    "MODEL_GIGABYTES",
    "MODEL_SECONDS",
    "MOST_ADDED",
    "MOST_CLASSES",
]

MEGABYTE: Final = 1_000_000

MODEL_BYTES: Final = 200 * MEGABYTE
"""An uploaded model: a ResNet-50 twice; `server.maxUploadSize` of the app is the same."""
HUB_BYTES: Final = 400 * MEGABYTE
"""The weights of a model from a hub: ViT-Base in float32 is 346 MB."""
HUB_SECONDS: Final = 300
"""Downloading a model, and as much again for looking at it: networks of that size take a second for some pictures."""
MODEL_SECONDS: Final = 120
"""Looking at it: TensorFlow alone takes ten seconds to import on a slow machine."""
MODEL_GIGABYTES: Final = 8
"""Memory (address space) of the process that looks at it: TensorFlow reserves some four without using them."""
MOST_ADDED: Final = 20
"""Models that have been added and not removed: 8 GB of disk at most."""
MOST_CLASSES: Final = 1000
"""Classes of an added model: those of ImageNet; pages list them in menus."""
