"""What a visitor may ask for at most, so that one of them cannot take the machine; each with its reason."""

from __future__ import annotations

from typing import Final

from xaibench.intake.limits import HUB_BYTES, MEGABYTE, MODEL_BYTES

__all__ = [
    "HUB_BYTES",
    "IMAGE_BYTES",
    "IMAGE_PIXELS",
    "MEGABYTE",
    "MODEL_BYTES",
    "MOST_EVALUATED",
    "MOST_QUERIES",
    "MOST_STEPS",
    "NAME_LENGTH",
    "TEXT_LENGTH",
]

IMAGE_BYTES: Final = 20 * MEGABYTE
"""An uploaded picture: more than a camera's JPEG."""
IMAGE_PIXELS: Final = 50_000_000
"""A picture once decoded: those of most cameras, 150 MB of memory while it is scaled down."""

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
