"""What several corruptions are made of: convolution, motion, magnification, and noise at all scales."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from xaibench.rng import SampleRng

__all__ = ["disk", "fractal", "gaussian", "magnified", "motion", "smoothed"]


def smoothed(x: Tensor, kernels: np.ndarray) -> Tensor:
    """Images (n, channels, h, w) convolved with one kernel (k, k) or one each (n, k, k); mirrored at the border."""
    from scipy import signal  # loads a good part of scipy: only where it is needed

    kernels = kernels.reshape(-1, 1, *kernels.shape[-2:])
    reach = kernels.shape[-1] // 2
    padded = np.pad(x.double().numpy(), ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="reflect")
    return torch.from_numpy(signal.oaconvolve(padded, kernels, mode="valid", axes=(2, 3)))


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """Images, or fields (n, h, w), under a Gaussian blur."""
    return torch.from_numpy(ndimage.gaussian_filter(x.double().numpy(), sigma, axes=(-2, -1), mode="mirror"))


def disk(radius: float, sigma: float, fine: int = 9) -> np.ndarray:
    """The kernel (k, k) of a lens out of focus: a disk with soft edges, averaged over each pixel."""
    reach = math.ceil(radius + 4 * sigma)
    ticks = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    inside = (ticks[:, None] ** 2 + ticks**2 <= max(radius, 0.5 / fine) ** 2).astype(np.float64)
    soft = ndimage.gaussian_filter(inside, sigma * fine, mode="constant")
    kernel = soft.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).sum(axis=(1, 3))
    return kernel / kernel.sum()


def motion(radius: float, sigma: float, angles: Tensor, fine: int = 8) -> np.ndarray:
    """Kernels (n, k, k) of a camera that moves along ``angles`` (n,), in degrees: a line that fades out."""
    reach = math.ceil(2 * radius)
    way = np.arange(0, 2 * radius, 1 / fine)
    weight = np.exp(-(way**2) / (2 * sigma**2))
    turn = np.deg2rad(angles.double().numpy())[:, None]
    row, column = reach + way * np.sin(turn), reach + way * np.cos(turn)
    kernels = np.zeros((len(angles), 2 * reach + 2, 2 * reach + 2))
    which = np.arange(len(angles))[:, None]
    for down in (0, 1):
        for right in (0, 1):
            at_row, at_column = np.floor(row).astype(int) + down, np.floor(column).astype(int) + right
            share = (1 - abs(row - at_row)) * (1 - abs(column - at_column))
            np.add.at(kernels, (which, at_row, at_column), weight * share)
    kernels = kernels[:, :-1, :-1]
    return kernels / kernels.sum(axis=(1, 2), keepdims=True)


def magnified(x: Tensor, factor: float) -> Tensor:
    """The middle of images (n, channels, h, w), ``factor`` times as large."""
    theta = torch.tensor([[1 / factor, 0, 0], [0, 1 / factor, 0]], dtype=x.dtype).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def fractal(rng: SampleRng, size: tuple[int, ...], decay: float) -> Tensor:
    """Clouds (n, 1, *size) from 0 to 1: noise at all scales, each half as wide as the last and 1/decay as high.

    The scales are grids of uniform numbers, interpolated; the paper takes the diamond-square algorithm.
    """
    total = torch.zeros(len(rng.ids), 1, *size)
    for octave in range(1, math.ceil(math.log2(max(*size, 2))) + 1):
        coarse = rng.uniform((1, 2**octave + 1, 2**octave + 1), octave, low=-1.0)
        fine = F.interpolate(coarse, size, mode="bilinear", align_corners=True)
        total = total + fine / decay**octave
    low, high = total.amin(dim=(2, 3), keepdim=True), total.amax(dim=(2, 3), keepdim=True)
    return (total - low) / (high - low).clamp_min(torch.finfo(total.dtype).tiny)
