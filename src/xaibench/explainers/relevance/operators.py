"""Operators of ATen, by name without overload, sorted by what rules need to know of them."""

from __future__ import annotations

__all__ = ["DISCRETE", "ELEMENTWISE", "LINEAR", "MOVES", "PRODUCTS", "SUMS"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MOVES = _names(
    """
    _to_copy alias cat clone constant_pad_nd diagonal expand flip gather index index_select masked_fill permute
    pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d repeat replication_pad1d replication_pad2d
    replication_pad3d reshape roll select select_scatter slice slice_scatter split split_with_sizes squeeze stack
    t transpose tril triu unbind unsqueeze where
    """
)
"""Numbers are moved, repeated, dropped or set beside constants; each result stems from one number."""

SUMS = _names(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool3d add avg_pool1d avg_pool2d avg_pool3d col2im cumsum im2col mean neg
    rsub sub sum upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
    upsample_nearest3d upsample_trilinear3d
    """
)
"""Sums of numbers by fixed weights, and constants."""

LINEAR = MOVES | SUMS | {"_native_batch_norm_legit_no_training"}

PRODUCTS = _names(
    """
    addmm baddbmm bmm convolution dot matmul mm mul mv
    """
)
"""Linear in each argument by itself."""

ELEMENTWISE = _names(
    """
    _prelu_kernel abs asinh atan ceil celu clamp clamp_max clamp_min cos cosh elu erf exp exp2 expm1 floor gelu
    hardshrink hardsigmoid hardswish hardtanh leaky_relu log log10 log1p log2 mish pow reciprocal relu relu6 round
    rsqrt selu sigmoid sign silu sin sinh softplus softshrink sqrt square tan tanh threshold trunc
    """
)
"""Functions of one number."""

DISCRETE = _names(
    """
    all any argmax argmin bitwise_and bitwise_not bitwise_or empty_like eq full_like ge gt isinf isnan le
    logical_and logical_not logical_or lt ne ones_like zeros_like
    """
)
"""Results that do not change with small changes of the arguments."""
