"""Common corruptions of images: 15 types at 5 severities, and a model's accuracy under them."""

from xaibench.corruptions import blur, digital, noise, weather
from xaibench.corruptions.accuracy import CorruptionAccuracy, corruption_accuracy
from xaibench.corruptions.base import SEVERITIES, Corruption, corrupt, corruptions

__all__ = [
    "SEVERITIES",
    "Corruption",
    "CorruptionAccuracy",
    "blur",
    "corrupt",
    "corruption_accuracy",
    "corruptions",
    "digital",
    "noise",
    "weather",
]
