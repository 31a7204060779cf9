"""How large a model that somebody adds may be, and what looking at it may take."""

from __future__ import annotations

from typing import Final

__all__ = ["MEGABYTE", "MODEL_BYTES", "MODEL_GIGABYTES", "MODEL_SECONDS", "MOST_ADDED", "MOST_CLASSES"]

MEGABYTE: Final = 1_000_000

MODEL_BYTES: Final = 200 * MEGABYTE
"""An uploaded model: a ResNet-50 twice; `server.maxUploadSize` of the app is the same."""
MODEL_SECONDS: Final = 120
"""Looking at it: TensorFlow alone takes ten seconds to import on a slow machine."""
MODEL_GIGABYTES: Final = 8
"""Memory (address space) of the process that looks at it: TensorFlow reserves some four without using them."""
MOST_ADDED: Final = 20
"""Models that have been added and not removed: 4 GB of disk at most."""
MOST_CLASSES: Final = 1000
"""Classes of an added model: those of ImageNet; pages list them in menus."""
