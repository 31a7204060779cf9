"""Cutting images into parts: a grid, or regions of like colour."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.explainers.budget import samples_at_once

__all__ = ["grid_cells", "superpixels"]

_STEPS = 5
_COMPACTNESS = 0.1
"""How much distance in the picture counts against distance in colour, where the brightest pixel is one off the
darkest: at 0.1, as in common practice, a whole cell is as far as a tenth of that range."""
_BYTES = 2 * 9 * 8
"""Of working arrays for each number of a pixel, at their peak: what sets it off nine cells, and squares."""


def grid_cells(x: Tensor, segments: int) -> Tensor:
    """Numbers (n, 1, height, width) of about ``segments`` rectangular cells that images (n, ...) are cut into."""
    (rows, columns), (height, width) = _grid(x, segments), x.shape[-2:]
    row = torch.arange(height, device=x.device) * rows // height
    column = torch.arange(width, device=x.device) * columns // width
    return (row[:, None] * columns + column).expand(len(x), 1, height, width)


def superpixels(x: Tensor, segments: int) -> Tensor:
    """Numbers (n, 1, height, width) of about ``segments`` regions of like colour that images (n, ...) are cut into.

    After SLIC (Achanta et al., *SLIC superpixels compared to state-of-the-art superpixel methods*, TPAMI 2012): k-means
    of colour and place, that starts from a grid, and in which a pixel may only go to a neighbouring cell. Small
    fragments are not joined to what surrounds them. Each image is cut by itself, whatever its batch.
    """
    numbers = x[0].numel() + 3 * x[0, 0].numel()
    return torch.cat([_cut(part, segments) for part in x.split(samples_at_once(_BYTES * numbers))])


def _grid(x: Tensor, segments: int) -> tuple[int, int]:
    """Rows and columns of nearly square cells."""
    height, width = x.shape[-2:]
    rows = min(height, max(1, round((segments * height / width) ** 0.5)))
    return rows, min(width, max(1, round(segments / rows)))


def _cut(x: Tensor, segments: int) -> Tensor:
    n, _, height, width = x.shape
    rows, columns = _grid(x, segments)
    label = grid_cells(x, segments).flatten(1)
    near = _neighbours(label[0], rows, columns)
    points = _points(x, rows, columns)
    for _ in range(_STEPS):
        centres = _means(points, label, rows * columns)
        distance = (points[:, :, None] - centres[:, near]).square().sum(dim=-1)
        label = near.expand(n, -1, -1).gather(2, distance.argmin(dim=2, keepdim=True)).squeeze(2)
    return label.view(n, 1, height, width)


def _points(x: Tensor, rows: int, columns: int) -> Tensor:
    """(n, pixels, channels + 2), float64: colours over the image's range, and places in cells."""
    n, channels, height, width = x.shape
    colours = x.double().flatten(2)
    low, high = colours.amin(dim=(1, 2), keepdim=True), colours.amax(dim=(1, 2), keepdim=True)
    colours = (colours - low) / (high - low).clamp_min(1e-12) / channels**0.5
    row = torch.arange(height, device=x.device, dtype=torch.float64)[:, None] * rows / height
    column = torch.arange(width, device=x.device, dtype=torch.float64) * columns / width
    place = torch.stack([row.expand(height, width), column.expand(height, width)]).flatten(1)
    return torch.cat([colours, _COMPACTNESS * place.expand(n, -1, -1)], dim=1).transpose(1, 2)


def _neighbours(cell: Tensor, rows: int, columns: int) -> Tensor:
    """(pixels, 9): the cells around the one that each pixel starts in; those beyond the edge are the nearest inside."""
    step = torch.tensor([0, -1, 1], device=cell.device)  # the own cell comes first: it wins where several are as near
    row = (cell[:, None, None] // columns + step[:, None]).clamp(0, rows - 1)
    column = (cell[:, None, None] % columns + step).clamp(0, columns - 1)
    return (row * columns + column).flatten(1)


def _means(points: Tensor, label: Tensor, cells: int) -> Tensor:
    """(n, cells, d): the mean of each cell's points; far away where it has none."""
    place = label[:, :, None].expand_as(points)
    total = points.new_zeros(len(points), cells, points.shape[2]).scatter_add_(1, place, points)
    count = points.new_zeros(len(points), cells).scatter_add_(1, label, torch.ones_like(points[:, :, 0]))
    return total / count.clamp_min(1)[:, :, None] + (count == 0)[:, :, None] * 1e6
