"""What a visitor may ask for at most, so that one of them cannot take the machine; each with its reason."""

from __future__ import annotations

from typing import Final

__all__ = [
    "IMAGE_BYTES",
    "IMAGE_PIXELS",
    "MODEL_BYTES",
    "MODEL_GIGABYTES",
    "MODEL_SECONDS",
    "MOST_ADDED",
    "MOST_CLASSES",
    "MOST_EVALUATED",
    "MOST_QUERIES",
    "MOST_STEPS",
    "NAME_LENGTH",
    "TEXT_LENGTH",
]

MEGABYTE: Final = 1_000_000

IMAGE_BYTES: Final = 20 * MEGABYTE
"""An uploaded picture: more than a camera's JPEG."""
IMAGE_PIXELS: Final = 50_000_000
"""A picture once decoded: those of most cameras, 150 MB of memory while it is scaled down."""

MODEL_BYTES: Final = 200 * MEGABYTE
"""An uploaded model: a ResNet-50 twice; `server.maxUploadSize` of `.streamlit/config.toml` is the same."""
MODEL_SECONDS: Final = 120
"""Loading and probing an uploaded model: TensorFlow alone takes ten seconds to import on a slow machine."""
MODEL_GIGABYTES: Final = 6
"""Memory of the process that probes an uploaded model; TensorFlow alone reserves some two of address space."""
MOST_ADDED: Final = 20
"""Models that have been added through the app: 4 GB of disk at most."""
MOST_CLASSES: Final = 1000
"""Classes of an added model: those of ImageNet; pages list them in menus."""

MOST_EVALUATED: Final = 1000
"""Samples of one evaluation that a page starts; the command line has no limit."""
MOST_STEPS: Final = 1000
"""Steps of one attack or samples of one explanation made while the reader waits."""
MOST_QUERIES: Final = 20_000
"""Passes through the model of one method made while the reader waits."""

TEXT_LENGTH: Final = 5000
"""Characters of a text to classify: models read some hundred words, the rest would be cut off unread."""
NAME_LENGTH: Final = 80
"""Characters of a name that a reader gives to something."""
