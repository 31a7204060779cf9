"""Compression: smaller copies of trained models, as model folders that every analysis reads."""

from __future__ import annotations

from xaibench.compression.base import Compressor, compressors
from xaibench.compression.distill import Distill
from xaibench.compression.prune import Prune
from xaibench.compression.quantize import Quantize
from xaibench.compression.run import Compression, Size, compress, size_of

__all__ = ["Compression", "Compressor", "Distill", "Prune", "Quantize", "Size", "compress", "compressors", "size_of"]
